package index

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// Poison is what the index knows of an image that has crashed a decoder.
type Poison struct {
	Digest  [32]byte  // of the image
	Crashes int       // of decoders; 0: it is no longer held against the image
	Last    time.Time // of the last crash, to the second
	Detail  string    // of the last crash, for the operator
}

// Poison returns what is known of an image, or ErrNotFound.
func (db *DB) Poison(bucket string, digest [32]byte) (Poison, error) {
	t, err := db.tables(bucket)
	if err != nil {
		return Poison{}, err
	}
	var d Poison
	err = db.view(func(tx *bbolt.Tx) error {
		ref := refOf(digest)
		v, err := tableOf(tx, t.deadly).find(ref[:])
		if err == nil {
			d, err = decodePoison(v)
		}
		return err
	})
	d.Digest = digest
	return d, err
}

func note(w *writing, t tables, d Poison) error {
	ref := refOf(d.Digest)
	if d.Crashes == 0 {
		return w.table(t.deadly).delete(ref[:])
	}
	return w.table(t.deadly).put(ref[:], d.encode())
}

// encode writes it without its digest, of which the first half is its key.
func (d Poison) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(d.Crashes))
	b = binary.AppendUvarint(b, uint64(d.Last.Unix()))
	return append(b, d.Detail[:min(len(d.Detail), maxDetail)]...)
}

func decodePoison(v []byte) (Poison, error) {
	var n [2]uint64
	rest, ok := uvarints(v, n[:])
	if !ok {
		return Poison{}, fmt.Errorf("%w: poison image", errRecord)
	}
	return Poison{Crashes: int(n[0]), Last: time.Unix(int64(n[1]), 0).UTC(), Detail: string(rest)}, nil
}
