// Package node makes a store one of several nodes: originals in an object store with a local
// cache before it, records and removals in the ledger that all nodes share, and who reads its
// log as long as the store is open.
//
// It promises that what Known answers costs no request; that an entry of the log takes effect
// here within PollEvery and a round trip where the object store answers, with what shows
// images without asking; and that a node that has not heard of the log for MaxLag answers
// nothing. While the object store is away, what is asked of it fails at once with
// ledger.ErrAway, instead of after a deadline each time.
//
// It does not fetch from origins, and does not decide who may remove.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"imgkeep/bucket/blob/cache"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/pace"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

const (
	// PollEvery is how long after one look at the log the next begins.
	PollEvery = 2 * time.Second
	// pollTimeout is how long a look may take, and awayTimeout while the last has failed:
	// then what has been asked before the store came back must not be waited for.
	pollTimeout, awayTimeout = 5 * time.Second, 2 * time.Second
	awayPause                = time.Second
)

// Options say what a Node consists of, and Place what it gets of its store.
type Options struct {
	Objects    object.Store
	CacheBytes int64         // see cache.Options
	MaxLag     time.Duration // for how long what is known is shown without the log; 0: for ever
	// Removing is called before an entry of the log takes effect, and what it returns after
	// it: they drop what shows images without asking. They may be called at any time. nil:
	// there is nothing of that kind.
	Removing func(ledger.Entry) (end func())
	// OutOfTouch is called once each time when MaxLag has passed, to drop all of that. nil:
	// as above.
	OutOfTouch func()
}

// Place is what a node gets of its store.
type Place struct {
	Root    string
	Buckets []string
	Disk    local.Disk
	Index   func() *index.DB
	// Lock is held while local files of removed images are deleted.
	Lock sync.Locker
	Now  func() time.Time
	Log  *slog.Logger
}

// Node is one of several. It may be used concurrently.
type Node struct {
	*shared.Ledger
	Cache *cache.Store
	o     Options
	p     Place

	away atomic.Bool // the last look at the log has failed
	// held counts the calls of Hold, and read how many of them the log was read after.
	held, read atomic.Uint64
	end        context.CancelFunc
	work       sync.WaitGroup
}

// Open reads the log to its head: nothing may be served before. ledger.ErrMisfit: the log is
// shorter than what this node has applied, or another. ledger.ErrAway.
func Open(ctx context.Context, o Options, p Place) (*Node, error) {
	n := &Node{o: o, p: p}
	objects := gate{o.Objects, &n.away}
	var err error
	n.Cache, err = cache.New(ctx, cache.Options{
		Under: object.NewBlobs(objects, filepath.Join(p.Root, record.TmpDir)), Root: p.Root, Buckets: p.Buckets,
		Bytes: o.CacheBytes, Disk: p.Disk, Now: p.Now, Log: p.Log,
	})
	if err != nil {
		return nil, err
	}
	n.Ledger = shared.New(shared.Options{
		Objects: objects, Files: n.Files(), State: state{p.Index}, Buckets: p.Buckets, Removing: o.Removing, Now: p.Now, Log: p.Log,
	})
	if err := n.Start(ctx); err != nil {
		return nil, fmt.Errorf("read the log of removals: %w", err)
	}
	life, end := context.WithCancel(context.Background())
	n.end = end
	n.work.Go(func() { n.poll(life) })
	n.work.Go(func() { n.finish(life) })
	return n, nil
}

// Close ends the reading of the log. The node must not be used afterwards.
func (n *Node) Close() {
	if n != nil {
		n.end()
		n.work.Wait()
	}
}

// poll reads the log for as long as the node is open.
func (n *Node) poll(ctx context.Context) {
	inTouch, pause, timeout := true, PollEvery, pollTimeout
	for pace.Sleep(ctx, pause) == nil {
		held := n.held.Load()
		before, _ := n.Applied()
		asked, cancel := context.WithTimeout(context.WithValue(ctx, poller{}, true), timeout)
		err := n.CatchUp(asked)
		cancel()
		if ctx.Err() != nil {
			return
		}
		// It answers also where there is more to read than in this time.
		after, _ := n.Applied()
		answers := err == nil || after > before
		if was := n.away.Swap(!answers); was && answers {
			n.p.Log.Info("the object store answers again")
		} else if !was && !answers {
			n.p.Log.Error("the object store does not answer: this node serves what it has, keeps nothing new, and cannot remove", "error", err)
		}
		switch {
		case err == nil:
			n.read.Store(held)
			inTouch, pause, timeout = true, PollEvery, pollTimeout
			continue
		case answers:
			pause, timeout = 0, pollTimeout
		default:
			pause, timeout = awayPause, awayTimeout
		}
		if inTouch && n.lagsTooFar() {
			inTouch = false
			n.p.Log.Error("what was removed is not known any more: nothing is shown until the object store answers", "seconds", n.Lag())
			if n.o.OutOfTouch != nil {
				n.o.OutOfTouch()
			}
		}
	}
}

// finish deletes what removals have left in the object store, again and again.
func (n *Node) finish(ctx context.Context) {
	for pace.Sleep(ctx, PollEvery) == nil {
		if n.away.Load() {
			continue
		}
		if err := n.Finish(ctx); err != nil && ctx.Err() == nil {
			n.p.Log.Error("originals that were removed are still in the object store, and are not served", "error", err)
		}
	}
}

