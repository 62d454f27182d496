package bucket

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/index"
	"imgkeep/bucket/record"
)

// Each kind of recorded failure has its own pause, which doubles up to a longest one, also
// after a restart.
func TestBackoffs(t *testing.T) {
	for _, tt := range []struct {
		class   fetch.ErrorKind
		pauses  []time.Duration // the first ones
		longest time.Duration
	}{
		{fetch.Gone, []time.Duration{10 * time.Minute, 20 * time.Minute, 40 * time.Minute}, 7 * 24 * time.Hour},
		{fetch.Blocked, []time.Duration{5 * time.Minute, 10 * time.Minute}, 24 * time.Hour},
		{fetch.Failed, []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute}, 6 * time.Hour},
		{fetch.Timeout, []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute}, 6 * time.Hour},
		{fetch.Broken, []time.Duration{time.Minute, 2 * time.Minute}, 24 * time.Hour},
		{fetch.NotImage, []time.Duration{time.Hour, 2 * time.Hour}, 7 * 24 * time.Hour},
		{fetch.TooLarge, []time.Duration{time.Hour, 2 * time.Hour}, 7 * 24 * time.Hour},
		{fetch.TooManyPixels, []time.Duration{time.Hour, 2 * time.Hour}, 7 * 24 * time.Hour},
	} {
		t.Run(string(tt.class), func(t *testing.T) {
			o, c, root := newOrigin(), newClock(), t.TempDir()
			o.fail(urlA, &fetch.Error{Kind: tt.class, Status: 418, Err: errors.New("no")})
			options := Options{Root: root, Origin: o, Now: c.Now}
			s := openStore(t, options)
			pause := tt.pauses[0]
			for n := 1; n <= 16; n++ {
				var f *Failure
				_, err := s.Keep(t.Context(), "i", urlA)
				if !errors.As(err, &f) || f.Kind != tt.class || f.Attempts != n || f.Status != 418 {
					t.Fatalf("failure %d: %v", n, err)
				}
				if n <= len(tt.pauses) {
					pause = tt.pauses[n-1]
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
				if _, err := s.Keep(t.Context(), "i", urlA); !errors.As(err, &f) || f.Attempts != n {
					t.Errorf("a second before its time: %v", err)
				}
				if got := o.count(urlA); got != n {
					t.Errorf("fetched %d times before pause %d was over", got, n)
				}
				c.add(time.Second)
				pause = min(2*pause, tt.longest)
			}
			if pause != tt.longest {
				t.Errorf("the longest pause, %v, was not reached", tt.longest)
			}
			o.set(urlA, "a")
			keep(t, s, urlA)
			if _, err := s.index.Failure("i", urlA); !errors.Is(err, index.ErrNotFound) {
				t.Errorf("a success does not end the row of failures: %v", err)
			}
		})
	}
}

// A new kind of failure must have a backoff, if it is recorded.
func TestEveryClassHasABackoff(t *testing.T) {
	for _, class := range fetch.ErrorKinds() {
		b, has := backoffs[class]
		if class == fetch.Denied { // remembered as removed
			continue
		}
		if !has || b.First < 10*time.Second || b.Longest < b.First {
			t.Errorf("class %q: backoff %+v", class, b)
		}
	}
}

