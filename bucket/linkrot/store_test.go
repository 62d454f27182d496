package linkrot_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/buckettest"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/linkrot"
	"imgkeep/bucket/pace"
	"imgkeep/scripts/patience"
)

var quiet = slog.New(slog.DiscardHandler)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// origins answer whether images are still there: those without an answer of their
// own are.
type origins struct {
	mu     sync.Mutex
	answer map[string]error // by URL
	asked  []string
	atOnce int
	most   int
	hold   chan struct{} // nil: nobody waits
}

func (o *origins) Alive(ctx context.Context, r fetch.Request) error {
	o.mu.Lock()
	o.asked = append(o.asked, r.URL)
	o.atOnce++
	o.most = max(o.most, o.atOnce)
	o.mu.Unlock()
	if o.hold != nil {
		select {
		case <-o.hold:
		case <-ctx.Done():
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.atOnce--
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return o.answer[r.URL]
}

func (o *origins) count(url string) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, u := range o.asked {
		if u == url {
			n++
		}
	}
	return n
}

func checkOrigins(t *testing.T, s *bucket.Store, o *origins) linkrot.Pass {
	t.Helper()
	pass, err := linkrot.Check(t.Context(), s.Maintenance(), linkrot.Options{Alive: o.Alive})
	if err != nil {
		t.Fatal(err)
	}
	return pass
}

func failed(c fetch.ErrorKind, status int) error {
	return &fetch.Error{Kind: c, Status: status, Err: errors.New("it is so")}
}

// Each answer of an origin has its state, and images that are not served are not asked for.
func TestCheckOrigins(t *testing.T) {
	o, c, root := new(buckettest.Origin), new(buckettest.Clock), t.TempDir()
	s := buckettest.Open(t, bucket.Options{Root: root, Origin: o, Now: c.Now, Buckets: []bucket.Bucket{{Name: "i"}, {Name: "f", Hosts: []string{"f.example"}}}, DenyHosts: []string{"denied.example"}})
	if r, err := linkrot.Read(s.Root(), quiet); r != nil || err != nil {
		t.Errorf("before any pass: %v, %v", r, err)
	}
	living := &origins{answer: map[string]error{}}
	states := map[linkrot.State]int{}
	for n, a := range []struct {
		state linkrot.State
		err   error
	}{
		{linkrot.Alive, nil},
		{linkrot.Gone, failed(fetch.Gone, 404)},
		{linkrot.Gone, failed(fetch.NotImage, 200)},
		{linkrot.Unreachable, failed(fetch.Timeout, 0)},
		{linkrot.Unreachable, failed(fetch.Failed, 0)},
		{linkrot.Unsure, failed(fetch.Failed, 500)},
		{linkrot.Unsure, failed(fetch.Blocked, 403)},
		{linkrot.Unsure, failed(fetch.Refused, 0)},
		{linkrot.Unsure, failed(fetch.Denied, 0)},
		{linkrot.Unsure, failed(fetch.Busy, 0)},
		{linkrot.Unsure, errors.New("whatever else")},
	} {
		url := fmt.Sprintf("https://%d.example/a.png", n)
		o.Set(url, fmt.Sprint("bytes ", n))
		buckettest.Keep(t, s, url)
		living.answer[url] = a.err
		states[a.state]++
	}
	o.Set("https://f.example/a.png", "of f")
	if _, err := s.Keep(t.Context(), "f", "https://f.example/a.png"); err != nil {
		t.Fatal(err)
	}
	// What is not asked.
	silent := []string{
		"https://forgotten.example/a.png", "https://purged.example/a.png", "https://blocked.example/a.png",
		"https://quarantine.example/a.png", "https://failing.example/a.png", "local:///a.png",
	}
	for _, url := range silent {
		o.Set(url, "bytes of "+url)
		if url == "https://failing.example/a.png" {
			o.Fail(url, failed(fetch.Gone, 404))
			if _, err := s.Keep(t.Context(), "i", url); err == nil {
				t.Fatal("kept")
			}
			continue
		}
		buckettest.Keep(t, s, url)
	}
	digest, err := s.Find("i", "https://purged.example/a.png")
	if err != nil {
		t.Fatal(err)
	}
	why := bucket.RemoveOptions{Why: "why"}
	if _, err := s.Forget(t.Context(), "https://forgotten.example/a.png", why); err != nil {
		t.Error(err)
	}
	if _, err := s.Purge(t.Context(), bucket.Target{Digest: digest.Digest}, why); err != nil {
		t.Error(err)
	}
	if _, err := s.Block(t.Context(), bucket.Target{URL: "https://blocked.example/a.png"}, bucket.RemoveOptions{KeepFiles: true}); err != nil {
		t.Error(err)
	}
	if _, err := s.Block(t.Context(), bucket.Target{Host: "quarantine.example"}, why); err != nil {
		t.Error(err)
	}

	// One that was removed and came back with other bytes is asked for once.
	const twice = "https://twice.example/a.png"
	for _, body := range []string{"first", "second"} {
		o.Set(twice, body)
		buckettest.Keep(t, s, twice)
		if body == "first" {
			if _, err := s.Forget(t.Context(), twice, why); err != nil {
				t.Error(err)
			}
		}
	}

	before := buckettest.Tree(t, root)
	pass := checkOrigins(t, s, living)
	states[linkrot.Alive] += 2 // that of f, and this one
	if n := living.count(twice); n != 1 {
		t.Errorf("%s was asked %d times", twice, n)
	}
	if !maps.Equal(pass.All, states) || pass.Buckets["f"][linkrot.Alive] != 1 || pass.Buckets["i"][linkrot.Gone] != 2 || pass.Ended.IsZero() {
		t.Errorf("found %+v, want %v", pass, states)
	}
	for _, url := range silent {
		if living.count(url) > 0 {
			t.Errorf("%s was asked", url)
		}
	}
	delete(before, linkrot.File)
	after := buckettest.Tree(t, root)
	delete(after, linkrot.File)
	if !maps.Equal(before, after) {
		t.Error("a pass has changed the store")
	}

	// A second pass asks all again, and both are there to see.
	c.Add(week)
	living.answer = nil
	again := checkOrigins(t, s, living)
	r, err := linkrot.Read(s.Root(), quiet)
	if err != nil || r.Now != nil || r.Last == nil || !maps.Equal(r.Last.All, map[linkrot.State]int{linkrot.Alive: 13}) || again.Began.Sub(pass.Ended) != week {
		t.Errorf("after the second: %+v, %v", r, err)
	}
	// A damaged count begins anew.
	for _, text := range []string{"{", `{"now":{}}`, `{"at":{"offset":-1}}`} {
		if err := os.WriteFile(filepath.Join(root, linkrot.File), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		if pass := checkOrigins(t, s, living); pass.All[linkrot.Alive] != 13 {
			t.Errorf("after %s: %v", text, pass)
		}
	}
}

// An interrupted pass resumes where it was, after a stop or a crash: no URL is counted twice,
// and none is left out. The journals of two buckets are read in their order.
func TestCheckOriginsGoesOn(t *testing.T) {
	const each = 60
	buckets := []bucket.Bucket{{Name: "f"}, {Name: "i"}}
	o, root, c := new(buckettest.Origin), t.TempDir(), new(buckettest.Clock)
	s := buckettest.Open(t, bucket.Options{Root: root, Origin: o, Buckets: buckets, Now: c.Now})
	for n := range each {
		if n == each/2 {
			c.Add(31 * day) // another file of the journal
		}
		for _, b := range buckets {
			url := fmt.Sprintf("https://%d.example/%s.png", n, b.Name)
			o.Set(url, url)
			if _, err := s.Keep(t.Context(), b.Name, url); err != nil {
				t.Fatal(err)
			}
		}
	}
	living := &origins{}
	answered := 0
	// stopAfter breaks a pass off after so many answers.
	stopAfter := func(n int) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		until := answered + n
		_, err := linkrot.Check(ctx, s.Maintenance(), linkrot.Options{Alive: living.Alive, Asked: func(linkrot.State) {
			if answered++; answered == until {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("broken off: %v", err)
		}
	}
	reopen := func() {
		t.Helper()
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s = buckettest.Open(t, bucket.Options{Root: root, Origin: o, Buckets: buckets, Now: c.Now})
	}
	for _, n := range []int{1, 17, 30, 25} { // the last in the second bucket
		stopAfter(n)
		r, err := linkrot.Read(s.Root(), quiet)
		if err != nil || r.Now == nil || r.Last != nil || r.Now.All[linkrot.Alive] != answered {
			t.Fatalf("after %d answers: %+v, %v", answered, r, err)
		}
		reopen()
	}
	// A crash: what it had found since it was last written down is asked again.
	path := filepath.Join(root, linkrot.File)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stopAfter(20)
	if err := os.WriteFile(path, text, 0o640); err != nil {
		t.Fatal(err)
	}
	reopen()
	pass := checkOrigins(t, s, living)
	if pass.All[linkrot.Alive] != 2*each || pass.Buckets["f"][linkrot.Alive] != each || pass.Buckets["i"][linkrot.Alive] != each {
		t.Errorf("counted %v", pass)
	}
	slices.Sort(living.asked)
	if n := len(slices.Compact(slices.Clone(living.asked))); n != 2*each {
		t.Errorf("%d different URLs were asked, want %d", n, 2*each)
	}
	// The crash has 20 asked again, and each stop at most those under way.
	if most := 2*each + 20 + 5*linkrot.AtOnce; len(living.asked) > most {
		t.Errorf("asked %d times, want at most %d", len(living.asked), most)
	}
}

// The progress of a pass is saved about once a minute, whatever it finds.
func TestCheckOriginsIsSaved(t *testing.T) {
	o, root, c := new(buckettest.Origin), t.TempDir(), new(buckettest.Clock)
	s := buckettest.Open(t, bucket.Options{Root: root, Origin: o, Now: c.Now})
	for n := range 10 {
		url := fmt.Sprintf("https://%d.example/a.png", n)
		o.Set(url, url)
		buckettest.Keep(t, s, url)
	}
	n := 0
	_, err := linkrot.Check(t.Context(), s.Maintenance(), linkrot.Options{Alive: (&origins{}).Alive, Asked: func(linkrot.State) {
		// That of the answer before was written, if it was time.
		r, err := linkrot.Read(s.Root(), quiet)
		if err != nil || n > 3 && (r == nil || r.Now.All[linkrot.Alive] != 4) || n <= 3 && r != nil {
			t.Errorf("at answer %d: %+v, %v", n, r, err)
		}
		if n++; n == 4 {
			c.Add(linkrot.SaveEvery)
		}
	}})
	if err != nil || n != 10 {
		t.Errorf("%d answers, %v", n, err)
	}
}

// However many URLs there are, few are asked at once, and only so many in a second.
func TestCheckOriginsIsSlow(t *testing.T) {
	o := new(buckettest.Origin)
	s := buckettest.Open(t, bucket.Options{Root: t.TempDir(), Origin: o})
	for n := range 3 * linkrot.AtOnce {
		url := fmt.Sprintf("https://%d.example/a.png", n)
		o.Set(url, url)
		buckettest.Keep(t, s, url)
	}
	living := &origins{hold: make(chan struct{})}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := linkrot.Check(ctx, s.Maintenance(), linkrot.Options{Alive: living.Alive})
		ended <- err
	}()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		living.mu.Lock()
		n := living.atOnce
		living.mu.Unlock()
		if n == linkrot.AtOnce {
			break
		}
		if time.Since(begin) > patience.Of(t) {
			t.Fatalf("%d are asked at once, want %d", n, linkrot.AtOnce)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if living.most > linkrot.AtOnce {
		t.Errorf("%d were asked at once", living.most)
	}

	// At two a second.
	var slept time.Duration
	now := new(buckettest.Clock)
	options := linkrot.Options{Alive: (&origins{}).Alive, Rate: 2}
	options.Pace = pace.Pace{Now: now.Now, Sleep: func(_ context.Context, d time.Duration) error {
		slept += d
		now.Add(d)
		return nil
	}}
	if _, err := linkrot.Check(t.Context(), s.Maintenance(), options); err != nil {
		t.Fatal(err)
	}
	if want := 3 * linkrot.AtOnce * time.Second / 2; slept != want {
		t.Errorf("slept for %v, want %v", slept, want)
	}
}
