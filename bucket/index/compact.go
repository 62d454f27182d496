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
	// txBytes is how much goes into one transaction of a new file: it is in
	// memory until then.
	txBytes = 16 << 20
)

// Figures say how the index lies on disk.
type Figures struct {
	Bytes     int64  `json:"bytes"`      // size of the file
	PageSize  int    `json:"page_size"`  // in bytes
	FreePages int    `json:"free_pages"` // in the file and not in use: what Compact would give back, and a little more
	Schema    uint64 `json:"schema"`     // version of the layout
}

// Figures returns them without walking the file: microseconds.
func (db *DB) Figures() (Figures, error) {
	db.swap.RLock()
	defer db.swap.RUnlock()
	f := Figures{PageSize: db.bolt.Info().PageSize}
	err := db.bolt.View(func(tx *bbolt.Tx) (err error) {
		f.Schema, err = parseVersion(tx.Bucket(metaTable).Get(schemaKey))
		return err
	})
	if err != nil {
		return f, err
	}
	stats := db.bolt.Stats()
	f.FreePages = stats.FreePageN + stats.PendingPageN
	info, err := os.Stat(db.path)
	if err != nil {
		return f, err
	}
	f.Bytes = info.Size()
	return f, nil
}

// Compact writes the index anew, as small as it can be, into a file aside on the
// same file system, which then takes the place of the old one. Look-ups go on
// meanwhile, Apply waits: about a second for a million images. After an error,
// or a crash at any instant, the old file is in its place, unchanged; what then
// lies aside is worthless.
func (db *DB) Compact(aside string) (before, after Figures, err error) {
	db.change.Lock()
	defer db.change.Unlock()
	if before, err = db.Figures(); err != nil {
		return before, after, err
	}
	fresh, err := db.compacted(aside)
	if err != nil {
		os.Remove(aside)
		return before, after, fmt.Errorf("compact %s: %w", db.path, err)
	}
	db.swap.Lock()
	// The new file is locked since it was made: no other process can come
	// between.
	if err := os.Rename(aside, db.path); err != nil {
		db.swap.Unlock()
		fresh.Close()
		os.Remove(aside)
		return before, after, fmt.Errorf("compact %s: %w", db.path, err)
	}
	old := db.bolt
	db.bolt = fresh
	db.swap.Unlock()
	if err := errors.Join(old.Close(), syncDir(filepath.Dir(db.path))); err != nil {
		return before, after, fmt.Errorf("compact %s: a power cut may bring back the old file, without what is kept from now on; 'imgkeep reindex' would mend that: %w", db.path, err)
	}
	after, err = db.Figures()
	return before, after, err
}

// compacted copies the index to a new file, and flushes it.
func (db *DB) compacted(path string) (*bbolt.DB, error) {
	fresh, err := create(path)
	if err != nil {
		return nil, err
	}
	db.swap.RLock()
	err = bbolt.Compact(fresh, db.bolt, txBytes)
	db.swap.RUnlock()
	if err == nil {
		err = flush(fresh)
	}
	if err != nil {
		fresh.Close()
		return nil, err
	}
	return fresh, nil
}

// create makes an empty file for an index that is written without flushes and
// flushed once at its end.
func create(path string) (*bbolt.DB, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	o := Options{}.withDefaults()
	bolt, err := openBolt(path, o)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	bolt.NoSync = true
	return bolt, nil
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

// lock takes the lock that bbolt takes, without looking at what the file holds:
// it may be damaged, or missing, and is then made, empty.
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
	return nil, false, fmt.Errorf("lock %s: %w: it is replaced all the time", path, ErrLocked)
}
