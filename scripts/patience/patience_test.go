package patience

import (
	"testing"
	"time"
)

type untilThen struct {
	testing.TB
	deadline time.Time
	ok       bool
}

func (u untilThen) Deadline() (time.Time, bool) { return u.deadline, u.ok }

func TestOf(t *testing.T) {
	for _, tt := range []struct{ left, want time.Duration }{
		{30 * time.Minute, 3 * time.Minute},
		{100*time.Second + 10, 10*time.Second + 1},
		{100 * time.Second, 10 * time.Second},
		{99 * time.Second, 10 * time.Second},
		{-time.Hour, 10 * time.Second},
	} {
		if got := of(tt.left); got != tt.want {
			t.Errorf("%v left: %v, want %v", tt.left, got, tt.want)
		}
	}
	if got := Of(untilThen{t, time.Now().Add(time.Hour), true}); got > 6*time.Minute || got < 5*time.Minute {
		t.Errorf("with a deadline in an hour: %v", got)
	}
	if got := Of(untilThen{t, time.Time{}, false}); got != time.Minute {
		t.Errorf("without a deadline: %v", got)
	}
	if got := Of(struct{ testing.TB }{t}); got != time.Minute {
		t.Errorf("of what has no deadlines: %v", got)
	}
}
