package bucket

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/record"
	"imgkeep/bucket/uncached"
)

// uncachedFiles are those in tmp.
func uncachedFiles(t *testing.T, s *Store) int {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(s.root, record.TmpDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// An uncached image is fetched once for all who ask at the same time, or within a minute; each
// reads all of it. Then it is gone.
func TestUncachedIsShared(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin()
		o.set(urlA, "a")
		s := openStore(t, Options{Root: root, Origin: o})
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				p, err := s.Fetch(t.Context(), "i", urlA)
				if err != nil {
					t.Error(err)
					return
				}
				defer p.Close()
				if b, err := io.ReadAll(p); err != nil || string(b) != "a" || p.Bytes != 1 {
					t.Errorf("%q, %v", b, err)
				}
			})
		}
		all.Wait()
		time.Sleep(uncached.KeepFor - time.Second)
		p, err := s.Fetch(t.Context(), "i", urlA)
		if err != nil || o.count(urlA) != 1 {
			t.Fatalf("fetched %d times, %v", o.count(urlA), err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if b, err := io.ReadAll(p); err != nil || string(b) != "a" {
			t.Errorf("one who reads for longer than it is remembered: %q, %v", b, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if n := uncachedFiles(t, s); n != 0 || s.uncached.Taken() != 0 {
			t.Errorf("%d files and %d bytes are left", n, s.uncached.Taken())
		}
		// What is known of it is so for longer, and as long as nobody blocks it.
		if _, bytes, err := s.Uncached("i", urlA, false); err != nil || bytes != 1 {
			t.Errorf("known: %d bytes, %v", bytes, err)
		}
		if _, err := s.Block(t.Context(), Target{Digest: sha256.Sum256([]byte("a"))}, RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Uncached("i", urlA, false); !errors.Is(err, ErrRemoved) {
			t.Errorf("blocked, and known: %v", err)
		}
		if _, err := s.Fetch(t.Context(), "i", urlA); !errors.Is(err, ErrRemoved) {
			t.Errorf("blocked, and shown: %v", err)
		}
		time.Sleep(uncached.KnowFor)
		synctest.Wait()
		if s.uncached.Known() != 0 {
			t.Error("it is known for ever")
		}
	})
}

// Slow readers do not keep others from reading: uncached images have a budget, within which the
// oldest makes room.
func TestUncachedHasABudget(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin()
		s := openStore(t, Options{Root: root, Origin: o})
		s.uncached = uncached.NewPool(10*1001 + 5)
		url := func(n int) string { return fmt.Sprint("https://example.com/", n) }
		for n := range 30 {
			o.set(url(n), fmt.Sprintf("%01000d", n))
		}
		var readers []*uncached.File
		for n := range 10 {
			p, err := s.Fetch(t.Context(), "i", url(n))
			if err != nil {
				t.Fatal(err)
			}
			readers = append(readers, p)
		}
		// For a time all that is there is theirs.
		var e *Failure
		if _, err := s.Fetch(t.Context(), "i", url(10)); !errors.As(err, &e) || e.Kind != fetch.Busy {
			t.Errorf("more than the budget: %v", err)
		}
		if n := uncachedFiles(t, s); n != 10 || s.uncached.Taken() > 10*1001+5 {
			t.Errorf("%d files, %d bytes", n, s.uncached.Taken())
		}
		// What nobody reads makes room at once.
		readers[3].Close()
		p, err := s.Fetch(t.Context(), "i", url(11))
		if err != nil {
			t.Fatal(err)
		}
		readers[3] = p
		// After it, the oldest that is read does, and its room is free at once.
		time.Sleep(uncached.Grace)
		p, err = s.Fetch(t.Context(), "i", url(12))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(p); err != nil || len(b) != 1000 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		cut := 0
		for _, r := range readers {
			if info, err := r.Stat(); err != nil || info.Size() == 0 {
				cut++
			}
		}
		if cut != 1 {
			t.Errorf("%d images were taken from their readers, want 1", cut)
		}
		for _, r := range append(readers, p) {
			r.Close()
		}
		time.Sleep(uncached.KeepFor)
		synctest.Wait()
		if n := uncachedFiles(t, s); n != 0 || s.uncached.Taken() != 0 {
			t.Errorf("%d files and %d bytes are left", n, s.uncached.Taken())
		}
	})
}

// Close deletes all uncached images.
func TestUncachedEndsWithTheStore(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.set(urlA, "a")
	s := openStore(t, Options{Root: root, Origin: o})
	p, err := s.Fetch(t.Context(), "i", urlA)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(root, record.TmpDir)); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
