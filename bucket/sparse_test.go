package bucket

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/record"
)

// sparseDisk is a disk that makes a folder of a bucket when something is put into
// it. To make all 4,096 of them, to look through them and to remove them took more
// time than what the tests are about. Tests of the layout have an osDisk.
type sparseDisk struct{ local.Disk }

// withFolders are options of a store that has all its folders.
func withFolders(o Options) Options {
	o.disk, o.sparse = local.OS{}, false
	return o
}

// sparse are options of a store without the folders that it does not need.
func sparse(o Options) Options {
	if o.sparse = o.disk != (local.OS{}); o.disk == nil {
		o.disk = sparseDisk{local.OS{}}
	}
	return o
}

func (d sparseDisk) Mkdir(path string, mode fs.FileMode) error {
	if isUnfinishedFolder(path) {
		return nil
	}
	return d.Disk.Mkdir(path, mode)
}

func (d sparseDisk) SyncDir(path string) error {
	if isUnfinishedFolder(path) {
		return nil
	}
	return d.Disk.SyncDir(path)
}

func (d sparseDisk) Link(old, path string) error {
	return inFolder(path, func() error { return d.Disk.Link(old, path) })
}

func (d sparseDisk) Symlink(target, path string) error {
	return inFolder(path, func() error { return d.Disk.Symlink(target, path) })
}

func (d sparseDisk) Rename(old, path string) error {
	return inFolder(path, func() error { return d.Disk.Rename(old, path) })
}

// inFolder makes the folder of a path where that is what is missing.
func inFolder(path string, put func() error) error {
	err := put()
	if folder := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && len(filepath.Base(folder)) == 1 {
		if err := os.MkdirAll(folder, local.DirMode); err != nil {
			return err
		}
		return put()
	}
	return err
}

// isUnfinishedFolder tells of tmp/bucket/A and tmp/bucket/A/B.
func isUnfinishedFolder(path string) bool {
	above := filepath.Dir(filepath.Dir(path))
	return len(filepath.Base(path)) == 1 && (filepath.Base(above) == record.TmpDir || filepath.Base(filepath.Dir(above)) == record.TmpDir)
}
