package index

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"imgkeep/bucket/record"
)

// fillRebuilt leaves free space in the pages of a new file, so that the first new images do
// not split every one of them.
const fillRebuilt = 0.9

// Content is everything that is kept in one bucket.
type Content struct {
	Bucket   string
	Position record.Position // how far into its journal this goes
	// Images are in the order of their digests, and URLs, which are asked for afterwards, in
	// that of their keys. An error ends both. nil: none.
	Images iter.Seq2[Entry, error]
	URLs   iter.Seq2[Link, error]
}

// Rebuilding is the right to replace the index at a path. While it is held, no process can
// open that index.
type Rebuilding struct {
	path string
	lock *os.File
	made bool
}

// Rebuild starts replacing the index at path, which may be damaged or missing. It does not
// wait for another process that has it open: ErrLocked.
func Rebuild(path string) (*Rebuilding, error) {
	f, made, err := lock(path)
	if err != nil {
		return nil, err
	}
	return &Rebuilding{path: path, lock: f, made: made}, nil
}

// Replace writes an index of these contents and blocks, which go so far into the
// journal of all buckets, into a file aside on the same file
// system, which then takes the place of the old one. After an error, or a crash
// at any instant, the old file is in its place; what then lies aside is
// worthless.
func (r *Rebuilding) Replace(aside string, contents []Content, blocks []record.Block, at record.Position) (err error) {
	fresh, file, err := create(aside)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, fresh.Close())
		if err != nil {
			os.Remove(aside)
		}
	}()
	var names []string
	for _, c := range contents {
		names = append(names, c.Bucket)
	}
	db := newDB(aside, fresh, file, names, Options{}.withDefaults())
	if err := db.begin(); err != nil {
		return err
	}
	changes := []Change{{Position: &at}}
	for _, b := range blocks {
		changes = append(changes, Change{Block: &b})
	}
	for _, c := range contents {
		changes = append(changes, Change{Bucket: c.Bucket, Position: &c.Position})
	}
	if err := db.Apply(changes); err != nil {
		return err
	}
	sums := siteSums{}
	for _, c := range contents {
		t := db.buckets[c.Bucket]
		images := func(yield func(pair, error) bool) {
			if c.Images == nil {
				return
			}
			for e, err := range c.Images {
				sums.add(e.Image)
				if !yield(pair{e.Digest[:], imageEntry{Image: e.Image, refs: e.Refs}.encode()}, err) {
					return
				}
			}
		}
		urls := func(yield func(pair, error) bool) {
			if c.URLs == nil {
				return
			}
			for l, err := range c.URLs {
				if !yield(pair{l.Key[:], l.Ref[:]}, err) {
					return
				}
			}
		}
		err := db.fill(t.images, images)
		if err == nil {
			err = db.fill(t.urls, urls)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", aside, err)
		}
	}
	if err := errors.Join(db.fill(sitesTable, sums.records), flush(fresh)); err != nil {
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
func (db *DB) fill(name []byte, pairs iter.Seq2[pair, error]) error {
	next, stop := iter.Pull2(pairs)
	defer stop()
	for more := true; more; {
		err := db.update(func(w *writing) error {
			t := w.table(name)
			t.bolt.FillPercent = fillRebuilt
			for size := 0; size < txBytes; {
				var p pair
				var err error
				if p, err, more = next(); !more {
					return nil
				}
				if err == nil {
					err = t.put(p.key, p.value)
				}
				if err != nil {
					return err
				}
				size += len(p.key) + len(p.value)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
