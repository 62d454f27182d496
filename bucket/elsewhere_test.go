package bucket

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
)

// Originals can be in another place than the rest of the store: they are kept, opened, listed
// and removed there, and none is below the root.
func TestOriginalsElsewhere(t *testing.T) {
	o := newOrigin()
	o.set(urlA, "a")
	o.set(urlB, "b")
	root, elsewhere := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(elsewhere, record.TmpDir), local.PrivateDir); err != nil {
		t.Fatal(err)
	}
	if err := local.MakeBucket(local.OS{}, elsewhere, "i"); err != nil {
		t.Fatal(err)
	}
	options := Options{Root: root, Origin: o, Files: local.New(local.OS{}, elsewhere, time.Now)}
	s := openStore(t, options)
	a, b := keep(t, s, urlA), keep(t, s, urlB)
	has := func(i record.Image, there bool) {
		t.Helper()
		if err := options.Files.Stat(t.Context(), i); (err == nil) != there || err != nil && !errors.Is(err, blob.ErrDamaged) {
			t.Errorf("where originals lie: %v, want %v", err, there)
		}
		if _, err := os.Lstat(s.Path(i.File())); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("below the root: %v", err)
		}
	}
	has(a, true)
	has(b, true)
	if f, err := s.Open(t.Context(), a); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	if _, err := s.Forget(t.Context(), urlA, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	has(a, false)
	has(b, true)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for files, found := range map[blob.Store]int{options.Files: 0, nil: 1} {
		r, err := reindex.Run(t.Context(), reindex.Options{Root: root, Files: files})
		if err != nil || r.Found[record.Missing] != found {
			t.Errorf("reindexed: %+v, %v; want %d missing", r, err, found)
		}
	}
}

// A store of one machine has nothing of what several nodes share: neither a file nor a table.
func TestNothingShared(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.set(urlA, "a")
	o.set(urlB, "b")
	s := openStore(t, Options{Root: root, Origin: o, Buckets: []Bucket{{Name: "i"}}, Reserved: 1 << 20})
	keep(t, s, urlA)
	keep(t, s, urlB)
	if _, err := s.Block(t.Context(), Target{URL: urlA}, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Unblock(t.Context(), Target{URL: urlA}, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Purge(t.Context(), Target{URL: urlB}, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{local.ReserveDir, "i", record.IndexFile, record.JournalDir, record.TmpDir}; !slices.Equal(names, want) {
		t.Errorf("the root has %q, want %q", names, want)
	}
	if text, err := os.ReadFile(filepath.Join(root, record.IndexFile)); err != nil || bytes.Contains(text, []byte("shared")) || !bytes.Contains(text, []byte("i/removing")) {
		t.Errorf("the index has a table of what is shared, or none at all: %v", err)
	}
}
