package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/backup"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/record"
	"imgkeep/scripts/tempdir"
)

func backUp(t *testing.T, root, dir string) (backup.Report, *found) {
	t.Helper()
	var f found
	r, err := backup.Run(t.Context(), backup.Options{Root: root, Dir: dir, Found: f.add, Progress: func(record.Progress) {}})
	if err != nil {
		t.Fatal(err)
	}
	return r, &f
}

func restore(t *testing.T, dir, root string) (backup.Report, *found) {
	t.Helper()
	var f found
	r, _, err := backup.Restore(t.Context(), backup.Options{Root: root, Dir: dir, Found: f.add})
	if err != nil {
		t.Fatal(err)
	}
	return r, &f
}

// tree maps the paths of all regular files below a folder to their bytes.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		text, err := os.ReadFile(path)
		files[rel] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// For whom links were signed is backed up and restored too; a backup never has less of it
// than before.
func TestBackupOfTags(t *testing.T) {
	o := newOrigin()
	o.set(urlA, "a")
	root, dir := tempdir.New(t), filepath.Join(tempdir.New(t), "backup")
	s := openStore(t, Options{Root: root, Origin: o})
	keep(t, s, urlA)
	file := func(root string) string { return filepath.Join(root, ".tags", "2026-11.ndjson") }
	write := func(text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(file(root)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file(root), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		backUp(t, root, dir)
	}
	for _, step := range []struct{ is, want string }{{"one\n", "one\n"}, {"one\ntwo\n", "one\ntwo\n"}, {"one\n", "one\ntwo\n"}} {
		write(step.is)
		if text, err := os.ReadFile(file(dir)); err != nil || string(text) != step.want {
			t.Errorf("of %q: %q, %v; want %q", step.is, text, err, step.want)
		}
	}
	fresh := tempdir.New(t)
	restore(t, dir, fresh)
	if text, err := os.ReadFile(file(fresh)); err != nil || string(text) != "one\ntwo\n" {
		t.Errorf("restored: %q, %v", text, err)
	}
}

// What was backed up and restored answers as before, for all URLs and buckets,
// and is a store in which more can be kept.
func TestBackupAndRestore(t *testing.T) {
	root, urls := varied(t)
	both := []Bucket{{Name: "i"}, {Name: "f"}}
	s := openStore(t, Options{Root: root, Origin: newOrigin(), Buckets: both})
	before := answers(t, s)
	dir, again := filepath.Join(tempdir.New(t), "backup"), filepath.Join(tempdir.New(t), "a", "b")
	r, f := backUp(t, root, dir) // while the store is open
	f.want(t)
	if r.Images != 20+15 || r.Copied != r.Images || r.Bytes == 0 {
		t.Errorf("first backup: %+v", r)
	}
	if r, f = backUp(t, root, dir); r.Copied != 0 || r.Images != 20+15 {
		t.Errorf("second backup: %+v", r)
	}
	f.want(t)
	if _, f := restore(t, dir, again); len(f.all) != 0 {
		t.Errorf("found %v", f.short())
	}
	o := newOrigin()
	o.set(urlA, "a")
	s2 := openStore(t, Options{Root: again, Origin: o, Buckets: both})
	for k, v := range before {
		if got := answers(t, s2)[k]; got != v {
			t.Errorf("%s: %+v, was %+v", k, got, v)
		}
	}
	for _, url := range urls {
		a, err := s2.Find("i", url)
		if err != nil || content(t, s2, a) == "" {
			t.Errorf("%s: %v", url, err)
		}
	}
	keep(t, s2, urlA)
	for _, path := range []string{"i/A/A", "f/-/_"} {
		if info, err := os.Stat(filepath.Join(again, path)); err != nil || info.Mode().Perm() != local.DirMode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, record.IndexFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the backup has an index: %v", err)
	}
}

// A backup while images are kept holds all that its journals name, whatever the
// moment.
func TestBackupWhileKeeping(t *testing.T) {
	o, root, dir := newOrigin(), tempdir.New(t), filepath.Join(tempdir.New(t), "backup")
	s := openStore(t, Options{Root: root, Origin: o})
	stop, stopped := make(chan struct{}), make(chan struct{})
	begun := make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			if n == 1 {
				close(begun)
			}
			select {
			case <-stop:
				return
			default:
			}
			url := fmt.Sprintf("https://example.com/%d.png", n)
			o.set(url, fmt.Sprint("bytes ", n))
			if _, err := s.Keep(context.Background(), "i", url); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	<-begun
	for range 3 {
		_, f := backUp(t, root, dir)
		f.want(t)
		soundBackup(t, dir)
	}
	close(stop)
	<-stopped
}

// soundBackup holds for every backup: each line is whole, and its file is there.
func soundBackup(t *testing.T, dir string) {
	t.Helper()
	files := tree(t, dir)
	for _, e := range readJournal(t, dir, "i") {
		if files[filepath.Join("i", e.Digest[:1], e.Digest[1:2], e.Digest+".png")] == "" {
			t.Errorf("the backup lacks %s", e.URL)
		}
	}
}

// Broken off after any number of images, a backup is good, and goes on.
func TestBackupBrokenOff(t *testing.T) {
	root, _ := varied(t)
	dir := filepath.Join(tempdir.New(t), "backup")
	for _, after := range []int64{0, 1, 5, 20, 30} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := backup.Run(ctx, backup.Options{Root: root, Dir: dir, Progress: func(p record.Progress) {
			if p.Stage == "images" && p.Done >= after {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("after %d images: %v", after, err)
		}
		soundBackup(t, dir)
	}
	// What a power cut has made of a file is not trusted.
	var victim string
	for path := range tree(t, dir) {
		if strings.HasSuffix(path, ".png") {
			victim = filepath.Join(dir, path)
		}
	}
	if victim != "" {
		info, err := os.Stat(victim)
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(victim)
		if err := os.WriteFile(victim, make([]byte, info.Size()), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	_, f := backUp(t, root, dir)
	f.want(t)
	again := filepath.Join(tempdir.New(t), "again")
	if r, f := restore(t, dir, again); len(f.all) != 0 || r.Copied != 35 {
		t.Errorf("restore: %+v, %v", r, f.short())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*unfinished*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// A restore that was broken off is marked, and goes on.
func TestRestoreBrokenOff(t *testing.T) {
	root, _ := varied(t)
	dir, again := filepath.Join(tempdir.New(t), "backup"), filepath.Join(tempdir.New(t), "again")
	backUp(t, root, dir)
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := backup.Restore(ctx, backup.Options{Root: again, Dir: dir, Progress: func(p record.Progress) {
		if p.Stage == "images" && p.Done > 10 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || !backup.RestoreUnfinished(again) {
		t.Errorf("broken off: %v, marked: %v", err, backup.RestoreUnfinished(again))
	}
	_, f := restore(t, dir, again)
	f.want(t)
	if backup.RestoreUnfinished(again) {
		t.Error("still marked")
	}
	if _, _, err := backup.Restore(t.Context(), backup.Options{Root: again, Dir: dir}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("once more: %v", err)
	}
}

// Damage in the store does not reach the backup, and damage in the backup not the
// store.
func TestBackupOfDamage(t *testing.T) {
	o, root := newOrigin(), tempdir.New(t)
	o.set(urlA, "the bytes of a")
	o.set(urlB, "the bytes of b")
	o.set(urlD, "the bytes of d")
	s := openStore(t, Options{Root: root, Origin: o})
	a, b, d := keep(t, s, urlA), keep(t, s, urlB), keep(t, s, urlD)
	s.Close(t.Context())
	dir := filepath.Join(tempdir.New(t), "backup")
	backUp(t, root, dir)
	damage := func(root string, i record.Image, text string) {
		t.Helper()
		os.Remove(filepath.Join(root, i.File()))
		if text != "" {
			if err := os.WriteFile(filepath.Join(root, i.File()), []byte(text), 0o444); err != nil {
				t.Fatal(err)
			}
		}
	}
	damage(root, a, "the bytes of A")
	damage(root, b, "")
	_, f := backUp(t, root, dir) // it has both
	f.want(t)
	if got := tree(t, dir)[a.File()]; got != "the bytes of a" {
		t.Errorf("the backup has %q", got)
	}
	fresh := filepath.Join(tempdir.New(t), "fresh") // it has neither
	_, f = backUp(t, root, fresh)
	f.want(t, "corrupt "+a.File(), "missing "+b.File())
	if _, ok := tree(t, fresh)[a.File()]; ok {
		t.Error("wrong bytes were backed up")
	}
	damage(dir, d, "the bytes of D")
	again := filepath.Join(tempdir.New(t), "again")
	_, f = restore(t, dir, again)
	f.want(t, "corrupt "+d.File())
	if files := tree(t, again); files[a.File()] != "the bytes of a" || files[d.File()] != "" {
		t.Errorf("restored: %q, %q", files[a.File()], files[d.File()])
	}
	// Rot in the backup is found when it is asked for, and mended.
	damage(root, a, "the bytes of a") // also for checkTree
	r, f := backUp(t, root, dir)
	if f.want(t); r.Copied != 0 {
		t.Errorf("%d copied", r.Copied)
	}
	damage(dir, a, "the bytes of A") // b is gone from the store
	damage(dir, b, "the bytes of B")
	var v found
	r, err := backup.Run(t.Context(), backup.Options{Root: root, Dir: dir, Verify: true, Found: v.add})
	if err != nil || r.Copied != 2 {
		t.Errorf("verified: %+v, %v", r, err)
	}
	v.want(t, "corrupt "+a.File(), "missing "+b.File(), "corrupt "+b.File(), "corrupt "+d.File())
	for _, f := range v.all {
		if f.Repaired != (f.Path != b.File()) {
			t.Errorf("%+v", f)
		}
	}
	if files := tree(t, dir); files[a.File()] != "the bytes of a" || files[d.File()] != "the bytes of d" {
		t.Errorf("copied anew: %q, %q", files[a.File()], files[d.File()])
	}
}

func TestBackupLinks(t *testing.T) {
	o, root := newOrigin(), tempdir.New(t)
	o.set(urlA, "a")
	s := openStore(t, Options{Root: root, Origin: o})
	a := keep(t, s, urlA)
	dir := filepath.Join(tempdir.New(t), "backup")
	if _, err := backup.Run(t.Context(), backup.Options{Root: root, Dir: dir, Link: true}); err != nil {
		t.Fatal(err)
	}
	x, err := os.Stat(filepath.Join(root, a.File()))
	if err != nil {
		t.Fatal(err)
	}
	if y, err := os.Stat(filepath.Join(dir, a.File())); err != nil || !os.SameFile(x, y) {
		t.Errorf("it is no link: %v", err)
	}
}

func TestBackupRefused(t *testing.T) {
	o, root := newOrigin(), tempdir.New(t)
	o.set(urlA, "a")
	s := openStore(t, Options{Root: root, Origin: o})
	keep(t, s, urlA)
	other := tempdir.New(t)
	o.set(urlB, "b")
	s2 := openStore(t, Options{Root: other, Origin: o, Now: newClock().Now})
	s2.Keep(t.Context(), "i", urlB)
	s3root := tempdir.New(t)
	s3 := openStore(t, Options{Root: s3root, Origin: o, Now: newClock().Now})
	s3.Keep(t.Context(), "i", urlA)
	dir := filepath.Join(tempdir.New(t), "backup")
	backUp(t, other, dir)
	later := newClock()
	later.add(40 * 24 * time.Hour)
	s4root := tempdir.New(t)
	s4 := openStore(t, Options{Root: s4root, Origin: o, Now: later.Now})
	keep(t, s4, urlA)
	full := tempdir.New(t)
	if err := os.WriteFile(filepath.Join(full, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	for name, tt := range map[string]struct{ root, dir, want string }{
		"another store's backup": {s3root, dir, "they are not of one store"},
		"one of other months":    {s4root, dir, "either they are not of one store"},
		"a folder in use":        {root, full, backup.ErrNotBackup.Error()},
		"the store itself":       {root, root, "must not lie in each other"},
		"within the store":       {root, filepath.Join(root, "backup"), "must not lie in each other"},
		"around the store":       {root, filepath.Dir(root), "must not lie in each other"},
		"no store":               {tempdir.New(t), filepath.Join(tempdir.New(t), "x"), "there is no bucket"},
	} {
		if _, err := backup.Run(t.Context(), backup.Options{Root: tt.root, Dir: tt.dir}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	after := tree(t, dir)
	delete(after, backup.BackupUnfinished)
	if fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a refused backup changed the other's")
	}
	if _, _, err := backup.Restore(t.Context(), backup.Options{Root: filepath.Join(tempdir.New(t), "x"), Dir: full}); err == nil || !strings.Contains(err.Error(), "no backup") {
		t.Errorf("restore of no backup: %v", err)
	}
	if _, _, err := backup.Restore(t.Context(), backup.Options{Root: full, Dir: dir}); err == nil || !strings.Contains(err.Error(), "not empty: it holds thesis.txt") {
		t.Errorf("restore over something: %v", err)
	}
}
