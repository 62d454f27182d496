package bucket

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"imgkeep/bucket/index"
)

// disk is every change that keeping, making, healing and removing do to a disk, one call
// a step. Tests have disks that fail, that die at a step, and that forget what
// was not flushed; the real one is osDisk. Reading is not part of it.
//
// Closing is not either: a file is closed after its flush, or to be thrown away,
// and neither can lose anything.
type disk interface {
	// Mkdir makes a folder.
	Mkdir(path string, mode fs.FileMode) error
	// CreateTemp makes a file of a new name, as os.CreateTemp.
	CreateTemp(dir, pattern string) (*os.File, error)
	// OpenAppend opens a file for appending and reading, and makes it where
	// there is none.
	OpenAppend(path string, mode fs.FileMode) (*os.File, error)

	Write(f *os.File, p []byte) (int, error)
	Truncate(f *os.File, size int64) error
	Chmod(f *os.File, mode fs.FileMode) error
	// Sync flushes the bytes of a file.
	Sync(f *os.File) error

	Link(old, path string) error
	Symlink(target, path string) error
	Rename(old, path string) error
	RemoveAll(path string) error
	// SyncDir flushes the names in a folder.
	SyncDir(path string) error

	// Allocate makes a file of so many bytes, for which there is room on the disk, or
	// leaves none.
	Allocate(path string, size int64, mode fs.FileMode) error

	// Room tells what is free.
	Room(path string) (room, error)
	// Commit applies changes to the index, which flushes them itself.
	Commit(db *index.DB, changes []index.Change) error
}

// room is what is free on a file system for an unprivileged process.
type room struct {
	bytes, inodes uint64
	countsInodes  bool // false: this file system has as many as fit
}

// osDisk is the operating system's.
type osDisk struct{}

func (osDisk) Mkdir(path string, mode fs.FileMode) error { return os.Mkdir(path, mode) }

func (osDisk) CreateTemp(dir, pattern string) (*os.File, error) { return os.CreateTemp(dir, pattern) }

func (osDisk) OpenAppend(path string, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, mode)
}

func (osDisk) Write(f *os.File, p []byte) (int, error)  { return f.Write(p) }
func (osDisk) Truncate(f *os.File, size int64) error    { return f.Truncate(size) }
func (osDisk) Chmod(f *os.File, mode fs.FileMode) error { return f.Chmod(mode) }
func (osDisk) Sync(f *os.File) error                    { return f.Sync() }

func (osDisk) Link(old, path string) error       { return os.Link(old, path) }
func (osDisk) Symlink(target, path string) error { return os.Symlink(target, path) }
func (osDisk) Rename(old, path string) error     { return os.Rename(old, path) }
func (osDisk) RemoveAll(path string) error       { return os.RemoveAll(path) }

func (osDisk) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (osDisk) Allocate(path string, size int64, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) { // then in the way that all have
		_, err = io.CopyN(f, zeros{}, size)
	}
	if err != nil {
		return errors.Join(&fs.PathError{Op: "allocate", Path: path, Err: err}, os.Remove(path))
	}
	return nil
}

// zeros are bytes without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func (osDisk) Room(path string) (room, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return room{}, fmt.Errorf("statfs %s: %w", path, err)
	}
	return room{bytes: st.Bavail * uint64(st.Bsize), inodes: st.Ffree, countsInodes: st.Files > 0}, nil
}

func (osDisk) Commit(db *index.DB, changes []index.Change) error { return db.Apply(changes) }

// diskWriter writes to a file of a disk.
type diskWriter struct {
	disk disk
	file *os.File
}

func (w diskWriter) Write(p []byte) (int, error) { return w.disk.Write(w.file, p) }