// Lag is how long ago this node has last read the log to its head.
func (n *Node) Lag() time.Duration { return max(n.p.Now().Sub(n.Heard()), 0) }

func (n *Node) lagsTooFar() bool { return n.o.MaxLag > 0 && n.Lag() > n.o.MaxLag }

// Hold has the node answer nothing until it has read the log again: what it knew of it is about
// to be lost.
func (n *Node) Hold() {
	if n != nil {
		n.held.Add(1)
	}
}

// inTouch is ledger.ErrAway while what this node knows must not be shown.
func (n *Node) inTouch() error {
	if n.lagsTooFar() || n.held.Load() != n.read.Load() {
		return fmt.Errorf("%w: removals are known up to %.0f s ago", ledger.ErrAway, n.Lag().Seconds())
	}
	return nil
}

// Ready is ledger.ErrAway while nothing can be kept.
func (n *Node) Ready() error {
	if n.away.Load() {
		return fmt.Errorf("%w since %.0f s", ledger.ErrAway, n.Lag().Seconds())
	}
	return n.inTouch()
}

// Known is what this node knows to be kept under a URL, without a request: ledger.ErrNotKept,
// ledger.ErrRemoved, and ledger.ErrAway if it has not heard of removals for too long.
func (n *Node) Known(bucket, url string) (record.Image, error) {
	if err := n.inTouch(); err != nil {
		return record.Image{}, err
	}
	return n.Ledger.Known(bucket, url)
}

// Find does what ledger.Records says.
func (n *Node) Find(ctx context.Context, bucket, url string) (record.Image, error) {
	if err := n.inTouch(); err != nil {
		return record.Image{}, err
	}
	return n.Ledger.Find(ctx, bucket, url)
}

// Keep does what ledger.Records says.
func (n *Node) Keep(ctx context.Context, image record.Image, from io.ReaderAt, event ledger.Event) (record.Image, error) {
	kept, err := n.Ledger.Keep(ctx, image, from, event)
	return kept, busy(err)
}

// busy makes an attempt that others have disturbed all the time one that may be repeated.
func busy(err error) error {
	if errors.Is(err, shared.ErrBusy) {
		return errors.Join(ledger.ErrAway, err)
	}
	return err
}

// Files are the originals: local files, which are brought from the object store.
func (n *Node) Files() *Files { return &Files{n.Cache, n.p.Lock} }

// Files is a blob.Store.
type Files struct {
	*cache.Store
	lock sync.Locker
}

// Remove does what blob.Store says. Only while the local files go, nothing is made of them.
func (f *Files) Remove(ctx context.Context, image record.Image) error {
	f.lock.Lock()
	err := f.Forget(ctx, image)
	f.lock.Unlock()
	return errors.Join(err, f.Under.Remove(ctx, image))
}

// state is the index of a store as a shared.State.
type state struct{ db func() *index.DB }

func (s state) View(read func(shared.Tx) error) error {
	return s.db().ViewShared(func(tx *index.SharedTx) error { return read(tx) })
}

func (s state) Update(write func(shared.Tx) error) error {
	return s.db().UpdateShared(func(tx *index.SharedTx) error { return write(tx) })
}

// Marker is the file in the root of a node that tells it from a store of one machine.
const Marker = "shared.node"

// IsNode tells whether a root is a node's cache.
func IsNode(root string) (bool, error) {
	_, err := os.Stat(filepath.Join(root, Marker))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// ErrUnfinished: a removal is decided, and bytes of it are still to be deleted, which goes on.
var ErrUnfinished = shared.ErrUnfinished

// Locate finds the original of a digest in a bucket, whose format nobody needs to know:
// ledger.ErrNotKept. It asks for each format until there is one.
func (n *Node) Locate(ctx context.Context, bucket string, d record.Digest) (record.Image, error) {
	generation, err := n.Generation(bucket, d)
	if err != nil {
		return record.Image{}, err
	}
	for _, f := range probe.Formats() {
		image := record.Image{Bucket: bucket, Digest: d, Info: probe.Info{Format: f}, Generation: generation}
		info, err := n.Objects.Stat(ctx, object.Key(image))
		if errors.Is(err, object.ErrAbsent) {
			continue
		}
		image.Bytes = info.Bytes
		return image, err
	}
	return record.Image{}, ledger.ErrNotKept
}

// CheckVersions is object.ErrNoVersions if a deletion leaves no version in the object store.
func (n *Node) CheckVersions(ctx context.Context) error { return object.CheckVersions(ctx, n.Objects) }

// RemoveVersions deletes from the object store all versions, and delete markers, of those originals
// of a digest in a bucket whose names the log has killed, and returns how many: object.ErrHeld
// names those that the store does not let go. What was kept again since is left alone.
func (n *Node) RemoveVersions(ctx context.Context, bucket string, d record.Digest) (int, error) {
	generation, err := n.Generation(bucket, d)
	if err != nil {
		return 0, err
	}
	return object.RemoveVersions(ctx, n.Objects, bucket, d, generation)
}
