package bucket

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"imgkeep/bucket/approve"
	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// Keep returns the image that is kept under a canonical URL. Where there is none
// it is fetched, once for all that ask meanwhile, and kept before Keep returns.
// The end of ctx ends the waiting, not the fetch.
//
// Errors are ErrNoBucket, ErrDenied, ErrRemoved, ErrFull, ErrQuota, ErrClosed, a *Failure
// that is remembered (the origin's, or that of the operator's check), a
// *fetch.Error that is not (refused, denied, busy), the end of ctx, or an error of
// the disk.
func (s *Store) Keep(ctx context.Context, bucket, url string) (record.Image, error) {
	return s.KeepFrom(ctx, bucket, url, url)
}

// KeepFrom is Keep for an image that has several URLs, all canonical: it is found and
// kept under url, and fetched from source, the one at hand. A failure stands against
// source, so that another one may be better.
func (s *Store) KeepFrom(ctx context.Context, bucket, url, source string) (record.Image, error) {
	image, err := s.FindFrom(bucket, url, source)
	if !errors.Is(err, ErrNotKept) {
		return image, err
	}
	return s.keepUrgent(ctx, bucket, url, source)
}

// FindFrom is Find for such an image. What was kept under source itself, before it was
// one of several URLs, is found as well.
func (s *Store) FindFrom(bucket, url, source string) (record.Image, error) {
	image, err := s.Find(bucket, url)
	if source != url && errors.Is(err, ErrNotKept) {
		return s.Find(bucket, source)
	}
	return image, err
}

func (s *Store) fetchAndKeep(ctx context.Context, bucket, url, source string, at *fetch.Place) (record.Image, error) {
	if s.node != nil { // another may have kept it
		if image, err := s.node.Find(ctx, bucket, url); !errors.Is(err, ErrNotKept) {
			return image, err
		}
	}
	under, landed := s.fetches.Begin(bucket, url)
	defer landed()
	if err := s.hasRoom(); err != nil {
		return record.Image{}, err
	}
	wanted := record.Image{Bucket: bucket, URL: url}
	if err := s.quotas.Within(wanted); err != nil {
		return record.Image{}, err
	}
	d, err := s.downloadApproved(ctx, bucket, url, source, at, s.quotas.Writer(wanted))
	if err != nil {
		return record.Image{}, err
	}
	defer d.tmp.Close()
	image := d.image
	print, err := s.looks.LockLooked(ctx, &s.removing, image, d.tmp)
	if err != nil {
		s.disk.RemoveAll(d.tmp.Name())
		return record.Image{}, s.lookFailed(ctx, bucket, source, err)
	}
	defer s.removing.RUnlock()
	if err = s.admit(bucket, url, image.Digest, d.final); err == nil && s.fetches.Removed(under, image.Digest) {
		err = errJustRemoved
	}
	if err == nil {
		err = s.admitLook(image, print)
	}
	claimed := func() {}
	if err == nil {
		claimed, err = s.quotas.Claim(image)
	}
	defer claimed()
	if err != nil {
		s.disk.RemoveAll(d.tmp.Name())
		return record.Image{}, err
	}
	line := ledger.KeepEvent(image)
	if d.from != source {
		line.From = d.from
	}
	defer s.disk.RemoveAll(d.tmp.Name())
	kept, err := s.keepAdmitted(ctx, image, d.tmp, line)
	if err != nil {
		return record.Image{}, err
	}
	if kept.Digest == image.Digest {
		s.looks.Note(image, print)
	}
	return kept, nil
}

// download is an image in a file in tmp, which is its holder's to close and remove.
type download struct {
	tmp   *os.File
	image record.Image
	from  string // the URL at which it was found
	final string // the URL to which redirects led from there
}

// downloadApproved is download for an image that nobody has approved of yet.
func (s *Store) downloadApproved(ctx context.Context, bucket, url, source string, at *fetch.Place, through func(io.Writer) io.Writer) (download, error) {
	d, err := s.download(ctx, bucket, url, source, 0, at, through)
	if err != nil {
		return download{}, err
	}
	if err := s.approve(ctx, d, source); err != nil {
		s.discard(d.tmp)
		return download{}, err
	}
	return d, nil
}

