package index

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"imgkeep/bucket/record"
)

// fillRebuilt leaves free space in the pages of a new index: otherwise the first new images
// would split every page.
const fillRebuilt = 0.9

// Content is everything that is kept in one bucket.
type Content struct {
	Bucket   string
	Position record.Position // the end of the part of its journal that Content was made of
	// Images come in the order of their digests, and URLs, which Replace reads afterwards, in
	// the order of their keys. An error ends Replace. nil: none.
	Images iter.Seq2[Entry, error]
	URLs   iter.Seq2[Link, error]
}

// Rebuilding is a lock on the index at a path, held in order to replace it. Until Close, no
// process can open that index. It is for one goroutine.
type Rebuilding struct {
	path string
	lock *os.File
	made bool
}

// Rebuild locks the index at path, which may be damaged or missing. If another process has it
// open, Rebuild does not wait, but returns ErrLocked.
func Rebuild(path string) (*Rebuilding, error) {
	f, made, err := lock(path)
	if err != nil {
		return nil, err
	}
	return &Rebuilding{path: path, lock: f, made: made}, nil
}

// Replace writes a new index to the path aside, which must be on the same file system, and
// renames it over the old one. at is the end of the part of the journal of all buckets that
// blocks were made of. After an error, or a crash at any instant, the old index is in place,
// and a file at aside is worthless.
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

// Close lets other processes open the index. It removes an index that Rebuild had to create
// and Replace has not replaced: an empty index would look like an empty store.
func (r *Rebuilding) Close() error {
	if r.made {
		os.Remove(r.path)
	}
	return r.lock.Close()
}

// fill writes pairs, in ascending order of their keys, to a table, in transactions of txBytes
// each.
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
