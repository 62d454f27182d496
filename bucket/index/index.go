// Package index answers, in microseconds, what is kept under a URL.
//
// It is a bbolt file of three tables for each bucket of images:
//
//	{bucket}/urls      first 16 bytes of SHA-256 of the canonical URL -> digest
//	{bucket}/images    digest -> facts about the image, number of URLs that refer to it
//	{bucket}/failures  as urls -> what went wrong, how often, when to try again
//
// and one, meta, that holds the version of this layout. Keys are hashes so that
// an entry takes the same room whatever the length of its URL; the URLs
// themselves stand in the journal of the bucket.
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
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// schema is the version of the layout that this package reads and writes.
const schema = 1

var (
	metaTable = []byte("meta")
	schemaKey = []byte("schema")
)

// What Open and the look-ups say.
var (
	ErrNotFound = errors.New("not in the index")
	ErrLocked   = errors.New("the index is in use by another process")
	ErrSchema   = errors.New("the index was written by a newer imgkeep")
)

// Options say how Open opens.
type Options struct {
	// Timeout is how long Open waits for another process to let go of the
	// file. 0 means a second. (bbolt's own zero waits for ever.)
	Timeout time.Duration
}

// DB is an open index. It may be used concurrently: look-ups do not wait for
// each other nor for Apply.
type DB struct {
	bolt    *bbolt.DB
	buckets map[string]tables
}

// tables are the names of a bucket's tables, made once.
type tables struct {
	urls, images, failures []byte
}

// Open opens the index at path, which it makes where there is none, and makes
// the tables of the buckets named. It returns an error that wraps ErrLocked or
// ErrSchema, or says what is wrong with the file.
func Open(path string, buckets []string, o Options) (*DB, error) {
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	bolt, err := bbolt.Open(path, 0o640, &bbolt.Options{
		Timeout: o.Timeout,
		// The list of free pages is written at each commit otherwise, which
		// grows with the file; it is found again at start by a scan.
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open %s: %w", path, ErrLocked)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db := &DB{bolt: bolt, buckets: map[string]tables{}}
	for _, name := range buckets {
		db.buckets[name] = tables{
			urls:     []byte(name + "/urls"),
			images:   []byte(name + "/images"),
			failures: []byte(name + "/failures"),
		}
	}
	if err := bolt.Update(db.prepare); err != nil {
		bolt.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// prepare checks the schema and makes the tables that are missing.
func (db *DB) prepare(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists(metaTable)
	if err != nil {
		return err
	}
	switch v := meta.Get(schemaKey); {
	case v == nil:
		if err := meta.Put(schemaKey, binary.AppendUvarint(nil, schema)); err != nil {
			return err
		}
	default:
		if n, ok := binary.Uvarint(v); ok <= 0 || n == 0 {
			return fmt.Errorf("its schema version is unreadable: %x", v)
		} else if n > schema {
			return fmt.Errorf("%w: its schema is %d, this program reads up to %d", ErrSchema, n, schema)
		}
	}
	for _, t := range db.buckets {
		for _, name := range [][]byte{t.urls, t.images, t.failures} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close closes the index. It waits for look-ups under way.
func (db *DB) Close() error {
	return db.bolt.Close()
}

// Image returns what is kept under a URL, or ErrNotFound.
func (db *DB) Image(bucket, url string) (Image, error) {
	t, err := db.tables(bucket)
	if err != nil {
		return Image{}, err
	}
	var image Image
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		k := keyOf(url)
		digest := tx.Bucket(t.urls).Get(k[:])
		if digest == nil {
			return ErrNotFound
		}
		r, err := getRecord(tx.Bucket(t.images), digest)
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
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		k := keyOf(url)
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

// Change is one change of the index: exactly one of Keep and Fail is set.
type Change struct {
	Bucket, URL string
	// Keep says that this image is what is kept under URL, instead of what was,
	// and that nothing is wrong with it.
	Keep *Image
	// Fail says what went wrong with URL.
	Fail *Failure
}

// Apply makes all changes, in their order, in one transaction: after an error
// none has been made.
func (db *DB) Apply(changes []Change) error {
	return db.bolt.Update(func(tx *bbolt.Tx) error {
		for _, c := range changes {
			t, err := db.tables(c.Bucket)
			if err != nil {
				return err
			}
			k := keyOf(c.URL)
			if c.Fail != nil {
				if err := tx.Bucket(t.failures).Put(k[:], c.Fail.encode()); err != nil {
					return err
				}
				continue
			}
			if err := keep(tx, t, k[:], *c.Keep); err != nil {
				return err
			}
		}
		return nil
	})
}

func keep(tx *bbolt.Tx, t tables, key []byte, image Image) error {
	if err := tx.Bucket(t.failures).Delete(key); err != nil {
		return err
	}
	urls, images := tx.Bucket(t.urls), tx.Bucket(t.images)
	r, err := getRecord(images, image.Digest[:])
	switch {
	case errors.Is(err, ErrNotFound):
		r.Image = image
	case err != nil:
		return err
	}
	old := urls.Get(key)
	if string(old) == string(image.Digest[:]) && r.refs > 0 {
		return nil // known already
	}
	if old != nil {
		if err := release(images, old); err != nil {
			return err
		}
	}
	r.refs++
	if err := images.Put(image.Digest[:], r.encode()); err != nil {
		return err
	}
	return urls.Put(key, image.Digest[:])
}

// release notes that one URL fewer refers to an image. The entry stays at zero:
// its file is there still, and scrubbing finds both.
func release(images *bbolt.Bucket, digest []byte) error {
	r, err := getRecord(images, digest)
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
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		s.URLs = tx.Bucket(t.urls).Stats().KeyN
		s.Images = tx.Bucket(t.images).Stats().KeyN
		s.Failures = tx.Bucket(t.failures).Stats().KeyN
		return nil
	})
	return s, err
}

// Check verifies the file's inner consistency (slow: it reads all pages).
func (db *DB) Check() error {
	return db.bolt.View(func(tx *bbolt.Tx) error {
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

func keyOf(url string) [16]byte {
	sum := sha256.Sum256([]byte(url))
	return [16]byte(sum[:16])
}
