package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/variant"
	"imgkeep/resize"
	"imgkeep/sign"
)

// ensure makes sure that the decided variant exists, and returns it as an answer. The image
// was checked either before a removal was acknowledged, or after it.
func (s *Server) ensure(ctx context.Context, q *request, d delivery) (answer, error) {
	switch {
	case d.uncached:
		return s.ensureUncached(ctx, q)
	case d.size == sign.SizeInfo:
		return s.describe(q, d.image)
	}
	if err := s.ensureConverted(ctx, q, &d); err != nil {
		return nil, err
	}
	if q.handoff && !q.link.Proxy {
		a := &handoff{s: s, q: q, d: d, mark: s.given.mark(q, d, s.opts.Now())}
		a.again = s.given.has(a.mark)
		var err error
		if !a.again {
			err = s.ensureFile(ctx, q, d)
		}
		if err == nil {
			err = s.stands(q, d.image)
		}
		if err == nil {
			return a, nil
		}
		// Where a node's cache has no room for an original, it is sent from here.
		if d.name != "" || !errors.Is(err, bucket.ErrFull) {
			return nil, err
		}
	}
	if a := s.readSmall(q, d); a != nil {
		if err := s.stands(q, d.image); err != nil {
			a.release()
			return nil, err
		}
		return a, nil
	}
	f, err := s.openFile(ctx, q, d)
	if err != nil {
		return nil, err
	}
	return s.newFile(q, d.format, f, f, s.stands(q, d.image))
}

// readSmall reads the file of a delivery, if that is small and the request is a plain one; nil:
// it is to be opened. On a node the cache sees what is opened.
func (s *Server) readSmall(q *request, d delivery) *small {
	if q.link.Proxy || !isPlain(q.http) || s.opts.Store.Node() != nil {
		return nil
	}
	b := s.buffers.get()
	if b == nil {
		return nil
	}
	a := &small{s: s, q: q, format: d.format, buffer: b}
	n, modified, ok := s.opts.Store.ReadSmall(d.path(), b[:])
	if a.n, a.modified = n, modified; !ok || d.name == "" && int64(n) != d.image.Bytes {
		a.release()
		return nil
	}
	return a
}

// newFile returns an answer that closes the file's holder, or closes it if there is an
// error.
func (s *Server) newFile(q *request, format probe.Format, f *os.File, holder io.Closer, err error) (answer, error) {
	a := &file{s: s, q: q, format: format, file: f, holder: holder}
	if err == nil {
		a.info, err = f.Stat()
	}
	if err != nil {
		holder.Close()
		return nil, err
	}
	return a, nil
}

// ensureConverted chooses what a viewer gets of a size that is offered in a format which
// they accept, and makes it if it is missing. It returns only errors that would occur
// without the conversion too.
func (s *Server) ensureConverted(ctx context.Context, q *request, d *delivery) error {
	if d.converted == nil {
		return nil
	}
	own, err := s.opts.Store.HasVariant(d.image, d.name, d.converted.Format)
	if err != nil {
		if err = s.makeMissing(ctx, q, *d); err == nil {
			own, err = s.opts.Store.HasVariant(d.image, d.name, d.converted.Format)
		}
	}
	if err != nil {
		// If the plain variant exists, the viewer gets it now, and nginx gets no hot link.
		d.fallback = true
		if s.opts.Store.EnsureVariant(ctx, d.image, d.name, d.format, nil) != nil {
			return err
		}
	}
	if own {
		d.format, d.target = d.converted.Format, d.converted.target
	}
	return nil
}

// openFile opens the file of a delivery.
func (s *Server) openFile(ctx context.Context, q *request, d delivery) (*os.File, error) {
	switch d.name {
	case "":
		return s.opts.Store.Open(ctx, d.image)
	case variant.Stripped:
		return s.opts.Store.OpenStripped(ctx, d.image)
	}
	f, err := s.opts.Store.OpenVariant(ctx, d.image, d.name, d.format, nil)
	if !errors.Is(err, variant.ErrNotMade) {
		return f, err
	}
	if err := s.makeMissing(ctx, q, d); err != nil {
		return nil, err
	}
	return s.opts.Store.OpenVariant(ctx, d.image, d.name, d.format, s.maker(d.image, d.target))
}

