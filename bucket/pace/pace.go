// Package pace limits maintenance to a rate, so that it does not use up a disk or origins.
// It does not catch up on lost time.
package pace

import (
	"context"
	"io"
	"time"
)

// Pace limits reading to a number of bytes a second.
type Pace struct {
	Rate  int64
	Now   func() time.Time                           // nil: time.Now
	Sleep func(context.Context, time.Duration) error // nil: a timer's
	due   time.Time
}

// Took waits until the n bytes that were just read are within the rate. It does not catch
// up on time that the disk or a pause has cost.
func (p *Pace) Took(ctx context.Context, n int) error {
	if p.Rate <= 0 {
		return ctx.Err()
	}
	if p.Now == nil {
		p.Now, p.Sleep = time.Now, Sleep
	}
	now := p.Now()
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(time.Duration(float64(n) / float64(p.Rate) * float64(time.Second)))
	// Shorter pauses cost more than they help.
	if wait := p.due.Sub(now); wait > 20*time.Millisecond {
		return p.Sleep(ctx, wait)
	}
	return ctx.Err()
}

// Sleep waits for so long, or until ctx ends, whose cause is then the error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Reader is r at this pace, in bytes. It ends with ctx.
func (p *Pace) Reader(ctx context.Context, r io.Reader) io.Reader { return reader{ctx, p, r} }

type reader struct {
	ctx  context.Context
	pace *Pace
	r    io.Reader
}

func (p reader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if waitErr := p.pace.Took(p.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}
