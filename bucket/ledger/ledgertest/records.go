package ledgertest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// RecordsPlace is where the records of one or several nodes are kept.
type RecordsPlace struct {
	Nodes int // how many there may be at once
	// Open opens the records at a node, counted from 0. It was closed before.
	Open func(t testing.TB, n int) Node
	// Fail lets each attempt to write fail from now on, or lets all succeed again.
	Fail func(fails bool)
}

// Node is a node that is open.
type Node struct {
	ledger.Records
	// Bytes opens the bytes of an image that was kept or found.
	Bytes func(image record.Image) (io.ReadCloser, error)
	// Forget takes an image away from under its URL, on all nodes.
	Forget func(image record.Image) error
	Close  func()
}

// RunRecords tests the records of places that newPlace makes, each a new one.
func RunRecords(t *testing.T, newPlace func(t testing.TB) RecordsPlace) {
	for name, test := range map[string]func(*recordsSuite){
		"kept and found":    (*recordsSuite).kept,
		"what stands":       (*recordsSuite).stands,
		"forgotten":         (*recordsSuite).forgotten,
		"opened again":      (*recordsSuite).reopened,
		"failures":          (*recordsSuite).failures,
		"all nodes at once": (*recordsSuite).atOnce,
	} {
		t.Run(name, func(t *testing.T) { test(&recordsSuite{t, newPlace(t), map[int]Node{}}) })
	}
}

type recordsSuite struct {
	*testing.T
	RecordsPlace
	open map[int]Node
}

// node is a node, which is open until the test ends.
func (s *recordsSuite) node(n int) Node {
	s.Helper()
	n %= s.Nodes
	if _, ok := s.open[n]; !ok {
		s.open[n] = s.Open(s.T, n)
		s.Cleanup(func() { s.close(n) })
	}
	return s.open[n]
}

func (s *recordsSuite) close(n int) {
	if node, ok := s.open[n]; ok {
		node.Close()
		delete(s.open, n)
	}
}

const urlOne, urlTwo = "https://example.com/1.jpg?a=1&b=<ü>", "https://example.com/2.jpg"

// imageOf is that of some bytes under a URL.
func imageOf(url, text string) record.Image {
	i := image(1)
	i.URL, i.Digest, i.Bytes = url, sha256.Sum256([]byte(text)), int64(len(text))
	return i
}

// keep keeps bytes on a node, and checks what stands then.
func (s *recordsSuite) keep(n int, url, text, stands string) record.Image {
	s.Helper()
	i := imageOf(url, text)
	got, err := s.node(n).Keep(s.Context(), i, strings.NewReader(text), *ledger.KeepEvent(i))
	if err != nil {
		s.Fatal(err)
	}
	if want := imageOf(url, stands); !same(got, want) {
		s.Errorf("under %s stands %+v, want %+v", url, got, want)
	}
	return got
}

// same compares images, but for the names of their bytes.
func same(a, b record.Image) bool {
	a.Generation, b.Generation = 0, 0
	return a == b
}

// has checks what a node finds under a URL, and its bytes: "" for nothing.
func (s *recordsSuite) has(n int, url, text string) {
	s.Helper()
	node := s.node(n)
	got, err := node.Find(s.Context(), "i", url)
	if text == "" {
		if !errors.Is(err, ledger.ErrNotKept) {
			s.Errorf("node %d finds %+v, %v under %s, want ErrNotKept", n, got, err, url)
		}
		return
	}
	if want := imageOf(url, text); err != nil || !same(got, want) {
		s.Errorf("node %d finds %+v, %v under %s, want %+v", n, got, err, url, want)
		return
	}
	bytes, err := node.Bytes(got)
	if err != nil {
		s.Errorf("node %d: %v", n, err)
		return
	}
	defer bytes.Close()
	if got, err := io.ReadAll(bytes); err != nil || string(got) != text {
		s.Errorf("node %d has %q, %v under %s, want %q", n, got, err, url, text)
	}
}

