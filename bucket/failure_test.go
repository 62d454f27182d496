package bucket

import (
	"errors"
	"testing"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/index"
)

// Failures are remembered, and tried again after 1, 2, 4 … minutes, at most a
// day; also by the next process.
func TestBackoff(t *testing.T) {
	o, c, root := newOrigin(), newClock(), t.TempDir()
	options := Options{Root: root, Origin: o, Now: c.Now}
	s := openStore(t, options)
	pause := time.Minute
	for n := 1; n <= 15; n++ {
		var f *Failure
		_, err := s.Keep(t.Context(), "i", urlA)
		if !errors.As(err, &f) || f.Class != fetch.Gone || f.Attempts != n || f.Status != 404 {
			t.Fatalf("failure %d: %v", n, err)
		}
		if got := f.Next.Sub(c.Now()); got != pause {
			t.Errorf("failure %d: the pause is %v, want %v", n, got, pause)
		}
		c.add(pause - time.Second)
		if n%4 == 0 { // a restart does not forget
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, options)
		}
		if _, err := s.Keep(t.Context(), "i", urlA); !errors.As(err, &f) {
			t.Errorf("a second before its time: %v", err)
		}
		if got := o.count(urlA); got != n {
			t.Errorf("fetched %d times before pause %d was over", got, n)
		}
		c.add(time.Second)
		pause = min(2*pause, 24*time.Hour)
	}
	o.set(urlA, "a")
	keep(t, s, urlA)
	if _, err := s.index.Failure("i", urlA); !errors.Is(err, index.ErrNotFound) {
		t.Errorf("a success does not end the row of failures: %v", err)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	c := newClock()
	for asked, want := range map[time.Duration]time.Duration{
		0:                time.Minute,
		30 * time.Second: time.Minute,
		time.Hour:        time.Hour,
		48 * time.Hour:   24 * time.Hour,
	} {
		o := newOrigin()
		o.fail(urlA, &fetch.Error{Class: fetch.Blocked, Status: 429, RetryAfter: asked, Err: errors.New("too many requests")})
		s := openStore(t, Options{Root: t.TempDir(), Origin: o, Now: c.Now})
		var f *Failure
		if _, err := s.Keep(t.Context(), "i", urlA); !errors.As(err, &f) || f.Next.Sub(c.Now()) != want {
			t.Errorf("asked for %v: %v, want a pause of %v", asked, err, want)
		}
	}
}

// What says nothing about the image is not held against it.
func TestNotRemembered(t *testing.T) {
	for _, class := range []fetch.Class{fetch.Busy, fetch.Refused, fetch.Denied} {
		o := newOrigin()
		s := openStore(t, Options{Root: t.TempDir(), Origin: o})
		o.fail(urlA, &fetch.Error{Class: class, Err: errors.New("no")})
		if _, err := s.Keep(t.Context(), "i", urlA); err == nil {
			t.Errorf("%s: kept", class)
		}
		o.set(urlA, "a")
		keep(t, s, urlA)
	}
}
