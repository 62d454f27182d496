package main_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/bucket/probe"
)

// trap kills at one request of an operation to the object store, whose answer nobody gets.
type trap struct {
	n     int  // which request, from 1
	after bool // the store has done what it was asked for; else it has not heard of it
	kill  func()
	of    string // the digest of the original, where it is known: others are of earlier operations

	mu   sync.Mutex
	seen []string // the requests of the operation
}

// catch does not return if this is the request; forward has the store do it.
func (x *trap) catch(request, path string, forward func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if strings.HasSuffix(request, " o") && !strings.Contains(path, x.of) {
		return
	}
	// A node looks at the log every two seconds. An operation does so when it has written.
	if request == "GET log" && (len(x.seen) == 0 || !slices.Contains([]string{"PUT u", "PUT log"}, x.seen[len(x.seen)-1])) {
		return
	}
	x.seen = append(x.seen, request)
	if len(x.seen) != x.n {
		return
	}
	if x.after {
		forward()
	}
	x.kill()
	panic(http.ErrAbortHandler)
}

// steps are two nodes, of which one, or its gateway, is killed while it works.
type steps struct {
	t       *testing.T
	a, b    *siteNode
	gateway *s3test.Gateway // of a
	made    int             // images
}

// step is a moment of an operation.
type step struct {
	gateway bool // it is killed, and not the node
	n       int
	after   bool
}

func (s step) String() string {
	return fmt.Sprintf("the gateway killed: %t, request %d, after it: %t", s.gateway, s.n, s.after)
}

// at does something with a trap at a step, has what was killed come back, and returns the
// requests up to the one of the trap; none if it was not reached.
func (s *steps) at(x step, of string, do func()) (until, all []string) {
	s.t.Helper()
	trap := &trap{n: x.n, after: x.after, of: of, kill: func() {
		if x.gateway {
			s.gateway.Kill()
			return
		}
		_ = s.a.serve.cmd.Process.Kill()
		<-s.a.serve.ended
	}}
	s.a.proxy.trap.Store(trap)
	do()
	s.a.proxy.trap.Store(nil)
	trap.mu.Lock()
	defer trap.mu.Unlock()
	if len(trap.seen) < x.n {
		return nil, trap.seen
	}
	if x.gateway {
		s.gateway = s.gateway.Another(s.t)
		s.a.proxy.point(s.t, s.gateway.URL)
	} else {
		s.a.serve.kill()
		s.a.serve = s.a.start()
		if err := s.a.orphans(); err != nil {
			s.t.Errorf("%v: %v", x, err)
		}
	}
	return trap.seen[:x.n], trap.seen
}

// settle waits until the node that the last step may have cut off from its gateway keeps new
// images: it notices the end of a connection by itself, and says 503 for a moment.
func (s *steps) settle() {
	s.t.Helper()
	_, path, _ := s.image()
	until(s.t, "a new image", func() bool { _, status := s.a.body(path); return status == http.StatusOK })
}

// image is a new one, whose origin answers with other bytes each time.
func (s *steps) image() (url, path string, fetched *atomic.Int64) {
	s.made++
	url, fetched = s.a.origin.changing(s.t, fmt.Sprintf("/step%d.jpg", s.made))
	return url, link("i", "full", url), fetched
}

// stored tells whether the object store has these bytes, which nobody has removed before.
func (s *steps) stored(body string) bool {
	s.t.Helper()
	d := digest([]byte(body))
	_, _, err := s.gateway.Client(s.t).Read(context.Background(), "i/o/"+d[:1]+"/"+d[1:2]+"/"+d+".jpg", 1<<20)
	if err != nil && !errors.Is(err, object.ErrAbsent) {
		s.t.Fatal(err)
	}
	return err == nil
}

// keep has a node keep an image, and returns its requests, and whether it did so undisturbed.
func (s *steps) keep(x step) (requests []string, done bool) {
	s.t.Helper()
	s.settle()
	_, path, fetched := s.image()
	var answer string
	var status int
	until, all := s.at(x, "", func() { answer, status = s.a.body(path) })
	if (x.gateway || until == nil) && status != http.StatusOK && (until == nil || status != http.StatusServiceUnavailable) {
		s.t.Errorf("%v, %v: status %d: %s", x, all, status, answer)
	}
	// What the other node shows is what was kept, if it was, and its own otherwise.
	other, code := s.b.body(path)
	if code != http.StatusOK || status == http.StatusOK && other != answer {
		s.t.Errorf("%v, %v: the other node: status %d, another digest: %t", x, all, code, other != answer)
	}
	if !becomes(s.t, func() bool { own, _ := s.a.body(path); return own == other }) {
		own, code := s.a.body(path)
		s.t.Errorf("%v, %v: status %d, another digest: %t", x, all, code, own != other)
	}
	want := int64(1)
	if until != nil {
		last := until[len(until)-1]
		if last == "PUT o" || last == "PUT u" && !x.after {
			want = 2
		}
	}
	if n := fetched.Load(); n != want {
		s.t.Errorf("%v, %v: fetched %d times, want %d", x, all, n, want)
	}
	return all, until == nil
}

