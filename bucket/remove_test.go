package bucket

import (
	"context"
	"crypto/sha256"
	"errors"
	"imgkeep/bucket/blob/local"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/bucket/backup"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
	"imgkeep/bucket/scrub"
)

// removable is a store with images in two buckets: a and b have the same bytes, c
// has others.
type removable struct {
	*testing.T
	*Store
	o    *origin
	c    *clock
	root string
	a, b record.Image // in bucket i
	cImg record.Image
	f    record.Image // a in bucket f
}

const urlC = "https://other.example/c.png"

func newRemovable(t *testing.T) *removable {
	x := &removable{T: t, o: newOrigin(), c: newClock(), root: t.TempDir()}
	x.o.set(urlA, "the same bytes")
	x.o.set(urlB, "the same bytes")
	x.o.set(urlC, "the bytes of c")
	x.open()
	x.a, x.b, x.cImg = keep(t, x.Store, urlA), keep(t, x.Store, urlB), keep(t, x.Store, urlC)
	var err error
	x.f, err = x.Keep(t.Context(), "f", urlA)
	x.must(err)
	x.make(x.a, "250x250")
	x.make(x.a, "")
	return x
}

func (x *removable) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

func (x *removable) open() {
	x.Helper()
	s, err := Open(sparse(x.options()))
	x.must(err)
	x.Store = s
	x.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil && !errors.Is(err, ErrClosed) {
			x.Error(err)
		}
	})
}

func (x *removable) options() Options {
	return Options{Root: x.root, Origin: x.o, Now: x.c.Now, Buckets: []Bucket{{Name: "i"}, {Name: "f"}}}
}

// make makes a size; under an empty name the original stands for it.
func (x *removable) make(i record.Image, name string) {
	x.Helper()
	data := []byte("small")
	if name == "" {
		name, data = "500x", nil
	}
	f, err := x.OpenVariant(x.Context(), i, name, probe.PNG, func(_ context.Context, r io.Reader, _ int64) ([]byte, error) {
		_, err := io.Copy(io.Discard, r)
		return data, err
	})
	x.must(err)
	f.Close()
}

// finds checks what is found under a URL: nil is an image.
func (x *removable) finds(bucket, url string, want error) {
	x.Helper()
	if _, err := x.Find(bucket, url); !errors.Is(err, want) {
		x.Errorf("%s in %s: got %v, want %v", url, bucket, err, want)
	}
}

// files checks how many files of an image there are.
func (x *removable) files(i record.Image, want int) {
	x.Helper()
	if got, err := local.FilesOf(x.Root(), i.Bucket, i.Digest); err != nil || len(got) != want {
		x.Errorf("there are %v, %v; want %d", got, err, want)
	}
}

// rebuilt closes the store, makes its index anew, and opens it again: the journal
// must say the same.
func (x *removable) rebuilt() {
	x.Helper()
	x.must(x.Close(x.Context()))
	r, err := reindex.Run(x.Context(), reindex.Options{Root: x.root})
	if err != nil || len(r.Found) > 0 {
		x.Errorf("reindex: %+v, %v", r, err)
	}
	x.open()
	if r, err := scrub.Run(x.Context(), x.Maintenance(), scrub.Options{Exclusive: true}); err != nil || len(r.Found) > 0 {
		x.Errorf("scrub: %+v, %v", r, err)
	}
}

func TestForget(t *testing.T) {
	x := newRemovable(t)
	r, err := x.Forget(t.Context(), urlA, RemoveOptions{Buckets: []string{"i"}, Why: "asked to", By: "uid 0"})
	x.must(err)
	if len(r.Images) != 1 || r.Images[0].Left != 1 || len(r.Images[0].Files) != 0 || !slices.Equal(r.Images[0].URLs, []string{urlA}) {
		t.Errorf("got %+v", r)
	}
	check := func() {
		t.Helper()
		x.finds("i", urlA, ErrNotKept)
		x.finds("i", urlB, nil)
		x.finds("f", urlA, nil)
		x.files(x.a, 3)
	}
	check()
	x.rebuilt()
	check()
	lines := readJournal(t, x.root, "i")
	if e := lines[len(lines)-1]; e.Op != ledger.OpForget || e.URL != urlA || e.Digest != x.a.Digest.String() || e.Type != "png" || e.Why != "asked to" || e.By != "uid 0" || !e.Time.Equal(x.c.Now()) {
		t.Errorf("the line: %+v", e)
	}
	// The last one takes the bytes along.
	r, err = x.Forget(t.Context(), urlB, RemoveOptions{})
	x.must(err)
	if len(r.Images) != 1 || r.Images[0].Left != 0 || len(r.Images[0].Files) != 3 || r.Images[0].Bytes != x.a.Bytes {
		t.Errorf("got %+v", r)
	}
	for range 2 {
		x.finds("i", urlB, ErrNotKept)
		x.files(x.a, 0)
		x.files(x.f, 1)
		x.rebuilt()
	}
	if _, err := x.Forget(t.Context(), urlB, RemoveOptions{}); !errors.Is(err, ErrNotKept) {
		t.Errorf("forgotten twice: %v", err)
	}
	if _, err := x.Forget(t.Context(), urlC, RemoveOptions{Buckets: []string{"nope"}}); !errors.Is(err, ErrNoBucket) {
		t.Errorf("in no bucket: %v", err)
	}
	// What is forgotten may come again.
	keep(t, x.Store, urlB)
	for range 2 {
		x.finds("i", urlB, nil)
		x.finds("i", urlA, ErrNotKept)
		x.files(x.a, 1)
		x.rebuilt()
	}
}

