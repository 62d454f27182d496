package fetch

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A host that asks for a pause gets it, whatever URL of its is asked for, here and
// after a redirect; other hosts do not.
func TestRetryAfterPausesTheHost(t *testing.T) {
	for _, tt := range []struct {
		status int
		after  string
		pause  time.Duration
	}{
		{429, "120", 2 * time.Minute},
		{503, "120", 2 * time.Minute},
		{429, "86400", time.Hour}, // or one URL of it would make all unreachable
		{429, "", 0},
		{403, "120", 0},
	} {
		var asked atomic.Int64
		origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if tt.after != "" {
				w.Header().Set("Retry-After", tt.after)
			}
			w.WriteHeader(tt.status)
		})
		other := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", origin.URL+"/from-elsewhere")
			w.WriteHeader(http.StatusFound)
		})
		now := time.Now()
		pauses := NewPauses()
		f := newFetcher(t, Options{MaxRedirects: 1, Pauses: pauses, Resolver: resolves("localhost", "127.0.0.1"), Now: func() time.Time { return now }}, origin.URL, other.URL)
		_, _, err := pull(t, f, origin.URL+"/first")
		if err == nil {
			t.Fatal("it was fetched")
		}
		for n := range 60 {
			_, _, err = pull(t, f, fmt.Sprint(origin.URL, "/", n))
		}
		want := int64(1)
		if tt.pause == 0 {
			want = 61
		} else {
			if e := wantClass(t, err, Paused); e.RetryAfter != tt.pause || e.Asked {
				t.Errorf("%d, %s: left %v, asked %v", tt.status, tt.after, e.RetryAfter, e.Asked)
			}
			_, _, err = pull(t, f, fmt.Sprintf("http://localhost:%d/x", portIn(t, other.URL)))
			if e := wantClass(t, err, Paused); !e.Asked {
				t.Error("a host that redirects to a paused one was asked, and that is not said")
			}
		}
		if got := asked.Load(); got != want {
			t.Errorf("%d, Retry-After %q: asked %d times, want %d", tt.status, tt.after, got, want)
		}
		// It outlives the Fetcher, and ends.
		f = newFetcher(t, Options{Pauses: pauses, Now: func() time.Time { return now }}, origin.URL)
		now = now.Add(tt.pause - time.Second)
		pull(t, f, origin.URL+"/early")
		now = now.Add(time.Second)
		pull(t, f, origin.URL+"/late")
		want++
		if tt.pause == 0 {
			want++
		}
		if got := asked.Load(); got != want {
			t.Errorf("%d, Retry-After %q: asked %d times with what came later, want %d", tt.status, tt.after, got, want)
		}
	}
}

// Sixty URLs at once, of which only those go out that have a place already.
func TestPausedWhileOthersWait(t *testing.T) {
	var asked atomic.Int64
	begun := make(chan struct{}, 60)
	answer := make(chan struct{})
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		begun <- struct{}{}
		<-answer
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	f := newFetcher(t, Options{PerHost: 4}, origin.URL)
	var all sync.WaitGroup
	for n := range 60 {
		all.Go(func() {
			f.Fetch(t.Context(), Request{URL: fmt.Sprint(origin.URL, "/", n), MaxBytes: 1}, io.Discard)
		})
	}
	for range 4 {
		<-begun
	}
	close(answer)
	all.Wait()
	if got := asked.Load(); got != 4 {
		t.Errorf("asked %d times, want 4", got)
	}
}

func TestPausesAreBounded(t *testing.T) {
	p, now := NewPauses(), time.Now()
	for n := range maxPauses + 100 {
		e := errorf(Blocked, "", "no")
		e.Status, e.RetryAfter = 429, time.Hour
		p.note(fmt.Sprint("h", n), e, now)
	}
	if len(p.until) > maxPauses {
		t.Errorf("%d hosts are remembered", len(p.until))
	}
	last := fmt.Sprint("h", maxPauses+99)
	if p.stands(last, now) == nil {
		t.Error("the last one is not")
	}
	if p.stands(last, now.Add(-2*time.Hour)) != nil {
		t.Error("a clock that was set back makes a pause longer")
	}
}

// What a redirect leads to, and is refused, has cost a request; what is refused at
// once has not.
func TestAsked(t *testing.T) {
	var location string
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
	})
	f := newFetcher(t, Options{MaxRedirects: 3, Networks: loopback, DenyHosts: []string{"denied.example"}}, origin.URL)
	for _, location = range []string{
		"http://127.0.0.1:1/", "http://10.0.0.1/", "ftp://example.com/", "http://[::1", "http://user@example.com/", "http://denied.example/", "//",
	} {
		_, _, err := pull(t, f, origin.URL)
		var e *Error
		if !errors.As(err, &e) || !e.Asked {
			t.Errorf("redirected to %s: %v is not said to have asked", location, err)
		}
		if _, _, err = pull(t, f, location); !errors.As(err, &e) || e.Asked {
			t.Errorf("%s: %v is said to have asked", location, err)
		}
	}
}
