package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A removal must be possible on a full disk: it is what makes room, and may be what
// the law asks for. So some room is kept that only removals use.
const (
	// ReserveDir holds it, below the root: a name that no bucket can have.
	ReserveDir = ".reserve"
	// Several files, since each gives back an inode too: a removal may be the first
	// line of a month's journals, and of the audit log.
	ReserveFiles = 8
	// DefaultReserve is enough, in bytes, for the lines of two journals and the audit
	// log, and for the pages of the index that change.
	DefaultReserve = 8 << 20
	// ReservePause is how long the room stays for what removals do besides, such as
	// to note who has asked for them, before it is taken back.
	ReservePause = 10 * time.Second
)

// Reserve is the room that only removals use.
type Reserve struct {
	disk  Disk
	dir   string
	bytes int64 // 0: none is kept
	now   func() time.Time

	mu sync.Mutex
	// spent: removals have used it, and it is to be made again, but not before back.
	spent bool
	back  time.Time
}

// NewReserve is a reserve of so many bytes in a root, which fill makes; 0: none.
func NewReserve(d Disk, root string, bytes int64, now func() time.Time) *Reserve {
	return &Reserve{disk: d, dir: filepath.Join(root, ReserveDir), bytes: bytes, now: now}
}

// Size is how many bytes the reserve has when it is whole.
func (r *Reserve) Size() int64 { return r.bytes }

// Fill makes what is missing of the reserve. Where there is no room for all of it,
// there is none: what is left of a disk that runs full is not taken from others.
func (r *Reserve) Fill() error {
	if r.bytes == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spent = true
	if err := r.disk.Mkdir(r.dir, PrivateDir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	each := r.bytes / ReserveFiles
	for n := range ReserveFiles {
		path := r.file(n)
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() == each {
			continue
		}
		if err := r.disk.Allocate(path, each, PrivateFile); err != nil {
			return errors.Join(err, r.empty())
		}
	}
	r.spent = false
	return nil
}

func (r *Reserve) file(n int) string { return filepath.Join(r.dir, fmt.Sprint(n)) }

// empty gives the room back, with mu held.
func (r *Reserve) empty() error {
	var errs []error
	for n := range ReserveFiles {
		errs = append(errs, r.disk.RemoveAll(r.file(n)))
	}
	return errors.Join(errs...)
}

// Spend gives the room to a removal, if there may be too little besides, or in any
// case. Nothing is kept meanwhile. It tells whether there was any.
func (r *Reserve) Spend(always bool) (spent bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes == 0 || r.spent {
		return false, nil
	}
	free, err := r.disk.Room(filepath.Dir(r.dir))
	if err != nil {
		return false, err
	}
	if !always && free.Bytes >= uint64(r.bytes) && (!free.CountsInodes || free.Inodes >= ReserveFiles) {
		return false, nil
	}
	r.spent, r.back = true, r.now().Add(ReservePause)
	return true, r.empty()
}

// Restored makes the reserve again if it has been spent, and tells whether it is
// whole: until then nothing new is kept, or that would use it up.
func (r *Reserve) Restored() bool {
	r.mu.Lock()
	spent, early := r.spent, r.now().Before(r.back)
	r.mu.Unlock()
	return !spent || !early && r.Fill() == nil
}