func TestPurge(t *testing.T) {
	for name, target := range map[string]Target{"by URL": {URL: urlB}, "by digest": {}} {
		for _, one := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				x := newRemovable(t)
				if target.URL == "" {
					target.Digest = x.a.Digest
				}
				var o RemoveOptions
				if one {
					o.Buckets = []string{"i"}
				}
				o.DryRun = true
				dry, err := x.Purge(t.Context(), target, o)
				x.must(err)
				x.finds("i", urlA, nil)
				x.files(x.a, 3)
				o.DryRun = false
				r, err := x.Purge(t.Context(), target, o)
				x.must(err)
				i := slices.IndexFunc(r.Images, func(r record.Removed) bool { return r.Bucket == "i" })
				if i < 0 || !slices.Equal(r.Images[i].URLs, []string{urlA, urlB}) || len(r.Images[i].Files) != 3 || len(dry.Images) != len(r.Images) {
					t.Errorf("got %+v; dry run %+v", r, dry)
				}
				for range 2 {
					x.finds("i", urlA, ErrNotKept)
					x.finds("i", urlB, ErrNotKept)
					x.finds("i", urlC, nil)
					x.files(x.a, 0)
					if one {
						x.finds("f", urlA, nil)
						x.files(x.f, 1)
					} else {
						x.finds("f", urlA, ErrNotKept)
						x.files(x.f, 0)
					}
					x.rebuilt()
				}
				if _, err := x.Purge(t.Context(), target, o); !errors.Is(err, ErrNotKept) {
					t.Errorf("purged twice: %v", err)
				}
				keep(t, x.Store, urlB)
				for range 2 {
					x.finds("i", urlB, nil)
					x.finds("i", urlA, ErrNotKept)
					x.rebuilt()
				}
			})
		}
	}
}

// Files that the index does not know, and those in the quarantine, are removed too.
func TestPurgeStrays(t *testing.T) {
	x := newRemovable(t)
	aside := filepath.Join(x.root, record.QuarantineDir, "20261101T000000Z", x.cImg.File())
	x.must(os.MkdirAll(filepath.Dir(aside), 0o750))
	x.must(os.WriteFile(aside, []byte("the bytes of c"), 0o400))
	stray := record.Image{Bucket: "i", Digest: record.Digest{1, 2, 3}, Info: probe.Info{Format: probe.GIF}}
	x.must(os.MkdirAll(filepath.Dir(x.Path(stray.File())), 0o755))
	x.must(os.WriteFile(x.Path(stray.File()), []byte("stray"), 0o444))
	for _, d := range []record.Digest{x.cImg.Digest, stray.Digest} {
		_, err := x.Purge(t.Context(), Target{Digest: d}, RemoveOptions{})
		x.must(err)
	}
	x.files(x.cImg, 0)
	x.files(stray, 0)
	x.rebuilt()
}

