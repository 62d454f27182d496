package node_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/object/objecttest"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/node"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// far is an object store that may be out of reach, and counts who asks for records.
type far struct {
	*objecttest.Memory
	gone  atomic.Bool
	asked atomic.Int64
}

var errCut = errors.New("cut")

func (f *far) Read(ctx context.Context, key string, max int64) ([]byte, string, error) {
	f.asked.Add(1)
	if f.gone.Load() {
		return nil, "", errCut
	}
	return f.Memory.Read(ctx, key, max)
}

func open(t *testing.T, objects object.Store, o node.Options) *node.Node {
	t.Helper()
	root := t.TempDir()
	disk := localtest.Sparse{Disk: local.OS{}}
	if err := errors.Join(local.Prepare(disk, root), local.MakeBucket(disk, root, "i")); err != nil {
		t.Fatal(err)
	}
	db, err := index.Open(filepath.Join(root, record.IndexFile), []string{"i"}, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o.Objects, o.CacheBytes = objects, 1<<20
	n, err := node.Open(t.Context(), o, node.Place{Root: root, Buckets: []string{"i"}, Disk: disk, Index: func() *index.DB { return db }, Lock: &sync.Mutex{}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close(); db.Close() })
	return n
}

func keep(t *testing.T, n *node.Node, url string) (record.Image, error) {
	t.Helper()
	data := []byte("the bytes of " + url)
	image := record.Image{
		Bucket: "i", URL: url, Digest: sha256.Sum256(data), Bytes: int64(len(data)), Stored: time.Now().UTC().Truncate(time.Second),
		Info: probe.Info{Format: probe.JPEG, Width: 1, Height: 1, Orientation: 1, Frames: 1},
	}
	return n.Keep(t.Context(), image, bytes.NewReader(data), *ledger.KeepEvent(image))
}

const urlA, urlB = "https://a.example/a.jpg", "https://b.example/b.jpg"

// While the object store is away what is known is shown, and what is asked of it fails at once;
// after MaxLag nothing is shown, until a few seconds after its return.
func TestAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		objects := &far{Memory: &objecttest.Memory{}}
		var dropped atomic.Int64
		n := open(t, objects, node.Options{MaxLag: time.Minute, OutOfTouch: func() { dropped.Add(1) }})
		if _, err := keep(t, n, urlA); err != nil {
			t.Fatal(err)
		}
		known := func() error { _, err := n.Known("i", urlA); return err }
		if err := errors.Join(known(), n.Ready()); err != nil {
			t.Fatal(err)
		}
		objects.gone.Store(true)
		time.Sleep(4 * time.Second)
		synctest.Wait() // for a look at the log of this very moment
		if err := known(); err != nil || !errors.Is(n.Ready(), ledger.ErrAway) {
			t.Errorf("%v, ready: %v", err, n.Ready())
		}
		before := objects.asked.Load()
		if _, err := n.Find(t.Context(), "i", urlB); !errors.Is(err, ledger.ErrAway) {
			t.Errorf("found: %v", err)
		}
		if _, err := keep(t, n, urlB); !errors.Is(err, ledger.ErrAway) {
			t.Errorf("kept: %v", err)
		}
		if objects.asked.Load() != before {
			t.Error("the object store was asked")
		}
		time.Sleep(54 * time.Second) // not yet
		if err := known(); err != nil || dropped.Load() != 0 {
			t.Errorf("before MaxLag: %v, dropped %d times", err, dropped.Load())
		}
		time.Sleep(10 * time.Second)
		if err := known(); !errors.Is(err, ledger.ErrAway) || dropped.Load() != 1 {
			t.Errorf("after MaxLag: %v, dropped %d times", err, dropped.Load())
		}
		objects.gone.Store(false)
		time.Sleep(3 * time.Second)
		if err := errors.Join(known(), n.Ready()); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		if _, err := keep(t, n, urlB); err != nil {
			t.Errorf("kept afterwards: %v", err)
		}
	})
}

