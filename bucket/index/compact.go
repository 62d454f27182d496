package index

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const (
	fileMode = 0o600
	// txBytes is the size of a transaction of a new file, which is in memory until it ends.
	txBytes = 1 << 20
)

// Figures are those of the index' file.
type Figures struct {
	Bytes     int64  `json:"bytes"`      // size of the file
	PageSize  int    `json:"page_size"`  // in bytes
	FreePages int    `json:"free_pages"` // in the file and not in use: about what Compact frees
	Schema    uint64 `json:"schema"`     // version of the layout
}

// Figures returns the file's figures in microseconds: it does not read the file.
func (db *DB) Figures() (Figures, error) {
	db.swap.RLock()
	defer db.swap.RUnlock()
	f := Figures{PageSize: db.bolt.Info().PageSize}
	if err := db.unusable(); err != nil {
		return f, err
	}
	err := db.health.guard(func() error {
		return db.bolt.View(func(tx *bbolt.Tx) (err error) {
			f.Schema, err = parseVersion(tx.Bucket(metaTable).Get(schemaKey))
			return err
		})
	})
	if err != nil {
		return f, err
	}
	stats := db.bolt.Stats()
	f.FreePages = stats.FreePageN + stats.PendingPageN + db.health.unusedPages()
	info, err := os.Stat(db.path)
	if err != nil {
		return f, err
	}
	f.Bytes = info.Size()
	return f, nil
}

// Compact writes the index again, as small as it can be, to a file aside on the same file
// system, and then replaces the old file by it. Meanwhile look-ups continue and Apply waits,
// about a second for a million images. After an error, or a crash at any moment, the old file
// is in its place, unchanged, and the file aside is worthless.
func (db *DB) Compact(aside string) (before, after Figures, err error) {
	db.waitChecked()
	db.change.Lock()
	defer db.change.Unlock()
	if err := db.unusable(); err != nil {
		return before, after, err
	}
	if before, err = db.Figures(); err != nil {
		return before, after, err
	}
	fresh, file, err := db.compacted(aside)
	if err == nil {
		err = db.replace(aside, fresh, file)
	}
	if err != nil {
		return before, after, fmt.Errorf("compact %s: %w", db.path, err)
	}
	after, err = db.Figures()
	return before, after, err
}

// replace puts a file that was written aside, and flushed, in the place of the one in use. It
// owns that file: after an error the file is gone. The caller holds db.change.
func (db *DB) replace(aside string, fresh *bbolt.DB, file *os.File) error {
	next := newDB(db.path, fresh, file, nil, db.options)
	next.buckets = db.buckets
	err := next.begin()
	if err == nil {
		db.swap.Lock()
		defer db.swap.Unlock()
		// The new file has been locked since it was created: no other process can open it
		// first.
		err = os.Rename(aside, db.path)
	}
	if err != nil {
		fresh.Close()
		os.Remove(aside)
		return err
	}
	oldBolt, oldFile, oldHealth := db.bolt, db.file, db.health
	db.bolt, db.file, db.committed, db.health = fresh, file, next.committed, next.health
	db.blocks.Store(next.blocks.Load())
	db.failed.Store(false)
	// If a power cut keeps the new name from the disk, the old file is back, and the
	// journals say what it lacks.
	return errors.Join(oldHealth.close(oldBolt, oldFile), syncDir(filepath.Dir(db.path)))
}

// compacted copies the index to a new file, and flushes it.
func (db *DB) compacted(path string) (*bbolt.DB, *os.File, error) {
	fresh, file, err := create(path)
	if err != nil {
		return nil, nil, err
	}
	db.swap.RLock()
	err = db.health.guard(func() error { return bbolt.Compact(fresh, db.bolt, txBytes) })
	db.swap.RUnlock()
	if err == nil {
		err = flush(fresh)
	}
	if err != nil {
		fresh.Close()
		os.Remove(path)
		return nil, nil, err
	}
	return fresh, file, nil
}

// create creates an empty file for an index that is written without flushes, and flushed
// once at the end.
func create(path string) (*bbolt.DB, *os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	bolt, file, _, err := openBolt(path, Options{}.withDefaults())
	if err != nil {
		return nil, nil, fmt.Errorf("make %s: %w", path, err)
	}
	bolt.NoSync = true
	return bolt, file, nil
}

func flush(bolt *bbolt.DB) error {
	if err := bolt.Sync(); err != nil {
		return err
	}
	bolt.NoSync = false
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lock takes the lock that bbolt takes, without reading the file, which may be damaged. If it
// is missing, lock creates it, empty.
func lock(path string) (_ *os.File, made bool, err error) {
	for range 10 {
		_, err := os.Stat(path)
		made = errors.Is(err, fs.ErrNotExist)
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
		if err != nil {
			return nil, false, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		if err != nil {
			f.Close()
			return nil, false, fmt.Errorf("lock %s: %w", path, err)
		}
		if isAt(f, path) {
			return f, made, nil
		}
		f.Close()
	}
	return nil, false, fmt.Errorf("lock %s: %w: the file keeps being replaced", path, ErrLocked)
}
