// Package index answers, in microseconds, what is kept under a URL.
//
// It is a bbolt file of five tables for each bucket of images:
//
//	{bucket}/urls      first 16 bytes of SHA-256 of the canonical URL -> first 16 bytes of digest
//	{bucket}/images    digest -> facts about the image, number of URLs that refer to it
//	{bucket}/failures  as urls -> what went wrong, how often, when to try again
//	{bucket}/deadly    first 16 bytes of digest -> how many decoders the image has crashed, when
//	{bucket}/removing  digest -> format of an image that is being removed, until its files are gone
//
// and four of all buckets: blocks has what must be neither kept nor served; sites the number
// of bytes that are kept for each of them; meta the version of this layout, how far into each
// journal the index goes, and the totals of each table; shared, which exists only if several
// nodes share a store, what this one has applied of their log.
//
// Keys are hashes, so that an entry takes the same room whatever the length of its URL; the
// URLs are in the journal of the bucket. Half a SHA-256 distinguishes all images that were not
// made to collide; of two that were, only the first is kept (ErrCollision).
//
// What it promises: a change that Apply has acknowledged is on disk, completely, or not at
// all. Damage is an error (ErrDamaged) and never an answer: each record has a checksum, and
// Open compares each table with its totals. After a failed flush nothing is answered from
// the file (ErrFailed) until Renew has replaced it. What it does not promise: to be the
// only copy. A lost index can be rebuilt from the journal and the files, which are the
// truth.
//
// It is the only package that imports bbolt. bbolt lets one process open a file; a second
// one waits for Timeout and gives up.
package index

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"imgkeep/bucket/record"
)

// Errors of Open and the look-ups.
var (
	ErrNotFound = errors.New("not in the index")
	ErrLocked   = errors.New("the index is in use by another process")
	ErrSchema   = errors.New("the index was written by a newer imgkeep")
	// ErrOldSchema: an older imgkeep wrote the index; it must be rebuilt.
	ErrOldSchema = errors.New("the index was written by an older imgkeep")
	// ErrDamaged: the file, or one of its records, is not what was written.
	ErrDamaged = errors.New("the index is damaged: 'imgkeep reindex' makes a new one")
	// ErrFailed: after a failed flush nobody knows whether the last change is on disk. Renew
	// repairs the index.
	ErrFailed = errors.New("the disk failed to write the index, which answers nothing until it is rewritten")
	// ErrCollision: somebody has made two images whose digests have the same beginning.
	ErrCollision = errors.New("its digest collides with that of another image")
)

// Options say how Open opens.
type Options struct {
	// Timeout is how long Open waits for another process to release the file. 0 means a
	// second. (bbolt's own zero waits for ever.)
	Timeout time.Duration
	// MaxFailures is how many failures a bucket remembers. 0: DefaultMaxFailures.
	MaxFailures int
	// Stale tells whether a failure is obsolete, and may be dropped: Open drops all of
	// them, and each new failure a few. nil: none is stale.
	Stale func(record.Failure) bool
	// CheckFirst is the largest file, in bytes, that Open checks completely before it returns:
	// a larger one is checked meanwhile. 0: DefaultCheckFirst.
	CheckFirst int64
	// Aside is where Open may write the index again, on the same file system, when much of it is
	// unused: see Compact. Empty: it does not.
	Aside string
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	if o.MaxFailures == 0 {
		o.MaxFailures = DefaultMaxFailures
	}
	if o.CheckFirst == 0 {
		o.CheckFirst = DefaultCheckFirst
	}
	if o.Stale == nil {
		o.Stale = func(record.Failure) bool { return false }
	}
	return o
}

// DB is an open index. It may be used concurrently: look-ups wait neither for each other
// nor for Apply.
type DB struct {
	path    string
	buckets map[string]tables
	options Options

	// change is held while the index changes, and swap while the file, which Compact
	// replaces, is in use: both in this order.
	change sync.Mutex
	swap   sync.RWMutex
	bolt   *bbolt.DB
	file   *os.File // of bolt
	// committed is the number of the last transaction that is known to be on disk.
	committed int

	blocks atomic.Bool // there is a block
	failed atomic.Bool // ErrFailed
	health *health     // of the file; behind swap

	shared sharedWrites
}

// tables are the names of a bucket's tables, computed once.
type tables struct {
	urls, images, failures, deadly, removing []byte
}

