package fetch

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// limiter shares places out among sites: at most total in all and perSite for
// one, unless whoever comes brings another limit for its site, and at most queue
// that wait.
//
// Places that become free go round the sites, not to the oldest waiter, so that
// a hundred waiters of one site do not come before the one of another. When the
// queue is full, the newcomer takes the place of the last waiter of the site
// with the longest queue, unless that is his own: a flood pushes out itself.
//
// Memory grows with those who run or wait; a site without either is forgotten.
type limiter struct {
	total, perSite, queue int

	mu      sync.Mutex
	running int
	waiting int
	sites   map[string]*site
	turns   *list.List // of *site: those with waiters, whose turn is next in front

	idle   int       // running, of those that nobody waits for: see idle.go
	idlers list.List // of *idler, the oldest in front: they come after all waiters
}

type site struct {
	key     string
	running int
	idle    int           // of running
	waiters *list.List    // of *waiter, the oldest in front
	turn    *list.Element // in turns; nil: no waiters
}

// waiter is somebody who has a place, or waits for one.
type waiter struct {
	site  *site
	limit int           // on the places of the site, with which this one may run
	elem  *list.Element // in site.waiters; nil: not waiting any more
	ready chan error    // gets one value: nil for a place, errBusy when pushed out
}

var errBusy = errors.New("too many fetches are waiting")

func newLimiter(total, perSite, queue int) *limiter {
	return &limiter{total: total, perSite: min(perSite, total), queue: queue, sites: map[string]*site{}, turns: list.New()}
}

// acquire waits for a place for a fetch from key, of which then at most limit run
// (0: perSite), and ends with ctx. It returns errBusy where there is not even a
// place to wait. The place is given back with release.
func (l *limiter) acquire(ctx context.Context, key string, limit int) (release func(), err error) {
	w, err := l.enter(key, limit)
	if err != nil {
		return nil, err
	}
	select {
	case err = <-w.ready:
	case <-ctx.Done():
		l.leave(w)
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { l.release(w.site) }), nil
}

// enter takes a place, or one in the queue.
func (l *limiter) enter(key string, limit int) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sites[key]
	if s == nil {
		s = &site{key: key, waiters: list.New()}
	}
	if limit == 0 {
		limit = l.perSite
	}
	w := &waiter{site: s, limit: limit, ready: make(chan error, 1)}
	// Nobody of this site waits while there is a place for it: dispatch sees to
	// that. Only one with a lower limit may, and is not overtaken either.
	if l.running < l.total && s.running < limit && s.waiters.Len() == 0 {
		l.sites[key] = s
		l.take(w)
		return w, nil
	}
	if l.waiting >= l.queue && !l.pushOut(s.waiters.Len()+1) {
		return nil, errBusy
	}
	l.sites[key] = s
	w.elem = s.waiters.PushBack(w)
	l.waiting++
	if s.turn == nil {
		s.turn = l.turns.PushBack(s)
	}
	return w, nil
}

// pushOut removes the newest waiter of the site with the longest queue, if that
// queue is longer than n.
func (l *limiter) pushOut(n int) bool {
	var longest *site
	for e := l.turns.Front(); e != nil; e = e.Next() {
		if s := e.Value.(*site); longest == nil || s.waiters.Len() > longest.waiters.Len() {
			longest = s
		}
	}
	if longest == nil || longest.waiters.Len() <= n {
		return false
	}
	w := longest.waiters.Back().Value.(*waiter)
	l.unqueue(w)
	w.ready <- errBusy
	return true
}

// leave gives up waiting, and gives back a place that came at the same moment.
func (l *limiter) leave(w *waiter) {
	l.mu.Lock()
	if w.elem != nil {
		l.unqueue(w)
		l.dispatch() // it may have been in the way of one with a higher limit
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	if err := <-w.ready; err == nil {
		l.release(w.site)
	}
}

func (l *limiter) release(s *site) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	s.running--
	l.forget(s)
	l.dispatch()
}

// dispatch gives the places that are free to the waiters whose turn it is. That is
// one, unless hosts of the same site have different limits: then one more may
// follow the waiter that was in its way.
func (l *limiter) dispatch() {
	for l.running < l.total && l.next() {
	}
	l.dispatchIdle()
}

// next gives one place, if there is a waiter for it.
func (l *limiter) next() bool {
	for e := l.turns.Front(); e != nil; e = e.Next() {
		s := e.Value.(*site)
		w := s.waiters.Front().Value.(*waiter)
		if s.running >= w.limit {
			continue
		}
		l.turns.MoveToBack(e)
		l.take(w)
		l.unqueue(w)
		return true
	}
	return false
}

func (l *limiter) take(w *waiter) {
	l.running++
	w.site.running++
	w.ready <- nil
}

func (l *limiter) unqueue(w *waiter) {
	s := w.site
	s.waiters.Remove(w.elem)
	w.elem = nil
	l.waiting--
	if s.waiters.Len() == 0 {
		l.turns.Remove(s.turn)
		s.turn = nil
	}
	l.forget(s)
}

func (l *limiter) forget(s *site) {
	if s.running == 0 && s.waiters.Len() == 0 {
		delete(l.sites, s.key)
	}
}
