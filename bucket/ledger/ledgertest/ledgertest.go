// Package ledgertest is the suite that every ledger.Ledger passes. It asks nothing that
// only files can do: no append, no line numbers, no order of names.
package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Buckets are those that ledgers under test must have.
var Buckets = []string{"f", "i"}

// Place is where one ledger is kept, as often as it is opened.
type Place struct {
	// Open opens the ledger. It was closed before, or its process was killed.
	Open func(t testing.TB) ledger.Ledger
	// Fail lets each attempt to write fail from now on, half done where that is
	// possible, or lets all succeed again.
	Fail func(fails bool)
}

var noon = time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)

// image is the n-th of many images.
func image(n int) record.Image {
	return record.Image{
		Bucket: "i", URL: fmt.Sprintf("https://example.com/%d.jpg?a=1&b=<ü>", n), Digest: record.Digest{byte(n >> 8), byte(n), 1},
		Info:  probe.Info{Format: probe.JPEG, Width: 30 + n, Height: 20, Orientation: 6, Frames: 1},
		Bytes: int64(n + 1), Stored: noon.Add(time.Duration(n) * time.Second),
	}
}

func keeps(from, to int) (events []*ledger.Event) {
	for n := from; n < to; n++ {
		events = append(events, ledger.KeepEvent(image(n)))
	}
	return events
}

// Run tests the ledgers of places that newPlace makes, each a new one.
func Run(t *testing.T, newPlace func(t testing.TB) Place) {
	for name, test := range map[string]func(suite, *testing.T){
		"events come back":          suite.events,
		"positions":                 suite.positions,
		"opened again":              suite.reopened,
		"the order is that of Add":  suite.order,
		"other positions":           suite.misfits,
		"failures":                  suite.failures,
		"read while it is added to": suite.concurrent,
		"buckets at the same time":  suite.buckets,
		"removals":                  suite.removals,
	} {
		t.Run(name, func(t *testing.T) { test(suite{newPlace}, t) })
	}
}

type suite struct{ newPlace func(testing.TB) Place }

// all reads what a ledger has behind a position, of which nothing may be broken.
func all(t testing.TB, l ledger.Ledger, bucket string, from record.Position) (entries []ledger.Entry) {
	t.Helper()
	for e, err := range l.Since(bucket, from) {
		if err != nil || e.Broken != nil {
			t.Fatalf("read %q: %+v, %v", bucket, e, err)
		}
		entries = append(entries, e)
	}
	return entries
}

// has checks that a bucket has exactly these images, kept in this order.
func has(t testing.TB, l ledger.Ledger, bucket string, from record.Position, want ...int) {
	t.Helper()
	var got []int
	for _, e := range all(t, l, bucket, from) {
		n := int(e.Image.Bytes) - 1
		if e.Op != ledger.OpKeep || e.Image != image(n) {
			t.Errorf("%+v is not what was added", e)
		}
		got = append(got, n)
	}
	if !slices.Equal(got, want) {
		t.Errorf("bucket %q has %v, want %v", bucket, got, want)
	}
}

func add(t testing.TB, l ledger.Ledger, bucket string, events []*ledger.Event) record.Position {
	t.Helper()
	at, err := l.Add(bucket, events)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Check(bucket, at); err != nil {
		t.Errorf("its own position: %v", err)
	}
	return at
}

