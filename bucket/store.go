package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/index"
	"imgkeep/bucket/probe"
)

// Origin is where images come from: a [fetch.Fetcher], or a test's own.
type Origin interface {
	Fetch(ctx context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error)
}

// Bucket is the configuration of one bucket.
type Bucket struct {
	Name     string
	Hosts    []string // hosts that it may fetch from, as fetch.MatchHost reads them; empty: all
	MaxBytes int64    // of an image; 0: Options.MaxBytes
}

// Options say what Open opens.
type Options struct {
	Root    string   // folder of the store; made where there is none
	Buckets []Bucket // at least one; made where they are missing
	Origin  Origin
	// Reserve waits until Origin has a place for a fetch that nobody waits for:
	// [fetch.Fetcher.Reserve]. nil: such fetches do not wait.
	Reserve func(ctx context.Context, url string) (*fetch.Place, error)

	MaxBytes  int64        // of an image; 0: no limit
	Limits    probe.Limits // of an image
	DenyHosts []string     // hosts whose images are neither fetched nor served, as fetch.MatchHost reads them

	// MinFree and MinFreeInodes are floors: with less left on the file system
	// nothing new is kept. 0: no floor.
	MinFree       int64
	MinFreeInodes int64

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: none

	disk disk // nil: the real one
}

// Store is an open store. It may be used concurrently.
type Store struct {
	root      string
	buckets   map[string]*openBucket
	origin    Origin
	reserve   func(ctx context.Context, url string) (*fetch.Place, error)
	limits    probe.Limits
	denied    func(host string) bool // nil: none is
	minFree   uint64
	minInodes uint64
	now       func() time.Time
	log       *slog.Logger

	disk    disk
	index   *index.DB
	flights singleflight.Group
	hurries hurries

	commits   chan pending
	committed chan struct{} // closed when the committer has ended

	// work counts what is under way and may end in a commit. life is the
	// context of flights, which no viewer owns; it ends when Close gives up
	// waiting.
	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup
	life   context.Context
	end    context.CancelFunc
}

type openBucket struct {
	Bucket
	journal journal
}

// Open opens a store, and makes what is missing of it. Another process that has
// it open is an error that wraps index.ErrLocked.
func Open(o Options) (_ *Store, err error) {
	if o.Origin == nil {
		return nil, errors.New("a store needs an origin")
	}
	if o.Reserve == nil {
		o.Reserve = func(context.Context, string) (*fetch.Place, error) { return nil, nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.disk == nil {
		o.disk = osDisk{}
	}
	s := &Store{
		disk: o.disk, root: o.Root, origin: o.Origin, reserve: o.Reserve, limits: o.Limits,
		minFree: uint64(max(o.MinFree, 0)), minInodes: uint64(max(o.MinFreeInodes, 0)),
		now: o.Now, log: o.Log,
		buckets:   map[string]*openBucket{},
		commits:   make(chan pending, maxGroup),
		committed: make(chan struct{}),
	}
	if len(o.DenyHosts) > 0 {
		s.denied = fetch.HostMatcher(o.DenyHosts)
	}
	var names []string
	for _, b := range o.Buckets {
		if s.buckets[b.Name] != nil || b.Name == "" || b.Name == tmpDir || b.Name != filepath.Base(b.Name) {
			return nil, fmt.Errorf("%q cannot be the name of a bucket, or stands twice", b.Name)
		}
		if b.MaxBytes == 0 {
			b.MaxBytes = o.MaxBytes
		}
		names = append(names, b.Name)
		s.buckets[b.Name] = &openBucket{Bucket: b, journal: journal{
			disk: o.disk, log: o.Log, dir: filepath.Join(o.Root, b.Name, journalDir),
		}}
	}
	if len(names) == 0 {
		return nil, errors.New("a store needs a bucket")
	}
	if err := prepare(s.disk, o.Root); err != nil {
		return nil, fmt.Errorf("prepare the store: %w", err)
	}
	// The index is locked for one process, and what is behind the lock may
	// empty tmp.
	if s.index, err = index.Open(filepath.Join(o.Root, indexFile), names, index.Options{}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.index.Close()
		}
	}()
	if err := sweep(s.disk, o.Root); err != nil {
		return nil, fmt.Errorf("empty the store's tmp folder: %w", err)
	}
	for _, name := range names {
		if err := makeBucket(s.disk, o.Root, name); err != nil {
			return nil, fmt.Errorf("make bucket %s: %w", name, err)
		}
	}
	// The names of buckets and index: also of those that were there, since
	// whoever made them may have died before this line.
	if err := s.disk.SyncDir(o.Root); err != nil {
		return nil, fmt.Errorf("flush the store's folder: %w", err)
	}
	for _, name := range names {
		s.buckets[name].journal.recover()
	}
	s.life, s.end = context.WithCancel(context.Background())
	go s.committer()
	return s, nil
}

// Close ends the store. Flights under way are waited for until ctx ends, and
// then broken off; what they had not finished is not kept. Calls after Close
// return ErrClosed.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed = true
	s.mu.Unlock()

	stop := context.AfterFunc(ctx, s.end)
	s.work.Wait()
	stop()
	s.end()
	close(s.commits)
	<-s.committed

	var errs []error
	for _, b := range s.buckets {
		errs = append(errs, b.journal.close())
	}
	errs = append(errs, s.index.Close())
	return errors.Join(errs...)
}

