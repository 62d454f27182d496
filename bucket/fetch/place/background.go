package place

import (
	"container/list"
	"context"
)

// Reserve waits for a place for a fetch that nobody waits for, until one is free that no
// other fetch wants. Such fetches leave a quarter of all places, and of each site's, to the
// others (but have at least one), so that a viewer finds one free however much is fetched
// in the background.
//
// The wait ends only with ctx, whose cause is the error. Background waiters do not count in
// queue, and nobody pushes them out: the caller bounds their number.
func (l *Limiter) Reserve(ctx context.Context, c Claim) (*Place, error) {
	h, err := l.holdBackground(ctx, c.Site, c.PerSite, c.groups())
	if err != nil {
		return nil, err
	}
	return &Place{limit: l, claim: c, hold: h, idle: true}, nil
}

// backgroundWaiter waits behind all waiters.
type backgroundWaiter struct {
	hold  // whose site is set once it has a place
	key   string
	elem  *list.Element // in Limiter.background; nil: not waiting
	ready chan struct{} // closed when it has a place
}

// holdBackground is hold for a fetch that can wait.
func (l *Limiter) holdBackground(ctx context.Context, key string, limit int, groups []string) (*hold, error) {
	if limit == 0 {
		limit = l.perSite
	}
	w := &backgroundWaiter{hold: hold{limit: limit, groups: groups, idle: true}, key: key, ready: make(chan struct{})}
	l.mu.Lock()
	if !l.takeBackground(w) {
		w.elem = l.background.PushBack(w)
	}
	l.mu.Unlock()
	select {
	case <-w.ready:
	case <-ctx.Done():
		l.mu.Lock()
		waits := w.elem != nil
		if waits {
			l.background.Remove(w.elem)
		}
		l.mu.Unlock()
		if waits {
			return nil, context.Cause(ctx)
		}
	}
	return &w.hold, nil
}

// takeBackground takes a place if there is one. dispatch makes sure that no waiter wants
// it.
func (l *Limiter) takeBackground(w *backgroundWaiter) bool {
	s := l.sites[w.key]
	if s == nil {
		s = &site{key: w.key, waiters: list.New()}
	}
	h := w.hold
	h.site = s
	if !l.hasPlace(&h) || l.idle >= backgroundShare(l.total) || s.idle >= backgroundShare(w.limit) {
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

// backgroundShare is how many of n places background fetches may have.
func backgroundShare(n int) int { return max(1, n-max(1, n/4)) }

// dispatchBackground gives a place that no waiter wants to the first background waiter that
// may have it.
func (l *Limiter) dispatchBackground() {
	for e := l.background.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*backgroundWaiter); l.takeBackground(w) {
			l.background.Remove(e)
			w.elem = nil
			return
		}
	}
}
