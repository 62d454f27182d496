package index

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// fillRebuilt leaves room in the pages of a new file, so that the first images
// that come do not split every one of them.
const fillRebuilt = 0.9

// Content is all that is kept in one bucket.
type Content struct {
	Bucket   string
	Images   iter.Seq[Entry] // in the order of their digests
	URLs     iter.Seq[Link]  // in the order of their keys
	Removing []Removing      // in any order
}

// Rebuilding is the right to replace the index at a path. While it is held no
// process can open that index.
type Rebuilding struct {
	path string
	lock *os.File
	made bool
}

// Rebuild begins the replacing of the index at path, which may be damaged or
// missing. It does not wait for another process that has it open: ErrLocked.
func Rebuild(path string) (*Rebuilding, error) {
	f, made, err := lock(path)
	if err != nil {
		return nil, err
	}
	return &Rebuilding{path: path, lock: f, made: made}, nil
}

// Replace writes an index of these contents and blocks into a file aside on the same file
// system, which then takes the place of the old one. After an error, or a crash
// at any instant, the old file is in its place; what then lies aside is
// worthless.
func (r *Rebuilding) Replace(aside string, contents []Content, blocks []Block) (err error) {
	fresh, err := create(aside)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, fresh.Close())
		if err != nil {
			os.Remove(aside)
		}
	}()
	db := &DB{path: aside, bolt: fresh, buckets: map[string]tables{}}
	for _, c := range contents {
		db.buckets[c.Bucket] = tablesOf(c.Bucket)
	}
	o := Options{}.withDefaults()
	err = fresh.Update(func(tx *bbolt.Tx) error {
		if err := db.prepare(tx, o); err != nil {
			return err
		}
		for _, b := range blocks {
			if err := tx.Bucket(blocksTable).Put(b.key(), b.encode()); err != nil {
				return err
			}
		}
		for _, c := range contents {
			for _, gone := range c.Removing {
				if err := gone.put(tx.Bucket(db.buckets[c.Bucket].removing)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range contents {
		t := db.buckets[c.Bucket]
		images := func(yield func(k, v []byte) bool) {
			for e := range c.Images {
				if !yield(e.Digest[:], record{Image: e.Image, refs: e.Refs}.encode()) {
					return
				}
			}
		}
		urls := func(yield func(k, v []byte) bool) {
			for l := range c.URLs {
				if !yield(l.Key[:], l.Ref[:]) {
					return
				}
			}
		}
		if err := errors.Join(fill(fresh, t.images, images), fill(fresh, t.urls, urls)); err != nil {
			return fmt.Errorf("write %s: %w", aside, err)
		}
	}
	if err := flush(fresh); err != nil {
		return fmt.Errorf("write %s: %w", aside, err)
	}
	if err := os.Rename(aside, r.path); err != nil {
		return err
	}
	r.made = false
	return syncDir(filepath.Dir(r.path))
}

// Close lets other processes open the index. One that Rebuild had to make, and
// that nothing has replaced, is removed: an empty index would look like an empty
// store.
func (r *Rebuilding) Close() error {
	if r.made {
		os.Remove(r.path)
	}
	return r.lock.Close()
}

// fill puts ascending keys into a table, in transactions of txBytes.
func fill(bolt *bbolt.DB, table []byte, pairs iter.Seq2[[]byte, []byte]) (err error) {
	var tx *bbolt.Tx
	var b *bbolt.Bucket
	size := 0
	for k, v := range pairs {
		if tx == nil {
			if tx, err = bolt.Begin(true); err != nil {
				return err
			}
			b = tx.Bucket(table)
			b.FillPercent = fillRebuilt
		}
		if err := b.Put(k, append([]byte(nil), v...)); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		if size += len(k) + len(v); size > txBytes {
			if err := tx.Commit(); err != nil {
				return err
			}
			tx, size = nil, 0
		}
	}
	if tx != nil {
		return tx.Commit()
	}
	return nil
}
