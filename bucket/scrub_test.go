package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
	"imgkeep/bucket/scrub"
)

// scrubbable is a store with three images, of which b has two URLs and a size,
// and c a size that is the original itself. Everything in it is two hours old.
type scrubbable struct {
	*Store
	t       *testing.T
	o       *origin
	c       *clock
	a, b, d record.Image
}

const (
	urlB2 = "https://example.com/b2.png"
	urlD  = "https://example.com/d.png"
)

func newScrubbable(t *testing.T) *scrubbable { return newScrubbableIn(t, sparse(Options{})) }

func newScrubbableIn(t *testing.T, o Options) *scrubbable {
	t.Helper()
	x := &scrubbable{t: t, o: newOrigin(), c: newClock()}
	x.c.now = time.Now().UTC().Truncate(time.Second).Add(-2 * time.Hour)
	for url, body := range map[string]string{urlA: "the bytes of a", urlB: "the bytes of b", urlB2: "the bytes of b", urlD: "the bytes of d"} {
		x.o.set(url, body)
	}
	o.Root, o.Origin, o.Now, o.Buckets = t.TempDir(), x.o, x.c.Now, []Bucket{{Name: "i"}}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	x.Store = s
	x.a, x.b, x.d = keep(t, s, urlA), keep(t, s, urlB), keep(t, s, urlD)
	keep(t, s, urlB2)
	x.write(x.b.VariantFile("150x150", probe.PNG), "small b")
	x.must(os.Symlink(filepath.Base(x.d.File()), s.Path(x.d.VariantFile("150x150", probe.PNG))))
	// In other formats: a file, and one for which the first stands.
	x.write(x.b.VariantFile("150x150", probe.WebP), "tiny b")
	x.must(os.Symlink(filepath.Base(x.b.VariantFile("150x150", probe.PNG)), s.Path(x.b.VariantFile("150x150", probe.AVIF))))
	old := x.c.Now()
	x.must(filepath.WalkDir(s.Root(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(path, old, old)
	}))
	x.c.add(2 * time.Hour)
	return x
}

func (x *scrubbable) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// write puts a file into the store, in the place of another.
func (x *scrubbable) write(file, text string) {
	x.t.Helper()
	os.Remove(x.Path(file))
	x.folderOf(file)
	x.must(os.WriteFile(x.Path(file), []byte(text), 0o644))
	x.must(os.Chtimes(x.Path(file), x.c.Now().Add(-2*time.Hour), x.c.Now().Add(-2*time.Hour)))
}

// folderOf makes the folder that a file lies in.
func (x *scrubbable) folderOf(file string) {
	x.t.Helper()
	x.must(os.MkdirAll(filepath.Dir(x.Path(file)), 0o755))
}

func (x *scrubbable) scrub(o scrub.Options) (scrub.Report, *found) {
	x.t.Helper()
	var f found
	o.Found = f.add
	r, err := scrub.Run(x.t.Context(), x.Maintenance(), o)
	x.must(err)
	return r, &f
}

func (x *scrubbable) wantClean() {
	x.t.Helper()
	r, f := x.scrub(scrub.Options{Exclusive: true})
	f.want(x.t)
	if r.Remain != 0 {
		x.t.Errorf("report: %+v", r)
	}
}

// quarantined lists what lies in the quarantine, below the folder of the run.
func (x *scrubbable) quarantined() map[string]string {
	x.t.Helper()
	files := map[string]string{}
	root := x.Path(record.QuarantineDir)
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(root, path)
			_, rel, _ = strings.Cut(rel, "/")
			text, _ := os.ReadFile(path)
			files[rel] = string(text)
		}
		return nil
	})
	return files
}

func (x *scrubbable) exists(file string) bool {
	_, err := os.Lstat(x.Path(file))
	return err == nil
}