func (s suite) events(t *testing.T) {
	l := s.newPlace(t).Open(t)
	defer l.Close()
	for _, bucket := range append([]string{""}, Buckets...) {
		if got := all(t, l, bucket, record.Position{}); len(got) > 0 {
			t.Errorf("a new ledger has %+v", got)
		}
		if err := l.Check(bucket, record.Position{}); err != nil {
			t.Errorf("the beginning: %v", err)
		}
	}
	kept, later := image(1), noon.Add(time.Hour)
	gone := kept
	gone.URL = ""
	block := record.Block{Kind: record.BlockURL, Subject: kept.URL, Since: later, Why: "they\nasked", By: "uid 0"}
	bytes := record.Block{Kind: record.BlockDigest, Subject: kept.Digest.String(), For: kept.URL, Since: later}
	add(t, l, "i", []*ledger.Event{ledger.KeepEvent(kept), ledger.RemoveEvent(ledger.OpForget, kept, later, "why", "who")})
	add(t, l, "i", []*ledger.Event{ledger.RemoveEvent(ledger.OpPurge, gone, later, "", "")})
	add(t, l, "", []*ledger.Event{ledger.BlockEvent(ledger.OpBlock, block), ledger.BlockEvent(ledger.OpBlock, bytes)})
	add(t, l, "", []*ledger.Event{ledger.BlockEvent(ledger.OpUnblock, bytes)})

	got := all(t, l, "i", record.Position{})
	if len(got) != 3 || got[0].Op != ledger.OpKeep || got[0].Image != kept {
		t.Fatalf("kept: %+v", got)
	}
	for n, want := range []struct{ op, url string }{{ledger.OpForget, kept.URL}, {ledger.OpPurge, ""}} {
		if e := got[n+1]; e.Op != want.op || e.Image.URL != want.url || e.Image.Digest != kept.Digest || e.Image.Format != kept.Format {
			t.Errorf("%s: %+v", want.op, e)
		}
	}
	got = all(t, l, "", record.Position{})
	if len(got) != 3 || got[0].Op != ledger.OpBlock || got[0].Block != block || got[1].Block != bytes || got[2].Op != ledger.OpUnblock || got[2].Block != bytes {
		t.Errorf("blocks: %+v", got)
	}
	if got := all(t, l, "f", record.Position{}); len(got) > 0 {
		t.Errorf("another bucket has %+v", got)
	}
}

