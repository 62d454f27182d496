package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"imgkeep/bucket/approve"
	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/flight"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/ledger/single"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/node"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/quota"
	"imgkeep/bucket/record"
	"imgkeep/bucket/uncached"
	"imgkeep/bucket/variant"
)

// Origin is where images come from: a [fetch.Fetcher], or a test's own.
type Origin interface {
	Fetch(ctx context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error)
}

// Approver says whether an image may be kept: an [approve.Client], or a test's own.
type Approver interface {
	// Ask returns nil for yes, an error that wraps approve.ErrRejected for no, and
	// any other where there is no answer.
	Ask(ctx context.Context, q approve.Question, image io.ReaderAt) error
}

// Bucket is the configuration of one bucket.
type Bucket struct {
	Name     string
	Hosts    []string // hosts that it may fetch from, as imageurl.Hosts reads them; empty: all
	MaxBytes int64    // of an image; 0: Options.MaxBytes
}

// DefaultReserve is what Options.Reserved should be, unless there is a reason: some MB.
const DefaultReserve = local.DefaultReserve

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
	DenyHosts []string     // hosts whose images are neither fetched nor served, as imageurl.Hosts reads them

	// Fallbacks are URLs with {url} in them, see imageurl.ParseFallback, that are tried one
	// after the other when an origin has lost an image: see FallbackAfter.
	Fallbacks []string
	// FallbackAfter says after how many failures of a URL in a row the fallbacks are
	// asked, by the reason of the last one. 0, and a reason that is missing: never. nil:
	// at once where the origin says that the image is gone, and for no other reason.
	FallbackAfter map[fetch.Reason]int
	// Approver is asked before an image is kept or passed on. nil: nobody is.
	Approver Approver
	// ApproveOpen keeps an image when Approver gives no answer. Without it that is
	// a failure of class Unchecked.
	ApproveOpen bool

	// MinFree and MinFreeInodes are floors: with less left on the file system
	// nothing new is kept. 0: no floor.
	MinFree       int64
	MinFreeInodes int64

	// MaxPerSite is how many bytes of originals may be kept of one site, see Image.Site,
	// in all buckets together: once there are so many, Keep and Add keep no more of it.
	// The last image may go beyond. Local files have no site. 0: no limit.
	MaxPerSite int64

	// Reserved is the room, in bytes, that only removals may use, so that they are
	// possible on a full disk: see DefaultReserve. 0: none.
	Reserved int64

	// TookIn is called, and may take its time, after removals or blocks were taken in from
	// the journals whose calls had failed: until then their images were to be seen. nil:
	// nobody wants to know.
	TookIn func()

	// Kept is told of each image that is kept now, and Failed of each URL that could not be,
	// once that is durable. Neither may wait: commits do. nil: nobody is told.
	Kept   func(record.Image)
	Failed func(bucket, url string, f Failure)

	// Look is how the store has decoders look at images, so that it finds those that look
	// alike, and keeps out what looks like a blocked one. nil: it knows no hashes, and
	// blocks nothing by them.
	Look lookalike.Reader

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: none

	// Files is where originals lie. nil: below Root, as the rest of the store.
	Files blob.Store
	// Node makes the store one of several nodes; Files does not count then, and what removes
	// is the Node, not the Store. nil: it is the only one.
	Node *node.Options

	disk   local.Disk // nil: the real one
	sparse bool       // tests': disk makes the folders of a bucket when they are needed, and a scrub misses none
}