// remove has a node remove what both show, and returns its requests, and whether it did so
// undisturbed.
func (s *steps) remove(verb string, x step) (requests []string, done bool) {
	s.t.Helper()
	s.settle()
	url, path, _ := s.image()
	before, _ := s.a.body(path)
	if other, status := s.b.body(path); status != http.StatusOK || other != before {
		s.t.Fatalf("status %d: %s", status, other)
	}
	if !s.stored(before) {
		s.t.Fatal("what both show is not in the object store")
	}
	var stderr string
	var status int
	until, all := s.at(x, digest([]byte(before)), func() { _, stderr, status = s.a.imgkeep(verb, url) })
	if until == nil && status != 0 {
		s.t.Errorf("%s, %v: status %d: %s", verb, x, status, stderr)
	}
	appended := 0
	for i, request := range until {
		if request == "PUT log" && (i < len(until)-1 || x.after) {
			appended++
		}
	}
	if until != nil && appended == 0 {
		if status == 0 {
			s.t.Errorf("%s, %v: acknowledged, and not appended", verb, x)
		}
		for _, n := range []*siteNode{s.a, s.b} {
			if body, status := n.body(path); status != http.StatusOK || body != before {
				s.t.Errorf("%s, %v: not appended: status %d: %.100s", verb, x, status, body)
			}
		}
		if !becomes(s.t, func() bool { _, stderr, status = s.a.imgkeep(verb, url); return status == 0 }) {
			s.t.Errorf("%s again, %v: status %d: %s", verb, x, status, stderr)
		}
	}
	for _, n := range []*siteNode{s.b, s.a} {
		gone := func() bool {
			body, status := n.body(path)
			return status == http.StatusUnavailableForLegalReasons || verb != "block" && status == http.StatusOK && body != before
		}
		if !becomes(s.t, gone) {
			s.t.Errorf("%s, %v, %v: still shown", verb, x, all)
		}
	}
	if verb == "block" && appended == 1 {
		return all, false // of two: first the URL, then its bytes, which are still there
	}
	if one, _ := s.a.body(path); !becomes(s.t, func() bool { other, _ := s.b.body(path); return one == other }) {
		s.t.Errorf("%s, %v, %v: two digests afterwards", verb, x, all)
	}
	if !becomes(s.t, func() bool { return !s.stored(before) }) {
		s.t.Errorf("%s, %v, %v: the bytes are still there", verb, x, all)
	}
	return all, until == nil
}

// A node, or its gateway, that is killed at any request of a keep or a removal: what was
// answered is so on both nodes, what was written is so too, and what was not is as if nobody
// had asked.
func TestNodesKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	g := s3test.Start(t)
	s := &steps{t: t, gateway: g}
	s.a = newNode(t, g, nil, nil)
	s.b = newNode(t, g.Another(t), s.a.origin, nil)
	s.a.serve, s.b.serve = s.a.start(), s.b.start()
	for _, operation := range []struct {
		do    func(step) (requests []string, done bool)
		want  string // its requests where nothing is killed
		short []step
	}{
		{s.keep, "GET u, PUT o, PUT u, GET log", []step{{n: 3, after: true}, {gateway: true, n: 3}}},
		{func(x step) ([]string, bool) { return s.remove("purge", x) }, "HEAD o, PUT log, GET log, DELETE o", []step{{n: 2, after: true}}},
		{func(x step) ([]string, bool) { return s.remove("block", x) }, "HEAD o, PUT log, GET log, PUT log, GET log" + strings.Repeat(", DELETE o", len(probe.Formats())), []step{{gateway: true, n: 4}}},
	} {
		if testing.Short() {
			for _, x := range operation.short {
				if _, done := operation.do(x); done {
					t.Errorf("%v: it ended before", x)
				}
			}
			continue
		}
		for _, x := range []step{{}, {after: true}, {gateway: true}, {gateway: true, after: true}} {
			for done := false; !done; {
				x.n++
				var requests []string
				if requests, done = operation.do(x); done && strings.Join(requests, ", ") != operation.want {
					t.Errorf("requests: %v, want %s", requests, operation.want)
				}
			}
		}
	}
}
