package bucket

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/record"
)

// On a full disk nothing is kept, and everything can be removed: by the room that only
// removals use, which comes back afterwards. Without it a removal fails, and says of
// nothing that it was removed.
func testRemovalsOnFullDisk(t *testing.T, root string) {
	why := RemoveOptions{Why: strings.Repeat("a long reason ", 1000)} // fits into no page that is there
	keepFiles := RemoveOptions{Why: why.Why, KeepFiles: true}
	verbs := map[string]func(s *Store, i record.Image) (record.Removal, error){
		"forget": func(s *Store, i record.Image) (record.Removal, error) { return s.Forget(t.Context(), i.URL, why) },
		"purge": func(s *Store, i record.Image) (record.Removal, error) {
			return s.Purge(t.Context(), Target{URL: i.URL}, why)
		},
		"block": func(s *Store, i record.Image) (record.Removal, error) {
			return s.Block(t.Context(), Target{URL: i.URL}, why)
		},
		"block, keep": func(s *Store, i record.Image) (record.Removal, error) {
			return s.Block(t.Context(), Target{Digest: i.Digest}, keepFiles)
		},
		"block host": func(s *Store, i record.Image) (record.Removal, error) {
			return s.Block(t.Context(), Target{Host: imageurl.HostOf(i.URL)}, why)
		},
	}
	for _, reserved := range []int64{0, 1 << 20} {
		for name, remove := range verbs {
			for _, short := range []string{"bytes", "inodes"} {
				t.Run(fmt.Sprintf("%s with %d, no %s", name, reserved, short), func(t *testing.T) {
					testRemovalOnFullDisk(t, root, reserved, short, remove)
				})
				if err := os.RemoveAll(filepath.Join(root, "store")); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func testRemovalOnFullDisk(t *testing.T, root string, reserved int64, short string, remove func(*Store, record.Image) (record.Removal, error)) {
	c := newClock()
	s := small(t, root, Options{Reserved: reserved, Now: c.Now})
	const url = "https://example.com/a.png"
	image := keep(t, s, url)
	c.add(31 * 24 * time.Hour) // the removal begins the month's journals
	full := filepath.Join(root, "ballast")
	if short == "inodes" {
		full = noInodes(t, root)
	} else {
		fill(t, root, 0)
	}
	if _, err := s.Keep(t.Context(), "i", "https://more.example/a.png"); !errors.Is(err, ErrFull) {
		t.Errorf("kept: %v", err)
	}
	r, err := remove(s, image)
	_, found := s.Find("i", url)
	if reserved == 0 {
		if !errors.Is(err, ErrFull) || len(r.Images)+len(r.Blocked) > 0 || found != nil {
			t.Errorf("without room for it: %v, %+v, then %v", err, r, found)
		}
	} else {
		if err != nil || len(r.Images)+len(r.Blocked) == 0 || found == nil {
			t.Errorf("%v, %+v, then %v", err, r, found)
		}
		// There is room to note who has asked for it, whatever comes meanwhile.
		if _, err := s.Keep(t.Context(), "i", "https://more.example/a.png"); !errors.Is(err, ErrFull) {
			t.Errorf("kept afterwards: %v", err)
		}
		if err := os.WriteFile(filepath.Join(s.Root(), "audit"), make([]byte, 16*page), 0o600); err != nil {
			t.Errorf("the audit log: %v", err)
		}
	}
	if err := os.RemoveAll(full); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Unblock(t.Context(), Target{Host: imageurl.HostOf(url)}, RemoveOptions{}); err != nil && !errors.Is(err, ErrNotBlocked) {
		t.Error(err)
	}
	c.add(local.ReservePause)
	keep(t, s, heavyURL("another"))
	if left, _ := filepath.Glob(filepath.Join(s.Root(), local.ReserveDir, "*")); len(left) != local.ReserveFiles && reserved > 0 {
		t.Errorf("of the reserve there is %v", left)
	}
}

// noInodes takes all inodes; the name is for giving them back.
func noInodes(t *testing.T, root string) (dir string) {
	t.Helper()
	dir = filepath.Join(root, "many")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return dir
		}
		f.Close()
	}
}

// If there is no room for the reserve, the store opens all the same, and keeps nothing new
// until there is: the remaining space is for removals.
func TestReserveMissing(t *testing.T) {
	f := &localtest.Fault{}
	o := newOrigin()
	o.set(urlA, "a")
	o.set(urlB, "b")
	hook := func(s localtest.Step, do func() error) error {
		if s.Op == "Allocate" {
			return f.Hook(s, do)
		}
		return do()
	}
	f.Arm(3, syscall.ENOSPC, false, true)
	s := openStore(t, Options{Root: t.TempDir(), Origin: o, Reserved: 1 << 20, disk: newStepDisk(hook)})
	if left, _ := filepath.Glob(filepath.Join(s.Root(), local.ReserveDir, "*")); len(left) > 0 {
		t.Errorf("half of the reserve: %v", left)
	}
	if _, err := s.Keep(t.Context(), "i", urlA); !errors.Is(err, ErrFull) || !errors.Is(s.Ready(), ErrFull) {
		t.Errorf("kept: %v", err)
	}
	f.Disarm()
	keep(t, s, urlA)
	if left, _ := filepath.Glob(filepath.Join(s.Root(), local.ReserveDir, "*")); len(left) != local.ReserveFiles {
		t.Errorf("the reserve: %v", left)
	}
	// A commit that meets a quota has it too, whatever the disk says of its room.
	failed := false
	d := newStepDisk(func(st localtest.Step, do func() error) error {
		if st.Op == "Commit" && !failed {
			failed = true
			return syscall.EDQUOT
		}
		return do()
	})
	s.disk, s.apply = d, d.Commit
	if _, err := s.Purge(t.Context(), Target{URL: urlA}, RemoveOptions{}); err != nil || !failed {
		t.Errorf("purge: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Root(), local.ReserveDir, "*")); len(left) > 0 {
		t.Errorf("the reserve was not spent: %v", left)
	}
}
