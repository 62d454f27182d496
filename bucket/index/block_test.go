package index

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"imgkeep/bucket/record"
)

// A block is there when the file is opened again, is found by its own kind and
// subject alone, and goes when it is lifted.
func TestBlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	db := open(t, path)
	if db.HasBlocks() {
		t.Error("a new index has blocks")
	}
	since := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	blocks := []record.Block{
		{Kind: record.BlockURL, Subject: "https://a.example/x?y", Since: since, Why: "why", By: "by"},
		{Kind: record.BlockHost, Subject: "a.example", Since: since},
		{Kind: record.BlockDigest, Subject: "d", For: "https://a.example/x?y", Since: since},
	}
	for i := range blocks {
		apply(t, db, Change{Block: &blocks[i]})
	}
	for range 2 {
		for _, want := range blocks {
			if got, err := db.Block(want.Kind, want.Subject); err != nil || got != want {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		}
		for _, b := range []record.Block{{Kind: record.BlockHost, Subject: "d"}, {Kind: record.BlockURL, Subject: "https://a.example/"}, {Kind: record.BlockDigest, Subject: "a.example"}} {
			if _, err := db.Block(b.Kind, b.Subject); !errors.Is(err, ErrNotFound) {
				t.Errorf("%+v: %v", b, err)
			}
		}
		n := 0
		for _, err := range db.Blocks() {
			if n++; err != nil {
				t.Error(err)
			}
		}
		if n != len(blocks) {
			t.Errorf("%d blocks", n)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open(t, path)
	}
	// Failures of the class that is pardoned go with it, and no others.
	for _, class := range []string{"removed", "gone"} {
		apply(t, db, Change{Bucket: "i", URL: class, Fail: &record.Failure{Attempts: 1, Kind: class, First: since, Next: since}})
	}
	apply(t, db, Change{Unblock: &blocks[1], ClearClass: "removed"})
	if _, err := db.Block(record.BlockHost, "a.example"); !errors.Is(err, ErrNotFound) {
		t.Errorf("lifted: %v", err)
	}
	if _, err := db.Failure("i", "removed"); !errors.Is(err, ErrNotFound) {
		t.Errorf("pardoned: %v", err)
	}
	if _, err := db.Failure("i", "gone"); err != nil {
		t.Errorf("not pardoned: %v", err)
	}
}

// The last URL takes its image away, and purging all at once.
func TestForgetAndPurge(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	a, b := imageOf("a"), imageOf("b")
	for n := range 3 {
		apply(t, db, Change{Bucket: "i", URL: fmt.Sprint("a", n), Keep: &a}, Change{Bucket: "i", URL: fmt.Sprint("b", n), Keep: &b})
	}
	removing := func(want ...[32]byte) {
		t.Helper()
		got, err := db.Removing("i")
		if err != nil || len(got) != len(want) {
			t.Errorf("removing %v, %v; want %v", got, err, want)
			return
		}
		for i := range got {
			if got[i].Digest != want[i] || got[i].Format != a.Format {
				t.Errorf("removing %v", got[i])
			}
		}
	}
	for n := range 3 {
		removing()
		if e, err := db.Entry("i", a.Digest); err != nil || e.Refs != uint64(3-n) {
			t.Errorf("%d refer to it, %v", e.Refs, err)
		}
		apply(t, db, Change{Bucket: "i", URL: fmt.Sprint("a", n), Forget: true}, Change{Bucket: "i", URL: fmt.Sprint("a", n), Forget: true})
	}
	removing(a.Digest)
	apply(t, db, Change{Bucket: "i", URL: "a0", Keep: &a}) // kept again: not to be removed
	removing()
	apply(t, db, Change{Bucket: "i", Purge: &Removing{Digest: b.Digest, Format: b.Format}})
	removing(b.Digest)
	for n := range 3 {
		if _, err := db.RefOf("i", KeyOf(fmt.Sprint("b", n))); !errors.Is(err, ErrNotFound) {
			t.Errorf("b%d: %v", n, err)
		}
	}
	if _, err := db.Image("i", "a0"); err != nil {
		t.Error(err)
	}
	apply(t, db, Change{Bucket: "i", Removed: &b.Digest})
	removing()
	if err := db.Check(); err != nil {
		t.Error(err)
	}
}

// Blocks of images are gone through without a list of a thousand hashes between them, which
// have their distances.
func TestBlocksOfImages(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	want := []record.Block{
		{Kind: record.BlockDigest, Subject: "d"}, {Kind: record.BlockExcept, Subject: "e"}, {Kind: record.BlockHost, Subject: "h.example"},
		{Kind: record.BlockURL, Subject: "https://a.example/"},
	}
	var changes []Change
	for i := range want {
		changes = append(changes, Change{Block: &want[i]})
	}
	for i := range 3 * ahead {
		changes = append(changes, Change{Block: &record.Block{Kind: record.BlockSimilar, Subject: fmt.Sprintf("%064x", i), Within: i % 49}})
	}
	if err := db.Apply(changes); err != nil {
		t.Fatal(err)
	}
	var got []record.Block
	for b, err := range db.BlocksOfImages() {
		if err != nil {
			t.Fatal(err)
		}
		b.Since = time.Time{}
		got = append(got, b)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	n := 0
	for b, err := range db.Blocks() {
		if err != nil {
			t.Fatal(err)
		}
		if n++; b.Kind == record.BlockSimilar {
			var i int
			if _, err := fmt.Sscanf(b.Subject, "%x", &i); err != nil || b.Within != i%49 {
				t.Errorf("%+v, %v", b, err)
			}
		}
	}
	if n != len(changes) {
		t.Errorf("%d blocks, want %d", n, len(changes))
	}
}
