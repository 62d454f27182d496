package bucket

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/index"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// origin is a test's origin: a table of URLs, and a count of its fetches.
type origin struct {
	mu      sync.Mutex
	answers map[string]answer
	fetches map[string]int
	arrived chan string   // told of each fetch that begins; nil: not
	hold    chan struct{} // fetches wait until it is closed; nil: not
}

type answer struct {
	body string
	err  error
}

func newOrigin() *origin {
	return &origin{answers: map[string]answer{}, fetches: map[string]int{}}
}

func (o *origin) set(url, body string) { o.put(url, answer{body: body}) }

func (o *origin) fail(url string, err error) { o.put(url, answer{err: err}) }

func (o *origin) put(url string, a answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers[url] = a
}

func (o *origin) count(url string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fetches[url]
}

func (o *origin) Fetch(ctx context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	o.mu.Lock()
	o.fetches[r.URL]++
	a, ok := o.answers[r.URL]
	o.mu.Unlock()
	if o.arrived != nil {
		o.arrived <- r.URL
	}
	if o.hold != nil {
		select {
		case <-o.hold:
		case <-ctx.Done():
			return fetch.Result{}, &fetch.Error{Kind: fetch.Timeout, Err: ctx.Err()}
		}
	}
	if !ok {
		return fetch.Result{}, &fetch.Error{Kind: fetch.Gone, Status: 404, Err: errors.New("the origin says 404")}
	}
	// What comes before an error is worthless, and must not be kept.
	if _, err := io.WriteString(dst, a.body); err != nil {
		return fetch.Result{}, err
	}
	info := probe.Info{Format: probe.PNG, Width: 3, Height: 2, Orientation: 1, Frames: 1}
	return fetch.Result{Info: info, Bytes: int64(len(a.body)), FinalURL: r.URL}, a.err
}

// clock is a test's clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func openStore(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Buckets == nil {
		o.Buckets = []Bucket{{Name: "i"}}
	}
	s, err := Open(sparse(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(t.Context()); err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("close: %v", err)
		}
		checkTree(t, o.Root)
	})
	return s
}

// checkTree holds after every test: nothing is left in tmp, every original is
// named by its digest and cannot be written to, and the journal has a line for
// it.
func checkTree(t testing.TB, root string) {
	t.Helper()
	if orphans := checkFiles(t, root); len(orphans) > 0 {
		t.Errorf("not in the journal: %v", orphans)
	}
}

