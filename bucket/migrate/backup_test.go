package migrate_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"imgkeep/bucket/backup"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/object/objecttest"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/migrate"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/scripts/tempdir"
)

// sharing is an object store on which a node keeps and removes.
type sharing struct {
	*testing.T
	objects *objecttest.Memory
	node    *shared.Ledger
	dir     string // of its backup
}

func newSharing(t *testing.T) *sharing {
	m := &objecttest.Memory{}
	s := &sharing{t, m, node(m, tempdir.New(t)), filepath.Join(tempdir.New(t), "backup")}
	if err := s.node.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sharing) keep(n, of int) record.Image {
	s.Helper()
	text := picture(of)
	i := record.Image{Bucket: "i", URL: urlOf(n), Digest: object.Text(text, "").Digest, Bytes: int64(len(text)), Stored: (&site{}).now()}
	i.Info = probe.Info{Format: probe.PNG, Width: 2, Height: 2, Orientation: 1, Frames: 1}
	kept, err := s.node.Keep(s.Context(), i, bytes.NewReader(text), *ledger.KeepEvent(i))
	if err != nil {
		s.Fatal(err)
	}
	return kept
}

func (s *sharing) remove(op string, i record.Image) {
	s.Helper()
	if op == ledger.OpPurge {
		i.URL = ""
	}
	if _, err := s.node.Remove(s.Context(), "i", *ledger.RemoveEvent(op, i, (&site{}).now(), "a reason", "somebody")); err != nil {
		s.Fatal(err)
	}
}

// text is what an object holds.
func (s *sharing) text(key string) string {
	s.Helper()
	body, _, err := s.objects.Fetch(s.Context(), key)
	if err != nil {
		s.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		s.Fatal(err)
	}
	return string(text)
}

// backUp backs up through objects, and tells what was found and how many originals were fetched.
func (s *sharing) backUp(more func(*migrate.Options)) (r backup.Report, fetched int, err error) {
	var count atomic.Int64
	counted := s.objects.With(func(r objecttest.Request, do func() error) error {
		if r.Op == "Fetch" && strings.Contains(r.Key, "/o/") {
			count.Add(1)
		}
		return do()
	})
	o := options(s.dir, counted)
	o.Buckets = []string{"i"}
	if more != nil {
		more(&o)
	}
	r, err = migrate.Backup(s.Context(), o)
	return r, int(count.Load()), err
}

// restored is a store of the backup, with these of the URLs 0 to 9 kept.
func (s *sharing) restored(want ...int) {
	s.Helper()
	root := filepath.Join(tempdir.New(s), "root")
	r, _, err := backup.Restore(s.Context(), backup.Options{Root: root, Dir: s.dir})
	if err != nil || len(r.Found) > 0 {
		s.Fatal(r, err)
	}
	d := open(s.T, root)
	defer d.close()
	var got []int
	for n := range 10 {
		if _, err := d.Find("i", urlOf(n)); err == nil {
			got = append(got, n)
		}
	}
	if !slices.Equal(got, want) {
		s.Errorf("%v are restored, want %v", got, want)
	}
}

// A backup of what nodes share grows by what is new, loses what was removed and nothing else,
// and restores to a store of one machine.
func TestBackup(t *testing.T) {
	s := newSharing(t)
	var kept []record.Image
	for n := range 6 {
		kept = append(kept, s.keep(n, n))
	}
	s.keep(6, 5) // with the bytes of another
	steps := []struct {
		what             string
		do               func()
		images, copied   int
		removed, missing int
		left             []int
	}{
		{"the first", func() {}, 6, 6, 0, 0, []int{0, 1, 2, 3, 4, 5, 6}},
		{"nothing is new", func() {}, 6, 0, 0, 0, []int{0, 1, 2, 3, 4, 5, 6}},
		{"one is new", func() { s.keep(7, 7) }, 7, 1, 0, 0, []int{0, 1, 2, 3, 4, 5, 6, 7}},
		{"removed", func() {
			s.remove(ledger.OpForget, kept[0])
			s.remove(ledger.OpPurge, kept[1])
			s.remove(ledger.OpForget, kept[5]) // whose bytes have another URL
			if _, err := s.node.Remove(s.Context(), "", *ledger.BlockEvent(ledger.OpBlock, record.Block{Kind: record.BlockURL, Subject: urlOf(2), Since: (&site{}).now()})); err != nil {
				t.Fatal(err)
			}
		}, 4, 0, 3, 0, []int{3, 4, 6, 7}},
		{"kept again, the same and other bytes", func() { s.keep(0, 0); s.keep(1, 8) }, 6, 2, 0, 0, []int{0, 1, 3, 4, 6, 7}},
		{"an original is lost", func() {
			i, err := s.node.Find(t.Context(), "i", urlOf(3))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.objects.Remove(t.Context(), object.Key(i)); err != nil {
				t.Fatal(err)
			}
		}, 6, 0, 0, 0, []int{0, 1, 3, 4, 6, 7}},
		{"a record is lost", func() {
			for _, key := range s.objects.Keys() {
				if strings.Contains(key, "/u/") && strings.Contains(s.text(key), urlOf(4)) {
					if err := s.objects.Remove(t.Context(), key); err != nil {
						t.Fatal(err)
					}
					return
				}
			}
			t.Fatal("there is no such record")
		}, 6, 0, 0, 1, []int{0, 1, 3, 4, 6, 7}},
	}
	for _, step := range steps {
		step.do()
		r, fetched, err := s.backUp(nil)
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if r.Images != step.images || r.Copied != step.copied || fetched != step.copied || r.Removed != step.removed || r.Found[record.Missing] != step.missing {
			t.Errorf("%s: %+v, and %d were fetched; want %+v", step.what, r, fetched, step)
		}
		if n := len(files(t, s.dir, false)); n != step.images {
			t.Errorf("%s: there are %d files", step.what, n)
		}
		s.restored(step.left...)
	}
	// What is damaged in the backup is found and fetched when it is looked at.
	path := filepath.Join(s.dir, kept[0].File())
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), int(kept[0].Bytes)), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, _, err := s.backUp(func(o *migrate.Options) { o.Verify = true }); err != nil || r.Copied != 1 {
		t.Errorf("damaged: %+v, %v", r, err)
	}
	s.restored(0, 1, 3, 4, 6, 7)
}

