package pace

import (
	"context"
	"testing"
	"time"
)

// The rate holds, to the second, however the reads are cut; lost time is not
// caught up with.
func TestPace(t *testing.T) {
	now := time.Unix(0, 0)
	var slept time.Duration
	p := Pace{Rate: 1000, Now: func() time.Time { return now }, Sleep: func(_ context.Context, d time.Duration) error {
		slept += d
		now = now.Add(d)
		return nil
	}}
	took := func(reads, n int) {
		for range reads {
			if err := p.Took(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
	}
	near := func(what string, want time.Duration) {
		t.Helper()
		if d := slept - want; d < -50*time.Millisecond || d > 50*time.Millisecond {
			t.Errorf("%s: slept %v, want %v", what, slept, want)
		}
		slept = 0
	}
	took(1, 10_000)
	near("one read", 10*time.Second)
	took(10_000, 1)
	near("many reads", 10*time.Second)
	now = now.Add(time.Hour)
	took(5, 1000)
	near("after an hour's pause", 5*time.Second)
	p.Rate = 0
	took(1000, 1<<20)
	near("no limit", 0)
}
