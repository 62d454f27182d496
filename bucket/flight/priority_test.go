package flight

import (
	"context"
	"testing"
)

// Where a viewer waits already, nothing waits for a quiet moment.
func TestUrgentBeforeAwait(t *testing.T) {
	var p Priorities
	left := p.Urgent("a")
	reserve := func(context.Context) (int, error) {
		t.Error("it waits")
		return 1, nil
	}
	if place, err := Await(t.Context(), t.Context(), &p, "a", reserve); place != 0 || err != nil {
		t.Errorf("%v, %v", place, err)
	}
	if n := len(p.viewers) + len(p.waiting); n != 1 {
		t.Errorf("%d wait", n)
	}
	left()
	place, err := Await(t.Context(), t.Context(), &p, "a", func(context.Context) (int, error) { return 2, nil })
	if place != 2 || err != nil {
		t.Errorf("nobody waits any more, and it does not wait for a quiet moment: %v, %v", place, err)
	}
	if n := len(p.viewers) + len(p.waiting); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// A viewer ends a wait for a quiet moment, and nothing is remembered of either.
func TestUrgentEndsAwait(t *testing.T) {
	var p Priorities
	var left func()
	place, err := Await(t.Context(), t.Context(), &p, "a", func(ctx context.Context) (int, error) {
		left = p.Urgent("a")
		<-ctx.Done()
		return 0, ctx.Err()
	})
	if place != 0 || err != nil {
		t.Errorf("%v, %v", place, err)
	}
	left()
	if n := len(p.viewers) + len(p.waiting); n != 0 {
		t.Errorf("%d are left", n)
	}
}
