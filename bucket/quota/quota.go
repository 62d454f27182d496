// Package quota bounds what one site can fill of the disk.
//
// Anybody who may post links can have images kept, for good, and as many as they like. A site
// is a domain with all hosts below it, since the owner of a domain has as many names in it as
// they like. Bytes that several sites have count once, for the one that brought them first,
// for as long as they are kept; what is made from them does not count.
//
// It promises that of all images that are kept at once only one can pass the limit. It keeps
// no sums itself: what is kept of a site is the index's to say.
package quota

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"imgkeep/bucket/record"
)

// ErrQuota: so much is kept of the image's site that no more is. What is kept can be read.
var ErrQuota = errors.New("as much is kept of this site as may be")

// logged is how long after it was logged that a site has no more room it is logged again, and
// maxLogged for how many sites that is remembered.
const logged, maxLogged = time.Hour, 1000

// Sites are the sites that have images. They may be used concurrently, and must not be copied.
type Sites struct {
	Kept  func(record.Image) (int64, error) // the bytes that are kept of an image's site
	Limit func() int64                      // the most bytes of a site; 0: no limit
	Now   func() time.Time
	Log   *slog.Logger

	mu     sync.Mutex
	coming map[string]int64     // bytes that are about to be kept, by site
	logged map[string]time.Time // by site
}

// Within tells whether more may be kept of an image's site: ErrQuota.
func (s *Sites) Within(image record.Image) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.of(image)
	return err
}

// Claim is Within for an image that is now kept: it counts until end is called, after which
// Kept counts it. For the moment between the commit and end both count it: then another image
// may be refused although it would just fit, and never the other way.
func (s *Sites) Claim(image record.Image) (end func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	site, err := s.of(image)
	if err != nil || site == "" {
		return func() {}, err
	}
	if s.coming == nil {
		s.coming = map[string]int64{}
	}
	s.coming[site] += image.Bytes
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.coming[site] -= image.Bytes; s.coming[site] == 0 {
			delete(s.coming, site)
		}
	}, nil
}

// Claimed is how many sites have claims that have not ended.
func (s *Sites) Claimed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.coming)
}

// of returns the site of an image that may be kept; "" where it has none, or no quota holds.
// mu is held.
func (s *Sites) of(image record.Image) (string, error) {
	limit, site := s.Limit(), image.Site()
	if limit == 0 || site == "" {
		return "", nil
	}
	kept, err := s.Kept(image)
	if err != nil {
		return "", err
	}
	if kept+s.coming[site] < limit {
		return site, nil
	}
	if now := s.Now(); s.note(site, now) {
		s.Log.Warn("nothing new of a site is kept: it has as many bytes as store.max_per_site allows", "site", site, "bytes", kept, "limit", limit, "bucket", image.Bucket)
	}
	return "", fmt.Errorf("%w: %d bytes of %s are kept, store.max_per_site is %d", ErrQuota, kept, site, limit)
}

// note tells whether it is time to log that a site has no more room. Requests must not fill
// the log.
func (s *Sites) note(site string, now time.Time) bool {
	if last, ok := s.logged[site]; ok && now.Sub(last) < logged && !now.Before(last) {
		return false
	}
	if s.logged == nil || len(s.logged) >= maxLogged {
		s.logged = map[string]time.Time{}
	}
	s.logged[site] = now
	return true
}

// writer asks once more, when the first bytes come: many that were within the quota may have
// waited for their turn since.
type writer struct {
	io.Writer
	ask func() error // nil: it was asked
}

// Writer passes on what a fetch brings of an image, unless the quota is used up when it comes.
func (s *Sites) Writer(image record.Image) func(io.Writer) io.Writer {
	return func(w io.Writer) io.Writer { return &writer{w, func() error { return s.Within(image) }} }
}

func (w *writer) Write(p []byte) (int, error) {
	if w.ask != nil {
		if err := w.ask(); err != nil {
			return 0, err
		}
		w.ask = nil
	}
	return w.Writer.Write(p)
}
