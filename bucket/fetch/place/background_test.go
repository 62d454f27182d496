package place

import (
	"context"
	"testing"
	"testing/synctest"
)

// idle asks for an idle place, and returns where its release will be.
func idle(t *testing.T, ctx context.Context, l *Limiter, key string) chan func() {
	got := make(chan func(), 1)
	go func() {
		p, err := l.Reserve(ctx, Claim{Site: key})
		if err != nil {
			close(got)
			return
		}
		got <- p.Release
	}()
	synctest.Wait()
	return got
}

func hasPlace(got chan func()) bool { return len(got) == 1 }

// Idle fetches leave a quarter of the places, but have one in any case.
func TestIdleShare(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 1, 3: 2, 4: 3, 8: 6, 64: 48} {
		if got := backgroundShare(n); got != want {
			t.Errorf("of %d places %d, want %d", n, got, want)
		}
	}
}

// A fetch that somebody waits for comes before all that is idle, whichever came first.
func TestIdleComesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(1, 1, 10)
		first := mustEnter(t, l, "a", "in")
		waits := idle(t, t.Context(), l, "b")
		second := mustEnter(t, l, "b", "waits")
		third := mustEnter(t, l, "c", "waits")
		for _, c := range []struct{ gives, gets *waiter }{{first, second}, {second, third}} {
			l.release(&c.gives.hold)
			synctest.Wait()
			if got := entered(c.gets); got != "in" || hasPlace(waits) {
				t.Fatalf("the waiter %s, the idle one: %v", got, hasPlace(waits))
			}
		}
		l.release(&third.hold)
		synctest.Wait()
		if !hasPlace(waits) {
			t.Fatal("nobody waits, and the idle one has no place")
		}
		fourth := mustEnter(t, l, "d", "waits")
		(<-waits)()
		if got := entered(fourth); got != "in" {
			t.Errorf("an idle fetch has ended, and the waiter %s", got)
		}
		l.release(&fourth.hold)
		if l.running != 0 || l.idle != 0 || len(l.sites) != 0 || l.background.Len() != 0 {
			t.Errorf("left: %d running, %d idle, %d sites, %d waiting", l.running, l.idle, len(l.sites), l.background.Len())
		}
	})
}

// However much is idle, a place of each site and of all is free for others.
func TestIdleLeavesPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(8, 4, 0)
		ctx, cancel := context.WithCancel(t.Context())
		var all []chan func()
		for _, key := range []string{"a", "b", "c"} {
			for range 5 {
				all = append(all, idle(t, ctx, l, key))
			}
		}
		has := 0
		for i, got := range all {
			if hasPlace(got) {
				has++
				if i%5 >= 3 {
					t.Errorf("idle fetch %d of a site has a place", i%5+1)
				}
			}
		}
		if has != 6 {
			t.Errorf("%d idle fetches have places, want 6 of 8", has)
		}
		mustEnter(t, l, "a", "in")
		mustEnter(t, l, "b", "in")
		mustEnter(t, l, "c", "busy")
		// Those who leave are forgotten.
		cancel()
		synctest.Wait()
		if l.background.Len() != 0 {
			t.Errorf("%d wait, and have left", l.background.Len())
		}
		for _, got := range all {
			if release := <-got; release != nil {
				release()
				release() // does nothing
			}
		}
		if l.running != 2 || l.idle != 0 {
			t.Errorf("%d running, %d idle; want 2 and 0", l.running, l.idle)
		}
	})
}
