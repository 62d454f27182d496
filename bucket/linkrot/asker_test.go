package linkrot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/record"
)

// clocked is a store of which only the clock is asked.
type clocked struct {
	Store
	now time.Time
}

func (s *clocked) Now() time.Time      { return s.now }
func (s *clocked) add(d time.Duration) { s.now = s.now.Add(d) }
func (s *clocked) Log() *slog.Logger   { return slog.New(slog.DiscardHandler) }
func (s *clocked) OriginRequest(i record.Image) fetch.Request {
	return fetch.Request{URL: i.URL}
}

// origins answer whether images are still there: those without an answer of their
// own are.
type origins struct {
	answer map[string]error // by URL
	asked  []string
}

func (o *origins) Alive(_ context.Context, r fetch.Request) error {
	o.asked = append(o.asked, r.URL)
	return o.answer[r.URL]
}

func failed(c fetch.ErrorKind, status int) error {
	return &fetch.Error{Kind: c, Status: status, Err: errors.New("it is so")}
}

// A host that does not answer is not asked for each of its URLs, one that comes
// back is, and one that wants to be left alone is.
func TestCheckOriginsRests(t *testing.T) {
	s := &clocked{now: time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)}
	var dead, busy []string
	for n := range 20 {
		dead = append(dead, fmt.Sprintf("https://dead.example/%d.png", n))
		busy = append(busy, fmt.Sprintf("https://busy.example/%d.png", n))
	}
	living := &origins{answer: map[string]error{}}
	for n := range dead {
		living.answer[dead[n]] = failed(fetch.Timeout, 0)
		living.answer[busy[n]] = &fetch.Error{Kind: fetch.Blocked, Status: 429, RetryAfter: time.Hour, Err: errors.New("429")}
	}
	a := asker{s: s, o: &Options{Alive: living.Alive}, hosts: map[string]*restingHost{}}
	ask := func(url string, want State) {
		t.Helper()
		if got, err := a.ask(t.Context(), record.Image{Bucket: "i", URL: url}); got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", url, got, err, want)
		}
	}
	count := func(host string) (n int) {
		for _, url := range living.asked {
			if strings.Contains(url, host) {
				n++
			}
		}
		return n
	}
	for n := range dead {
		ask(dead[n], Unreachable)
		ask(busy[n], Unsure)
	}
	if d, b := count("dead"), count("busy"); d != maxMisses || b != 1 {
		t.Errorf("asked %d and %d times, want %d and 1", d, b, maxMisses)
	}
	s.add(restingTime) // one more does not answer, and it rests again
	ask(dead[0], Unreachable)
	ask(dead[1], Unreachable)
	if n := count("dead"); n != maxMisses+1 {
		t.Errorf("asked %d times, want %d", n, maxMisses+1)
	}
	s.add(time.Hour - restingTime - 1)
	ask(busy[1], Unsure)
	if n := count("busy"); n != 1 {
		t.Errorf("asked %d times before the hour is over", n)
	}
	living.answer = map[string]error{dead[2]: failed(fetch.Timeout, 0), dead[3]: failed(fetch.Timeout, 0)}
	s.add(1)
	ask(busy[2], Alive)
	for n := range dead { // two of them hang, which is no reason to leave the others alone
		ask(dead[n], map[bool]State{true: Unreachable, false: Alive}[n == 2 || n == 3])
	}
	// However many hosts there are, few are remembered.
	for n := range 2 * maxResting {
		url := fmt.Sprintf("https://%d.dead.example/", n)
		living.answer[url] = failed(fetch.Timeout, 0)
		ask(url, Unreachable)
	}
	if len(a.hosts) > maxResting {
		t.Errorf("%d hosts are remembered", len(a.hosts))
	}
}
