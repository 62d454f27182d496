// Package flight does a piece of work once for all concurrent callers.
//
// It promises that the work continues when its callers leave or, with DoWanted, ends when
// the last of them leaves. It remembers no results. The package also has the images about
// to be kept, which must not be once they are removed.
package flight

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sync/singleflight"

	"imgkeep/bucket/panics"
)

// Group are pieces of work, one at a time for each key, that continue when their callers
// leave.
type Group struct {
	group singleflight.Group
	begin func() (done func(), err error)
	life  context.Context
	log   *slog.Logger

	mu     sync.Mutex
	wanted map[string]*wanted // that end when nobody waits for them
}

// New returns a group whose work ends with life. It calls begin for each flight, which may
// refuse it. A panic of the work is logged and becomes its error.
func New(life context.Context, begin func() (done func(), err error), log *slog.Logger) *Group {
	return &Group{life: life, begin: begin, log: log, wanted: map[string]*wanted{}}
}

// Do runs work in a flight of its own, one at a time for each key; concurrent callers get
// the same result. The flight continues when its callers leave: ctx ends only the wait.
func Do[T any](ctx context.Context, f *Group, key string, work func(context.Context) (T, error)) (T, error) {
	var zero T
	result := f.group.DoChan(key, func() (_ any, err error) {
		done, err := f.begin()
		if err != nil {
			return zero, err
		}
		defer done()
		defer panics.Catch(&err, f.log, "work failed")
		return work(f.life)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return zero, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
}

// wanted is a flight that somebody waits for.
type wanted struct {
	people int
	ctx    context.Context
	end    context.CancelFunc
}

// DoWanted is Do for work that is useless once nobody waits for it: its context then ends,
// and a later caller starts again.
func DoWanted[T any](ctx context.Context, f *Group, key string, work func(context.Context) (T, error)) (T, error) {
	f.mu.Lock()
	w := f.wanted[key]
	if w == nil {
		w = &wanted{}
		w.ctx, w.end = context.WithCancel(f.life)
		f.wanted[key] = w
	}
	w.people++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if w.people--; w.people == 0 {
			w.end()
			delete(f.wanted, key)
		}
	}()
	// The context is part of the flight's key: a caller does not join another flight that
	// is about to end because all its callers have left.
	return Do(ctx, f, fmt.Sprintf("%s\x00%p", key, w), func(context.Context) (T, error) { return work(w.ctx) })
}
