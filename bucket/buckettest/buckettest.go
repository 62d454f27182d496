// Package buckettest opens stores for tests of the packages beside bucket, with an origin that
// answers from a table, and a clock that only tests move.
package buckettest

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Origin answers from a table of URLs; all others are gone. It may be used concurrently, and
// the zero value is ready.
type Origin struct {
	mu      sync.Mutex
	answers map[string]answer
}

type answer struct {
	body string
	err  error
}

// Set has a URL answered with bytes, which count as a PNG of 3 by 2 pixels.
func (o *Origin) Set(url, body string) { o.put(url, answer{body: body}) }

// Fail has a URL answered with an error.
func (o *Origin) Fail(url string, err error) { o.put(url, answer{err: err}) }

func (o *Origin) put(url string, a answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.answers == nil {
		o.answers = map[string]answer{}
	}
	o.answers[url] = a
}

// Fetch implements bucket.Origin.
func (o *Origin) Fetch(_ context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	o.mu.Lock()
	a, ok := o.answers[r.URL]
	o.mu.Unlock()
	if !ok {
		return fetch.Result{}, &fetch.Error{Kind: fetch.Gone, Status: 404, Err: errors.New("the origin says 404")}
	}
	if _, err := io.WriteString(dst, a.body); err != nil {
		return fetch.Result{}, err
	}
	info := probe.Info{Format: probe.PNG, Width: 3, Height: 2, Orientation: 1, Frames: 1}
	return fetch.Result{Info: info, Bytes: int64(len(a.body)), FinalURL: r.URL}, a.err
}

// Clock is a clock. It may be used concurrently. The zero value begins on 2026-11-18.
type Clock struct {
	mu    sync.Mutex
	since time.Duration
}

// Now is its time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC).Add(c.since)
}

// Add moves it.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since += d
}

// Open opens a store, with a bucket i unless o names others. When the test ends, the store is
// closed; then tmp must be empty, and each original named by the digest of its bytes.
func Open(t testing.TB, o bucket.Options) *bucket.Store {
	t.Helper()
	if o.Buckets == nil {
		o.Buckets = []bucket.Bucket{{Name: "i"}}
	}
	s, err := bucket.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil && !errors.Is(err, bucket.ErrClosed) {
			t.Errorf("close: %v", err)
		}
		for file, text := range Tree(t, o.Root) {
			if strings.HasPrefix(file, record.TmpDir+"/") {
				t.Errorf("%s is left", file)
			}
			name := filepath.Base(file)
			f, ok := record.ParseFile(name[:1], name[min(1, len(name)-1):min(2, len(name))], name)
			if ok && f.Variant == "" && f.Digest != sha256.Sum256([]byte(text)) {
				t.Errorf("%s has other bytes than its name says", file)
			}
		}
	})
	return s
}

// Keep keeps a URL in bucket i.
func Keep(t testing.TB, s *bucket.Store, url string) record.Image {
	t.Helper()
	image, err := s.Keep(t.Context(), "i", url)
	if err != nil {
		t.Fatalf("keep %s: %v", url, err)
	}
	return image
}

// Tree maps the paths of all regular files below a folder to their bytes.
func Tree(t testing.TB, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		text, err := os.ReadFile(path)
		files[rel] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
