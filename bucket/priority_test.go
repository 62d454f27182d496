package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/flight"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/variant"
)

// quiet is an origin whose idle fetches wait until the test says that it is quiet.
type quiet struct {
	*origin
	asked chan string // gets each URL that a place is reserved for
	quiet chan struct{}
}

func newQuiet() *quiet {
	return &quiet{origin: newOrigin(), asked: make(chan string, 1000), quiet: make(chan struct{}, 100)}
}

func (q *quiet) Reserve(ctx context.Context, url string) (*fetch.Place, error) {
	q.asked <- url
	select {
	case <-q.quiet:
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

type kept struct {
	image record.Image
	err   error
}

func keepBackground(ctx context.Context, s *Store, url string) chan kept {
	c := make(chan kept, 1)
	go func() {
		image, err := s.KeepBackground(ctx, "i", url, url)
		c <- kept{image, err}
	}()
	return c
}

const backgroundURL = "https://example.com/a.png"

func TestKeepBackground(t *testing.T) {
	q := newQuiet()
	q.set(backgroundURL, "the bytes of a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: q, Reserve: q.Reserve})
	got := keepBackground(t.Context(), s, backgroundURL)
	<-q.asked
	if n := q.count(backgroundURL); n != 0 {
		t.Errorf("%d fetches before it is quiet", n)
	}
	q.quiet <- struct{}{}
	if k := <-got; k.err != nil || k.image.Bytes != 14 {
		t.Errorf("%+v", k)
	}
	// What is kept, and what has failed, waits for nothing.
	if k := <-keepBackground(t.Context(), s, backgroundURL); k.err != nil || q.count(backgroundURL) != 1 {
		t.Errorf("again: %+v after %d fetches", k, q.count(backgroundURL))
	}
	gone := "https://example.com/gone.png"
	q.quiet <- struct{}{}
	for range 2 {
		var f *Failure
		if k := <-keepBackground(t.Context(), s, gone); !errors.As(k.err, &f) || f.Attempts != 1 {
			t.Errorf("a failure: %+v", k)
		}
	}
	if _, err := s.KeepBackground(t.Context(), "x", backgroundURL, backgroundURL); !errors.Is(err, ErrNoBucket) {
		t.Errorf("no bucket: %v", err)
	}
}

// A viewer never waits for an idle moment, whichever came first, and the image is fetched once.
func TestViewerEndsBackgroundWait(t *testing.T) {
	q := newQuiet()
	q.set(backgroundURL, "the bytes of a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: q, Reserve: q.Reserve})
	idle := keepBackground(t.Context(), s, backgroundURL)
	<-q.asked
	if image, err := s.Keep(t.Context(), "i", backgroundURL); err != nil || image.Bytes != 14 {
		t.Errorf("the viewer: %+v, %v", image, err)
	}
	if k := <-idle; k.err != nil {
		t.Errorf("the background request: %v", k.err)
	}
	if n := q.count(backgroundURL); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// Leaving before the fetch begins withdraws one's own request, and nobody else's.
func TestBackgroundLeaves(t *testing.T) {
	q := newQuiet()
	q.set(backgroundURL, "the bytes of a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: q, Reserve: q.Reserve})
	ctx, leave := context.WithCancel(t.Context())
	first := keepBackground(ctx, s, backgroundURL)
	<-q.asked
	second := keepBackground(t.Context(), s, backgroundURL) // may be in the first one's flight
	leave()
	if k := <-first; !errors.Is(k.err, context.Canceled) && !errors.Is(k.err, flight.ErrGivenUp) {
		t.Errorf("the one who left: %+v", k)
	}
	<-q.asked
	if n := q.count(backgroundURL); n != 0 {
		t.Errorf("%d fetches for nobody", n)
	}
	q.quiet <- struct{}{}
	if k := <-second; k.err != nil {
		t.Errorf("the other: %v", k.err)
	}
}

// Viewers and background requests come and leave: each viewer gets their image, and each image
// is fetched once.
func TestViewersAndBackground(t *testing.T) {
	q := newQuiet()
	s := openStore(t, Options{Root: t.TempDir(), Origin: q, Reserve: q.Reserve})
	var wg sync.WaitGroup
	for i := range 50 {
		url := fmt.Sprintf("https://example.com/%d.png", i)
		q.set(url, fmt.Sprint("the bytes of ", i))
		ctx, leave := context.WithCancel(t.Context())
		wg.Go(func() { s.KeepBackground(ctx, "i", url, url) })
		wg.Go(leave)
		wg.Go(func() {
			if _, err := s.Keep(t.Context(), "i", url); err != nil {
				t.Errorf("%s: %v", url, err)
			}
		})
	}
	wg.Wait()
	for i := range 50 {
		if url := fmt.Sprintf("https://example.com/%d.png", i); q.count(url) != 1 {
			t.Errorf("%s: %d fetches", url, q.count(url))
		}
	}
}

// Close does not wait for background fetches whose caller has left.
func TestCloseWhileBackgroundWaits(t *testing.T) {
	q := newQuiet()
	s := openStore(t, Options{Root: t.TempDir(), Origin: q, Reserve: q.Reserve})
	got := keepBackground(t.Context(), s, backgroundURL)
	<-q.asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if k := <-got; !errors.Is(k.err, ErrClosed) {
		t.Errorf("the background request: %v", k.err)
	}
}

func TestPrerender(t *testing.T) {
	o := newOrigin()
	o.set(backgroundURL, "the bytes of a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: o})
	image, err := s.Keep(t.Context(), "i", backgroundURL)
	if err != nil {
		t.Fatal(err)
	}
	things := []variant.Key{{Name: "10x10", Format: probe.PNG}, {Name: "20x", Format: probe.PNG}, {Name: "30x", Format: probe.WebP}, {Name: "30x", Format: probe.AVIF}, {Name: "20x", Format: probe.WebP}}
	calls := 0
	maker := func(_ context.Context, original io.Reader, n int64, missing []variant.Key) ([]variant.Variant, error) {
		calls++
		if b, err := io.ReadAll(original); string(b) != "the bytes of a" || n != 14 || err != nil {
			t.Errorf("the original: %q, %d, %v", b, n, err)
		}
		var all []variant.Variant
		for _, m := range missing {
			made := variant.Variant{Key: m, Data: []byte(m.Name)}
			switch {
			case m.Name == "20x":
				made.Data = nil // the original is as good
			case m.Format == probe.AVIF:
				made.Data, made.Like = nil, probe.WebP // that in another format is
			}
			all = append(all, made)
		}
		return all, nil
	}
	if n, err := s.Prerender(t.Context(), image, things[:1], maker); n != 1 || err != nil {
		t.Errorf("one: %d, %v", n, err)
	}
	if n, err := s.Prerender(t.Context(), image, things, maker); n != 4 || err != nil {
		t.Errorf("what is missing of five: %d, %v", n, err)
	}
	if n, err := s.Prerender(t.Context(), image, things, maker); n != 0 || err != nil || calls != 2 {
		t.Errorf("again: %d, %v after %d calls", n, err, calls)
	}
	for i, want := range []string{"10x10", "the bytes of a", "30x", "30x", "the bytes of a"} {
		if b, err := os.ReadFile(s.Path(image.VariantFile(things[i].Name, things[i].Format))); string(b) != want || err != nil {
			t.Errorf("%v: %q, %v", things[i], b, err)
		}
	}
	broken := errors.New("broken")
	more := []variant.Key{{Name: "40x", Format: probe.PNG}}
	if n, err := s.Prerender(t.Context(), image, more, func(context.Context, io.Reader, int64, []variant.Key) ([]variant.Variant, error) {
		return nil, broken
	}); n != 0 || !errors.Is(err, broken) {
		t.Errorf("a maker that fails: %d, %v", n, err)
	}
	// Nothing is made of wrong bytes: the original is repaired first.
	path := s.Path(image.File())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("other bytes 14"), 0o444); err != nil {
		t.Fatal(err)
	}
	wrong := true
	if n, err := s.Prerender(t.Context(), image, more, func(_ context.Context, original io.Reader, _ int64, _ []variant.Key) ([]variant.Variant, error) {
		b, _ := io.ReadAll(original)
		wrong = string(b) != "the bytes of a"
		return []variant.Variant{{Key: more[0], Data: b}}, nil
	}); n != 1 || err != nil || wrong {
		t.Errorf("a damaged original: %d, %v; made of wrong bytes: %v", n, err, wrong)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Root(), "tmp", "*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// HasVariant tells apart a file of its own, a link to another variant, and a missing variant;
// a link whose target is gone counts as missing.
func TestHasVariant(t *testing.T) {
	o := newOrigin()
	o.set(backgroundURL, "the bytes of a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: o})
	image, err := s.Keep(t.Context(), "i", backgroundURL)
	if err != nil {
		t.Fatal(err)
	}
	want := func(f probe.Format, own bool, bytes int64, wrong error) {
		t.Helper()
		if got, err := s.HasVariant(image, "30x", f); got != own || !errors.Is(err, wrong) {
			t.Errorf("%v: of its own %v, %v; want %v, %v", f, got, err, own, wrong)
		}
		if got, err := s.VariantBytes(image, "30x", f); got != bytes || !errors.Is(err, wrong) {
			t.Errorf("%v: %d bytes, %v; want %d, %v", f, got, err, bytes, wrong)
		}
	}
	want(probe.JPEG, false, 0, variant.ErrNotMade)
	err = s.MakeVariants(t.Context(), image, func(_ context.Context, original io.Reader, _ int64) ([]variant.Variant, error) {
		_, err := io.ReadAll(original)
		return []variant.Variant{
			{Key: variant.Key{Name: "30x", Format: probe.JPEG}, Data: []byte("small")},
			{Key: variant.Key{Name: "30x", Format: probe.WebP}, Data: []byte("tiny")},
			{Key: variant.Key{Name: "30x", Format: probe.AVIF}, Like: probe.JPEG},
		}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	want(probe.JPEG, true, 5, nil)
	want(probe.WebP, true, 4, nil)
	want(probe.AVIF, false, 5, nil)
	if err := os.Remove(s.Path(image.VariantFile("30x", probe.JPEG))); err != nil {
		t.Fatal(err)
	}
	want(probe.AVIF, false, 0, variant.ErrNotMade)
	// It is made anew, in the place of the link that leads nowhere.
	err = s.MakeVariants(t.Context(), image, func(_ context.Context, original io.Reader, _ int64) ([]variant.Variant, error) {
		_, err := io.ReadAll(original)
		return []variant.Variant{{Key: variant.Key{Name: "30x", Format: probe.AVIF}, Data: []byte("new")}}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	want(probe.AVIF, true, 3, nil)
}

// When the caller who began a flight leaves, the others in it go on.
func TestBackgroundLeavesOthersInItsFlight(t *testing.T) {
	for name, keep := range map[string]func(s *Store, ctx context.Context, bucket, url, source string) (record.Image, error){
		"a viewer": (*Store).KeepFrom, "a background request": (*Store).KeepBackground,
	} {
		root := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			o := newOrigin()
			o.set(backgroundURL, "the bytes of a")
			s, err := Open(sparse(Options{Root: root, Buckets: []Bucket{{Name: "i"}}, Origin: o}))
			if err != nil {
				t.Fatal(err)
			}
			leave := make(chan struct{})
			go flight.Do(t.Context(), s.flights, keepKey("i", backgroundURL), func(context.Context) (record.Image, error) {
				<-leave
				return record.Image{}, flight.ErrGivenUp
			})
			synctest.Wait()
			go func() {
				if image, err := keep(s, t.Context(), "i", backgroundURL, backgroundURL); err != nil || image.Bytes != 14 {
					t.Errorf("%s: %+v, %v", name, image, err)
				}
			}()
			synctest.Wait()
			close(leave)
			synctest.Wait()
			if n := o.count(backgroundURL); n != 1 {
				t.Errorf("%s: %d fetches", name, n)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
