package shared_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/object/objecttest"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/ledger/shared/sharedtest"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

var noon = time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)

const (
	urlA = "https://a.example/1.png"
	urlB = "https://b.example/2.png"
)

// image is that of some bytes under a URL.
func image(url, text string) record.Image {
	return record.Image{
		Bucket: "i", URL: url, Digest: sha256.Sum256([]byte(text)), Bytes: int64(len(text)), Stored: noon,
		Info: probe.Info{Format: probe.PNG, Width: 3, Height: 2, Orientation: 1, Frames: 1},
	}
}

// world is an object store, and nodes that share it.
type world struct {
	*testing.T
	store *objecttest.Memory
	mu    sync.Mutex
	// hook, if it is set, is called in the place of each request of a node.
	hook  func(node string, r objecttest.Request, do func() error) error
	asked []string
}

func newWorld(t *testing.T) *world {
	return &world{T: t, store: &objecttest.Memory{}}
}

// node is one of those that share.
type node struct {
	*shared.Ledger
	w     *world
	name  string
	state *sharedtest.Memory
	files *object.Blobs
}

// node returns a new node, or one that starts again with the state that it had.
func (w *world) node(name string, state *sharedtest.Memory) *node {
	w.Helper()
	if state == nil {
		state = &sharedtest.Memory{}
	}
	n := w.unstarted(name, state)
	if err := n.Start(w.Context()); err != nil {
		w.Fatal(err)
	}
	return n
}

func (w *world) unstarted(name string, state *sharedtest.Memory) *node {
	objects := w.store.With(func(r objecttest.Request, do func() error) error {
		w.mu.Lock()
		w.asked = append(w.asked, name+" "+r.Op+" "+kind(r.Key))
		hook := w.hook
		w.mu.Unlock()
		if hook != nil {
			return hook(name, r, do)
		}
		return do()
	})
	files := object.NewBlobs(objects, w.TempDir())
	return &node{shared.New(shared.Options{Objects: objects, Files: files, State: state, Buckets: []string{"f", "i"}}), w, name, state, files}
}

// kind is what a key is the name of.
func kind(key string) string {
	switch {
	case strings.HasPrefix(key, "log/"):
		return "log"
	case strings.Contains(key, "/o/"):
		return "original"
	case strings.Contains(key, "/u/"):
		return "record"
	}
	return key
}

// requests are those since the last call.
func (w *world) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = nil
	return asked
}

func (w *world) setHook(hook func(node string, r objecttest.Request, do func() error) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = hook
}

func (n *node) keepErr(url, text string) (record.Image, error) {
	i := image(url, text)
	return n.Keep(n.w.Context(), i, strings.NewReader(text), *ledger.KeepEvent(i))
}

func (n *node) keep(url, text string) record.Image {
	n.w.Helper()
	i, err := n.keepErr(url, text)
	if err != nil {
		n.w.Fatalf("%s keeps %s: %v", n.name, url, err)
	}
	return i
}

func (n *node) remove(bucket string, e *ledger.Event) uint64 {
	n.w.Helper()
	number, err := n.Remove(n.w.Context(), bucket, *e)
	if err != nil {
		n.w.Fatalf("%s removes: %v", n.name, err)
	}
	return number
}

func forget(url, text string) *ledger.Event {
	return ledger.RemoveEvent(ledger.OpForget, image(url, text), noon, "", "")
}

func purge(text string) *ledger.Event {
	i := image("", text)
	return ledger.RemoveEvent(ledger.OpPurge, i, noon, "", "")
}

func block(kind, subject string) *ledger.Event {
	return ledger.BlockEvent(ledger.OpBlock, record.Block{Kind: kind, Subject: subject, Since: noon})
}

func unblock(kind, subject string) *ledger.Event {
	return ledger.BlockEvent(ledger.OpUnblock, record.Block{Kind: kind, Subject: subject, Since: noon})
}

func digestOf(text string) string { return image("", text).Digest.String() }