// Open opens the index at path, which it creates if there is none, and creates the tables
// of the named buckets. It returns an error that wraps ErrLocked, ErrSchema, ErrOldSchema
// or ErrDamaged. It checks every page and every record before it uses one, which takes a
// few tenths of a second for a million images; but the large tables of a file beyond
// Options.CheckFirst it checks while they are in use, see Damaged.
func Open(path string, buckets []string, o Options) (*DB, error) {
	o = o.withDefaults()
	if err := makeMissing(path, buckets); err != nil {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	bolt, file, whole, err := openBolt(path, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db := newDB(path, bolt, file, buckets, o)
	var unchecked *snapshot
	if !whole {
		db.health = newHealth()
		unchecked, err = takeSnapshot(bolt, file)
	}
	if err == nil {
		err = db.begin()
	}
	if err == nil && whole {
		err = db.dropStale()
	}
	if err != nil {
		if unchecked != nil {
			unchecked.tx.Rollback()
		}
		db.health.close(bolt, file)
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if !whole {
		go db.check(unchecked, db.health)
	}
	return db, nil
}

func newDB(path string, bolt *bbolt.DB, file *os.File, buckets []string, o Options) *DB {
	db := &DB{path: path, bolt: bolt, file: file, buckets: map[string]tables{}, options: o, health: soundHealth()}
	for _, name := range buckets {
		db.buckets[name] = tablesOf(name)
	}
	return db
}

// begin creates missing tables, and notes what a process must know of the file that it has
// opened.
func (db *DB) begin() error {
	return db.health.guard(func() error {
		ready := false
		err := db.bolt.View(func(tx *bbolt.Tx) error {
			ready = db.prepared(tx)
			return nil
		})
		if err == nil && !ready {
			err = update(db.bolt, func(tx *bbolt.Tx) error {
				w := newWriting(tx)
				if err := db.prepare(w); err != nil {
					return err
				}
				return w.flush()
			})
		}
		if err != nil {
			return err
		}
		return db.bolt.View(func(tx *bbolt.Tx) error {
			db.anyBlock(tx)
			db.committed = tx.ID()
			return nil
		})
	})
}

// dropStale drops failures that need not be remembered.
func (db *DB) dropStale() error {
	drop := map[string][][]byte{}
	err := db.view(func(tx *bbolt.Tx) error {
		for _, t := range db.buckets {
			if keys := db.forgettable(tableOf(tx, t.failures)); len(keys) > 0 {
				drop[string(t.failures)] = keys
			}
		}
		return nil
	})
	if err != nil || len(drop) == 0 {
		return err
	}
	return db.update(func(w *writing) error {
		for name, keys := range drop {
			for _, k := range keys {
				if err := w.table([]byte(name)).delete(k); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// makeMissing creates an index if there is none. The file appears complete: an existing
// empty file is a damaged one.
func makeMissing(path string, buckets []string) error {
	missing := func() bool {
		info, err := os.Stat(path)
		return errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0
	}
	if !missing() {
		return nil
	}
	r, err := Rebuild(path)
	if errors.Is(err, ErrLocked) {
		return nil // Open waits for the process that creates it
	}
	if err != nil {
		return err
	}
	if missing() {
		var contents []Content
		for _, name := range buckets {
			contents = append(contents, Content{Bucket: name})
		}
		err = r.Replace(path+".new", contents, nil, record.Position{})
	}
	return errors.Join(err, r.Close())
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

// openBolt opens the file, and makes sure that it is still the one at path once it is
// locked: a process that compacts or rebuilds an index replaces the file meanwhile, and the
// locked file would then have no name. It tells whether the whole file was checked.
func openBolt(path string, o Options) (_ *bbolt.DB, _ *os.File, whole bool, _ error) {
	deadline := time.Now().Add(o.Timeout)
	for {
		left := max(time.Until(deadline), time.Millisecond) // zero would be for ever
		var file *os.File
		bolt, err := bbolt.Open(path, fileMode, &bbolt.Options{
			Timeout: left,
			// Otherwise each commit writes the list of free pages, which grows with the
			// file; a scan at start finds them again, or see forgetFree.
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
			OpenFile: func(path string, flag int, mode os.FileMode) (_ *os.File, err error) {
				file, whole, err = openVerified(path, flag, mode, left, o.CheckFirst)
				return file, err
			},
		})
		switch {
		case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
			return nil, nil, false, fmt.Errorf("%w (%w)", ErrDamaged, err)
		case err != nil:
			return nil, nil, false, err
		}
		if isAt(file, path) {
			return bolt, file, whole, nil
		}
		bolt.Close()
		if time.Now().After(deadline) {
			return nil, nil, false, fmt.Errorf("%w: the file keeps being replaced", ErrLocked)
		}
	}
}

// openVerified opens and locks a file, and returns it if bbolt can be trusted with it.
// bbolt takes the same lock. Of a file beyond checkFirst bytes it does not check the large
// tables.
func openVerified(path string, flag int, mode os.FileMode, timeout time.Duration, checkFirst int64) (_ *os.File, whole bool, _ error) {
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, false, err
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
			return nil, false, ErrLocked
		}
		return nil, false, fmt.Errorf("lock it: %w", err)
	}
	if isAt(f, path) { // if not, it is not what is wanted
		info, err := f.Stat()
		if err == nil {
			whole = info.Size() <= checkFirst
			err = verify(f, !whole, func() bool { return false })
		}
		if err == nil {
			err = flushMeta(f)
		}
		if err == nil && !whole {
			err = forgetFree(f)
		}
		if err != nil {
			f.Close()
			return nil, false, err
		}
	}
	return f, whole, nil
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

// Close closes the index. It waits for running look-ups.
func (db *DB) Close() error {
	db.swap.RLock()
	checking := db.health
	db.swap.RUnlock()
	checking.end()
	db.swap.RLock()
	defer db.swap.RUnlock()
	return db.health.close(db.bolt, db.file)
}

// unusable is why nothing is answered from the file; nil: it is.
func (db *DB) unusable() error {
	if db.failed.Load() {
		return ErrFailed
	}
	return db.health.damage()
}

// view reads. What it read during a failed commit may come from that commit.
func (db *DB) view(read func(*bbolt.Tx) error) error {
	db.swap.RLock()
	defer db.swap.RUnlock()
	if err := db.unusable(); err != nil {
		return err
	}
	err := db.health.guard(func() error { return db.bolt.View(read) })
	if broken := db.unusable(); broken != nil {
		return broken
	}
	return err
}

// update writes. An error of write changes nothing; an error of the disk may have changed
// what can be read but is not on disk.
func (db *DB) update(write func(*writing) error) error {
	db.change.Lock()
	defer db.change.Unlock()
	db.swap.RLock()
	defer db.swap.RUnlock()
	if err := db.unusable(); err != nil {
		return err
	}
	var refused error
	id := 0
	err := db.health.guard(func() error {
		return update(db.bolt, func(tx *bbolt.Tx) error {
			id = tx.ID()
			w := newWriting(tx)
			if refused = write(w); refused == nil {
				refused = w.flush()
			}
			return refused
		})
	})
	switch {
	case err == nil:
		db.committed = id
	case db.health.damage() != nil:
	case refused == nil && !db.unchanged(err):
		db.failed.Store(true)
		return fmt.Errorf("%w: %w", ErrFailed, err)
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
	err = db.lookUp(func(tx *bbolt.Tx) error {
		k := KeyOf(url)
		_, ref, err := lookUp(tx, t.urls, k[:])
		if err != nil {
			return err
		}
		r, err := lookUpRecord(tx, t.images, ref)
		if errors.Is(err, ErrNotFound) {
			return fmt.Errorf("%w (it has no entry of image %x)", ErrDamaged, ref)
		}
		image = r.Image
		return err
	})
	return image, err
}

// Failure returns what went wrong with a URL, or ErrNotFound.
func (db *DB) Failure(bucket, url string) (record.Failure, error) {
	t, err := db.tables(bucket)
	if err != nil {
		return record.Failure{}, err
	}
	var f record.Failure
	err = db.lookUp(func(tx *bbolt.Tx) error {
		k := KeyOf(url)
		_, v, err := lookUp(tx, t.failures, k[:])
		if err == nil {
			f, err = decodeFailure(v)
		}
		return err
	})
	return f, err
}

// Change is one change of the index: exactly one of its fields below URL is set.
type Change struct {
	Bucket, URL string
	// Keep says that URL now has this image, instead of another one, and has no failure.
	Keep *Image
	// Fail records the failure of URL. Without Attempts it clears it.
	Fail *record.Failure
	// Poison says that an image has crashed a decoder; URL does not matter.
	Poison *Poison
	// Forget says that nothing is kept under URL, and that it has no failure. An image
	// without any URL is then being removed.
	Forget bool
	// Purge says that an image is being removed, with all URLs that refer to it.
	Purge *Removing
	// Removed says that the files of an image that was being removed are gone.
	Removed *[32]byte
	// Spare, with Forget and Purge, keeps the files and the entry of an image without any
	// URL.
	Spare bool
	// Position says how far into the journal of Bucket, or into that of all buckets, the
	// index goes after this change.
	Position *record.Position
	// Block and Unblock apply to all buckets. Unblock matches kind and subject. Both also
	// drop all failures of the class ClearClass, if set.
	Block, Unblock *record.Block
	ClearClass     string
}

// Apply makes all changes, in their order, in one transaction: after an error none has been
// made. After an error that wraps ErrFailed it is unknown whether they have been made, and
// all calls return it until Renew.
func (db *DB) Apply(changes []Change) error {
	return db.update(func(w *writing) error {
		for _, c := range changes {
			if err := db.apply(w, c); err != nil {
				return err
			}
		}
		return nil
	})
}

func (db *DB) apply(w *writing, c Change) error {
	switch {
	case c.Position != nil:
		return w.meta().put(positionKey(c.Bucket), encodePosition(*c.Position))
	case c.Block != nil:
		if err := w.table(blocksTable).put(blockKey(*c.Block), encodeBlock(*c.Block)); err != nil {
			return err
		}
		w.tx.OnCommit(func() { db.blocks.Store(true) })
		return db.clearClass(w, c.ClearClass)
	case c.Unblock != nil:
		if err := w.table(blocksTable).delete(blockKey(*c.Unblock)); err != nil {
			return err
		}
		return db.clearClass(w, c.ClearClass)
	}
	t, err := db.tables(c.Bucket)
	if err != nil {
		return err
	}
	k := KeyOf(c.URL)
	switch {
	case c.Poison != nil:
		return note(w, t, *c.Poison)
	case c.Fail != nil && c.Fail.Attempts == 0:
		return w.table(t.failures).delete(k[:])
	case c.Fail != nil:
		return db.putFailure(w.table(t.failures), k[:], *c.Fail)
	case c.Forget:
		return forget(w, t, k[:], c.Spare)
	case c.Purge != nil:
		return purge(w, t, *c.Purge, c.Spare)
	case c.Removed != nil:
		if err := note(w, t, Poison{Digest: *c.Removed}); err != nil {
			return err
		}
		return w.table(t.removing).delete(c.Removed[:])
	}
	return keep(w, t, k[:], *c.Keep)
}

func keep(w *writing, t tables, key []byte, image Image) error {
	if err := w.table(t.failures).delete(key); err != nil {
		return err
	}
	urls, images := w.table(t.urls), w.table(t.images)
	ref := refOf(image.Digest)
	r, err := findRecord(images, ref[:])
	switch {
	case errors.Is(err, ErrNotFound):
		r.Image = image
		if err := count(w, image.Site, image.Bytes); err != nil {
			return err
		}
	case err != nil:
		return err
	case r.Digest != image.Digest:
		return fmt.Errorf("%w: %x and %x", ErrCollision, image.Digest, r.Digest)
	}
	old, err := urls.get(key)
	if err != nil {
		return err
	}
	if string(old) == string(ref[:]) && r.refs > 0 {
		return nil // known already
	}
	if old != nil && string(old) != string(ref[:]) {
		if err := release(images, bytes.Clone(old)); err != nil {
			return err
		}
	}
	r.refs++
	if err := images.put(image.Digest[:], r.encode()); err != nil {
		return err
	}
	// An image that is kept again must not be removed at the next start.
	if err := w.table(t.removing).delete(image.Digest[:]); err != nil {
		return err
	}
	return urls.put(key, ref[:])
}

// release notes that one URL fewer refers to an image. The entry stays at zero: its file
// still exists, and scrubbing finds both.
func release(images table, ref []byte) error {
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
	return images.put(r.Digest[:], r.encode())
}

// Check verifies that the pages of the file and the figures of sites fit together. It is for
// tests: it takes as long as reading the file.
func (db *DB) Check() error {
	return db.view(func(tx *bbolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		errs = append(errs, checkSites(tx))
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

// Key stands for a URL in the index.
type Key [16]byte

// Ref stands for an image to which a URL refers: the first half of its digest.
type Ref [16]byte

func refOf(digest [32]byte) Ref { return Ref(digest[:16]) }

// KeyOf returns the first half of the SHA-256 of a canonical URL.
func KeyOf(url string) Key {
	sum := sha256.Sum256([]byte(url))
	return Key(sum[:16])
}
