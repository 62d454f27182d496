package shared_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/object/objecttest"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/shared/sharedtest"
	"imgkeep/bucket/record"
)

// hold lets the first request of a node that is of some op and kind wait until release is
// called, and says when it has come.
type hold struct {
	arrived, released chan struct{}
	once              sync.Once
	taken             bool
}

func (w *world) hold(node, op, of string) *hold {
	h := &hold{arrived: make(chan struct{}), released: make(chan struct{})}
	var mu sync.Mutex
	w.setHook(func(name string, r objecttest.Request, do func() error) error {
		mu.Lock()
		mine := !h.taken && name == node && r.Op == op && kind(r.Key) == of
		h.taken = h.taken || mine
		mu.Unlock()
		if mine {
			close(h.arrived)
			<-h.released
		}
		return do()
	})
	return h
}

func (h *hold) release() { h.once.Do(func() { close(h.released) }) }

// during runs slow until it asks for what is held, then meanwhile, and lets slow go on.
func (w *world) during(h *hold, slow, meanwhile func()) {
	w.Helper()
	var all sync.WaitGroup
	all.Go(slow)
	<-h.arrived
	meanwhile()
	h.release()
	all.Wait()
	w.setHook(nil)
}

// The last request of a removal comes after the same was kept again: the DELETE of a purge
// finds another name, and a forgotten URL has no request that could come late.
func TestRemoverComesLate(t *testing.T) {
	for name, event := range map[string]struct {
		bucket string
		*ledger.Event
	}{
		"purge of a digest that two URLs have": {"i", purge("one")},
		"block of the bytes":                   {"", block(record.BlockDigest, digestOf("one"))},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.node("a", nil), w.node("b", nil)
			a.keep(urlA, "one")
			a.keep(urlB, "one")
			w.during(w.hold("a", "Remove", "original"), func() { a.remove(event.bucket, event.Event) }, func() {
				b.shows(urlA, map[string]string{"i": "", "": "blocked"}[event.bucket])
				if event.bucket == "" {
					b.remove("", unblock(record.BlockDigest, digestOf("one")))
				}
				b.keep(urlA, "one")
				b.shows(urlA, "one")
			})
			for _, n := range []*node{a, b, w.node("c", nil)} {
				n.shows(urlA, "one")
				n.shows(urlB, "")
			}
			// And each other node that finishes, at whatever time.
			if err := w.node("d", nil).Finish(t.Context()); err != nil {
				t.Error(err)
			}
			b.shows(urlA, "one")
		})
	}
	t.Run("forget", func(t *testing.T) {
		w := newWorld(t)
		a, b := w.node("a", nil), w.node("b", nil)
		a.keep(urlA, "one")
		w.during(w.hold("a", "Read", "log"), func() { a.remove("i", forget(urlA, "one")) }, func() {
			b.shows(urlA, "")
			b.keep(urlA, "two")
		})
		for _, n := range []*node{a, b, w.node("c", nil)} {
			n.shows(urlA, "two")
		}
	})
}

// A keeper whose record is about to be written while its node is a whole block-and-unblock
// behind: what it writes was hit, and is not shown; it keeps anew.
func TestKeeperIsBehind(t *testing.T) {
	for name, subject := range map[string]struct{ kind, name string }{
		"of the URL": {record.BlockURL, urlA}, "of the bytes": {record.BlockDigest, digestOf("one")}, "of the host": {record.BlockHost, "a.example"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.node("a", nil), w.node("b", nil)
			var kept record.Image
			w.during(w.hold("a", "Create", "record"), func() { kept = a.keep(urlA, "one") }, func() {
				b.remove("", block(subject.kind, subject.name))
				b.remove("", unblock(subject.kind, subject.name))
			})
			if want := map[bool]uint64{true: 1}[subject.kind == record.BlockDigest]; kept.Generation != want {
				t.Errorf("kept with generation %d, want %d", kept.Generation, want)
			}
			for _, n := range []*node{a, b, w.node("c", nil)} {
				n.shows(urlA, "one")
			}
			if got := w.originals(); len(got) != 1 {
				t.Errorf("originals: %v", got)
			}
		})
	}
}

