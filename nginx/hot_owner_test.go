package nginx

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A folder that somebody else has made, or may write to, is not taken for the tree of
// hot links, nor is one below it: they could put links to /etc/shadow there, and have
// nginx send it.
func TestForeignFoldersAreRefused(t *testing.T) {
	const nobody = 65534
	mkdir := func(mode fs.FileMode, uid, gid int) func(string) error {
		return func(path string) error {
			if err := os.Mkdir(path, 0o755); err != nil {
				return err
			}
			if err := os.Chown(path, uid, gid); err != nil {
				return err
			}
			return os.Chmod(path, mode) // which chown takes bits of
		}
	}
	us, group := os.Geteuid(), os.Getegid()
	for name, tt := range map[string]struct {
		prepare func(path string) error
		refused bool
		root    bool // only root can carry it out
	}{
		"nothing there":              {func(string) error { return nil }, false, false},
		"ours":                       {mkdir(0o755, us, group), false, false},
		"ours and our group's":       {mkdir(0o775, us, group), false, false},
		"everybody's":                {mkdir(0o777, us, group), true, false},
		"everybody's but sticky":     {mkdir(0o777|fs.ModeSticky, us, group), false, false},
		"somebody else's":            {mkdir(0o711, nobody, nobody), true, true},
		"somebody else's and sticky": {mkdir(0o777|fs.ModeSticky, nobody, nobody), true, true},
		"another group's":            {mkdir(0o775, us, nobody), true, true},
		"our link to ours": {func(path string) error {
			if err := os.Mkdir(path+".real", 0o755); err != nil {
				return err
			}
			return os.Symlink(filepath.Base(path)+".real", path)
		}, false, false},
		"our link to everybody's": {func(path string) error {
			if err := mkdir(0o777, us, group)(path + ".real"); err != nil {
				return err
			}
			return os.Symlink(path+".real", path)
		}, true, false},
		"somebody else's link": {func(path string) error {
			if err := os.Mkdir(path+".real", 0o755); err != nil {
				return err
			}
			if err := os.Symlink(path+".real", path); err != nil {
				return err
			}
			return os.Lchown(path, nobody, nobody)
		}, true, true},
		"a link in a circle": {func(path string) error { return os.Symlink(path, path) }, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.root && us != 0 {
				t.Skip("only root can give a folder to somebody else")
			}
			shared := filepath.Join(t.TempDir(), "shm")
			if err := mkdir(0o777|fs.ModeSticky, us, group)(shared); err != nil {
				t.Fatal(err)
			}
			above := filepath.Join(shared, "imgkeep-0")
			if err := tt.prepare(above); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(above, 0o755); err != nil && !tt.refused {
				t.Fatal(err)
			}
			dir := filepath.Join(above, "hot")
			_, err := OpenHot(HotOptions{Dir: dir})
			if refused := err != nil; refused != tt.refused {
				t.Fatalf("opened: %v", err)
			}
			if _, there := os.Lstat(dir); tt.refused && there == nil {
				t.Error("a folder was made all the same")
			}
			if tt.refused && !strings.Contains(err.Error(), above) {
				t.Errorf("%q does not say which folder it is", err)
			}
		})
	}
	// And the very folder, prepared.
	dir := filepath.Join(t.TempDir(), "hot")
	if err := mkdir(0o777, us, group)(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenHot(HotOptions{Dir: dir}); err == nil {
		t.Error("a tree was opened in which everybody may have put links")
	}
}
