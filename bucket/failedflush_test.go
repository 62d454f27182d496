package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
	"imgkeep/scripts/patience"
)

// badDisk lies between an index and its file, and fails as a disk does: what was
// written can be read, the flush says EIO, and the system takes it for written
// from then on. What a power cut then leaves is what the disk has.
type badDisk struct {
	*testing.T
	path string
	fail string // "meta", "data", or "": writes that fail
	hits int

	disk []byte // what the disk has of the file; nil: all

}

// under puts it under the index that a store has open, which may be another one
// than before.
func (d *badDisk) under(s *Store) {
	write := reflect.ValueOf(s.index).Elem().FieldByName("bolt").Elem().FieldByName("ops").FieldByName("writeAt")
	at := (*func([]byte, int64) (int, error))(unsafe.Pointer(write.UnsafeAddr()))
	next := *at
	var err error
	if d.disk, err = os.ReadFile(d.path); err != nil {
		d.Fatal(err)
	}
	*at = func(b []byte, offset int64) (int, error) {
		n, err := next(b, offset)
		kind := "data"
		if offset < int64(2*os.Getpagesize()) {
			kind = "meta"
		}
		if err == nil && d.fail == kind {
			d.hits++
			return n, syscall.EIO
		}
		if end := int(offset) + len(b); err == nil {
			d.disk = append(d.disk, make([]byte, max(0, end-len(d.disk)))...)
			copy(d.disk[offset:], b)
		}
		return n, err
	}
}

// The flush of the index fails, of its pages or of the page that makes them count,
// once and six times in a row, while images are kept and blocked; and then the
// power is cut, or the process ends. Nothing that was acknowledged is lost, no
// block is without effect, and meanwhile no answer is wrong.
func TestFailedFlush(t *testing.T) {
	for _, kind := range []string{"meta", "data"} {
		for _, times := range []int{1, 6} {
			for _, op := range []string{"keep", "block", "forget"} {
				t.Run(fmt.Sprint(kind, times, op), func(t *testing.T) {
					t.Parallel()
					testFailedFlush(t, kind, times, op)
				})
			}
		}
	}
}

func testFailedFlush(t *testing.T, kind string, times int, op string) {
	var log bytes.Buffer
	tookIn := make(chan struct{}, 10)
	o, root := newOrigin(), t.TempDir()
	options := func() Options {
		return Options{Root: root, Origin: o, TookIn: func() { tookIn <- struct{}{} }, Log: slog.New(slog.NewTextHandler(&log, nil)), Buckets: []Bucket{{Name: "i"}}}
	}
	s, err := Open(options())
	if err != nil {
		t.Fatal(err)
	}
	url := func(n int) string { return fmt.Sprintf("https://example.com/%d.png", n) }
	gone := map[string]error{} // by URL: what is found instead
	for n := range 20 {
		o.set(url(n), fmt.Sprint("bytes ", n))
		keep(t, s, url(n))
	}
	check := func(s *Store, when string) {
		t.Helper()
		for n := range 20 {
			_, err := s.Find("i", url(n))
			if !errors.Is(err, gone[url(n)]) {
				t.Errorf("%s: %s: %v, want %v", when, url(n), err, gone[url(n)])
			}
		}
	}
	d := &badDisk{T: t, path: filepath.Join(root, record.IndexFile)}
	for n := range times {
		s.removeLeft() // what is done in the background must not be what fails
		d.under(s)
		d.fail = kind
		var err error
		switch op {
		case "keep":
			o.set(url(100+n), "new")
			_, err = s.Keep(t.Context(), "i", url(100+n))
		case "block":
			_, err = s.Block(t.Context(), Target{URL: url(n)}, RemoveOptions{})
			gone[url(n)] = ErrRemoved
		case "forget":
			_, err = s.Forget(t.Context(), url(n), RemoveOptions{})
			gone[url(n)] = ErrNotKept
		}
		d.fail = ""
		if !errors.Is(err, syscall.EIO) || !errors.Is(err, ErrIndexFailed) || d.hits != n+1 {
			t.Fatalf("failure %d: %v, %d writes failed", n, err, d.hits)
		}
		check(s, fmt.Sprintf("after failure %d", n)) // it is mended when the caller is told
		if err := s.Ready(); err != nil {
			t.Errorf("after failure %d: %v", n, err)
		}
		if op != "keep" {
			<-tookIn // so that links are dropped
		}
	}
	if len(tookIn) > 0 {
		t.Error("links are dropped for nothing")
	}
	if !strings.Contains(log.String(), "rewritten") {
		t.Errorf("not a word of it: %s", &log)
	}
	s.removeLeft()
	d.under(s)
	o.set(url(200), "afterwards")
	kept := keep(t, s, url(200))
	s.Close(t.Context())
	if err := os.WriteFile(d.path, d.disk, local.PrivateFile); err != nil { // the power is cut
		t.Fatal(err)
	}
	log.Reset()
	s = openStore(t, options())
	check(s, "after the power cut")
	if i, err := s.Find("i", kept.URL); err != nil || i.Digest != kept.Digest {
		t.Errorf("kept afterwards: %v", err)
	}
	if r, err := scrub.Run(t.Context(), s.Maintenance(), scrub.Options{Exclusive: true}); err != nil || len(r.Found) > 0 {
		t.Errorf("scrub: %+v, %v", r, err)
	}
}

