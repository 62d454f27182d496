package index

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgkeep/bucket/record"
)

// small writes an index with branches, leaves, and a table that lies in its
// element, and returns its bytes.
func small(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index.db")
	db, err := Open(path, []string{"i", "f"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var changes []Change
	for n := range 1000 {
		image := imageOf(fmt.Sprint(n))
		changes = append(changes, Change{Bucket: "i", URL: fmt.Sprint(n), Keep: &image})
	}
	apply(t, db, append(changes, Change{Bucket: "f", URL: "x", Fail: &record.Failure{Kind: "gone"}})...)
	apply(t, db, Change{Block: &record.Block{Kind: record.BlockHost, Subject: "bad.example"}})
	apply(t, db, Change{Bucket: "f", URL: "y", Fail: &record.Failure{Kind: "gone"}}) // so that both metas have it
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// use opens an index and reads and writes all of it. What it must not do is
// panic, which no caller could stop: bbolt reads pages in goroutines of its own.
func use(t testing.TB, path string) error {
	t.Helper()
	db, err := Open(path, []string{"i", "f"}, Options{})
	if err != nil {
		return err
	}
	defer db.Close()
	image := imageOf("new")
	if err := db.Apply([]Change{{Bucket: "i", URL: "new", Keep: &image}}); err != nil {
		t.Logf("apply: %v", err)
	}
	for range db.Images("i") {
	}
	for range db.URLs("i") {
	}
	return nil
}

// A damaged index is refused with what to do about it, and where the damage is
// to what an entry says, the rest can be used.
func TestDamagedIndex(t *testing.T) {
	good := small(t)
	pages := len(good) / os.Getpagesize()
	random := rand.New(rand.NewPCG(1, 2))
	path := filepath.Join(t.TempDir(), "index.db")
	refused := 0
	try := func(what string, damage func([]byte) []byte) error {
		t.Helper()
		if err := os.WriteFile(path, damage(append([]byte(nil), good...)), 0o600); err != nil {
			t.Fatal(err)
		}
		err := use(t, path)
		if err != nil {
			refused++
			if !strings.Contains(err.Error(), "imgkeep reindex") || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: got %v, want the file's name and what to do", what, err)
			}
		}
		return err
	}
	if err := try("nothing", func(b []byte) []byte { return b }); err != nil {
		t.Errorf("an index that is whole: %v", err)
	}
	for n := range pages {
		at := n * os.Getpagesize()
		try(fmt.Sprintf("page %d is zeros", n), func(b []byte) []byte { clear(b[at : at+os.Getpagesize()]); return b })
		try(fmt.Sprintf("page %d is its neighbour", n), func(b []byte) []byte {
			copy(b[at:at+os.Getpagesize()], good[(n+1)%pages*os.Getpagesize():])
			return b
		})
		if n > 0 {
			try(fmt.Sprintf("cut off in page %d", n), func(b []byte) []byte { return b[:at+random.IntN(os.Getpagesize())] })
		}
	}
	for range 300 {
		// Most of what matters lies at the beginnings of pages.
		at, bit := random.IntN(pages)*os.Getpagesize()+random.IntN(200), byte(1)<<random.IntN(8)
		if random.IntN(3) == 0 {
			at = random.IntN(len(good))
		}
		try(fmt.Sprintf("bit %d of byte %d", bit, at), func(b []byte) []byte { b[at] ^= bit; return b })
	}
	if refused < 50 {
		t.Errorf("%d times it was refused", refused)
	}
	if err := try("both metas", func(b []byte) []byte { clear(b[:2*os.Getpagesize()]); return b }); err == nil {
		t.Error("an index without a meta is opened")
	}
}

func FuzzVerify(f *testing.F) {
	good := small(f)
	f.Add(5000, []byte{1})
	f.Fuzz(func(t *testing.T, at int, b []byte) {
		data := append([]byte(nil), good...)
		for n := range b {
			if at+n >= 0 && at+n < len(data) {
				data[at+n] ^= b[n]
			}
		}
		path := filepath.Join(t.TempDir(), "index.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		use(t, path)
	})
}