// What is behind a position is what was added after it, and each entry has its own.
func (s suite) positions(t *testing.T) {
	l := s.newPlace(t).Open(t)
	defer l.Close()
	first := add(t, l, "i", keeps(0, 3))
	second := add(t, l, "i", keeps(3, 5))
	has(t, l, "i", record.Position{}, 0, 1, 2, 3, 4)
	has(t, l, "i", first, 3, 4)
	has(t, l, "i", second)
	entries := all(t, l, "i", record.Position{})
	for n, e := range entries {
		at, err := l.PositionOf(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Check("i", at); err != nil {
			t.Errorf("behind %d: %v", n, err)
		}
		if got := all(t, l, "i", at); len(got) != len(entries)-n-1 {
			t.Errorf("behind %d are %d", n, len(got))
		}
		if n == 2 && at != first || n == 4 && at != second {
			t.Errorf("behind %d is %+v, and Add said %+v and %+v", n, at, first, second)
		}
	}
}

// What was added is there when the ledger is opened later, whether it was closed or
// not, and more goes behind it.
func (s suite) reopened(t *testing.T) {
	p := s.newPlace(t)
	l := p.Open(t)
	at := add(t, l, "i", keeps(0, 2))
	for n := 2; n < 5; n++ {
		if n%2 == 0 {
			l.Close()
		}
		old := l
		l = p.Open(t)
		if err := l.Check("i", at); err != nil {
			t.Errorf("the position of before: %v", err)
		}
		has(t, l, "i", at)
		next := add(t, l, "i", keeps(n, n+1))
		has(t, l, "i", at, n)
		if at = next; n%2 == 1 {
			old.Close()
		}
	}
	has(t, l, "i", record.Position{}, 0, 1, 2, 3, 4)
	l.Close()
}

// Events of different buckets may be added at the same time.
func (s suite) buckets(t *testing.T) {
	l := s.newPlace(t).Open(t)
	defer l.Close()
	const each = 30
	var adding sync.WaitGroup
	for _, bucket := range Buckets {
		adding.Go(func() {
			for n := range each {
				if _, err := l.Add(bucket, keeps(n, n+1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	adding.Wait()
	for _, bucket := range Buckets {
		if n := len(all(t, l, bucket, record.Position{})); n != each {
			t.Errorf("bucket %s has %d events, want %d", bucket, n, each)
		}
	}
}

// Neither the clock nor the number of events has a say in the order.
func (s suite) order(t *testing.T) {
	p := s.newPlace(t)
	l := p.Open(t)
	const months = 40 * 24 * 3600 // images 40 days apart, in seconds
	order := []int{months, 0, 2 * months, 1}
	for _, n := range order {
		i := image(n % 251)
		i.Stored = noon.Add(time.Duration(n) * time.Second)
		add(t, l, "i", []*ledger.Event{ledger.KeepEvent(i)})
	}
	many := 3000
	add(t, l, "f", keeps(0, many))
	l.Close()
	l = p.Open(t)
	defer l.Close()
	for n, e := range all(t, l, "i", record.Position{}) {
		if e.Image.URL != image(order[n]%251).URL {
			t.Errorf("the %d-th is %s", n, e.Image.URL)
		}
	}
	n := 0
	for _, e := range all(t, l, "f", record.Position{}) {
		if e.Image.URL != image(n).URL || e.Image.Bucket != "f" {
			t.Fatalf("the %d-th is %+v", n, e)
		}
		n++
	}
	if n != many {
		t.Errorf("there are %d, want %d", n, many)
	}
}

// A position of another ledger is refused: an index that belongs to it would answer
// what is not so.
func (s suite) misfits(t *testing.T) {
	l, other := s.newPlace(t).Open(t), s.newPlace(t).Open(t)
	defer l.Close()
	defer other.Close()
	add(t, l, "i", keeps(0, 2))
	for what, at := range map[string]record.Position{
		"of as many events": add(t, other, "i", keeps(5, 7)),
		"of more events":    add(t, other, "i", keeps(7, 9)),
	} {
		if err := l.Check("i", at); !errors.Is(err, ledger.ErrMisfit) {
			t.Errorf("a position %s: %v", what, err)
		}
	}
	if err := l.Check("f", add(t, other, "f", keeps(0, 1))); !errors.Is(err, ledger.ErrMisfit) {
		t.Errorf("a position in an empty bucket: %v", err)
	}
}

// What was not added counts neither before nor after Settle, nor when the ledger is opened
// again, and does not stand in the way of what follows.
func (s suite) failures(t *testing.T) {
	p := s.newPlace(t)
	l := p.Open(t)
	at := add(t, l, "i", keeps(0, 2))
	for n := 10; n < 14; n++ {
		p.Fail(true)
		if _, err := l.Add("i", keeps(n, n+3)); err == nil {
			t.Fatal("it was added all the same")
		}
		p.Fail(false)
		if err := l.Settle("i"); err != nil {
			t.Fatal(err)
		}
		has(t, l, "i", at)
		if n == 12 {
			l.Close()
			l = p.Open(t)
			has(t, l, "i", at)
		}
	}
	has(t, l, "i", record.Position{}, 0, 1)
	add(t, l, "i", keeps(2, 4))
	has(t, l, "i", at, 2, 3)
	l.Close()
	l = p.Open(t)
	defer l.Close()
	has(t, l, "i", record.Position{}, 0, 1, 2, 3)
}

// A reader finds a beginning of what is added meanwhile, and no half of an event that
// passes for one.
func (s suite) concurrent(t *testing.T) {
	l := s.newPlace(t).Open(t)
	defer l.Close()
	const groups, size = 50, 7
	var readers sync.WaitGroup
	defer readers.Wait()
	done := make(chan struct{})
	defer close(done)
	for range 3 {
		readers.Go(func() {
			for {
				n := 0
				for e, err := range l.Since("i", record.Position{}) {
					if err != nil {
						t.Error(err)
						return
					}
					if e.Torn {
						break // it is being written
					}
					if e.Broken != nil || e.Image.URL != image(n).URL {
						t.Errorf("the %d-th is %+v", n, e)
						return
					}
					n++
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for n := range groups {
		if _, err := l.Add("i", keeps(n*size, (n+1)*size)); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(all(t, l, "i", record.Position{})); got != groups*size {
		t.Errorf("%d events, want %d", got, groups*size)
	}
}

func (s suite) removals(t *testing.T) {
	l := s.newPlace(t).Open(t)
	defer l.Close()
	before := l.Removals()
	if l.CountRemoval(); l.Removals() == before {
		t.Error("the count of removals stays")
	}
	if n := l.Removals(); n != l.Removals() {
		t.Error("the count of removals changes by itself")
	}
}
