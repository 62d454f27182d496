package resize

import (
	"context"
	"strings"
	"testing"
)

// A job that waits learns its targets when it has a decoder, and no earlier.
func TestLateTargets(t *testing.T) {
	p := newPool(t, Options{})
	free := hold(t, p)
	var now []Target
	calls := 0
	job := Job{Format: "jpeg", Targets: make([]Target, 99), LateTargets: func() []Target { calls++; return now }}
	done := make(chan []Result)
	go func() {
		r, err := p.Resize(context.Background(), strings.NewReader("good"), 4, job)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	until(t, p, "waiting", func(s Stats) bool { return s.Waiting == 1 })
	now = []Target{{Size: Size{Height: 1}}, {Size: Size{Height: 2}}} // which the lock of the pool shows to the job
	if err := free(); err != nil {
		t.Fatal(err)
	}
	if r := <-done; len(r) != 2 || calls != 1 {
		t.Errorf("%d results after %d calls", len(r), calls)
	}
}

// What is gathered is checked as what is there from the start. A decoder that was
// at hand for it goes on as if nothing had been.
func TestLateTargetsAreChecked(t *testing.T) {
	p := newPool(t, Options{}, "jpeg")
	pid := tell(t, p, "pid")
	for want, targets := range map[string][]Target{
		"0 targets":    nil,
		"17 targets":   make([]Target, 17),
		"has no webp":  {{Size: Size{Height: 1}, Format: "webp"}},
		"size of heig": {{Size: Size{Height: 1}}, {}},
	} {
		_, err := p.Resize(context.Background(), strings.NewReader("good"), 4, Job{Format: "jpeg", LateTargets: func() []Target { return targets }})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if s := p.Stats(); s.Images != 1 || s.Busy != 0 || s.Ready != 1 {
		t.Errorf("%+v", s)
	}
	if tell(t, p, "pid") != pid {
		t.Error("the decoder was replaced")
	}
}
