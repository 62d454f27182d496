package reindex

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/record"
)

// Index is the index of a store that is opened, and made from the journals where need be.
type Index struct {
	Root    string
	Buckets []string
	Files   blob.Store // where originals lie
	Disk    local.Disk
	Options index.Options
	Log     *slog.Logger
}

func (x Index) path() string { return filepath.Join(x.Root, record.IndexFile) }

// aside is where another index is made.
func (x Index) aside() string { return filepath.Join(x.Root, record.TmpDir, "refit.db") }

// Open opens the index. One that is missing is made from the journals, and so is one of an
// older layout. One that is damaged is an error.
func (x Index) Open() (*index.DB, error) {
	why := ""
	info, err := os.Stat(x.path())
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		journaled, err := journal.HasLines(x.Root)
		if err != nil {
			return nil, err
		}
		if journaled {
			why = "is missing"
		}
	}
	if why == "" {
		db, err := index.Open(x.path(), x.Buckets, x.Options)
		if !errors.Is(err, index.ErrOldSchema) {
			return db, err
		}
		why = "is of an older layout"
	}
	x.Log.Warn("the index "+why+": making it again from the journals", "root", x.Root)
	report, err := x.run("")
	if err != nil {
		return nil, fmt.Errorf("the index %s, and cannot be rebuilt: %w", why, err)
	}
	x.Log.Info("the index was made again", "urls", report.URLs, "images", report.Images, "blocks", report.Blocks, "seconds", report.Seconds)
	return index.Open(x.path(), x.Buckets, x.Options)
}

func (x Index) run(path string) (Report, error) {
	return Run(context.Background(), Options{Root: x.Root, Files: x.Files, Path: path, Found: func(f record.Finding) {
		x.Log.Warn("reindex found", "kind", f.Kind, "path", f.Path, "detail", f.Detail)
	}})
}

// Renew rebuilds a damaged index that is open. Nobody may write to the journals meanwhile. It
// cannot restore recorded failures.
func (x Index) Renew(db *index.DB) error {
	x.Log.Error("the index is damaged: making it again from the journals; nothing is answered meanwhile", "root", x.Root)
	report, err := x.run(x.aside())
	if err == nil {
		err = db.Adopt(x.aside())
	}
	if err != nil {
		return fmt.Errorf("the index is damaged, and cannot be rebuilt: %w", err)
	}
	x.Log.Warn("the index was damaged, and was made again", "urls", report.URLs, "images", report.Images, "blocks", report.Blocks, "seconds", report.Seconds)
	return nil
}

// Refit rebuilds an index that does not fit the journals, if they have everything that it has:
// somebody has repaired a journal, or restored one. Otherwise the error wraps why, and an operator
// must decide which of the two is right. It returns the index that is open afterwards.
func (x Index) Refit(db *index.DB, why error) (*index.DB, error) {
	x.Log.Warn("making the index again from the journals", "error", why)
	if _, err := x.run(x.aside()); err != nil {
		return db, errors.Join(why, err)
	}
	fresh, err := index.Open(x.aside(), x.Buckets, x.Options)
	if err != nil {
		return db, err
	}
	lacks := 0
	for _, name := range x.Buckets {
		for l, err := range db.URLs(name) {
			if _, missing := fresh.RefOf(name, l.Key); err != nil || errors.Is(missing, index.ErrNotFound) {
				lacks++
			}
		}
	}
	for b, err := range db.Blocks() {
		if _, missing := fresh.Block(b.Kind, b.Subject); err != nil || errors.Is(missing, index.ErrNotFound) {
			lacks++
		}
	}
	if err := fresh.Close(); err != nil {
		return db, err
	}
	if lacks > 0 {
		os.Remove(x.aside())
		return db, fmt.Errorf("%w; it has %d URLs or blocks that the journals do not have", why, lacks)
	}
	if err := errors.Join(db.Close(), os.Rename(x.aside(), x.path()), x.Disk.SyncDir(x.Root)); err != nil {
		return db, err
	}
	renewed, err := index.Open(x.path(), x.Buckets, x.Options)
	if err != nil {
		return db, err
	}
	return renewed, nil
}