// Store is an open store. It may be used concurrently.
type Store struct {
	root     string
	buckets  map[string]bool
	tookIn   func()
	kept     func(record.Image)
	failed   func(bucket, url string, f Failure)
	settings atomic.Pointer[settings]
	now      func() time.Time
	log      *slog.Logger

	disk    local.Disk
	files   blob.Store // the originals
	sparse  bool
	apply   func(*index.DB, []index.Change) error // to the index, which flushes them itself
	index   *index.DB
	ledger  ledger.Ledger
	records ledger.Records
	node    *node.Node                                     // nil: it is the only one
	known   func(bucket, url string) (record.Image, error) // records.Find without a request
	flights *flight.Group
	*variant.Variants
	priorities flight.Priorities
	uncached   *uncached.Pool
	reserve    *local.Reserve
	looks      *lookalike.Looks // nil: see Options.Look
	quotas     quota.Sites

	// removing is held, to read, from the check that something may be kept until
	// it is, and by what removes, so that nothing is removed in between.
	removing sync.RWMutex
	fetches  flight.Coming // that may be kept

	commits   chan pending
	committed chan struct{} // closed when the committer has ended
	behind    bool          // the index may lack lines of the journals; the committer's

	// work counts what is under way and may end in a commit. life is the
	// context of flights, which no viewer owns; it ends when Close gives up
	// waiting.
	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup
	life   context.Context
	end    context.CancelFunc
}

// settings are the options that Reconfigure replaces, all at once. They are never
// changed.
type settings struct {
	buckets   map[string]Bucket
	origin    Origin
	reserve   func(ctx context.Context, url string) (*fetch.Place, error)
	limits    probe.Limits
	denied    func(host string) bool // nil: none is
	fallbacks []imageurl.Fallback
	after     map[fetch.Reason]int // failures, until fallbacks are asked
	approver  Approver
	open      bool // keeps what the approver says nothing of
	minFree   uint64
	minInodes uint64

	maxPerSite int64
}

func newSettings(o Options) (*settings, error) {
	c := &settings{
		buckets: map[string]Bucket{}, origin: o.Origin, reserve: o.Reserve, limits: o.Limits,
		approver: o.Approver, open: o.ApproveOpen, after: o.FallbackAfter,
		minFree: uint64(max(o.MinFree, 0)), minInodes: uint64(max(o.MinFreeInodes, 0)), maxPerSite: max(o.MaxPerSite, 0),
	}
	if c.reserve == nil {
		c.reserve = func(context.Context, string) (*fetch.Place, error) { return nil, nil }
	}
	if c.after == nil {
		c.after = map[fetch.Reason]int{fetch.ReasonGone: 1}
	}
	for i, template := range o.Fallbacks {
		f, err := imageurl.ParseFallback(template)
		if err != nil {
			return nil, fmt.Errorf("fallbacks[%d]: %w", i, err)
		}
		c.fallbacks = append(c.fallbacks, f)
	}
	if len(o.DenyHosts) > 0 {
		c.denied = imageurl.NewHosts(o.DenyHosts).Match
	}
	for _, b := range o.Buckets {
		if b.MaxBytes == 0 {
			b.MaxBytes = o.MaxBytes
		}
		c.buckets[b.Name] = b
	}
	return c, nil
}

// Reconfigure replaces the options of an open store: origin, limits, floors, quota, hosts
// that are denied, and the hosts and limits of its buckets, which must be the same
// ones. Root, clock and log stay. What is under way ends by the old options, but
// for the answer of Find.
func (s *Store) Reconfigure(o Options) error {
	if o.Origin == nil {
		return errors.New("a store needs an origin")
	}
	fresh, err := newSettings(o)
	if err != nil {
		return err
	}
	for name := range s.buckets {
		if _, ok := fresh.buckets[name]; !ok || len(fresh.buckets) != len(s.buckets) {
			return errors.New("an open store cannot have other buckets")
		}
	}
	s.settings.Store(fresh)
	s.ledger.CountRemoval() // who was allowed by the old ones may not be any more
	return nil
}