// Failures in a row count together whatever their kinds: an origin that fails in changing ways
// is not asked more often than one that always fails alike.
func TestBackoffOfMixedClasses(t *testing.T) {
	o, c := newOrigin(), newClock()
	s := openStore(t, Options{Root: t.TempDir(), Origin: o, Now: c.Now})
	for n, tt := range []struct {
		class fetch.ErrorKind
		want  time.Duration
	}{
		{fetch.Failed, time.Minute}, {fetch.Timeout, 2 * time.Minute}, {fetch.Blocked, 20 * time.Minute}, {fetch.Failed, 8 * time.Minute},
	} {
		o.fail(urlA, &fetch.Error{Kind: tt.class, Err: errors.New("no")})
		var f *Failure
		if _, err := s.Keep(t.Context(), "i", urlA); !errors.As(err, &f) || f.Next.Sub(c.Now()) != tt.want {
			t.Fatalf("failure %d: %v, want a pause of %v", n+1, err, tt.want)
		}
		c.add(tt.want)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	c := newClock()
	for asked, want := range map[time.Duration]time.Duration{
		0:                         5 * time.Minute,
		5*time.Minute - 1:         5 * time.Minute,
		5*time.Minute + 1*1e9:     5*time.Minute + time.Second,
		time.Hour:                 time.Hour,
		24 * time.Hour:            24 * time.Hour,
		24*time.Hour + 1*1e9:      24 * time.Hour,
		365 * 24 * time.Hour:      24 * time.Hour,
		time.Duration(1<<63 - 1):  24 * time.Hour,
		-1 * time.Second:          5 * time.Minute,
		time.Duration(-(1 << 62)): 5 * time.Minute,
	} {
		o := newOrigin()
		o.fail(urlA, &fetch.Error{Kind: fetch.Blocked, Status: 429, RetryAfter: asked, Err: errors.New("too many requests")})
		s := openStore(t, Options{Root: t.TempDir(), Origin: o, Now: c.Now})
		var f *Failure
		if _, err := s.Keep(t.Context(), "i", urlA); !errors.As(err, &f) || f.Next.Sub(c.Now()) != want {
			t.Errorf("asked for %v: %v, want a pause of %v", asked, err, want)
		}
	}
}

// Failures that say nothing about the image are not recorded.
func TestNotRemembered(t *testing.T) {
	for _, class := range []fetch.ErrorKind{fetch.Busy, fetch.Refused, fetch.Denied, fetch.Paused} {
		o := newOrigin()
		s := openStore(t, Options{Root: t.TempDir(), Origin: o})
		o.fail(urlA, &fetch.Error{Kind: class, Err: errors.New("no")})
		if _, err := s.Keep(t.Context(), "i", urlA); err == nil {
			t.Errorf("%s: kept", class)
		}
		o.set(urlA, "a")
		keep(t, s, urlA)
	}
}

// The operator can see what came instead of an image, and from which host, also after a
// restart. The log has the host, and no byte that an origin chose.
func TestEvidence(t *testing.T) {
	o, c, root := newOrigin(), newClock(), t.TempDir()
	var log bytes.Buffer
	head := "<html>\x1b[2J\r\nlevel=ERROR forged" + strings.Repeat("x", 1000)
	head = head[:fetch.MaxHead]
	o.fail(urlA, &fetch.Error{Kind: fetch.NotImage, Status: 200, Host: "final.example", Head: []byte(head), Err: errors.New("no image")})
	options := Options{Root: root, Origin: o, Now: c.Now, Log: slog.New(slog.NewTextHandler(&log, nil))}
	s := openStore(t, options)
	for range 2 {
		var f *Failure
		_, err := s.Keep(t.Context(), "i", urlA)
		if !errors.As(err, &f) || f.Status != 200 || f.Host != "final.example" || string(f.Head) != head || !f.First.Equal(c.Now()) {
			t.Errorf("the failure is %+v", f)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, options)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || strings.Contains(got, "forged") || !strings.Contains(got, "final=final.example") {
		t.Errorf("logged %q", got)
	}
}

// But they have a pause once they have cost an origin a request: an origin that redirects to a
// private address is not asked again at each view.
func TestEveryRequestHasAPause(t *testing.T) {
	for class, want := range map[fetch.ErrorKind]time.Duration{
		fetch.Busy: 10 * time.Second, fetch.Refused: 10 * time.Minute, fetch.Denied: time.Minute, fetch.Paused: time.Minute,
	} {
		o, c := newOrigin(), newClock()
		s := openStore(t, Options{Root: t.TempDir(), Origin: o, Now: c.Now})
		o.fail(urlA, &fetch.Error{Kind: class, Asked: true, Err: errors.New("no")})
		for range 30 {
			if _, err := s.Keep(t.Context(), "i", urlA); err == nil || class == fetch.Denied && !errors.Is(err, ErrDenied) && !errors.Is(err, ErrRemoved) {
				t.Fatalf("%s: %v", class, err)
			}
			if _, err := s.Fetch(t.Context(), "i", urlA); err == nil {
				t.Fatalf("%s: fetched", class)
			}
		}
		if n := o.count(urlA); n != 1 {
			t.Errorf("%s: asked %d times", class, n)
		}
		o.set(urlA, "a")
		c.add(want - time.Second)
		if _, err := s.Keep(t.Context(), "i", urlA); err == nil || o.count(urlA) != 1 {
			t.Errorf("%s: asked a second before its time: %v", class, err)
		}
		c.add(time.Second)
		keep(t, s, urlA)
	}
}

// A busy fallback has a pause as well, since the origin was asked.
func TestBusyFallbackHasAPause(t *testing.T) {
	for _, class := range []fetch.ErrorKind{fetch.Busy, fetch.Paused} {
		o, c := newOrigin(), newClock()
		o.fail("https://archive.example/web/0im_/"+urlA, &fetch.Error{Kind: class, Err: errors.New("no")})
		s := openStore(t, Options{Root: t.TempDir(), Origin: o, Now: c.Now, Fallbacks: []string{archive}})
		for range 5 {
			if _, err := s.Keep(t.Context(), "i", urlA); err == nil {
				t.Fatal("kept")
			}
		}
		if n := o.count(urlA); n != 1 {
			t.Errorf("%s: the origin was asked %d times", class, n)
		}
	}
}

// A failure that was recorded with a wrong clock blocks a URL for at most the longest pause of
// its kind.
func TestForgedClock(t *testing.T) {
	for _, tt := range []struct {
		ahead time.Duration
		asked bool // at once, when the clock is right again
	}{
		{23 * time.Hour, false}, {24 * time.Hour, true}, {3 * 365 * 24 * time.Hour, true},
	} {
		o, c := newOrigin(), newClock()
		o.fail(urlA, &fetch.Error{Kind: fetch.Failed, Err: errors.New("no")})
		s := openStore(t, Options{Root: t.TempDir(), Origin: o, Now: c.Now})
		c.add(tt.ahead)
		if _, err := s.Keep(t.Context(), "i", urlA); err == nil {
			t.Fatal("kept")
		}
		c.add(-tt.ahead)
		o.set(urlA, "a")
		_, err := s.Keep(t.Context(), "i", urlA)
		if asked := err == nil; asked != tt.asked {
			t.Errorf("%v ahead: asked %v: %v", tt.ahead, asked, err)
		}
	}
}

// Failures expire after twice the longest pause: at start, and while others are recorded.
func TestFailuresExpire(t *testing.T) {
	for _, after := range []string{"start", "others"} {
		o, c, root := newOrigin(), newClock(), t.TempDir()
		o.fail(urlA, &fetch.Error{Kind: fetch.Failed, Err: errors.New("no")})
		options := Options{Root: root, Origin: o, Now: c.Now}
		s := openStore(t, options)
		_, err := s.Keep(t.Context(), "i", urlA)
		var f *Failure
		if !errors.As(err, &f) {
			t.Fatal(err)
		}
		forgotten := func() bool {
			if after == "start" {
				if err := s.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				s = openStore(t, options)
			} else if _, err := s.remember("i", urlB, &fetch.Error{Kind: fetch.Gone, Err: errors.New("no")}); err != nil {
				t.Fatal(err)
			}
			if err := s.index.Apply([]index.Change{{Bucket: "i", URL: urlB, Fail: &record.Failure{}}}); err != nil {
				t.Fatal(err)
			}
			_, err := s.index.Failure("i", urlA)
			return errors.Is(err, index.ErrNotFound)
		}
		c.add(f.Next.Add(48 * time.Hour).Sub(c.Now()))
		if forgotten() {
			t.Errorf("%s: forgotten too early", after)
		}
		c.add(time.Second)
		if !forgotten() {
			t.Errorf("%s: not forgotten", after)
		}
	}
}
