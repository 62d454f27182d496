package index

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"imgkeep/bucket/record"
)

func number(n int) string { return fmt.Sprintf("https://example.com/%d", n) }

func fillWith(t testing.TB, db *DB, n int) {
	t.Helper()
	for i := 0; i < n; i += 100 {
		var changes []Change
		for j := i; j < min(i+100, n); j++ {
			image := imageOf(fmt.Sprint(j))
			changes = append(changes, Change{Bucket: "i", URL: number(j), Keep: &image})
		}
		apply(t, db, changes...)
	}
}

func wantAll(t testing.TB, db *DB, n int) {
	t.Helper()
	for i := range n {
		if got, err := db.Image("i", number(i)); err != nil || got != imageOf(fmt.Sprint(i)) {
			t.Fatalf("URL %d: %+v, %v", i, got, err)
		}
	}
}

// All entries come, once, in order, also where there are more than are read at
// once.
func TestIterate(t *testing.T) {
	for _, n := range []int{0, 1, ahead - 1, ahead, ahead + 1, 3*ahead + 7} {
		db := open(t, filepath.Join(t.TempDir(), "index.db"))
		fillWith(t, db, n)
		var images []Entry
		for e, err := range db.Images("i") {
			if err != nil || e.Refs != 1 {
				t.Fatalf("%+v, %v", e, err)
			}
			images = append(images, e)
		}
		byDigest := func(a, b Entry) int { return bytes.Compare(a.Digest[:], b.Digest[:]) }
		if len(images) != n || !slices.IsSortedFunc(images, byDigest) || len(slices.CompactFunc(images, func(a, b Entry) bool { return a == b })) != n {
			t.Errorf("%d images, want %d in order", len(images), n)
		}
		var links []Link
		for l, err := range db.URLs("i") {
			if err != nil {
				t.Fatal(err)
			}
			links = append(links, l)
		}
		byKey := func(a, b Link) int { return bytes.Compare(a.Key[:], b.Key[:]) }
		if len(links) != n || !slices.IsSortedFunc(links, byKey) {
			t.Errorf("%d URLs, want %d in order", len(links), n)
		}
		for i := range n {
			want := Link{KeyOf(number(i)), refOf(imageOf(fmt.Sprint(i)).Digest)}
			if _, ok := slices.BinarySearchFunc(links, want, byKey); !ok {
				t.Errorf("URL %d did not come", i)
			}
			if got, err := db.RefOf("i", want.Key); err != nil || got != want.Ref {
				t.Errorf("URL %d refers to %x, %v", i, got, err)
			}
		}
		for range db.Images("i") {
			break // may end before the end
		}
	}
}

// The caller may change the index from within the loop.
func TestIterateAndChange(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	fillWith(t, db, 2*ahead)
	seen := 0
	for e, err := range db.Images("i") {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		image := e.Image
		if seen%100 == 0 {
			apply(t, db, Change{Bucket: "i", URL: fmt.Sprint("again ", seen), Keep: &image})
		}
	}
	if seen != 2*ahead {
		t.Errorf("%d images", seen)
	}
}

func TestIterateUnknown(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	for _, err := range db.Images("x") {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("images: %v", err)
		}
	}
	for _, err := range db.URLs("x") {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("URLs: %v", err)
		}
	}
	if _, err := db.Entry("i", imageOf("a").Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("entry: %v", err)
	}
	if _, err := db.RefOf("i", KeyOf("a")); !errors.Is(err, ErrNotFound) {
		t.Errorf("ref: %v", err)
	}
}

// Two images whose digests begin alike are told apart: the second is refused,
// and leaves no trace.
func TestCollision(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	a := imageOf("a")
	b := a
	b.Digest[16] ^= 1
	apply(t, db, Change{Bucket: "i", URL: "a", Keep: &a})
	if err := db.Apply([]Change{{Bucket: "i", URL: "b", Keep: &b}}); !errors.Is(err, ErrCollision) {
		t.Errorf("kept: %v", err)
	}
	if got, err := db.Image("i", "a"); err != nil || got != a {
		t.Errorf("the first: %+v, %v", got, err)
	}
	if _, err := db.Image("i", "b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the second: %v", err)
	}
	b.Digest[15] ^= 1
	apply(t, db, Change{Bucket: "i", URL: "b", Keep: &b})
}

