package index

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"imgkeep/bucket/record"
)

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
