package index

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"
)

// Position says how far into a journal an index goes: all of its lines up to there
// are in it, and none behind. The zero value is the beginning.
type Position struct {
	File   string // the name of the journal's newest file that is in the index; empty: none is
	Length int64  // bytes of it
	Line   uint64 // checksum of the line that ends there
}

func positionKey(bucket string) []byte { return []byte("journal " + bucket) }

func (p Position) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(p.Length))
	b = binary.BigEndian.AppendUint64(b, p.Line)
	return append(b, p.File...)
}

func decodePosition(v []byte) (Position, error) {
	length, n := binary.Uvarint(v)
	if n <= 0 || len(v) < n+8 {
		return Position{}, fmt.Errorf("%w (position in a journal)", ErrDamaged)
	}
	return Position{File: string(v[n+8:]), Length: int64(length), Line: binary.BigEndian.Uint64(v[n:])}, nil
}

// Position returns how far into the journal of a bucket the index goes; "" is the
// journal of all buckets. ErrNotFound where the index does not know.
func (db *DB) Position(bucket string) (Position, error) {
	var p Position
	err := db.view(func(tx *bbolt.Tx) error {
		v, err := tableOf(tx, metaTable).get(positionKey(bucket))
		if err == nil && v == nil {
			err = ErrNotFound
		}
		if err == nil {
			p, err = decodePosition(v)
		}
		return err
	})
	return p, err
}
