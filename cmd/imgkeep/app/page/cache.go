package page

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// How long figures are shown before they are counted again, and how long a page waits for
// the first ones.
const (
	figuresAge  = 10 * time.Minute
	figuresWait = 2 * time.Second
)

// cached counts something in the background, one at a time, and only while somebody asks:
// it takes seconds for some millions of images.
type cached[T any] struct {
	count func(context.Context) (T, error)
	now   func() time.Time
	log   *slog.Logger
	life  context.Context
	end   context.CancelFunc
	work  sync.WaitGroup

	mu    sync.Mutex
	value T
	at    time.Time // of value; zero: there is none yet
	err   error     // of the last attempt
	busy  chan struct{}
}

func newCached[T any](count func(context.Context) (T, error), now func() time.Time, log *slog.Logger) *cached[T] {
	c := &cached[T]{count: count, now: now, log: log}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

// get returns what was counted last, and when. at is zero where that is still under way,
// and err what went wrong the last time.
func (c *cached[T]) get(ctx context.Context) (value T, at time.Time, err error) {
	c.mu.Lock()
	if c.busy == nil && (c.at.IsZero() || c.now().Sub(c.at) > figuresAge) && c.life.Err() == nil {
		busy := make(chan struct{})
		c.busy = busy
		c.work.Go(func() { c.run(busy) })
	}
	busy, missing := c.busy, c.at.IsZero()
	c.mu.Unlock()
	if missing && busy != nil {
		select {
		case <-busy:
		case <-time.After(figuresWait):
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value, c.at, c.err
}

func (c *cached[T]) run(busy chan struct{}) {
	var value T
	err := guard(c.log, func() (err error) {
		value, err = c.count(c.life)
		return err
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err = err; err == nil {
		c.value, c.at = value, c.now()
	}
	c.busy = nil
	close(busy)
}

func (c *cached[T]) close() {
	c.end()
	c.work.Wait()
}
