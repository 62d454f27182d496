package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"go.etcd.io/bbolt"

	"imgkeep/bucket/likeness"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// blockKey is a block's key, of the same length for any URL.
func blockKey(b record.Block) []byte {
	if b.Kind == record.BlockURL {
		k := KeyOf(b.Subject)
		return append([]byte("url "), k[:]...)
	}
	return []byte(b.Kind + " " + b.Subject)
}

func encodeBlock(b record.Block) []byte {
	v := binary.AppendUvarint(nil, uint64(b.Since.Unix()))
	for _, s := range []string{b.Kind, b.Subject, b.For, b.Why, b.By} {
		v = binary.AppendUvarint(v, uint64(len(s)))
		v = append(v, s...)
	}
	if b.Within > 0 {
		v = binary.AppendUvarint(v, uint64(b.Within))
	}
	return v
}

func decodeBlock(v []byte) (record.Block, error) {
	since, size := binary.Uvarint(v)
	if size <= 0 {
		return record.Block{}, fmt.Errorf("%w: block", errRecord)
	}
	v = v[size:]
	b := record.Block{Since: time.Unix(int64(since), 0).UTC()}
	for _, s := range []*string{&b.Kind, &b.Subject, &b.For, &b.Why, &b.By} {
		n, size := binary.Uvarint(v)
		if size <= 0 || n > uint64(len(v)-size) {
			return record.Block{}, fmt.Errorf("%w: block", errRecord)
		}
		*s = string(v[size : size+int(n)])
		v = v[size+int(n):]
	}
	if len(v) > 0 {
		within, size := binary.Uvarint(v)
		if size != len(v) || within > likeness.MaxWithin {
			return record.Block{}, fmt.Errorf("%w: block", errRecord)
		}
		b.Within = int(within)
	}
	return b, nil
}

// Block returns the block of exactly this subject, or ErrNotFound. It costs nothing if
// there are no blocks.
func (db *DB) Block(kind, subject string) (record.Block, error) {
	if !db.blocks.Load() {
		return record.Block{}, ErrNotFound
	}
	var b record.Block
	err := db.view(func(tx *bbolt.Tx) (err error) {
		v, err := tableOf(tx, blocksTable).find(blockKey(record.Block{Kind: kind, Subject: subject}))
		if err == nil {
			b, err = decodeBlock(v)
		}
		return err
	})
	return b, err
}

// HasBlocks tells whether there may be any blocks.
func (db *DB) HasBlocks() bool { return db.blocks.Load() }

// Blocks goes through all blocks; see Images.
func (db *DB) Blocks() iter.Seq2[record.Block, error] { return db.blocksBut("") }

// BlocksOfImages goes through all blocks except those of kind BlockSimilar, of which lists
// may contain a million.
func (db *DB) BlocksOfImages() iter.Seq2[record.Block, error] {
	return db.blocksBut(record.BlockSimilar + " ")
}

// blocksBut goes through all blocks except those whose keys begin like this; empty: all.
func (db *DB) blocksBut(prefix string) iter.Seq2[record.Block, error] {
	return func(yield func(record.Block, error) bool) {
		for pair, err := range db.walkBut(blocksTable, prefix) {
			var b record.Block
			if err == nil {
				b, err = decodeBlock(pair.value)
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// anyBlock notes whether there is a block.
func (db *DB) anyBlock(tx *bbolt.Tx) {
	k, _ := tx.Bucket(blocksTable).Cursor().First()
	db.blocks.Store(k != nil)
}

// Removing is an image that is being removed, and whose files may still exist.
type Removing struct {
	Digest [32]byte
	Format probe.Format
}

// Removing lists the images of a bucket that are being removed. An unreadable entry is an
// error in addition to the others.
func (db *DB) Removing(bucket string) ([]Removing, error) {
	t, err := db.tables(bucket)
	if err != nil {
		return nil, err
	}
	var all []Removing
	var broken []error
	err = db.view(func(tx *bbolt.Tx) error {
		tableOf(tx, t.removing).all(func(k, v []byte, err error) bool {
			format, size := binary.Uvarint(v)
			if err == nil && (len(k) != 32 || size <= 0) {
				err = fmt.Errorf("%w: removal %x", errRecord, k)
			}
			if err != nil {
				broken = append(broken, err)
				return true
			}
			all = append(all, Removing{[32]byte(k), probe.Format(format)})
			return true
		})
		return nil
	})
	return all, errors.Join(append(broken, err)...)
}

func (r Removing) put(removing table) error {
	return removing.put(r.Digest[:], binary.AppendUvarint(nil, uint64(r.Format)))
}

// forget removes a URL, and with the last one its image.
func forget(w *writing, t tables, key []byte, spare bool) error {
	if err := w.table(t.failures).delete(key); err != nil {
		return err
	}
	urls, images := w.table(t.urls), w.table(t.images)
	ref, err := urls.get(key)
	if err != nil || ref == nil {
		return err
	}
	ref = bytes.Clone(ref)
	if err := urls.delete(key); err != nil {
		return err
	}
	r, err := findRecord(images, ref)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.refs > 1 || spare {
		r.refs = max(r.refs, 1) - 1
		return images.put(r.Digest[:], r.encode())
	}
	if err := drop(w, images, r); err != nil {
		return err
	}
	return Removing{r.Digest, r.Format}.put(w.table(t.removing))
}

// purge removes an image, and all URLs that refer to it. It goes through all URLs of the
// bucket: a second for some millions.
func purge(w *writing, t tables, gone Removing, spare bool) error {
	ref := refOf(gone.Digest)
	urls, images := w.table(t.urls), w.table(t.images)
	var keys [][]byte
	var broken error
	urls.all(func(k, v []byte, err error) bool {
		if err == nil && bytes.Equal(v, ref[:]) {
			keys = append(keys, bytes.Clone(k))
		}
		broken = err // it may be one that refers to the image
		return err == nil
	})
	if broken != nil {
		return broken
	}
	for _, k := range keys {
		if err := urls.delete(k); err != nil {
			return err
		}
	}
	r, err := getRecord(images, gone.Digest[:])
	missing := errors.Is(err, ErrNotFound)
	switch {
	case err != nil && !missing:
		return err
	case spare && missing:
		return nil
	case spare:
		r.refs = 0
		return images.put(r.Digest[:], r.encode())
	case !missing:
		if err := drop(w, images, r); err != nil {
			return err
		}
	}
	return gone.put(w.table(t.removing))
}

// clearClass drops failures of a class, in all buckets. Empty: none.
func (db *DB) clearClass(w *writing, class string) error {
	if class == "" {
		return nil
	}
	for _, t := range db.buckets {
		failures := w.table(t.failures)
		var keys [][]byte
		failures.all(func(k, v []byte, err error) bool {
			if err != nil {
				return true // whose class is unknown
			}
			if f, err := decodeFailure(v); err == nil && f.Kind == class {
				keys = append(keys, bytes.Clone(k))
			}
			return true
		})
		for _, k := range keys {
			if err := failures.delete(k); err != nil {
				return err
			}
		}
	}
	return nil
}