// Open opens a store, and makes what is missing of it, also an index. What the
// journals have and the index lacks is taken in; an index that has more than the
// journals is an error. Another process that has
// it open is an error that wraps index.ErrLocked.
func Open(o Options) (_ *Store, err error) {
	if o.Origin == nil {
		return nil, errors.New("a store needs an origin")
	}
	o = o.withDefaults()
	s := &Store{
		apply:    applyBy(o.disk),
		uncached: uncached.NewPool(uncached.Budget),
		files:    o.Files,
		disk:     o.disk, sparse: o.sparse, root: o.Root, now: o.Now, log: o.Log, tookIn: o.TookIn, kept: o.Kept, failed: o.Failed,
		buckets:   map[string]bool{},
		commits:   make(chan pending, maxGroup),
		committed: make(chan struct{}),
	}
	names, err := bucketNames(o.Buckets)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		s.buckets[name] = true
	}
	c, err := newSettings(o)
	if err != nil {
		return nil, err
	}
	s.settings.Store(c)
	s.beginQuotas()
	only := single.Records{Files: s.files, Index: func() *index.DB { return s.index }, Commit: s.commit}
	s.records, s.known = only, func(bucket, url string) (record.Image, error) { return only.Find(s.life, bucket, url) }
	if len(names) == 0 {
		return nil, errors.New("a store needs a bucket")
	}
	if err := local.Prepare(s.disk, o.Root); err != nil {
		return nil, fmt.Errorf("prepare the store: %w", err)
	}
	// The index is locked for one process, and what is behind the lock may
	// empty tmp.
	if s.index, err = s.indexFile().Open(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.node.Close()
			s.index.Close()
			s.looks.Close()
		}
	}()
	if err := s.makeFolders(names); err != nil {
		return nil, err
	}
	s.ledger = journal.Open(o.disk, o.Root, names, o.Log)
	if err := s.catchUpAtStart(); err != nil {
		return nil, err
	}
	if err := errors.Join(s.openNode(o.Node, names), s.openLooks(o.Look)); err != nil {
		return nil, err
	}
	s.reserve = local.NewReserve(s.disk, o.Root, o.Reserved, s.now)
	s.life, s.end = context.WithCancel(context.Background())
	s.flights = flight.New(s.life, s.begin, s.log)
	s.Variants = variant.New(originals{s.Maintenance()}, s.flights)
	go s.committer()
	s.removeLeft()
	if err := s.reserve.Fill(); err != nil {
		s.log.Warn("there is no room that is kept for removals, and nothing new is kept until there is", "folder", filepath.Join(o.Root, local.ReserveDir), "error", err)
	}
	return s, nil
}

// bucketNames are the names of buckets, each of which must be valid and come once.
func bucketNames(buckets []Bucket) (names []string, err error) {
	for _, b := range buckets {
		if b.Name == "" || b.Name == record.TmpDir || b.Name == record.JournalDir || b.Name != filepath.Base(b.Name) {
			return nil, fmt.Errorf("invalid bucket name %q", b.Name)
		}
		if slices.Contains(names, b.Name) {
			return nil, fmt.Errorf("duplicate bucket %q", b.Name)
		}
		names = append(names, b.Name)
	}
	return names, nil
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.disk == nil {
		o.disk = local.OS{}
	}
	if o.Files == nil {
		o.Files = local.New(o.disk, o.Root, o.Now)
	}
	return o
}

// applyBy is how changes get to the index: by itself, or by a test's disk of which the
// index is a part.
func applyBy(d local.Disk) func(*index.DB, []index.Change) error {
	if d, ok := d.(interface {
		Commit(*index.DB, []index.Change) error
	}); ok {
		return d.Commit
	}
	return (*index.DB).Apply
}

// makeFolders empties tmp, makes the buckets that are missing, and keeps others out.
func (s *Store) makeFolders(names []string) error {
	if err := local.Sweep(s.disk, s.root); err != nil {
		return fmt.Errorf("empty the store's tmp folder: %w", err)
	}
	for _, name := range names {
		if err := local.MakeBucket(s.disk, s.root, name); err != nil {
			return fmt.Errorf("make bucket %s: %w", name, err)
		}
	}
	if err := local.Tighten(s.root, names, s.log); err != nil {
		return fmt.Errorf("keep others out of the store: %w", err)
	}
	// The names of buckets and index: also of those that were there, since
	// the process that made them may have died before this line.
	if err := s.disk.SyncDir(s.root); err != nil {
		return fmt.Errorf("flush the store's folder: %w", err)
	}
	return nil
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
	s.node.Close()
	s.end()
	close(s.commits)
	<-s.committed
	s.uncached.Close()

	var errs []error
	errs = append(errs, s.ledger.Close())
	errs = append(errs, s.index.Close())
	errs = append(errs, s.looks.Close())
	return errors.Join(errs...)
}

