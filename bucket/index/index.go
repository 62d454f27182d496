// Package index answers, in microseconds, what is kept under a URL.
//
// It is a bbolt file of five tables for each bucket of images:
//
//	{bucket}/urls      first 16 bytes of SHA-256 of the canonical URL -> first 16 bytes of digest
//	{bucket}/images    digest -> facts about the image, number of URLs that refer to it
//	{bucket}/failures  as urls -> what went wrong, how often, when to try again
//	{bucket}/deadly    first 16 bytes of digest -> how many decoders the image has ended, when
//	{bucket}/removing  digest -> type of an image that is removed, until its files are
//
// and two of all: blocks, which holds what is not to be kept or served, and meta,
// with the version of this layout. Keys are hashes so that
// an entry takes the same room whatever the length of its URL; the URLs
// themselves stand in the journal of the bucket. Half a SHA-256 tells apart what
// was not made to collide; two images that were are not both kept (ErrCollision).
//
// What it promises: a change that Apply has answered is on disk, whole, or not
// at all. What it does not promise: to be the only copy. An index can be lost
// and made again from the journal and the files, which are the truth.
//
// It is the only package that imports bbolt. bbolt lets one process open a file;
// a second one waits for Timeout and gives up.
package index

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// What Open and the look-ups say.
var (
	ErrNotFound = errors.New("not in the index")
	ErrLocked   = errors.New("the index is in use by another process")
	ErrSchema   = errors.New("the index was written by a newer imgkeep")
	// ErrCollision: somebody has made two images whose digests begin alike.
	ErrCollision = errors.New("its digest collides with that of another image")
)

// Options say how Open opens.
type Options struct {
	// Timeout is how long Open waits for another process to let go of the
	// file. 0 means a second. (bbolt's own zero waits for ever.)
	Timeout time.Duration
	// MaxFailures is how many failures a bucket remembers. 0: DefaultMaxFailures.
	MaxFailures int
	// Stale tells whether a failure matters no more, so that it is dropped: all of
	// them by Open, and a few whenever another one comes. nil: none is stale.
	Stale func(Failure) bool

	// The layout, where a test has its own.
	schema     uint64
	migrations map[uint64]migration
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	if o.MaxFailures == 0 {
		o.MaxFailures = DefaultMaxFailures
	}
	if o.Stale == nil {
		o.Stale = func(Failure) bool { return false }
	}
	if o.schema == 0 {
		o.schema, o.migrations = schema, migrations
	}
	return o
}

// DB is an open index. It may be used concurrently: look-ups do not wait for
// each other nor for Apply.
type DB struct {
	path    string
	buckets map[string]tables
	options Options

	// change is held by what changes the index, and swap by what uses the file,
	// which Compact replaces: both in this order.
	change sync.Mutex
	swap   sync.RWMutex
	bolt   *bbolt.DB

	failures map[string]int // by their tables; held by change

	blocks atomic.Bool // there is a block
}

// tables are the names of a bucket's tables, made once.
type tables struct {
	urls, images, failures, deadly, removing []byte
}

