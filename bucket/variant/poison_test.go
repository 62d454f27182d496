package variant_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/buckettest"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/strip"
	"imgkeep/bucket/variant"
)

const (
	urlA = "https://example.com/a.png"
	urlB = "https://example.com/b.png"
)

// poisoned is a store with an image that crashes its maker.
type poisoned struct {
	*testing.T
	root   string
	clock  buckettest.Clock
	origin buckettest.Origin
	log    *bytes.Buffer
	store  *bucket.Store
	image  record.Image
	calls  int
	err    error // of the maker
}

var errDied = fmt.Errorf("%w: signal: segmentation fault", variant.ErrPoison)

func newPoison(t *testing.T) *poisoned {
	d := &poisoned{T: t, root: t.TempDir(), log: new(bytes.Buffer), err: errDied}
	d.open()
	d.image = buckettest.Keep(t, d.store, urlA)
	return d
}

func (d *poisoned) open() {
	d.origin.Set(urlA, "the bytes of a")
	d.origin.Set(urlB, "the bytes of a")
	d.store = buckettest.Open(d.T, bucket.Options{
		Root: d.root, Origin: &d.origin, Now: d.clock.Now, Log: slog.New(slog.NewTextHandler(d.log, nil)),
		Buckets: []bucket.Bucket{{Name: "i"}, {Name: "f"}},
	})
}

func (d *poisoned) make(name string) error {
	f, err := d.store.OpenVariant(d.Context(), d.image, name, probe.PNG, func(_ context.Context, r io.Reader, _ int64) ([]byte, error) {
		d.calls++
		return []byte("made"), d.err
	})
	if err == nil {
		f.Close()
	}
	return err
}

// want has something made, and wants an error, and a number of makers in all.
func (d *poisoned) want(about string, err error, calls int) {
	d.Helper()
	if got := d.make("150x150"); !errors.Is(got, err) || (err != nil) != (got != nil) || d.calls != calls {
		d.Errorf("%s: %v after %d calls; want %v after %d", about, got, d.calls, err, calls)
	}
}

// An image may end one decoder; a minute later a second. Then it is given up,
// across restarts, and served in full, until it is to be tried again.
func TestPoisonImage(t *testing.T) {
	d := newPoison(t)
	d.want("the first time", variant.ErrPoison, 1)
	if d.clock.Add(59 * time.Second); errors.Is(d.make("150x150"), variant.ErrUndecodable) {
		t.Error("given up after one")
	}
	d.want("within a minute", variant.ErrPoison, 1)
	if err := d.store.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.open()
	d.want("within a minute, after a restart", variant.ErrPoison, 1)
	d.clock.Add(time.Second)
	d.log.Reset()
	d.want("after a minute", variant.ErrUndecodable, 2)
	if log := d.log.String(); !strings.Contains(log, "imgkeep retry") || !strings.Contains(log, d.image.Digest.String()) || !strings.Contains(log, "segmentation fault") {
		t.Errorf("the operator is told: %s", log)
	}
	d.clock.Add(10 * 365 * 24 * time.Hour)
	d.err = nil
	d.want("for good", variant.ErrUndecodable, 2)
	if err := d.make("99x"); !errors.Is(err, variant.ErrUndecodable) || !strings.Contains(err.Error(), "segmentation fault") {
		t.Errorf("another size: %v", err)
	}
	if err := d.store.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.open()
	d.want("after a restart", variant.ErrUndecodable, 2)
	if got := buckettest.Tree(t, d.root)[buckettest.Keep(t, d.store, urlA).File()]; got != "the bytes of a" {
		t.Errorf("in full: %q", got)
	}
	if r, err := d.store.Retry(urlA); err != nil || r != (bucket.Retried{Undecodable: 1}) {
		t.Errorf("retry: %+v, %v", r, err)
	}
	d.want("tried again", nil, 3)
	// It begins with nothing against it.
	d.err = errDied
	if err := d.make("200x"); !errors.Is(err, variant.ErrPoison) || errors.Is(err, variant.ErrUndecodable) {
		t.Errorf("again: %v", err)
	}
}

// What is made keeps being served: only what would be decoded is not.
func TestPoisonImageMadeBefore(t *testing.T) {
	d := newPoison(t)
	d.err = nil
	d.want("made", nil, 1)
	d.err = errDied
	for range 2 {
		d.make("200x")
		d.clock.Add(time.Minute)
	}
	if err := d.make("200x"); !errors.Is(err, variant.ErrUndecodable) {
		t.Error(err)
	}
	d.want("made before", nil, 3)
}

