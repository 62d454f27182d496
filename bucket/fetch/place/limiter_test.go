package place

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// entered returns whether w has a place, was pushed out, or waits.
func entered(w *waiter) string {
	select {
	case err := <-w.ready:
		if err != nil {
			return "out"
		}
		return "in"
	default:
		return "waits"
	}
}

func mustEnter(t *testing.T, l *Limiter, key, want string) *waiter {
	t.Helper()
	w, err := l.enter(key, 0)
	if err != nil {
		if want != "busy" {
			t.Fatalf("%s: %v, want %q", key, err, want)
		}
		return nil
	}
	if got := entered(w); got != want {
		t.Fatalf("%s %s, want %q", key, got, want)
	}
	return w
}

// errLeft is why somebody has left.
var errLeft = errors.New("left")

// acquire waits for a place for as long as ctx lasts.
func acquire(ctx context.Context, l *Limiter, key string, limit int) (release func(), err error) {
	p := l.None()
	if err := p.Enter(ctx, Claim{Site: key, PerSite: limit}, time.Hour); err != nil {
		return nil, err
	}
	return p.Release, nil
}

func TestLimitInAll(t *testing.T) {
	l := New(2, 2, 1)
	a := mustEnter(t, l, "a", "in")
	mustEnter(t, l, "b", "in")
	c := mustEnter(t, l, "c", "waits")
	mustEnter(t, l, "d", "busy")
	l.release(&a.hold)
	if got := entered(c); got != "in" {
		t.Errorf("a place became free, but the waiter %s", got)
	}
	mustEnter(t, l, "d", "waits")
	mustEnter(t, l, "e", "busy")
}

func TestLimitPerSite(t *testing.T) {
	l := New(10, 2, 10)
	first := mustEnter(t, l, "a", "in")
	mustEnter(t, l, "a", "in")
	third := mustEnter(t, l, "a", "waits")
	fourth := mustEnter(t, l, "a", "waits")
	b := mustEnter(t, l, "b", "in") // is not held up by the others
	l.release(&b.hold)
	if got := entered(third); got != "waits" {
		t.Errorf("another site's place went over the site's limit: %s", got)
	}
	l.release(&first.hold)
	if got := entered(third); got != "in" {
		t.Errorf("the oldest waiter %s", got)
	}
	if got := entered(fourth); got != "waits" {
		t.Errorf("the newest waiter %s", got)
	}
}

func TestPerSiteIsAtMostTotal(t *testing.T) {
	l := New(1, 4, 1)
	mustEnter(t, l, "a", "in")
	mustEnter(t, l, "a", "waits")
}

// TestOwnLimit: a host with a limit of its own keeps to it among the others of its
// site, is not overtaken by them, and does not keep them from their places.
func TestOwnLimit(t *testing.T) {
	enter := func(l *Limiter, limit int, want string) *waiter {
		t.Helper()
		w, err := l.enter("a", limit)
		if err != nil || entered(w) != want {
			t.Fatalf("limit %d: %v, want %q", limit, err, want)
		}
		return w
	}
	l := New(10, 2, 10)
	for range 2 {
		enter(l, 3, "in")
	}
	third := enter(l, 3, "in")
	enter(l, 3, "waits")
	l.release(&third.hold)

	l = New(10, 3, 10)
	first, second := enter(l, 0, "in"), enter(l, 0, "in")
	low, high := enter(l, 1, "waits"), enter(l, 0, "waits")
	l.release(&first.hold)
	if got := entered(low) + " " + entered(high); got != "waits waits" {
		t.Errorf("at one running: %s", got)
	}
	l.release(&second.hold)
	if got := entered(low) + " " + entered(high); got != "in in" {
		t.Errorf("at none running: %s", got)
	}

	l = New(10, 3, 10)
	enter(l, 0, "in")
	low, high = enter(l, 1, "waits"), enter(l, 0, "waits")
	l.leave(low)
	if got := entered(high); got != "in" {
		t.Errorf("when the one before it has left: %s", got)
	}
}

// TestTurns: places go round the sites, so that one picture of a small site does
// not wait for a hundred of a large one.
func TestTurns(t *testing.T) {
	l := New(1, 1, 100)
	running := mustEnter(t, l, "flood", "in")
	waiting := map[string][]*waiter{}
	for _, key := range []string{"flood", "flood", "flood", "small", "other", "flood"} {
		waiting[key] = append(waiting[key], mustEnter(t, l, key, "waits"))
	}
	for i, want := range []string{"flood", "small", "other", "flood", "flood", "flood"} {
		l.release(&running.hold)
		running = nil
		for key, ws := range waiting {
			if len(ws) > 0 && entered(ws[0]) == "in" {
				if key != want {
					t.Fatalf("turn %d goes to %s, want %s", i, key, want)
				}
				running, waiting[key] = ws[0], ws[1:]
			}
		}
		if running == nil {
			t.Fatalf("turn %d goes to nobody", i)
		}
	}
}

