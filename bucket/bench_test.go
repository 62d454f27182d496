package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// BenchmarkKeep keeps images of 20 KB, durably, and beside it lets as many
// goroutines write, flush, rename and flush the folder of the same files, with
// neither journal nor index. In turns, so that both meet the same disk. It
// reports both rates and keeping's part of the bare one. TMPDIR says which disk:
//
//	TMPDIR=/var/tmp go test -run - -bench Keep -benchtime 3000x ./bucket
func BenchmarkKeep(b *testing.B) {
	for _, form := range []struct {
		name    string
		clients int
		buckets []string
	}{
		{"clients=1", 1, []string{"i"}},
		{"clients=16", 16, []string{"i"}},
		{"clients=64", 64, []string{"i"}},
		{"clients=64,buckets=2", 64, []string{"i", "f"}},
	} {
		b.Run(form.name, func(b *testing.B) {
			o := withFolders(Options{Root: b.TempDir(), Origin: bulk{}})
			for _, name := range form.buckets {
				o.Buckets = append(o.Buckets, Bucket{Name: name})
			}
			s := openStore(b, o)
			bare := b.TempDir()
			if err := local.MakeBucket(local.OS{}, s.Root(), "bare"); err != nil {
				b.Fatal(err)
			}
			if err := os.Rename(filepath.Join(s.Root(), "bare"), filepath.Join(bare, "i")); err != nil {
				b.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(bare, record.TmpDir), local.PrivateDir); err != nil {
				b.Fatal(err)
			}
			const turn = 500
			var kept, written time.Duration
			done := 0
			for done < b.N {
				n := min(turn, b.N-done)
				kept += together(form.clients, n, func(i int) error {
					_, err := s.Keep(b.Context(), form.buckets[i%len(form.buckets)], bulkURL(done+i))
					return err
				}, b)
				written += together(form.clients, n, func(i int) error { return writeBare(bare, bulkURL(done+i)) }, b)
				done += n
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(b.N)/kept.Seconds(), "kept/s")
			b.ReportMetric(float64(b.N)/written.Seconds(), "bare/s")
			b.ReportMetric(written.Seconds()/kept.Seconds(), "ratio")
		})
	}
}

// together does n things with so many clients, and tells how long it took.
func together(clients, n int, do func(i int) error, b *testing.B) time.Duration {
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// writeBare is what a durable file costs at least.
func writeBare(root, url string) error {
	f, err := os.CreateTemp(filepath.Join(root, record.TmpDir), "*")
	if err != nil {
		return err
	}
	defer f.Close()
	body := bulkBody(url)
	if _, err := f.Write(body); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	path := filepath.Join(root, record.Image{Bucket: "i", Digest: sha256.Sum256(body), Info: probe.Info{Format: probe.PNG}}.File())
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return local.OS{}.SyncDir(filepath.Dir(path))
}

// bulk is an origin with an image of 20 KB under every URL.
type bulk struct{}

func bulkURL(i int) string { return fmt.Sprintf("https://example.com/%d.png", i) }

func bulkBody(url string) []byte { return append(bytes.Repeat([]byte("x"), 20<<10), url...) }

func (bulk) Fetch(_ context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	body := bulkBody(r.URL)
	_, err := dst.Write(body)
	return fetch.Result{Info: probe.Info{Format: probe.PNG, Width: 3, Height: 2, Orientation: 1, Frames: 1}, Bytes: int64(len(body))}, err
}