// Compacting makes the file smaller and changes no answer, under readers and
// writers who do not know of it; a later process finds the new file.
func TestCompact(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "index.db")
	db := open(t, path)
	const n = 2000
	fillWith(t, db, n)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := db.Image("i", number(i%n)); err != nil || got != imageOf(fmt.Sprint(i%n)) {
					t.Errorf("reading meanwhile: %+v, %v", got, err)
					return
				}
			}
		})
	}
	written := 0
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			image := imageOf("w")
			if err := db.Apply([]Change{{Bucket: "f", URL: fmt.Sprint("w", written), Keep: &image}}); err != nil {
				t.Errorf("writing meanwhile: %v", err)
				return
			}
			written++
		}
	})
	var before, after Figures
	for range 3 {
		var err error
		if before, after, err = db.Compact(filepath.Join(dir, "aside")); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	if after.Bytes > before.Bytes || after.Bytes == 0 || after.Schema != schema {
		t.Errorf("from %+v to %+v", before, after)
	}
	check := func(db *DB) {
		t.Helper()
		wantAll(t, db, n)
		for i := range written {
			if got, err := db.Image("f", fmt.Sprint("w", i)); err != nil || got != imageOf("w") {
				t.Fatalf("written meanwhile: %d of %d: %v", i, written, err)
			}
		}
	}
	check(db)
	if err := db.Check(); err != nil {
		t.Error(err)
	}
	if _, err := Open(path, nil, Options{Timeout: time.Millisecond}); !errors.Is(err, ErrLocked) {
		t.Errorf("another process, after compacting: %v", err)
	}
	db.Close()
	check(open(t, path))
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("left: %v", names)
	}
}

func TestCompactShrinks(t *testing.T) {
	dir := t.TempDir()
	db := open(t, filepath.Join(dir, "index.db"))
	db.bolt.NoSync = true
	fillWith(t, db, 2000)
	before, after, err := db.Compact(filepath.Join(dir, "aside"))
	if err != nil || after.Bytes > before.Bytes || before.FreePages < 20 || after.FreePages > 5 {
		t.Errorf("from %+v to %+v, %v", before, after, err)
	}
	wantAll(t, db, 2000)
	fillWith(t, db, 2100)
	wantAll(t, db, 2100)
}

// Where compacting fails the index goes on as it was.
func TestCompactFails(t *testing.T) {
	dir := t.TempDir()
	db := open(t, filepath.Join(dir, "index.db"))
	fillWith(t, db, 10)
	aside := filepath.Join(dir, "aside")
	if err := os.MkdirAll(filepath.Join(aside, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.Compact(aside); err == nil {
		t.Error("no error")
	}
	fillWith(t, db, 20)
	wantAll(t, db, 20)
}

// Who waits for the file while it is replaced gets the new one.
func TestOpenWaitsForReplacement(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "index.db")
	db := open(t, path)
	fillWith(t, db, 10)
	opened := make(chan error)
	started := make(chan struct{})
	go func() {
		close(started)
		other, err := Open(path, []string{"i"}, Options{Timeout: time.Minute})
		if err == nil {
			for i := range 10 {
				if _, e := other.Image("i", number(i)); e != nil {
					err = e
				}
			}
			other.Close()
		}
		opened <- err
	}()
	<-started
	for range 20 {
		if _, _, err := db.Compact(filepath.Join(dir, "aside")); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func contents(n int) []Content {
	var entries []Entry
	var links []Link
	for i := range n {
		image := imageOf(fmt.Sprint(i))
		entries = append(entries, Entry{image, 1})
		links = append(links, Link{KeyOf(number(i)), refOf(image.Digest)})
	}
	slices.SortFunc(entries, func(a, b Entry) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	slices.SortFunc(links, func(a, b Link) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return []Content{{Bucket: "i", Images: eachOf(entries), URLs: eachOf(links)}}
}

// Whatever lies at the path, what is rebuilt is what was given.
func TestRebuild(t *testing.T) {
	for name, before := range map[string][]byte{
		"missing":      nil,
		"empty":        {},
		"no index":     bytes.Repeat([]byte("no index "), 10_000),
		"half a page":  make([]byte, 2048),
		"two of zeros": make([]byte, 8192),
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "index.db")
		if before != nil {
			if err := os.WriteFile(path, before, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r, err := Rebuild(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, nil, Options{Timeout: time.Millisecond}); !errors.Is(err, ErrLocked) {
			t.Errorf("%s: opened meanwhile: %v", name, err)
		}
		if err := r.Replace(filepath.Join(dir, "aside"), contents(3000), nil, record.Position{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		db := open(t, path)
		wantAll(t, db, 3000)
		if s, err := db.Stats("i"); err != nil || s.URLs != 3000 || s.Images != 3000 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		fillWith(t, db, 3100)
		wantAll(t, db, 3100)
	}
}

// A rebuilding that was begun and not done changes nothing, and leaves no empty
// index where there was none.
func TestRebuildGivenUp(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "index.db")
	give := func() {
		t.Helper()
		r, err := Rebuild(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Replace(filepath.Join(dir, "no such folder", "aside"), contents(1), nil, record.Position{}); err == nil {
			t.Error("no error")
		}
		r.Close()
	}
	give()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an index has appeared: %v", err)
	}
	db := open(t, path)
	fillWith(t, db, 10)
	if _, err := Rebuild(path); !errors.Is(err, ErrLocked) {
		t.Errorf("while another has it open: %v", err)
	}
	db.Close()
	give()
	wantAll(t, open(t, path), 10)
}

// eachOf goes through all of a list, which no error ends.
func eachOf[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, x := range list {
			if !yield(x, nil) {
				return
			}
		}
	}
}