// A node hears of what another has removed, and deletes what that could not.
func TestRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		objects := &objecttest.Memory{}
		var told, ended atomic.Int64
		a, b := open(t, objects, node.Options{}), open(t, objects, node.Options{Removing: func(e ledger.Entry) func() {
			if e.Op == ledger.OpBlock {
				told.Add(1)
			}
			return func() { ended.Add(1) }
		}})
		image, err := keep(t, a, urlA)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Find(t.Context(), "i", urlA); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Remove(t.Context(), "", *ledger.BlockEvent(ledger.OpBlock, record.Block{Kind: record.BlockDigest, Subject: image.Digest.String(), Since: time.Now()})); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Known("i", urlA); err == nil {
			t.Error("shown by who has removed it")
		}
		time.Sleep(node.PollEvery + time.Second)
		if _, err := b.Known("i", urlA); err == nil || told.Load() != 1 || ended.Load() != 1 {
			t.Errorf("shown by another: %v, told %d, ended %d", err, told.Load(), ended.Load())
		}
		if _, err := a.Locate(t.Context(), "i", image.Digest); !errors.Is(err, ledger.ErrNotKept) {
			t.Errorf("located: %v", err)
		}
	})
}

// A node whose index is made anew shows nothing before it has read the log.
func TestHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := open(t, &objecttest.Memory{}, node.Options{})
		if _, err := keep(t, n, urlA); err != nil {
			t.Fatal(err)
		}
		n.Hold()
		if _, err := n.Known("i", urlA); !errors.Is(err, ledger.ErrAway) {
			t.Errorf("%v", err)
		}
		if _, err := n.Find(t.Context(), "i", urlB); !errors.Is(err, ledger.ErrAway) {
			t.Errorf("%v", err)
		}
		time.Sleep(node.PollEvery + time.Second)
		if _, err := n.Known("i", urlA); err != nil {
			t.Error(err)
		}
	})
}

// slow is an object store that takes its time for each read once it is told to.
type slow struct {
	*objecttest.Memory
	takes atomic.Int64
}

func (s *slow) Read(ctx context.Context, key string, max int64) ([]byte, string, error) {
	select {
	case <-time.After(time.Duration(s.takes.Load())):
		return s.Memory.Read(ctx, key, max)
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
}

// An object store is not away because there is more of the log than can be read in the time of
// one look: the node reads on, and keeps and shows meanwhile.
func TestBacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		objects := &slow{Memory: &objecttest.Memory{}}
		a, b := open(t, objects.Memory, node.Options{}), open(t, objects, node.Options{MaxLag: time.Minute})
		if _, err := keep(t, b, urlA); err != nil {
			t.Fatal(err)
		}
		const entries = 50
		for n := range entries {
			block := record.Block{Kind: record.BlockURL, Subject: urlB + strconv.Itoa(n), Since: time.Now()}
			if _, err := a.Remove(t.Context(), "", *ledger.BlockEvent(ledger.OpBlock, block)); err != nil {
				t.Fatal(err)
			}
		}
		objects.takes.Store(int64(400 * time.Millisecond)) // 20 s for all
		for range 25 {
			time.Sleep(time.Second)
			if _, err := b.Known("i", urlA); err != nil || b.Ready() != nil {
				n, _ := b.Applied()
				t.Fatalf("after %d of %d entries: %v, ready: %v", n, entries, err, b.Ready())
			}
		}
		if n, err := b.Applied(); n != entries || err != nil || b.Lag() > 2*node.PollEvery {
			t.Errorf("%d of %d entries, %v, known up to %v ago", n, entries, err, b.Lag())
		}
		objects.takes.Store(int64(time.Hour)) // it does not answer at all
		time.Sleep(10 * time.Second)
		if err := b.Ready(); !errors.Is(err, ledger.ErrAway) {
			t.Errorf("ready without an object store: %v", err)
		}
	})
}
