package index

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

func open(t testing.TB, path string) *DB {
	t.Helper()
	db, err := Open(path, []string{"i", "f"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Check(); err != nil && !errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
			t.Errorf("the file is inconsistent: %v", err)
		}
		db.Close()
	})
	return db
}

func imageOf(bytes string) Image {
	return Image{
		Digest: sha256.Sum256([]byte(bytes)),
		Info:   probe.Info{Format: probe.WebP, Width: 640, Height: 480, Orientation: 6, Frames: 12},
		Bytes:  int64(len(bytes)),
		Stored: time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC),
	}
}

func apply(t testing.TB, db *DB, changes ...Change) {
	t.Helper()
	if err := db.Apply(changes); err != nil {
		t.Fatal(err)
	}
}

func TestKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	db := open(t, path)
	want := imageOf("a")
	if _, err := db.Image("i", "https://example.com/a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	apply(t, db, Change{Bucket: "i", URL: "https://example.com/a", Keep: &want})
	for range 2 {
		if got, err := db.Image("i", "https://example.com/a"); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		if _, err := db.Image("f", "https://example.com/a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("in another bucket: %v", err)
		}
		if _, err := db.Image("x", "https://example.com/a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("in no bucket: %v", err)
		}
		// Once more, after closing and opening.
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open(t, path)
	}
}

// The number of URLs that refer to an image decides whether its bytes may go.
func TestReferences(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	a, b := imageOf("a"), imageOf("b")
	keep := func(url string, image Image) Change { return Change{Bucket: "i", URL: url, Keep: &image} }
	for _, step := range []struct {
		name   string
		change Change
		a, b   uint64
	}{
		{"first URL", keep("1", a), 1, 0},
		{"the same again", keep("1", a), 1, 0},
		{"second URL, same bytes", keep("2", a), 2, 0},
		{"the first has other bytes now", keep("1", b), 1, 1},
		{"and back", keep("1", a), 2, 0},
		{"nothing refers to b, then something does", keep("3", b), 2, 1},
	} {
		apply(t, db, step.change)
		if got := refs(t, db, a); got != step.a {
			t.Errorf("%s: %d refer to a, want %d", step.name, got, step.a)
		}
		if got := refs(t, db, b); got != step.b {
			t.Errorf("%s: %d refer to b, want %d", step.name, got, step.b)
		}
	}
}

func refs(t *testing.T, db *DB, image Image) (n uint64) {
	t.Helper()
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		r, err := getRecord(tableOf(tx, []byte("i/images")), image.Digest[:])
		n = r.refs
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	return n
}

// The first keeping of some bytes dates them; a second URL does not.
func TestStoredOnce(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	first, second := imageOf("a"), imageOf("a")
	second.Stored = second.Stored.AddDate(1, 0, 0)
	apply(t, db, Change{Bucket: "i", URL: "1", Keep: &first}, Change{Bucket: "i", URL: "2", Keep: &second})
	if got, err := db.Image("i", "2"); err != nil || got != first {
		t.Errorf("got %+v, %v; want %+v", got, err, first)
	}
}

func TestFailures(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	want := record.Failure{
		Kind: "gone", Status: 404, Detail: "the origin says 404", Attempts: 3,
		First: time.Unix(1000, 0).UTC(), Next: time.Unix(2000, 0).UTC(),
	}
	apply(t, db, Change{Bucket: "i", URL: "1", Fail: &want})
	if got, err := db.Failure("i", "1"); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	long := want
	long.Detail = strings.Repeat("x", maxDetail+1)
	apply(t, db, Change{Bucket: "i", URL: "2", Fail: &long})
	if got, err := db.Failure("i", "2"); err != nil || got.Detail != long.Detail[:maxDetail] {
		t.Errorf("a long detail: %d bytes, %v", len(got.Detail), err)
	}
	image := imageOf("a")
	apply(t, db, Change{Bucket: "i", URL: "1", Keep: &image})
	if _, err := db.Failure("i", "1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after keeping: %v", err)
	}
	if s, err := db.Stats("i"); err != nil || s != (Stats{URLs: 1, Images: 1, Failures: 1}) {
		t.Errorf("stats: %+v, %v", s, err)
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	image := imageOf("a")
	err := db.Apply([]Change{{Bucket: "i", URL: "1", Keep: &image}, {Bucket: "no such", URL: "1", Keep: &image}})
	if err == nil {
		t.Fatal("no error")
	}
	if _, err := db.Image("i", "1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the first change was made: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Run("a second opener", func(t *testing.T) {
		path := filepath.Join(dir, "a.db")
		open(t, path)
		if _, err := Open(path, nil, Options{Timeout: time.Millisecond}); !errors.Is(err, ErrLocked) {
			t.Errorf("got %v, want ErrLocked", err)
		}
	})
	t.Run("what is no index", func(t *testing.T) {
		path := filepath.Join(dir, "c.db")
		if err := os.WriteFile(path, []byte(strings.Repeat("not an index ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, nil, Options{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v, want an error that names the file", err)
		}
	})
}

