package place

import (
	"container/list"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limiter shares out places among sites: at most total in all and perSite for one, unless a
// claim brings another limit for its site, and at most queue waiters. Sites belong to
// groups, each with at most perGroup places: the domain in which anybody may have a site,
// and the network of the address. Otherwise three hundred names below one domain, or of one
// server, would take all places.
//
// Free places go round the sites, not to the oldest waiter, so that a hundred waiters of
// one site do not come before the one of another. When the queue is full, a new waiter
// replaces the last waiter of the site or group with the most waiters, unless that is its
// own: a flood pushes out itself.
//
// Memory grows with the fetches that run or wait; a site without either is forgotten. Its
// methods may be called concurrently.
type Limiter struct {
	total, perSite, perGroup, queue int

	mu      sync.Mutex
	running int
	waiting int
	waiters uint64 // so far
	sites   map[string]*site
	groups  map[string]*group
	turns   *list.List // of *site: those with waiters, whose turn is next in front

	idle       int       // running, of those that nobody waits for: see background.go
	background list.List // of *backgroundWaiter, the oldest in front: they come after all waiters

	waited atomic.Int64 // in all, in nanoseconds
}

type site struct {
	key     string
	running int
	idle    int           // of running
	waiters *list.List    // of *waiter, the oldest in front
	turn    *list.Element // in turns; nil: no waiters
}

// group counts the fetches of several sites together.
type group struct{ running, waiting int }

// hold is a place, or what a place is wanted for.
type hold struct {
	site   *site
	limit  int      // on the places of the site, with which this one may run
	groups []string // the site's groups
	idle   bool     // see background.go
}

// waiter is somebody who has a place, or waits for one.
type waiter struct {
	hold
	number uint64        // the later, the larger
	elem   *list.Element // in site.waiters; nil: not waiting any more
	ready  chan error    // gets one value: nil for a place, ErrBusy when pushed out
}

// ErrBusy says that the queue is full, too.
var ErrBusy = errors.New("too many fetches are waiting")

// New returns a Limiter with total places, at most perSite of them for one site unless
// a Claim says otherwise, and room for queue waiters. total and perSite are at least 1.
func New(total, perSite, queue int) *Limiter {
	return &Limiter{
		// An eighth of all for a group: the sites of a large image host are one, too.
		total: total, perSite: min(perSite, total), perGroup: min(total, max(2*perSite, total/8)), queue: queue,
		sites: map[string]*site{}, groups: map[string]*group{}, turns: list.New(),
	}
}

// Stats are the state of a Limiter at one moment.
type Stats struct {
	Running int           // fetches that have a place
	Waiting int           // fetches that wait for one, but for those in the background
	Waited  time.Duration // what they have waited, in all, since New
}

// Stats may be called at any time.
func (l *Limiter) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Running: l.running, Waiting: l.waiting, Waited: time.Duration(l.waited.Load())}
}

// hold waits for a place for a fetch from key, of which then at most limit run (0:
// perSite), and ends with ctx. It returns ErrBusy if the queue is full. Return the place
// with release, once.
func (l *Limiter) hold(ctx context.Context, key string, limit int, groups []string) (*hold, error) {
	began := time.Now()
	defer func() { l.waited.Add(int64(time.Since(began))) }()
	w, err := l.enter(key, limit, groups...)
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
	return &w.hold, nil
}

// enter takes a place, or one in the queue.
func (l *Limiter) enter(key string, limit int, groups ...string) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sites[key]
	if s == nil {
		s = &site{key: key, waiters: list.New()}
	}
	if limit == 0 {
		limit = l.perSite
	}
	l.waiters++
	w := &waiter{hold: hold{site: s, limit: limit, groups: groups}, number: l.waiters, ready: make(chan error, 1)}
	// No waiter of this site waits while there is a place for it: dispatch makes sure. Only
	// one with a lower limit may, and it is not overtaken either.
	if s.waiters.Len() == 0 && l.hasPlace(&w.hold) {
		l.sites[key] = s
		l.take(w)
		return w, nil
	}
	if l.waiting >= l.queue {
		own := s.waiters.Len()
		for _, key := range groups {
			if g := l.groups[key]; g != nil {
				own = max(own, g.waiting)
			}
		}
		if !l.pushOut(own + 1) {
			return nil, ErrBusy
		}
	}
	l.sites[key] = s
	w.elem = s.waiters.PushBack(w)
	l.waiting++
	for _, key := range groups {
		l.group(key).waiting++
	}
	if s.turn == nil {
		s.turn = l.turns.PushBack(s)
	}
	return w, nil
}