func TestBlockURL(t *testing.T) {
	x := newRemovable(t)
	r, err := x.Block(t.Context(), Target{URL: urlA}, RemoveOptions{Why: "law", By: "uid 7"})
	x.must(err)
	if len(r.Blocked) != 2 || r.Blocked[0].Kind != record.BlockURL || r.Blocked[1].For != urlA || len(r.Images) != 2 {
		t.Errorf("got %+v", r)
	}
	const urlNew = "https://new.example/x.png"
	x.o.set(urlNew, "the same bytes")
	for round := range 2 {
		x.finds("i", urlA, ErrRemoved)
		x.finds("f", urlA, ErrRemoved)
		x.files(x.a, 0)
		x.files(x.f, 0)
		for _, url := range []string{urlA, urlB, urlNew} {
			if _, err := x.Keep(t.Context(), "i", url); !errors.Is(err, ErrRemoved) {
				t.Errorf("keep %s: %v", url, err)
			}
			if _, err := x.Fetch(t.Context(), "i", url); !errors.Is(err, ErrRemoved) {
				t.Errorf("fetch %s: %v", url, err)
			}
		}
		if n := x.o.count(urlA); n != 2 { // once for each bucket, before
			t.Errorf("round %d: it was asked for %d times", round, n)
		}
		if n := x.o.count(urlNew); n != round+1 { // and then remembered, which reindexing forgets
			t.Errorf("round %d: the new URL was asked for %d times", round, n)
		}
		x.rebuilt()
	}
	_, err = x.Unblock(t.Context(), Target{Digest: x.cImg.Digest}, RemoveOptions{})
	if !errors.Is(err, ErrNotBlocked) {
		t.Errorf("unblock what is not blocked: %v", err)
	}
	r, err = x.Unblock(t.Context(), Target{URL: urlA}, RemoveOptions{})
	x.must(err)
	if len(r.Unblocked) != 2 {
		t.Errorf("got %+v", r)
	}
	keep(t, x.Store, urlNew) // at once, whatever had failed
	for range 2 {
		keep(t, x.Store, urlA)
		x.rebuilt()
	}
}

func TestBlockDigest(t *testing.T) {
	x := newRemovable(t)
	_, err := x.Block(t.Context(), Target{Digest: x.a.Digest}, RemoveOptions{KeepFiles: true})
	x.must(err)
	for range 2 {
		x.finds("i", urlA, ErrRemoved)
		x.finds("f", urlA, ErrRemoved)
		x.finds("i", urlC, nil)
		x.files(x.a, 3) // for users who may look at disks
		if _, err := x.OpenVariant(t.Context(), x.a, "100x100", probe.PNG, func(context.Context, io.Reader, int64) ([]byte, error) { return []byte("x"), nil }); !errors.Is(err, ErrRemoved) {
			t.Errorf("a size of it: %v", err)
		}
		x.rebuilt()
	}
	_, err = x.Unblock(t.Context(), Target{Digest: x.a.Digest}, RemoveOptions{})
	x.must(err)
	x.finds("i", urlA, nil)
	x.finds("f", urlA, nil)
}

// While a host is blocked, nothing of it is served or fetched. Its files stay, and are served
// again afterwards.
func TestBlockHost(t *testing.T) {
	x := newRemovable(t)
	for _, pattern := range []string{"other.example", "*.example"} {
		_, err := x.Block(t.Context(), Target{Host: pattern}, RemoveOptions{})
		x.must(err)
		for range 2 {
			x.finds("i", urlC, ErrRemoved)
			x.finds("i", urlA, nil)
			x.files(x.cImg, 1)
			if _, err := x.Keep(t.Context(), "f", urlC); !errors.Is(err, ErrRemoved) {
				t.Errorf("keep: %v", err)
			}
			if n := x.o.count(urlC); n != 1 {
				t.Errorf("it was asked for %d times", n)
			}
			x.rebuilt()
		}
		_, err = x.Unblock(t.Context(), Target{Host: pattern}, RemoveOptions{})
		x.must(err)
		x.finds("i", urlC, nil)
	}
}

// leads is an origin whose redirects end elsewhere.
type leads struct {
	*origin
	to string
}

func (l leads) Fetch(ctx context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	if r.Denied != nil && r.Denied("via.example") {
		return fetch.Result{}, &fetch.Error{Kind: fetch.Denied, Host: "via.example", Err: errors.New("denied")}
	}
	result, err := l.origin.Fetch(ctx, r, dst)
	result.FinalURL = l.to
	return result, err
}