// Root is the folder of the store.
func (s *Store) Root() string { return s.root }

// Path is the path of a file that Image.File or Image.VariantFile named.
func (s *Store) Path(file string) string { return filepath.Join(s.root, file) }

// Has tells whether there is a bucket of that name.
func (s *Store) Has(bucket string) bool { return s.buckets[bucket] }

// Find returns the image that is kept under a canonical URL, without fetching.
// Where there is none the error is ErrNotKept, or the *Failure that stands
// against fetching it now. A denied host's images are not found: ErrDenied; nor
// are those that the operator has blocked: ErrRemoved.
func (s *Store) Find(bucket, url string) (record.Image, error) {
	if !s.buckets[bucket] {
		return record.Image{}, ErrNoBucket
	}
	if denied := s.settings.Load().denied; denied != nil && denied(imageurl.HostOf(url)) {
		return record.Image{}, ErrDenied
	}
	if err := s.blockedURL(url); err != nil {
		return record.Image{}, s.unlessClosed(err)
	}
	image, err := s.known(bucket, url)
	if err == nil {
		if err := s.blockedDigest(image.Digest); err != nil {
			return record.Image{}, s.unlessClosed(err)
		}
		return image, nil
	}
	if errors.Is(err, ErrNotKept) {
		err = nil
	}
	var f *Failure
	if err == nil {
		f, err = s.recall(bucket, url)
	}
	if err != nil {
		return record.Image{}, s.unlessClosed(err)
	}
	if f != nil && f.Kind == kindRemoved {
		return record.Image{}, ErrRemoved
	}
	if f != nil {
		return record.Image{}, f
	}
	return record.Image{}, ErrNotKept
}

// beginQuotas tells the quotas what holds.
func (s *Store) beginQuotas() {
	s.quotas.Now, s.quotas.Log = s.now, s.log
	s.quotas.Limit = func() int64 { return s.settings.Load().maxPerSite }
	s.quotas.Kept = func(image record.Image) (int64, error) {
		n, err := s.index.SiteBytes(index.SiteOfImage(image))
		if err != nil {
			err = s.unlessClosed(err)
		}
		return n, err
	}
}

// unlessClosed is an error of the index, which is closed with the store.
func (s *Store) unlessClosed(err error) error {
	if s.isClosed() {
		return ErrClosed
	}
	return err
}

// Ready tells whether the store can keep images: nil, ErrFull, ErrIndexFailed or
// ErrClosed.
func (s *Store) Ready() error {
	if s.isClosed() {
		return ErrClosed
	}
	if s.index.Failed() {
		return ErrIndexFailed
	}
	if s.node != nil {
		if err := s.node.Ready(); err != nil {
			return err
		}
	}
	return s.hasRoom()
}

func (s *Store) hasRoom() error {
	free, err := s.disk.Room(s.root)
	if err != nil {
		return err
	}
	floor := s.settings.Load()
	if free.Bytes < floor.minFree {
		return fmt.Errorf("%w: %d bytes are free, store.min_free is %d", ErrFull, free.Bytes, floor.minFree)
	}
	if free.CountsInodes && free.Inodes < floor.minInodes {
		return fmt.Errorf("%w: %d inodes are free, store.min_free_inodes is %d", ErrFull, free.Inodes, floor.minInodes)
	}
	if !s.reserve.Restored() {
		return fmt.Errorf("%w: there is not even room for removals, of %d bytes", ErrFull, s.reserve.Size())
	}
	return nil
}

// Free is what the file system of the store has left: bytes, and inodes, which
// are -1 where it makes as many as fit.
func (s *Store) Free() (bytes, inodes int64, err error) {
	free, err := s.disk.Room(s.root)
	if err != nil {
		return 0, 0, err
	}
	if !free.CountsInodes {
		return int64(free.Bytes), -1, nil
	}
	return int64(free.Bytes), int64(free.Inodes), nil
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

func (s *Store) bucketNames() []string {
	var names []string
	for name := range s.buckets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
