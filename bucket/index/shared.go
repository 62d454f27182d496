package index

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/bbolt"

	"imgkeep/bucket/record"
)

// What a node remembers of what it shares with others, in one table that is made when it is
// first written to: the mark of what was applied, the number at which each record was
// written, and what the log has hit.
var sharedTable = []byte("shared")

// SharedTx is a transaction in what a node remembers. Nothing of it may be used afterwards.
type SharedTx struct {
	db *DB
	tx *bbolt.Tx
	w  *writing // nil: it only reads
}

// ViewShared reads one snapshot. It waits until the whole file was checked: what it finds
// missing decides what is kept.
func (db *DB) ViewShared(read func(*SharedTx) error) error {
	db.waitChecked()
	return db.view(func(tx *bbolt.Tx) error { return read(&SharedTx{db: db, tx: tx}) })
}

// sharedWrites are those that wait for the disk together.
type sharedWrites struct {
	mu      sync.Mutex
	waiting []sharedWrite
	running bool
}

type sharedWrite struct {
	write func(*SharedTx) error
	done  chan error
}

// UpdateShared changes all or, where write returns an error, nothing. It is durable when it
// returns. Calls that come together share a flush: one after the other in their order, and
// write may be called again if another of them has failed.
func (db *DB) UpdateShared(write func(*SharedTx) error) error {
	db.waitChecked()
	s, mine := &db.shared, sharedWrite{write, make(chan error, 1)}
	s.mu.Lock()
	s.waiting = append(s.waiting, mine)
	if !s.running {
		s.running = true
		go db.writeShared()
	}
	s.mu.Unlock()
	return <-mine.done
}

// writeShared carries out what waits, until nothing does.
func (db *DB) writeShared() {
	for s := &db.shared; ; {
		s.mu.Lock()
		together := s.waiting
		s.waiting, s.running = nil, len(together) > 0
		s.mu.Unlock()
		if len(together) == 0 {
			return
		}
		for len(together) > 0 {
			together = db.writeTogether(together)
		}
	}
}

// writeTogether carries out writes in one transaction. If one of them fails it is told so,
// and the others, of which nothing was done, are returned.
func (db *DB) writeTogether(all []sharedWrite) (again []sharedWrite) {
	failed := -1
	err := db.update(func(w *writing) error {
		if _, err := w.create(sharedTable); err != nil {
			return err
		}
		for i, one := range all {
			if err := one.write(&SharedTx{db: db, tx: w.tx, w: w}); err != nil {
				failed = i
				return err
			}
		}
		return nil
	})
	if failed >= 0 {
		all[failed].done <- err
		return slices.Delete(all, failed, failed+1)
	}
	for _, one := range all {
		one.done <- err
	}
	return nil
}

// errReadOnly: a transaction that only reads was to change something.
var errReadOnly = errors.New("a transaction that only reads")

// get returns the value of a key; nil: there is none.
func (t *SharedTx) get(key string) ([]byte, error) {
	if t.tx.Bucket(sharedTable) == nil {
		return nil, nil
	}
	return tableOf(t.tx, sharedTable).get([]byte(key))
}

func (t *SharedTx) put(key string, value []byte) error {
	if t.w == nil {
		return errReadOnly
	}
	return t.w.table(sharedTable).put([]byte(key), value)
}

// walk goes through the keys that begin so, in their order.
func (t *SharedTx) walk(prefix string, visit func(rest string, value []byte) error) error {
	if t.tx.Bucket(sharedTable) == nil {
		return nil
	}
	c := t.tx.Bucket(sharedTable).Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil; k, v = c.Next() {
		rest, ok := strings.CutPrefix(string(k), prefix)
		if !ok {
			return nil
		}
		value, _, err := unseal(sharedTable, k, v)
		if err != nil {
			return err
		}
		if err := visit(rest, value); err != nil {
			return err
		}
	}
	return nil
}

const (
	markKey       = "applied"
	atPrefix      = "at "
	hitPrefix     = "hit "
	hostPrefix    = "host "
	pendingPrefix = "pending "
)

func encodeNumber(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decodeNumber(v []byte) (uint64, error) {
	switch len(v) {
	case 0:
		return 0, nil
	case 8:
		return binary.BigEndian.Uint64(v), nil
	}
	return 0, fmt.Errorf("%w: a number of the shared log", errRecord)
}

// Applied is the entry of the log that was applied last; the zero value: none.
func (t *SharedTx) Applied() (record.Mark, error) {
	v, err := t.get(markKey)
	if err != nil || v == nil {
		return record.Mark{}, err
	}
	if len(v) < 8 {
		return record.Mark{}, fmt.Errorf("%w: what was applied of the shared log", errRecord)
	}
	return record.Mark{Number: binary.BigEndian.Uint64(v), ID: string(v[8:])}, nil
}

// SetApplied sets what Applied returns.
func (t *SharedTx) SetApplied(m record.Mark) error {
	return t.put(markKey, append(encodeNumber(m.Number), m.ID...))
}

func atKey(bucket, url string) string {
	k := KeyOf(url)
	return atPrefix + bucket + "\x00" + string(k[:])
}

// Record is what was entered of a URL, if anything was, and the number at which its record was
// written.
func (t *SharedTx) Record(bucket, url string) (image record.Image, at uint64, ok bool, err error) {
	tables, err := t.db.tables(bucket)
	if err != nil {
		return image, 0, false, err
	}
	v, err := t.get(atKey(bucket, url))
	if err != nil || v == nil {
		return image, 0, false, err
	}
	if at, err = decodeNumber(v); err != nil {
		return image, 0, false, err
	}
	key := KeyOf(url)
	ref, err := tableOf(t.tx, tables.urls).get(key[:])
	if err != nil || ref == nil {
		return image, 0, false, err
	}
	r, err := findRecord(tableOf(t.tx, tables.images), ref)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w (it has no entry of image %x)", ErrDamaged, ref)
	}
	if err != nil {
		return image, 0, false, err
	}
	return RecordOf(bucket, url, r.Image), at, true, nil
}

