package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// schema is the version of the layout that this package reads and writes. A table
// more, which a program that does not know it may pass over, is no new version: an
// index that is older than deadly just has none.
const schema = 3

var (
	metaTable   = []byte("meta")
	schemaKey   = []byte("schema")
	blocksTable = []byte("blocks")
)

// migration brings an index to the next version of the layout.
type migration func(tx *bbolt.Tx) error

// migrations are the steps, by the version that each begins with: with an entry
// for each version from the first to the one before schema.
var migrations = map[uint64]migration{1: shortenRefs, 2: addBlocks}

// prepare brings the layout up to date and makes the tables that are missing, in
// one transaction: a migration that fails, or a crash in one, leaves the file as
// it was.
func (db *DB) prepare(tx *bbolt.Tx, o Options) error {
	meta, err := tx.CreateBucketIfNotExists(metaTable)
	if err != nil {
		return err
	}
	version := o.schema // of a new file
	if v := meta.Get(schemaKey); v != nil {
		if version, err = parseVersion(v); err != nil {
			return err
		}
	}
	if version > o.schema {
		return fmt.Errorf("%w: its schema is %d, and this program reads up to %d: use the newer program, or put this index aside and let 'imgkeep reindex' make one", ErrSchema, version, o.schema)
	}
	for ; version < o.schema; version++ {
		step := o.migrations[version]
		if step == nil {
			return fmt.Errorf("its schema is %d, which this program cannot bring up to %d: let 'imgkeep reindex' make a new one", version, o.schema)
		}
		if err := step(tx); err != nil {
			return fmt.Errorf("bring its schema from %d to %d: %w", version, version+1, err)
		}
	}
	if err := meta.Put(schemaKey, binary.AppendUvarint(nil, version)); err != nil {
		return err
	}
	if _, err := tx.CreateBucketIfNotExists(blocksTable); err != nil {
		return err
	}
	for _, t := range db.buckets {
		for _, name := range [][]byte{t.urls, t.images, t.failures, t.deadly, t.removing} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// shortenRefs leads from 1, in which urls held whole digests, to 2. It also does
// the tables of buckets that are not configured now, and may be again.
func shortenRefs(tx *bbolt.Tx) error {
	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		if !bytes.HasSuffix(name, []byte("/urls")) {
			return nil
		}
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if len(v) != 32 {
				return fmt.Errorf("%w: URL %x", errRecord, k)
			}
			k, v = bytes.Clone(k), bytes.Clone(v[:16])
			if err := b.Put(k, v); err != nil {
				return err
			}
			c.Seek(k)
		}
		return nil
	})
}

// addBlocks leads from 2 to 3, which has tables more, and nothing else that is
// new. It is a version so that no earlier program opens the file, which would
// serve what is blocked.
func addBlocks(*bbolt.Tx) error { return nil }

func parseVersion(v []byte) (uint64, error) {
	n, size := binary.Uvarint(v)
	if size <= 0 || size != len(v) || n == 0 {
		return 0, errors.Join(errRecord, fmt.Errorf("its schema version is unreadable: %x", v))
	}
	return n, nil
}
