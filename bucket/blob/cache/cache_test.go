package cache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/blobtest"
	"imgkeep/bucket/blob/cache"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/object/objecttest"
	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// folder makes the folder of a cache.
func folder(t testing.TB) string {
	root := t.TempDir()
	for _, name := range append([]string{record.TmpDir}, blobtest.Buckets...) {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func open(t testing.TB, o cache.Options) *cache.Store {
	t.Helper()
	o.Buckets = blobtest.Buckets
	if o.Disk == nil {
		o.Disk = localtest.Sparse{Disk: local.OS{}}
	}
	s, err := cache.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flaky is a store of objects whose requests fail when they are told to.
type flaky struct {
	object.Store
	at, done atomic.Int64
	failed   atomic.Bool
}

func (f *flaky) fails() bool {
	if n := f.at.Load(); n == 0 || f.done.Add(1) < n {
		return false
	}
	f.failed.Store(true)
	return true
}

func (f *flaky) Create(ctx context.Context, key string, c object.Content) error {
	if f.fails() {
		return object.ErrUnclear
	}
	return f.Store.Create(ctx, key, c)
}

func (f *flaky) Stat(ctx context.Context, key string) (object.Info, error) {
	if f.fails() {
		return object.Info{}, errors.New("no answer")
	}
	return f.Store.Stat(ctx, key)
}

// place is a cache before a store of objects. The disk fails as well when told to.
func place(newObjects func(t testing.TB) object.Store, size int64) func(t testing.TB) blobtest.Place {
	return func(t testing.TB) blobtest.Place {
		objects := &flaky{Store: newObjects(t)}
		root := folder(t)
		var fault localtest.Fault
		disk := localtest.Sparse{Disk: localtest.New(func(s localtest.Step, do func() error) error {
			if s.Op == "RemoveAll" {
				return do()
			}
			return fault.Hook(s, do)
		})}
		return blobtest.Place{
			Open: func(t testing.TB) blob.Store {
				return open(t, cache.Options{Under: object.NewBlobs(objects, t.TempDir()), Root: root, Bytes: size, Hold: time.Nanosecond, Disk: disk})
			},
			Temp: func(t testing.TB) *os.File {
				f, err := os.CreateTemp(filepath.Join(root, record.TmpDir), "image-*")
				if err != nil {
					t.Fatal(err)
				}
				return f
			},
			FailAt: func(n int) bool {
				failed := fault.Disarm() != nil
				fault.Arm(n, syscall.EIO, false, true)
				objects.at.Store(int64(n))
				objects.done.Store(0)
				return objects.failed.Swap(false) || failed
			},
			Damage: func(t testing.TB, image record.Image, bytes []byte) { // of the object, and of the file if there is one
				if err := objects.Put(t.Context(), object.Key(image), object.Text(bytes, "")); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(root, image.File())
				if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
					return
				} else if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, bytes, local.ImageMode); err != nil {
					t.Fatal(err)
				}
			},
		}
	}
}

// The suite of all stores, over one in memory, with room for all and for hardly more than the
// largest file; and over a real one.
func TestStore(t *testing.T) {
	memory := func(testing.TB) object.Store { return &objecttest.Memory{} }
	for _, size := range []int64{1 << 30, 1028 << 10} {
		t.Run(fmt.Sprintf("memory, %d KB", size>>10), func(t *testing.T) { blobtest.Run(t, place(memory, size)) })
	}
	gateway := s3test.Start(t)
	t.Run("a real store", func(t *testing.T) {
		blobtest.Run(t, place(func(t testing.TB) object.Store { return gateway.Client(t) }, 1028<<10))
	})
}

// counting counts the originals that are fetched from below.
type counting struct {
	*object.Blobs
	fetched atomic.Int64
	hold    chan struct{} // if it is set, fetching waits for it
	begun   chan struct{} // told then that it waits
}

func (c *counting) FetchTo(ctx context.Context, image record.Image, dst io.Writer) error {
	c.fetched.Add(1)
	if c.hold != nil {
		c.begun <- struct{}{}
		<-c.hold
	}
	return c.Blobs.FetchTo(ctx, image, dst)
}

const kb = 1 << 10

// original is the n-th image, of so many bytes.
func original(n, size int) (record.Image, []byte) {
	data := bytes.Repeat([]byte{byte(n), byte(n >> 8), 7, 11}, size/4)
	return record.Image{Bucket: "i", Digest: sha256.Sum256(data), Info: probe.Info{Format: probe.PNG}, Bytes: int64(len(data))}, data
}

// world is a cache of files of 4 KB, whose clock the test has.
type world struct {
	*testing.T
	*cache.Store
	under *counting
	root  string
	now   time.Time
	o     cache.Options
}

func newWorld(t *testing.T, files int64) *world {
	w := &world{T: t, root: folder(t), now: time.Now().Add(time.Hour)} // ahead of all times of access
	w.under = &counting{Blobs: object.NewBlobs(&objecttest.Memory{}, t.TempDir())}
	w.o = cache.Options{Under: w.under, Root: w.root, Bytes: files * 4 * kb, Now: func() time.Time { return w.now }}
	w.Store = open(t, w.o)
	return w
}

// put puts the n-th image, a minute after what was before.
func (w *world) put(n int) record.Image {
	w.Helper()
	image, data := original(n, 4*kb)
	w.now = w.now.Add(time.Minute)
	if err := w.Put(w.Context(), image, bytes.NewReader(data)); err != nil {
		w.Fatal(err)
	}
	return image
}

// read opens an image and compares its bytes.
func (w *world) read(n int) {
	w.Helper()
	image, data := original(n, 4*kb)
	w.now = w.now.Add(time.Minute)
	file, err := w.Store.Open(w.Context(), image)
	if err != nil {
		w.Fatal(err)
	}
	defer file.Close()
	if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, data) {
		w.Errorf("image %d has %d other bytes, %v", n, len(got), err)
	}
}

