package bucket

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"imgkeep/bucket/backup"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
)

// manyImages makes a store of so many tiny images as a server would have left it, but for the
// index.
func manyImages(t *testing.T, images int) (root string) {
	t.Helper()
	root = t.TempDir()
	var lines bytes.Buffer
	for n := range images {
		body := fmt.Sprint("image ", n)
		image := record.Image{
			Bucket: "i", URL: fmt.Sprintf("https://example.com/%d.png", n), Digest: sha256.Sum256([]byte(body)),
			Info: probe.Info{Format: probe.PNG, Width: 1, Height: 1}, Bytes: int64(len(body)), Stored: time.Unix(1.7e9, 0),
		}
		path := filepath.Join(root, image.File())
		if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o444); err != nil {
			t.Fatal(err)
		}
		line, err := ledger.KeepEvent(image).Line()
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(line)
	}
	if err := os.MkdirAll(filepath.Join(root, "i", record.JournalDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, month), lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return root
}

// A scrub and a backup take as much memory for eight thousand images as for two: what is live
// is looked at now and then when they report progress.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("bucket/reindex tries the sorting that they share")
	}
	const memory = 64 << 10
	most, calls := uint64(0), 0
	look := func(p record.Progress) {
		if calls++; calls%100 != 0 && p.Stage != "journals" {
			return
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	}
	live := func(images int, work func(root string)) uint64 {
		root := manyImages(t, images)
		mustReindex(t, root)
		most = 0
		work(root)
		return most
	}
	for name, work := range map[string]func(root string){
		"scrub": func(root string) {
			s := openStore(t, Options{Root: root, Origin: newOrigin()})
			defer s.Close(t.Context())
			r, err := scrub.Run(t.Context(), s.Maintenance(), scrub.Options{Memory: memory, Progress: look})
			if err != nil || len(r.Found) > 0 {
				t.Errorf("%+v, %v", r, err)
			}
		},
		"backup": func(root string) {
			r, err := backup.Run(t.Context(), backup.Options{Root: root, Dir: t.TempDir(), Memory: memory, Progress: look})
			if err != nil || len(r.Found) > 0 {
				t.Errorf("%+v, %v", r, err)
			}
		},
	} {
		few, many := live(2000, work), live(8000, work)
		each := (int64(many) - int64(few)) / 6000
		t.Logf("%s: %d bytes live at most with 2,000 images, %d with 8,000", name, few, many)
		if few == 0 || each >= 16 {
			t.Errorf("%s: 6,000 more images take %d bytes more: %d each", name, int64(many)-int64(few), each)
		}
	}
}
