package local

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/record"
)

// WriteFile makes a small file, or replaces it, durably: a crash leaves it or what was
// there. It is written in the folder tmp, and nobody else may read it.
func WriteFile(d Disk, tmp, path string, text []byte) error {
	return ReplaceFile(d, tmp, path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// ReplaceFile is WriteFile for what write writes.
func ReplaceFile(d Disk, tmp, path string, write func(io.Writer) error) error {
	f, err := d.CreateTemp(tmp, filepath.Base(path)+"-*") // of mode 0600
	if err != nil {
		return err
	}
	defer d.RemoveAll(f.Name())
	err = write(Writer{d, f})
	if err == nil {
		err = d.Sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.Rename(f.Name(), path); err != nil {
		return err
	}
	return d.SyncDir(filepath.Dir(path))
}

// HashFile reads a file, from the disk rather than from memory where cold is set
// and the system obliges.
func HashFile(path string, cold bool) (record.Digest, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return record.Digest{}, 0, err
	}
	defer f.Close()
	if cold {
		unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // a hint
	}
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	return record.Digest(hash.Sum(nil)), n, err
}

// SyncAll flushes the whole file system that a folder is on.
func SyncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("flush %s: %w", dir, err)
	}
	return nil
}

// AsFull turns the system's word for a full disk into ErrFull, which says what to
// tell a viewer.
func AsFull(err error) error {
	if NoRoom(err) {
		return fmt.Errorf("%w: %w", blob.ErrFull, err)
	}
	return err
}

// place gives a finished temporary file its final name. It flushes the bytes
// before the name appears and the name before it returns, so that what is there
// is whole, and what was answered stays. Where the name is taken by a file of
// the same bytes it is that file, since names are digests; a file of other bytes
// is damaged, and replaced.
//
// The temporary name, which may be there or not afterwards, is the caller's to remove.
func place(d Disk, tmp *os.File, final string) error {
	if err := seal(d, tmp); err != nil {
		return err
	}
	err := d.Link(tmp.Name(), final)
	there := errors.Is(err, fs.ErrExist)
	if there {
		err = nil
		if !sameBytes(tmp, final) {
			err = d.Rename(tmp.Name(), final)
			there = false
		}
	}
	if err != nil {
		return err
	}
	// Not before it has its name: what lies in tmp for long is taken for left over.
	if !there {
		at := record.ModTimeOf(final)
		_ = os.Chtimes(final, at, at) // see Stamp, which looks for links first
	} else if info, err := os.Lstat(final); err == nil {
		Stamp(final, info)
	}
	// Also where the file was there: the process that made it may not have come to this
	// line yet, and the caller is about to acknowledge it.
	return d.SyncDir(filepath.Dir(final))
}

// Replace is place for a file that can be made again: it takes the name over,
// and leaves it to the file system when the name reaches the disk. Its bytes are
// flushed, so that no power cut leaves a name without them. The temporary name is gone
// afterwards, also after an error.
func Replace(d Disk, tmp *os.File, final string) error {
	defer d.RemoveAll(tmp.Name())
	if err := seal(d, tmp); err != nil {
		return err
	}
	if err := d.Rename(tmp.Name(), final); err != nil {
		return err
	}
	if info, err := os.Lstat(final); err == nil {
		Stamp(final, info)
	}
	return nil
}

// seal makes a finished file immutable and flushes it.
func seal(d Disk, f *os.File) error {
	if err := d.Chmod(f, ImageMode); err != nil {
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

// NoRoom tells whether an error means that the disk, or the quota, is full.
func NoRoom(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// Stamp gives a file its modification time, or that which a link at path leads to,
// if it has another. info is what is known of it. Where the time may not be set, the tag
// is another one and all else is as ever, so it is no error.
func Stamp(path string, info fs.FileInfo) {
	if info.ModTime().Equal(record.ModTimeOf(path)) {
		return
	}
	path, err := filepath.EvalSymlinks(path)
	if at := record.ModTimeOf(path); err == nil && !info.ModTime().Equal(at) {
		_ = os.Chtimes(path, at, at)
	}
}

// OpenStamped opens a file of an image, with its modification time.
func OpenStamped(path string) (*os.File, error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil {
		Stamp(path, info)
	}
	return f, nil
}

// ReadSmall reads a whole file of an image, if it fits into b and nothing is wrong with it: by
// four system calls, and without memory of its own. It is not ok for any other: OpenStamped says
// what the matter is, and mends what it can.
func ReadSmall(path string, b []byte) (n int, modified time.Time, ok bool) {
	// O_NONBLOCK: to open a pipe would wait for its writer.
	fd, err := retried(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0) })
	if err != nil {
		return 0, time.Time{}, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > int64(len(b)) {
		return 0, time.Time{}, false
	}
	modified = time.Unix(st.Mtim.Unix())
	if !modified.Equal(record.ModTimeOf(path)) {
		return 0, time.Time{}, false
	}
	n, err = retried(func() (int, error) { return unix.Read(fd, b[:st.Size]) })
	return n, modified, err == nil && int64(n) == st.Size
}

// retried is what a system call returns that no signal has interrupted.
func retried(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}

// Changed is when a file of an image got its name or its bytes: for one that has its
// stamp, the time of its last change of any kind.
func Changed(path string, info fs.FileInfo) time.Time {
	if s, ok := info.Sys().(*syscall.Stat_t); ok && info.ModTime().Equal(record.ModTimeOf(path)) {
		return time.Unix(s.Ctim.Unix())
	}
	return info.ModTime()
}