// Whenever a backup is interrupted, what is there can be restored, and the next one goes on.
func TestBackupInterrupted(t *testing.T) {
	ended := errors.New("the process has ended")
	step := 1
	if testing.Short() {
		step = 31
	}
	for at := 1; ; at += step {
		s := newSharing(t)
		var kept []record.Image
		for n := range 3 {
			kept = append(kept, s.keep(n, n))
		}
		failing := func() (fails func(*migrate.Options), failed *atomic.Bool) {
			n, failed := new(atomic.Int64), new(atomic.Bool)
			return func(o *migrate.Options) {
				o.Objects = s.objects.With(func(_ objecttest.Request, do func() error) error {
					if n.Add(1) >= int64(at) {
						failed.Store(true)
						return ended
					}
					return do()
				})
			}, failed
		}
		fails, first := failing()
		if _, _, err := s.backUp(fails); first.Load() && !errors.Is(err, ended) {
			t.Fatal(at, err)
		}
		s.remove(ledger.OpPurge, kept[0]) // which an interrupted first backup may have
		if _, _, err := s.backUp(nil); err != nil {
			t.Fatal(at, err)
		}
		if n := len(files(t, s.dir, false)); n != 2 {
			t.Errorf("interrupted at request %d of the first: there are %d files", at, n)
		}
		s.restored(1, 2)
		s.keep(4, 4)
		s.remove(ledger.OpForget, kept[2])
		fails, second := failing()
		if _, _, err := s.backUp(fails); second.Load() {
			if !errors.Is(err, ended) {
				t.Fatal(at, err)
			}
			r, _, err := backup.Restore(t.Context(), backup.Options{Root: filepath.Join(tempdir.New(t), "root"), Dir: s.dir})
			if err != nil || len(r.Found) > 0 {
				t.Fatalf("interrupted at request %d of the second: %+v, %v", at, r, err)
			}
		}
		if _, _, err := s.backUp(nil); err != nil {
			t.Fatal(at, err)
		}
		s.restored(1, 4)
		if !first.Load() && !second.Load() {
			return
		}
	}
}

// A folder that holds something else is left as it is.
func TestBackupRefused(t *testing.T) {
	s := newSharing(t)
	s.remove(ledger.OpForget, s.keep(1, 1))
	s.keep(2, 2)
	if _, _, err := s.backUp(nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.backUp(func(o *migrate.Options) { o.Name = "another" }); err == nil || !strings.Contains(err.Error(), "and not of another") {
		t.Errorf("of another name: %v", err)
	}
	other := newSharing(t)
	other.dir = s.dir
	if _, _, err := other.backUp(nil); err == nil || !strings.Contains(err.Error(), "lacks removals") {
		t.Errorf("of another log: %v", err)
	}
	alone := open(t, tempdir.New(t))
	alone.add()
	alone.close()
	if _, err := backup.Run(t.Context(), backup.Options{Root: alone.root, Dir: s.dir}); err == nil || !strings.Contains(err.Error(), "and not of the store of one machine") {
		t.Errorf("a single machine's: %v", err)
	}
	s.restored(2)
	dir := tempdir.New(t)
	if _, err := backup.Run(t.Context(), backup.Options{Root: alone.root, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	s.dir = dir
	if _, _, err := s.backUp(nil); err == nil || !strings.Contains(err.Error(), "is the backup of the store of one machine") {
		t.Errorf("to a single machine's: %v", err)
	}
	s.dir = alone.root
	if _, _, err := s.backUp(nil); !errors.Is(err, backup.ErrNotBackup) {
		t.Errorf("to a store: %v", err)
	}
}