// Open opens the index at path, which it makes where there is none, and makes
// the tables of the buckets named. It returns an error that wraps ErrLocked or
// ErrSchema, or says what is wrong with the file: it looks at every page before
// it uses one, which takes a few tenths of a second for a million images.
func Open(path string, buckets []string, o Options) (*DB, error) {
	o = o.withDefaults()
	bolt, err := openBolt(path, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db := &DB{path: path, bolt: bolt, buckets: map[string]tables{}, options: o, failures: map[string]int{}}
	for _, name := range buckets {
		db.buckets[name] = tablesOf(name)
	}
	err = bolt.Update(func(tx *bbolt.Tx) error {
		if err := db.prepare(tx, o); err != nil {
			return err
		}
		db.anyBlock(tx)
		return db.dropStale(tx)
	})
	if err != nil {
		bolt.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

func tablesOf(bucket string) tables {
	return tables{
		urls:     []byte(bucket + "/urls"),
		images:   []byte(bucket + "/images"),
		failures: []byte(bucket + "/failures"),
		deadly:   []byte(bucket + "/deadly"),
		removing: []byte(bucket + "/removing"),
	}
}

// openBolt opens the file, and makes sure that it is the one that lies at path
// when it is ours: whoever compacts or rebuilds an index puts a new file in its
// place while we wait, and what we then locked would be a file without a name.
func openBolt(path string, o Options) (*bbolt.DB, error) {
	for range 10 {
		var file *os.File
		bolt, err := bbolt.Open(path, fileMode, &bbolt.Options{
			Timeout: o.Timeout,
			// The list of free pages is written at each commit otherwise, which
			// grows with the file; it is found again at start by a scan.
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
			OpenFile: func(path string, flag int, mode os.FileMode) (_ *os.File, err error) {
				file, err = openVerified(path, flag, mode, o.Timeout)
				return file, err
			},
		})
		switch {
		case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
			return nil, fmt.Errorf("%w (%w)", errDamaged, err)
		case err != nil:
			return nil, err
		}
		if isAt(file, path) {
			return bolt, nil
		}
		bolt.Close()
	}
	return nil, fmt.Errorf("%w: it is replaced all the time", ErrLocked)
}

// openVerified opens and locks a file, and returns it if bbolt can be trusted
// with it. bbolt locks it too, which is the same lock.
func openVerified(path string, flag int, mode os.FileMode, timeout time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	const pause = 20 * time.Millisecond
	for deadline := time.Now().Add(timeout); ; time.Sleep(pause) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if errors.Is(err, unix.EWOULDBLOCK) && time.Now().Add(pause).Before(deadline) {
			continue
		}
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock it: %w", err)
	}
	if isAt(f, path) { // if not, it is not what is wanted
		if err := verify(f); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// isAt tells whether an open file is the one at path.
func isAt(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// Close closes the index. It waits for look-ups under way.
func (db *DB) Close() error {
	db.swap.RLock()
	defer db.swap.RUnlock()
	return db.bolt.Close()
}

func (db *DB) view(read func(*bbolt.Tx) error) error {
	db.swap.RLock()
	defer db.swap.RUnlock()
	return db.bolt.View(read)
}

func (db *DB) update(write func(*bbolt.Tx) error) error {
	db.change.Lock()
	defer db.change.Unlock()
	db.swap.RLock()
	defer db.swap.RUnlock()
	before := maps.Clone(db.failures)
	err := db.bolt.Update(write)
	if err != nil {
		db.failures = before
	}
	return err
}

// Image returns what is kept under a URL, or ErrNotFound.
func (db *DB) Image(bucket, url string) (Image, error) {
	t, err := db.tables(bucket)
	if err != nil {
		return Image{}, err
	}
	var image Image
	err = db.view(func(tx *bbolt.Tx) error {
		k := KeyOf(url)
		ref := tx.Bucket(t.urls).Get(k[:])
		if ref == nil {
			return ErrNotFound
		}
		r, err := findRecord(tx.Bucket(t.images), ref)
		image = r.Image
		return err
	})
	return image, err
}

// Failure returns what went wrong with a URL, or ErrNotFound.
func (db *DB) Failure(bucket, url string) (Failure, error) {
	t, err := db.tables(bucket)
	if err != nil {
		return Failure{}, err
	}
	var f Failure
	err = db.view(func(tx *bbolt.Tx) error {
		k := KeyOf(url)
		v := tx.Bucket(t.failures).Get(k[:])
		if v == nil {
			return ErrNotFound
		}
		var err error
		f, err = decodeFailure(v)
		return err
	})
	return f, err
}

// Change is one change of the index: exactly one of its fields below URL is set.
type Change struct {
	Bucket, URL string
	// Keep says that this image is what is kept under URL, instead of what was,
	// and that nothing is wrong with it.
	Keep *Image
	// Fail says what went wrong with URL. With no Attempts: nothing any more.
	Fail *Failure
	// Deadly says that an image has ended a decoder; it is no matter under which
	// URL.
	Deadly *Deadly
	// Forget says that nothing is kept under URL, and nothing is wrong with it.
	// An image that no URL refers to then is being removed.
	Forget bool
	// Purge says that an image is being removed, whatever refers to it.
	Purge *Removing
	// Removed says that the files of an image that was being removed are gone.
	Removed *[32]byte
	// Block and Unblock are of all buckets. Unblock counts by kind and subject,
	// and also drops all failures of the class Pardon.
	Block, Unblock *Block
	Pardon         string
}

// Apply makes all changes, in their order, in one transaction: after an error
// none has been made.
func (db *DB) Apply(changes []Change) error {
	return db.update(func(tx *bbolt.Tx) error {
		for _, c := range changes {
			if err := db.apply(tx, c); err != nil {
				return err
			}
		}
		return nil
	})
}

func (db *DB) apply(tx *bbolt.Tx, c Change) error {
	switch {
	case c.Block != nil:
		if err := tx.Bucket(blocksTable).Put(c.Block.key(), c.Block.encode()); err != nil {
			return err
		}
		tx.OnCommit(func() { db.blocks.Store(true) })
		return nil
	case c.Unblock != nil:
		if err := tx.Bucket(blocksTable).Delete(c.Unblock.key()); err != nil {
			return err
		}
		return db.pardon(tx, c.Pardon)
	}
	t, err := db.tables(c.Bucket)
	if err != nil {
		return err
	}
	k := KeyOf(c.URL)
	switch {
	case c.Deadly != nil:
		return note(tx, t, *c.Deadly)
	case c.Fail != nil && c.Fail.Attempts == 0:
		return db.dropFailure(tx.Bucket(t.failures), t, k[:])
	case c.Fail != nil:
		return db.putFailure(tx, t, k[:], *c.Fail)
	case c.Forget:
		return db.forget(tx, t, k[:])
	case c.Purge != nil:
		return purge(tx, t, *c.Purge)
	case c.Removed != nil:
		if err := note(tx, t, Deadly{Digest: *c.Removed}); err != nil {
			return err
		}
		return tx.Bucket(t.removing).Delete(c.Removed[:])
	}
	return db.keep(tx, t, k[:], *c.Keep)
}

func (db *DB) keep(tx *bbolt.Tx, t tables, key []byte, image Image) error {
	if err := db.dropFailure(tx.Bucket(t.failures), t, key); err != nil {
		return err
	}
	urls, images := tx.Bucket(t.urls), tx.Bucket(t.images)
	ref := refOf(image.Digest)
	r, err := findRecord(images, ref[:])
	switch {
	case errors.Is(err, ErrNotFound):
		r.Image = image
	case err != nil:
		return err
	case r.Digest != image.Digest:
		return fmt.Errorf("%w: %x and %x", ErrCollision, image.Digest, r.Digest)
	}
	old := urls.Get(key)
	if string(old) == string(ref[:]) && r.refs > 0 {
		return nil // known already
	}
	if old != nil && string(old) != string(ref[:]) {
		if err := release(images, old); err != nil {
			return err
		}
	}
	r.refs++
	if err := images.Put(image.Digest[:], r.encode()); err != nil {
		return err
	}
	// What is kept again must not be removed when the next process looks.
	if err := tx.Bucket(t.removing).Delete(image.Digest[:]); err != nil {
		return err
	}
	return urls.Put(key, ref[:])
}

// release notes that one URL fewer refers to an image. The entry stays at zero:
// its file is there still, and scrubbing finds both.
func release(images *bbolt.Bucket, ref []byte) error {
	r, err := findRecord(images, ref)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.refs > 0 {
		r.refs--
	}
	return images.Put(r.Digest[:], r.encode())
}

// Stats are figures of one bucket.
type Stats struct {
	URLs, Images, Failures int
}

// Stats counts the entries of a bucket. It walks its pages: seconds for tens of
// millions of entries.
func (db *DB) Stats(bucket string) (Stats, error) {
	t, err := db.tables(bucket)
	if err != nil {
		return Stats{}, err
	}
	var s Stats
	err = db.view(func(tx *bbolt.Tx) error {
		s.URLs = tx.Bucket(t.urls).Stats().KeyN
		s.Images = tx.Bucket(t.images).Stats().KeyN
		s.Failures = tx.Bucket(t.failures).Stats().KeyN
		return nil
	})
	return s, err
}

// Check verifies the file's inner consistency (slow: it reads all pages).
func (db *DB) Check() error {
	return db.view(func(tx *bbolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

func (db *DB) tables(bucket string) (tables, error) {
	t, ok := db.buckets[bucket]
	if !ok {
		return tables{}, fmt.Errorf("no bucket %q: %w", bucket, ErrNotFound)
	}
	return t, nil
}

// Key is what stands for a URL in the index.
type Key [16]byte

// Ref is what stands for an image where a URL refers to it: the first half of its
// digest.
type Ref [16]byte

func refOf(digest [32]byte) Ref { return Ref(digest[:16]) }

// KeyOf returns the first half of the SHA-256 of a canonical URL.
func KeyOf(url string) Key {
	sum := sha256.Sum256([]byte(url))
	return Key(sum[:16])
}
