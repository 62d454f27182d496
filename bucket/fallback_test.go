package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/reindex"
)

const (
	archive = "https://archive.example/web/0im_/{url}"
	mirror  = "http://mirror.example/?v=1&u={url}&x"
)

// An image that its origin has lost is taken from the first fallback that has it, and the
// journal says so. It survives reindex.
func TestFallback(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	const asked = "https://example.com/a.png?b=1&c=2"
	const found = "http://mirror.example/?v=1&u=https%3A%2F%2Fexample.com%2Fa.png%3Fb%3D1%26c%3D2&x"
	o.set(found, "a")
	options := Options{Root: root, Origin: o, Now: newClock().Now, Fallbacks: []string{archive, mirror}}
	s := openStore(t, options)
	image := keep(t, s, asked)
	if image.URL != asked || content(t, s, image) != "a" {
		t.Errorf("kept %+v", image)
	}
	if o.count(asked) != 1 || o.count("https://archive.example/web/0im_/"+asked) != 1 || o.count(found) != 1 {
		t.Errorf("asked %v", o.fetches)
	}
	o.set(urlB, "b")
	keep(t, s, urlB)
	events := readJournal(t, root, "i")
	if len(events) != 2 || events[0].URL != asked || events[0].From != found || events[1].From != "" {
		t.Errorf("the journal has %+v", events)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := reindex.Run(t.Context(), reindex.Options{Root: root}); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, options)
	if again, err := s.Find("i", asked); err != nil || again != image {
		t.Errorf("after reindex: %+v, %v; want %+v", again, err, image)
	}
}

// Without FallbackAfter, fallbacks are asked only for images that are gone.
func TestFallbackOnlyForGone(t *testing.T) {
	for _, class := range []fetch.ErrorKind{
		fetch.Refused, fetch.Denied, fetch.Blocked, fetch.Failed, fetch.Timeout, fetch.TooLarge, fetch.TooManyPixels, fetch.NotImage, fetch.Broken, fetch.Busy,
	} {
		o := newOrigin()
		o.set("https://archive.example/web/0im_/"+urlA, "a")
		o.fail(urlA, &fetch.Error{Kind: class, Err: errors.New("no")})
		s := openStore(t, Options{Root: t.TempDir(), Origin: o, Fallbacks: []string{archive}})
		if _, err := s.Keep(t.Context(), "i", urlA); err == nil {
			t.Errorf("%s: kept", class)
		}
		if n := o.count("https://archive.example/web/0im_/" + urlA); n != 0 {
			t.Errorf("%s: the fallback was asked %d times", class, n)
		}
	}
	o := newOrigin()
	s := openStore(t, Options{Root: t.TempDir(), Origin: o, Fallbacks: []string{archive}})
	for i, private := range []string{"local:///a.png", "s3://attachments/a.png"} { // nobody else learns their names
		if _, err := s.Keep(t.Context(), "i", private); err == nil || len(o.fetches) != i+1 {
			t.Errorf("%s: %v, asked %v", private, err, o.fetches)
		}
	}
}

// Fallbacks are asked at the configured number of failures, and at each one after it. Failures
// count across restarts, and whatever their kinds.
func TestFallbackAfter(t *testing.T) {
	for reason, e := range map[fetch.Reason]fetch.Error{
		fetch.ReasonGone:        {Kind: fetch.Gone, Status: 404},
		fetch.ReasonNoHost:      {Kind: fetch.Failed, Err: noSuchHost(t)},
		fetch.ReasonUnreachable: {Kind: fetch.Failed, Err: syscall.ECONNREFUSED},
		fetch.ReasonTLS:         {Kind: fetch.Failed, Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}},
		fetch.ReasonTimeout:     {Kind: fetch.Timeout},
		fetch.ReasonServerError: {Kind: fetch.Failed, Status: 502},
		fetch.ReasonPage:        {Kind: fetch.NotImage, Status: 200, Head: []byte("<html>")},
		fetch.ReasonBlocked:     {Kind: fetch.Blocked, Status: 403},
	} {
		if e.Err == nil {
			e.Err = errors.New("no")
		}
		for _, after := range []int{0, 1, 3} {
			o, c := newOrigin(), newClock()
			at := "https://archive.example/web/0im_/" + urlA
			o.fail(at, &fetch.Error{Kind: fetch.Gone, Err: errors.New("not yet")})
			o.fail(urlA, &e)
			options := Options{Root: t.TempDir(), Origin: o, Now: c.Now, Fallbacks: []string{archive}, FallbackAfter: map[fetch.Reason]int{reason: after}}
			s := openStore(t, options)
			for n := 1; n <= 4; n++ {
				if n == 2 { // another one, which counts, and asks nobody
					o.fail(urlA, &fetch.Error{Kind: fetch.Broken, Err: errors.New("no")})
				} else {
					o.fail(urlA, &e)
				}
				var f *Failure
				if _, err := s.Keep(t.Context(), "i", urlA); !errors.As(err, &f) || f.Attempts != n || o.count(urlA) != n {
					t.Fatalf("%s: failure %d: %v", reason, n, err)
				}
				want := map[int][]int{0: {0, 0, 0, 0}, 1: {1, 1, 2, 3}, 3: {0, 0, 1, 2}}[after][n-1]
				if got := o.count(at); got != want {
					t.Errorf("%s, after %d: at failure %d the fallback was asked %d times, want %d", reason, after, n, got, want)
				}
				c.add(f.Next.Sub(c.Now()))
				if err := s.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				s = openStore(t, options)
			}
			o.set(at, "a")
			if _, err := s.Keep(t.Context(), "i", urlA); (err == nil) != (after > 0) {
				t.Errorf("%s, after %d: %v", reason, after, err)
			}
		}
	}
}

