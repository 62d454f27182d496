package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"imgkeep/bucket/blob/local"
)

// Source is what a folder is a backup of, if that is no root.
type Source struct {
	Name string `json:"name"` // that tells it from others
	// Log and ID are the number and the id of the last removal that the backup knows; 0: it
	// knows none.
	Log uint64 `json:"log,omitempty"`
	ID  string `json:"id,omitempty"`
}

// Folder is a folder to which something else than Run makes a backup, which owes it what Run
// promises: that journals name only files that are there.
type Folder struct {
	// Last is the source when a backup to it has ended last; the zero value: none has.
	Last Source
	t    *transfer
}

// errOther: a backup is of something else.
func errOther(dir string, is, want Source) error {
	name := func(s Source) string {
		if s == (Source{}) {
			return "the store of one machine"
		}
		return s.Name
	}
	return fmt.Errorf("%s is the backup of %s, and not of %s: use a new folder", dir, name(is), name(want))
}

// OpenFolder opens a folder for a backup of a source, makes it if it is missing, marks it as
// unfinished and locks it. ErrNotBackup, and an error where it is the backup of another one.
func OpenFolder(o Options, of Source) (*Folder, error) {
	if err := os.MkdirAll(o.Dir, local.PrivateDir); err != nil {
		return nil, err
	}
	if err := isBackup(o.Dir); err != nil {
		return nil, err
	}
	last, whole, err := readManifest(o.Dir)
	if err != nil {
		return nil, err
	}
	if whole && last.Of.Name != of.Name {
		return nil, errOther(o.Dir, last.Of, of)
	}
	t, err := newTransfer(o, "", o.Dir, BackupUnfinished)
	if err != nil {
		return nil, err
	}
	return &Folder{last.Of, t}, nil
}

// readManifest reads the one of the last backup that has ended; not whole: none has.
func readManifest(dir string) (m manifest, whole bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return m, false, fmt.Errorf("read %s: %w", filepath.Join(dir, manifestFile), err)
	}
	return m, true, nil
}

// End notes that a backup has ended, with all that its journals name, of so many images and
// bytes. It returns r with its time.
func (f *Folder) End(of Source, r Report, bytes int64) (Report, error) {
	f.t.of, f.t.report, f.t.bytes = of, r, bytes
	err := errors.Join(local.SyncAll(f.t.to), f.t.writeManifest())
	f.t.whole = err == nil
	return f.t.report, err
}

// Close releases the folder, which stays marked unless End has succeeded.
func (f *Folder) Close() error { return f.t.unlock(f.t.whole) }
