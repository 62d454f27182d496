// Package place shares out the places of simultaneous fetches, so that no site, domain or
// network has more than its share of them, however many names it has.
//
// It promises that no more fetches run than there are places; that places go round the
// sites; that background fetches (see Limiter.Reserve) come after all others; and that a
// full queue refuses those that have most waiting. A [Body] that arrives too slowly loses
// its place.
//
// It fetches nothing, resolves no name, and trusts a [Claim]. It does not end a fetch that
// has a place: each fetch returns its own.
package place

import (
	"context"
	"sync"
	"time"
)

// Place is what a fetch holds of a Limiter: nothing, or a place. One fetch uses it at
// a time, whose connections may call MoveTo meanwhile.
type Place struct {
	limit *Limiter
	idle  bool // nobody waits for the fetch

	mu    sync.Mutex // of what follows, which a connection changes
	claim Claim
	hold  *hold // nil: none
}

// None returns a Place that holds nothing yet.
func (l *Limiter) None() *Place { return &Place{limit: l} }

// Enter waits for a place, for patience at most, after which the error is ErrBusy; one that
// Reserve has made waits without a limit. It first returns the place that it holds, so that
// nobody holds one place while it waits for another.
func (p *Place) Enter(ctx context.Context, c Claim, patience time.Duration) error {
	p.Release()
	wait := p.limit.holdBackground
	if !p.idle {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, patience, ErrBusy)
		defer cancel()
		wait = p.limit.hold
	}
	h, err := wait(ctx, c.Site, c.PerSite, c.groups())
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claim, p.hold = c, h
	return nil
}

// Holds tells whether it has a place of the site and domain of a claim.
func (p *Place) Holds(c Claim) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hold != nil && p.claim.Site == c.Site && p.claim.Domain == c.Domain
}

// Release returns the place. It may be called again, and on nil.
func (p *Place) Release() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold != nil {
		p.limit.release(p.hold)
		p.hold = nil
	}
}

// MoveTo counts the place by another network, if that has room for it.
func (p *Place) MoveTo(network string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold == nil {
		return true // the fetch has ended
	}
	if !p.limit.move(p.hold, p.claim.Network, network) {
		return false
	}
	p.claim.Network = network
	return true
}

// Network is the one that the place is counted by; empty: none.
func (p *Place) Network() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.claim.Network
}