// TestFloodPushesOutItself: when the queue is full of one site, the others still
// get in, at that site's cost.
func TestFloodPushesOutItself(t *testing.T) {
	l := New(1, 1, 4)
	mustEnter(t, l, "flood", "in")
	var flood []*waiter
	for range 4 {
		flood = append(flood, mustEnter(t, l, "flood", "waits"))
	}
	mustEnter(t, l, "flood", "busy")
	mustEnter(t, l, "a", "waits")
	if got := entered(flood[3]); got != "out" {
		t.Errorf("the newest of the flood %s", got)
	}
	mustEnter(t, l, "b", "waits")
	if got := entered(flood[2]); got != "out" {
		t.Errorf("the second newest of the flood %s", got)
	}
	// Two of the flood, one each of a and b: nobody has more than a newcomer and
	// one would have.
	mustEnter(t, l, "flood", "busy")
	mustEnter(t, l, "a", "busy")
	mustEnter(t, l, "c", "waits")
	mustEnter(t, l, "d", "busy")
	for i, w := range flood[:1] {
		if got := entered(w); got != "waits" {
			t.Errorf("waiter %d of the flood %s", i, got)
		}
	}
}

func TestWaitingEndsWithContext(t *testing.T) {
	l := New(1, 1, 1)
	running := mustEnter(t, l, "a", "in")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errLeft)
	if _, err := acquire(ctx, l, "a", 0); !errors.Is(err, errLeft) {
		t.Errorf("error is %v", err)
	}
	mustEnter(t, l, "a", "waits") // the place in the queue was given back
	l.release(&running.hold)
}

// TestPlaceComesAsTheWaiterLeaves: a place that is given in the moment in which the
// waiter gives up is not lost.
func TestPlaceComesAsTheWaiterLeaves(t *testing.T) {
	l := New(1, 1, 1)
	running := mustEnter(t, l, "a", "in")
	w, err := l.enter("b", 0)
	if err != nil {
		t.Fatal(err)
	}
	l.release(&running.hold) // w is in, but has not noticed
	l.leave(w)
	mustEnter(t, l, "c", "in")

	// The same where it was pushed out instead.
	l = New(1, 1, 2)
	running = mustEnter(t, l, "a", "in")
	mustEnter(t, l, "a", "waits")
	w, err = l.enter("a", 0)
	if err != nil {
		t.Fatal(err)
	}
	l.enter("b", 0)
	l.leave(w)
	if l.running != 1 || l.waiting != 2 {
		t.Errorf("%d running, %d waiting", l.running, l.waiting)
	}
	l.release(&running.hold)
}

func TestReleaseTwiceGivesOnePlace(t *testing.T) {
	l := New(1, 1, 2)
	release, err := acquire(t.Context(), l, "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	release()
	release()
	mustEnter(t, l, "a", "in")
	mustEnter(t, l, "a", "waits")
}

// TestLimiterKeepsItsLimits runs many at once, gives up at random moments, and
// looks whether anything is left in the end.
func TestLimiterKeepsItsLimits(t *testing.T) {
	const total, perSite, queue = 5, 2, 20
	l := New(total, perSite, queue)
	var mu sync.Mutex
	running := map[string]int{}
	all := 0
	var wg sync.WaitGroup
	for i := range 64 {
		key := fmt.Sprint("site ", i%7)
		wg.Go(func() {
			for n := range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				if n%3 == 0 {
					go cancel()
				}
				release, err := acquire(ctx, l, key, n%2*perSite) // in both ways to say it
				if err == nil {
					mu.Lock()
					running[key]++
					all++
					if running[key] > perSite || all > total {
						t.Errorf("%d of %s run, %d in all", running[key], key, all)
					}
					mu.Unlock()
					mu.Lock()
					running[key]--
					all--
					mu.Unlock()
					release()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if l.running != 0 || l.waiting != 0 || len(l.sites) != 0 || len(l.groups) != 0 || l.turns.Len() != 0 {
		t.Errorf("left behind: %d running, %d waiting, %d sites, %d groups, %d turns", l.running, l.waiting, len(l.sites), len(l.groups), l.turns.Len())
	}
}

// A full queue pushes out the group that fills it, though each of its sites has one
// waiter.
func TestFullQueuePushesOutAGroup(t *testing.T) {
	l := New(1, 1, 3)
	enter := func(key string, groups ...string) *waiter {
		w, err := l.enter(key, 0, groups...)
		if err != nil {
			return nil
		}
		return w
	}
	enter("a", "g")
	var flood []*waiter
	for _, key := range []string{"b", "c", "d"} {
		flood = append(flood, enter(key, "g"))
	}
	if enter("e", "g") != nil {
		t.Error("another one of the group found room")
	}
	good := enter("good")
	if good == nil || entered(flood[2]) != "out" || entered(flood[0]) != "waits" {
		t.Error("the group's newest was not pushed out")
	}
}