// has checks which of ten images are files of the cache.
func (w *world) has(want ...int) {
	w.Helper()
	var got []int
	for n := range 10 {
		image, _ := original(n, 4*kb)
		if _, err := os.Lstat(filepath.Join(w.root, image.File())); err == nil {
			got = append(got, n)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("the cache has %v, want %v", got, want)
	}
	if f := w.Figures(); f.Files != int64(len(want)) || f.Bytes != int64(len(want))*4*kb {
		w.Errorf("it says that it has %+v", f)
	}
}

// What was least lately used goes, and comes back when it is asked for.
func TestLeastLatelyUsed(t *testing.T) {
	w := newWorld(t, 3)
	for n := range 3 {
		w.put(n)
	}
	w.has(0, 1, 2)
	w.read(0)
	w.put(3)
	w.has(0, 2, 3)
	w.put(4)
	w.has(0, 3, 4)
	if n := w.under.fetched.Load(); n != 0 {
		t.Errorf("fetched %d, and all was here", n)
	}
	w.read(1)
	w.has(1, 3, 4)
	if n := w.under.fetched.Load(); n != 1 {
		t.Errorf("fetched %d", n)
	}
	if f := w.Figures(); f.Hits != 1 || f.Misses != 1 || f.Evictions != 3 {
		t.Errorf("figures: %+v", f)
	}
}

// A read of somebody else counts, by the time of access; each one once.
func TestReadByOthers(t *testing.T) {
	w := newWorld(t, 3)
	for n := range 3 {
		w.put(n)
	}
	image, _ := original(0, 4*kb)
	path := filepath.Join(w.root, image.File())
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, w.now, info.ModTime()); err != nil { // as the kernel does when nginx reads it
		t.Fatal(err)
	}
	w.put(3)
	w.has(0, 2, 3)
	if again, err := os.Lstat(path); err != nil || !again.ModTime().Equal(info.ModTime()) {
		t.Errorf("the file's tag has changed: %v, %v", again.ModTime(), err)
	}
	w.put(4)
	w.put(5)
	w.put(6)
	w.has(4, 5, 6)
}

