package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"imgkeep/cmd/imgkeep/app/config"
)

// BecomeOwner has root go on as the user that owns a store. What root would make
// there, a line of a new month's journal or an index, the server could not write to
// later: so says no error today, and another one next month. A user who is not root, or
// owns the store, stays who they are, and so does root where there is no store yet.
//
// Files that only root may read have to be opened before. The audit log names who has
// begun, root.
func BecomeOwner(root string) error {
	uid, gid, err := otherOwner(root)
	if err != nil || uid == 0 {
		return err
	}
	for _, become := range []func() error{
		func() error { return syscall.Setgroups([]int{gid}) },
		func() error { return syscall.Setresgid(gid, gid, gid) },
		func() error { return syscall.Setresuid(uid, uid, uid) },
	} {
		if err := become(); err != nil {
			return fmt.Errorf("the store in %s belongs to user %d, and this is root, whose files that user could not write: run it as that user (cannot switch to that user: %w)", root, uid, err)
		}
	}
	return nil
}

// refuseRoot is for a server: as root it would make files that the owner's server
// cannot write to later, and it cannot become the owner, since sockets and secrets may be
// root's alone.
func refuseRoot(root string) error {
	uid, _, err := otherOwner(root)
	if err != nil || uid == 0 {
		return err
	}
	return config.Errorf("the store in %s belongs to user %d, and this is root: start the server as that user, by `systemctl start imgkeep` or `sudo -u '#%d' imgkeep serve`", root, uid, uid)
}

// otherOwner is who owns a store where this is root, and that is somebody else; 0
// where it is not so.
func otherOwner(root string) (uid, gid int, err error) {
	if os.Geteuid() != 0 {
		return 0, 0, nil
	}
	info, err := os.Stat(root)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, nil
	}
	return int(st.Uid), int(st.Gid), nil
}

// GiveToOwner gives the owner of a store what root has made in it: for work that only
// root can do, such as to link to files of others. Those files stay their owners'.
func GiveToOwner(root string) error {
	uid, gid, err := otherOwner(root)
	if err != nil || uid == 0 {
		return err
	}
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 || e.Type().IsRegular() && st.Nlink > 1 {
			return nil
		}
		return os.Lchown(path, uid, gid)
	})
}
