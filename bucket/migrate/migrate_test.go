package migrate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/object/objecttest"
	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/ledger/shared/sharedtest"
	"imgkeep/bucket/migrate"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/scripts/tempdir"
)

// nowhere is an origin that has nothing.
type nowhere struct{}

func (nowhere) Fetch(context.Context, fetch.Request, io.Writer) (fetch.Result, error) {
	return fetch.Result{}, &fetch.Error{Kind: fetch.Gone, Err: errors.New("nothing is there")}
}

var buckets = []string{"i", "t"}

// site is a single machine's store.
type site struct {
	*testing.T
	*bucket.Store
	root string
	n    int // images that were added
}

func open(t *testing.T, root string) *site {
	t.Helper()
	s, err := bucket.Open(bucket.Options{Root: root, Buckets: []bucket.Bucket{{Name: "i"}, {Name: "t"}}, Origin: nowhere{}})
	if err != nil {
		t.Fatal(err)
	}
	site := &site{T: t, Store: s, root: root}
	t.Cleanup(site.close)
	return site
}

func (s *site) close() {
	if err := s.Close(context.Background()); err != nil && !errors.Is(err, bucket.ErrClosed) {
		s.Error(err)
	}
}

// picture is the n-th picture.
func picture(n int) []byte {
	i := image.NewNRGBA(image.Rect(0, 0, 2, 2))
	i.Set(0, 0, color.NRGBA{byte(n), byte(n >> 8), 7, 255})
	var b bytes.Buffer
	if err := png.Encode(&b, i); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func urlOf(n int) string { return fmt.Sprintf("https://h%d.example.com/%d.png", n%7, n) }

// add keeps the next image, every third in another bucket, and every fourth with the bytes of
// another.
func (s *site) add() (url string) {
	s.Helper()
	n := s.n
	s.n++
	of := n
	if n%4 == 3 {
		of = n - 3
	}
	if _, _, err := s.Add(buckets[min(n%3, 1)], urlOf(n), bytes.NewReader(picture(of))); err != nil {
		s.Fatal(err)
	}
	return urlOf(n)
}

func (s *site) must(_ record.Removal, err error) {
	s.Helper()
	if err != nil {
		s.Error(err)
	}
}

// digest is that of what is kept under a URL.
func (s *site) digest(n int) record.Digest {
	s.Helper()
	i, err := s.Find(buckets[min(n%3, 1)], urlOf(n))
	if err != nil {
		s.Fatal(n, err)
	}
	return i.Digest
}

var by = bucket.RemoveOptions{Why: "a reason", By: "somebody"}

// history removes and blocks some of what add has kept, and lifts some of that.
func (s *site) history() {
	s.Helper()
	for range 60 {
		s.add()
	}
	ctx := context.Background()
	s.must(s.Forget(ctx, urlOf(1), by))
	s.must(s.Purge(ctx, bucket.Target{Digest: s.digest(8)}, by))
	s.must(s.Block(ctx, bucket.Target{URL: urlOf(9)}, by))
	s.must(s.Block(ctx, bucket.Target{Digest: s.digest(12)}, by))
	kept := by
	kept.KeepFiles = true
	s.must(s.Block(ctx, bucket.Target{URL: urlOf(14)}, kept))
	s.must(s.Block(ctx, bucket.Target{Host: "h3.example.com"}, by))
	s.must(s.Block(ctx, bucket.Target{URL: urlOf(16)}, by))
	s.must(s.Unblock(ctx, bucket.Target{URL: urlOf(16)}, by))
	s.must(s.Forget(ctx, urlOf(18), by))
	s.n = 18
	s.add() // and kept again
	s.n = 60
}

func options(root string, objects object.Store) migrate.Options {
	return migrate.Options{Root: root, Buckets: buckets, Objects: objects, Name: "a store"}
}

// push pushes, and wants no findings.
func push(t *testing.T, root string, objects object.Store) migrate.Report {
	t.Helper()
	o := options(root, objects)
	o.Found = func(f record.Finding) { t.Errorf("push found %+v", f) }
	r, err := migrate.Push(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pull(t *testing.T, objects object.Store) (root string, _ migrate.Report) {
	t.Helper()
	o := options(filepath.Join(tempdir.New(t), "root"), objects)
	o.Found = func(f record.Finding) { t.Errorf("pull found %+v", f) }
	r, _, err := migrate.Pull(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if migrate.PullUnfinished(o.Root) {
		t.Error("the root is marked after the pull")
	}
	return o.Root, r
}

// files are the journals, or the originals, of a root with their bytes.
func files(t *testing.T, root string, journals bool) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if isJournal := strings.HasSuffix(path, record.JournalExt); e.IsDir() || isJournal != journals || !journals && !strings.HasSuffix(path, ".png") {
			return nil
		}
		text, err := os.ReadFile(path)
		all[rel] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// same compares two stores that nobody has open: journals and originals byte by byte, and then
// what is kept, by asking both.
func same(t *testing.T, a, b string, urls int) {
	t.Helper()
	for _, journals := range []bool{true, false} {
		x, y := files(t, a, journals), files(t, b, journals)
		for _, name := range slices.Sorted(maps.Keys(x)) {
			if got, ok := y[name]; got != x[name] {
				t.Errorf("%s is another (there: %v):\n%s\nwas:\n%s", name, ok, got, x[name])
			}
			delete(y, name)
		}
		if len(x) < 2 || len(y) > 0 {
			t.Errorf("%d files were there, and these are more: %v", len(x), slices.Sorted(maps.Keys(y)))
		}
	}
	s, d := open(t, a), open(t, b)
	defer s.close()
	defer d.close()
	found := 0
	for _, name := range buckets {
		for n := range urls {
			was, wasErr := s.Find(name, urlOf(n))
			is, err := d.Find(name, urlOf(n))
			if is != was || fmt.Sprint(err) != fmt.Sprint(wasErr) {
				t.Errorf("%s in %s is %+v, %v; it was %+v, %v", urlOf(n), name, is, err, was, wasErr)
			}
			if err == nil {
				found++
			}
		}
	}
	if found < urls/3 {
		t.Errorf("only %d of %d URLs are found in both", found, urls)
	}
	if x, y := blocks(t, s), blocks(t, d); !maps.Equal(x, y) || len(x) < 3 {
		t.Errorf("the blocks are %v; they were %v", y, x)
	}
}

func blocks(t *testing.T, s *site) map[record.Block]bool {
	t.Helper()
	all := map[record.Block]bool{}
	for b, err := range s.Blocks() {
		if err != nil {
			t.Fatal(err)
		}
		all[b] = true
	}
	return all
}

// stores are where a store is pushed to.
func stores(t *testing.T, test func(t *testing.T, objects object.Store)) {
	t.Run("memory", func(t *testing.T) { test(t, &objecttest.Memory{}) })
	t.Run("a real store", func(t *testing.T) { test(t, s3test.Start(t).Client(t)) })
}

// What was pushed and pulled is what it was: digests, records, blocks and journals.
func TestThereAndBack(t *testing.T) {
	stores(t, func(t *testing.T, objects object.Store) {
		s := open(t, tempdir.New(t))
		s.history()
		s.close()
		first := push(t, s.root, objects)
		if first.URLs < 50 || first.Behind != 0 {
			t.Errorf("the first push: %+v", first)
		}
		if again := push(t, s.root, objects); again.URLs != 0 || again.Blocks != 0 || again.Removed != 0 {
			t.Errorf("a second one moves again: %+v", again)
		}
		back, r := pull(t, objects)
		if r.URLs != first.URLs || r.Removed != 0 || r.Blocks != 0 {
			t.Errorf("it pulls %+v, and pushed %+v", r, first)
		}
		same(t, s.root, back, 60)
	})
}

// hooked calls more after each of some requests, one at a time: so a store is used while it is
// pushed.
func hooked(every int, more func(n int)) *objecttest.Memory {
	var mu sync.Mutex
	requests := 0
	return &objecttest.Memory{Hook: func(r objecttest.Request, do func() error) error {
		mu.Lock()
		defer mu.Unlock()
		if requests++; requests%every == 0 {
			more(requests / every)
		}
		return do()
	}}
}

// What is kept, removed, blocked and lifted while a push is under way goes up as well, with it or
// with the next.
func TestPushUnderLoad(t *testing.T) {
	s := open(t, tempdir.New(t))
	s.history()
	kept := by
	kept.KeepFiles = true
	ctx := context.Background()
	things := []func(n int){
		func(n int) { s.add() },
		func(n int) { s.must(s.Forget(ctx, urlOf(19+n%3), by)) }, // moved, or about to be
		func(n int) { s.add() },
		func(n int) { s.must(s.Purge(ctx, bucket.Target{Digest: s.digest(30)}, by)) },
		func(n int) { s.must(s.Block(ctx, bucket.Target{URL: urlOf(35)}, kept)) },
		func(n int) { s.must(s.Block(ctx, bucket.Target{Digest: s.digest(40)}, kept)) },
		func(n int) { s.must(s.Block(ctx, bucket.Target{URL: urlOf(41)}, by)) },
		func(n int) { s.must(s.Unblock(ctx, bucket.Target{URL: urlOf(41)}, by)) },
		func(n int) { s.must(s.Block(ctx, bucket.Target{Host: "h5.example.com"}, by)) },
		func(n int) { s.must(s.Unblock(ctx, bucket.Target{Host: "h5.example.com"}, by)) },
		func(n int) { s.must(s.Unblock(ctx, bucket.Target{URL: urlOf(14)}, by)) }, // whose file was kept
		func(n int) { s.add() },
	}
	done := 0
	objects := hooked(9, func(n int) {
		if done < len(things) {
			things[done](done)
			done++
		}
	})
	push(t, s.root, objects)
	if done < len(things) {
		t.Fatalf("only %d things were done while it was pushed", done)
	}
	s.close() // the server is stopped
	objects = objects.With(nil)
	if last := push(t, s.root, objects); last.Behind != 0 {
		t.Errorf("the last push leaves %d lines", last.Behind)
	}
	back, _ := pull(t, objects)
	same(t, s.root, back, s.n)
}

// An interruption at any request loses nothing, nor does one of each request of what comes after.
func TestInterrupted(t *testing.T) {
	s := open(t, tempdir.New(t))
	s.history()
	s.close()
	whole := &objecttest.Memory{}
	push(t, s.root, whole)
	ended := errors.New("the process has ended")
	failing := func(m *objecttest.Memory, at int) (*objecttest.Memory, *bool) {
		var mu sync.Mutex
		n, failed := 0, new(bool)
		return m.With(func(r objecttest.Request, do func() error) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n >= at {
				*failed = true
				if n == at && at%2 == 0 {
					do() // carried out, and the answer is lost
				}
				return ended
			}
			return do()
		}), failed
	}
	step := 1
	if testing.Short() {
		step = 131
	}
	for at := 1; ; at += step {
		os.Remove(filepath.Join(s.root, "push.json"))
		m := &objecttest.Memory{}
		f, failed := failing(m, at)
		_, err := migrate.Push(t.Context(), options(s.root, f))
		if !*failed {
			break
		}
		if !errors.Is(err, ended) {
			t.Fatalf("interrupted at request %d: %v", at, err)
		}
		push(t, s.root, m)
		if a, b := m.Keys(), whole.Keys(); !slices.Equal(a, b) {
			t.Fatalf("interrupted at request %d: there are %d objects, want %d", at, len(a), len(b))
		}
	}
	for at := 1; ; at += step {
		f, failed := failing(whole, at)
		o := options(filepath.Join(tempdir.New(t), "root"), f)
		_, _, err := migrate.Pull(t.Context(), o)
		if !*failed {
			break
		}
		if !errors.Is(err, ended) || at > 1 && !migrate.PullUnfinished(o.Root) {
			t.Fatalf("interrupted at request %d: %v, the root is marked: %v", at, err, migrate.PullUnfinished(o.Root))
		}
		o.Objects = whole
		if _, _, err := migrate.Pull(t.Context(), o); err != nil {
			t.Fatalf("interrupted at request %d: %v", at, err)
		}
		if at%5 == 1 || at < 10 {
			same(t, s.root, o.Root, 60)
		}
	}
}

// node is a ledger as a node has it.
func node(objects object.Store, dir string) *shared.Ledger {
	return shared.New(shared.Options{Objects: objects, Files: object.NewBlobs(objects, dir), State: &sharedtest.Memory{}, Buckets: buckets})
}

// What nodes have kept, removed and blocked comes back behind what was pushed.
func TestPullOfWhatNodesDid(t *testing.T) {
	s := open(t, tempdir.New(t))
	s.history()
	s.close()
	objects := &objecttest.Memory{}
	push(t, s.root, objects)
	old := files(t, s.root, true)

	ctx := t.Context()
	l := node(objects, tempdir.New(t))
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	keep := func(n, of int) record.Image {
		t.Helper()
		text := picture(of)
		i := record.Image{Bucket: "i", URL: urlOf(n), Digest: object.Text(text, "").Digest, Bytes: int64(len(text)), Stored: s.now()}
		i.Info = probe.Info{Format: probe.PNG, Width: 2, Height: 2, Orientation: 1, Frames: 1}
		e := *ledger.KeepEvent(i)
		e.From = "https://archive.example/" + urlOf(n)
		kept, err := l.Keep(ctx, i, bytes.NewReader(text), e)
		if err != nil {
			t.Fatal(err)
		}
		return kept
	}
	remove := func(name string, e *ledger.Event) {
		t.Helper()
		if _, err := l.Remove(ctx, name, *e); err != nil {
			t.Fatal(err)
		}
	}
	at := s.now()
	forget := func(n int) {
		t.Helper()
		i, err := l.Find(ctx, "i", urlOf(n))
		if err != nil {
			t.Fatal(err)
		}
		remove("i", ledger.RemoveEvent(ledger.OpForget, i, at, "a node's", "moderator"))
	}
	keep(100, 100)
	forget(21)
	keep(21, 121) // other bytes than before
	forget(36)
	keep(36, 36) // the same
	i, err := l.Find(ctx, "i", urlOf(27))
	if err != nil {
		t.Fatal(err)
	}
	i.URL = ""
	remove("i", ledger.RemoveEvent(ledger.OpPurge, i, at, "", ""))
	remove("", ledger.BlockEvent(ledger.OpBlock, record.Block{Kind: record.BlockURL, Subject: urlOf(33), Since: at, By: "moderator"}))
	remove("", ledger.BlockEvent(ledger.OpUnblock, record.Block{Kind: record.BlockURL, Subject: urlOf(9), Since: at}))

	back, r := pull(t, objects)
	for name, text := range old {
		got := files(t, back, true)[name]
		if !strings.HasPrefix(got, text) {
			t.Errorf("%s does not begin with what was pushed", name)
		}
	}
	if text := files(t, back, true); !strings.Contains(fmt.Sprint(text), `"by":"moderator"`) || !strings.Contains(fmt.Sprint(text), `"from":"https://archive.example/`) {
		t.Error("who has removed something, or where it came from, is lost")
	}
	if r.Removed != 4 || r.Blocks != 2 { // three of the log, and what the block has removed
		t.Errorf("pulled %+v", r)
	}
	d := open(t, back)
	for n, want := range map[int]string{100: "kept", 21: "kept", 36: "kept", 27: bucket.ErrNotKept.Error(), 33: bucket.ErrRemoved.Error(), 9: bucket.ErrNotKept.Error(), 30: "kept"} {
		got := "kept"
		image, err := d.Find("i", urlOf(n))
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s is %s, want %s", urlOf(n), got, want)
		}
		if n == 21 && image.Digest != object.Text(picture(121), "").Digest {
			t.Error("a URL that was kept again has the bytes of before")
		}
	}
}

func (s *site) now() (t time.Time) { return time.Now().UTC().Truncate(time.Second) }

// What is wrong is told of, and does not stop a push; all else goes up.
func TestPushFinds(t *testing.T) {
	s := open(t, tempdir.New(t))
	for range 30 {
		s.add()
	}
	missing, damaged, taken := 0, 3*2, 9
	path := func(n int) string { i, _ := s.Find("i", urlOf(n)); return filepath.Join(s.root, i.File()) }
	if err := os.Remove(path(missing)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path(damaged)), os.WriteFile(path(damaged), []byte("something else"), 0o444)); err != nil {
		t.Fatal(err)
	}
	objects := &objecttest.Memory{}
	l := node(objects, tempdir.New(t))
	text := picture(999)
	other := record.Image{Bucket: "i", URL: urlOf(taken), Digest: object.Text(text, "").Digest, Bytes: int64(len(text)), Stored: s.now()}
	other.Info = probe.Info{Format: probe.PNG, Width: 2, Height: 2}
	if _, err := l.Keep(t.Context(), other, bytes.NewReader(text), *ledger.KeepEvent(other)); err != nil {
		t.Fatal(err)
	}
	var found []string
	o := options(s.root, objects)
	o.Found = func(f record.Finding) { found = append(found, string(f.Kind)+" "+f.URL) }
	r, err := migrate.Push(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	want := []string{"corrupt " + urlOf(damaged), "disagreement " + urlOf(taken), "missing " + urlOf(missing), "missing " + urlOf(3)} // 3 has the bytes of 0
	if slices.Sort(want); !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
	if r.URLs != 27 {
		t.Errorf("moved %+v", r)
	}
	// What was wrong is tried again by one that compares all.
	if err := errors.Join(os.Remove(path(damaged)), os.WriteFile(path(damaged), picture(damaged), 0o444)); err != nil {
		t.Fatal(err)
	}
	o.Verify, found = true, nil
	if r, err = migrate.Push(t.Context(), o); err != nil || r.URLs != 28 || len(found) != 3 {
		t.Errorf("with all compared: %+v, %v, found %q", r, err, found)
	}
	if _, err := l.Find(t.Context(), "i", urlOf(damaged)); err != nil {
		t.Error(err)
	}
}

// Verify brings back what the object store has lost or damaged.
func TestPushVerify(t *testing.T) {
	s := open(t, tempdir.New(t))
	s.history()
	s.close()
	objects := &objecttest.Memory{}
	push(t, s.root, objects)
	ctx := t.Context()
	lost := 0
	for n, key := range objects.Keys() {
		if !strings.Contains(key, "/o/") && !strings.Contains(key, "/u/") || n%9 > 1 {
			continue
		}
		lost++
		if n%9 == 0 {
			objects.Remove(ctx, key)
		} else if strings.Contains(key, "/o/") {
			objects.Put(ctx, key, object.Text([]byte("something else"), ""))
		}
	}
	o := options(s.root, objects)
	o.Verify = true
	if r, err := migrate.Push(ctx, o); err != nil || len(r.Found) > 0 || lost < 10 {
		t.Fatalf("%d were lost: %+v, %v", lost, r, err)
	}
	back, _ := pull(t, objects)
	same(t, s.root, back, 60)
}

// Refused is what would mix or lose something.
func TestRefused(t *testing.T) {
	a, b := open(t, tempdir.New(t)), open(t, tempdir.New(t))
	a.history()
	b.add()
	b.add()
	objects := &objecttest.Memory{}
	push(t, a.root, objects)
	if _, err := migrate.Push(t.Context(), options(b.root, objects)); !errors.Is(err, migrate.ErrOtherStore) {
		t.Errorf("another store is pushed to the same place: %v", err)
	}
	o := options(a.root, objects)
	o.Buckets = []string{"i"}
	if _, err := migrate.Push(t.Context(), o); err == nil || !strings.Contains(err.Error(), "bucket t") {
		t.Errorf("a bucket that is not configured: %v", err)
	}
	o.Root = filepath.Join(tempdir.New(t), "root")
	if _, _, err := migrate.Pull(t.Context(), o); err == nil || !strings.Contains(err.Error(), "bucket t") {
		t.Errorf("a bucket that is not configured: %v", err)
	}
	if _, _, err := migrate.Pull(t.Context(), options(b.root, objects)); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a root that holds something: %v", err)
	}
	if _, err := migrate.Push(t.Context(), options(tempdir.New(t), objects)); err == nil {
		t.Error("a folder that is no store")
	}
}

// A push to another object store begins anew.
func TestPushElsewhere(t *testing.T) {
	s := open(t, tempdir.New(t))
	s.add()
	push(t, s.root, &objecttest.Memory{})
	o := options(s.root, &objecttest.Memory{})
	o.Name = "another store"
	if r, err := migrate.Push(t.Context(), o); err != nil || r.URLs != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
