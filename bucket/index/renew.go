package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"imgkeep/bucket/index/pages"
)

// bbolt writes a transaction's pages, flushes them, and then writes and flushes its meta
// page. If the last flush fails, the page is in the system's memory and can be read, and
// the system considers it written from then on, whether it is or not. bbolt would continue:
// it would answer from that transaction, and the next one would reuse pages that the last
// transaction on disk still needs. So after such a failure nothing is answered until the
// last transaction that is known to be on disk has been copied to a new file.

// unchanged tells whether a failed commit has left the file unchanged for readers: a full
// disk, which is no reason to distrust the file, refuses a page before the meta page is
// written.
func (db *DB) unchanged(err error) bool {
	var write *fs.PathError
	full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
	if !full || !errors.As(err, &write) {
		return false
	}
	m, ok := newestMeta(db.file)
	return ok && m.tx == uint64(db.committed)
}

// Failed tells whether the index answers nothing because of ErrFailed or, of the whole file,
// ErrDamaged.
func (db *DB) Failed() bool {
	db.swap.RLock()
	defer db.swap.RUnlock()
	return db.unusable() != nil
}

// Adopt replaces the index by a file on the same file system, which Rebuild has made, and
// which it checks: whatever was wrong with the old one, is not any more. After an error the
// old one stays.
func (db *DB) Adopt(aside string) error {
	db.change.Lock()
	defer db.change.Unlock()
	<-db.health.checked
	return db.adopt(aside)
}

func (db *DB) adopt(aside string) error {
	o := db.options
	o.CheckFirst = math.MaxInt64
	fresh, file, _, err := openBolt(aside, o)
	if err != nil {
		return err
	}
	return db.replace(aside, fresh, file)
}

// Renew repairs a failed index: it writes what is known to be on disk, which is everything
// that Apply has acknowledged, to a new file on the same file system, and then replaces the
// old one. It takes about as long as copying the file. After an error the index still
// answers nothing, and Renew may be called again. It does nothing if the index has not
// failed.
func (db *DB) Renew(aside string) error {
	db.change.Lock()
	defer db.change.Unlock()
	if !db.failed.Load() {
		return nil
	}
	<-db.health.checked // which holds a transaction
	err := copyCommitted(aside, db.file, uint64(db.committed))
	if err == nil {
		err = db.adopt(aside)
	}
	if err != nil {
		if db.failed.Load() {
			os.Remove(aside)
		}
		return fmt.Errorf("rewrite %s: %w", db.path, err)
	}
	return nil
}

// copyCommitted copies a file in its state after a transaction, and flushes the copy. No
// later transaction has touched the pages of that one, since at most one has begun.
func copyCommitted(aside string, f *os.File, tx uint64) (err error) {
	var last *meta
	for _, m := range metas(f) {
		if m.tx == tx {
			last = &m
		}
	}
	if last == nil {
		return fmt.Errorf("%w (its last transaction is gone)", ErrDamaged)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(aside, os.O_CREATE|os.O_TRUNC|os.O_RDWR, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, io.NewSectionReader(f, 0, info.Size())); err != nil {
		return err
	}
	// Both metas, each in its place, lead to the same pages.
	for n := range uint64(2) {
		m := *last
		if m.tx = tx; n != tx%2 {
			m.tx = tx - 1
		}
		binary.NativeEndian.PutUint64(m.bytes[48:], m.tx)
		binary.NativeEndian.PutUint64(m.bytes[metaSum:], m.sum())
		if _, err := out.WriteAt(m.bytes[:], int64(n)*int64(m.pageSize)+pages.HeaderSize); err != nil {
			return err
		}
	}
	return out.Sync()
}

// flushMeta makes sure that the transaction which a file shows is on disk before another
// builds on it: a process that was killed, or whose flush has failed, may have left its
// meta page only in the system's memory. It writes the page again, since the system may
// consider it written.
func flushMeta(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	for _, m := range metas(f) {
		if _, err := f.WriteAt(m.bytes[:], int64(m.tx%2)*int64(m.pageSize)+pages.HeaderSize); err != nil {
			return err
		}
	}
	return unix.Fdatasync(int(f.Fd()))
}
