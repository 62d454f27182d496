package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"imgkeep/bucket/index/pages"
)

// To check a file takes seconds for ten million images, and a server should answer before. So
// Open checks the large tables of a large file only after it has returned, and until then:
//
//   - What is blocked, being removed or counted for a site, how far into the journals the
//     index goes, and the list of free pages are checked before, and so is each record that
//     is read, by its checksum. An answer is what was once written.
//   - Nobody is told that something is not in the index before the check has ended: the
//     record may have vanished. Such a look-up waits.
//   - Changes are made. If the file is damaged, they are lost with it, and the journals have
//     them.
//   - bbolt knows of no free page, since to find them it would read the whole file: the file
//     grows by as many pages as it has free ones at a start. When these are a quarter of it,
//     it is written again.
//   - What bbolt makes of a damaged page, and a read that the disk fails, which the system
//     turns into a signal, is ErrDamaged.
//
// Where damage is found, then or later, all calls return ErrDamaged until Adopt has replaced
// the file.

// DefaultCheckFirst is the largest file, in bytes, that Open checks completely before it
// returns, unless Options.CheckFirst says otherwise: a few tenths of a second.
const DefaultCheckFirst = 128 << 20

// isLarge tells whether a table grows with the store.
func isLarge(name []byte) bool {
	for _, suffix := range []string{"/urls", "/images", "/failures"} {
		if bytes.HasSuffix(name, []byte(suffix)) {
			return true
		}
	}
	return bytes.Equal(name, sharedTable)
}

// health says whether a file is, or was found to be, damaged.
type health struct {
	mu      sync.Mutex
	err     error         // ErrDamaged, of the whole file; nil: none is known
	stuck   bool          // bbolt's locks may be locked for good
	unused  int           // pages that bbolt takes for used, as far as is known
	damaged chan struct{} // closed with err
	checked chan struct{} // closed when the check has ended
	closing chan struct{} // closed to end it
	ended   chan struct{} // closed when what follows it has ended too
}

func newHealth() *health {
	return &health{damaged: make(chan struct{}), checked: make(chan struct{}), closing: make(chan struct{}), ended: make(chan struct{})}
}

// soundHealth is that of a file which was checked.
func soundHealth() *health {
	h := newHealth()
	close(h.checked)
	close(h.ended)
	return h
}

func (h *health) damage() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

func (h *health) unusedPages() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unused
}

func (h *health) setDamaged(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
		close(h.damaged)
	}
}

func (h *health) stopped() bool {
	select {
	case <-h.closing:
		return true
	default:
		return false
	}
}

// end ends the check and what follows it, and waits for that.
func (h *health) end() {
	h.mu.Lock()
	if !h.stopped() {
		close(h.closing)
	}
	h.mu.Unlock()
	<-h.ended
}

// snapshot is a state of the file of which no page is used again before it is given up.
type snapshot struct {
	tx   *bbolt.Tx
	file *os.File
	meta meta
	size int64
}

// takeSnapshot takes one while nobody changes the file.
func takeSnapshot(bolt *bbolt.DB, file *os.File) (*snapshot, error) {
	tx, err := bolt.Begin(false)
	if err != nil {
		return nil, err
	}
	s := &snapshot{tx: tx, file: file}
	info, err := file.Stat()
	if err == nil {
		var ok bool
		s.size = info.Size()
		if s.meta, ok = newestMeta(file); !ok || s.meta.tx != uint64(tx.ID()) {
			err = fmt.Errorf("%w (its last transaction is gone)", ErrDamaged)
		}
	}
	if err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return s, nil
}

// check checks a state of the file, and then forgets failures that Open would have forgotten.
func (db *DB) check(s *snapshot, h *health) {
	unused, err := verifyAt(s.file, s.meta, s.size, false, h.stopped)
	err = errors.Join(err, s.tx.Rollback())
	if err != nil && !errors.Is(err, errStopped) {
		h.setDamaged(err)
	}
	h.mu.Lock()
	h.unused = unused
	h.mu.Unlock()
	close(h.checked)
	defer close(h.ended)
	if err != nil {
		return
	}
	_ = db.dropStale() // which each new failure does, too
	if !h.stopped() && db.options.Aside != "" && uint64(unused) > s.meta.pages/4 {
		_, _, _ = db.Compact(db.options.Aside) // the next start tries again
	}
}

// forgetFree has bbolt take all free pages for used: it adds an empty list of them to a file
// that has none, as a transaction does.
func forgetFree(f *os.File) error {
	m, ok := newestMeta(f)
	if !ok {
		return ErrDamaged
	}
	native := binary.NativeEndian
	list := make([]byte, m.pageSize)
	native.PutUint64(list, m.pages)
	native.PutUint16(list[8:], freePage)
	if _, err := f.WriteAt(list, int64(m.pages)*int64(m.pageSize)); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return err
	}
	native.PutUint64(m.bytes[32:], m.pages)
	native.PutUint64(m.bytes[40:], m.pages+1)
	native.PutUint64(m.bytes[48:], m.tx+1)
	native.PutUint64(m.bytes[metaSum:], m.sum())
	page := make([]byte, pages.HeaderSize, pages.HeaderSize+len(m.bytes))
	slot := (m.tx + 1) % 2
	native.PutUint64(page, slot)
	native.PutUint16(page[8:], metaPage)
	if _, err := f.WriteAt(append(page, m.bytes[:]...), int64(slot)*int64(m.pageSize)); err != nil {
		return err
	}
	return unix.Fdatasync(int(f.Fd()))
}

// waitChecked waits until the check has ended.
func (db *DB) waitChecked() {
	db.swap.RLock()
	checked := db.health.checked
	db.swap.RUnlock()
	<-checked
}

// Damaged returns a channel that is closed when the file is found to be damaged. It is another
// one after Adopt.
func (db *DB) Damaged() <-chan struct{} {
	db.swap.RLock()
	defer db.swap.RUnlock()
	return db.health.damaged
}

// lookUp is view for what may be missing.
func (db *DB) lookUp(read func(*bbolt.Tx) error) error {
	err := db.view(read)
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	db.waitChecked()
	return db.view(read)
}

// guard calls what uses bbolt. It turns a panic, and a fault of mapped memory, into damage of
// the file.
func (h *health) guard(use func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w (%v)", ErrDamaged, p)
			h.setDamaged(err)
			h.mu.Lock()
			h.stuck = true
			h.mu.Unlock()
		}
	}()
	return use()
}

// update is Update of bbolt, but for a panic, after which it leaves the transaction as it is:
// to end it, bbolt would read all pages in a goroutine where nobody can recover.
func update(bolt *bbolt.DB, change func(*bbolt.Tx) error) error {
	tx, err := bolt.Begin(true)
	if err != nil {
		return err
	}
	if err := change(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

// close closes a file. One that bbolt has panicked at may have left its locks locked.
func (h *health) close(bolt *bbolt.DB, file *os.File) error {
	h.mu.Lock()
	stuck := h.stuck
	h.mu.Unlock()
	if stuck {
		// Its memory stays mapped, by which the system would keep the lock.
		return errors.Join(unix.Flock(int(file.Fd()), unix.LOCK_UN), file.Close())
	}
	return bolt.Close()
}