// noSuchHost is what the fetcher says of a name that does not exist.
func noSuchHost(t *testing.T) error {
	f, err := fetch.New(fetch.Options{Resolver: noNames{}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = f.Fetch(t.Context(), fetch.Request{URL: "http://dead.example/", MaxBytes: 1}, io.Discard)
	return err
}

type noNames struct{}

func (noNames) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// If no fallback has the image, the recorded failure is the origin's, whatever the fallbacks
// say. A temporary failure of our own has a short pause.
func TestFallbackFails(t *testing.T) {
	at := "https://archive.example/web/0im_/" + urlA
	for _, class := range []fetch.ErrorKind{fetch.Gone, fetch.Blocked, fetch.Failed, fetch.Timeout, fetch.NotImage, fetch.Broken, fetch.Refused, fetch.Denied} {
		o, c := newOrigin(), newClock()
		o.fail(at, &fetch.Error{Kind: class, Status: 418, Host: "archive.example", Err: errors.New("no")})
		s := openStore(t, Options{Root: t.TempDir(), Origin: o, Now: c.Now, Fallbacks: []string{archive}})
		var f *Failure
		if _, err := s.Keep(t.Context(), "i", urlA); !errors.As(err, &f) || f.Kind != fetch.Gone || f.Status != 404 || f.Next.Sub(c.Now()) != 10*time.Minute {
			t.Errorf("%s: %v", class, err)
		}
		if _, err := s.Keep(t.Context(), "i", urlA); !errors.As(err, &f) || o.count(at) != 1 || o.count(urlA) != 1 {
			t.Errorf("%s: asked again: %v, %v", class, err, o.fetches)
		}
	}
	o, c := newOrigin(), newClock()
	o.fail(at, &fetch.Error{Kind: fetch.Busy, Err: errors.New("no")})
	s := openStore(t, Options{Root: t.TempDir(), Origin: o, Now: c.Now, Fallbacks: []string{archive}})
	var f *Failure
	if _, err := s.Keep(t.Context(), "i", urlA); !errors.As(err, &f) || f.Kind != fetch.Busy {
		t.Errorf("busy: %v", err)
	}
	o.set(at, "a")
	c.add(10 * time.Second)
	keep(t, s, urlA)
}

// A damaged original whose origin is gone is repaired from a fallback that has the
// same bytes, and not from one that has others.
func TestFallbackRepairs(t *testing.T) {
	for body, want := range map[string]error{"a": nil, "other": ErrLost} {
		o := newOrigin()
		o.set(urlA, "a")
		s := openStore(t, Options{Root: t.TempDir(), Origin: o, Fallbacks: []string{archive}})
		image := keep(t, s, urlA)
		if err := os.Remove(s.Path(image.File())); err != nil {
			t.Fatal(err)
		}
		o.fail(urlA, &fetch.Error{Kind: fetch.Gone, Err: errors.New("no")})
		o.set("https://archive.example/web/0im_/"+urlA, body)
		f, err := s.Open(t.Context(), image)
		if !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", body, err, want)
		}
		if err == nil {
			f.Close()
		}
	}
}

func TestFallbackHosts(t *testing.T) {
	f, err := imageurl.ParseFallback(archive)
	if err != nil {
		t.Fatal(err)
	}
	if got := hostsOf(f, nil); got != nil {
		t.Errorf("of a bucket with any host: %v", got)
	}
	bucket := []string{"example.com"}
	if got := hostsOf(f, bucket); !slices.Equal(got, []string{"archive.example", "example.com"}) || len(bucket) != 1 {
		t.Errorf("of a bucket with one: %v", got)
	}
}

func TestFallbackRefused(t *testing.T) {
	o := Options{Root: t.TempDir(), Buckets: []Bucket{{Name: "i"}}, Origin: newOrigin(), Fallbacks: []string{archive, "https://archive.example/"}}
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "fallbacks[1]") {
		t.Errorf("Open says %v", err)
	}
}
