package bucket

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"imgkeep/bucket/index"
	"imgkeep/bucket/record"
)

// Anybody who may post links can have images kept, for good, and as many as they like. A
// quota bounds what one site can fill of the disk: a domain with all hosts below it, since
// whoever has a domain has as many names in it as they like. Bytes that several sites have
// count once, for the one that brought them first, for as long as they are kept; what is
// made from them does not count.

// ErrQuota: so much is kept of the image's site that no more is. What is kept can be read.
var ErrQuota = errors.New("as much is kept of this site as may be")

// quotaLogged is how long after it was logged that a site has no more room it is logged
// again, and maxQuotaLogged for how many sites that is remembered.
const quotaLogged, maxQuotaLogged = time.Hour, 1000

// quotas are what of sites is about to be kept. Its zero value is ready.
type quotas struct {
	mu     sync.Mutex
	coming map[string]int64     // bytes by site
	logged map[string]time.Time // by site
}

// withinQuota tells whether more may be kept of an image's site: ErrQuota.
func (s *Store) withinQuota(image record.Image) error {
	s.quotas.mu.Lock()
	defer s.quotas.mu.Unlock()
	_, err := s.quotaOf(image)
	return err
}

// claimQuota is withinQuota for an image that is now kept: it counts until end is
// called, after which the index counts it. So of all that are under way at once only one
// can pass the limit. For the moment between the commit and end both count it: then
// another image may be refused although it would just fit, and never the other way.
func (s *Store) claimQuota(image record.Image) (end func(), err error) {
	q := &s.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	site, err := s.quotaOf(image)
	if err != nil || site == "" {
		return func() {}, err
	}
	if q.coming == nil {
		q.coming = map[string]int64{}
	}
	q.coming[site] += image.Bytes
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.coming[site] -= image.Bytes; q.coming[site] == 0 {
			delete(q.coming, site)
		}
	}, nil
}

// quotaOf returns the site of an image that may be kept; "" where it has none, or no
// quota holds. quotas.mu is held.
func (s *Store) quotaOf(image record.Image) (string, error) {
	limit, site := s.settings.Load().maxPerSite, image.Site()
	if limit == 0 || site == "" {
		return "", nil
	}
	kept, err := s.index.SiteBytes(index.SiteOfImage(image))
	if err != nil {
		return "", s.unlessClosed(err)
	}
	if kept+s.quotas.coming[site] < limit {
		return site, nil
	}
	if now := s.now(); s.quotas.log(site, now) {
		s.log.Warn("nothing new of a site is kept: it has as many bytes as store.max_per_site allows", "site", site, "bytes", kept, "limit", limit, "bucket", image.Bucket)
	}
	return "", fmt.Errorf("%w: %d bytes of %s are kept, store.max_per_site is %d", ErrQuota, kept, site, limit)
}

// log tells whether it is time to log that a site has no more room. Requests must not
// fill the log.
func (q *quotas) log(site string, now time.Time) bool {
	if last, ok := q.logged[site]; ok && now.Sub(last) < quotaLogged && !now.Before(last) {
		return false
	}
	if q.logged == nil || len(q.logged) >= maxQuotaLogged {
		q.logged = map[string]time.Time{}
	}
	q.logged[site] = now
	return true
}

// quotaWriter writes to w what a fetch brings of an image that is to be kept. It asks once
// more, when the first bytes come: many that were within the quota may have waited for
// their turn since.
type quotaWriter struct {
	io.Writer
	ask func() error // nil: it was asked
}

func (s *Store) quotaWriter(image record.Image) func(io.Writer) io.Writer {
	return func(w io.Writer) io.Writer {
		return &quotaWriter{w, func() error { return s.withinQuota(image) }}
	}
}

func (w *quotaWriter) Write(p []byte) (int, error) {
	if w.ask != nil {
		if err := w.ask(); err != nil {
			return 0, err
		}
		w.ask = nil
	}
	return w.Writer.Write(p)
}