// ensureFile is openFile for a file that nginx opens.
func (s *Server) ensureFile(ctx context.Context, q *request, d delivery) error {
	switch d.name {
	case "":
		return s.opts.Store.Ensure(ctx, d.image)
	case variant.Stripped:
		return s.opts.Store.EnsureStripped(ctx, d.image)
	}
	err := s.opts.Store.EnsureVariant(ctx, d.image, d.name, d.format, nil)
	if errors.Is(err, variant.ErrNotMade) {
		err = s.makeMissing(ctx, q, d)
	}
	return err
}

// stands checks an image again before it is shown, if something was removed since it was
// found: fetching it and making a size of it takes time.
func (s *Server) stands(q *request, image record.Image) error {
	now := s.opts.Store.Removals()
	if now == q.removals {
		return nil
	}
	if err := s.opts.Store.Stands(image); err != nil {
		return err
	}
	q.removals = now
	return nil
}

// ensureUncached fetches an image that must not be kept, with all the same checks. If it
// was fetched recently, HEAD needs only its length.
func (s *Server) ensureUncached(ctx context.Context, q *request) (answer, error) {
	strips := s.strips(q.link.Bucket)
	if q.http.Method == http.MethodHead {
		info, bytes, err := s.opts.Store.Uncached(q.link.Bucket, q.source, strips)
		if err == nil {
			return &length{s: s, format: info.Format, bytes: bytes}, nil
		}
		if !errors.Is(err, bucket.ErrNotKept) {
			return nil, err
		}
	}
	q.cacheStatus = Cold
	fetch := s.opts.Store.Fetch
	if strips {
		fetch = s.opts.Store.FetchStripped
	}
	image, err := fetch(ctx, q.link.Bucket, q.source)
	if err != nil {
		return nil, err
	}
	if s.opts.Store.Removals() != q.removals {
		err = s.opts.Store.UncachedStands(image)
	}
	return s.newFile(q, image.Format, image.File, image, err)
}

// description is the answer for size "info". It has no URL: a viewer has a link, not its
// target.
type description struct {
	Type   string    `json:"type"`
	Width  int       `json:"width"` // as shown
	Height int       `json:"height"`
	Frames int       `json:"frames"`
	Bytes  int64     `json:"bytes"`
	Stored time.Time `json:"stored"`
	Digest string    `json:"digest"`
	Sizes  []string  `json:"sizes"` // made so far
}

// describe answers size "info".
func (s *Server) describe(q *request, image record.Image) (answer, error) {
	made, err := s.opts.Store.VariantNames(image)
	if err != nil {
		return nil, err
	}
	d := description{
		Type: image.Format.ContentType(), Frames: image.Frames, Bytes: image.Bytes,
		Stored: image.Stored, Digest: image.Digest.String(), Sizes: []string{},
	}
	d.Width, d.Height = image.Shown()
	for _, name := range made {
		size, ok := s.sizeOf(strings.TrimSuffix(name, filepath.Ext(name)))
		if ok && !slices.Contains(d.Sizes, size) { // one may exist in several formats
			d.Sizes = append(d.Sizes, size)
		}
	}
	body, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	if err := s.stands(q, image); err != nil {
		return nil, err
	}
	return document(append(body, '\n')), nil
}

// sizeOf is the size, as links have it, of a variant's name. A variant by an earlier
// definition of a preset has none.
func (s *Server) sizeOf(made string) (size string, ok bool) {
	if _, err := resize.ParseSize(made); err == nil {
		return made, true
	}
	i := strings.LastIndexByte(made, '-')
	if i < 0 {
		return "", false
	}
	return made[:i], s.digests[made[:i]] == made[i+1:]
}

// Picture opens what a viewer gets of a kept image, in full or in a listed size, for the
// moderators' page. It fetches nothing, and makes no hot link; it makes a size that is
// missing. Blocked images are not shown here either. The caller closes the file.
func (s *Server) Picture(ctx context.Context, bucket, url, size string) (*os.File, probe.Format, error) {
	if size != sign.SizeFull {
		if err := s.listed.Check(size); err != nil {
			return nil, 0, fmt.Errorf("%w: %w", errSize, err)
		}
	}
	q := &request{removals: s.opts.Store.Removals()}
	image, err := s.opts.Store.Find(bucket, url)
	if err != nil {
		return nil, 0, err
	}
	d, err := s.delivery(image, size, nil)
	if err != nil {
		return nil, 0, err
	}
	f, err := s.openFile(ctx, q, d)
	if err != nil {
		return nil, 0, err
	}
	if err := s.stands(q, image); err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, d.format, nil
}