// group returns a group that is in use from now on.
func (l *Limiter) group(key string) *group {
	g := l.groups[key]
	if g == nil {
		g = &group{}
		l.groups[key] = g
	}
	return g
}

// hasPlace tells whether there is a place for h, if nobody is before it.
func (l *Limiter) hasPlace(h *hold) bool {
	if l.running >= l.total || h.site.running >= h.limit {
		return false
	}
	for _, key := range h.groups {
		if !l.groupHasPlace(key, h) {
			return false
		}
	}
	return true
}

func (l *Limiter) groupHasPlace(key string, h *hold) bool {
	g := l.groups[key]
	return g == nil || g.running < max(l.perGroup, h.limit)
}

// move moves a place from the group from, if it is in that, to another group with a free
// place.
func (l *Limiter) move(h *hold, from, to string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from == to || slices.Contains(h.groups, to) {
		return true
	}
	if to != "" && !l.groupHasPlace(to, h) {
		return false
	}
	groups := slices.DeleteFunc(slices.Clone(h.groups), func(key string) bool { return key == from })
	if len(groups) < len(h.groups) {
		l.groups[from].running--
		l.forgetGroup(from)
	}
	if to != "" {
		groups = append(groups, to)
		l.group(to).running++
	}
	h.groups = groups
	l.dispatch()
	return true
}

// pushOut removes the newest waiter of the site or group with the most waiters, if these
// are more than n.
func (l *Limiter) pushOut(n int) bool {
	most := n
	var of func(w *waiter) bool
	for e := l.turns.Front(); e != nil; e = e.Next() {
		if s := e.Value.(*site); s.waiters.Len() > most {
			most, of = s.waiters.Len(), func(w *waiter) bool { return w.site == s }
		}
	}
	for key, g := range l.groups {
		if g.waiting > most {
			most, of = g.waiting, func(w *waiter) bool { return slices.Contains(w.groups, key) }
		}
	}
	if of == nil {
		return false
	}
	var newest *waiter
	for e := l.turns.Front(); e != nil; e = e.Next() {
		for v := e.Value.(*site).waiters.Back(); v != nil; v = v.Prev() {
			if w := v.Value.(*waiter); of(w) && (newest == nil || w.number > newest.number) {
				newest = w
				break
			}
		}
	}
	l.unqueue(newest)
	newest.ready <- ErrBusy
	return true
}

// leave stops waiting, and returns a place that came at the same moment.
func (l *Limiter) leave(w *waiter) {
	l.mu.Lock()
	if w.elem != nil {
		l.unqueue(w)
		l.dispatch() // it may have been in the way of one with a higher limit
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	if err := <-w.ready; err == nil {
		l.release(&w.hold)
	}
}

func (l *Limiter) release(h *hold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.idle {
		l.idle--
		h.site.idle--
	}
	l.running--
	h.site.running--
	for _, key := range h.groups {
		l.groups[key].running--
		l.forgetGroup(key)
	}
	l.forget(h.site)
	l.dispatch()
}

// dispatch gives free places to the waiters whose turn it is. That is one, unless hosts of
// the same site have different limits: then one more may follow the waiter that was in its
// way.
func (l *Limiter) dispatch() {
	for l.running < l.total && l.next() {
	}
	l.dispatchBackground()
}

// next gives one place, if there is a waiter for it.
func (l *Limiter) next() bool {
	for e := l.turns.Front(); e != nil; e = e.Next() {
		s := e.Value.(*site)
		w := s.waiters.Front().Value.(*waiter)
		if !l.hasPlace(&w.hold) {
			continue
		}
		l.turns.MoveToBack(e)
		l.take(w)
		l.unqueue(w)
		return true
	}
	return false
}

func (l *Limiter) take(w *waiter) {
	l.count(&w.hold)
	w.ready <- nil
}

func (l *Limiter) count(h *hold) {
	l.running++
	h.site.running++
	for _, key := range h.groups {
		l.group(key).running++
	}
}

func (l *Limiter) unqueue(w *waiter) {
	s := w.site
	s.waiters.Remove(w.elem)
	w.elem = nil
	l.waiting--
	for _, key := range w.groups {
		l.groups[key].waiting--
		l.forgetGroup(key)
	}
	if s.waiters.Len() == 0 {
		l.turns.Remove(s.turn)
		s.turn = nil
	}
	l.forget(s)
}

func (l *Limiter) forget(s *site) {
	if s.running == 0 && s.waiters.Len() == 0 {
		delete(l.sites, s.key)
	}
}

func (l *Limiter) forgetGroup(key string) {
	if g := l.groups[key]; g.running == 0 && g.waiting == 0 {
		delete(l.groups, key)
	}
}