// FuzzRecords: no entry of an image makes the reader panic, and what is read is
// written so that it is read alike. FuzzFailure is that of failures, whose texts are
// cut where they are written.
func FuzzRecords(f *testing.F) {
	f.Add(imageEntry{Image: imageOf("a"), refs: 3}.encode())
	f.Fuzz(func(t *testing.T, entry []byte) {
		digest := make([]byte, 32)
		got, err := decodeRecord(digest, entry)
		if err != nil {
			return
		}
		if again, err := decodeRecord(digest, got.encode()); err != nil || again != got {
			t.Errorf("%+v is read again as %+v, %v", got, again, err)
		}
	})
}

// BenchmarkImage looks up random entries of an index of that many, as reindex leaves it, and of
// as many as IMGKEEP_BENCH_IMAGES says.
func BenchmarkImage(b *testing.B) {
	benchmarkImage(b, func(_ *rand.Rand, n int) func() int {
		i := 0
		return func() int {
			i = (i*1103515245 + 12345) & (1<<30 - 1)
			return i % n
		}
	})
}

// BenchmarkImagePopular is BenchmarkImage as viewers ask: an image is the less asked for the
// more others are asked for more (Zipf's law, of exponent 1.1), whatever its place in the index.
func BenchmarkImagePopular(b *testing.B) {
	benchmarkImage(b, func(random *rand.Rand, n int) func() int {
		popular := rand.NewZipf(random, 1.1, 1, uint64(n-1))
		next, at := make([]int, 1<<20), 0
		for i := range next {
			next[i] = int(popular.Uint64() * 7919 % uint64(n))
		}
		return func() int {
			at = (at + 1) % len(next)
			return next[at]
		}
	})
}

func benchmarkImage(b *testing.B, order func(*rand.Rand, int) func() int) {
	sizes := []int{10_000, 1_000_000}
	if n, err := strconv.Atoi(os.Getenv("IMGKEEP_BENCH_IMAGES")); err == nil {
		sizes = append(sizes, n)
	}
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "index.db")
			rebuilt(b, path, n)
			db, err := Open(path, []string{"i"}, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			db.waitChecked()
			next := order(rand.New(rand.NewPCG(1, 2)), n)
			for range min(n, 1<<20) { // what was asked for before
				if _, err := db.Image("i", benchURL(next())); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				if _, err := db.Image("i", benchURL(next())); err != nil {
					b.Fatal(err)
				}
			}
			info, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Size())/float64(n), "file-B/image")
		})
	}
}

func benchURL(i int) string { return fmt.Sprintf("https://images.example.com/2026/11/%d.jpg", i) }

// rebuilt makes an index of n images, as reindex does.
func rebuilt(b *testing.B, path string, n int) {
	images, links := make([]struct {
		digest [32]byte
		n      int32
	}, n), make([]Link, n)
	for i := range images {
		images[i].digest, images[i].n = imageOf(fmt.Sprint(i)).Digest, int32(i)
		links[i] = Link{KeyOf(benchURL(i)), refOf(images[i].digest)}
	}
	slices.SortFunc(links, func(a, b Link) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	slices.SortFunc(images, func(a, b struct {
		digest [32]byte
		n      int32
	}) int {
		return bytes.Compare(a.digest[:], b.digest[:])
	})
	r, err := Rebuild(path)
	if err != nil {
		b.Fatal(err)
	}
	err = r.Replace(path+".new", []Content{{
		Bucket: "i",
		Images: func(yield func(Entry, error) bool) {
			for _, i := range images {
				if !yield(Entry{imageOf(fmt.Sprint(i.n)), 1}, nil) {
					return
				}
			}
		},
		URLs: func(yield func(Link, error) bool) {
			for _, l := range links {
				if !yield(l, nil) {
					return
				}
			}
		},
	}}, nil, record.Position{})
	if err := errors.Join(err, r.Close()); err != nil {
		b.Fatal(err)
	}
}

// Stats are figures about one bucket.
type Stats struct {
	URLs, Images, Failures int
}

// Stats counts the entries of a bucket.
func (db *DB) Stats(bucket string) (Stats, error) {
	t, err := db.tables(bucket)
	if err != nil {
		return Stats{}, err
	}
	var s Stats
	err = db.view(func(tx *bbolt.Tx) error {
		s.URLs = tx.Bucket(t.urls).Stats().KeyN
		s.Images = tx.Bucket(t.images).Stats().KeyN
		s.Failures = tx.Bucket(t.failures).Stats().KeyN
		return nil
	})
	return s, err
}
