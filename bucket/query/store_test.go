package query_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/buckettest"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/bucket/variant"
)

const urlA = "https://example.com/a.png"

// Show tells what is recorded of a failure, including the host that failed and the bytes that
// came instead, escaped for a terminal.
func TestShowFailure(t *testing.T) {
	o, c := new(buckettest.Origin), new(buckettest.Clock)
	o.Fail(urlA, &fetch.Error{Kind: fetch.NotImage, Status: 200, Host: "cdn.example", Head: []byte("<html>\x1b[2J\n"), Err: errors.New("no image")})
	s := buckettest.Open(t, bucket.Options{Root: t.TempDir(), Origin: o, Now: c.Now})
	if _, err := s.Keep(t.Context(), "i", urlA); err == nil {
		t.Fatal("kept")
	}
	facts, err := query.Show(t.Context(), s.Maintenance(), urlA, record.Digest{})
	if err != nil || len(facts.Failures) != 1 {
		t.Fatalf("%+v, %v", facts, err)
	}
	f := facts.Failures[0]
	if f.Kind != fetch.NotImage || f.Status != 200 || f.Host != "cdn.example" || f.Head != `<html>\x1b[2J\n` ||
		f.Attempts != 1 || !f.First.Equal(c.Now()) || !f.Next.Equal(c.Now().Add(time.Hour)) {
		t.Errorf("%+v", f)
	}
}

// Failures are listed with their URLs. A filter by host matches the URL's host and the host
// that failed.
func TestListFailures(t *testing.T) {
	o := new(buckettest.Origin)
	s := buckettest.Open(t, bucket.Options{Root: t.TempDir(), Origin: o, Now: new(buckettest.Clock).Now})
	failures := map[string]*fetch.Error{
		"https://a.example/":      {Kind: fetch.Gone, Host: "a.example"},
		"https://img.b.example/":  {Kind: fetch.Timeout, Host: "img.b.example"},
		"https://leads.example/":  {Kind: fetch.Gone, Host: "a.example"},
		"https://noname.example/": {Kind: fetch.Gone},
	}
	for url, e := range failures {
		e.Err = errors.New("failed")
		o.Fail(url, e)
		if _, err := s.Keep(t.Context(), "i", url); err == nil {
			t.Fatal("kept")
		}
	}
	for _, tt := range []struct {
		hosts   []string
		classes []bucket.ErrorKind
		want    []string // hosts
	}{
		{nil, nil, []string{"", "a.example", "a.example", "img.b.example"}},
		{nil, []bucket.ErrorKind{fetch.Gone}, []string{"", "a.example", "a.example"}},
		{[]string{"a.example"}, nil, []string{"a.example", "a.example"}},
		{[]string{"a.example"}, []bucket.ErrorKind{fetch.Timeout}, nil},
		{[]string{"*.b.example", "A.example"}, nil, []string{"a.example", "a.example", "img.b.example"}},
		{[]string{"leads.example"}, nil, []string{"a.example"}}, // where it redirects to
		{[]string{"noname.example"}, nil, []string{""}},
		{[]string{"b.example", "c.example"}, nil, nil},
	} {
		var got []string
		for f, err := range query.Failures(t.Context(), s.Maintenance(), query.Filter{Hosts: tt.hosts}, tt.classes) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, f.Host)
			if e := failures[f.URL]; e == nil || e.Kind != f.Kind {
				t.Errorf("%q is told to have failed as %s: %v", f.URL, f.Kind, e)
			}
		}
		if slices.Sort(got); !slices.Equal(got, tt.want) {
			t.Errorf("%v %v: got %q, want %q", tt.hosts, tt.classes, got, tt.want)
		}
	}
}

// Show marks a poison image, until the crashes are cleared.
func TestShowPoison(t *testing.T) {
	o, c := new(buckettest.Origin), new(buckettest.Clock)
	o.Set(urlA, "the bytes of a")
	s := buckettest.Open(t, bucket.Options{Root: t.TempDir(), Origin: o, Now: c.Now})
	image := buckettest.Keep(t, s, urlA)
	crash := fmt.Errorf("%w: signal: segmentation fault", variant.ErrPoison)
	shown := func() *query.PoisonDetails {
		t.Helper()
		facts, err := query.Show(t.Context(), s.Maintenance(), "", image.Digest)
		if err != nil || len(facts.Images) != 1 {
			t.Fatalf("%+v, %v", facts, err)
		}
		return facts.Images[0].Poison
	}
	if got := shown(); got != nil {
		t.Errorf("harmless: %+v", got)
	}
	for n := 1; n <= variant.MaxCrashes; n++ {
		_, err := s.OpenVariant(t.Context(), image, "150x150", probe.PNG, func(context.Context, io.Reader, int64) ([]byte, error) { return nil, crash })
		if !errors.Is(err, crash) {
			t.Error(err)
		}
		want := query.PoisonDetails{Crashes: n, Last: c.Now(), Detail: "signal: segmentation fault", Undecodable: n == variant.MaxCrashes}
		if got := shown(); got == nil || *got != want {
			t.Errorf("after %d: %+v, want %+v", n, got, want)
		}
		c.Add(variant.CrashPause)
	}
	if _, err := s.Retry(urlA); err != nil {
		t.Fatal(err)
	}
	if got := shown(); got != nil {
		t.Errorf("after a retry: %+v", got)
	}
}