// An applier that is behind finds a record that was written after what it has not applied yet:
// it reads on first, and the old entries do not take the new record away.
func TestApplierIsBehind(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a", nil), w.node("b", nil)
	a.keep(urlA, "one")
	b.shows(urlA, "one")
	a.remove("", block(record.BlockURL, urlA))
	a.remove("", unblock(record.BlockURL, urlA))
	a.keep(urlA, "two") // b has heard of nothing
	if i := b.keep(urlA, "three"); i.Digest.String() != digestOf("two") {
		t.Errorf("b keeps %+v", i)
	}
	for _, n := range []*node{a, b} {
		n.shows(urlA, "two")
	}
	c := w.unstarted("c", &sharedtest.Memory{}) // which has not even read the log
	if i, err := c.Find(t.Context(), "i", urlA); err != nil || i.Digest.String() != digestOf("two") {
		t.Errorf("found %+v, %v", i, err)
	}
	if n, err := c.Applied(); err != nil || n != 2 {
		t.Errorf("it has applied %d entries, %v", n, err)
	}
}

// A keeper is killed before its node has entered what it wrote: all find it, and its own node
// too, when it starts again.
func TestKeeperIsKilled(t *testing.T) {
	killed := errors.New("killed")
	w := newWorld(t)
	state := &sharedtest.Memory{}
	dies := false
	state.Commit = func() error {
		if dies {
			return killed
		}
		return nil
	}
	a, b := w.node("a", state), w.node("b", nil)
	dies = true
	if _, err := a.keepErr(urlA, "one"); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	dies = false
	for _, n := range []*node{b, w.node("a", state)} {
		n.shows(urlA, "one")
	}
}