// download fetches the image of url from source or, where its origin has lost it, from the
// first fallback that has it. A failure that says something about the
// image is remembered, and it is the origin's. kept is how many bytes it had when it was
// kept, 0 where it is new. at is a place that was taken for the origin; nil: one is
// waited for. through returns a writer that passes on to the
// file what comes, or refuses it; nil: all is written.
func (s *Store) download(ctx context.Context, bucket, url, source string, kept int64, at *fetch.Place, through func(io.Writer) io.Writer) (download, error) {
	c := s.settings.Load()
	hosts := c.buckets[bucket].Hosts
	d, err := s.fetch(ctx, bucket, url, source, hosts, kept, at, through)
	var lost *fetch.Error
	if !errors.As(err, &lost) || isPrivate(source) {
		return d, s.fetchFailed(ctx, bucket, source, err)
	}
	if ask, err := s.asksFallbacks(c, bucket, source, lost); err != nil {
		return download{}, err
	} else if !ask {
		return download{}, s.fetchFailed(ctx, bucket, source, lost)
	}
	for _, f := range c.fallbacks {
		d, err := s.fetch(ctx, bucket, url, f.Around(source), hostsOf(f, hosts), kept, nil, through)
		if err == nil {
			s.log.Info("found an image elsewhere that its origin has lost", "bucket", bucket, "host", imageurl.HostOf(url), "reason", lost.Reason(), "at", f.Host())
			return d, nil
		}
		var e *fetch.Error
		if !errors.As(err, &e) {
			return download{}, s.fetchFailed(ctx, bucket, source, err) // ours
		}
		if e.Kind == fetch.Busy || e.Kind == fetch.Paused {
			e.Asked = true                                             // the origin was
			return download{}, s.fetchFailed(ctx, bucket, source, err) // soon over
		}
		s.log.Info("a fallback has not got it either", "bucket", bucket, "host", imageurl.HostOf(url), "at", f.Host(), "class", e.Kind, "status", e.Status, "error", e)
	}
	return download{}, s.fetchFailed(ctx, bucket, source, lost)
}

// asksFallbacks tells whether a failure of the origin, with those before it, is one
// after which the fallbacks are asked.
func (s *Store) asksFallbacks(c *settings, bucket, url string, e *fetch.Error) (bool, error) {
	after := c.after[e.Reason()]
	if after == 0 || len(c.fallbacks) == 0 {
		return false, nil
	}
	before, err := s.index.Failure(bucket, url)
	if err != nil && !errors.Is(err, index.ErrNotFound) {
		return false, err
	}
	return before.Attempts+1 >= after, nil
}

// hostsOf are those that a bucket that is restricted to some lets a fallback lead
// to: the operator has named the fallback's own. nil: all.
func hostsOf(f imageurl.Fallback, bucket []string) []string {
	if len(bucket) == 0 {
		return nil
	}
	return append([]string{f.Host()}, bucket...)
}

// isPrivate tells whether a canonical URL names what is the operator's own, and nowhere
// else: a fallback would only learn its name.
func isPrivate(url string) bool {
	u := imageurl.URL(url)
	return u.IsLocal() || u.IsObject()
}

