package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"unsafe"

	"go.etcd.io/bbolt"

	"imgkeep/bucket/index/pages"
)

// Each record ends with a checksum of its table's name, its key and its value, so that a
// flipped bit is an error and never an answer. A record that has vanished, or has an older
// value, cannot be detected by itself: for that the table meta has, for each table, the
// number of records and the sum of their checksums. Open compares them with the records
// that it finds.

const checksumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(table, key, value []byte) uint32 {
	c := crc32.Update(0, castagnoli, table)
	c = crc32.Update(c, castagnoli, []byte{byte(len(table)), byte(len(key))})
	c = crc32.Update(c, castagnoli, key)
	return crc32.Update(c, castagnoli, value)
}

// seal returns a value with its checksum.
func seal(table, key, value []byte) []byte {
	b := make([]byte, 0, len(value)+checksumSize)
	b = append(b, value...)
	return binary.BigEndian.AppendUint32(b, checksum(table, key, value))
}

// unseal returns the value of a record, and its checksum, which fits.
func unseal(table, key, stored []byte) ([]byte, uint32, error) {
	n := len(stored) - checksumSize
	if n >= 0 {
		if sum := binary.BigEndian.Uint32(stored[n:]); sum == checksum(table, key, stored[:n]) {
			return stored[:n:n], sum, nil
		}
	}
	return nil, 0, fmt.Errorf("%w (record %x of %s)", ErrDamaged, key, table)
}

// totals are the number of a table's records, and the sum of their checksums, modulo 2^64.
type totals struct{ records, sum uint64 }

func (t *totals) add(sum uint32)    { t.records++; t.sum += uint64(sum) }
func (t *totals) remove(sum uint32) { t.records--; t.sum -= uint64(sum) }

var totalsPrefix = []byte("totals ")

func totalsKey(table []byte) []byte { return append(bytes.Clone(totalsPrefix), table...) }

func (t totals) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, t.records), t.sum)
}

func decodeTotals(v []byte) (totals, error) {
	if len(v) != 16 {
		return totals{}, fmt.Errorf("%w (totals of a table)", ErrDamaged)
	}
	return totals{binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])}, nil
}

// table is a table within a transaction.
type table struct {
	name   []byte
	bolt   *bbolt.Bucket
	totals *totals // of a transaction that writes
	before totals  // what they were when it began
}

func tableOf(tx *bbolt.Tx, name []byte) table { return table{name: name, bolt: tx.Bucket(name)} }

// get returns the value of a record; nil if there is none.
func (t table) get(key []byte) ([]byte, error) {
	k, v, err := t.seek(key)
	if err != nil || !bytes.Equal(k, key) {
		return nil, err
	}
	return v, nil
}

// lookUp returns the record of a table whose key begins with key, or ErrNotFound. The
// transaction must only read: one that writes has pages that are not in the file yet.
func lookUp(tx *bbolt.Tx, name, key []byte) (k, v []byte, err error) {
	// While a transaction is open, bbolt leaves mapped what belongs to it.
	info := tx.DB().Info()
	mapping := pages.Mapping{Pages: unsafe.Slice((*byte)(unsafe.Add(nil, info.Data)), tx.Size()), Size: info.PageSize}
	k, stored := mapping.Search(uint64(tx.Cursor().Bucket().Root()), name, key)
	if k != nil {
		v, _, err = unseal(name, k, stored)
		return k, v, err
	}
	return tableOf(tx, name).findPrefix(key)
}

// findPrefix returns the record whose key begins with key, or ErrNotFound.
func (t table) findPrefix(key []byte) (k, v []byte, err error) {
	k, v, err = t.seek(key)
	if err == nil && !bytes.HasPrefix(k, key) {
		err = ErrNotFound
	}
	return k, v, err
}

// find is get, except that a missing record is ErrNotFound.
func (t table) find(key []byte) ([]byte, error) {
	v, err := t.get(key)
	if err == nil && v == nil {
		err = ErrNotFound
	}
	return v, err
}

// seek returns the first record at or after a key. If that is not the record that begins
// with the key, its neighbours must be intact: one of them may be that record, with a key
// that was damaged after the file was opened.
func (t table) seek(key []byte) (k, v []byte, err error) {
	c := t.bolt.Cursor()
	k, v = c.Seek(key)
	if !bytes.HasPrefix(k, key) {
		var before, w []byte
		if k != nil {
			before, w = c.Prev()
		} else {
			before, w = c.Last()
		}
		if before != nil {
			if _, _, err := unseal(t.name, before, w); err != nil {
				return nil, nil, err
			}
		}
	}
	if k == nil {
		return nil, nil, nil
	}
	if v, _, err = unseal(t.name, k, v); err != nil {
		return nil, nil, err
	}
	if v == nil {
		v = []byte{}
	}
	return k, v, nil
}

// put and delete update the totals. A damaged record is not replaced: its old checksum
// would stay in the sum for good.
func (t table) put(key, value []byte) error {
	if err := t.forget(key); err != nil {
		return err
	}
	stored := seal(t.name, key, value)
	t.totals.add(binary.BigEndian.Uint32(stored[len(value):]))
	return t.bolt.Put(key, stored)
}

func (t table) delete(key []byte) error {
	if err := t.forget(key); err != nil {
		return err
	}
	return t.bolt.Delete(key)
}

// forget subtracts a record from the totals.
func (t table) forget(key []byte) error {
	old := t.bolt.Get(key)
	if old == nil {
		return nil
	}
	_, sum, err := unseal(t.name, key, old)
	if err != nil {
		return err
	}
	t.totals.remove(sum)
	return nil
}

// all goes through the records.
func (t table) all(yield func(key, value []byte, err error) bool) {
	c := t.bolt.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		v, _, err := unseal(t.name, k, v)
		if !yield(k, v, err) {
			return
		}
	}
}

// writing is a transaction that writes: its tables, and their totals.
type writing struct {
	tx     *bbolt.Tx
	tables map[string]table
	err    error // the first of opening tables
}

func newWriting(tx *bbolt.Tx) *writing { return &writing{tx: tx, tables: map[string]table{}} }

func (w *writing) table(name []byte) table {
	if t, ok := w.tables[string(name)]; ok {
		return t
	}
	t := tableOf(w.tx, name)
	t.totals = &totals{}
	v, err := w.meta().get(totalsKey(name))
	if err == nil {
		*t.totals, err = decodeTotals(v)
		t.before = *t.totals
	}
	if err != nil && w.err == nil {
		w.err = err
	}
	w.tables[string(name)] = t
	return t
}

// meta is the table meta, which has no totals of its own.
func (w *writing) meta() table {
	t := tableOf(w.tx, metaTable)
	t.totals = &totals{}
	return t
}

// flush writes the totals of the tables that were changed.
func (w *writing) flush() error {
	meta := w.meta()
	for name, t := range w.tables {
		if w.err != nil {
			break
		}
		if *t.totals != t.before {
			w.err = meta.put(totalsKey([]byte(name)), t.totals.encode())
		}
	}
	return w.err
}

// create creates a table if it is missing.
func (w *writing) create(name []byte) (made bool, err error) {
	if w.tx.Bucket(name) != nil {
		return false, nil
	}
	if _, err := w.tx.CreateBucket(name); err != nil {
		return false, err
	}
	return true, w.meta().put(totalsKey(name), totals{}.encode())
}
