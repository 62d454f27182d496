package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// bench is a store on a disk that can be told to fail, and what the scenarios
// need.
type bench struct {
	*testing.T
	store  *Store
	origin *origin
	clock  *clock
	fault  *localtest.Fault
	fresh  int // for names that were never used
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, origin: newOrigin(), clock: newClock(), fault: &localtest.Fault{}}
	b.store = openStore(t, Options{Root: t.TempDir(), Origin: b.origin, Now: b.clock.Now, disk: newStepDisk(b.fault.Hook)})
	return b
}

// url is a URL under which the origin has this body; "": nothing.
func (b *bench) url(body string) string {
	b.fresh++
	url := fmt.Sprintf("https://example.com/%d.png", b.fresh)
	if body != "" {
		b.origin.set(url, body)
	}
	return url
}

// body is a body that no image had before.
func (b *bench) body() string {
	b.fresh++
	return fmt.Sprintf("the bytes of image %d", b.fresh)
}

// overwrite puts other bytes of the same length in the place of an original.
func (b *bench) overwrite(i record.Image) {
	b.Helper()
	path := b.store.Path(i.File())
	if err := os.Remove(path); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("?", int(i.Bytes))), local.ImageMode); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) keeps(url, body string) func() error {
	return func() error {
		i, err := b.store.Keep(b.Context(), "i", url)
		if err != nil {
			return err
		}
		return b.opens(i, body)()
	}
}

func (b *bench) opens(i record.Image, body string) func() error {
	return func() error {
		f, err := b.store.Open(b.Context(), i)
		return b.has(f, err, body)
	}
}

func (b *bench) makes(i record.Image, made, want string) func() error {
	return func() error {
		f, err := b.store.OpenVariant(b.Context(), i, "250x250", probe.PNG, func(_ context.Context, r io.Reader, _ int64) ([]byte, error) {
			_, err := io.Copy(io.Discard, r)
			return []byte(made), err
		})
		return b.has(f, err, want)
	}
}

// has tells of bytes that are not those wanted: wrong bytes are never served as
// right, whatever the disk does.
func (b *bench) has(f *os.File, err error, want string) error {
	b.Helper()
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err == nil && string(got) != want {
		b.Errorf("got %q, want %q", got, want)
	}
	return err
}

