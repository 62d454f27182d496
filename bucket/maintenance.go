package bucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// maintenance is what may be done with an open store by what maintains it and asks it,
// and not by requests. Nobody names it: each package takes the part that it needs, as an
// interface of its own (scrub.Store, linkrot.Store, query.Store).
type maintenance struct{ s *Store }

// Maintenance returns what the packages beside the store need of it.
func (s *Store) Maintenance() maintenance { return maintenance{s} }

// Begin announces work that Close waits for, until done says that it has ended. Its
// context also ends, with ErrClosed, when Close gives up waiting.
func (m maintenance) Begin(ctx context.Context) (_ context.Context, done func(), err error) {
	ended, err := m.s.begin()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(m.s.life, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		ended()
	}, nil
}

// Root is the folder of the store.
func (m maintenance) Root() string { return m.s.root }

// Path is the path of a file below the root.
func (m maintenance) Path(file string) string { return m.s.Path(file) }

// Buckets are the names of the store's buckets, in their order.
func (m maintenance) Buckets() []string { return m.s.bucketNames() }

// In returns these buckets, or all where there are none: ErrNoBucket where one is not there.
func (m maintenance) In(buckets []string) ([]string, error) { return m.s.in(buckets) }

// VariantNames are the names of the variants of an image.
func (m maintenance) VariantNames(image record.Image) ([]string, error) {
	return m.s.VariantNames(image)
}

// DigestsOf are the digests of what is kept under a URL, blocked or not: one, unless
// buckets have different bytes.
func (m maintenance) DigestsOf(url string) ([]record.Digest, error) { return m.s.digestsOf(url, nil) }

// URLs are those under which a bucket keeps some bytes.
func (m maintenance) URLs(ctx context.Context, bucket string, d record.Digest) ([]string, error) {
	return m.s.URLs(ctx, bucket, d)
}

// Sparse tells whether the folders of a bucket may be missing.
func (m maintenance) Sparse() bool { return m.s.sparse }

// Now is the store's clock.
func (m maintenance) Now() time.Time { return m.s.now() }

// Log is the store's log.
func (m maintenance) Log() *slog.Logger { return m.s.log }

// Disk is what changes are made to the disk by.
func (m maintenance) Disk() local.Disk { return m.s.disk }

// Index is the store's index, to be read: Commit writes to it.
func (m maintenance) Index() *index.DB { return m.s.index }

// Ledger is the store's ledger, to be read: Commit writes to it.
func (m maintenance) Ledger() ledger.Ledger { return m.s.ledger }

// Removing is locked while something is removed, and read-locked while something is
// kept that must not be removed in between.
func (m maintenance) Removing() *sync.RWMutex { return &m.s.removing }

// Commit makes a change durable: its event in the ledger first, if there is one, and
// then its entry in the index.
func (m maintenance) Commit(c index.Change, e *ledger.Event) error { return m.s.commit(c, e) }

// CommitWithReserve is Commit for a removal, which may use the room that is kept for
// those.
func (m maintenance) CommitWithReserve(c index.Change, e *ledger.Event) error {
	return m.s.commitWithReserve(c, e)
}

// FinishRemovals removes the files of what is being removed from a bucket. Removing is
// locked.
func (m maintenance) FinishRemovals(bucket string) error { return m.s.finishBucket(bucket) }

// Repair fetches a damaged original again, whatever has failed before.
func (m maintenance) Repair(ctx context.Context, image record.Image) error {
	return m.s.repair(ctx, image, true)
}

// originals are a store's, as variants see it.
type originals struct{ maintenance }

func (o originals) Temp(pattern string) (*os.File, error) { return o.s.temp(pattern) }
func (o originals) Room() error                           { return o.s.hasRoom() }
func (o originals) StillKept(image record.Image) error    { return o.s.stillKept(image) }

func (o originals) Open(ctx context.Context, image record.Image) (*os.File, error) {
	return o.s.Open(ctx, image)
}

func (o originals) Repair(ctx context.Context, image record.Image) error {
	return o.s.repair(ctx, image, false)
}

// OpenFile opens the original of an image as it is, and repairs nothing.
func (m maintenance) OpenFile(ctx context.Context, image record.Image) (*os.File, error) {
	return m.s.files.Open(ctx, image)
}

// Shown tells whether an image is what viewers get under its URL.
func (m maintenance) Shown(image record.Image) (bool, error) {
	found, err := m.s.Find(image.Bucket, image.URL)
	var failed *Failure
	switch {
	case err == nil:
		return found.Digest == image.Digest, nil
	case errors.Is(err, ErrNotKept), errors.Is(err, ErrDenied), errors.Is(err, ErrRemoved), errors.As(err, &failed):
		return false, nil
	}
	return false, err
}

// OriginRequest is a request to the origin of an image, under the rules of its bucket.
func (m maintenance) OriginRequest(image record.Image) fetch.Request {
	c := m.s.settings.Load()
	return fetch.Request{
		URL: image.URL, Hosts: c.buckets[image.Bucket].Hosts, Limits: probe.Limits{Formats: c.limits.Formats},
		Denied: func(host string) bool { return m.s.blockedHost(host) != nil },
	}
}

// ErrInUse: another process has the store open.
var ErrInUse = index.ErrLocked

// Figures say how large a store's index is.
type Figures = index.Figures

// Figures returns the figures of the store's index.
func (s *Store) Figures() (Figures, error) {
	return s.index.Figures()
}

// Compact makes the index as small as it can be. The store may be in use: what
// is kept can be read meanwhile, and new images wait, about a second for
// a million images.
func (s *Store) Compact() (before, after Figures, err error) {
	done, err := s.begin()
	if err != nil {
		return before, after, err
	}
	defer done()
	before, after, err = s.index.Compact(filepath.Join(s.root, record.TmpDir, record.IndexFile))
	if err != nil {
		return before, after, fmt.Errorf("compact the index: %w", local.AsFull(err))
	}
	return before, after, nil
}
