package bucket

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"imgkeep/bucket/blob/local"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// outage is a store on a disk that forgets, whose power can be cut at each step.
type outage struct {
	t       testing.TB
	disk    *forgetfulDisk
	origin  *origin
	clock   *clock
	scratch string // for what is left
	cuts    int
	spare   func() bool // no power cut now; nil: never

	kept    map[string]record.Digest // by URL: what was acknowledged
	removed map[string]record.Digest // the same of what was removed
	blocked map[string]bool          // by URL
	needed  map[string]bool          // the folders of all images
	broken  error                    // the first promise that a cut broke
}

func newOutage(t testing.TB) *outage {
	base := t.TempDir()
	u := &outage{
		t: t, origin: newOrigin(), clock: newClock(), scratch: t.TempDir(),
		disk: newForgetfulDisk(base, filepath.Join(base, "srv/imgkeep/store")),
		kept: map[string]record.Digest{}, removed: map[string]record.Digest{}, blocked: map[string]bool{}, needed: map[string]bool{},
	}
	for _, name := range []string{"a", "b", "c", "d", "e", "after"} {
		body := "the bytes of " + name
		u.origin.set(u.url(name), body)
		u.needed[filepath.Dir(u.image(body).File())] = true
	}
	u.origin.set(u.url("again"), "the bytes of a")
	return u
}

func (u *outage) url(name string) string { return "https://example.com/" + name + ".png" }

func (u *outage) image(body string) record.Image {
	return record.Image{Bucket: "i", Digest: sha256.Sum256([]byte(body)), Info: probe.Info{Format: probe.PNG}}
}

func (u *outage) options() Options {
	return Options{Root: u.disk.where, Buckets: []Bucket{{Name: "i"}}, Origin: u.origin, Now: u.clock.Now, disk: u.disk}
}

var errDead = errors.New("the process is dead")

// run does all that a store does, and stops at the first error.
func (u *outage) run() error {
	u.disk.phase = "open"
	s, err := Open(u.options())
	if err != nil {
		return err
	}
	defer s.Close(context.Background())
	if _, err = u.keep(s, "a"); err != nil {
		return err
	}
	if _, err = u.keep(s, "again"); err != nil {
		return err
	}
	u.clock.add(31 * 24 * time.Hour) // another file of the journal
	b, err := u.keep(s, "b")
	if err != nil {
		return err
	}
	u.disk.phase = "make"
	if err = u.make(s, b, "250x250", "made"); err != nil {
		return err
	}
	if err = u.make(s, b, "500x", ""); err != nil {
		return err
	}
	u.disk.phase = "repair"
	if err = u.damage(s, b, false); err != nil {
		return err
	}
	f, err := s.Open(context.Background(), b)
	if err != nil {
		return err
	}
	f.Close()
	u.kept[b.URL] = b.Digest
	c, err := u.keep(s, "c")
	if err != nil {
		return err
	}
	u.disk.phase = "repair"
	if err = u.damage(s, c, true); err != nil {
		return err
	}
	if err = u.make(s, c, "250x250", "made"); err != nil {
		return err
	}
	u.kept[c.URL] = c.Digest
	d, err := u.keep(s, "d")
	if err != nil {
		return err
	}
	if err = u.make(s, d, "250x250", "made"); err != nil {
		return err
	}
	ctx := context.Background()
	again, err := s.Find("i", u.url("again"))
	if err != nil {
		return err
	}
	if err = u.remove(again, func() (record.Removal, error) { return s.Forget(ctx, again.URL, RemoveOptions{}) }); err != nil {
		return err
	}
	if err = u.remove(d, func() (record.Removal, error) { return s.Purge(ctx, Target{Digest: d.Digest}, RemoveOptions{}) }); err != nil {
		return err
	}
	e, err := u.keep(s, "e")
	if err != nil {
		return err
	}
	u.clock.add(31 * 24 * time.Hour) // a new file of the journal
	return u.remove(e, func() (record.Removal, error) {
		r, err := s.Block(ctx, Target{URL: e.URL}, RemoveOptions{})
		u.blocked[e.URL] = err == nil
		return r, err
	})
}

func (u *outage) remove(i record.Image, do func() (record.Removal, error)) error {
	u.disk.phase = "remove"
	delete(u.kept, i.URL)
	_, err := do()
	if err == nil {
		u.removed[i.URL] = i.Digest
		u.cutNow("removed " + i.URL)
	}
	return err
}

