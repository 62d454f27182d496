package shared_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"imgkeep/bucket/blob/cache"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/s3"
	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/record"
)

// indexState is an index as a shared.State.
type indexState struct{ *index.DB }

func (s indexState) View(read func(shared.Tx) error) error {
	return s.ViewShared(func(tx *index.SharedTx) error { return read(tx) })
}

func (s indexState) Update(write func(shared.Tx) error) error {
	return s.UpdateShared(func(tx *index.SharedTx) error { return write(tx) })
}

// whole is a node of all its parts: a real object store, a cache before it, and an index.
type whole struct {
	*shared.Ledger
	*testing.T
	files *cache.Store
	db    *index.DB
	root  string
	gets  atomic.Int64
	puts  atomic.Int64
}

// newWhole opens a node on a root, which may be empty.
func newWhole(t *testing.T, g *s3test.Gateway, root string, bytes int64) *whole {
	t.Helper()
	n := &whole{T: t, root: root}
	o := g.Options(t)
	o.Observe = func(kind, _ string, _ time.Duration) {
		if kind == "get" || kind == "head" || kind == "list" {
			n.gets.Add(1)
		} else {
			n.puts.Add(1)
		}
	}
	c, err := s3.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, record.TmpDir), 0o755); err != nil {
		t.Fatal(err)
	}
	n.files, err = cache.New(t.Context(), cache.Options{
		Under: object.NewBlobs(c, root), Root: root, Buckets: []string{"i"}, Bytes: bytes, Disk: localtest.Sparse{Disk: local.OS{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if n.db, err = index.Open(filepath.Join(root, record.IndexFile), []string{"i"}, index.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.db.Close() })
	n.Ledger = shared.New(shared.Options{Objects: c, Files: n.files, State: indexState{n.db}, Buckets: []string{"i"}})
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.gets.Store(0)
	n.puts.Store(0)
	return n
}

func bytesAt(n int) string { return fmt.Sprint(strings.Repeat("x", 1000), n) }

func urlAt(n int) string { return fmt.Sprintf("https://a.example/%d.png", n) }

// shows finds an image and reads its bytes.
func (n *whole) shows(i int) record.Image {
	n.Helper()
	found, err := n.Find(n.Context(), "i", urlAt(i))
	if err != nil {
		n.Fatalf("%s: %v", urlAt(i), err)
	}
	file, err := n.files.Open(n.Context(), found)
	if err != nil {
		n.Fatalf("%s: %v", urlAt(i), err)
	}
	defer file.Close()
	if got, err := io.ReadAll(file); err != nil || string(got) != bytesAt(i) {
		n.Errorf("%s has %d other bytes, %v", urlAt(i), len(got), err)
	}
	return found
}

// asked checks how much was asked of the store since the last call, per image.
func (n *whole) asked(what string, images int, gets, puts int64) {
	n.Helper()
	if g, p := n.gets.Swap(0), n.puts.Swap(0); g > gets*int64(images) || p > puts*int64(images) {
		n.Errorf("%s: %d reads and %d writes for %d images, want at most %d and %d each", what, g, p, images, gets, puts)
	}
}

// A node on an empty root serves all that another has kept, at two reads an image; when it
// starts again it needs none, and where its cache is small it fetches what has gone. A removal
// takes away what lies in the caches of all.
func TestWholeNodes(t *testing.T) {
	g := s3test.Start(t)
	const images = 30
	a := newWhole(t, g, t.TempDir(), 1<<20)
	for i := range images {
		img := image(urlAt(i), bytesAt(i))
		if _, err := a.Keep(t.Context(), img, strings.NewReader(bytesAt(i)), *ledger.KeepEvent(img)); err != nil {
			t.Fatal(err)
		}
	}
	a.asked("keeping", images, 1, 2)
	for i := range images {
		a.shows(i)
	}
	a.asked("showing what it has kept", images, 0, 0)

	root := t.TempDir()
	b := newWhole(t, g, root, 1<<20)
	for i := range images {
		b.shows(i)
	}
	b.asked("showing on an empty root", images, 2, 0)
	if err := b.db.Close(); err != nil {
		t.Fatal(err)
	}
	b = newWhole(t, g, root, 1<<20)
	for i := range images {
		b.shows(i)
	}
	b.asked("showing after a restart", images, 0, 0)

	small := newWhole(t, g, t.TempDir(), 5*4<<10)
	for range 2 {
		for i := range images {
			small.shows(i)
		}
	}
	small.asked("showing twice with room for five", 2*images, 2, 0)
	if f := small.files.Figures(); f.Files > 5 || f.Evictions < images {
		t.Errorf("its cache: %+v", f)
	}

	gone := b.shows(0)
	path := filepath.Join(root, gone.File())
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Remove(t.Context(), "i", *purge(bytesAt(0))); err != nil {
		t.Fatal(err)
	}
	if err := b.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if i, err := b.Find(t.Context(), "i", urlAt(0)); !errors.Is(err, ledger.ErrNotKept) {
		t.Errorf("after a purge elsewhere there is %+v, %v", i, err)
	}
	if err := b.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its local file: %v", err)
	}
	b.shows(1)
}