// shows checks what a node that has read the log shows of a URL: the text, or "" that
// nothing is kept, or "blocked". It reads the bytes.
func (n *node) shows(url, want string) {
	n.w.Helper()
	if err := n.CatchUp(n.w.Context()); err != nil {
		n.w.Fatal(err)
	}
	i, err := n.Find(n.w.Context(), "i", url)
	got := ""
	switch {
	case errors.Is(err, shared.ErrBlocked):
		got = "blocked"
	case errors.Is(err, ledger.ErrNotKept):
	case err != nil:
		n.w.Fatalf("%s looks for %s: %v", n.name, url, err)
	default:
		var text strings.Builder
		if err := n.files.FetchTo(n.w.Context(), i, &text); err != nil {
			n.w.Errorf("%s has found %s, and not its bytes: %v", n.name, url, err)
		}
		got = text.String()
	}
	if got != want {
		n.w.Errorf("%s shows %q for %s, want %q", n.name, got, url, want)
	}
}

// What one node keeps the others find, with the bytes. A second keeper of the URL gets what
// stands.
func TestKeepAndFind(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a", nil), w.node("b", nil)
	a.shows(urlA, "")
	kept := a.keep(urlA, "one")
	if want := image(urlA, "one"); kept != want {
		t.Errorf("kept %+v, want %+v", kept, want)
	}
	if got := b.keep(urlA, "two"); got.Digest != kept.Digest {
		t.Errorf("the second keeper got %+v", got)
	}
	for _, n := range []*node{a, b, w.node("c", nil)} {
		n.shows(urlA, "one")
		n.shows(urlB, "")
	}
	if _, err := b.Find(t.Context(), "f", urlA); !errors.Is(err, ledger.ErrNotKept) {
		t.Errorf("in another bucket: %v", err)
	}
	w.node("b", b.state).shows(urlA, "one")
}

// What is asked of the store where nobody interferes.
func TestRequests(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a", nil), w.node("b", nil)
	w.requests()
	expect := func(what string, want ...string) {
		t.Helper()
		if got := w.requests(); !slices.Equal(got, want) {
			t.Errorf("%s asks %q, want %q", what, got, want)
		}
	}
	a.keep(urlA, "one")
	expect("keeping", "a Create original", "a Create record", "a Read log")
	find := func(n *node) record.Image {
		t.Helper()
		i, err := n.Find(t.Context(), "i", urlA)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	find(a)
	expect("finding what this node has kept")
	i := find(b)
	expect("finding what another has kept", "b Read record")
	find(b)
	expect("finding it again")
	if err := b.files.FetchTo(t.Context(), i, io.Discard); err != nil {
		t.Fatal(err)
	}
	expect("the bytes", "b Fetch original")
	a.remove("i", forget(urlA, "one"))
	expect("forgetting", "a Create log", "a Read log")
	if err := b.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("hearing of it", "b Read log", "b Read log")
	a.remove("i", purge("one"))
	expect("purging", "a Create log", "a Read log", "a Remove original")
}

// What each kind of removal takes away, at the node that removes and at another, and what may
// be kept again after it, under which name.
func TestRemovals(t *testing.T) {
	one := digestOf("one")
	for name, tt := range map[string]struct {
		bucket string
		event  *ledger.Event
		undo   *ledger.Event // of a block
		a, b   string        // what urlA and urlB, which have the same bytes, show then
		gen    uint64        // of what is kept again under urlA
	}{
		"forget":               {"i", forget(urlA, "one"), nil, "", "one", 0},
		"forget elsewhere":     {"f", forget(urlA, "one"), nil, "one", "one", 0},
		"purge":                {"i", purge("one"), nil, "", "", 1},
		"purge elsewhere":      {"f", purge("one"), nil, "one", "one", 0},
		"block of the URL":     {"", block(record.BlockURL, urlA), unblock(record.BlockURL, urlA), "blocked", "one", 0},
		"block of the bytes":   {"", block(record.BlockDigest, one), unblock(record.BlockDigest, one), "blocked", "blocked", 1},
		"block of the host":    {"", block(record.BlockHost, "a.example"), unblock(record.BlockHost, "a.example"), "blocked", "one", 0},
		"block of other hosts": {"", block(record.BlockHost, "*.example.org"), unblock(record.BlockHost, "*.example.org"), "one", "one", 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.node("a", nil), w.node("b", nil)
			a.keep(urlA, "one")
			a.keep(urlB, "one")
			b.shows(urlA, "one")
			b.shows(urlB, "one")
			a.remove(tt.bucket, tt.event)
			for _, n := range []*node{a, b, w.node("c", nil), w.node("b", b.state)} {
				n.shows(urlA, tt.a)
				n.shows(urlB, tt.b)
			}
			if tt.undo != nil {
				if _, err := b.keepErr(urlA, "one"); (tt.a == "blocked") != errors.Is(err, shared.ErrBlocked) {
					t.Errorf("keeping what is blocked: %v", err)
				}
				b.remove("", tt.undo)
				after := tt.a
				if after == "blocked" {
					after = "" // unblocking revives nothing
				}
				for _, n := range []*node{a, b, w.node("c", nil)} {
					n.shows(urlA, after)
				}
			}
			want := map[bool]string{true: "one", false: "two"}[tt.a == "one"]
			text := want
			if tt.gen > 0 {
				text, want = "one", "one" // the same bytes, under another name
			}
			if got := b.keep(urlA, text); got.Generation != tt.gen {
				t.Errorf("kept again with generation %d, want %d", got.Generation, tt.gen)
			}
			for _, n := range []*node{a, b, w.node("c", nil)} {
				n.shows(urlA, want)
			}
			if err := a.Finish(t.Context()); err != nil {
				t.Error(err)
			}
			b.shows(urlA, want)
		})
	}
}