func (u *outage) keep(s *Store, name string) (record.Image, error) {
	u.disk.phase = "keep"
	i, err := s.Keep(context.Background(), "i", u.url(name))
	if err == nil {
		u.kept[i.URL] = i.Digest
		u.cutNow("acknowledged " + name)
	}
	return i, err
}

func (u *outage) make(s *Store, i record.Image, name, data string) error {
	f, err := s.OpenVariant(context.Background(), i, name, probe.PNG, func(_ context.Context, r io.Reader, _ int64) ([]byte, error) {
		_, err := io.Copy(io.Discard, r)
		return []byte(data), err
	})
	if err == nil {
		f.Close()
	}
	return err
}

// damage removes an original, for good, or puts other bytes in its place.
func (u *outage) damage(s *Store, i record.Image, other bool) error {
	delete(u.kept, i.URL)
	before, forget := u.disk.before, u.disk.forget
	u.disk.before, u.disk.forget = nil, nil
	defer func() { u.disk.before, u.disk.forget = before, forget }()
	path := s.Path(i.File())
	err := u.disk.RemoveAll(path)
	if other {
		f, err := u.disk.CreateTemp(filepath.Join(s.Root(), record.TmpDir), "other-*")
		if err != nil {
			return err
		}
		defer f.Close()
		u.disk.Write(f, make([]byte, i.Bytes))
		u.disk.Sync(f)
		if err := u.disk.Rename(f.Name(), path); err != nil {
			return err
		}
	}
	return errors.Join(err, u.disk.SyncDir(filepath.Dir(path)))
}

// cutAt cuts before each step that can make a difference; of those that make a
// bucket's folders only before some.
func (u *outage) cutAt(d *forgetfulDisk, s localtest.Step) error {
	if rel, _ := filepath.Rel(filepath.Join(d.where, record.TmpDir, "i"), s.Path); len(rel) <= 3 && rel != "A" && rel != "A/B" {
		return nil
	}
	u.cutNow(fmt.Sprintf("before %s %s", s.Op, strings.TrimPrefix(s.Path, d.base)))
	return nil
}

// cutNow cuts the power, in each way, and checks what is left.
func (u *outage) cutNow(when string) {
	if u.spare != nil && u.spare() {
		return
	}
	for _, f := range fates() {
		u.cutOnce(when, f)
	}
}

func (u *outage) cutOnce(when string, f fate) {
	if u.broken != nil {
		return
	}
	u.cuts++
	left := filepath.Join(u.scratch, fmt.Sprint(u.cuts))
	defer os.RemoveAll(left)
	if err := os.Mkdir(left, 0o755); err != nil {
		u.t.Fatal(err)
	}
	err := u.disk.cut(left, f, u.needed)
	if err == nil {
		rel, _ := filepath.Rel(u.disk.base, u.disk.where)
		err = u.check(filepath.Join(left, rel))
	}
	if err != nil {
		u.broken = fmt.Errorf("%s, power cut, %s: %w", when, f.name, err)
	}
}

// check checks the promise.
func (u *outage) check(root string) error {
	for name := range u.needed { // no half file under a final name
		files, _ := os.ReadDir(filepath.Join(root, name))
		for _, file := range files {
			data, err := os.ReadFile(filepath.Join(root, name, file.Name()))
			digest, made, _ := strings.Cut(file.Name(), ".")
			switch {
			case err != nil && file.Type()&os.ModeSymlink != 0: // its original is lost, which shows below
			case err != nil:
				return err
			case made == "250x250.png":
				if string(data) != "made" {
					return fmt.Errorf("%s holds %q", file.Name(), data)
				}
			case record.Digest(sha256.Sum256(data)).String() != digest && !u.isOther(digest, data):
				return fmt.Errorf("%s holds %q", file.Name(), data)
			}
		}
	}
	if len(u.kept) == 0 {
		// Nothing is promised but that it can be opened; a store that has no
		// bucket yet would make one, which takes its time.
		if _, err := os.Stat(filepath.Join(root, "i")); err != nil {
			return nil
		}
	}
	if _, err := os.Stat(filepath.Join(root, "i")); err != nil {
		return err
	}
	o := newOrigin() // has nothing but what is asked for last
	o.set(u.url("after"), "the bytes of after")
	s, err := Open(Options{Root: root, Buckets: []Bucket{{Name: "i"}}, Origin: o, Now: u.clock.Now})
	if err != nil {
		return err
	}
	defer s.Close(context.Background())
	if left, err := os.ReadDir(filepath.Join(root, record.TmpDir)); err != nil || len(left) > 0 {
		return fmt.Errorf("left in tmp: %v, %w", left, err)
	}
	journaled := map[string]bool{}
	for _, e := range readJournal(u.t, root, "i") {
		journaled[e.URL+e.Digest] = true
	}
	for url := range u.origin.answers {
		i, err := s.Find("i", url)
		digest, kept := u.kept[url]
		if _, removed := u.removed[url]; removed || err != nil {
			if err := u.checkRemoved(s, url, removed, err); err != nil {
				return err
			}
		}
		switch {
		case kept && (err != nil || i.Digest != digest):
			return fmt.Errorf("%s is lost: %w", url, err)
		case err != nil:
			continue
		case !journaled[url+i.Digest.String()]:
			return fmt.Errorf("%s is not in the journal", url)
		case !kept && u.damaged(url):
			continue
		}
		f, err := s.Open(context.Background(), i)
		if err != nil {
			return fmt.Errorf("%s: %w", url, err)
		}
		data, err := io.ReadAll(f)
		f.Close()
		if err != nil || sha256.Sum256(data) != i.Digest {
			return fmt.Errorf("%s has %q, %w", url, data, err)
		}
	}
	if _, err := s.Keep(context.Background(), "i", u.url("after")); err != nil {
		return fmt.Errorf("nothing can be kept afterwards: %w", err)
	}
	return nil
}