// scenarios are all that the store does to a disk when it serves. Each prepares
// something new, and returns the call that is to be disturbed.
var scenarios = []struct {
	name    string
	prepare func(*bench) func() error
}{
	{"keep", func(b *bench) func() error {
		body := b.body()
		return b.keeps(b.url(body), body)
	}},
	{"keep the first of a month", func(b *bench) func() error {
		b.clock.add(31 * 24 * time.Hour)
		body := b.body()
		return b.keeps(b.url(body), body)
	}},
	{"keep bytes that are there", func(b *bench) func() error {
		body := b.body()
		keep(b, b.store, b.url(body))
		return b.keeps(b.url(body), body)
	}},
	{"keep bytes that are there damaged", func(b *bench) func() error {
		body := b.body()
		b.overwrite(keep(b, b.store, b.url(body)))
		return b.keeps(b.url(body), body)
	}},
	{"remember a failure", func(b *bench) func() error {
		url := b.url("")
		return func() error {
			_, err := b.store.Keep(b.Context(), "i", url)
			var f *Failure
			if errors.As(err, &f) {
				if f.Kind != fetch.Gone || f.Attempts != 1 {
					b.Errorf("got %+v", f)
				}
				return nil
			}
			return err
		}
	}},
	{"fetch without keeping", func(b *bench) func() error {
		body := b.body()
		url := b.url(body)
		return func() error {
			p, err := b.store.Fetch(b.Context(), "i", url)
			if err != nil {
				return err
			}
			defer p.Close()
			// It is there for others for a minute, and is then no more.
			defer b.store.uncached.Close()
			if _, err := p.Seek(0, io.SeekStart); err != nil {
				return err
			}
			return b.has(p.File, nil, body)
		}
	}},
	{"make", func(b *bench) func() error {
		i := keep(b, b.store, b.url(b.body()))
		return b.makes(i, "small", "small")
	}},
	{"let the original stand for a size", func(b *bench) func() error {
		body := b.body()
		i := keep(b, b.store, b.url(body))
		return b.makes(i, "", body)
	}},
	{"repair a vanished original", func(b *bench) func() error {
		body := b.body()
		i := keep(b, b.store, b.url(body))
		if err := os.Remove(b.store.Path(i.File())); err != nil {
			b.Fatal(err)
		}
		return b.opens(i, body)
	}},
	{"repair a damaged original, and make", func(b *bench) func() error {
		i := keep(b, b.store, b.url(b.body()))
		b.overwrite(i)
		return b.makes(i, "small", "small")
	}},
	{"forget", func(b *bench) func() error {
		i := b.made()
		return b.removes(i, func() (record.Removal, error) { return b.store.Forget(b.Context(), i.URL, RemoveOptions{}) })
	}},
	{"forget one of two", func(b *bench) func() error {
		body := b.body()
		one, two := keep(b, b.store, b.url(body)), keep(b, b.store, b.url(body))
		return func() error {
			_, err := b.store.Forget(b.Context(), one.URL, RemoveOptions{})
			if err != nil && !errors.Is(err, ErrNotKept) {
				return err
			}
			if _, err := b.store.Find("i", one.URL); !errors.Is(err, ErrNotKept) {
				b.Errorf("forgotten, and found: %v", err)
			}
			return b.opens(two, body)()
		}
	}},
	{"purge", func(b *bench) func() error {
		i := b.made()
		return b.removes(i, func() (record.Removal, error) {
			return b.store.Purge(b.Context(), Target{Digest: i.Digest}, RemoveOptions{})
		})
	}},
	{"block", func(b *bench) func() error {
		i := b.made()
		return b.removes(i, func() (record.Removal, error) {
			return b.store.Block(b.Context(), Target{URL: i.URL}, RemoveOptions{})
		})
	}},
	{"unblock", func(b *bench) func() error {
		i := b.made()
		if _, err := b.store.Block(b.Context(), Target{Digest: i.Digest}, RemoveOptions{KeepFiles: true}); err != nil {
			b.Fatal(err)
		}
		return func() error {
			_, err := b.store.Unblock(b.Context(), Target{Digest: i.Digest}, RemoveOptions{})
			if err != nil && !errors.Is(err, ErrNotBlocked) {
				return err
			}
			_, err = b.store.Find("i", i.URL)
			return err
		}
	}},
}

// made is an image with a size.
func (b *bench) made() record.Image {
	i := keep(b, b.store, b.url(b.body()))
	if err := b.makes(i, "small", "small")(); err != nil {
		b.Fatal(err)
	}
	return i
}

// removes removes all of an image. After an error it may be out of reach already;
// when it succeeds nothing is left.
func (b *bench) removes(i record.Image, remove func() (record.Removal, error)) func() error {
	return func() error {
		if _, err := remove(); err != nil && !errors.Is(err, ErrNotKept) {
			return err
		}
		if _, err := b.store.Find("i", i.URL); !errors.Is(err, ErrNotKept) && !errors.Is(err, ErrRemoved) {
			b.Errorf("removed, and found: %v", err)
		}
		if files, err := local.FilesOf(b.store.Root(), "i", i.Digest); err != nil || len(files) > 0 {
			b.Errorf("removed, and there are %v, %v", files, err)
		}
		if left, err := b.store.index.Removing("i"); err != nil || len(left) > 0 {
			b.Errorf("still being removed: %v, %v", left, err)
		}
		return nil
	}
}

// Each step of each scenario fails, in each way: the caller gets an error, nothing is left
// half done, and the same call succeeds once the disk works again.
func TestFaults(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO} {
				for _, done := range []bool{false, true} {
					for n := 1; b.disturb(sc.prepare(b), n, errno, done); n++ {
						if n > 100 {
							t.Fatal("a hundred steps")
						}
					}
				}
			}
		})
	}
}