// checkFiles is checkTree for a store that has crashed: it may have originals
// that are not in the journal, and returns them.
func checkFiles(t testing.TB, root string) (orphans []string) {
	t.Helper()
	journaled := map[string]bool{}
	for _, b := range []string{"i", "f"} {
		for _, e := range readJournal(t, root, b) {
			journaled[b+e.Digest] = true
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		parts := strings.Split(rel, "/")
		switch {
		case parts[0] == record.TmpDir:
			t.Errorf("left in tmp: %s", rel)
		case len(parts) == 4 && strings.Count(parts[3], ".") == 1:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			digest := record.Digest(sha256.Sum256(data)).String()
			if want := filepath.Join(parts[0], digest[:1], digest[1:2], digest+".png"); rel != want {
				t.Errorf("%s holds the bytes of %s", rel, want)
			}
			if info, _ := d.Info(); info.Mode() != local.ImageMode {
				t.Errorf("%s has mode %v", rel, info.Mode())
			}
			if !journaled[parts[0]+digest] {
				orphans = append(orphans, rel)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return orphans
}

const (
	urlA = "https://example.com/a.png"
	urlB = "https://example.com/b.png"
)

func keep(t testing.TB, s *Store, url string) record.Image {
	t.Helper()
	image, err := s.Keep(t.Context(), "i", url)
	if err != nil {
		t.Fatalf("keep %s: %v", url, err)
	}
	return image
}

func content(t testing.TB, s *Store, image record.Image) string {
	t.Helper()
	f, err := s.Open(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Fetched once, kept for good: a second Keep, and one after a restart with the
// origin gone, give the same image.
func TestKeep(t *testing.T) {
	o, c, root := newOrigin(), newClock(), t.TempDir()
	o.set(urlA, "the bytes of a")
	s := openStore(t, Options{Root: root, Origin: o, Now: c.Now})
	first := keep(t, s, urlA)
	if got := content(t, s, first); got != "the bytes of a" {
		t.Errorf("kept %q", got)
	}
	want := record.Image{
		Bucket: "i", URL: urlA, Digest: sha256.Sum256([]byte("the bytes of a")), Bytes: 14, Stored: c.Now(),
		Info: probe.Info{Format: probe.PNG, Width: 3, Height: 2, Orientation: 1, Frames: 1},
	}
	if first != want {
		t.Errorf("got %+v, want %+v", first, want)
	}
	c.add(time.Hour)
	if again := keep(t, s, urlA); again != first {
		t.Errorf("second time: %+v, want %+v", again, first)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, Options{Root: root, Origin: newOrigin(), Now: c.Now})
	if again := keep(t, s, urlA); again != first || content(t, s, again) != "the bytes of a" {
		t.Errorf("after a restart: %+v, want %+v", again, first)
	}
	if n := o.count(urlA); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

// A new bucket has all its folders.
func TestFolders(t *testing.T) {
	root := t.TempDir()
	openStore(t, withFolders(Options{Root: root, Origin: newOrigin(), Buckets: []Bucket{{Name: "i"}, {Name: "f"}}}))
	for _, b := range []string{"i", "f"} {
		found, err := filepath.Glob(filepath.Join(root, b, "?", "?"))
		if err != nil || len(found) != 64*64 {
			t.Errorf("bucket %s has %d folders, %v", b, len(found), err)
		}
	}
	for i := range record.ShardNames {
		if d, err := record.ParseDigest(strings.Repeat(record.ShardNames[i:i+1], 42) + "A"); err != nil || d.String()[:1] != record.ShardNames[i:i+1] {
			t.Errorf("%q is no first character of a digest: %v", record.ShardNames[i], err)
		}
	}
}

func TestSameBytesAreOneFile(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.set(urlA, "same")
	o.set(urlB, "same")
	s := openStore(t, Options{Root: root, Origin: o})
	a, b := keep(t, s, urlA), keep(t, s, urlB)
	if a.File() != b.File() {
		t.Errorf("two files: %s and %s", a.File(), b.File())
	}
	files, err := filepath.Glob(filepath.Join(root, "i", "?", "?", "*"))
	if err != nil || len(files) != 1 {
		t.Errorf("files: %v, %v", files, err)
	}
	if got := len(readJournal(t, root, "i")); got != 2 {
		t.Errorf("%d lines in the journal, want one for each URL", got)
	}
}

// Buckets share nothing.
func TestBucketsAreApart(t *testing.T) {
	o := newOrigin()
	o.set(urlA, "a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: o, Buckets: []Bucket{{Name: "i"}, {Name: "f"}}})
	keep(t, s, urlA)
	if _, err := s.Find("f", urlA); !errors.Is(err, ErrNotKept) {
		t.Errorf("in another bucket: %v", err)
	}
	if _, err := s.Keep(t.Context(), "x", urlA); !errors.Is(err, ErrNoBucket) {
		t.Errorf("in no bucket: %v", err)
	}
}

// A hundred viewers at once cause one fetch.
func TestOneFlight(t *testing.T) {
	o := newOrigin()
	o.arrived, o.hold = make(chan string, 200), make(chan struct{})
	o.set(urlA, "a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: o})
	results := make(chan error, 100)
	for range cap(results) {
		go func() {
			_, err := s.Keep(t.Context(), "i", urlA)
			results <- err
		}()
	}
	<-o.arrived
	close(o.hold)
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := o.count(urlA); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

// The viewer who started a fetch leaves: the image is kept all the same.
func TestFlightSurvivesItsViewer(t *testing.T) {
	o := newOrigin()
	o.arrived, o.hold = make(chan string, 1), make(chan struct{})
	o.set(urlA, "a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: o})
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := s.Keep(ctx, "i", urlA)
		left <- err
	}()
	<-o.arrived
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the viewer got %v", err)
	}
	close(o.hold)
	keep(t, s, urlA) // joins the flight, or finds what it kept
	if n := o.count(urlA); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

// Close lets running fetches finish, and what they fetched is kept.
func TestCloseFinishesWork(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.arrived, o.hold = make(chan string, 1), make(chan struct{})
	o.set(urlA, "a")
	s := openStore(t, Options{Root: root, Origin: o})
	result := make(chan error)
	go func() {
		_, err := s.Keep(t.Context(), "i", urlA)
		result <- err
	}()
	<-o.arrived
	closed := make(chan error)
	go func() { closed <- s.Close(t.Context()) }()
	for s.Ready() == nil { // until Close has begun
	}
	if _, err := s.Keep(t.Context(), "i", urlB); !errors.Is(err, ErrClosed) {
		t.Errorf("new work while closing: %v", err)
	}
	close(o.hold)
	if err := <-result; err != nil {
		t.Errorf("work under way: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	s = openStore(t, Options{Root: root, Origin: newOrigin()})
	keep(t, s, urlA)
}

// Close gives up on a fetch that hangs, when its context ends. It is no failure
// of the origin's.
func TestCloseBreaksOffWork(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.arrived, o.hold = make(chan string, 1), make(chan struct{})
	s := openStore(t, Options{Root: root, Origin: o})
	result := make(chan error)
	go func() {
		_, err := s.Keep(context.Background(), "i", urlA)
		result <- err
	}()
	<-o.arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Errorf("the viewer got %v", err)
	}
	s = openStore(t, Options{Root: root, Origin: o})
	if _, err := s.Find("i", urlA); !errors.Is(err, ErrNotKept) {
		t.Errorf("remembered: %v", err)
	}
}

func TestDeniedHosts(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.set(urlA, "a")
	s := openStore(t, Options{Root: root, Origin: o})
	keep(t, s, urlA)
	s.Close(t.Context())
	s = openStore(t, Options{Root: root, Origin: o, DenyHosts: []string{"example.com"}})
	if _, err := s.Keep(t.Context(), "i", urlA); !errors.Is(err, ErrDenied) {
		t.Errorf("a kept image of a denied host: %v", err)
	}
	if _, err := s.Fetch(t.Context(), "i", urlB); !errors.Is(err, ErrDenied) {
		t.Errorf("a passing image of a denied host: %v", err)
	}
	if n := o.count(urlB); n != 0 {
		t.Errorf("a denied host was asked %d times", n)
	}
}

// Fetch leaves nothing behind.
func TestFetchKeepsNothing(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.set(urlA, "the bytes of a")
	s := openStore(t, Options{Root: root, Origin: o})
	p, err := s.Fetch(t.Context(), "i", urlA)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(p, 0, p.Bytes))
	if err != nil || string(b) != "the bytes of a" {
		t.Errorf("got %q, %v", b, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Find("i", urlA); !errors.Is(err, ErrNotKept) {
		t.Errorf("kept: %v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(root, "i", "?", "?", "*")); len(files) != 0 {
		t.Errorf("files: %v", files)
	}
	var f *Failure
	if _, err := s.Fetch(t.Context(), "i", urlB); !errors.As(err, &f) {
		t.Errorf("a failure: %v", err)
	}
	if _, err := s.Fetch(t.Context(), "i", urlB); !errors.As(err, &f) || o.count(urlB) != 1 {
		t.Errorf("its backoff: %v, asked %d times", err, o.count(urlB))
	}
}

func TestOpenRefuses(t *testing.T) {
	o := newOrigin()
	for name, options := range map[string]Options{
		"no origin":          {Buckets: []Bucket{{Name: "i"}}},
		"no bucket":          {Origin: o},
		"a bucket twice":     {Origin: o, Buckets: []Bucket{{Name: "i"}, {Name: "i"}}},
		"a bucket named tmp": {Origin: o, Buckets: []Bucket{{Name: "tmp"}}},
		"a path as a bucket": {Origin: o, Buckets: []Bucket{{Name: "../i"}}},
	} {
		options.Root = t.TempDir()
		if _, err := Open(options); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	root := t.TempDir()
	openStore(t, Options{Root: root, Origin: o})
	if _, err := Open(Options{Root: root, Origin: o, Buckets: []Bucket{{Name: "i"}}}); !errors.Is(err, index.ErrLocked) {
		t.Errorf("a second process: %v", err)
	}
}

// Open deletes what a killed process has left in tmp, and nothing else.
func TestSweep(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.set(urlA, "a")
	s := openStore(t, Options{Root: root, Origin: o})
	image := keep(t, s, urlA)
	s.Close(t.Context())
	for _, name := range []string{"image-123", "i/A/B", "i/journal"} {
		path := filepath.Join(root, record.TmpDir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, Options{Root: root, Origin: o})
	if left, err := os.ReadDir(filepath.Join(root, record.TmpDir)); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if got := content(t, s, image); got != "a" {
		t.Errorf("got %q", got)
	}
}

// Below a floor of free space nothing new is kept, and kept images are served.
func TestFloors(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.set(urlA, "a")
	s := openStore(t, Options{Root: root, Origin: o, MinFree: 1, MinFreeInodes: 1})
	keep(t, s, urlA)
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
	s.Close(t.Context())
	for name, floor := range map[string]Options{"bytes": {MinFree: 1 << 62}, "inodes": {MinFreeInodes: 1 << 62}} {
		floor.Root, floor.Origin = root, o
		s = openStore(t, floor)
		if err := s.Ready(); !errors.Is(err, ErrFull) {
			t.Errorf("%s: ready: %v", name, err)
		}
		if _, err := s.Keep(t.Context(), "i", urlB); !errors.Is(err, ErrFull) {
			t.Errorf("%s: keep: %v", name, err)
		}
		if _, err := s.Fetch(t.Context(), "i", urlB); !errors.Is(err, ErrFull) {
			t.Errorf("%s: fetch: %v", name, err)
		}
		if got := content(t, s, keep(t, s, urlA)); got != "a" || o.count(urlB) != 0 {
			t.Errorf("%s: what is kept: %q; new fetches: %d", name, got, o.count(urlB))
		}
		s.Close(t.Context())
	}
}

// Many at once, some twice, some with the same bytes, some failing.
func TestKeepConcurrently(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	url := func(i int) string { return fmt.Sprintf("https://example.com/%d.png", i) }
	const n = 200
	for i := range n {
		if i%5 != 0 {
			o.set(url(i), fmt.Sprint("bytes ", i%50))
		}
	}
	s := openStore(t, Options{Root: root, Origin: o})
	var wg sync.WaitGroup
	for i := range 2 * n {
		wg.Go(func() {
			image, err := s.Keep(t.Context(), "i", url(i%n))
			if (err == nil) != (i%n%5 != 0) {
				t.Errorf("%d: %v", i, err)
			}
			if err == nil && content(t, s, image) != fmt.Sprint("bytes ", i%n%50) {
				t.Errorf("%d: wrong bytes", i)
			}
		})
	}
	wg.Wait()
	files, _ := filepath.Glob(filepath.Join(root, "i", "?", "?", "*"))
	if len(files) != 40 {
		t.Errorf("%d files for 40 kinds of bytes", len(files))
	}
	urls := map[string]bool{}
	for _, e := range readJournal(t, root, "i") {
		urls[e.URL] = true
	}
	if len(urls) != 160 {
		t.Errorf("%d URLs in the journal, want 160", len(urls))
	}
}
