package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenFile opens a file of ours for reading, as os.Open does, which asks the
// kernel six times more whether the file is a pipe or a socket. Files that nginx
// does not send are opened for every request.
func OpenFile(path string) (*os.File, error) { return openPlain(path, unix.O_RDONLY, 0) }

func openPlain(path string, flags int, mode uint32) (*os.File, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), path), nil
		case unix.EINTR:
			continue
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
}

// Disk is every change that keeping, making, repairing and removing do to a disk, one call
// a step. Tests have disks that fail, that die at a step, and that forget what
// was not flushed; the real one is OS. Reading is not part of it.
//
// Closing is not either: a file is closed after its flush, or to be thrown away,
// and neither can lose anything.
type Disk interface {
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
	Room(path string) (Room, error)
}

// Room is what is free on a file system for an unprivileged process.
type Room struct {
	Bytes, Inodes uint64
	CountsInodes  bool // false: this file system has as many as fit
}

// OS is the operating system's.
type OS struct{}

func (OS) Mkdir(path string, mode fs.FileMode) error { return os.Mkdir(path, mode) }

func (OS) CreateTemp(dir, pattern string) (*os.File, error) {
	prefix, suffix, _ := strings.Cut(pattern, "*")
	for {
		name := prefix + strconv.FormatUint(rand.Uint64(), 36) + suffix
		f, err := openPlain(filepath.Join(dir, name), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

func (OS) OpenAppend(path string, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, mode)
}

func (OS) Write(f *os.File, p []byte) (int, error) { return f.Write(p) }

func (OS) Truncate(f *os.File, size int64) error { return f.Truncate(size) }

func (OS) Chmod(f *os.File, mode fs.FileMode) error { return f.Chmod(mode) }

func (OS) Sync(f *os.File) error { return f.Sync() }

func (OS) Link(old, path string) error { return os.Link(old, path) }

func (OS) Symlink(target, path string) error { return os.Symlink(target, path) }

func (OS) Rename(old, path string) error { return os.Rename(old, path) }

func (OS) RemoveAll(path string) error { return os.RemoveAll(path) }

func (OS) SyncDir(path string) error {
	d, err := OpenFile(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (OS) Allocate(path string, size int64, mode fs.FileMode) error {
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

func (OS) Room(path string) (Room, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Room{}, fmt.Errorf("statfs %s: %w", path, err)
	}
	return Room{Bytes: st.Bavail * uint64(st.Bsize), Inodes: st.Ffree, CountsInodes: st.Files > 0}, nil
}

// Writer writes to a file of a disk.
type Writer struct {
	Disk Disk
	File *os.File
}

func (w Writer) Write(p []byte) (int, error) { return w.Disk.Write(w.File, p) }
