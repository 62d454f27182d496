package place

import (
	"container/list"
	"context"
)

// Reserve waits for a place for a fetch that nobody is waiting for: until one is
// free that no other fetch wants. Such fetches leave a quarter of all places, and
// of each site's, to the others (but at least one to themselves), so that a
// viewer finds one free however much is fetched ahead.
//
// The wait has no end but that of ctx, whose cause is the error. Those who wait are
// not counted in queue, and nobody pushes them out: how many there are is the
// caller's to bound.
func (l *Limiter) Reserve(ctx context.Context, c Claim) (*Place, error) {
	h, err := l.holdIdle(ctx, c.Site, c.PerSite, c.groups())
	if err != nil {
		return nil, err
	}
	return &Place{limit: l, claim: c, hold: h, idle: true}, nil
}

// idler is somebody who waits behind all waiters.
type idler struct {
	hold  // whose site is set once it has a place
	key   string
	elem  *list.Element // in Limiter.idlers; nil: not waiting
	ready chan struct{} // closed when it has a place
}

// holdIdle is hold for a fetch that can wait.
func (l *Limiter) holdIdle(ctx context.Context, key string, limit int, groups []string) (*hold, error) {
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
func (l *Limiter) takeIdle(w *idler) bool {
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
func (l *Limiter) dispatchIdle() {
	for e := l.idlers.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*idler); l.takeIdle(w) {
			l.idlers.Remove(e)
			w.elem = nil
			return
		}
	}
}