// A redirect is no way around a block, neither by its target nor by a host on its way.
func TestBlockRedirect(t *testing.T) {
	o := leads{newOrigin(), "https://Blocked.example:443/x.png"}
	o.set(urlA, "a")
	for name, target := range map[string]Target{
		"host": {Host: "blocked.example"}, "URL": {URL: "https://blocked.example/x.png"}, "on the way": {Host: "via.example"},
	} {
		s := openStore(t, Options{Root: t.TempDir(), Origin: o})
		if _, err := s.Block(t.Context(), target, RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
		_, err := s.Keep(t.Context(), "i", urlA)
		if name == "on the way" && !errors.Is(err, ErrDenied) || name != "on the way" && !errors.Is(err, ErrRemoved) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An image that is removed or blocked while it is fetched is not kept.
func TestRemovedWhileFetched(t *testing.T) {
	for name, tt := range map[string]struct {
		start func(x *removable) error // arrives at the origin, and is held there
		block func(x *removable) Target
	}{
		"keep, URL blocked":  {func(x *removable) error { _, err := x.Keep(x.Context(), "i", urlD); return err }, func(x *removable) Target { return Target{URL: urlD} }},
		"keep, host blocked": {func(x *removable) error { _, err := x.Keep(x.Context(), "i", urlD); return err }, func(x *removable) Target { return Target{Host: "example.com"} }},
		"keep, bytes blocked": {func(x *removable) error { _, err := x.Keep(x.Context(), "i", urlD); return err },
			func(x *removable) Target { return Target{Digest: digestOfText("the bytes of d")} }},
		"fetch, URL blocked": {func(x *removable) error {
			p, err := x.Fetch(x.Context(), "i", urlD)
			if err == nil {
				p.Close()
			}
			return err
		}, func(x *removable) Target { return Target{URL: urlD} }},
		"repair, bytes blocked": {func(x *removable) error { _, err := x.Open(x.Context(), x.cImg); return err },
			func(x *removable) Target { return Target{Digest: x.cImg.Digest} }},
		"repair, purged": {func(x *removable) error { _, err := x.Open(x.Context(), x.cImg); return err }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			x := newRemovable(t)
			x.o.set(urlD, "the bytes of d")
			x.must(os.Remove(x.Path(x.cImg.File()))) // so that it repairs
			x.o.arrived, x.o.hold = make(chan string, 1), make(chan struct{})
			done := make(chan error)
			go func() { done <- tt.start(x) }()
			<-x.o.arrived
			var err error
			if tt.block != nil {
				_, err = x.Block(t.Context(), tt.block(x), RemoveOptions{})
			} else {
				_, err = x.Purge(t.Context(), Target{Digest: x.cImg.Digest}, RemoveOptions{})
			}
			x.must(err)
			close(x.o.hold)
			if err := <-done; !errors.Is(err, ErrRemoved) {
				t.Errorf("got %v", err)
			}
			x.files(record.Image{Bucket: "i", Digest: digestOfText("the bytes of d")}, 0)
			x.files(x.cImg, 0)
			if left, err := os.ReadDir(filepath.Join(x.root, record.TmpDir)); err != nil || len(left) > 0 {
				t.Errorf("left in tmp: %v, %v", left, err)
			}
		})
	}
}

// A size that is being made while its image is purged is not stored.
func TestPurgedWhileMade(t *testing.T) {
	x := newRemovable(t)
	_, err := x.OpenVariant(t.Context(), x.cImg, "250x250", probe.PNG, func(_ context.Context, r io.Reader, _ int64) ([]byte, error) {
		io.Copy(io.Discard, r)
		_, err := x.Purge(t.Context(), Target{URL: urlC}, RemoveOptions{})
		return []byte("small"), err
	})
	if !errors.Is(err, ErrRemoved) {
		t.Errorf("got %v", err)
	}
	x.files(x.cImg, 0)
}

// If the files of a removed image cannot be deleted, it is unreachable at once, and the next
// Open or scrub deletes them.
func TestRemovalFinished(t *testing.T) {
	for _, by := range []string{"open", "scrub"} {
		x := newRemovable(t)
		x.must(x.Close(t.Context()))
		f := &localtest.Fault{}
		o := x.options()
		o.disk = newStepDisk(func(s localtest.Step, do func() error) error {
			if s.Op == "RemoveAll" && !strings.HasPrefix(s.Path, filepath.Join(x.root, record.TmpDir)) {
				return f.Hook(s, do)
			}
			return do()
		})
		s, err := Open(sparse(o))
		x.must(err)
		x.Store = s
		f.Arm(1, syscall.EIO, false, true)
		if _, err := s.Purge(t.Context(), Target{URL: urlA}, RemoveOptions{}); !errors.Is(err, syscall.EIO) {
			t.Errorf("got %v", err)
		}
		f.Disarm()
		x.finds("i", urlA, ErrNotKept)
		x.files(x.a, 3)
		if by == "scrub" {
			if r, err := scrub.Run(t.Context(), s.Maintenance(), scrub.Options{}); err != nil || r.Found[record.HalfRemoved] != 2 || r.Remain != 2 {
				t.Errorf("scrub: %+v, %v", r, err)
			}
			if r, err := scrub.Run(t.Context(), s.Maintenance(), scrub.Options{Repair: true}); err != nil || r.Found[record.HalfRemoved] != 2 || r.Remain > 0 {
				t.Errorf("scrub --repair: %+v, %v", r, err)
			}
			x.must(s.Close(t.Context()))
		} else {
			x.must(s.Close(t.Context()))
			x.open()
		}
		x.files(x.a, 0)
	}
}

// A crash between journal and index leaves the image; the next start, or a scrub, completes
// the removal. A rebuilt index does not have the image, and rebuilding deletes no file.
func TestHalfRemoved(t *testing.T) {
	for _, op := range []string{ledger.OpForget, ledger.OpPurge} {
		for _, by := range []string{"scrub", "start", "reindex"} {
			x := newRemovable(t)
			e := ledger.RemoveEvent(op, x.cImg, x.now(), "", "")
			if op == ledger.OpPurge {
				e.URL = ""
			}
			x.must(addTo(x.Store, "i", []*ledger.Event{e}))
			x.finds("i", urlC, nil)
			switch by {
			case "scrub":
				r, err := scrub.Run(t.Context(), x.Maintenance(), scrub.Options{})
				if err != nil || r.Found[record.HalfRemoved] != 1 || r.Remain != 1 {
					t.Errorf("%s: scrub: %+v, %v", op, r, err)
				}
				x.finds("i", urlC, nil)
				r, err = scrub.Run(t.Context(), x.Maintenance(), scrub.Options{Repair: true})
				if err != nil || r.Remain != 0 {
					t.Errorf("%s: scrub --repair: %+v, %v", op, r, err)
				}
			case "start":
				x.must(x.Close(t.Context()))
				x.open()
			case "reindex":
				x.must(x.Close(t.Context()))
				r, err := reindex.Run(t.Context(), reindex.Options{Root: x.root})
				if err != nil || r.Found[record.HalfRemoved] != 1 || len(r.Found) != 1 {
					t.Errorf("%s: reindex: %+v, %v", op, r, err)
				}
				x.open()
				x.finds("i", urlC, ErrNotKept)
				x.files(x.cImg, 1)
				_, err = x.Purge(t.Context(), Target{Digest: x.cImg.Digest}, RemoveOptions{})
				x.must(err)
			}
			x.finds("i", urlC, ErrNotKept)
			x.files(x.cImg, 0)
			x.rebuilt()
		}
	}
}

// A line is never written before the line that it undoes, whatever the clock does.
func TestJournalOrder(t *testing.T) {
	x := newRemovable(t)
	x.c.add(31 * 24 * time.Hour)
	_, err := x.Purge(t.Context(), Target{URL: urlC}, RemoveOptions{})
	x.must(err)
	x.c.add(-31 * 24 * time.Hour)
	keep(t, x.Store, urlC)
	for range 2 {
		x.finds("i", urlC, nil)
		x.files(x.cImg, 1)
		x.rebuilt()
	}
}

// The next backup also deletes what was removed from the store, and a restored store has the
// removals and blocks.
func TestBackupRemoved(t *testing.T) {
	x := newRemovable(t)
	dir, restored := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
	if _, err := backup.Run(t.Context(), backup.Options{Root: x.root, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	_, err := x.Forget(t.Context(), urlA, RemoveOptions{Buckets: []string{"i"}}) // b has the bytes still
	x.must(err)
	_, err = x.Purge(t.Context(), Target{URL: urlC}, RemoveOptions{})
	x.must(err)
	_, err = x.Block(t.Context(), Target{Host: "blocked.example"}, RemoveOptions{})
	x.must(err)
	for round := range 2 {
		r, err := backup.Run(t.Context(), backup.Options{Root: x.root, Dir: dir})
		if err != nil || r.Removed != 1-round || len(r.Found) > 0 {
			t.Errorf("got %+v, %v", r, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, x.cImg.File())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the backup has what was purged: %v", err)
	}
	if _, _, err := backup.Restore(t.Context(), backup.Options{Root: restored, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	x.must(x.Close(t.Context()))
	x.root = restored
	x.open()
	x.finds("i", urlA, ErrNotKept)
	x.finds("i", urlB, nil)
	x.finds("i", urlC, ErrNotKept)
	x.finds("f", urlA, nil)
	x.finds("i", "https://blocked.example/", ErrRemoved)
}

func digestOfText(s string) record.Digest { return sha256.Sum256([]byte(s)) }
