package bucket

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imgkeep/bucket/record"
)

const (

	// Whoever may enter the store's root, and knows the name of an image, may read
	// it: the web server does, and lists no folder. The journal and the index tell
	// who links what, and are nobody else's.
	dirMode     = 0o711
	imageMode   = 0o444
	privateDir  = 0o700
	privateFile = 0o600
)

// prepare makes the root, its tmp folder, and that of the store's own journal.
func prepare(d disk, root string) error {
	if err := makeRoot(d, root); err != nil {
		return err
	}
	for _, name := range []string{record.TmpDir, record.JournalDir} {
		if err := d.Mkdir(filepath.Join(root, name), privateDir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// makeRoot makes a folder and those above it, where they are missing. Each is
// made when the name of the one above is flushed, and its own name is flushed
// also where it was there: whoever made it may have died before that.
func makeRoot(d disk, root string) error {
	above := filepath.Dir(root)
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		if err := makeRoot(d, above); err != nil {
			return err
		}
		if err := d.Mkdir(root, dirMode); err != nil {
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

// sweep removes what an earlier process left unfinished. Nothing in tmp was ever
// acknowledged.
func sweep(d disk, root string) error {
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

// makeBucket makes a bucket with its folders, all 4,096 of them, or does nothing
// where it is there. The folders are made aside and appear at once, so a crash
// leaves a whole bucket or none. Its own name in the root is the caller's to
// flush.
func makeBucket(d disk, root, name string) error {
	path := filepath.Join(root, name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp := filepath.Join(root, record.TmpDir, name)
	if err := d.RemoveAll(tmp); err != nil {
		return err
	}
	if err := d.Mkdir(tmp, dirMode); err != nil {
		return err
	}
	if err := d.Mkdir(filepath.Join(tmp, record.JournalDir), privateDir); err != nil {
		return err
	}
	for i := range record.ShardNames {
		a := filepath.Join(tmp, record.ShardNames[i:i+1])
		if err := d.Mkdir(a, dirMode); err != nil {
			return err
		}
		for j := range record.ShardNames {
			if err := d.Mkdir(filepath.Join(a, record.ShardNames[j:j+1]), dirMode); err != nil {
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

// place gives a finished temporary file its final name. It flushes the bytes
// before the name appears and the name before it returns, so that what is there
// is whole, and what was answered stays. Where the name is taken by a file of
// the same bytes it is that file, since names are digests; a file of other bytes
// is damaged, and replaced.
//
// The temporary name is gone afterwards, also after an error.
func place(d disk, tmp *os.File, final string) error {
	defer d.RemoveAll(tmp.Name())
	if err := seal(d, tmp); err != nil {
		return err
	}
	err := d.Link(tmp.Name(), final)
	if errors.Is(err, fs.ErrExist) {
		err = nil
		if !sameBytes(tmp, final) {
			err = d.Rename(tmp.Name(), final)
		}
	}
	if err != nil {
		return err
	}
	// Not before it has its name: what lies in tmp for long is taken for left over.
	if info, err := os.Lstat(final); err == nil {
		stamp(final, info)
	}
	// Also where the file was there: whoever made it may not have come to this
	// line yet, and the caller is about to acknowledge it.
	return d.SyncDir(filepath.Dir(final))
}

// replace is place for a file that can be made again: it takes the name over,
// and leaves it to the file system when the name reaches the disk. Its bytes are
// flushed, lest a power cut leave a name without them.
func replace(d disk, tmp *os.File, final string) error {
	defer d.RemoveAll(tmp.Name())
	if err := seal(d, tmp); err != nil {
		return err
	}
	if err := d.Rename(tmp.Name(), final); err != nil {
		return err
	}
	if info, err := os.Lstat(final); err == nil {
		stamp(final, info)
	}
	return nil
}

// seal makes a finished file immutable and flushes it.
func seal(d disk, f *os.File) error {
	if err := d.Chmod(f, imageMode); err != nil {
		return err
	}
	return d.Sync(f)
}

// sameBytes tells whether the file at path is a regular one with the bytes of f.
// One that cannot be read is not.
func sameBytes(f *os.File, path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	other, err := os.Open(path)
	if err != nil {
		return false
	}
	defer other.Close()
	mine, err := f.Stat()
	if err != nil || mine.Size() != info.Size() {
		return false
	}
	a, b := io.NewSectionReader(f, 0, mine.Size()), io.LimitReader(other, mine.Size())
	x, y := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, end := io.ReadFull(a, x)
		m, err := io.ReadFull(b, y)
		if err != end || !bytes.Equal(x[:n], y[:m]) {
			return false
		}
		if end != nil {
			return end == io.EOF || end == io.ErrUnexpectedEOF
		}
	}
}

// noRoom tells whether an error means that the disk, or the quota, is full.
func noRoom(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// openFile opens a file of ours for reading, as os.Open does, which asks the
// kernel six times more whether the file is a pipe or a socket. Files that nginx
// does not send are opened for every request.
func openFile(path string) (*os.File, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), path), nil
		case unix.EINTR:
			continue
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
}
