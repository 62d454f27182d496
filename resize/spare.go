package resize

import (
	"slices"
	"time"
)

// Spares are decoders that have started and belong to no slot yet. A slot whose decoder has
// died gets one at once: starting a process and libvips takes long enough for images to
// queue up.

// refill gives another child to a slot that has lost its own: the one that was started for
// it, or a spare. If there is neither, it starts one. It says whether the slot has a child.
// The caller holds the mutex.
func (p *Pool) refill(s *slot) bool {
	s.child, s.next = s.next, nil
	for s.child == nil && len(p.spares) > 0 {
		c := p.spares[0]
		p.spares = slices.Delete(p.spares, 0, 1)
		if !c.gone() {
			s.child = c
			p.wg.Go(func() { p.watch(s, c) })
		}
	}
	if s.child == nil {
		p.replace(s) // before any spare
	} else {
		p.makeSpares()
	}
	return s.child != nil
}

// makeSpares starts missing spares, in the background, once a decoder has been lost. The
// caller holds the mutex.
func (p *Pool) makeSpares() {
	for p.lost && len(p.spares)+p.making < p.opts.Spares && !p.closed {
		p.making++
		p.wg.Go(func() {
			c := p.startUntil()
			p.mu.Lock()
			defer p.mu.Unlock()
			p.making--
			switch {
			case c == nil:
			case p.closed:
				p.wg.Go(c.retire)
			default:
				p.spares = append(p.spares, c)
				p.wg.Go(func() { p.watchSpare(c) })
			}
		})
	}
}

// watchSpare notices that a spare dies before it is needed.
func (p *Pool) watchSpare(c *child) {
	<-c.exited
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.spares, c)
	if i < 0 || p.closed {
		return // it is in a slot, or retired
	}
	p.spares = slices.Delete(p.spares, i, i+1)
	p.stats.Crashed++
	p.makeSpares()
	p.wg.Go(func() { p.reap(c, "ended by itself", nil) })
}

// startUntil starts a child, with pauses after failures, until it works. It returns nil
// once the pool is closed.
func (p *Pool) startUntil() *child {
	pause := p.opts.Backoff
	for {
		c, err := p.startChild(p.ctx)
		if err == nil {
			return c
		}
		if p.ctx.Err() != nil {
			return nil
		}
		p.mu.Lock()
		p.stats.Failed++
		p.mu.Unlock()
		p.opts.Logger.Error("resize: no decoder", "error", err, "again_in_seconds", pause)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-p.ctx.Done():
			t.Stop()
			return nil
		}
		pause = min(2*pause, 64*p.opts.Backoff)
	}
}