// Until a failed index has been rewritten, it answers nothing, not even "not kept". After that
// everything is as before.
func TestFailedFlushStays(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	s := openStore(t, Options{Root: root, Origin: o})
	o.set(urlA, "a")
	o.set(urlB, "b")
	keep(t, s, urlA)
	d := &badDisk{T: t, path: filepath.Join(root, record.IndexFile)}
	d.under(s)
	d.fail = "meta"
	obstacle := filepath.Join(root, record.TmpDir, record.IndexFile, "in the way")
	if err := os.MkdirAll(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Keep(t.Context(), "i", urlB); !errors.Is(err, ErrIndexFailed) {
		t.Errorf("got %v", err)
	}
	d.fail = ""
	for _, url := range []string{urlA, urlB, "https://example.com/never"} {
		if _, err := s.Keep(t.Context(), "i", url); !errors.Is(err, ErrIndexFailed) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if n := o.count(urlA) + o.count("https://example.com/never"); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	if err := s.Ready(); !errors.Is(err, ErrIndexFailed) {
		t.Errorf("ready: %v", err)
	}
	for _, err := range query.List(t.Context(), s.Maintenance(), query.Filter{}) {
		if !errors.Is(err, ErrIndexFailed) {
			t.Errorf("list: %v", err)
		}
	}
	for _, err := range s.Blocks() {
		if !errors.Is(err, ErrIndexFailed) {
			t.Errorf("blocks: %v", err)
		}
	}
	if _, _, err := s.Compact(); !errors.Is(err, ErrIndexFailed) {
		t.Errorf("compact: %v", err)
	}
	if err := os.RemoveAll(filepath.Dir(obstacle)); err != nil {
		t.Fatal(err)
	}
	// By itself, without being asked; and then with what the journal has more.
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, err := s.Find("i", urlB); err == nil {
			break
		} else if time.Since(begun) > patience.Of(t) {
			t.Fatalf("it is not written anew: %v", err)
		}
	}
	if _, err := s.Find("i", urlA); err != nil || s.Ready() != nil {
		t.Errorf("%v, ready: %v", err, s.Ready())
	}
}

// A full disk does not make the existing index untrustworthy.
func TestFullDiskIsNoFailedFlush(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	s := openStore(t, Options{Root: root, Origin: o})
	o.set(urlA, "a")
	o.set(urlB, "b")
	keep(t, s, urlA)
	write := reflect.ValueOf(s.index).Elem().FieldByName("bolt").Elem().FieldByName("ops").FieldByName("writeAt")
	at := (*func([]byte, int64) (int, error))(unsafe.Pointer(write.UnsafeAddr()))
	next := *at
	*at = func(b []byte, offset int64) (int, error) {
		return 0, &os.PathError{Op: "write", Path: "index.db", Err: syscall.ENOSPC}
	}
	if _, err := s.Keep(t.Context(), "i", urlB); !errors.Is(err, ErrFull) || errors.Is(err, index.ErrFailed) {
		t.Errorf("got %v", err)
	}
	keep(t, s, urlA)
	*at = next
	keep(t, s, urlB)
	before := answers(t, s)
	s.Close(t.Context())
	s = openStore(t, Options{Root: root, Origin: newOrigin()})
	if after := answers(t, s); !reflect.DeepEqual(after, before) || len(after) != 5 {
		t.Errorf("%d answers, were %d", len(after), len(before))
	}
}
