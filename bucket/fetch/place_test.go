package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestNetworkOf(t *testing.T) {
	f := newFetcher(t, Options{Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}})
	for addr, want := range map[string]string{
		"93.184.216.34": "network 93.184.216.0/24", "::ffff:93.184.216.35": "network 93.184.216.0/24", "93.184.217.1": "network 93.184.217.0/24",
		"2a00:1:2:3456::1": "network 2a00:1:2:3400::/56", "2a00:1:2:34ff::1": "network 2a00:1:2:3400::/56", "10.1.2.3": "",
	} {
		if got := f.networkOf(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
}

// elsewhere has a Fetcher connect to an origin here, whatever address it has judged.
func elsewhere(f *Fetcher, origin string) {
	f.usual.dialer.connect = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(origin, "http://"))
	}
}

// every is a Resolver by a rule.
type every func(host string) string

func (e every) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr(e(host))}, nil
}

// Three hundred names below one dynamic-DNS domain, or of one network, send nothing:
// they do not get the place of one that is of neither.
func TestPlacesAreSharedByDomainAndNetwork(t *testing.T) {
	for name, tt := range map[string]struct {
		host     func(n int) string
		resolver every
	}{
		"domain": {
			func(n int) string { return fmt.Sprintf("a%d.dyndns.org", n) },
			func(host string) string { // each from a network of its own
				var n int
				fmt.Sscanf(host, "a%d.", &n)
				return fmt.Sprintf("93.%d.%d.1", n/250, n%250)
			},
		},
		"network": {
			func(n int) string { return fmt.Sprintf("a%d.example", n) },
			func(host string) string {
				if host == "good.example" {
					return "93.184.216.34"
				}
				var n int
				fmt.Sscanf(host, "a%d.", &n)
				return fmt.Sprintf("93.184.215.%d", n%250+1)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			picture := pngOf(t, 2, 2)
			var held atomic.Int64
			over := make(chan struct{})
			origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.Host, "a") {
					held.Add(1)
					<-over
				}
				w.Write(picture)
			})
			f := newFetcher(t, Options{Resolver: tt.resolver, Concurrency: 64, PerHost: 4, Queue: 100})
			elsewhere(f, origin.URL)
			var all sync.WaitGroup
			busy := make(chan struct{}, 300)
			for n := range 300 {
				all.Go(func() {
					_, err := f.Fetch(t.Context(), Request{URL: "http://" + tt.host(n) + "/", MaxBytes: 1 << 20}, io.Discard)
					var e *Error
					if errors.As(err, &e) && e.Kind == Busy {
						busy <- struct{}{}
					}
				})
			}
			for range 300 - 8 - 100 { // once these are turned away, the others have places or wait
				<-busy
			}
			if _, _, err := pull(t, f, "http://good.example/"); err != nil {
				t.Errorf("the good one: %v", err)
			}
			if n := held.Load(); n > 8 {
				t.Errorf("%d places were taken", n)
			}
			close(over)
			all.Wait()
			if s := f.Stats(); s.Running != 0 || s.Waiting != 0 {
				t.Errorf("left: %+v", s)
			}
		})
	}
}

// A connection that is used again leads where it leads, whatever the name's address is
// by now: it counts there.
func TestConnectionCountsWhereItLeads(t *testing.T) {
	var asked atomic.Int64
	over := make(chan struct{})
	picture := pngOf(t, 2, 2)
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			<-over
		}
		w.Write(picture)
	})
	// Of a network, two run.
	f := newFetcher(t, Options{Resolver: every(func(string) string { return "93.184.216.34" }), Concurrency: 8, PerHost: 1})
	elsewhere(f, origin.URL)
	if _, _, err := pull(t, f, "http://a.example/"); err != nil {
		t.Fatal(err)
	}
	f.networks.note("a.example", "network 1.2.3.0/24")
	done := make(chan error)
	ask := func(host string) {
		_, err := f.Fetch(t.Context(), Request{URL: "http://" + host + "/", MaxBytes: 1 << 20}, io.Discard)
		done <- err
	}
	for i, host := range []string{"a.example", "b.example"} {
		go ask(host)
		for asked.Load() < int64(2+i) {
			time.Sleep(time.Millisecond)
		}
	}
	go ask("c.example")
	for f.Stats().Waiting == 0 && asked.Load() < 4 {
		time.Sleep(time.Millisecond)
	}
	if asked.Load() > 3 {
		t.Error("a third of one network is asked: the connection used again counts elsewhere")
	}
	close(over)
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// What trickles from an origin is over before its timeout, and before it is all there.
func TestTricklesLoseTheirPlace(t *testing.T) {
	picture := pngOf(t, 60, 60)
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range picture {
			w.Write(picture[i : i+1])
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	f := newFetcher(t, Options{interval: 200 * time.Millisecond}, origin.URL)
	_, _, err := pull(t, f, origin.URL)
	wantClass(t, err, Timeout, "too slow")
}

// A reserved place is the one that the fetch takes, and is free when it has ended.
func TestReserve(t *testing.T) {
	o := serveBytes(t, pngOf(t, 3, 2))
	f := newFetcher(t, Options{Concurrency: 1, PerHost: 1}, o.URL)
	for range 3 {
		place, err := f.Reserve(t.Context(), o.URL+"/a.png")
		if err != nil || place == nil {
			t.Fatalf("%v, %v", place, err)
		}
		if n := f.Stats().Running; n != 1 {
			t.Fatalf("%d places are taken", n)
		}
		if _, _, err := pullRequest(t, f, Request{URL: o.URL + "/a.png", MaxBytes: 1 << 20, Place: place}); err != nil {
			t.Fatal(err)
		}
		place.Release()
		if n := f.Stats().Running; n != 0 {
			t.Fatalf("%d places are taken, and nobody fetches", n)
		}
	}
	// What will be refused waits for none.
	held, err := f.Reserve(t.Context(), "local:///a.png")
	if err != nil || held == nil {
		t.Fatalf("a local file: %v, %v", held, err)
	}
	for _, url := range []string{"ftp://example.com/", "https://user@example.com/", "nonsense"} {
		if place, err := f.Reserve(t.Context(), url); place != nil || err != nil {
			t.Errorf("%s: %v, %v", url, place, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	left := errors.New("left")
	cancel(left)
	if _, err := f.Reserve(ctx, o.URL+"/b.png"); !errors.Is(err, left) {
		t.Errorf("who left while all places are taken: %v", err)
	}
	held.Release()
	(*Place)(nil).Release()
}