// originals are the names of the originals in the store.
func (w *world) originals() (keys []string) {
	for _, key := range w.store.Keys() {
		if kind(key) == "original" {
			keys = append(keys, key)
		}
	}
	return keys
}

// The bytes are gone when a purge returns, and when a block of bytes does, of all buckets.
func TestBytesGo(t *testing.T) {
	for name, tt := range map[string]struct {
		bucket string
		event  *ledger.Event
		left   int
	}{
		"purge": {"i", purge("one"), 1}, "block": {"", block(record.BlockDigest, digestOf("one")), 0}, "forget": {"i", forget(urlA, "one"), 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.node("a", nil), w.node("b", nil)
			a.keep(urlA, "one")
			other := image(urlA, "one")
			other.Bucket = "f"
			if _, err := a.Keep(t.Context(), other, strings.NewReader("one"), *ledger.KeepEvent(other)); err != nil {
				t.Fatal(err)
			}
			b.remove(tt.bucket, tt.event) // which has never seen it
			if got := w.originals(); len(got) != tt.left {
				t.Errorf("left are %v, want %d", got, tt.left)
			}
		})
	}
}

// A log that has lost entries, or is another, stops the start; so does one that this version
// cannot read.
func TestStart(t *testing.T) {
	w := newWorld(t)
	a := w.node("a", nil)
	a.remove("i", purge("one"))
	a.remove("i", purge("two"))
	if mark, err := a.Applied(); err != nil || mark != 2 {
		t.Fatalf("applied %d, %v", mark, err)
	}
	if heard := a.Heard(); heard.IsZero() {
		t.Error("the log was never heard")
	}
	if err := w.store.Remove(t.Context(), "log/0000000002"); err != nil {
		t.Fatal(err)
	}
	if err := w.unstarted("a", a.state).Start(t.Context()); !errors.Is(err, ledger.ErrMisfit) {
		t.Errorf("a log that has lost an entry: %v", err)
	}
	w.node("b", nil).remove("i", purge("three"))
	if err := w.unstarted("a", a.state).Start(t.Context()); !errors.Is(err, ledger.ErrMisfit) {
		t.Errorf("another log: %v", err)
	}
	for text, what := range map[string]string{
		`{"op":"burn","time":"2026-11-18T12:00:00Z","id":"x"}`:   "an operation of a later version",
		`{"op":"block","time":"2026-11-18T12:00:00Z","url":"u"}`: "an entry without an ID",
		`{"op":"blo`:                  "half an entry",
		strings.Repeat("x", 32<<10+1): "a long entry",
	} {
		if err := w.store.Put(t.Context(), "log/0000000003", object.Text([]byte(text), "")); err != nil {
			t.Fatal(err)
		}
		if err := w.unstarted("c", &sharedtest.Memory{}).Start(t.Context()); err == nil {
			t.Errorf("%s is passed over", what)
		}
	}
}

