package fetch

import (
	"container/list"
	"context"
	"sync"
)

// Place is a place among the simultaneous fetches that Reserve has taken. It is
// handed to one Fetch, and released afterwards.
type Place struct{ place }

// Release gives the place back. It may be called again, and on nil.
func (p *Place) Release() {
	if p != nil {
		p.release()
	}
}

// Reserve waits for a place for a fetch that nobody is waiting for: until one is
// free that no other fetch wants. Such fetches leave a quarter of all places, and
// of each site's, to the others (but at least one to themselves), so that a
// viewer finds one free however much is fetched ahead.
//
// The wait has no end but that of ctx, whose cause is the error. For a URL that
// Fetch will refuse the place is nil.
func (f *Fetcher) Reserve(ctx context.Context, url string) (*Place, error) {
	c := claim{site: localScheme, perSite: f.usual.perHost}
	if !isLocal(url) {
		to, err := f.target("", url, nil)
		if err != nil {
			return nil, nil
		}
		c = f.claimOf(to)
	}
	h, err := f.limit.holdIdle(ctx, c.site, c.perSite, c.groups())
	if err != nil {
		return nil, err
	}
	return &Place{place{limit: f.limit, claim: c, hold: h, idle: true}}, nil
}

// placeFor is the place that a request brings, or one yet to be waited for.
func (f *Fetcher) placeFor(r Request) *place {
	if r.Place != nil {
		return &r.Place.place
	}
	return &place{limit: f.limit}
}

// idler is somebody who waits behind all waiters.
type idler struct {
	hold  // whose site is set once it has a place
	key   string
	elem  *list.Element // in limiter.idlers; nil: not waiting
	ready chan struct{} // closed when it has a place
}

// acquireIdle is acquire for a fetch that can wait. Those who wait are not
// counted in queue, and nobody pushes them out: how many there are is the
// caller's to bound.
func (l *limiter) acquireIdle(ctx context.Context, key string, limit int, groups ...string) (release func(), err error) {
	h, err := l.holdIdle(ctx, key, limit, groups)
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { l.release(h) }), nil
}

// holdIdle is acquireIdle for whoever gives the place back with release, once.
func (l *limiter) holdIdle(ctx context.Context, key string, limit int, groups []string) (*hold, error) {
	if limit == 0 {
		limit = l.perSite
	}
	w := &idler{hold: hold{limit: limit, groups: groups, idle: true}, key: key, ready: make(chan struct{})}
	l.mu.Lock()
	if !l.takeIdle(w) {
		w.elem = l.idlers.PushBack(w)
	}
	l.mu.Unlock()
	select {
	case <-w.ready:
	case <-ctx.Done():
		l.mu.Lock()
		waits := w.elem != nil
		if waits {
			l.idlers.Remove(w.elem)
		}
		l.mu.Unlock()
		if waits {
			return nil, context.Cause(ctx)
		}
	}
	return &w.hold, nil
}

// takeIdle takes a place if there is one. Since dispatch has seen to it that
// nobody waits for it, it is taken from nobody.
func (l *limiter) takeIdle(w *idler) bool {
	s := l.sites[w.key]
	if s == nil {
		s = &site{key: w.key, waiters: list.New()}
	}
	h := w.hold
	h.site = s
	if !l.hasPlace(&h) || l.idle >= idleShare(l.total) || s.idle >= idleShare(w.limit) {
		return false
	}
	l.sites[w.key] = s
	w.site = s
	l.count(&w.hold)
	l.idle++
	s.idle++
	close(w.ready)
	return true
}

// idleShare is how many of n places idle fetches may have.
func idleShare(n int) int { return max(1, n-max(1, n/4)) }

// dispatchIdle gives a place that no waiter wants to the first idler who may
// have it.
func (l *limiter) dispatchIdle() {
	for e := l.idlers.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*idler); l.takeIdle(w) {
			l.idlers.Remove(e)
			w.elem = nil
			return
		}
	}
}