// disturb runs a call whose n-th step fails, and then once more. It returns false
// where the call has no n-th step.
func (b *bench) disturb(call func() error, n int, errno syscall.Errno, done bool) bool {
	b.Helper()
	b.fault.Arm(n, errno, done, false)
	err := call()
	hit := b.fault.Disarm()
	what := fmt.Sprintf("step %d, %+v, fails with %v (done: %v)", n, hit, errno, done)
	switch {
	case hit == nil:
		if err != nil {
			b.Errorf("without a fault: %v", err)
		}
		return false
	case hit.Op == "RemoveAll" && filepath.Dir(hit.Path) == filepath.Join(b.store.Root(), record.TmpDir):
		// A temporary file that cannot be removed costs a name in tmp, which
		// the next start sweeps; the image is kept.
		if err != nil {
			b.Errorf("%s: %v", what, err)
		}
		if !done {
			b.sweep()
		}
	case !errors.Is(err, errno):
		b.Errorf("%s: the caller is told %v", what, err)
	case errors.Is(err, ErrFull) != (errno != syscall.EIO) && hit.Op != "Room":
		b.Errorf("%s: full or not: %v", what, err)
	case errors.Is(err, ErrLost):
		b.Errorf("%s: the failure is recorded as the origin's: %v", what, err)
	}
	b.nothingHalfDone(what)
	if err := call(); err != nil {
		b.Errorf("%s: afterwards: %v", what, err)
	}
	b.nothingHalfDone(what + ", afterwards")
	return true
}

func (b *bench) sweep() {
	b.Helper()
	if err := local.Sweep(local.OS{}, b.store.Root()); err != nil {
		b.Fatal(err)
	}
}

// nothingHalfDone: tmp is empty, and what the index knows can be read.
func (b *bench) nothingHalfDone(what string) {
	b.Helper()
	if left, err := os.ReadDir(filepath.Join(b.store.Root(), record.TmpDir)); err != nil || len(left) > 0 {
		b.Errorf("%s: left in tmp: %v, %v", what, left, err)
	}
	for url, a := range b.origin.answers {
		i, err := b.store.Find("i", url)
		if err != nil {
			continue
		}
		if info, err := os.Stat(b.store.Path(i.File())); err == nil && info.Size() != int64(len(a.body)) {
			b.Errorf("%s: %s has %d bytes", what, url, info.Size())
		}
	}
}

// The disk disappears at some step, and comes back. As above, except that tmp cannot be emptied
// meanwhile.
func TestDiskGone(t *testing.T) {
	b := newBench(t)
	for _, sc := range scenarios {
		for n := 1; ; n++ {
			call := sc.prepare(b)
			b.fault.Arm(n, syscall.EIO, false, true)
			err := call()
			hit := b.fault.Disarm()
			if hit == nil {
				break
			}
			inTmp := filepath.Dir(hit.Path) == filepath.Join(b.store.Root(), record.TmpDir)
			if !(hit.Op == "RemoveAll" && inTmp) && !errors.Is(err, syscall.EIO) {
				t.Errorf("%s, gone from step %d, %+v: %v", sc.name, n, hit, err)
			}
			b.sweep()
			if err := call(); err != nil {
				t.Errorf("%s, gone from step %d, %+v: afterwards: %v", sc.name, n, hit, err)
			}
			b.nothingHalfDone(sc.name)
		}
	}
}

// Opening a store fails at each step, except that of the thousands that create a bucket's
// folders only some do. The next Open completes it.
func TestOpenFaults(t *testing.T) {
	f := &localtest.Fault{}
	attempt := func(n int) (*Options, *localtest.Step, error) {
		o := &Options{
			Root: filepath.Join(t.TempDir(), "a/b"), Origin: newOrigin(),
			Buckets: []Bucket{{Name: "i"}}, disk: newFullStepDisk(f.Hook),
		}
		f.Arm(n, syscall.EIO, false, false)
		s, err := Open(*o)
		if err == nil {
			s.Close(t.Context())
		}
		return o, f.Disarm(), err
	}
	if _, hit, err := attempt(1 << 30); hit != nil || err != nil {
		t.Fatal(hit, err)
	}
	last := len(f.Steps())
	for n := 1; n <= last; n++ {
		if 10 < n && n < last-5 && n%1500 != 0 {
			continue
		}
		o, hit, err := attempt(n)
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("step %d, %+v: %v", n, hit, err)
		}
		s, err := Open(*o)
		if err != nil {
			t.Fatalf("step %d, %+v: afterwards: %v", n, hit, err)
		}
		s.Close(t.Context())
		if found, err := filepath.Glob(filepath.Join(o.Root, "i/?/?")); err != nil || len(found) != 64*64 {
			t.Errorf("step %d, %+v: %d folders, %v", n, hit, len(found), err)
		}
	}
}
