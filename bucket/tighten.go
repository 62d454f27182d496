package bucket

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"imgkeep/bucket/record"
)

// tighten takes from folders and files what earlier releases, or somebody's umask,
// let others have of them. It gives nobody more than they had. What belongs to
// another user it can only tell of.
func (s *Store) tighten(names []string) error {
	var errs []error
	limit := func(path string, mode fs.FileMode) {
		info, err := os.Lstat(path)
		if err == nil && (info.IsDir() || info.Mode().IsRegular()) && info.Mode().Perm()&^mode != 0 {
			err = os.Chmod(path, info.Mode().Perm()&mode)
		}
		switch {
		case errors.Is(err, fs.ErrPermission):
			s.log.Warn("others may do more with this than they should, and it is not ours to change", "path", path, "mode", info.Mode().Perm(), "want", mode)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, err)
		}
	}
	journals := []string{filepath.Join(s.root, record.JournalDir)}
	for _, name := range names {
		bucket := filepath.Join(s.root, name)
		journals = append(journals, filepath.Join(bucket, record.JournalDir))
		// A bucket's own folder comes after those in it, so that it tells whether
		// they need to be looked at.
		if info, err := os.Stat(bucket); err != nil || info.Mode().Perm()&^dirMode == 0 {
			continue
		}
		for i := range record.ShardNames {
			a := filepath.Join(bucket, record.ShardNames[i:i+1])
			for j := range record.ShardNames {
				limit(filepath.Join(a, record.ShardNames[j:j+1]), dirMode)
			}
			limit(a, dirMode)
		}
		limit(bucket, dirMode)
	}
	for _, dir := range journals {
		limit(dir, privateDir)
		months, err := filepath.Glob(filepath.Join(dir, "*"+journalExt))
		errs = append(errs, err)
		for _, month := range months {
			limit(month, privateFile)
		}
	}
	limit(filepath.Join(s.root, record.IndexFile), privateFile)
	limit(filepath.Join(s.root, record.TmpDir), privateDir)
	limit(filepath.Join(s.root, record.QuarantineDir), privateDir)
	limit(s.root, dirMode)
	return errors.Join(errs...)
}
