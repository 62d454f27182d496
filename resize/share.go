package resize

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Decoders are shared by time, among sites and, within a site, among images: first comes
// the one with fewer decoders at work, then the one that has used less of them lately. So
// an attacker who sends a hundred images that take seconds each waits behind others who
// send small ones, not the other way round.
//
// The queue is bounded in length and in time. When it is full, a new call replaces the last
// waiting one of the site that has most of them, unless that is its own site: a flood
// pushes out itself. Background calls come after all that viewers wait for, and may wait
// without limit.
//
// The queue is also for memory: while results fill it, decoders stay idle.

// share is what a site or an image has of the decoders. The pool's mutex guards it.
type share struct {
	running, waiting int
	// used is when the decoder time that it has used, counted one after the other, would be
	// over; in the past if it owes nothing.
	used time.Time
}

// debt is the decoder time that it has used lately.
func (s *share) debt(now time.Time) time.Duration { return max(0, s.used.Sub(now)) }

// charge adds a decoder's time, up to most: a site that was the only one for long must not
// wait for ever when another comes.
func (s *share) charge(now time.Time, d, most time.Duration) {
	s.used = now.Add(min(s.debt(now)+d, most))
}

// shares are the current shares, by key.
type shares map[string]*share

func (m shares) get(key string) *share {
	s := m[key]
	if s == nil {
		s = &share{}
		m[key] = s
	}
	return s
}

// forget drops shares that hold, want and owe nothing.
func (m shares) forget(now time.Time) {
	for key, s := range m {
		if s.running == 0 && s.waiting == 0 && !s.used.After(now) {
			delete(m, key)
		}
	}
}

// call holds a decoder, or waits for one.
type call struct {
	site, image *share
	background  bool
	turn        chan *slot // receives the decoder; closed: there will be none, because of err
	err         error
	began       time.Time // of its work
}

// before says whether c, which came earlier, goes before d.
func (c *call) before(d *call, now time.Time) bool {
	return cmp.Or(
		compareBool(c.background, d.background),
		cmp.Compare(c.site.running, d.site.running), cmp.Compare(c.site.debt(now), d.site.debt(now)),
		cmp.Compare(c.image.running, d.image.running), cmp.Compare(c.image.debt(now), d.image.debt(now)),
	) <= 0
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// acquire takes a decoder for a job, and counts the call in jobs.
func (p *Pool) acquire(ctx context.Context, j Job) (*slot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &call{background: j.Background, turn: make(chan *slot, 1)}
	if s, err := p.atOnce(c, j); s != nil || err != nil {
		return s, err
	}
	began := time.Now()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stats.Waited += time.Since(began)
	}()
	return p.wait(ctx, c)
}

// atOnce takes an idle decoder, or else puts the call into the queue and returns neither a
// slot nor an error.
func (p *Pool) atOnce(c *call, j Job) (*slot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	c.site, c.image = p.sites.get(j.Site), p.images.get(j.Image)
	if i := len(p.idle) - 1; i >= 0 && p.held < p.opts.MaxHeld {
		s := p.idle[i]
		p.idle = p.idle[:i]
		p.take(s, c)
		return s, nil
	}
	if !p.enter(c) {
		p.stats.Refused++
		return nil, ErrBusy
	}
	return nil, nil
}

// wait waits until it is the call's turn.
func (p *Pool) wait(ctx context.Context, c *call) (*slot, error) {
	late := (<-chan time.Time)(nil)
	if !c.background {
		t := time.NewTimer(p.opts.Wait)
		defer t.Stop()
		late = t.C
	}
	select {
	case s, ok := <-c.turn:
		if !ok {
			return nil, c.err
		}
		return s, nil
	case <-ctx.Done():
		return p.giveUp(c, ctx.Err())
	case <-late:
		return p.giveUp(c, ErrBusy)
	}
}

// giveUp takes a call out of the queue, for a reason. A call that is only late still takes
// a decoder that came at the same moment.
func (p *Pool) giveUp(c *call, err error) (*slot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(p.waiters, c) {
		p.unqueue(c)
		if err == ErrBusy {
			p.stats.Refused++
		}
		return nil, err
	}
	// The turn, or the refusal, came at the same moment.
	s, ok := <-c.turn
	switch {
	case !ok:
		return nil, c.err
	case err == ErrBusy:
		return s, nil
	}
	p.leave(s)
	p.free(s)
	p.jobs.Done()
	return nil, err
}

// enter puts a call into the queue, if there is room. The caller holds the mutex.
func (p *Pool) enter(c *call) bool {
	queued := 0
	var last *call // in the queue, of the site with most calls
	for _, w := range p.waiters {
		if w.background != c.background {
			continue
		}
		queued++
		if last == nil || cmp.Or(cmp.Compare(w.site.waiting, last.site.waiting), cmp.Compare(w.image.waiting, last.image.waiting)) >= 0 {
			last = w
		}
	}
	if queued >= p.opts.Queue {
		if last == nil || last.site.waiting <= c.site.waiting+1 && (last.site != c.site || last.image.waiting <= c.image.waiting+1) {
			return false
		}
		p.unqueue(last)
		p.stats.Refused++
		last.err = ErrBusy
		close(last.turn)
	}
	p.waiters = append(p.waiters, c)
	c.site.waiting++
	c.image.waiting++
	return true
}

// unqueue takes a call out of the queue. The caller holds the mutex.
func (p *Pool) unqueue(c *call) {
	i := slices.Index(p.waiters, c)
	p.waiters = slices.Delete(p.waiters, i, i+1)
	c.site.waiting--
	c.image.waiting--
}

// take gives a slot with a living child to a call. The caller holds the mutex.
func (p *Pool) take(s *slot, c *call) {
	s.busy, s.call = true, c
	c.began = time.Now()
	c.site.running++
	c.image.running++
	p.stats.Busy++
	p.jobs.Add(1)
}

// leave ends the work of a call, and charges its time. The caller holds the mutex.
func (p *Pool) leave(s *slot) {
	c, now := s.call, time.Now()
	s.call = nil
	p.stats.Busy--
	for _, share := range []*share{c.site, c.image} {
		share.running--
		share.charge(now, now.Sub(c.began), 2*p.opts.Timeout)
	}
	p.sites.forget(now)
	p.images.forget(now)
}

// hold counts results as held in memory until a context ends. Call it before their decoder
// is free for others.
func (p *Pool) hold(until context.Context, results []Result) {
	n := int64(0)
	for _, r := range results {
		n += int64(len(r.Data))
	}
	if until == nil || n == 0 {
		return
	}
	p.mu.Lock()
	p.held += n
	p.mu.Unlock()
	context.AfterFunc(until, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.held -= n
		p.serve()
	})
}

// free makes a slot with a child available. The caller holds the mutex.
func (p *Pool) free(s *slot) {
	s.busy = false
	p.idle = append(p.idle, s)
	p.serve()
}

// serve gives available slots to the calls whose turn it is, as long as there is memory for
// their results. The caller holds the mutex.
func (p *Pool) serve() {
	for len(p.waiters) > 0 && len(p.idle) > 0 && p.held < p.opts.MaxHeld && !p.closed {
		now := time.Now()
		next := p.waiters[0]
		for _, w := range p.waiters[1:] {
			if !next.before(w, now) {
				next = w
			}
		}
		p.unqueue(next)
		s := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		p.take(s, next)
		next.turn <- s
	}
}
