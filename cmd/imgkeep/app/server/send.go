package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/probe"
	"imgkeep/nginx"
	"imgkeep/resize"
	"imgkeep/sign"
)

const (
	contentSecurity = "default-src 'none'; sandbox"

	// A viewer who reads slower than minRate, in bytes a second, after a grace
	// time is cut off, so that slow ones cannot hold our descriptors.
	minRate = 4 << 10
	grace   = 30 * time.Second
	// bodyTime is how long the body of a request is waited for, to be thrown away.
	bodyTime = 5 * time.Second

	// passingAge is how long a browser may keep an image that we do not.
	passingAge = time.Hour
)

// harden sets the headers that every answer has, and refuses other methods before
// anything is looked at.
func (s *Server) harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", contentSecurity)
		s.pageHeaders(h, r)
		if r.ContentLength != 0 {
			// Nobody has a body to send. net/http would wait for it before it
			// answers, or after that, for as long as it takes.
			h.Set("Connection", "close")
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			s.fail(w, r, &visit{id: s.requests.Add(1)}, errMethod)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// pageHeaders sets what Page says.
func (s *Server) pageHeaders(h http.Header, r *http.Request) {
	h.Set("Cross-Origin-Resource-Policy", s.Page.Policy())
	if s.Page.Robots != "" {
		h.Set("X-Robots-Tag", s.Page.Robots)
	}
	if allowed := s.Page.AllowOrigin(r.Header.Get("Origin")); allowed != "" {
		h.Set("Access-Control-Allow-Origin", allowed)
	}
	s.setVary(h, false)
}

// setVary says what an answer depends on; accept: the Accept header too.
func (s *Server) setVary(h http.Header, accept bool) {
	if vary := s.Page.Vary(accept); vary != "" {
		h.Set("Vary", vary)
	} else {
		h.Del("Vary")
	}
}

// delivery is an image, or what is made of it, that is the answer to a link.
type delivery struct {
	link    sign.Link
	expires time.Time // of the link
	image   bucket.Image
	format  probe.Format // of what is sent
	name    string       // under which it is made; empty: it is the original
	maker   bucket.Maker // nil: it is made without decoding

	varies    bool         // with the Accept header
	accepted  []string     // by the viewer, of the formats in which the size is offered
	converted probe.Format // in which it is made for him; Unknown: in none but its own
	makeshift bool         // he would get something else if all went well
}

// delivery is the answer to a link whose size has been checked.
func (s *Server) delivery(l sign.Link, image bucket.Image) (delivery, error) {
	d := delivery{link: l, image: image, format: image.Format}
	if l.Size == sign.SizeFull {
		if s.strips(l.Bucket) {
			d.name = bucket.Stripped
		}
		return d, nil
	}
	making, target, err := s.making(l.Size, image)
	if err != nil {
		return d, err
	}
	d.name, d.format, d.maker = making.Name, making.Format, s.maker(image, target)
	return d, nil
}

// making is what a size that has been checked stands for: how it is made, and under
// which name. A preset's holds a digest of it, so that what an earlier preset of
// the name has made is not taken for it.
func (s *Server) making(size string, image bucket.Image) (m bucket.Making, target resize.Target, err error) {
	m.Name = size
	if target.Preset = s.Presets[size]; target.Preset != nil {
		m.Name = size + "-" + s.digests[size]
	} else {
		target.Quality = s.Quality
		if target.Size, err = resize.ParseSize(size); err != nil {
			return m, target, err
		}
	}
	m.Format, err = formatOf(target, image)
	return m, target, err
}

// path is where the file is, below the store's root.
func (d delivery) path() string {
	if d.name == "" {
		return d.image.File()
	}
	return d.image.MadeFile(d.name, d.format)
}

// deliver sends a file, or lets nginx send it.
func (s *Server) deliver(w http.ResponseWriter, r *http.Request, v *visit, d delivery) error {
	if s.Handoff && r.Header.Get(nginx.HeaderHandoff) == nginx.HandoffNginx {
		return s.handOver(w, r, v, d)
	}
	f, err := s.open(r.Context(), v, d)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := s.stands(v, d.image); err != nil {
		return err
	}
	s.answered(v, CodeOK)
	h := w.Header()
	h.Set("Content-Type", d.format.ContentType())
	h.Set("ETag", etag(info))
	h.Set("Cache-Control", "private, max-age="+seconds(s.Signer.MaxAge())+", immutable")
	s.setVary(h, d.varies)
	s.send(w, r, f, info)
	return nil
}

func (s *Server) open(ctx context.Context, v *visit, d delivery) (*os.File, error) {
	switch d.name {
	case "":
		return s.Store.Open(ctx, d.image)
	case bucket.Stripped:
		return s.Store.OpenStripped(ctx, d.image)
	}
	f, err := s.Store.OpenMade(ctx, d.image, d.name, d.format, nil)
	if !errors.Is(err, bucket.ErrNotMade) {
		return f, err
	}
	if err := s.makeMissing(ctx, v, d); err != nil {
		return nil, err
	}
	return s.Store.OpenMade(ctx, d.image, d.name, d.format, d.maker)
}

func (s *Server) ensure(ctx context.Context, v *visit, d delivery) error {
	switch d.name {
	case "":
		return s.Store.Ensure(ctx, d.image)
	case bucket.Stripped:
		return s.Store.EnsureStripped(ctx, d.image)
	}
	err := s.Store.EnsureMade(ctx, d.image, d.name, d.format, nil)
	if errors.Is(err, bucket.ErrNotMade) {
		err = s.makeMissing(ctx, v, d)
	}
	return err
}

// handOver has nginx send the file, now and, by a hot link, from now on.
func (s *Server) handOver(w http.ResponseWriter, r *http.Request, v *visit, d delivery) error {
	if err := s.ensure(r.Context(), v, d); err != nil {
		return err
	}
	if err := s.stands(v, d.image); err != nil {
		return err
	}
	s.answered(v, CodeOK)
	s.heat(v, d)
	hurry(w, 0)
	h := w.Header()
	clear(h) // nginx drops it here, and sends its own
	h.Set("Content-Type", d.format.ContentType())
	h.Set(nginx.HeaderRedirect, nginx.InternalPrefix+filepath.ToSlash(d.path()))
	return nil
}

// heat makes a hot link, so that nginx does not ask again. Without it the link
// is served all the same, so an error is only logged.
func (s *Server) heat(v *visit, d delivery) {
	if s.Hot == nil || d.makeshift {
		return
	}
	// No link outlives the decision: one that is made before something is removed, or
	// before another server replaces this one, is there for whoever takes links away.
	still := func() bool { return s.Store.Removals() == v.removals && s.Current() }
	if err := s.Hot.AddWhile(d.link.Bucket, nginx.Class(d.link.Size, d.accepted), d.link.Signature, d.format.Ext(), s.Store.Path(d.path()), d.expires, still); err != nil {
		s.Log.Warn("no hot link made", s.request(v), "error", err)
	}
}

// sendPassing sends a file under a link with /proxy. It has no ETag: the next
// answer may be another image.
func (s *Server) sendPassing(w http.ResponseWriter, r *http.Request, v *visit, f *os.File, format probe.Format) {
	h := w.Header()
	h.Set("Content-Type", format.ContentType())
	h.Set("Cache-Control", "private, max-age="+seconds(min(passingAge, s.Signer.MaxAge())))
	info, err := f.Stat()
	if err == nil {
		_, err = f.Seek(0, io.SeekStart) // it may have been written just now
	}
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.send(w, r, f, unmodified{info})
}

// unmodified is a file whose time says nothing about its content.
type unmodified struct{ fs.FileInfo }

func (unmodified) ModTime() time.Time { return time.Time{} }

// send sends a file, from which nothing has been read, with ranges and conditions
// (RFC 9110, sections 13 and 14).
func (s *Server) send(w http.ResponseWriter, r *http.Request, f *os.File, info fs.FileInfo) {
	hurry(w, 0)
	w = paced{w}
	out := w
	if conditional(r) {
		out = &refusals{ResponseWriter: w, size: info.Size(), server: s}
	}
	likeNginx(r, info.ModTime())
	http.ServeContent(out, r, "", info.ModTime(), &content{File: f, size: info.Size()})
}

// likeNginx has a request with If-Modified-Since answered as nginx does: with 304 only
// for the very time that the file has, which says no more than its tag does, and beside
// If-None-Match only if both allow it. (RFC 9110, section 13.1.3, has the first ignored
// then, and a whole answer is right in any case.) An image that is hot must not be told
// apart from one that is not.
func likeNginx(r *http.Request, modified time.Time) {
	since := r.Header.Get("If-Modified-Since")
	if since == "" {
		return
	}
	if t, err := http.ParseTime(since); err != nil || !t.Equal(modified.Truncate(time.Second)) {
		r.Header.Del("If-None-Match")
		r.Header.Del("If-Modified-Since")
	}
}

// content is a file at its beginning, whose size is known, so that net/http's
// question for it, a seek to the end and back, needs no call of the kernel.
type content struct {
	*os.File
	size  int64
	moved bool
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	if !c.moved && offset == 0 {
		switch whence {
		case io.SeekEnd:
			return c.size, nil
		case io.SeekStart:
			return 0, nil
		}
	}
	c.moved = true
	return c.File.Seek(offset, whence)
}

// hurry gives the viewer time to read an answer of n bytes, and no longer. The
// deadline stays on the connection, so every answer sets its own before its first
// byte; the wait for a fetch or a resize, which have limits of their own, does not
// count. It cannot be set where w is a test's.
func hurry(w http.ResponseWriter, n int64) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(grace + time.Duration(n/minRate)*time.Second))
}

