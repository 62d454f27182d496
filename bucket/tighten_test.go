package bucket

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"imgkeep/bucket/record"
)

// Nobody else can read index and journals. Folders let a web server open a file that it knows
// the name of, and cannot be listed. Opening a store also tightens what an earlier release
// has left readable for all.
func TestOthersAreKeptOut(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	o, root := newOrigin(), t.TempDir()
	o.set(urlA, "a")
	options := Options{Root: root, Origin: o}
	s := openStore(t, options)
	image := keep(t, s, urlA)
	if _, err := s.Block(t.Context(), Target{Host: "blocked.example"}, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(root, path)
			want := fs.FileMode(0o711)
			switch {
			case rel == image.File():
				want = 0o444
			case !d.IsDir():
				want = 0o600
			case filepath.Base(rel) == record.JournalDir || rel == record.TmpDir:
				want = 0o700
			}
			if got := info.Mode().Perm(); got != want {
				t.Errorf("%s: %s has mode %v, want %v", when, rel, got, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	check("made")
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != filepath.Join(root, image.File()) {
			mode := fs.FileMode(0o644)
			if d.IsDir() {
				mode = 0o777
			}
			err = os.Chmod(path, mode)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s = openStore(t, options)
	check("opened")
	// What an operator has made tighter stays so.
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o750); err != nil {
		t.Fatal(err)
	}
	openStore(t, options)
	if info, err := os.Stat(root); err != nil || info.Mode().Perm() != 0o710 {
		t.Errorf("0750 became %v, want 0710: %v", info.Mode().Perm(), err)
	}
}
