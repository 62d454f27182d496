package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/cmd/imgkeep/app/config"
)

func (e *engine) linkRotTimer(c config.Config) *linkRotTimer {
	return &linkRotTimer{
		interval: c.LinkRot.Interval, last: e.store.LinkRot, now: e.now, wait: wait, log: e.log,
		pass: func(ctx context.Context) (bucket.LinkRotPass, error) {
			return e.store.CheckOrigins(ctx, bucket.LinkRotOptions{
				Rate: int64(c.LinkRot.Rate), Asked: e.metrics.OriginAsked,
				// By the rules that hold when it asks.
				Alive: func(ctx context.Context, r fetch.Request) error { return e.current.Load().alive(ctx, r) },
			})
		},
		ended: e.metrics.OriginsAsked,
	}
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

func (t *linkRotTimer) run(ctx context.Context) {
	every(ctx, t.first(), t.interval, t.wait, func(ctx context.Context) error {
		err := t.once(ctx)
		if err != nil && ctx.Err() == nil {
			t.log.Error("asking origins failed", "error", err)
		}
		return err
	})
}

func (t *linkRotTimer) once(ctx context.Context) error {
	t.log.Info("asking origins begins")
	pass, err := t.pass(ctx)
	if err != nil {
		return err
	}
	t.ended(pass)
	args := []any{"began", pass.Began}
	for _, state := range bucket.OriginStates() {
		args = append(args, string(state), pass.All[state])
	}
	t.log.Info("asking origins ended", args...)
	return nil
}

// first is the time until the first pass.
func (t *linkRotTimer) first() time.Duration {
	rot, err := t.last()
	if err != nil || rot == nil || rot.Now != nil || rot.Last == nil {
		return 0
	}
	return max(t.interval-t.now().Sub(rot.Last.Ended), 0)
}
