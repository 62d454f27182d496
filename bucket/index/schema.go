package index

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"imgkeep/bucket/record"
)

// schema is the version of the layout that this package reads and writes. An additional
// table that unaware programs may ignore is no new version. An index of an earlier version
// is not converted but rebuilt: it does not say how far into the journals it goes.
const schema = 5

var (
	metaTable   = []byte("meta")
	schemaKey   = []byte("schema")
	blocksTable = []byte("blocks")
	sitesTable  = []byte("sites")
)

// checkSchema tells whether a file's layout has the version that this package reads.
func checkSchema(v []byte) error {
	version, err := parseVersion(v)
	switch {
	case err != nil:
		return err
	case version > schema:
		return fmt.Errorf("%w: its schema is %d, and this program reads up to %d: use the newer program, or put this index aside and let 'imgkeep reindex' make one", ErrSchema, version, schema)
	case version < schema:
		return fmt.Errorf("%w: its schema is %d, and this program writes %d: let 'imgkeep reindex' make a new one", ErrOldSchema, version, schema)
	}
	return nil
}

// prepare creates missing tables. A bucket that is new to the index has nothing of its
// journal in it.
func (db *DB) prepare(w *writing) error {
	if w.tx.Bucket(metaTable) == nil {
		meta, err := w.tx.CreateBucket(metaTable)
		if err != nil {
			return err
		}
		// Without a checksum, so that every version can read it.
		if err := meta.Put(schemaKey, binary.AppendUvarint(nil, schema)); err != nil {
			return err
		}
	}
	if _, err := w.create(sitesTable); err != nil {
		return err
	}
	made, err := w.create(blocksTable)
	if err != nil {
		return err
	}
	if made {
		if err := w.meta().put(positionKey(""), encodePosition(record.Position{})); err != nil {
			return err
		}
	}
	for bucket, t := range db.buckets {
		for i, name := range [][]byte{t.urls, t.images, t.failures, t.deadly, t.removing} {
			made, err := w.create(name)
			if err == nil && made && i == 0 {
				err = w.meta().put(positionKey(bucket), encodePosition(record.Position{}))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// prepared tells whether prepare has nothing to do.
func (db *DB) prepared(tx *bbolt.Tx) bool {
	if tx.Bucket(metaTable) == nil || tx.Bucket(blocksTable) == nil || tx.Bucket(sitesTable) == nil {
		return false
	}
	for _, t := range db.buckets {
		for _, name := range [][]byte{t.urls, t.images, t.failures, t.deadly, t.removing} {
			if tx.Bucket(name) == nil {
				return false
			}
		}
	}
	return true
}

func parseVersion(v []byte) (uint64, error) {
	n, size := binary.Uvarint(v)
	if size <= 0 || size != len(v) || n == 0 {
		return 0, errors.Join(ErrDamaged, fmt.Errorf("its schema version is unreadable: %x", v))
	}
	return n, nil
}

func positionKey(bucket string) []byte { return []byte("journal " + bucket) }

func encodePosition(p record.Position) []byte {
	b := binary.AppendUvarint(nil, uint64(p.Length))
	b = binary.BigEndian.AppendUint64(b, p.Line)
	return append(b, p.File...)
}

func decodePosition(v []byte) (record.Position, error) {
	length, n := binary.Uvarint(v)
	if n <= 0 || len(v) < n+8 {
		return record.Position{}, fmt.Errorf("%w (position in a journal)", ErrDamaged)
	}
	return record.Position{File: string(v[n+8:]), Length: int64(length), Line: binary.BigEndian.Uint64(v[n:])}, nil
}

// Position returns how far into the journal of a bucket the index goes; "" is the journal of
// all buckets. If the index does not know, the error is ErrNotFound.
func (db *DB) Position(bucket string) (record.Position, error) {
	var p record.Position
	err := db.view(func(tx *bbolt.Tx) error {
		v, err := tableOf(tx, metaTable).find(positionKey(bucket))
		if err == nil {
			p, err = decodePosition(v)
		}
		return err
	})
	return p, err
}