// Enter enters an image under its URL, with the number at which its record was written.
func (t *SharedTx) Enter(image record.Image, at uint64) error {
	if t.w == nil {
		return errReadOnly
	}
	if err := t.db.apply(t.w, Change{Bucket: image.Bucket, URL: image.URL, Keep: ImageOf(image)}); err != nil {
		return err
	}
	return t.put(atKey(image.Bucket, image.URL), encodeNumber(at))
}

func hitKey(s record.Subject) string {
	name := s.Name
	switch s.Kind {
	case record.BlockHost:
		return hostPrefix + name
	case record.BlockURL: // which may be long
		k := KeyOf(name)
		name = string(k[:])
	}
	return hitPrefix + s.Kind + " " + s.Bucket + "\x00" + name
}

// Hit is the number of the last entry of the log that hits a subject; 0: none does.
func (t *SharedTx) Hit(s record.Subject) (uint64, error) {
	v, err := t.get(hitKey(s))
	if err != nil {
		return 0, err
	}
	return decodeNumber(v)
}

// SetHit sets what Hit returns, and drops what is entered of a URL or of bytes that are hit.
func (t *SharedTx) SetHit(s record.Subject, n uint64) error {
	if t.w == nil {
		return errReadOnly
	}
	for bucket, tables := range t.db.buckets {
		if s.Bucket != "" && s.Bucket != bucket || s.Kind == record.BlockHost {
			continue
		}
		if err := t.dropHit(tables, s); err != nil {
			return err
		}
	}
	return t.put(hitKey(s), encodeNumber(n))
}

// dropHit drops what is entered of a subject. The files are not the index's to remove: other
// nodes may refer to the original.
func (t *SharedTx) dropHit(tables tables, s record.Subject) (err error) {
	var digest record.Digest
	if s.Kind == record.BlockDigest {
		if digest, err = record.ParseDigest(s.Name); err != nil {
			return err
		}
		err = purge(t.w, tables, Removing{Digest: digest}, false)
	} else {
		key := KeyOf(s.Name)
		ref, findErr := t.w.table(tables.urls).get(key[:])
		if findErr != nil || ref == nil {
			return findErr
		}
		r, findErr := findRecord(t.w.table(tables.images), ref)
		if findErr != nil && !errors.Is(findErr, ErrNotFound) {
			return findErr
		}
		digest = r.Digest
		err = forget(t.w, tables, key[:], false)
	}
	if err != nil {
		return err
	}
	return t.w.table(tables.removing).delete(digest[:])
}

// Blocked tells whether there is a block of just that.
func (t *SharedTx) Blocked(kind, subject string) (bool, error) {
	v, err := tableOf(t.tx, blocksTable).get(blockKey(record.Block{Kind: kind, Subject: subject}))
	return v != nil, err
}

// Block enters a block.
func (t *SharedTx) Block(b record.Block) error {
	if t.w == nil {
		return errReadOnly
	}
	return t.db.apply(t.w, Change{Block: &b})
}

// Unblock takes a block away, and clears the failures that it has caused.
func (t *SharedTx) Unblock(kind, subject string) error {
	if t.w == nil {
		return errReadOnly
	}
	return t.db.apply(t.w, Change{Unblock: &record.Block{Kind: kind, Subject: subject}, ClearClass: record.FailureRemoved})
}

// Pending are the entries whose originals are still to be deleted, in their order.
func (t *SharedTx) Pending() (all []record.Pending, err error) {
	err = t.walk(pendingPrefix, func(_ string, v []byte) error {
		var p record.Pending
		if err := json.Unmarshal(v, &p); err != nil {
			return fmt.Errorf("%w: what is to be deleted: %w", errRecord, err)
		}
		all = append(all, p)
		return nil
	})
	return all, err
}

func pendingKey(n uint64) string { return pendingPrefix + string(encodeNumber(n)) }

// SetPending enters originals that are to be deleted.
func (t *SharedTx) SetPending(p record.Pending) error {
	v, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return t.put(pendingKey(p.Number), v)
}

// ClearPending notes that those of an entry are deleted.
func (t *SharedTx) ClearPending(n uint64) error {
	if t.w == nil {
		return errReadOnly
	}
	return t.w.table(sharedTable).delete([]byte(pendingKey(n)))
}