// checkRemoved checks that what was removed is away, and that nothing is left of
// what is away because of a removal.
func (u *outage) checkRemoved(s *Store, url string, acknowledged bool, found error) error {
	if acknowledged && found == nil {
		return fmt.Errorf("%s was removed, and is back", url)
	}
	if u.blocked[url] && !errors.Is(found, ErrRemoved) {
		return fmt.Errorf("%s was blocked, and is not: %w", url, found)
	}
	if u.blocked[url] && len(readJournal(u.t, s.Root(), "")) < 2 {
		return fmt.Errorf("%s was blocked, and the journal does not have it", url)
	}
	last := ""
	for _, e := range readJournal(u.t, s.Root(), "i") {
		digest, err := record.ParseDigest(e.Digest)
		if err != nil {
			return err
		}
		if e.URL == url || e.Op == ledger.OpPurge && digest == u.removed[url] {
			last = e.Op
		}
		if e.Op == ledger.OpKeep {
			continue
		}
		if _, err := s.index.Entry("i", digest); err == nil {
			continue
		}
		if files, err := local.FilesOf(s.Root(), "i", digest); err != nil || len(files) > 0 {
			return fmt.Errorf("removed, and there are %v, %w", files, err)
		}
	}
	if acknowledged && last != ledger.OpForget && last != ledger.OpPurge {
		return fmt.Errorf("%s was removed, and the journal does not have it", url)
	}
	return nil
}

// damaged tells whether the script has damaged an image, and isOther whether
// these are the bytes that it has put there.
func (u *outage) damaged(url string) bool { return url == u.url("b") || url == u.url("c") }

func (u *outage) isOther(digest string, data []byte) bool {
	return digest == u.image("the bytes of c").Digest.String() && strings.Trim(string(data), "\x00") == ""
}

// The power is cut before each step, and after each acknowledgement.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	u := newOutage(t)
	u.disk.before = u.cutAt
	if err := u.run(); err != nil {
		t.Fatal(err)
	}
	if u.broken != nil {
		t.Error(u.broken)
	}
	if u.cuts < 400 {
		t.Errorf("only %d power cuts", u.cuts)
	}
	t.Logf("%d power cuts", u.cuts)
}

