package index

import (
	"bytes"
	"errors"
	"iter"

	"go.etcd.io/bbolt"

	"imgkeep/bucket/record"
)

// Entry is an image with the number of URLs that refer to it.
type Entry struct {
	Image
	Refs uint64
}

// Entry returns the entry of a digest, or ErrNotFound.
func (db *DB) Entry(bucket string, digest [32]byte) (Entry, error) {
	t, err := db.tables(bucket)
	if err != nil {
		return Entry{}, err
	}
	var e Entry
	err = db.lookUp(func(tx *bbolt.Tx) error {
		r, err := lookUpRecord(tx, t.images, digest[:])
		e = Entry{Image: r.Image, Refs: r.refs}
		return err
	})
	return e, err
}

// RefOf returns what a URL's key refers to, or ErrNotFound.
func (db *DB) RefOf(bucket string, key Key) (Ref, error) {
	t, err := db.tables(bucket)
	if err != nil {
		return Ref{}, err
	}
	var ref Ref
	err = db.lookUp(func(tx *bbolt.Tx) error {
		_, v, err := lookUp(tx, t.urls, key[:])
		if err != nil {
			return err
		}
		if len(v) != len(ref) {
			return errRecord
		}
		copy(ref[:], v)
		return nil
	})
	return ref, err
}

// Images goes through the images of a bucket in the order of their digests. An unreadable
// entry comes with its digest and an error, and does not end the iteration; an error without
// a digest does.
//
// No transaction is open between two entries: one that stayed open for hours would keep the
// file from reusing its free pages. Instead some entries are read ahead, so that a concurrent
// change may show or not.
func (db *DB) Images(bucket string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		t, err := db.tables(bucket)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for pair, err := range db.walk(t.images) {
			var r imageEntry
			if err == nil {
				r, err = decodeRecord(pair.key, pair.value)
			}
			if err != nil {
				copy(r.Digest[:], pair.key)
			}
			if !yield(Entry{Image: r.Image, Refs: r.refs}, err) {
				return
			}
		}
	}
}

// Link says to which image a URL refers.
type Link struct {
	Key Key
	Ref Ref
}

// URLs goes through the URLs of a bucket in the order of their keys; see Images.
func (db *DB) URLs(bucket string) iter.Seq2[Link, error] {
	return func(yield func(Link, error) bool) {
		t, err := db.tables(bucket)
		if err != nil {
			yield(Link{}, err)
			return
		}
		for pair, err := range db.walk(t.urls) {
			var l Link
			copy(l.Key[:], pair.key)
			copy(l.Ref[:], pair.value)
			if err == nil && (len(pair.key) != len(l.Key) || len(pair.value) != len(l.Ref)) {
				err = errRecord
			}
			if !yield(l, err) {
				return
			}
		}
	}
}

// ahead is how many entries walk reads in one transaction.
const ahead = 512

type pair struct{ key, value []byte }

// walk goes through a table. A damaged record comes with its key and an error; an error
// without a key is the last.
func (db *DB) walk(name []byte) iter.Seq2[pair, error] { return db.walkBut(name, "") }

// walkBut is walk without the records whose keys begin with prefix; empty: with all.
func (db *DB) walkBut(name []byte, prefix string) iter.Seq2[pair, error] {
	without := []byte(prefix)
	return func(yield func(pair, error) bool) {
		var last []byte
		for {
			var pairs []pair
			err := db.view(func(tx *bbolt.Tx) error {
				c := tx.Bucket(name).Cursor()
				k, v := c.First()
				if last != nil {
					if k, v = c.Seek(last); bytes.Equal(k, last) {
						k, v = c.Next()
					}
				}
				for k != nil && len(pairs) < ahead {
					if prefix != "" && bytes.HasPrefix(k, without) {
						k, v = c.Seek(append(bytes.Clone(without), 0xff)) // behind all of them: keys are text
						continue
					}
					pairs = append(pairs, pair{bytes.Clone(k), bytes.Clone(v)})
					k, v = c.Next()
				}
				return nil
			})
			if err != nil {
				yield(pair{}, err)
				return
			}
			for _, p := range pairs {
				value, _, err := unseal(name, p.key, p.value)
				if !yield(pair{p.key, value}, err) {
					return
				}
			}
			if len(pairs) < ahead {
				return
			}
			last = pairs[len(pairs)-1].key
		}
	}
}

// Recount counts the URLs that refer to these images, and corrects their entries. It goes
// through all URLs of the bucket in one transaction: about a second for a million.
func (db *DB) Recount(bucket string, digests [][32]byte) error {
	t, err := db.tables(bucket)
	if err != nil {
		return err
	}
	counts := map[Ref]uint64{}
	for _, d := range digests {
		counts[refOf(d)] = 0
	}
	return db.update(func(w *writing) error {
		var broken error // a damaged entry may refer to one of the images
		w.table(t.urls).all(func(_, v []byte, err error) bool {
			if err == nil && len(v) == len(Ref{}) {
				if n, ok := counts[Ref(v)]; ok {
					counts[Ref(v)] = n + 1
				}
			}
			broken = err
			return err == nil
		})
		if broken != nil {
			return broken
		}
		images := w.table(t.images)
		for ref, n := range counts {
			r, err := findRecord(images, ref[:])
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			r.refs = n
			if err := images.put(r.Digest[:], r.encode()); err != nil {
				return err
			}
		}
		return nil
	})
}

// Failed is the failure of a URL. The index has only the URL's key.
type Failed struct {
	Key Key
	record.Failure
}

// Failures goes through the failures of a bucket in the order of their keys; see Images.
func (db *DB) Failures(bucket string) iter.Seq2[Failed, error] {
	return func(yield func(Failed, error) bool) {
		t, err := db.tables(bucket)
		if err != nil {
			yield(Failed{}, err)
			return
		}
		for pair, err := range db.walk(t.failures) {
			var f Failed
			copy(f.Key[:], pair.key)
			if err == nil {
				f.Failure, err = decodeFailure(pair.value)
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// RefTo returns what the URLs of an image refer to.
func RefTo(d record.Digest) Ref { return Ref(d[:16]) }