// fetch fetches the image of a URL from where it is looked for.
func (s *Store) fetch(ctx context.Context, bucket, url, from string, hosts []string, kept int64, at *fetch.Place, through func(io.Writer) io.Writer) (_ download, err error) {
	tmp, err := s.temp("image-*")
	if err != nil {
		return download{}, err
	}
	defer func() {
		if err != nil {
			s.discard(tmp)
		}
	}()
	c := s.settings.Load()
	b := c.buckets[bucket]
	hash := sha256.New()
	var file io.Writer = local.Writer{Disk: s.disk, File: tmp}
	if through != nil {
		file = through(file)
	}
	result, err := c.origin.Fetch(ctx, fetch.Request{
		URL: from, Hosts: hosts, MaxBytes: b.MaxBytes, Kept: kept, Limits: c.limits, Place: at,
		Digest: func() [32]byte { return [32]byte(hash.Sum(nil)) },
		Again:  tmp,
		Denied: func(host string) bool { return s.blockedHost(host) != nil },
	}, io.MultiWriter(file, hash))
	if err != nil {
		return download{}, err
	}
	return download{tmp: tmp, from: from, final: result.FinalURL, image: record.Image{
		Bucket: bucket, URL: url, Digest: record.Digest(hash.Sum(nil)), Info: result.Info,
		Bytes: result.Bytes, Stored: s.now().UTC().Truncate(time.Second),
	}}, nil
}

// approve asks whether an image may be kept. Nothing of it is visible yet.
func (s *Store) approve(ctx context.Context, d download, source string) error {
	c := s.settings.Load()
	if c.approver == nil {
		return nil
	}
	i := d.image
	err := c.approver.Ask(ctx, approve.Question{
		Bucket: i.Bucket, URL: i.URL, Type: i.Format.ContentType(), Digest: i.Digest.String(), Bytes: i.Bytes,
	}, d.tmp)
	class := Unchecked
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ErrClosed
	case errors.Is(err, approve.ErrRejected):
		class = Rejected
	case c.open:
		s.log.Warn("kept without the operator's check", "bucket", i.Bucket, "host", imageurl.HostOf(i.URL), "digest", i.Digest, "error", err)
		return nil
	}
	return s.fetchFailed(ctx, i.Bucket, source, &fetch.Error{Kind: class, Host: imageurl.HostOf(i.URL), Err: err})
}

// fetchFailed decides what a failed fetch is to the caller.
func (s *Store) fetchFailed(ctx context.Context, bucket, url string, err error) error {
	var e *fetch.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ErrClosed // ours, not the origin's
	case !errors.As(err, &e):
		return fmt.Errorf("store the image: %w", local.AsFull(err)) // ours too
	case e.Kind == fetch.Denied:
		if e.Asked { // a redirect led there; unblocking forgets it
			removed := *e
			removed.Kind = kindRemoved
			if _, err := s.remember(bucket, url, &removed); err != nil {
				return err
			}
		}
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case momentary(e):
		return err
	}
	f, err := s.remember(bucket, url, e)
	if err != nil {
		return err
	}
	s.log.Info("fetch failed", "bucket", bucket, "host", imageurl.HostOf(url), "class", f.Kind, "status", f.Status,
		"final", f.Host, "attempts", f.Attempts, "next", f.Next, "error", e)
	return f
}

// Open opens the original of an image. One that has vanished, or has another
// length than it had, is fetched again, once for all that ask meanwhile, and
// kept only if its origin still gives the same bytes; if not, the error is
// ErrLost, and wrong bytes are moved to the quarantine.
func (s *Store) Open(ctx context.Context, image record.Image) (*os.File, error) {
	f, err := s.files.Open(ctx, image)
	if err == nil || !errors.Is(err, blob.ErrDamaged) {
		return f, err
	}
	if err := s.repair(ctx, image, false); err != nil {
		return nil, err
	}
	return s.files.Open(ctx, image)
}

// Ensure makes sure that the file of an original is there, as Open does, without opening it:
// for hand-off to nginx.
func (s *Store) Ensure(ctx context.Context, image record.Image) error {
	err := s.files.Stat(ctx, image)
	if errors.Is(err, blob.ErrDamaged) {
		return s.repair(ctx, image, false)
	}
	return err
}

func (s *Store) temp(pattern string) (*os.File, error) {
	f, err := s.disk.CreateTemp(filepath.Join(s.root, record.TmpDir), pattern)
	if err != nil {
		return nil, fmt.Errorf("store the image: %w", local.AsFull(err))
	}
	return f, nil
}

func (s *Store) discard(tmp *os.File) {
	tmp.Close()
	s.disk.RemoveAll(tmp.Name())
}
