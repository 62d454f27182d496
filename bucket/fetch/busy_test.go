package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket/fetch/place"
	"imgkeep/scripts/patience"
)

// gate is an origin whose answers wait to be let through. It tells of each request
// by its path.
type gate struct {
	arrived chan string
	open    chan struct{}
}

func newGate(t *testing.T) (*gate, string) {
	g := &gate{arrived: make(chan string, 100), open: make(chan struct{}, 100)}
	picture := pngOf(t, 2, 2)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		g.arrived <- r.Host + r.URL.Path
		select {
		case <-g.open:
			w.Write(picture)
		case <-r.Context().Done():
		}
	})
	return g, s.URL
}

// waitUntil waits until a Fetcher has so many fetches that run and that wait.
func waitUntil(t *testing.T, f *Fetcher, running, waiting int) {
	t.Helper()
	for deadline := time.Now().Add(patience.Of(t)); ; runtime.Gosched() {
		s := f.Stats()
		if s.Running == running && s.Waiting == waiting {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d run and %d wait, want %d and %d", s.Running, s.Waiting, running, waiting)
		}
	}
}

// TestBusy: the places and the queue are bounded, a place of one fetch that has
// ended is the next one's, and a full queue says so at once.
func TestBusy(t *testing.T) {
	g, origin := newGate(t)
	port := portIn(t, origin)
	resolver := resolves("a.example", "127.0.0.1", "b.example", "127.0.0.1", "c.example", "127.0.0.1", "d.example", "127.0.0.1", "www.a.example", "127.0.0.1")
	f := newFetcher(t, Options{Concurrency: 2, PerHost: 1, Queue: 2, Resolver: resolver}, origin)
	var wg sync.WaitGroup
	start := func(host string) {
		wg.Go(func() {
			_, err := f.Fetch(t.Context(), Request{URL: fmt.Sprintf("http://%s:%d/", host, port), MaxBytes: 1 << 20}, io.Discard)
			if err != nil {
				t.Errorf("%s: %v", host, err)
			}
		})
	}
	start("a.example")
	<-g.arrived
	start("www.a.example") // the same site, so it waits although there is a place
	waitUntil(t, f, 1, 1)
	start("b.example")
	<-g.arrived
	start("c.example")
	waitUntil(t, f, 2, 2)

	_, _, err := pull(t, f, fmt.Sprintf("http://d.example:%d/%s", port, secret))
	if e := wantClass(t, err, Busy, "d.example"); e.Status != 0 {
		t.Errorf("status %d", e.Status)
	}
	for range 4 {
		g.open <- struct{}{}
	}
	<-g.arrived
	<-g.arrived
	wg.Wait()
	if s := f.Stats(); s.Running != 0 || s.Waiting != 0 {
		t.Errorf("left: %+v", s)
	}
}

// TestWaitingEnds: with the caller, and on its own after Timeout, however long the
// others take.
func TestWaitingEnds(t *testing.T) {
	picture := pngOf(t, 2, 2)
	synctest.Test(t, func(t *testing.T) {
		origin, m := serveMemory(t, func(w http.ResponseWriter, r *http.Request) { w.Write(picture) })
		origin.Start()
		f := newFetcher(t, Options{Timeout: time.Second, Concurrency: 1}, origin.URL)
		f.usual.dialer.connect = m.connect
		p := f.limit.None()
		if err := p.Enter(t.Context(), place.Claim{Site: "other"}, time.Hour); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, _, err := pull(t, f, origin.URL+"/"+secret)
		wantClass(t, err, Busy, "127.0.0.1")
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = f.Fetch(ctx, Request{URL: origin.URL, MaxBytes: 1}, io.Discard)
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		p.Release()
		if _, _, err := pull(t, f, origin.URL); err != nil {
			t.Error(err)
		}
	})
}

// TestRedirectCountsWhereItLeads: many hosts that all redirect to one victim do not
// get more than its share of connections there.
func TestRedirectCountsWhereItLeads(t *testing.T) {
	g, victim := newGate(t)
	port := portIn(t, victim)
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, fmt.Sprintf("http://victim.example:%d/", port), http.StatusFound)
	})
	const n = 8
	pairs := []string{"victim.example", "127.0.0.1"}
	for i := range n {
		pairs = append(pairs, fmt.Sprintf("%d.attacker%d.example", i, i), "127.0.0.1")
	}
	f := newFetcher(t, Options{MaxRedirects: 1, Concurrency: 2 * n, PerHost: 2, Resolver: resolves(pairs...)}, victim, other.URL)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			url := fmt.Sprintf("http://%d.attacker%d.example:%d/", i, i, portIn(t, other.URL))
			if _, err := f.Fetch(t.Context(), Request{URL: url, MaxBytes: 1 << 20}, io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	<-g.arrived
	<-g.arrived
	waitUntil(t, f, 2, n-2)
	if len(g.arrived) > 0 {
		t.Errorf("%d requests more than the limit", len(g.arrived))
	}
	for range n {
		g.open <- struct{}{}
	}
	wg.Wait()
}