func TestScrubClean(t *testing.T) {
	x := newScrubbableIn(t, withFolders(Options{}))
	var stages []string
	var f found
	r, err := scrub.Run(t.Context(), x.Maintenance(), scrub.Options{Found: f.add, Progress: func(p record.Progress) { stages = append(stages, p.Stage) }})
	x.must(err)
	f.want(t)
	if r.Images != 3 || r.Bytes != 3*14 || r.Files != 7 || r.Remain != 0 {
		t.Errorf("report: %+v", r)
	}
	if len(stages) == 0 {
		t.Error("no progress")
	}
	x.scrub(scrub.Options{Repair: true, Exclusive: true})
	if len(x.quarantined()) != 0 {
		t.Errorf("repairing a clean store moved %v", x.quarantined())
	}
	x.wantClean()
}

// Each kind of damage is found, under its name, and nothing else is. Looking
// changes nothing; repairing does what the table says, and leaves a clean store
// where all was repaired.
func TestScrubFinds(t *testing.T) {
	const stray = "i/Z/z/note.txt"
	orphan := record.Image{Bucket: "i", Digest: record.Digest{9}, Info: probe.Info{Format: probe.PNG}}
	for name, tt := range map[string]struct {
		damage  func(x *scrubbable)
		kind    record.Kind
		path    func(x *scrubbable) string
		folders bool // the store has all its folders
		remains bool // what cannot be repaired
		check   func(x *scrubbable)
	}{
		"a missing original": {
			damage: func(x *scrubbable) { x.must(os.Remove(x.Path(x.a.File()))) },
			kind:   record.Missing, path: func(x *scrubbable) string { return x.a.File() },
		},
		"a missing original, its origin gone": {
			damage: func(x *scrubbable) {
				x.must(os.Remove(x.Path(x.b.File())))
				delete(x.o.answers, urlB)
				delete(x.o.answers, urlB2)
			},
			kind: record.Missing, path: func(x *scrubbable) string { return x.b.File() }, remains: true,
			check: func(x *scrubbable) {
				if !x.exists(x.b.VariantFile("150x150", probe.PNG)) {
					x.t.Error("the size, all that is left of it, is gone")
				}
			},
		},
		"a missing original, the first of its origins gone": {
			damage: func(x *scrubbable) { x.must(os.Remove(x.Path(x.b.File()))); delete(x.o.answers, urlB) },
			kind:   record.Missing, path: func(x *scrubbable) string { return x.b.File() },
		},
		"a corrupt original": {
			damage: func(x *scrubbable) { x.write(x.a.File(), "the bytes of A") },
			kind:   record.Corrupt, path: func(x *scrubbable) string { return x.a.File() },
			check: func(x *scrubbable) {
				if got := x.quarantined()[x.a.File()]; got != "the bytes of A" {
					x.t.Errorf("its bytes in the quarantine: %q", got)
				}
				if got := content(x.t, x.Store, x.a); got != "the bytes of a" {
					x.t.Errorf("now it is %q", got)
				}
			},
		},
		"a corrupt original, other bytes at its origin": {
			damage: func(x *scrubbable) { x.write(x.a.File(), "the bytes of A"); x.o.set(urlA, "new") },
			kind:   record.Corrupt, path: func(x *scrubbable) string { return x.a.File() }, remains: true,
			check: func(x *scrubbable) {
				if got := x.quarantined()[x.a.File()]; got != "the bytes of A" {
					x.t.Errorf("its bytes in the quarantine: %q", got)
				}
				if _, err := x.Open(x.t.Context(), x.a); !errors.Is(err, ErrLost) {
					x.t.Errorf("wrong bytes may be served: %v", err)
				}
				x.o.set(urlA, "the bytes of a") // it comes back
				x.c.add(24 * time.Hour)
				if got := content(x.t, x.Store, x.a); got != "the bytes of a" {
					x.t.Errorf("then it is %q", got)
				}
			},
		},
		"a truncated original": {
			damage: func(x *scrubbable) { x.write(x.a.File(), "the") },
			kind:   record.Corrupt, path: func(x *scrubbable) string { return x.a.File() },
		},
		"a folder in the place of an original": {
			damage: func(x *scrubbable) {
				x.must(os.Remove(x.Path(x.a.File())))
				x.must(os.Mkdir(x.Path(x.a.File()), 0o755))
			},
			kind: record.Corrupt, path: func(x *scrubbable) string { return x.a.File() },
		},
		"an orphan": {
			damage: func(x *scrubbable) { x.write(orphan.File(), "of no URL") },
			kind:   record.Orphan, path: func(*scrubbable) string { return orphan.File() },
			check: func(x *scrubbable) {
				if got := x.quarantined()[orphan.File()]; got != "of no URL" {
					x.t.Errorf("in the quarantine: %q", got)
				}
			},
		},
		"an original that no URL refers to": {
			damage: func(x *scrubbable) {
				image := x.a
				image.Digest, image.Bytes, image.Stored = x.b.Digest, x.b.Bytes, x.c.Now()
				x.must(x.commit(index.Change{Bucket: "i", URL: urlA, Keep: index.ImageOf(image)}, ledger.KeepEvent(image)))
			},
			kind: record.Unreferenced, path: func(x *scrubbable) string { return x.a.File() },
			check: func(x *scrubbable) {
				if got := x.quarantined()[x.a.File()]; got != "the bytes of a" {
					x.t.Errorf("in the quarantine: %q", got)
				}
			},
		},
		"a line that the index lacks": {
			damage: func(x *scrubbable) {
				image := x.a
				image.URL = "https://example.com/a2.png"
				x.must(addTo(x.Store, "i", []*ledger.Event{ledger.KeepEvent(image)}))
			},
			kind: record.Unindexed, path: func(x *scrubbable) string { return x.journalLine(5) },
			check: func(x *scrubbable) {
				if got, err := x.Find("i", "https://example.com/a2.png"); err != nil || got.Digest != x.a.Digest {
					x.t.Errorf("found: %+v, %v", got, err)
				}
			},
		},
		"a line that the index contradicts": {
			damage: func(x *scrubbable) {
				image := x.a
				image.URL = urlD
				x.must(addTo(x.Store, "i", []*ledger.Event{ledger.KeepEvent(image)}))
				x.must(os.Remove(x.Path(x.d.VariantFile("150x150", probe.PNG))))
				x.must(x.commit(index.Change{Bucket: "i", URL: "https://example.com/d2.png", Keep: index.ImageOf(x.d)}, &ledger.Event{
					Time: x.d.Stored, Op: "keep", URL: "https://example.com/d2.png", Digest: x.d.Digest.String(), Type: "png", Bytes: 14, Width: 3, Height: 2,
				}))
			},
			kind: record.Disagreement, path: func(x *scrubbable) string { return x.journalLine(5) },
			check: func(x *scrubbable) {
				if got, err := x.Find("i", urlD); err != nil || got.Digest != x.a.Digest {
					x.t.Errorf("found: %+v, %v", got, err)
				}
			},
		},
		"an entry that the journal lacks": {
			damage: func(x *scrubbable) {
				x.must(x.commit(index.Change{Bucket: "i", URL: "https://example.com/no-line", Keep: index.ImageOf(x.a)}, nil))
			},
			kind: record.Unjournaled,
			path: func(*scrubbable) string {
				return fmt.Sprintf("index.db:%x", index.KeyOf("https://example.com/no-line"))
			},
			remains: true,
		},
		"a broken line": {
			damage: func(x *scrubbable) {
				appendTo(x.t, x.Path(x.journalFile()), "garbage\n")
			},
			kind: record.BrokenLine, path: func(x *scrubbable) string { return x.journalLine(5) }, remains: true,
		},
		"a size without an original": {
			damage: func(x *scrubbable) { x.write(orphan.VariantFile("150x", probe.PNG), "small") },
			kind:   record.LooseSize, path: func(*scrubbable) string { return orphan.VariantFile("150x", probe.PNG) },
			check: func(x *scrubbable) {
				if got := x.quarantined()[orphan.VariantFile("150x", probe.PNG)]; got != "small" {
					x.t.Errorf("in the quarantine: %q", got)
				}
			},
		},
		"a size without bytes": {
			damage: func(x *scrubbable) { x.write(x.b.VariantFile("150x150", probe.WebP), "") },
			kind:   record.Corrupt, path: func(x *scrubbable) string { return x.b.VariantFile("150x150", probe.WebP) },
		},
		"a dangling link": {
			damage: func(x *scrubbable) {
				x.folderOf(orphan.File())
				x.must(os.Symlink(filepath.Base(orphan.File()), x.Path(orphan.VariantFile("150x", probe.PNG))))
			},
			kind: record.Dangling, path: func(*scrubbable) string { return orphan.VariantFile("150x", probe.PNG) },
		},
		"a link to another size": {
			damage: func(x *scrubbable) {
				x.must(os.Symlink(filepath.Base(x.b.VariantFile("150x150", probe.PNG)), x.Path(x.b.VariantFile("150x", probe.AVIF))))
			},
			kind: record.Foreign, path: func(x *scrubbable) string { return x.b.VariantFile("150x", probe.AVIF) },
		},
		"a link to another format that is gone": {
			damage: func(x *scrubbable) {
				x.must(os.Symlink(filepath.Base(x.b.VariantFile("150x", probe.PNG)), x.Path(x.b.VariantFile("150x", probe.AVIF))))
			},
			kind: record.Dangling, path: func(x *scrubbable) string { return x.b.VariantFile("150x", probe.AVIF) },
		},
		"a link out of the store": {
			damage: func(x *scrubbable) {
				x.must(os.Symlink("/etc/passwd", x.Path(x.a.VariantFile("150x", probe.PNG))))
			},
			kind: record.Foreign, path: func(x *scrubbable) string { return x.a.VariantFile("150x", probe.PNG) },
		},
		"a file of somebody's": {
			damage: func(x *scrubbable) { x.write(stray, "remember the milk") },
			kind:   record.Foreign, path: func(*scrubbable) string { return stray },
			check: func(x *scrubbable) {
				if got := x.quarantined()[stray]; got != "remember the milk" {
					x.t.Errorf("in the quarantine: %q", got)
				}
			},
		},
		"a folder of somebody's": {
			damage: func(x *scrubbable) { x.must(os.Mkdir(x.Path("i/photos"), 0o755)) },
			kind:   record.Foreign, path: func(*scrubbable) string { return "i/photos" },
		},
		"a missing folder": {
			damage: func(x *scrubbable) { x.must(os.Remove(x.Path("i/Z/z"))) },
			kind:   record.Missing, path: func(*scrubbable) string { return "i/Z/z" }, folders: true,
		},
		"old unfinished work": {
			damage: func(x *scrubbable) {
				x.write("tmp/image-1", "half")
				old := x.c.Now().Add(-scrub.StaleWork)
				x.must(os.Chtimes(x.Path("tmp/image-1"), old, old))
			},
			kind: record.Leftover, path: func(*scrubbable) string { return "tmp/image-1" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := sparse(Options{})
			if tt.folders {
				o = withFolders(o)
			}
			x := newScrubbableIn(t, o)
			tt.damage(x)
			want := string(tt.kind) + " " + tt.path(x)
			r, f := x.scrub(scrub.Options{Exclusive: true})
			f.want(t, want)
			if r.Remain != 1 || r.Found[tt.kind] != 1 {
				t.Errorf("report: %+v", r)
			}
			if len(x.quarantined()) != 0 {
				t.Errorf("looking moved %v", x.quarantined())
			}
			// Looking has changed nothing: it is found again.
			r, f = x.scrub(scrub.Options{Repair: true, Exclusive: true})
			f.want(t, want)
			if len(f.all) == 1 && f.all[0].Repaired == tt.remains || (r.Remain == 1) != tt.remains {
				t.Errorf("repairing: %+v, remain %d", f.all, r.Remain)
			}
			if tt.check != nil {
				tt.check(x)
			}
			if !tt.remains {
				x.wantClean()
			}
		})
	}
}

