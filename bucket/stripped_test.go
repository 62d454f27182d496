package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket/uncached"
)

// withText is a picture, as the origins of these tests have it, and the same with so
// many bytes of text.
func withText(t *testing.T, n int) (plain, with []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 3, 2))); err != nil {
		t.Fatal(err)
	}
	chunk := append([]byte("tEXt"), bytes.Repeat([]byte("x"), n)...)
	text := fmt.Appendf(nil, "%s%s", bigEndian(n), chunk)
	text = append(text, bigEndian(int(crc32.ChecksumIEEE(chunk)))...)
	return b.Bytes(), append(append(bytes.Clone(b.Bytes()[:33]), text...), b.Bytes()[33:]...)
}

func bigEndian(n int) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }

// An uncached image loses its metadata, also if it lacks its end.
func TestStrip(t *testing.T) {
	o := newOrigin()
	s := openStore(t, Options{Root: t.TempDir(), Origin: o})
	plain, with := withText(t, 100)
	for name, file := range map[string][]byte{"whole": with, "without IEND": with[:len(with)-12]} {
		url := "https://example.com/" + name[:5]
		o.set(url, string(file))
		p, err := s.FetchStripped(t.Context(), "i", url)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		defer p.Close()
		got, err := io.ReadAll(p)
		if err != nil || !bytes.Equal(got, plain) || p.Bytes != int64(len(plain)) {
			t.Errorf("%s: %d bytes, want %d: %v", name, len(got), len(plain), err)
		}
	}
}

// An uncached image has one file without metadata for all who ask for it, which is within the
// same budget and lasts as long.
func TestStrippedUncachedIsShared(t *testing.T) {
	root := t.TempDir()
	plain, with := withText(t, 1000)
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin()
		o.set(urlA, string(with))
		s := openStore(t, Options{Root: root, Origin: o})
		if _, _, err := s.Uncached("i", urlA, true); !errors.Is(err, ErrNotKept) {
			t.Errorf("known before: %v", err)
		}
		readers := make([]*uncached.File, 20)
		var all sync.WaitGroup
		for i := range readers {
			all.Go(func() {
				p, err := s.FetchStripped(t.Context(), "i", urlA)
				if err != nil {
					t.Error(err)
					return
				}
				readers[i] = p
			})
		}
		all.Wait()
		if t.Failed() {
			return
		}
		first, err := readers[0].Stat()
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range readers {
			if b, err := io.ReadAll(p); err != nil || !bytes.Equal(b, plain) {
				t.Errorf("viewer %d: %d bytes, %v", i, len(b), err)
			}
			if info, err := p.Stat(); err != nil || !os.SameFile(first, info) {
				t.Errorf("viewer %d has a file of their own: %v", i, err)
			}
			if err := s.UncachedStands(p); err != nil {
				t.Errorf("viewer %d: %v", i, err)
			}
		}
		if n, taken, want := uncachedFiles(t, s), s.uncached.Taken(), int64(1+len(with)+len(plain)); n != 2 || taken != want || o.count(urlA) != 1 {
			t.Errorf("%d files, %d bytes of the budget, %d fetches; want 2, %d, 1", n, taken, o.count(urlA), want)
		}
		if _, n, err := s.Uncached("i", urlA, true); err != nil || n != int64(len(plain)) {
			t.Errorf("known: %d bytes, %v", n, err)
		}
		if _, n, err := s.Uncached("i", urlA, false); err != nil || n != int64(len(with)) {
			t.Errorf("the image itself: %d bytes, %v", n, err)
		}
		for _, p := range readers {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(uncached.KeepFor + time.Second)
		synctest.Wait()
		if n := uncachedFiles(t, s); n != 0 || s.uncached.Taken() != 0 {
			t.Errorf("%d files and %d bytes are left", n, s.uncached.Taken())
		}
	})
}

// Slow readers of images without metadata count against the budget: after a while their files
// make room, and until then others get none.
func TestStrippedUncachedHasABudget(t *testing.T) {
	root := t.TempDir()
	plain, with := withText(t, 1000)
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin()
		s := openStore(t, Options{Root: root, Origin: o})
		// Five that are read, and a sixth that is fetched and stripped.
		space := int64(5*len(plain) + len(with) + 1 + len(with) + stripSlack)
		s.uncached = uncached.NewPool(space)
		var readers []*uncached.File
		read := func(n int) error {
			url := fmt.Sprint("https://example.com/", n)
			_, with := withText(t, 1000-n) // bytes of its own
			o.set(url, string(with))
			p, err := s.FetchStripped(t.Context(), "i", url)
			if err == nil {
				readers = append(readers, p)
			}
			if s.uncached.Taken() > space {
				t.Errorf("%d bytes are taken of %d", s.uncached.Taken(), space)
			}
			return err
		}
		for n := range 6 {
			if err := read(n); err != nil {
				t.Fatalf("within the budget, viewer %d: %v", n, err)
			}
		}
		if err := read(6); !errors.Is(err, uncached.ErrNoRoom) {
			t.Errorf("more than the budget: %v", err)
		}
		time.Sleep(uncached.Grace)
		if err := read(7); err != nil {
			t.Errorf("after a time: %v", err)
		}
		for _, r := range readers {
			r.Close()
		}
		time.Sleep(uncached.KeepFor + time.Second)
		synctest.Wait()
		if n := uncachedFiles(t, s); n != 0 || s.uncached.Taken() != 0 {
			t.Errorf("%d files and %d bytes are left", n, s.uncached.Taken())
		}
	})
}
