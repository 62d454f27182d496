package index

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"imgkeep/bucket/record"
)

func TestDeadly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	db := open(t, path)
	want := Poison{Digest: sha256.Sum256([]byte("a")), Crashes: 2, Last: time.Unix(1000, 0).UTC(), Detail: "SIGSEGV"}
	apply(t, db, Change{Bucket: "i", Poison: &want})
	if got, err := db.Poison("i", want.Digest); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for bucket, digest := range map[string][32]byte{"i": sha256.Sum256([]byte("b")), "f": want.Digest, "none": want.Digest} {
		if got, err := db.Poison(bucket, digest); !errors.Is(err, ErrNotFound) {
			t.Errorf("in %s: %+v, %v", bucket, got, err)
		}
	}
	for n, length := range map[string]int{"at the limit": maxDetail, "above": maxDetail + 1} {
		long := want
		long.Detail = strings.Repeat("x", length)
		apply(t, db, Change{Bucket: "i", Poison: &long})
		if got, err := db.Poison("i", want.Digest); err != nil || got.Detail != strings.Repeat("x", maxDetail) {
			t.Errorf("a detail %s: %d bytes, %v", n, len(got.Detail), err)
		}
	}
	// It goes along into a compacted file, and through a restart.
	if _, _, err := db.Compact(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	if got, err := db.Poison("i", want.Digest); err != nil || got.Crashes != 2 {
		t.Errorf("after all that: %+v, %v", got, err)
	}
	apply(t, db, Change{Bucket: "i", Poison: &Poison{Digest: want.Digest}})
	if got, err := db.Poison("i", want.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("forgotten: %+v, %v", got, err)
	}
	for _, broken := range []string{"", "\x80", "\x01", "\x01\x80"} {
		if d, err := decodePoison([]byte(broken)); !errors.Is(err, errRecord) {
			t.Errorf("%q: %+v, %v", broken, d, err)
		}
	}
}

// A table that is missing is damage; one that a later program of the same schema
// has more is made.
func TestTableMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	db := open(t, path)
	image := imageOf("a")
	apply(t, db, Change{Bucket: "i", URL: "1", Keep: &image})
	unmade := func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("i/deadly")) }
	if err := errors.Join(db.bolt.Update(unmade), db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, []string{"i"}, Options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("a table is missing: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	apply(t, db, Change{Bucket: "i", URL: "1", Keep: &image})
	err := db.update(func(w *writing) error {
		return errors.Join(unmade(w.tx), w.meta().delete(totalsKey([]byte("i/deadly"))))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	if got, err := db.Image("i", "1"); err != nil || got != image {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := db.Poison("i", image.Digest); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestFailureForgotten(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	apply(t, db, Change{Bucket: "i", URL: "1", Fail: &record.Failure{Kind: "gone", Attempts: 1}}, Change{Bucket: "i", URL: "2", Fail: &record.Failure{Kind: "gone", Attempts: 1}})
	apply(t, db, Change{Bucket: "i", URL: "1", Fail: &record.Failure{}})
	if f, err := db.Failure("i", "1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := db.Failure("i", "2"); err != nil {
		t.Error(err)
	}
}