func (x *scrubbable) journalFile() string {
	x.t.Helper()
	files, err := journal.Files(x.Root(), "i")
	x.must(err)
	return files[len(files)-1]
}

func (x *scrubbable) journalLine(n int) string { return fmt.Sprintf("%s:%d", x.journalFile(), n) }

// withIndex opens the store with an index in which these entries stand for the
// images a, b and d.
func (x *scrubbable) withIndex(entries ...index.Entry) {
	x.t.Helper()
	root := x.Root()
	x.must(x.Close(x.t.Context()))
	r, err := index.Rebuild(filepath.Join(root, record.IndexFile))
	x.must(err)
	slices.SortFunc(entries, func(a, b index.Entry) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	links := []index.Link{
		{Key: index.KeyOf(urlA), Ref: index.RefTo(x.a.Digest)}, {Key: index.KeyOf(urlD), Ref: index.RefTo(x.d.Digest)},
		{Key: index.KeyOf(urlB), Ref: index.RefTo(x.b.Digest)}, {Key: index.KeyOf(urlB2), Ref: index.RefTo(x.b.Digest)},
	}
	slices.SortFunc(links, func(a, b index.Link) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	files, err := journal.Files(root, "i")
	x.must(err)
	info, err := os.Stat(filepath.Join(root, files[0]))
	x.must(err)
	at, err := journal.PositionAt(root, files[0], info.Size())
	x.must(err)
	x.must(r.Replace(filepath.Join(root, "aside"), []index.Content{{Bucket: "i", Images: eachOf(entries), URLs: eachOf(links), Position: at}}, nil, record.Position{}))
	x.must(r.Close())
	x.Store, err = Open(sparse(Options{Root: root, Origin: x.o, Now: x.c.Now, Buckets: []Bucket{{Name: "i"}}}))
	x.must(err)
	x.t.Cleanup(func() { x.Close(context.Background()) })
}

func entryOf(i record.Image, refs uint64) index.Entry {
	return index.Entry{Image: *index.ImageOf(i), Refs: refs}
}

// The index counts the URLs of an image wrongly, as a defect would have it. One
// that it counts none for is not taken away from those that refer to it.
func TestScrubReferences(t *testing.T) {
	for _, wrong := range []uint64{7, 0} {
		x := newScrubbable(t)
		x.withIndex(entryOf(x.a, 1), entryOf(x.b, wrong), entryOf(x.d, 1))
		for range 2 {
			_, f := x.scrub(scrub.Options{Exclusive: true})
			f.want(t, "references i/"+x.b.Digest.String())
		}
		_, f := x.scrub(scrub.Options{Repair: true, Exclusive: true})
		f.want(t, "references i/"+x.b.Digest.String())
		x.wantClean()
		if e, err := x.index.Entry("i", x.b.Digest); err != nil || e.Refs != 2 {
			t.Errorf("%d refer to it, %v", e.Refs, err)
		}
		if got := content(t, x.Store, x.b); got != "the bytes of b" {
			t.Errorf("it has %q", got)
		}
	}
}

// A wrong length in the index is no reason to take away an original that is what
// its name says.
func TestScrubWrongLength(t *testing.T) {
	x := newScrubbable(t)
	delete(x.o.answers, urlA)
	wrong := x.a
	wrong.Bytes++
	x.withIndex(entryOf(wrong, 1), entryOf(x.b, 2), entryOf(x.d, 1))
	_, f := x.scrub(scrub.Options{Repair: true, Exclusive: true})
	f.want(t, "disagreement "+x.a.File())
	if _, err := x.Open(t.Context(), wrong); err == nil || len(x.quarantined()) != 0 || !x.exists(x.a.File()) {
		t.Errorf("opened: %v, moved: %v", err, x.quarantined())
	}
	root := x.Root()
	x.must(x.Close(t.Context()))
	_, err := reindex.Run(t.Context(), reindex.Options{Root: root})
	x.must(err)
	x.Store = openStore(t, Options{Root: root, Origin: x.o, Now: x.c.Now})
	x.wantClean()
}

// An operator has put folders and a journal to where there is more room.
func TestScrubLinkedFolders(t *testing.T) {
	x := newScrubbable(t)
	aside := filepath.Join(x.Root(), "aside")
	x.must(os.Mkdir(aside, 0o755))
	shard := filepath.Dir(filepath.Dir(x.a.File()))
	for file, name := range map[string]string{shard: "shard", x.journalFile(): "journal"} {
		x.must(os.Rename(x.Path(file), filepath.Join(aside, name)))
		x.must(os.Symlink(filepath.Join(aside, name), x.Path(file)))
	}
	_, f := x.scrub(scrub.Options{Repair: true, Exclusive: true})
	f.want(t)
	root := x.Root()
	x.must(x.Close(t.Context()))
	if r, err := reindex.Run(t.Context(), reindex.Options{Root: root}); err != nil || r.URLs != 4 || r.Images != 3 {
		t.Errorf("reindex: %+v, %v", r, err)
	}
	x.must(os.Rename(filepath.Join(root, "i"), filepath.Join(aside, "i")))
	x.must(os.Symlink(filepath.Join(aside, "i"), filepath.Join(root, "i")))
	if r, f := backUp(t, root, filepath.Join(t.TempDir(), "backup")); r.Images != 3 || len(f.all) != 0 {
		t.Errorf("backup: %+v, %v", r, f.short())
	}
}

// In a store that is in use nothing is moved that could be about to be named,
// and what is young is not reported.
func TestScrubInUse(t *testing.T) {
	x := newScrubbable(t)
	young := record.Image{Bucket: "i", Digest: record.Digest{8}, Info: probe.Info{Format: probe.PNG}}
	old := record.Image{Bucket: "i", Digest: record.Digest{9}, Info: probe.Info{Format: probe.PNG}}
	for _, i := range []record.Image{young, old} {
		x.write(i.File(), "x")
	}
	x.must(os.Chtimes(x.Path(young.File()), x.c.Now(), x.c.Now()))
	x.write("tmp/image-1", "under way")
	image := x.a
	image.URL, image.Stored = "https://example.com/just-now", x.c.Now()
	x.must(addTo(x.Store, "i", []*ledger.Event{ledger.KeepEvent(image)}))
	_, f := x.scrub(scrub.Options{Repair: true})
	f.want(t, "orphan "+old.File())
	if f.all[0].Repaired || len(x.quarantined()) != 0 {
		t.Errorf("%+v, moved %v", f.all, x.quarantined())
	}
	for _, file := range []string{young.File(), old.File(), "tmp/image-1"} {
		if !x.exists(file) {
			t.Errorf("%s is gone", file)
		}
	}
}

// Images that are kept while it runs are not reported.
func TestScrubWhileKeeping(t *testing.T) {
	x := newScrubbable(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			url := fmt.Sprintf("https://example.com/new/%d.png", n)
			x.o.set(url, fmt.Sprint("new ", n/2))
			if _, err := x.Keep(context.Background(), "i", url); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 3 {
		_, f := x.scrub(scrub.Options{Repair: true})
		f.want(t)
	}
	close(stop)
	<-stopped
	x.wantClean()
}

func TestScrubStops(t *testing.T) {
	x := newScrubbable(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := scrub.Run(ctx, x.Maintenance(), scrub.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	x.must(x.Close(t.Context()))
	if _, err := scrub.Run(t.Context(), x.Maintenance(), scrub.Options{}); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// What has got its name, and with it the time of such a file, and is about to lose the one
// in tmp, is not left over.
func TestScrubLeavesWhatHasItsName(t *testing.T) {
	x := newScrubbable(t)
	x.must(os.Link(x.Path(x.a.File()), x.Path(filepath.Join(record.TmpDir, "image-1"))))
	_, f := x.scrub(scrub.Options{})
	f.want(t)
}

// eachOf goes through all of a list, which no error ends.
func eachOf[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, x := range list {
			if !yield(x, nil) {
				return
			}
		}
	}
}
