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
	if n := p.Len(); n != 1 {
		t.Errorf("%d wait", n)
	}
	left()
	place, err := Await(t.Context(), t.Context(), &p, "a", func(context.Context) (int, error) { return 2, nil })
	if place != 2 || err != nil {
		t.Errorf("nobody waits any more, and it does not wait for a quiet moment: %v, %v", place, err)
	}
	if n := p.Len(); n != 0 {
		t.Errorf("%d are left", n)
	}
}
