package shared_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/record"
)

// BenchmarkKeep keeps images of 20 KB in a real object store, and beside it lets as many
// clients create the same objects, with neither record nor log nor index. In turns, so that
// both meet the same machine. It reports both rates, and keeping's part of the bare one.
func BenchmarkKeep(b *testing.B) {
	for _, clients := range []int{16, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			c := s3test.Start(b).Client(b)
			db, err := index.Open(filepath.Join(b.TempDir(), record.IndexFile), []string{"i"}, index.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			l := shared.New(shared.Options{Objects: c, Files: object.NewBlobs(c, b.TempDir()), State: indexState{db}, Buckets: []string{"i"}})
			together := func(n int, do func(i int) error) time.Duration {
				start := time.Now()
				var next atomic.Int64
				var all sync.WaitGroup
				for range clients {
					all.Go(func() {
						for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
							if err := do(i); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				return time.Since(start)
			}
			body := func(i int) []byte { return append(bytes.Repeat([]byte("x"), 20<<10), fmt.Sprint(i)...) }
			const turn = 300
			var kept, bare time.Duration
			for done := 0; done < b.N; done += turn {
				n := min(turn, b.N-done)
				kept += together(n, func(i int) error {
					text := body(done + i)
					img := image(fmt.Sprintf("https://a.example/%d.png", done+i), "")
					img.Digest, img.Bytes = sha256.Sum256(text), int64(len(text))
					_, err := l.Keep(b.Context(), img, bytes.NewReader(text), *ledger.KeepEvent(img))
					return err
				})
				bare += together(n, func(i int) error {
					return c.Create(b.Context(), fmt.Sprintf("bare/%d", done+i), object.Text(body(done+i), "image/png"))
				})
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(b.N)/kept.Seconds(), "kept/s")
			b.ReportMetric(float64(b.N)/bare.Seconds(), "PUT/s")
			b.ReportMetric(bare.Seconds()/kept.Seconds(), "ratio")
		})
	}
}
