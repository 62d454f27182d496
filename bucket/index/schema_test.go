package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"imgkeep/bucket/probe"
)

// saved copies an index that an earlier version of this package has written, of
// this schema:
// in bucket i URLs 0 to 299, each three of which have the same bytes; in bucket
// f one failure.
func saved(t *testing.T, schema int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("testdata/schema%d.db", schema))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "index.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An index of an earlier layout is brought to the present one, and answers as it
// did.
func TestMigrateSaved(t *testing.T) {
	for version := 1; version < schema; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) { testMigrateSaved(t, saved(t, version)) })
	}
}

func testMigrateSaved(t *testing.T, path string) {
	// A bucket that is not configured now is brought along: it may be again.
	if db, err := Open(path, []string{"f"}, Options{}); err != nil {
		t.Fatal(err)
	} else if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db := open(t, path)
	for n := range 300 {
		want := Image{
			Digest: sha256.Sum256(fmt.Append(nil, n/3)),
			Info:   probe.Info{Format: probe.WebP, Width: 640, Height: 480, Orientation: 6, Frames: 12},
			Bytes:  int64(1000 + n/3),
			Stored: time.Date(2026, 11, 18, 12, 0, n/3, 0, time.UTC),
		}
		if got, err := db.Image("i", fmt.Sprintf("https://example.com/%d", n)); err != nil || got != want {
			t.Errorf("URL %d: %+v, %v; want %+v", n, got, err, want)
		}
		if e, err := db.Entry("i", want.Digest); err != nil || e.Refs != 3 {
			t.Errorf("URL %d: %d refer to its image, %v; want 3", n, e.Refs, err)
		}
	}
	if f, err := db.Failure("f", "https://example.com/gone"); err != nil || f.Class != "gone" || f.Attempts != 3 {
		t.Errorf("the failure: %+v, %v", f, err)
	}
	if f, err := db.Figures(); err != nil || f.Schema != schema {
		t.Errorf("figures: %+v, %v", f, err)
	}
	image := imageOf("new")
	apply(t, db, Change{Bucket: "i", URL: "https://example.com/0", Keep: &image})
	if got, err := db.Image("i", "https://example.com/0"); err != nil || got != image {
		t.Errorf("kept after migrating: %+v, %v", got, err)
	}
	apply(t, db, Change{Block: &Block{Kind: BlockHost, Subject: "a.example", Since: image.Stored}}, Change{Bucket: "f", URL: "https://example.com/gone", Forget: true})
	if _, err := db.Block(BlockHost, "a.example"); err != nil {
		t.Errorf("blocked after migrating: %v", err)
	}
	if _, err := db.Failure("f", "https://example.com/gone"); !errors.Is(err, ErrNotFound) {
		t.Errorf("forgotten after migrating: %v", err)
	}
}

func TestMigrations(t *testing.T) {
	mark := func(name string) migration {
		return func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket([]byte(name)) // an error, the second time
			return err
		}
	}
	path := saved(t, 1)
	open := func(version uint64, steps map[uint64]migration) error {
		db, err := Open(path, []string{"i"}, Options{Timeout: time.Millisecond, schema: version, migrations: steps})
		if err != nil {
			return err
		}
		defer db.Close()
		f, err := db.Figures()
		if err == nil && f.Schema != version {
			t.Errorf("its schema is %d, want %d", f.Schema, version)
		}
		return err
	}
	// Steps that fail leave the file as it was, those before them included.
	broken := errors.New("broken")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fails := map[uint64]migration{1: mark("one"), 2: func(*bbolt.Tx) error { return broken }}
	if err := open(3, fails); !errors.Is(err, broken) || !strings.Contains(err.Error(), "from 2 to 3") {
		t.Errorf("a step that fails: %v", err)
	}
	if err := open(3, map[uint64]migration{1: mark("one")}); err == nil || !strings.Contains(err.Error(), "imgkeep reindex") {
		t.Errorf("a step that is missing: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed, %v", err)
	}
	// Each step is taken once.
	steps := map[uint64]migration{1: mark("one"), 2: mark("two")}
	for range 2 {
		if err := open(3, steps); err != nil {
			t.Error(err)
		}
	}
	steps[3] = mark("three")
	if err := open(4, steps); err != nil {
		t.Error(err)
	}
}

func TestSchemaRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		value []byte
		want  string
	}{
		"newer":      {binary.AppendUvarint(nil, schema+1), "its schema is 4, and this program reads up to 3"},
		"zero":       {[]byte{0}, "unreadable: 00"},
		"empty":      {[]byte{}, "unreadable: "},
		"not a sum":  {[]byte{0x80}, "unreadable: 80"},
		"two of it":  {[]byte{1, 1}, "unreadable: 0101"},
		"far beyond": {bytes.Repeat([]byte{0xff}, 11), "unreadable: ff"},
	} {
		path := filepath.Join(t.TempDir(), "index.db")
		db := open(t, path)
		err := db.bolt.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaTable).Put(schemaKey, tt.value) })
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
		_, err = Open(path, nil, Options{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if errors.Is(err, ErrSchema) != (name == "newer") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
