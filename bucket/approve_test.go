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
	"time"

	"imgkeep/bucket/approve"
)

// approver is a test's check. It says what look returns.
type approver struct {
	mu    sync.Mutex
	asked []approve.Question
	look  func(q approve.Question, bytes string) error
}

func (a *approver) Ask(ctx context.Context, q approve.Question, image io.ReaderAt) error {
	b, err := io.ReadAll(io.NewSectionReader(image, 0, q.Bytes))
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, q)
	return a.look(q, string(b))
}

var (
	errNo      = fmt.Errorf("%w: status 403", approve.ErrRejected)
	errNothing = fmt.Errorf("%w: status 500", approve.ErrNoAnswer)
)

// visible lists the originals of a store under their final names.
func visible(t *testing.T, root string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "i", "?", "?", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// The check gets the image, and what is known of it, before anything of it is visible.
func TestApproved(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.set(urlA, "the bytes of a")
	a := &approver{look: func(q approve.Question, bytes string) error {
		if bytes != "the bytes of a" || len(visible(t, root)) != 0 || len(readJournal(t, root, "i")) != 0 {
			t.Errorf("asked about %q, with %v there", bytes, visible(t, root))
		}
		return nil
	}}
	s := openStore(t, Options{Root: root, Origin: o, Approver: a})
	image := keep(t, s, urlA)
	keep(t, s, urlA) // is kept, and not asked about again
	want := approve.Question{Bucket: "i", URL: urlA, Type: "image/png", Digest: image.Digest.String(), Bytes: 14}
	if len(a.asked) != 1 || a.asked[0] != want {
		t.Errorf("asked about %+v, want %+v", a.asked, want)
	}
	// Healing brings back bytes that were approved of.
	if err := os.Remove(s.Path(image.File())); err != nil {
		t.Fatal(err)
	}
	a.look = func(approve.Question, string) error { return errNothing }
	if got := content(t, s, image); got != "the bytes of a" || len(a.asked) != 1 {
		t.Errorf("repaired to %q, asked %d times", got, len(a.asked))
	}
}

// A rejection is remembered for a month, also after restarts, and nothing is kept or passed
// on. Without an answer, the check is soon asked again. Both differ from failures of origins.
func TestNotApproved(t *testing.T) {
	for _, tt := range []struct {
		err    error
		class  string
		pauses []time.Duration
	}{
		{errNo, "rejected", []time.Duration{30 * 24 * time.Hour, 30 * 24 * time.Hour}},
		{errNothing, "unchecked", []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute}},
		{errors.New("anything else"), "unchecked", []time.Duration{30 * time.Second}},
	} {
		o, c, root := newOrigin(), newClock(), t.TempDir()
		o.set(urlA, "a")
		a := &approver{look: func(approve.Question, string) error { return tt.err }}
		options := Options{Root: root, Origin: o, Now: c.Now, Approver: a}
		s := openStore(t, options)
		for n, pause := range tt.pauses {
			ask := func() error { _, err := s.Keep(t.Context(), "i", urlA); return err }
			if n%2 == 1 {
				ask = func() error { _, err := s.Fetch(t.Context(), "i", urlA); return err }
			}
			var f *Failure
			err := ask()
			if !errors.As(err, &f) || string(f.Kind) != tt.class || f.Attempts != n+1 || f.Next.Sub(c.Now()) != pause {
				t.Fatalf("%s, time %d: %v, want a pause of %v", tt.class, n+1, err, pause)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, options)
			c.add(pause - time.Second)
			if err := ask(); !errors.As(err, &f) || f.Attempts != n+1 || len(a.asked) != n+1 || o.count(urlA) != n+1 {
				t.Errorf("%s: a second before its time: %v, asked %d times", tt.class, err, len(a.asked))
			}
			c.add(time.Second)
		}
		if files := visible(t, root); len(files) > 0 || len(readJournal(t, root, "i")) > 0 {
			t.Errorf("%s: kept %v", tt.class, files)
		}
		a.look = func(approve.Question, string) error { return nil }
		keep(t, s, urlA)
	}
}

// Fail-open keeps an image without an answer, but no rejected one.
func TestApproveOpen(t *testing.T) {
	o := newOrigin()
	o.set(urlA, "a")
	o.set(urlB, "b")
	a := &approver{look: func(q approve.Question, _ string) error {
		if q.URL == urlA {
			return errNothing
		}
		return errNo
	}}
	s := openStore(t, Options{Root: t.TempDir(), Origin: o, Approver: a, ApproveOpen: true})
	keep(t, s, urlA)
	var f *Failure
	if _, err := s.Keep(t.Context(), "i", urlB); !errors.As(err, &f) || f.Kind != Rejected {
		t.Errorf("rejected: %v", err)
	}
}

// An image that is passed on without being kept is checked first, too.
func TestUncachedIsApproved(t *testing.T) {
	o := newOrigin()
	o.set(urlA, "a")
	a := &approver{look: func(approve.Question, string) error { return nil }}
	s := openStore(t, Options{Root: t.TempDir(), Origin: o, Approver: a})
	p, err := s.Fetch(t.Context(), "i", urlA)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if b, err := io.ReadAll(io.NewSectionReader(p, 0, p.Bytes)); err != nil || string(b) != "a" || len(a.asked) != 1 {
		t.Errorf("%q, %v, asked %d times", b, err, len(a.asked))
	}
}
