package bucket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/variant"
)

// A vanished or cut original is fetched again, if its origin still has it.
func TestRepair(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(path string) error
	}{
		{"vanished", os.Remove},
		{"cut off", func(path string) error { return os.Truncate(path, 3) }},
		{"emptied", func(path string) error { return os.Truncate(path, 0) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, c := newOrigin(), newClock()
			o.set(urlA, "the bytes of a")
			s := openStore(t, Options{Root: t.TempDir(), Origin: o, Now: c.Now})
			image := keep(t, s, urlA)
			path := s.Path(image.File())
			if err := tt.damage(path); err != nil {
				t.Fatal(err)
			}
			if got := content(t, s, image); got != "the bytes of a" || o.count(urlA) != 2 {
				t.Errorf("repaired to %q by %d fetches", got, o.count(urlA))
			}
			// Once more, and now the origin has something else.
			if err := tt.damage(path); err != nil {
				t.Fatal(err)
			}
			o.set(urlA, "something else")
			for range 3 {
				if _, err := s.Open(t.Context(), image); !errors.Is(err, ErrLost) {
					t.Errorf("got %v, want ErrLost", err)
				}
			}
			if o.count(urlA) != 3 {
				t.Errorf("the origin was asked %d times: a lost image needs a backoff too", o.count(urlA))
			}
			// It comes back when the origin does.
			o.set(urlA, "the bytes of a")
			c.add(time.Minute)
			if got := content(t, s, image); got != "the bytes of a" {
				t.Errorf("repaired to %q", got)
			}
		})
	}
}

func TestVariant(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.set(urlA, "the bytes of a")
	s := openStore(t, Options{Root: root, Origin: o})
	image := keep(t, s, urlA)
	var calls int
	maker := func(data string, err error) variant.Maker {
		return func(_ context.Context, r io.Reader, n int64) ([]byte, error) {
			calls++
			b, readErr := io.ReadAll(r)
			if readErr != nil || string(b) != "the bytes of a" || n != int64(len(b)) {
				t.Errorf("the maker reads %q, %v; n is %d", b, readErr, n)
			}
			return []byte(data), err
		}
	}
	read := func(name string, m variant.Maker) (string, error) {
		f, err := s.OpenVariant(t.Context(), image, name, probe.PNG, m)
		if err != nil {
			return "", err
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		return string(b), err
	}
	broken := errors.New("broken")
	if _, err := read("150x150", maker("", broken)); !errors.Is(err, broken) {
		t.Errorf("a maker's error: %v", err)
	}
	for range 2 {
		if got, err := read("150x150", maker("small", nil)); err != nil || got != "small" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if calls != 2 {
		t.Errorf("made %d times", calls)
	}
	if got, err := read("250x", maker("", nil)); err != nil || got != "the bytes of a" {
		t.Errorf("the original itself: %q, %v", got, err)
	}
	names, err := s.VariantNames(image)
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"150x150.png", "250x.png"}) {
		t.Errorf("made: %v, %v", names, err)
	}
	// A size that was dropped is made again.
	if err := os.Remove(s.Path(image.VariantFile("150x150", probe.PNG))); err != nil {
		t.Fatal(err)
	}
	if got, err := read("150x150", maker("small", nil)); err != nil || got != "small" {
		t.Errorf("again: %q, %v", got, err)
	}
}

// Damage that does not show in the length is found when the original is read:
// nothing that was made from wrong bytes is kept.
func TestVariantOfDamaged(t *testing.T) {
	o := newOrigin()
	o.set(urlA, "the bytes of a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: o})
	image := keep(t, s, urlA)
	damage := func() {
		path := s.Path(image.File())
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("the bytes of ä"[:14]), local.ImageMode); err != nil {
			t.Fatal(err)
		}
	}
	upper := func(_ context.Context, r io.Reader, _ int64) ([]byte, error) {
		b, err := io.ReadAll(r)
		return bytes.ToUpper(b), err
	}
	damage()
	f, err := s.OpenVariant(t.Context(), image, "150x150", probe.PNG, upper)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "THE BYTES OF A" {
		t.Errorf("made %q, %v", b, err)
	}
	damage()
	o.set(urlA, "something else")
	if _, err := s.OpenVariant(t.Context(), image, "200x200", probe.PNG, upper); !errors.Is(err, ErrLost) {
		t.Errorf("from bytes that are lost: %v", err)
	}
	if _, err := os.Stat(s.Path(image.VariantFile("200x200", probe.PNG))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was kept: %v", err)
	}
	// From then on they are served to nobody, and are not lost either.
	if f, err := s.Open(t.Context(), image); !errors.Is(err, ErrLost) {
		t.Errorf("the original: %v, %v", f, err)
	}
	if err := s.Ensure(t.Context(), image); !errors.Is(err, ErrLost) {
		t.Errorf("for a web server: %v", err)
	}
	wrong, err := filepath.Glob(filepath.Join(s.Root(), record.QuarantineDir, "*", image.File()))
	if err != nil || len(wrong) == 0 {
		t.Fatalf("in the quarantine: %v, %v", wrong, err)
	}
	if b, err := os.ReadFile(wrong[len(wrong)-1]); err != nil || string(b) != "the bytes of ä"[:14] {
		t.Errorf("in the quarantine: %q, %v", b, err)
	}
}

