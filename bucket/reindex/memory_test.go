package reindex_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
)

// originals are files that only a list knows.
type originals struct {
	blob.Store
	images int
}

// image is one of so many, in the order of their digests.
func (o originals) image(n int) record.Image {
	var d record.Digest
	binary.BigEndian.PutUint64(d[:], uint64(n)*(math.MaxUint64/uint64(o.images)))
	return record.Image{
		Bucket: "i", URL: fmt.Sprintf("https://images.example.com/%d.png", n), Digest: d,
		Info: probe.Info{Format: probe.PNG, Width: 1, Height: 1, Orientation: 1, Frames: 1}, Bytes: 100, Stored: time.Unix(1.7e9, 0),
	}
}

func (o originals) List(context.Context, string) iter.Seq2[record.Image, error] {
	return func(yield func(record.Image, error) bool) {
		for n := range o.images {
			if !yield(o.image(n), nil) {
				return
			}
		}
	}
}

// Reindex takes as much memory for forty thousand images as for twenty: what is live is
// looked at whenever it reports progress.
func TestMemory(t *testing.T) {
	live := func(images int) uint64 {
		root, all := t.TempDir(), originals{images: images}
		if err := os.MkdirAll(filepath.Join(root, "i", record.JournalDir), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(root, "i", record.JournalDir, "2026-11.ndjson"))
		if err != nil {
			t.Fatal(err)
		}
		w := bufio.NewWriter(f)
		for n := range images {
			line, err := ledger.KeepEvent(all.image(n * 7919 % images)).Line()
			if err != nil {
				t.Fatal(err)
			}
			w.Write(line)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		f.Close()
		most := uint64(0)
		look := func(record.Progress) {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
		r, err := reindex.Run(t.Context(), reindex.Options{
			Root: root, Files: all, Memory: 256 << 10, Progress: look,
		})
		if err != nil || r.URLs != images || r.Images != images {
			t.Fatalf("%+v, %v", r, err)
		}
		db, err := index.Open(filepath.Join(root, record.IndexFile), []string{"i"}, index.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if got, err := db.Image("i", all.image(images/2).URL); err != nil || got.Digest != all.image(images/2).Digest {
			t.Errorf("found %v, %v", got, err)
		}
		return most
	}
	few, many := live(20_000), live(40_000)
	t.Logf("%d bytes live at most with 20,000 images, %d with 40,000", few, many)
	if each := (int64(many) - int64(few)) / 20_000; each >= 8 {
		t.Errorf("20,000 more images take %d bytes more: %d each", many-few, each)
	}
}
