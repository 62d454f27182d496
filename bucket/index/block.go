package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"go.etcd.io/bbolt"

	"imgkeep/bucket/probe"
)

// What a Block may stand against.
const (
	BlockURL    = "url"    // a canonical URL
	BlockDigest = "digest" // bytes, by their digest as text
	BlockHost   = "host"   // a pattern of hosts
)

// Block is a tombstone: what it names is neither served nor kept, in any bucket.
type Block struct {
	Kind    string    `json:"kind"`          // one of the constants
	Subject string    `json:"subject"`       // what is blocked
	For     string    `json:"for,omitempty"` // the URL that was to be blocked when these bytes were found under it; empty: they themselves
	Since   time.Time `json:"since"`         // to the second
	Why     string    `json:"why,omitempty"` // for the operator, as By
	By      string    `json:"by,omitempty"`
}

// key is the block's key: whatever the length of a URL.
func (b Block) key() []byte {
	if b.Kind == BlockURL {
		k := KeyOf(b.Subject)
		return append([]byte("url "), k[:]...)
	}
	return []byte(b.Kind + " " + b.Subject)
}

func (b Block) encode() []byte {
	v := binary.AppendUvarint(nil, uint64(b.Since.Unix()))
	for _, s := range []string{b.Kind, b.Subject, b.For, b.Why, b.By} {
		v = binary.AppendUvarint(v, uint64(len(s)))
		v = append(v, s...)
	}
	return v
}

func decodeBlock(v []byte) (Block, error) {
	since, size := binary.Uvarint(v)
	if size <= 0 {
		return Block{}, fmt.Errorf("%w: block", errRecord)
	}
	v = v[size:]
	b := Block{Since: time.Unix(int64(since), 0).UTC()}
	for _, s := range []*string{&b.Kind, &b.Subject, &b.For, &b.Why, &b.By} {
		n, size := binary.Uvarint(v)
		if size <= 0 || n > uint64(len(v)-size) {
			return Block{}, fmt.Errorf("%w: block", errRecord)
		}
		*s = string(v[size : size+int(n)])
		v = v[size+int(n):]
	}
	return b, nil
}

// Block returns the block that stands against exactly this, or ErrNotFound. It
// costs nothing while there is no block at all.
func (db *DB) Block(kind, subject string) (Block, error) {
	if !db.blocks.Load() {
		return Block{}, ErrNotFound
	}
	var b Block
	err := db.view(func(tx *bbolt.Tx) (err error) {
		v := tx.Bucket(blocksTable).Get(Block{Kind: kind, Subject: subject}.key())
		if v == nil {
			return ErrNotFound
		}
		b, err = decodeBlock(v)
		return err
	})
	return b, err
}

// HasBlocks tells whether there may be a block at all.
func (db *DB) HasBlocks() bool { return db.blocks.Load() }

// Blocks goes through all blocks; see Images.
func (db *DB) Blocks() iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		for pair, err := range db.walk(blocksTable) {
			var b Block
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

// Removing is an image that is removed, and whose files may still be there.
type Removing struct {
	Digest [32]byte
	Format probe.Format
}

// Removing lists what of a bucket is being removed.
func (db *DB) Removing(bucket string) ([]Removing, error) {
	t, err := db.tables(bucket)
	if err != nil {
		return nil, err
	}
	var all []Removing
	err = db.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(t.removing).ForEach(func(k, v []byte) error {
			format, size := binary.Uvarint(v)
			if len(k) != 32 || size <= 0 {
				return fmt.Errorf("%w: removal %x", errRecord, k)
			}
			all = append(all, Removing{[32]byte(k), probe.Format(format)})
			return nil
		})
	})
	return all, err
}

func (r Removing) put(removing *bbolt.Bucket) error {
	return removing.Put(r.Digest[:], binary.AppendUvarint(nil, uint64(r.Format)))
}

// forget takes a URL away, and with the last one its image.
func (db *DB) forget(tx *bbolt.Tx, t tables, key []byte) error {
	if err := db.dropFailure(tx.Bucket(t.failures), t, key); err != nil {
		return err
	}
	urls, images := tx.Bucket(t.urls), tx.Bucket(t.images)
	ref := bytes.Clone(urls.Get(key))
	if ref == nil {
		return nil
	}
	if err := urls.Delete(key); err != nil {
		return err
	}
	r, err := findRecord(images, ref)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.refs > 1 {
		r.refs--
		return images.Put(r.Digest[:], r.encode())
	}
	if err := images.Delete(r.Digest[:]); err != nil {
		return err
	}
	return Removing{r.Digest, r.Format}.put(tx.Bucket(t.removing))
}

// purge takes an image away, and all URLs that refer to it. It goes through all
// URLs of the bucket: a second for some millions.
func purge(tx *bbolt.Tx, t tables, gone Removing) error {
	ref := refOf(gone.Digest)
	urls := tx.Bucket(t.urls)
	var keys [][]byte
	c := urls.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if bytes.Equal(v, ref[:]) {
			keys = append(keys, bytes.Clone(k))
		}
	}
	for _, k := range keys {
		if err := urls.Delete(k); err != nil {
			return err
		}
	}
	if err := tx.Bucket(t.images).Delete(gone.Digest[:]); err != nil {
		return err
	}
	return gone.put(tx.Bucket(t.removing))
}

// pardon drops failures of a class, in all buckets.
func (db *DB) pardon(tx *bbolt.Tx, class string) error {
	for _, t := range db.buckets {
		failures := tx.Bucket(t.failures)
		var keys [][]byte
		c := failures.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if f, err := decodeFailure(v); err == nil && f.Class == class {
				keys = append(keys, bytes.Clone(k))
			}
		}
		for _, k := range keys {
			if err := db.dropFailure(failures, t, k); err != nil {
				return err
			}
		}
	}
	return nil
}
