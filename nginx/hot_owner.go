package nginx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinksInPath bounds how many symbolic links lead to the tree.
const maxLinksInPath = 40

// checkOwners returns an error unless everything on the way to a folder is root's or
// ours, and nobody else may write to it: not the folder, which may be missing still,
// nor one above it, nor a symbolic link. nginx sends whatever the links in the tree
// point at. Who can put a folder in the place of ours, as anybody can who makes
// /dev/shm/imgkeep before we do, has it send any file that nginx may read.
//
// Folders with the sticky bit, such as /tmp, may be everybody's: who owns nothing in
// them can change nothing there. Our own group counts as we do, since each user of
// Debian has one of their own.
func checkOwners(path string) error {
	links := 0
	seen := string(filepath.Separator)
	rest := strings.Split(strings.Trim(path, "/"), "/")
	if err := checkOwner(seen); err != nil {
		return err
	}
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			seen = filepath.Dir(seen)
			continue
		}
		next := filepath.Join(seen, name)
		info, err := os.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // ours to make
		}
		if err != nil {
			return bare(err)
		}
		if err := checkInfo(next, info); err != nil {
			return err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			seen = next
			continue
		}
		if links++; links > maxLinksInPath {
			return errors.New("too many symbolic links lead there")
		}
		to, err := os.Readlink(next)
		if err != nil {
			return bare(err)
		}
		if filepath.IsAbs(to) {
			seen = string(filepath.Separator)
		}
		rest = append(strings.Split(strings.Trim(to, "/"), "/"), rest...)
	}
	return nil
}

func checkOwner(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return bare(err)
	}
	return checkInfo(path, info)
}

func checkInfo(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, who could have nginx send any file: choose a folder below those of root or of the server's user", path, st.Uid)
	}
	if info.Mode().Type() == fs.ModeSymlink || info.Mode()&fs.ModeSticky != 0 {
		return nil
	}
	mode := info.Mode().Perm()
	if mode&0o002 != 0 || mode&0o020 != 0 && st.Gid != 0 && int(st.Gid) != os.Getegid() {
		return fmt.Errorf("others may write to %s (mode %v), and could have nginx send any file: take that from them, or choose another folder", path, mode)
	}
	return nil
}
