// Package flight does a piece of work once for all who ask for it meanwhile.
//
// It promises that the work goes on when those who have asked leave, or, with DoWanted,
// ends when the last of them does. It remembers no results. Beside it stands what is
// about to be kept, and must not be once it is removed.
package flight

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/singleflight"
)

// Group are pieces of work, one at a time for each key, that go on when those who have
// asked for them leave.
type Group struct {
	group singleflight.Group
	begin func() (done func(), err error)
	life  context.Context

	mu     sync.Mutex
	wanted map[string]*wanted // that end when nobody waits for them
}

// New returns a group whose work ends with life. begin is told of each flight, and
// may refuse it.
func New(life context.Context, begin func() (done func(), err error)) *Group {
	return &Group{life: life, begin: begin, wanted: map[string]*wanted{}}
}

// Do runs work in a flight of its own, one at a time for each key; callers that
// come while it is under way get its result. The flight goes on when its callers
// leave: what ctx ends is only the waiting.
func Do[T any](ctx context.Context, f *Group, key string, work func(context.Context) (T, error)) (T, error) {
	var zero T
	result := f.group.DoChan(key, func() (any, error) {
		done, err := f.begin()
		if err != nil {
			return zero, err
		}
		defer done()
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

// DoWanted is fly for work that is worth nothing when nobody waits for it any more:
// its context then ends, and who comes later begins anew.
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
	// The context belongs to the key of the flight: who finds another flight that is
	// about to end for want of people does not join it.
	return Do(ctx, f, fmt.Sprintf("%s\x00%p", key, w), func(context.Context) (T, error) { return work(w.ctx) })
}