// The file system of this test notes a read after each look, as the package says, unless it
// notes none.
func TestRelatime(t *testing.T) {
	w := newWorld(t, 2)
	image := w.put(0)
	path := filepath.Join(w.root, image.File())
	w.now = time.Now()
	if err := os.Chtimes(path, w.now.Add(-time.Hour), record.ModTimeOf(path)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if at := time.Unix(info.Sys().(*syscall.Stat_t).Atim.Unix()); at.Before(w.now.Add(-time.Minute)) {
		t.Skip("this file system notes no reads")
	}
}

// What somebody else is about to send stays for some time, and then goes.
func TestHeld(t *testing.T) {
	w := newWorld(t, 3)
	a := w.put(0)
	w.put(1)
	w.put(2)
	if err := w.Stat(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(-3 * time.Minute) // so that it is the least lately used
	for n := 3; n < 6; n++ {
		image, data := original(n, 4*kb)
		if err := w.Put(t.Context(), image, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(w.root, a.File())); err != nil {
		t.Errorf("what is held went: %v", err)
	}
	w.now = w.now.Add(time.Hour)
	for n := 6; n < 9; n++ {
		w.put(n)
	}
	w.has(6, 7, 8)
}

// Where all is held, what comes is served and not kept here, and the bound stands.
func TestAllHeld(t *testing.T) {
	w := newWorld(t, 2)
	for n := range 2 {
		if err := w.Stat(t.Context(), w.put(n)); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(-time.Minute)
	}
	c := w.put(2)
	w.now = w.now.Add(-time.Minute)
	w.has(0, 1)
	if err := w.Stat(t.Context(), c); !errors.Is(err, blob.ErrFull) {
		t.Errorf("a file for somebody else: %v", err)
	}
	file, err := w.Store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	w.has(0, 1)
	w.now = w.now.Add(time.Hour)
	if err := w.Stat(t.Context(), c); err != nil {
		t.Errorf("when nothing is held any more: %v", err)
	}
}

// A file that is open while it goes is read to its end.
func TestOpenWhileItGoes(t *testing.T) {
	w := newWorld(t, 1)
	image := w.put(0)
	file, err := w.Store.Open(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w.put(1)
	w.has(1)
	_, data := original(0, 4*kb)
	if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// What an earlier process has left counts, by the times of access; what is too much goes.
func TestOpenedAgain(t *testing.T) {
	w := newWorld(t, 3)
	for n := range 3 {
		image := w.put(n)
		path := filepath.Join(w.root, image.File())
		if err := os.Chtimes(path, w.now.Add(time.Duration(-n)*time.Hour), record.ModTimeOf(path)); err != nil {
			t.Fatal(err)
		}
	}
	w.o.Bytes = 2 * 4 * kb
	w.Store = open(t, w.o)
	w.has(0, 1)
	w.put(3)
	w.has(0, 3)
}

// Many who ask at once cause one fetch; one who leaves does not end it for the others.
func TestOneFetch(t *testing.T) {
	w := newWorld(t, 2)
	w.put(0)
	w.put(1)
	w.put(2) // 0 is gone
	w.under.hold, w.under.begun = make(chan struct{}), make(chan struct{}, 9)
	image, _ := original(0, 4*kb)
	leaving, leave := context.WithCancel(t.Context())
	var all, left sync.WaitGroup
	left.Go(func() {
		if _, err := w.Store.Open(leaving, image); !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v", err)
		}
	})
	<-w.under.begun
	for range 8 {
		all.Go(func() {
			file, err := w.Store.Open(t.Context(), image)
			if err != nil {
				t.Error(err)
				return
			}
			file.Close()
		})
	}
	leave()
	left.Wait()
	close(w.under.hold)
	all.Wait()
	if n := w.under.fetched.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

// What is removed while it comes does not stay.
func TestRemovedWhileItComes(t *testing.T) {
	w := newWorld(t, 1)
	image := w.put(0)
	w.put(1)
	w.under.hold, w.under.begun = make(chan struct{}), make(chan struct{}, 9)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if file, err := w.Store.Open(t.Context(), image); err == nil {
			file.Close()
		}
	}()
	<-w.under.begun
	removed := make(chan error)
	go func() { removed <- w.Remove(t.Context(), image) }()
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	close(w.under.hold)
	<-done
	w.has()
}

// A file that somebody has taken away, or cut off, comes back.
func TestTakenAway(t *testing.T) {
	w := newWorld(t, 2)
	image := w.put(0)
	path := filepath.Join(w.root, image.File())
	for what, harm := range map[string]func() error{
		"taken away": func() error { return os.Remove(path) },
		"cut off":    func() error { return os.Truncate(path, 100) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		if err := w.Stat(t.Context(), image); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		w.read(0)
		w.has(0)
	}
}

// Many times as much as fits goes through the cache by several clients: it never has more than
// it may, and all bytes are right.
func TestBound(t *testing.T) {
	const size = 24 * kb
	images, rounds := 300, 6
	if testing.Short() {
		rounds = 2
	}
	root := folder(t)
	under := object.NewBlobs(&objecttest.Memory{}, t.TempDir())
	s := open(t, cache.Options{Under: under, Root: root, Bytes: 20 * size, Hold: time.Nanosecond})
	du := func() (n int64) {
		filepath.WalkDir(filepath.Join(root, "i"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if info, err := d.Info(); err == nil {
					n += info.Sys().(*syscall.Stat_t).Blocks * 512
				}
			}
			return nil
		})
		return n
	}
	var all sync.WaitGroup
	var looks sync.RWMutex // while nobody changes anything
	once := func(n int, puts bool) {
		looks.RLock()
		defer looks.RUnlock()
		image, data := original(n, size)
		if puts {
			if err := s.Put(t.Context(), image, bytes.NewReader(data)); err != nil {
				t.Error(err)
			}
		}
		file, err := s.Open(t.Context(), image)
		if errors.Is(err, blob.ErrDamaged) {
			return // nobody has put it yet
		}
		if err != nil {
			t.Error(err)
			return
		}
		defer file.Close()
		if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d other bytes, %v", len(got), err)
		}
	}
	for c := range 4 {
		rng := rand.New(rand.NewPCG(uint64(c), 1))
		all.Go(func() {
			for n := range images * rounds / 4 {
				if n%20 == 0 {
					looks.Lock()
					if n, says := du(), s.Figures().Bytes; n > 20*size || n != says {
						t.Errorf("the files have %d bytes, may have %d, and the cache says %d", n, 20*size, says)
					}
					looks.Unlock()
				}
				once(rng.IntN(images), rng.IntN(3) == 0)
			}
		})
	}
	all.Wait()
	if f := s.Figures(); f.Evictions < 100 {
		t.Errorf("only so much went through the cache: %+v", f)
	}
}

// What is made of an original counts as well, goes by its own use, and stays while somebody
// sends it; links to an original go with it.
func TestVariants(t *testing.T) {
	w := newWorld(t, 4)
	variant := func(n int, name string) string {
		image, _ := original(n, 4*kb)
		return image.VariantFile(name, probe.WebP)
	}
	here := func(file string) bool {
		_, err := os.Lstat(filepath.Join(w.root, file))
		return err == nil
	}
	figures := func(files int64) {
		t.Helper()
		if f := w.Figures(); f.Files != files || f.Bytes != files*4*kb {
			t.Errorf("%+v, want %d files", f, files)
		}
	}
	store := func(file string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(w.root, file), make([]byte, 4*kb), 0o644); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Minute)
		w.Stored(file)
	}
	image := w.put(0)
	small, large, link := variant(0, "10x10"), variant(0, "20x20"), variant(0, "30x30")
	store(small)
	store(large)
	store(large) // again
	if err := os.Symlink(filepath.Base(image.File()), filepath.Join(w.root, link)); err != nil {
		t.Fatal(err)
	}
	w.put(1)
	figures(4)
	w.Sends(small)
	w.now = w.now.Add(time.Second)
	w.put(2) // the original of 0 was least lately used
	if here(image.File()) || here(link) || !here(small) || !here(large) {
		t.Errorf("left are %v %v %v %v", here(image.File()), here(link), here(small), here(large))
	}
	w.now = w.now.Add(cache.DefaultHold)
	w.put(3)
	if !here(small) || here(large) {
		t.Errorf("left are %v %v", here(small), here(large))
	}
	w.Store = open(t, w.o) // as a new process finds it
	figures(4)
	if err := w.Forget(t.Context(), image); err != nil || here(small) {
		t.Errorf("forgotten: %v", err)
	}
	figures(3)
	w.Stored(small) // which is not there
	figures(3)
}
