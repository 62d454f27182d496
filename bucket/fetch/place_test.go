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
	"testing/synctest"
	"time"
)

func TestNetworkOf(t *testing.T) {
	g, err := newGuard([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"93.184.216.34": "network 93.184.216.0/24", "::ffff:93.184.216.35": "network 93.184.216.0/24", "93.184.217.1": "network 93.184.217.0/24",
		"2a00:1:2:3456::1": "network 2a00:1:2:3400::/56", "2a00:1:2:34ff::1": "network 2a00:1:2:3400::/56", "10.1.2.3": "",
	} {
		if got := g.networkOf(netip.MustParseAddr(addr)); got != want {
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
					if errors.As(err, &e) && e.Class == Busy {
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
			if len(f.limit.groups) != 0 || f.limit.running != 0 {
				t.Errorf("left: %+v, %d running", f.limit.groups, f.limit.running)
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
	f := newFetcher(t, Options{Resolver: every(func(string) string { return "93.184.216.34" })})
	elsewhere(f, origin.URL)
	if _, _, err := pull(t, f, "http://a.example/"); err != nil {
		t.Fatal(err)
	}
	f.networks.note("a.example", "network 1.2.3.0/24")
	done := make(chan error)
	go func() {
		_, err := f.Fetch(t.Context(), Request{URL: "http://a.example/", MaxBytes: 1 << 20}, io.Discard)
		done <- err
	}()
	for asked.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	f.limit.mu.Lock()
	if g := f.limit.groups["network 93.184.216.0/24"]; g == nil || g.running != 1 || len(f.limit.groups) != 1 {
		t.Errorf("groups %+v", f.limit.groups)
	}
	f.limit.mu.Unlock()
	close(over)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A full queue pushes out the group that fills it, though each of its sites has one
// waiter.
func TestFullQueuePushesOutAGroup(t *testing.T) {
	l := newLimiter(1, 1, 3)
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

// What comes at a byte a second loses its place after one interval; what comes at the
// least rate, or waits for us, does not.
func TestPace(t *testing.T) {
	const interval = 5 * time.Second
	for name, tt := range map[string]struct {
		bytes int // each second
		busy  time.Duration
		kept  bool
	}{
		"a byte a second":   {1, 0, false},
		"too slow":          {minRate - 100, 0, false},
		"just fast enough":  {minRate * 5 / 4, 0, true}, // four of five come before the look
		"while we are busy": {minRate, time.Hour, true},
		"nothing at all":    {0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := io.Pipe()
				given := false
				p := newPace(r, interval, func() { given = true; r.CloseWithError(errTooSlow) })
				var writer sync.WaitGroup
				writer.Go(func() {
					for range 60 {
						time.Sleep(time.Second)
						if tt.bytes > 0 {
							if _, err := w.Write(make([]byte, tt.bytes)); err != nil {
								return
							}
						}
					}
					w.Close()
				})
				began := time.Now()
				buffer := make([]byte, 32<<10)
				for {
					if _, err := p.Read(buffer); err != nil {
						break
					}
					time.Sleep(tt.busy)
				}
				p.stop()
				if given == tt.kept {
					t.Errorf("given up: %v", given)
				}
				if took := time.Since(began); !tt.kept && took > 2*interval {
					t.Errorf("after %v", took)
				}
				r.Close()
				writer.Wait()
			})
		})
	}
}

// The same from an origin: the fetch is over long before its timeout.
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
	f := newFetcher(t, Options{Timeout: time.Minute, interval: 200 * time.Millisecond}, origin.URL)
	began := time.Now()
	_, _, err := pull(t, f, origin.URL)
	wantClass(t, err, Timeout, "too slowly")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}