// etag is the entity tag that nginx gives the same file, so that a browser may
// ask either.
func etag(info fs.FileInfo) string {
	b := append(make([]byte, 0, 32), '"')
	b = append(strconv.AppendInt(b, info.ModTime().Unix(), 16), '-')
	return string(append(strconv.AppendInt(b, info.Size(), 16), '"'))
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(d/time.Second), 10)
}

// conditional tells whether a request may be answered with 412 or 416.
func conditional(r *http.Request) bool {
	h := r.Header
	return h["Range"] != nil || h["If-Match"] != nil || h["If-Unmodified-Since"] != nil
}

// refusals replaces the body of 412 and 416, which net/http writes in its own
// words, by ours.
type refusals struct {
	http.ResponseWriter
	size    int64 // of the file
	server  *Server
	refused bool
}

func (w *refusals) WriteHeader(status int) {
	for _, page := range nginx.ErrorPages() {
		if page.Status == status && (status == http.StatusPreconditionFailed || status == http.StatusRequestedRangeNotSatisfiable) {
			w.refused = true
			h := w.Header()
			for _, name := range []string{"ETag", "Last-Modified", "Content-Length"} {
				h.Del(name)
			}
			if status == http.StatusPreconditionFailed {
				w.server.setVary(h, false)
			}
			if status == http.StatusRequestedRangeNotSatisfiable {
				// net/http leaves it out where the range is malformed.
				h.Set("Content-Range", fmt.Sprintf("bytes */%d", w.size))
			}
			w.server.answer(w.ResponseWriter, verdict{status: status, code: page.Code, line: page.Line})
			return
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *refusals) Write(b []byte) (int, error) {
	if w.refused {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// ReadFrom keeps the way open for sendfile.
func (w *refusals) ReadFrom(r io.Reader) (int64, error) {
	if w.refused {
		return io.Copy(io.Discard, r)
	}
	return io.Copy(w.ResponseWriter, r)
}

// facts are what size "info" tells. No URL: a viewer has a link, not its target.
type facts struct {
	Type   string    `json:"type"`
	Width  int       `json:"width"` // as shown
	Height int       `json:"height"`
	Frames int       `json:"frames"`
	Bytes  int64     `json:"bytes"`
	Stored time.Time `json:"stored"`
	Digest string    `json:"digest"`
	Sizes  []string  `json:"sizes"` // made so far
}

// sizeOf is the size, as links have it, under whose name something was made. What
// was made by an earlier definition of a preset is nothing that links could have.
func (s *Server) sizeOf(made string) (size string, ok bool) {
	if _, err := resize.ParseSize(made); err == nil {
		return made, true
	}
	name, digest, ok := cutLast(made, "-")
	return name, ok && s.digests[name] == digest
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func (s *Server) info(w http.ResponseWriter, v *visit, image bucket.Image) error {
	made, err := s.Store.Made(image)
	if err != nil {
		return err
	}
	f := facts{
		Type: image.Format.ContentType(), Frames: image.Frames, Bytes: image.Bytes,
		Stored: image.Stored, Digest: image.Digest.String(), Sizes: []string{},
	}
	f.Width, f.Height = image.Shown()
	for _, name := range made {
		size, ok := s.sizeOf(strings.TrimSuffix(name, filepath.Ext(name)))
		if ok && !slices.Contains(f.Sizes, size) { // one may be there in several formats
			f.Sizes = append(f.Sizes, size)
		}
	}
	body, err := json.Marshal(f)
	if err == nil {
		err = s.stands(v, image)
	}
	if err != nil {
		return err
	}
	s.answered(v, CodeOK)
	hurry(w, int64(len(body)))
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	h.Set("Cache-Control", "no-store") // sizes come and go
	w.Write(append(body, '\n'))        // an error means that nobody is there to be told
	return nil
}
