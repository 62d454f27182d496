package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	indexFile  = "index.db"
	tmpDir     = "tmp"
	journalDir = "journal"

	// Whoever may enter the store's root may read the images: the web server
	// does. The journal and the index tell who links what, and stay private.
	dirMode     = 0o755
	imageMode   = 0o444
	privateDir  = 0o750
	privateFile = 0o640

	// shards are the characters of base64url, each a folder.
	shards = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// prepare makes the root and its tmp folder.
func prepare(root string) error {
	if err := os.MkdirAll(root, dirMode); err != nil {
		return err
	}
	return mkdir(filepath.Join(root, tmpDir), privateDir)
}

func mkdir(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// sweep removes what an earlier process left unfinished. Nothing in tmp was ever
// acknowledged.
func sweep(root string) error {
	tmp := filepath.Join(root, tmpDir)
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(tmp, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// makeBucket makes a bucket with its folders, all 4,096 of them, or does nothing
// where it is there. The folders are made aside and appear at once, so a crash
// leaves a whole bucket or none.
func makeBucket(root, name string) error {
	path := filepath.Join(root, name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp := filepath.Join(root, tmpDir, name)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, dirMode); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(tmp, journalDir), privateDir); err != nil {
		return err
	}
	for i := range shards {
		a := filepath.Join(tmp, shards[i:i+1])
		if err := os.Mkdir(a, dirMode); err != nil {
			return err
		}
		for j := range shards {
			if err := os.Mkdir(filepath.Join(a, shards[j:j+1]), dirMode); err != nil {
				return err
			}
		}
		if err := syncDir(a); err != nil {
			return err
		}
	}
	if err := syncDir(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(root)
}

// place gives a finished temporary file its final name. It flushes the bytes
// before the name appears and the name before it returns, so that what is there
// is whole, and what was answered stays. Where the name is taken by a file of
// the same length it is that file, since names are digests; a file of another
// length is damaged, and replaced.
//
// The temporary name is gone afterwards, also after an error.
func place(tmp *os.File, final string) error {
	defer os.Remove(tmp.Name())
	if err := seal(tmp); err != nil {
		return err
	}
	err := os.Link(tmp.Name(), final)
	if errors.Is(err, fs.ErrExist) {
		var same bool
		if same, err = sameLength(tmp, final); err == nil && !same {
			err = os.Rename(tmp.Name(), final)
		}
	}
	if err != nil {
		return err
	}
	// Also where the file was there: whoever made it may not have come to this
	// line yet, and the caller is about to acknowledge it.
	return syncDir(filepath.Dir(final))
}

// replace is place for a file that can be made again, or whose old bytes are
// known to be wrong: it takes the name over, and leaves it to the file system
// when the name reaches the disk.
func replace(tmp *os.File, final string) error {
	defer os.Remove(tmp.Name())
	if err := seal(tmp); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), final)
}

// seal makes a finished file immutable and flushes it.
func seal(f *os.File) error {
	if err := f.Chmod(imageMode); err != nil {
		return err
	}
	return f.Sync()
}

func sameLength(a *os.File, path string) (bool, error) {
	x, err := a.Stat()
	if err != nil {
		return false, err
	}
	y, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return y.Mode().IsRegular() && x.Size() == y.Size(), nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// room tells how many bytes and inodes are free for an unprivileged process.
// Inodes are 0, with ok false, on file systems that do not count them.
func room(path string) (bytes, inodes uint64, countsInodes bool, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, false, fmt.Errorf("statfs %s: %w", path, err)
	}
	return st.Bavail * uint64(st.Bsize), st.Ffree, st.Files > 0, nil
}

// noRoom tells whether an error means that the disk, or the quota, is full.
func noRoom(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
