package bucket

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/record"
	"imgkeep/scripts/patience"
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

func checkOrigins(t *testing.T, s *Store, o *origins) LinkRotPass {
	t.Helper()
	pass, err := s.CheckOrigins(t.Context(), LinkRotOptions{Alive: o.Alive})
	if err != nil {
		t.Fatal(err)
	}
	return pass
}

func failed(c fetch.Class, status int) error {
	return &fetch.Error{Class: c, Status: status, Err: errors.New("it is so")}
}

// Each answer of an origin has its state, and what is not served is not asked.
func TestCheckOrigins(t *testing.T) {
	o, c, root := newOrigin(), newClock(), t.TempDir()
	s := openStore(t, Options{Root: root, Origin: o, Now: c.Now, Buckets: []Bucket{{Name: "i"}, {Name: "f", Hosts: []string{"f.example"}}}, DenyHosts: []string{"denied.example"}})
	if r, err := s.LinkRot(); r != nil || err != nil {
		t.Errorf("before any pass: %v, %v", r, err)
	}
	living := &origins{answer: map[string]error{}}
	states := map[OriginState]int{}
	for n, a := range []struct {
		state OriginState
		err   error
	}{
		{OriginAlive, nil},
		{OriginGone, failed(fetch.Gone, 404)},
		{OriginGone, failed(fetch.NotImage, 200)},
		{OriginUnreachable, failed(fetch.Timeout, 0)},
		{OriginUnreachable, failed(fetch.Failed, 0)},
		{OriginUnsure, failed(fetch.Failed, 500)},
		{OriginUnsure, failed(fetch.Blocked, 403)},
		{OriginUnsure, failed(fetch.Refused, 0)},
		{OriginUnsure, failed(fetch.Denied, 0)},
		{OriginUnsure, failed(fetch.Busy, 0)},
		{OriginUnsure, errors.New("whatever else")},
	} {
		url := fmt.Sprintf("https://%d.example/a.png", n)
		o.set(url, fmt.Sprint("bytes ", n))
		keep(t, s, url)
		living.answer[url] = a.err
		states[a.state]++
	}
	o.set("https://f.example/a.png", "of f")
	if _, err := s.Keep(t.Context(), "f", "https://f.example/a.png"); err != nil {
		t.Fatal(err)
	}
	// What is not asked.
	silent := []string{
		"https://forgotten.example/a.png", "https://purged.example/a.png", "https://blocked.example/a.png",
		"https://quarantine.example/a.png", "https://failing.example/a.png", "local:///a.png",
	}
	for _, url := range silent {
		o.set(url, "bytes of "+url)
		if url == "https://failing.example/a.png" {
			o.fail(url, failed(fetch.Gone, 404))
			if _, err := s.Keep(t.Context(), "i", url); err == nil {
				t.Fatal("kept")
			}
			continue
		}
		keep(t, s, url)
	}
	digest, err := s.Find("i", "https://purged.example/a.png")
	if err != nil {
		t.Fatal(err)
	}
	why := RemoveOptions{Why: "why"}
	if _, err := s.Forget(t.Context(), "https://forgotten.example/a.png", why); err != nil {
		t.Error(err)
	}
	if _, err := s.Purge(t.Context(), Target{Digest: digest.Digest}, why); err != nil {
		t.Error(err)
	}
	if _, err := s.Block(t.Context(), Target{URL: "https://blocked.example/a.png"}, RemoveOptions{KeepFiles: true}); err != nil {
		t.Error(err)
	}
	if _, err := s.Block(t.Context(), Target{Host: "quarantine.example"}, why); err != nil {
		t.Error(err)
	}

	// One that was removed and came back with other bytes is asked for once.
	const twice = "https://twice.example/a.png"
	for _, body := range []string{"first", "second"} {
		o.set(twice, body)
		keep(t, s, twice)
		if body == "first" {
			if _, err := s.Forget(t.Context(), twice, why); err != nil {
				t.Error(err)
			}
		}
	}

	before := tree(t, root)
	pass := checkOrigins(t, s, living)
	states[OriginAlive] += 2 // that of f, and this one
	if n := living.count(twice); n != 1 {
		t.Errorf("%s was asked %d times", twice, n)
	}
	if !maps.Equal(pass.All, states) || pass.Buckets["f"][OriginAlive] != 1 || pass.Buckets["i"][OriginGone] != 2 || pass.Ended.IsZero() {
		t.Errorf("found %+v, want %v", pass, states)
	}
	for _, url := range silent {
		if living.count(url) > 0 {
			t.Errorf("%s was asked", url)
		}
	}
	delete(before, linkRotFile)
	after := tree(t, root)
	delete(after, linkRotFile)
	if !maps.Equal(before, after) {
		t.Error("a pass has changed the store")
	}

	// A second pass asks all again, and both are there to see.
	c.add(week)
	living.answer = nil
	again := checkOrigins(t, s, living)
	r, err := s.LinkRot()
	if err != nil || r.Now != nil || r.Last == nil || !maps.Equal(r.Last.All, map[OriginState]int{OriginAlive: 13}) || again.Began.Sub(pass.Ended) != week {
		t.Errorf("after the second: %+v, %v", r, err)
	}
	stats, err := s.Stats(t.Context())
	if err != nil || stats.LinkRot == nil || stats.LinkRot.Last.All[OriginAlive] != 13 {
		t.Errorf("stats: %+v, %v", stats.LinkRot, err)
	}
	// A damaged count begins anew.
	for _, text := range []string{"{", `{"now":{}}`, `{"at":{"offset":-1}}`} {
		if err := os.WriteFile(filepath.Join(root, linkRotFile), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		if pass := checkOrigins(t, s, living); pass.All[OriginAlive] != 13 {
			t.Errorf("after %s: %v", text, pass)
		}
	}
}

// A pass that is broken off, in order or by a crash, is taken up where it was:
// no URL is counted twice, and none left out. The journals of two buckets are read
// in their order.
func TestCheckOriginsGoesOn(t *testing.T) {
	const each = 60
	buckets := []Bucket{{Name: "f"}, {Name: "i"}}
	o, root, c := newOrigin(), t.TempDir(), newClock()
	s := openStore(t, Options{Root: root, Origin: o, Buckets: buckets, Now: c.Now})
	for n := range each {
		if n == each/2 {
			c.add(31 * day) // another file of the journal
		}
		for _, b := range buckets {
			url := fmt.Sprintf("https://%d.example/%s.png", n, b.Name)
			o.set(url, url)
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
		_, err := s.CheckOrigins(ctx, LinkRotOptions{Alive: living.Alive, Asked: func(OriginState) {
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
		s = openStore(t, Options{Root: root, Origin: o, Buckets: buckets, Now: c.Now})
	}
	for _, n := range []int{1, 17, 30, 25} { // the last in the second bucket
		stopAfter(n)
		r, err := s.LinkRot()
		if err != nil || r.Now == nil || r.Last != nil || r.Now.All[OriginAlive] != answered {
			t.Fatalf("after %d answers: %+v, %v", answered, r, err)
		}
		reopen()
	}
	// A crash: what it had found since it was last written down is asked again.
	path := filepath.Join(root, linkRotFile)
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
	if pass.All[OriginAlive] != 2*each || pass.Buckets["f"][OriginAlive] != each || pass.Buckets["i"][OriginAlive] != each {
		t.Errorf("counted %v", pass)
	}
	slices.Sort(living.asked)
	if n := len(slices.Compact(slices.Clone(living.asked))); n != 2*each {
		t.Errorf("%d different URLs were asked, want %d", n, 2*each)
	}
	// The crash has 20 asked again, and each stop at most those under way.
	if most := 2*each + 20 + 5*linkRotAtOnce; len(living.asked) > most {
		t.Errorf("asked %d times, want at most %d", len(living.asked), most)
	}
}

// A pass under way is written down about once a minute, whatever it finds.
func TestCheckOriginsIsSaved(t *testing.T) {
	o, root, c := newOrigin(), t.TempDir(), newClock()
	s := openStore(t, Options{Root: root, Origin: o, Now: c.Now})
	for n := range 10 {
		url := fmt.Sprintf("https://%d.example/a.png", n)
		o.set(url, url)
		keep(t, s, url)
	}
	n := 0
	_, err := s.CheckOrigins(t.Context(), LinkRotOptions{Alive: (&origins{}).Alive, Asked: func(OriginState) {
		// That of the answer before was written, if it was time.
		r, err := s.LinkRot()
		if err != nil || n > 3 && (r == nil || r.Now.All[OriginAlive] != 4) || n <= 3 && r != nil {
			t.Errorf("at answer %d: %+v, %v", n, r, err)
		}
		if n++; n == 4 {
			c.add(linkRotSave)
		}
	}})
	if err != nil || n != 10 {
		t.Errorf("%d answers, %v", n, err)
	}
}

// However many URLs there are, few are asked at once, and only so many in a second.
func TestCheckOriginsIsSlow(t *testing.T) {
	o := newOrigin()
	s := openStore(t, Options{Root: t.TempDir(), Origin: o})
	for n := range 3 * linkRotAtOnce {
		url := fmt.Sprintf("https://%d.example/a.png", n)
		o.set(url, url)
		keep(t, s, url)
	}
	living := &origins{hold: make(chan struct{})}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := s.CheckOrigins(ctx, LinkRotOptions{Alive: living.Alive})
		ended <- err
	}()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		living.mu.Lock()
		n := living.atOnce
		living.mu.Unlock()
		if n == linkRotAtOnce {
			break
		}
		if time.Since(begin) > patience.Of(t) {
			t.Fatalf("%d are asked at once, want %d", n, linkRotAtOnce)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if living.most > linkRotAtOnce {
		t.Errorf("%d were asked at once", living.most)
	}

	// At two a second.
	var slept time.Duration
	now := newClock()
	options := LinkRotOptions{Alive: (&origins{}).Alive, Rate: 2}
	options.pace = pace{now: now.Now, sleep: func(_ context.Context, d time.Duration) error {
		slept += d
		now.add(d)
		return nil
	}}
	if _, err := s.CheckOrigins(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	if want := 3 * linkRotAtOnce * time.Second / 2; slept != want {
		t.Errorf("slept for %v, want %v", slept, want)
	}
}

// A host that does not answer is not asked for each of its URLs, one that comes
// back is, and one that wants to be left alone is.
func TestCheckOriginsRests(t *testing.T) {
	o, c := newOrigin(), newClock()
	s := openStore(t, Options{Root: t.TempDir(), Origin: o, Now: c.Now})
	var dead, busy []string
	for n := range 20 {
		dead = append(dead, fmt.Sprintf("https://dead.example/%d.png", n))
		busy = append(busy, fmt.Sprintf("https://busy.example/%d.png", n))
	}
	for _, url := range slices.Concat(dead, busy) {
		o.set(url, url)
		keep(t, s, url)
	}
	living := &origins{answer: map[string]error{}}
	for n := range dead {
		living.answer[dead[n]] = failed(fetch.Timeout, 0)
		living.answer[busy[n]] = &fetch.Error{Class: fetch.Blocked, Status: 429, RetryAfter: time.Hour, Err: errors.New("429")}
	}
	a := asker{s: s, o: &LinkRotOptions{Alive: living.Alive}, hosts: map[string]*restingHost{}}
	ask := func(url string, want OriginState) {
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
		ask(dead[n], OriginUnreachable)
		ask(busy[n], OriginUnsure)
	}
	if d, b := count("dead"), count("busy"); d != maxMisses || b != 1 {
		t.Errorf("asked %d and %d times, want %d and 1", d, b, maxMisses)
	}
	c.add(restingTime) // one more does not answer, and it rests again
	ask(dead[0], OriginUnreachable)
	ask(dead[1], OriginUnreachable)
	if n := count("dead"); n != maxMisses+1 {
		t.Errorf("asked %d times, want %d", n, maxMisses+1)
	}
	c.add(time.Hour - restingTime - 1)
	ask(busy[1], OriginUnsure)
	if n := count("busy"); n != 1 {
		t.Errorf("asked %d times before the hour is over", n)
	}
	living.answer = map[string]error{dead[2]: failed(fetch.Timeout, 0), dead[3]: failed(fetch.Timeout, 0)}
	c.add(1)
	ask(busy[2], OriginAlive)
	for n := range dead { // two of them hang, which is no reason to leave the others alone
		ask(dead[n], map[bool]OriginState{true: OriginUnreachable, false: OriginAlive}[n == 2 || n == 3])
	}
	// However many hosts there are, few are remembered.
	for n := range 2 * maxResting {
		url := fmt.Sprintf("https://%d.dead.example/", n)
		living.answer[url] = failed(fetch.Timeout, 0)
		ask(url, OriginUnreachable)
	}
	if len(a.hosts) > maxResting {
		t.Errorf("%d hosts are remembered", len(a.hosts))
	}
}
