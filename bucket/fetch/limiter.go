package fetch

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// limiter shares places out among sites: at most total in all and perSite for
// one, and at most queue that wait.
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
	elem  *list.Element // in site.waiters; nil: not waiting any more
	ready chan error    // gets one value: nil for a place, errBusy when pushed out
}

var errBusy = errors.New("too many fetches are waiting")

func newLimiter(total, perSite, queue int) *limiter {
	return &limiter{total: total, perSite: min(perSite, total), queue: queue, sites: map[string]*site{}, turns: list.New()}
}

// acquire waits for a place for a fetch from key, and ends with ctx. It returns
// errBusy where there is not even a place to wait. The place is given back with
// release.
func (l *limiter) acquire(ctx context.Context, key string) (release func(), err error) {
	w, err := l.enter(key)
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
func (l *limiter) enter(key string) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sites[key]
	if s == nil {
		s = &site{key: key, waiters: list.New()}
	}
	w := &waiter{site: s, ready: make(chan error, 1)}
	// Nobody of this site waits while there is a place for it: dispatch sees to
	// that. So whoever finds one overtakes nobody.
	if l.running < l.total && s.running < l.perSite {
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

// dispatch gives the place that became free to the waiter whose turn it is. There
// is at most one such place: either all places were taken, or every site that
// waits was at its own limit, and one of them no longer is.
func (l *limiter) dispatch() {
	if l.running >= l.total {
		return
	}
	for e := l.turns.Front(); e != nil; e = e.Next() {
		s := e.Value.(*site)
		if s.running >= l.perSite {
			continue
		}
		w := s.waiters.Front().Value.(*waiter)
		l.turns.MoveToBack(e)
		l.take(w)
		l.unqueue(w)
		return
	}
	l.dispatchIdle()
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