// all checks what all nodes find.
func (s *recordsSuite) all(url, text string) {
	s.Helper()
	for n := range s.Nodes {
		s.has(n, url, text)
	}
}

// What one node keeps all find, as it was, with its bytes, and nothing else.
func (s *recordsSuite) kept() {
	s.all(urlOne, "")
	s.keep(0, urlOne, "one", "one")
	s.all(urlOne, "one")
	s.all(urlTwo, "")
	s.keep(1, urlTwo, "one", "one") // the same bytes
	s.all(urlOne, "one")
	s.all(urlTwo, "one")
	if i, err := s.node(0).Find(s.Context(), "f", urlOne); !errors.Is(err, ledger.ErrNotKept) {
		s.Errorf("in another bucket is %+v, %v", i, err)
	}
}

// Who keeps other bytes under a URL, at whatever node, gets what stands there.
func (s *recordsSuite) stands() {
	s.keep(0, urlOne, "one", "one")
	for n := range 3 {
		s.keep(n, urlOne, fmt.Sprint("other bytes ", n), "one")
	}
	s.all(urlOne, "one")
}

// What was forgotten may be kept again, the same or other bytes.
func (s *recordsSuite) forgotten() {
	for n, text := range []string{"one", "one", "two", "one"} {
		i := s.keep(n, urlOne, text, text)
		s.keep(0, urlTwo, "of another URL", "of another URL")
		s.all(urlOne, text)
		if err := s.node(n + 1).Forget(i); err != nil {
			s.Fatal(err)
		}
		s.all(urlOne, "")
		s.all(urlTwo, "of another URL")
	}
}

// What was kept and forgotten remains so when nodes are opened again.
func (s *recordsSuite) reopened() {
	one := s.keep(0, urlOne, "one", "one")
	s.keep(1, urlTwo, "two", "two")
	again := func() {
		for n := range s.Nodes {
			s.close(n)
		}
	}
	again()
	s.all(urlOne, "one")
	s.all(urlTwo, "two")
	if err := s.node(0).Forget(one); err != nil {
		s.Fatal(err)
	}
	again()
	s.all(urlOne, "")
	s.keep(1, urlTwo, "three", "two")
	s.keep(1, urlOne, "three", "three")
	s.all(urlOne, "three")
}

// What could not be kept is not found, or is found whole, and may be kept then.
func (s *recordsSuite) failures() {
	s.keep(0, urlTwo, "two", "two")
	s.Fail(true)
	i := imageOf(urlOne, "one")
	if _, err := s.node(0).Keep(s.Context(), i, strings.NewReader("one"), *ledger.KeepEvent(i)); err == nil {
		s.Error("nothing can be written, and Keep says nothing")
	}
	s.Fail(false)
	s.all(urlOne, "")
	s.keep(0, urlOne, "one", "one")
	s.all(urlOne, "one")
	s.all(urlTwo, "two")
}

// Nodes that keep other bytes under the same URLs at once agree on one each.
func (s *recordsSuite) atOnce() {
	const urls = 20
	url := func(u int) string { return fmt.Sprintf("https://example.com/%d", u) }
	var kept [urls]map[record.Digest]bool
	for u := range urls {
		kept[u] = map[record.Digest]bool{}
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	for n := range s.Nodes {
		node := s.node(n)
		for u := range urls {
			all.Go(func() {
				text := fmt.Sprintf("bytes of %d for node %d", u, n)
				i := imageOf(url(u), text)
				got, err := node.Keep(s.Context(), i, strings.NewReader(text), *ledger.KeepEvent(i))
				if err != nil {
					s.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				kept[u][got.Digest] = true
			})
		}
	}
	all.Wait()
	for u := range urls {
		for n := range s.Nodes {
			i, err := s.node(n).Find(s.Context(), "i", url(u))
			if err != nil || !kept[u][i.Digest] || len(kept[u]) != 1 {
				s.Errorf("node %d finds %v, %v under %s, where were kept %v", n, i.Digest, err, url(u), kept[u])
			}
		}
	}
}