// What is made without decoding is tried of such an image too (this one is no PNG).
func TestPoisonImageStripped(t *testing.T) {
	d := newPoison(t)
	d.want("the first time", variant.ErrPoison, 1)
	d.clock.Add(time.Minute)
	d.want("the second time", variant.ErrUndecodable, 2)
	if _, err := d.store.OpenStripped(t.Context(), d.image); !errors.Is(err, strip.ErrBroken) {
		t.Errorf("stripped: %v", err)
	}
	d.want("sizes", variant.ErrUndecodable, 2)
}

// Only crashes count, and only two in a row.
func TestNoPoison(t *testing.T) {
	d := newPoison(t)
	broken := errors.New("broken")
	d.err = broken
	for n := range 3 {
		d.want("another error", broken, n+1)
		d.clock.Add(time.Minute)
	}
	for range 3 {
		d.err = errDied
		if err := d.make("a"); !errors.Is(err, variant.ErrPoison) || errors.Is(err, variant.ErrUndecodable) {
			t.Error(err)
		}
		d.clock.Add(time.Minute)
		d.err = nil
		if err := d.make(fmt.Sprint("b", d.calls)); err != nil {
			t.Error(err)
		}
	}
}

// Two sizes of an image that crash at the same time count as one crash, since the machine may
// be the cause.
func TestPoisonAtOnce(t *testing.T) {
	d := newPoison(t)
	var both, wg sync.WaitGroup
	both.Add(2)
	for _, name := range []string{"1x", "2x"} {
		wg.Go(func() {
			_, err := d.store.OpenVariant(t.Context(), d.image, name, probe.PNG, func(context.Context, io.Reader, int64) ([]byte, error) {
				both.Done()
				both.Wait()
				return nil, errDied
			})
			if !errors.Is(err, variant.ErrPoison) || errors.Is(err, variant.ErrUndecodable) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	d.want("at once", variant.ErrPoison, 0)
	d.clock.Add(time.Minute)
	d.want("after a minute", variant.ErrUndecodable, 1)
}

// A crash is not held against the image if the decoded bytes were not its own.
func TestPoisonDamage(t *testing.T) {
	d := newPoison(t)
	path := d.store.Path(d.image.File())
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("the bytes of A"), 0o444)); err != nil {
		t.Fatal(err)
	}
	d.want("repaired, and then a crash of its own", variant.ErrPoison, 2)
	if got, err := d.store.Maintenance().Index().Poison("i", d.image.Digest); err != nil || got.Crashes != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRetry(t *testing.T) {
	d := newPoison(t)
	for what, want := range map[string]error{"": imageurl.ErrURL, "cat.jpg": imageurl.ErrURL, d.image.Digest.String()[:42]: imageurl.ErrURL} {
		if _, err := d.store.Retry(what); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", what, err, want)
		}
	}
	nothing := func(what string) {
		t.Helper()
		if r, err := d.store.Retry(what); err != nil || r != (bucket.Retried{}) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	nothing(urlA)
	nothing(d.image.Digest.String())
	nothing("https://example.com/never-seen.png")

	// By its digest, by its URL, and by another URL of the same bytes; in all
	// buckets.
	buckettest.Keep(t, d.store, urlB)
	other, err := d.store.Keep(t.Context(), "f", urlA)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{d.image.Digest.String(), urlA, urlB} {
		want := 1
		d.make("x")
		if what != urlB { // which bucket f does not have
			want = 2
			_, err := d.store.OpenVariant(t.Context(), other, "x", probe.PNG, func(context.Context, io.Reader, int64) ([]byte, error) { return nil, errDied })
			if !errors.Is(err, errDied) {
				t.Errorf("it ends no decoder: %v", err)
			}
		}
		if r, err := d.store.Retry(what); err != nil || r != (bucket.Retried{Undecodable: want}) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
		nothing(what)
	}
	// A failure to fetch is forgotten too.
	o := &d.origin
	const gone = "https://example.com/gone.png"
	o.Fail(gone, &fetch.Error{Kind: fetch.Gone, Err: errors.New("404")})
	if _, err := d.store.Keep(t.Context(), "i", gone); err == nil {
		t.Fatal("it is not gone")
	}
	o.Set(gone, "back again")
	if _, err := d.store.Keep(t.Context(), "i", gone); err == nil {
		t.Fatal("it was tried again at once")
	}
	if r, err := d.store.Retry(gone); err != nil || r != (bucket.Retried{Failures: 1}) {
		t.Errorf("%+v, %v", r, err)
	}
	buckettest.Keep(t, d.store, gone)
	if err := d.store.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.store.Retry(urlA); !errors.Is(err, bucket.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