// Each flush is needed: without it some power cut loses something.
func TestEachFlushIsNeeded(t *testing.T) {
	in := func(pattern string) func(string) bool {
		return func(rel string) bool {
			ok, err := filepath.Match(pattern, rel)
			return ok && err == nil
		}
	}
	for _, tt := range []struct {
		name, phase, op string // phase: only there; "": everywhere
		path            func(rel string) bool
	}{
		{"the bytes of an image", "keep", "Sync", in("tmp/image-*")},
		{"the folder of an image", "keep", "SyncDir", in("i/?/?")},
		{"the lines of the journal", "", "Sync", in("i/journal/*")},
		{"the journal's folder", "", "SyncDir", in("i/journal")},
		{"the bytes of what was made", "", "Sync", in("tmp/made-*")},
		{"the bytes of a repaired original", "repair", "Sync", in("tmp/image-*")},
		{"the folder of a repaired original", "repair", "SyncDir", in("i/?/?")},
		{"the store's own journal", "", "Sync", in("journal/*")},
		{"the folder of the store's own journal", "", "SyncDir", in("journal")},
		{"the line of a removal", "remove", "Sync", in("i/journal/*")},
		{"the folder of what was removed", "remove", "SyncDir", in("i/?/?")},
		{"the folders of a bucket, second level", "", "SyncDir", in("tmp/i/?")},
		{"the folders of a bucket, first level", "", "SyncDir", in("tmp/i")},
		{"the root: bucket and index", "", "SyncDir", in(".")},
		{"the root's name", "", "SyncDir", in("..")},
		{"the name above", "", "SyncDir", in("../..")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := newOutage(t)
			u.disk.before = func(d *forgetfulDisk, s localtest.Step) error {
				if u.broken != nil {
					return errDead // it was noticed: enough
				}
				return u.cutAt(d, s)
			}
			// Until then the disk is as it was in TestPowerCut.
			forgotten := 0
			u.spare = func() bool { return forgotten == 0 }
			u.disk.forget = func(phase string, s localtest.Step) bool {
				rel := "."
				if s.Path != "" {
					rel, _ = filepath.Rel(u.disk.where, s.Path)
				}
				if s.Op != tt.op || tt.phase != "" && tt.phase != phase || !tt.path(rel) {
					return false
				}
				forgotten++
				return true
			}
			if err := u.run(); err != nil && !errors.Is(err, errDead) {
				t.Fatal(err)
			}
			if forgotten == 0 || u.broken == nil {
				t.Errorf("%d flushes were left out, and nobody noticed", forgotten)
			}
			t.Log(u.broken)
		})
	}
}

// The disk claims to have flushed the index, and has not: the next start takes in what the
// journals have, including removals and blocks.
func TestPowerCutLosesIndex(t *testing.T) {
	t.Parallel()
	u := newOutage(t)
	lost := 0
	if !testing.Short() {
		u.disk.before = u.cutAt // and else only when something was acknowledged
	}
	u.disk.forget = func(_ string, s localtest.Step) bool {
		if s.Op == "Commit" {
			lost++
		}
		return s.Op == "Commit"
	}
	if err := u.run(); err != nil {
		t.Fatal(err)
	}
	if u.broken != nil || lost < 10 {
		t.Errorf("%d commits were lost: %v", lost, u.broken)
	}
}

// A process dies at each step; the next one acknowledges an image; then the power is cut. The
// second process must have flushed what the first had written.
func TestPowerCutAfterCrash(t *testing.T) {
	t.Parallel()
	var kinds []string
	newOutage(t).dieAndCut(0, func(kind string) { kinds = append(kinds, kind) })
	for _, n := range append(toTry(kinds), len(kinds)+1) {
		u := newOutage(t)
		if u.dieAndCut(n, func(string) {}); u.broken != nil {
			t.Fatalf("died at step %d of %d: %v", n, len(kinds), u.broken)
		}
	}
	t.Logf("%d steps", len(kinds))
}

// dieAndCut opens a store and keeps an image, in a process that dies at a step,
// and then in one that lives; it tells of all steps where the first is to die at
// none.
func (u *outage) dieAndCut(dieAt int, told func(kind string)) {
	n := 0
	u.disk.before = func(d *forgetfulDisk, s localtest.Step) error {
		if rel, _ := filepath.Rel(filepath.Join(d.where, record.TmpDir, "i"), s.Path); len(rel) <= 3 && rel != "A" && rel != "A/B" && rel != "." {
			return nil
		}
		told(stepKind(d.where, s))
		if n++; n >= dieAt {
			return errDead
		}
		return nil
	}
	if dieAt > 0 {
		if s, err := Open(u.options()); err == nil {
			u.keep(s, "a") // or dies of it
			s.Close(u.t.Context())
		}
		u.disk.before = nil
	} else {
		dieAt = math.MaxInt
	}
	s, err := Open(u.options())
	if err != nil {
		u.t.Fatal(err)
	}
	if _, err := u.keep(s, "b"); err != nil {
		u.t.Fatal(err)
	}
	s.Close(u.t.Context())
}

// bbolt flushes each commit, unless it is told not to.
func TestIndexIsFlushed(t *testing.T) {
	s := openStore(t, Options{Root: t.TempDir(), Origin: newOrigin()})
	bolt := reflect.ValueOf(s.index).Elem().FieldByName("bolt").Elem()
	for _, flag := range []string{"NoSync", "NoGrowSync"} {
		if bolt.FieldByName(flag).Bool() {
			t.Errorf("the index is open with %s", flag)
		}
	}
}
