package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/cmd/imgkeep/app/config"
)

// watchOrigins asks the origins of what is kept from time to time, if the
// configuration says so, until ctx ends or stop is called, which returns when that
// has ended.
func (p *parts) watchOrigins(ctx context.Context, c config.Config) (stop func(), err error) {
	rot, err := p.store.LinkRot()
	if err != nil {
		return nil, err
	}
	if rot != nil && rot.Last != nil {
		p.metrics.OriginsAsked(*rot.Last)
	}
	if c.LinkRot.Interval == 0 {
		return func() {}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		t := linkRotTimer{
			interval: c.LinkRot.Interval, last: p.store.LinkRot, now: p.now, wait: wait, log: p.log,
			pass: func(ctx context.Context) (bucket.LinkRotPass, error) {
				return p.store.CheckOrigins(ctx, bucket.LinkRotOptions{
					Rate: int64(c.LinkRot.Rate), Asked: p.metrics.OriginAsked,
					// By the rules that hold when it asks.
					Alive: func(ctx context.Context, r fetch.Request) error { return p.current.Load().alive(ctx, r) },
				})
			},
			ended: p.metrics.OriginsAsked,
		}
		t.run(ctx)
	})
	return func() { cancel(); wg.Wait() }, nil
}

// alive asks an origin, unless the URL lacks what its origin would want to see.
func (c *current) alive(ctx context.Context, r fetch.Request) error {
	if newSameImage(c.config).ignores(r.URL) {
		return &fetch.Error{Class: fetch.Refused, Err: errors.New("its URL is kept without the parameters that fetch.same_image names")}
	}
	return c.fetcher.Alive(ctx, r)
}

// linkRotTimer begins a pass when the last one has ended an interval ago, so that no
// URL is asked more often. One that was broken off it goes on with at once.
type linkRotTimer struct {
	interval time.Duration
	last     func() (*bucket.LinkRot, error)
	pass     func(context.Context) (bucket.LinkRotPass, error)
	ended    func(bucket.LinkRotPass)
	log      *slog.Logger
	now      func() time.Time
	wait     func(context.Context, time.Duration) error
}

// retryLinkRot is the pause after a pass that could not go on, as on a full disk.
const retryLinkRot = time.Hour

func (t *linkRotTimer) run(ctx context.Context) {
	pause := t.first()
	for t.wait(ctx, pause) == nil {
		t.log.Info("asking origins begins")
		pass, err := t.pass(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			t.log.Error("asking origins failed", "error", err)
			pause = min(t.interval, retryLinkRot)
			continue
		}
		pause = t.interval
		t.ended(pass)
		args := []any{"began", pass.Began}
		for _, state := range bucket.OriginStates() {
			args = append(args, string(state), pass.All[state])
		}
		t.log.Info("asking origins ended", args...)
	}
}

// first is the time until the first pass.
func (t *linkRotTimer) first() time.Duration {
	rot, err := t.last()
	if err != nil || rot == nil || rot.Now != nil || rot.Last == nil {
		return 0
	}
	return max(t.interval-t.now().Sub(rot.Last.Ended), 0)
}