// Root is the folder of the store.
func (s *Store) Root() string { return s.root }

// Path is the path of a file that Image.File or Image.MadeFile named.
func (s *Store) Path(file string) string { return filepath.Join(s.root, file) }

// Has tells whether there is a bucket of that name.
func (s *Store) Has(bucket string) bool { return s.buckets[bucket] != nil }

// Find returns the image that is kept under a canonical URL, without fetching.
// Where there is none the error is ErrNotKept, or the *Failure that stands
// against fetching it now. A denied host's images are not found: ErrDenied.
func (s *Store) Find(bucket, url string) (Image, error) {
	if s.buckets[bucket] == nil {
		return Image{}, ErrNoBucket
	}
	if s.denied != nil && s.denied(hostOf(url)) {
		return Image{}, ErrDenied
	}
	i, err := s.index.Image(bucket, url)
	if err == nil {
		return imageFrom(bucket, url, i), nil
	}
	if errors.Is(err, index.ErrNotFound) {
		err = nil
	}
	var f *Failure
	if err == nil {
		f, err = s.recall(bucket, url)
	}
	if err != nil && s.isClosed() {
		return Image{}, ErrClosed // and with us the index
	}
	if err != nil {
		return Image{}, err
	}
	if f != nil {
		return Image{}, f
	}
	return Image{}, ErrNotKept
}

// Ready tells whether the store can keep images: nil, ErrFull, or ErrClosed.
func (s *Store) Ready() error {
	if s.isClosed() {
		return ErrClosed
	}
	return s.hasRoom()
}

func (s *Store) hasRoom() error {
	free, err := s.disk.Room(s.root)
	if err != nil {
		return err
	}
	if free.bytes < s.minFree {
		return fmt.Errorf("%w: %d bytes are free, store.min_free is %d", ErrFull, free.bytes, s.minFree)
	}
	if free.countsInodes && free.inodes < s.minInodes {
		return fmt.Errorf("%w: %d inodes are free, store.min_free_inodes is %d", ErrFull, free.inodes, s.minInodes)
	}
	return nil
}

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// begin announces work that Close must wait for, since it may end in a commit.
func (s *Store) begin() (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.work.Add(1)
	return s.work.Done, nil
}

// fly runs work in a flight of its own, one at a time for each key; callers that
// come while it is under way get its result. The flight goes on when its callers
// leave: what ctx ends is only the waiting.
func fly[T any](ctx context.Context, s *Store, key string, work func(context.Context) (T, error)) (T, error) {
	var zero T
	result := s.flights.DoChan(key, func() (any, error) {
		done, err := s.begin()
		if err != nil {
			return zero, err
		}
		defer done()
		return work(s.life)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return zero, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
}
