package local

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"imgkeep/bucket/record"
)

// Modes of folders and files. Permission is given to nobody else later.
const (
	// A user who may enter the store's root, and knows the name of an image, may read
	// it: the web server does, and lists no folder. The journal and the index tell
	// who links what, and are nobody else's.
	DirMode     = 0o711
	ImageMode   = 0o444
	PrivateDir  = 0o700
	PrivateFile = 0o600
)

// Prepare makes the root, its tmp folder, and that of the store's own journal.
func Prepare(d Disk, root string) error {
	if err := makeRoot(d, root); err != nil {
		return err
	}
	for _, name := range []string{record.TmpDir, record.JournalDir} {
		if err := d.Mkdir(filepath.Join(root, name), PrivateDir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// makeRoot makes a folder and those above it, where they are missing. Each is
// made when the name of the one above is flushed, and its own name is flushed
// also where it was there: the process that made it may have died before that.
func makeRoot(d Disk, root string) error {
	above := filepath.Dir(root)
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		if err := makeRoot(d, above); err != nil {
			return err
		}
		if err := d.Mkdir(root, DirMode); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	// Where we may not read the folder above, we have made nothing in it.
	if err := d.SyncDir(above); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// Sweep removes what an earlier process left unfinished. Nothing in tmp was ever
// acknowledged.
func Sweep(d Disk, root string) error {
	tmp := filepath.Join(root, record.TmpDir)
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := d.RemoveAll(filepath.Join(tmp, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// MakeBucket makes a bucket with its folders, all 4,096 of them, or does nothing
// where it is there. The folders are made aside and appear at once, so a crash
// leaves a whole bucket or none. Its own name in the root is the caller's to
// flush.
func MakeBucket(d Disk, root, name string) error {
	path := filepath.Join(root, name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp := filepath.Join(root, record.TmpDir, name)
	if err := d.RemoveAll(tmp); err != nil {
		return err
	}
	if err := d.Mkdir(tmp, DirMode); err != nil {
		return err
	}
	if err := d.Mkdir(filepath.Join(tmp, record.JournalDir), PrivateDir); err != nil {
		return err
	}
	for i := range record.ShardNames {
		a := filepath.Join(tmp, record.ShardNames[i:i+1])
		if err := d.Mkdir(a, DirMode); err != nil {
			return err
		}
		for j := range record.ShardNames {
			if err := d.Mkdir(filepath.Join(a, record.ShardNames[j:j+1]), DirMode); err != nil {
				return err
			}
		}
		if err := d.SyncDir(a); err != nil {
			return err
		}
	}
	if err := d.SyncDir(tmp); err != nil {
		return err
	}
	return d.Rename(tmp, path)
}

// Quarantine moves what lies at a path below the root into a folder of the
// quarantine, under its path.
func Quarantine(d Disk, root, folder, path string) error {
	target := filepath.Join(root, folder, path)
	// A user who may read images need not read what was taken out of their midst.
	if err := d.Mkdir(filepath.Join(root, record.QuarantineDir), PrivateDir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := makeRoot(d, filepath.Dir(target)); err != nil {
		return err
	}
	if err := d.Rename(filepath.Join(root, path), target); err != nil {
		return err
	}
	return d.SyncDir(filepath.Dir(target))
}

// Tighten takes from folders and files what earlier releases, or somebody's umask,
// let others have of them. It gives nobody more than they had. What belongs to
// another user it can only tell of.
func Tighten(root string, names []string, log *slog.Logger) error {
	var errs []error
	limit := func(path string, mode fs.FileMode) {
		info, err := os.Lstat(path)
		if err == nil && (info.IsDir() || info.Mode().IsRegular()) && info.Mode().Perm()&^mode != 0 {
			err = os.Chmod(path, info.Mode().Perm()&mode)
		}
		switch {
		case errors.Is(err, fs.ErrPermission):
			log.Warn("others may do more with this than they should, and it is not ours to change", "path", path, "mode", info.Mode().Perm(), "want", mode)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, err)
		}
	}
	journals := []string{filepath.Join(root, record.JournalDir)}
	for _, name := range names {
		bucket := filepath.Join(root, name)
		journals = append(journals, filepath.Join(bucket, record.JournalDir))
		// A bucket's own folder comes after those in it, so that it tells whether
		// they need to be looked at.
		if info, err := os.Stat(bucket); err != nil || info.Mode().Perm()&^DirMode == 0 {
			continue
		}
		for i := range record.ShardNames {
			a := filepath.Join(bucket, record.ShardNames[i:i+1])
			for j := range record.ShardNames {
				limit(filepath.Join(a, record.ShardNames[j:j+1]), DirMode)
			}
			limit(a, DirMode)
		}
		limit(bucket, DirMode)
	}
	for _, dir := range journals {
		limit(dir, PrivateDir)
		months, err := filepath.Glob(filepath.Join(dir, "*"+record.JournalExt))
		errs = append(errs, err)
		for _, month := range months {
			limit(month, PrivateFile)
		}
	}
	limit(filepath.Join(root, record.IndexFile), PrivateFile)
	limit(filepath.Join(root, record.TmpDir), PrivateDir)
	limit(filepath.Join(root, record.QuarantineDir), PrivateDir)
	limit(root, DirMode)
	return errors.Join(errs...)
}