// A record that is none decides nothing.
func TestForeignRecord(t *testing.T) {
	w := newWorld(t)
	a := w.node("a", nil)
	a.keep(urlA, "one")
	var key string
	for _, k := range w.store.Keys() {
		if kind(k) == "record" {
			key = k
		}
	}
	a.keep(urlB, "two")
	for _, k := range w.store.Keys() {
		if kind(k) == "record" && k != key { // that of urlB, in the place of that of urlA
			text, _, err := w.store.Read(t.Context(), k, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.store.Put(t.Context(), key, object.Text(text, "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	b := w.node("b", nil)
	if i, err := b.Find(t.Context(), "i", urlA); err == nil || errors.Is(err, ledger.ErrNotKept) {
		t.Errorf("found %+v, %v", i, err)
	}
	if i, err := b.keepErr(urlA, "three"); err == nil {
		t.Errorf("kept %+v", i)
	}
}

// While the store is away nothing is decided, and what is known is found.
func TestAway(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a", nil), w.node("b", nil)
	a.keep(urlA, "one")
	away := errors.New("the object store does not answer")
	w.setHook(func(string, objecttest.Request, func() error) error { return away })
	if _, err := a.Find(t.Context(), "i", urlA); err != nil {
		t.Errorf("what is known: %v", err)
	}
	if _, err := b.Find(t.Context(), "i", urlA); !errors.Is(err, away) {
		t.Errorf("what is not: %v", err)
	}
	if _, err := a.keepErr(urlB, "two"); !errors.Is(err, away) {
		t.Errorf("keeping: %v", err)
	}
	if _, err := a.Remove(t.Context(), "i", *purge("one")); !errors.Is(err, away) {
		t.Errorf("removing: %v", err)
	}
	if err := a.CatchUp(t.Context()); !errors.Is(err, away) {
		t.Errorf("reading the log: %v", err)
	}
	// A write that is never answered is asked for so often, and not for ever.
	w.setHook(func(_ string, r objecttest.Request, do func() error) error {
		if r.Op == "Create" {
			return object.ErrUnclear
		}
		return do()
	})
	w.requests()
	if _, err := a.keepErr(urlB, "two"); err == nil {
		t.Error("keeping without answers is no error")
	}
	if _, err := a.Remove(t.Context(), "i", *purge("one")); err == nil {
		t.Error("removing without answers is no error")
	}
	if n := len(w.requests()); n > 400 {
		t.Errorf("asked %d times", n)
	}
	w.setHook(nil)
	a.keep(urlB, "two")
	b.shows(urlB, "two")
}

// Hot links are told of an entry before it takes effect, and after.
func TestRemoved(t *testing.T) {
	w := newWorld(t)
	var told []string
	a := w.node("a", nil)
	a.keep(urlA, "one")
	l := shared.New(shared.Options{Objects: w.store, Files: a.files, State: a.state, Buckets: []string{"i"}})
	l.Removing = func(e ledger.Entry) func() {
		tell := func() {
			_, err := l.Known("i", urlA)
			told = append(told, fmt.Sprintf("%s %v", e.Op, err == nil))
		}
		tell()
		return tell
	}
	if _, err := l.Remove(t.Context(), "i", *forget(urlA, "one")); err != nil {
		t.Fatal(err)
	}
	if want := []string{"forget true", "forget false"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}