// damageBytes puts other bytes of the same length in an original's place.
func damageBytes(t *testing.T, s *Store, i record.Image) {
	t.Helper()
	path := s.Path(i.File())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("?"), int(i.Bytes)), local.ImageMode); err != nil {
		t.Fatal(err)
	}
}

// asItIs lets the original stand for a size.
func asItIs(_ context.Context, r io.Reader, _ int64) ([]byte, error) {
	_, err := io.Copy(io.Discard, r)
	return nil, err
}

func madeContent(t *testing.T, s *Store, i record.Image, name string, m variant.Maker) string {
	t.Helper()
	f, err := s.OpenVariant(t.Context(), i, name, probe.PNG, m)
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

// A size that is a link to the original repairs with it, and is never made from
// wrong bytes.
func TestRepairBehindLink(t *testing.T) {
	o := newOrigin()
	o.set(urlA, "the bytes of a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: o})
	image := keep(t, s, urlA)
	damageBytes(t, s, image)
	if got := madeContent(t, s, image, "500x", asItIs); got != "the bytes of a" {
		t.Errorf("from a damaged original: %q", got)
	}
	if err := os.Remove(s.Path(image.File())); err != nil {
		t.Fatal(err)
	}
	if got := madeContent(t, s, image, "500x", asItIs); got != "the bytes of a" {
		t.Errorf("the link's original had vanished: %q", got)
	}
	if n := o.count(urlA); n != 3 {
		t.Errorf("%d fetches", n)
	}
}

// A hundred viewers of a damaged original cause one fetch, and all get it.
func TestRepairOnce(t *testing.T) {
	o := newOrigin()
	o.set(urlA, "the bytes of a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: o})
	image := keep(t, s, urlA)
	if err := os.Remove(s.Path(image.File())); err != nil {
		t.Fatal(err)
	}
	o.arrived, o.hold = make(chan string, 200), make(chan struct{})
	results := make(chan error, 100)
	for range cap(results) {
		go func() {
			f, err := s.Open(t.Context(), image)
			if err == nil {
				f.Close()
			}
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
	if n := o.count(urlA); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

// A second URL with the same bytes brings back what was lost under the first.
func TestRepairByAnotherURL(t *testing.T) {
	o := newOrigin()
	o.set(urlA, "same")
	o.set(urlB, "same")
	s := openStore(t, Options{Root: t.TempDir(), Origin: o})
	a := keep(t, s, urlA)
	o.fail(urlA, &fetch.Error{Kind: fetch.Gone, Status: 404, Err: errors.New("gone")})
	damageBytes(t, s, a)
	keep(t, s, urlB)
	if got := content(t, s, a); got != "same" {
		t.Errorf("got %q", got)
	}
}

// What the origin says when an original is to be repaired: ErrLost where it says
// that it has the image no more, or fails, and then not again before its time;
// as it is where it says nothing about the image.
func TestRepairFails(t *testing.T) {
	for _, tt := range []struct {
		class fetch.ErrorKind
		lost  bool
		tries int // of three
	}{
		{fetch.Gone, true, 1},
		{fetch.Timeout, true, 1},
		{fetch.NotImage, true, 1},
		{fetch.Busy, false, 3},
		{fetch.Refused, false, 3},
		{fetch.Denied, false, 3},
	} {
		t.Run(string(tt.class), func(t *testing.T) {
			o, c := newOrigin(), newClock()
			o.set(urlA, "the bytes of a")
			s := openStore(t, Options{Root: t.TempDir(), Origin: o, Now: c.Now})
			image := keep(t, s, urlA)
			damageBytes(t, s, image)
			o.fail(urlA, &fetch.Error{Kind: tt.class, Err: errors.New("no")})
			for range 3 {
				_, err := s.OpenVariant(t.Context(), image, "250x250", probe.PNG, asItIs)
				if err == nil || errors.Is(err, ErrLost) != tt.lost {
					t.Errorf("got %v", err)
				}
			}
			if got := o.count(urlA) - 1; got != tt.tries {
				t.Errorf("the origin was asked %d times, want %d", got, tt.tries)
			}
			if again, err := s.Find("i", urlA); err != nil || again != image {
				t.Errorf("the image is forgotten: %+v, %v", again, err)
			}
			o.set(urlA, "the bytes of a")
			c.add(time.Hour)
			if got := madeContent(t, s, image, "250x250", asItIs); got != "the bytes of a" {
				t.Errorf("repaired to %q", got)
			}
		})
	}
}

// keptSizes is an origin that notes how many bytes of an image are wanted.
type keptSizes struct {
	*origin
	kept []int64
}

func (k *keptSizes) Fetch(ctx context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	k.kept = append(k.kept, r.Kept)
	return k.origin.Fetch(ctx, r, dst)
}

// An image that is kept with a long tail is asked for with it: cut at its end it
// would be other bytes, and lost.
func TestRepairWithTail(t *testing.T) {
	o := &keptSizes{origin: newOrigin()}
	o.set(urlA, "the bytes of a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: o})
	image := keep(t, s, urlA)
	if err := os.Remove(s.Path(image.File())); err != nil {
		t.Fatal(err)
	}
	content(t, s, image)
	if want := []int64{0, image.Bytes}; !slices.Equal(o.kept, want) {
		t.Errorf("wanted %d bytes of it, not %d", o.kept, want)
	}
}
