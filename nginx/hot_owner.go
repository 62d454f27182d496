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

// checkOwners returns an error unless root or this user owns every folder and symbolic link
// on the way to a folder, the folder included, and nobody else may write to them. The
// folder may still be missing. nginx sends whatever the links in the tree point at: an
// attacker who creates the folder first, as anybody can with /dev/shm/imgkeep, has nginx
// send any file that it may read.
//
// Folders with the sticky bit, such as /tmp, may be writable for all: users can change only
// what they own there. Our own group counts as ourselves, since Debian gives each user a
// group.
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
			return nil // it does not exist yet: this process creates it
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