// A remover is killed after its append, at each step that follows: it is decided for all, and
// the node that reads the log deletes the bytes.
func TestRemoverIsKilled(t *testing.T) {
	killed := errors.New("killed")
	for name, dies := range map[string]func(w *world, state *sharedtest.Memory){
		"before it hears that it has appended": func(w *world, _ *sharedtest.Memory) {
			w.setHook(func(name string, r objecttest.Request, do func() error) error {
				if name == "a" && r.Op == "Create" && kind(r.Key) == "log" {
					do()
					return killed
				}
				return do()
			})
		},
		"before it has applied": func(w *world, state *sharedtest.Memory) {
			state.Commit = func() error { return killed }
		},
		"before it has deleted": func(w *world, _ *sharedtest.Memory) {
			w.setHook(func(name string, r objecttest.Request, do func() error) error {
				if name == "a" && r.Op == "Remove" {
					return killed
				}
				return do()
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			state := &sharedtest.Memory{}
			a, b := w.node("a", state), w.node("b", nil)
			a.keep(urlA, "one")
			b.shows(urlA, "one")
			dies(w, state)
			if _, err := a.Remove(t.Context(), "i", *purge("one")); !errors.Is(err, killed) {
				t.Fatal(err)
			}
			w.setHook(nil)
			state.Commit = nil
			b.shows(urlA, "")
			w.node("a", state).shows(urlA, "")
			if got := w.originals(); len(got) > 0 {
				t.Errorf("left are %v", got)
			}
		})
	}
}

// Answers get lost, after the request was carried out, or before it comes, late, while others
// have gone on: at each request of keeping and of removing.
func TestLostAndLate(t *testing.T) {
	for _, op := range []struct{ op, of string }{{"Create", "original"}, {"Create", "record"}, {"Replace", "record"}, {"Create", "log"}, {"Remove", "original"}} {
		for _, late := range []bool{false, true} {
			t.Run(op.op+" "+op.of+map[bool]string{false: " lost", true: " late"}[late], func(t *testing.T) {
				w := newWorld(t)
				a, b := w.node("a", nil), w.node("b", nil)
				a.keep(urlA, "one")
				a.remove("i", forget(urlA, "one")) // so that keeping replaces a dead record
				var arrives func() error
				w.setHook(func(name string, r objecttest.Request, do func() error) error {
					if name != "a" || r.Op != op.op || kind(r.Key) != op.of || arrives != nil {
						return do()
					}
					if arrives = do; !late {
						do()
					}
					return object.ErrUnclear
				})
				a.keep(urlA, "two")
				a.shows(urlA, "two")
				a.keep(urlB, "three")
				b.shows(urlA, "two")
				a.remove("i", purge("two"))
				b.shows(urlA, "")
				b.shows(urlB, "three")
				b.keep(urlA, "four")
				if arrives == nil {
					t.Fatal("there was no such request")
				}
				if late {
					arrives()
				}
				for _, n := range []*node{a, b, w.node("c", nil)} {
					n.shows(urlA, "four")
					n.shows(urlB, "three")
				}
			})
		}
	}
}

// A record is replaced by a keeper that knew it to be dead, while another keeper does the
// same: one of them stands.
func TestReplacersRace(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a", nil), w.node("b", nil)
	a.keep(urlA, "one")
	a.remove("i", forget(urlA, "one"))
	b.shows(urlA, "")
	var kept record.Image
	w.during(w.hold("a", "Replace", "record"), func() { kept = a.keep(urlA, "two") }, func() { b.keep(urlA, "three") })
	if kept.Digest.String() != digestOf("three") {
		t.Errorf("a keeps %+v", kept)
	}
	for _, n := range []*node{a, b, w.node("c", nil)} {
		n.shows(urlA, "three")
	}
}

// Two nodes remove at once: each gets an entry of its own, and both take effect.
func TestRemoversRace(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a", nil), w.node("b", nil)
	a.keep(urlA, "one")
	a.keep(urlB, "two")
	var first, second uint64
	w.during(w.hold("a", "Create", "log"), func() { second = a.remove("i", forget(urlA, "one")) }, func() { first = b.remove("i", purge("two")) })
	if first != 1 || second != 2 {
		t.Errorf("the entries are %d and %d", first, second)
	}
	for _, n := range []*node{a, b, w.node("c", nil)} {
		n.shows(urlA, "")
		n.shows(urlB, "")
	}
}

// A keeper whose bytes lie under a name that has died deletes them: they are garbage that
// nobody else would know.
func TestKeeperCleans(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a", nil), w.node("b", nil)
	var err error
	w.during(w.hold("a", "Create", "original"), func() { _, err = a.keepErr(urlA, "one") }, func() {
		b.remove("", block(record.BlockDigest, digestOf("one")))
	})
	if err == nil || !strings.Contains(err.Error(), "blocked") {
		t.Errorf("keeping what was blocked meanwhile: %v", err)
	}
	if got := w.originals(); len(got) > 0 {
		t.Errorf("left are %v", got)
	}
	b.shows(urlA, "blocked")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Find(ctx, "i", urlB); err == nil {
		t.Error("a context that has ended is no error")
	}
}

// What a crash has left under a dead name a sweep deletes, and nothing else.
func TestSweep(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a", nil), w.node("b", nil)
	a.keep(urlA, "one")
	a.keep(urlB, "two")
	a.remove("i", purge("one"))
	b.keep(urlA, "one")
	dead, other := image(urlA, "one"), image(urlA, "one")
	other.Bucket = "f"
	for _, left := range []record.Image{dead, other} { // a PUT that came late; and in another bucket, where nothing was removed
		if err := w.store.Put(t.Context(), object.Key(left), object.Text([]byte("one"), "")); err != nil {
			t.Fatal(err)
		}
	}
	c := w.unstarted("c", &sharedtest.Memory{}) // which has not read the log
	for _, want := range []int{1, 0} {
		if n, err := c.Sweep(t.Context(), "i"); err != nil || n != want {
			t.Errorf("deleted %d, %v, want %d", n, err, want)
		}
	}
	if n, err := c.Sweep(t.Context(), "f"); err != nil || n != 0 {
		t.Errorf("in the other bucket: deleted %d, %v", n, err)
	}
	for _, n := range []*node{a, b, c} {
		n.shows(urlA, "one")
		n.shows(urlB, "two")
	}
	if got := w.originals(); len(got) != 3 {
		t.Errorf("originals: %v", got)
	}
}
