package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket/backup"
	"imgkeep/bucket/index"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
)

// eyes are a test's decoder: what an image looks like is told by its bytes, as in "cat 3",
// which is 3 bits from the picture of a cat, and "cat 3 turned". Others are told apart by
// their first words: "blank" has nothing to see, "broken" no decoder can read, "deadly" ends
// them, and for "busy" there is none.
type eyes struct {
	looked int                // how often
	look   func(bytes string) // called while a decoder works; nil: nothing
}

var errBusy = errors.New("all decoders are busy")

// printOf is the print of what is called so, some bits away.
func printOf(what string, bits int) (p likeness.Print) {
	seed := uint64(0)
	for _, c := range what {
		seed = 31*seed + uint64(c)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	p.Quality = 100
	for i := range p.Hashes {
		for j := range p.Hashes[i] {
			p.Hashes[i][j] = byte(r.Uint32())
		}
		for bit := range bits {
			p.Hashes[i][bit%32] ^= 1 << (bit / 32)
		}
	}
	return p
}

func (e *eyes) read(_ context.Context, image record.Image, src io.ReaderAt, _ bool) (p likeness.Print, err error) {
	text, err := io.ReadAll(io.NewSectionReader(src, 0, image.Bytes))
	if err != nil {
		return p, err
	}
	e.looked++
	if e.look != nil {
		e.look(string(text))
	}
	what, bits, turned := "", 0, ""
	fmt.Sscan(string(text), &what, &bits, &turned)
	switch what {
	case "busy":
		return p, errBusy
	case "broken":
		return p, fmt.Errorf("%w: it is broken", lookalike.ErrNoPrint)
	case "deadly":
		return p, fmt.Errorf("%w: it crashed", lookalike.ErrPoison)
	}
	p = printOf(what, bits)
	if what == "blank" {
		p.Quality = likeness.MinQuality - 1
	}
	if turned == "turned" {
		p.Hashes[0], p.Hashes[5] = p.Hashes[5], p.Hashes[0]
	}
	return p, nil
}

// gallery is a store with eyes, whose origin has any image that is asked for.
type gallery struct {
	*testing.T
	*Store
	*eyes
	origin *origin
	clock  *clock
	root   string
	o      Options
}

func newGallery(t *testing.T) *gallery {
	g := &gallery{T: t, eyes: &eyes{}, origin: newOrigin(), clock: newClock(), root: t.TempDir()}
	g.o = Options{Root: g.root, Origin: g.origin, Now: g.clock.Now, Look: g.eyes.read, Buckets: []Bucket{{Name: "f"}, {Name: "i"}}}
	g.Store = openStore(t, g.o)
	return g
}

// reopen closes the store, has something done, and opens it again.
func (g *gallery) reopen(meanwhile func()) {
	g.Helper()
	if err := g.Close(g.Context()); err != nil {
		g.Fatal(err)
	}
	meanwhile()
	g.Store = openStore(g.T, g.o)
}

func urlOf(what string) string { return "https://a.example/" + strings.ReplaceAll(what, " ", "-") }

// ask asks for an image, and returns an error that is expected.
func (g *gallery) ask(what string) (record.Image, error) {
	g.origin.set(urlOf(what), what)
	return g.Keep(g.Context(), "i", urlOf(what))
}

func (g *gallery) keeps(all ...string) {
	g.Helper()
	for _, what := range all {
		if _, err := g.ask(what); err != nil {
			g.Errorf("%q is not kept: %v", what, err)
		}
	}
}

func (g *gallery) refuses(all ...string) {
	g.Helper()
	for _, what := range all {
		_, err := g.ask(what)
		var f *Failure
		if !errors.As(err, &f) || f.Kind != Similar {
			g.Errorf("%q: %v", what, err)
		}
		if _, err := g.Find("i", urlOf(what)); !errors.As(err, &f) {
			g.Errorf("%q, found: %v", what, err)
		}
	}
}

func (g *gallery) blockLike(what string, within int) {
	g.Helper()
	if _, err := g.Block(g.Context(), Target{URL: urlOf(what)}, RemoveOptions{Similar: true, Within: within, Why: "a ticket", By: "test"}); err != nil {
		g.Fatal(err)
	}
}

func TestBlockSimilar(t *testing.T) {
	g := newGallery(t)
	g.keeps("cat 0", "cat 1", "dog 0")
	if g.looked != 0 {
		t.Errorf("%d images were looked at, and nothing is blocked so", g.looked)
	}
	g.blockLike("cat 0", 31)
	g.keeps("cat 1") // which is there, and stays
	g.refuses("cat 2", "cat 31", "cat 3 turned")
	g.keeps("cat 32", "bird 0", "blank 0", "broken")
	if _, err := g.ask("cat 0"); !errors.Is(err, ErrRemoved) {
		t.Errorf("itself: %v", err)
	}
	if n := g.origin.count(urlOf("cat 2")); n != 1 {
		t.Errorf("%d fetches of what was refused", n)
	}
	if _, _, err := g.Add("i", "local:x", strings.NewReader("")); err == nil {
		t.Error("nothing is added")
	}
	var listed []string
	for r, err := range g.Looks().Refused() {
		if err != nil || r.Why != "a ticket" || r.Of != urlOf("cat 0") {
			t.Errorf("%+v, %v", r, err)
		}
		listed = append(listed, fmt.Sprint(r.URL, r.Distance, r.Turned))
	}
	if want := []string{urlOf("cat 3 turned") + "3 true", urlOf("cat 31") + "31 false", urlOf("cat 2") + "2 false"}; strings.Join(listed, " ") != strings.Join(want, " ") {
		t.Errorf("refused are %v", listed)
	}
}

// Blocks by likeness last, and so do exceptions: after a restart, with an older index, and with
// a rebuilt one.
func TestBlockSimilarLasts(t *testing.T) {
	g := newGallery(t)
	g.keeps("cat 0")
	before := filepath.Join(t.TempDir(), "index.db")
	indexFile := filepath.Join(g.root, record.IndexFile)
	copyFile := func(from, to string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	g.reopen(func() { copyFile(indexFile, before) })
	g.blockLike("cat 0", 20)
	g.refuses("cat 5")
	digest := g.Looks().Refusals.Under(urlOf("cat 5"))[0]
	if err := g.Looks().Allow(t.Context(), digest, false, lookalike.By{}); err != nil {
		t.Fatal(err)
	}
	n := 10
	holds := func(when string, meanwhile func()) {
		t.Helper()
		if meanwhile != nil {
			g.reopen(meanwhile)
		}
		n++
		g.refuses(fmt.Sprint("cat ", n))
		g.keeps("cat 21", "cat 5")
		if t.Failed() {
			t.Fatal(when)
		}
	}
	for name, meanwhile := range map[string]func(){
		"at once":     nil,
		"restart":     func() {},
		"older index": func() { copyFile(before, indexFile) },
		"reindex": func() {
			if _, err := reindex.Run(context.Background(), reindex.Options{Root: g.root}); err != nil {
				t.Fatal(err)
			}
		},
		"no index": func() { os.Remove(indexFile) },
	} {
		holds(name, meanwhile)
	}
	holds("backup", func() {
		dir := filepath.Join(t.TempDir(), "backup")
		if _, err := backup.Run(t.Context(), backup.Options{Root: g.root, Dir: dir}); err != nil {
			t.Fatal(err)
		}
		g.o.Root = filepath.Join(t.TempDir(), "restored")
		if _, _, err := backup.Restore(t.Context(), backup.Options{Root: g.o.Root, Dir: dir}); err != nil {
			t.Fatal(err)
		}
	})
	if n := g.Looks().Book.Len(); n != 0 {
		t.Errorf("%d hashes come of a backup", n) // which has none
	}
}

// A block also stops images that are under way: a fetch that has not ended, and an image that a
// decoder compares for another block.
func TestBlockSimilarRaces(t *testing.T) {
	for name, other := range map[string]bool{"a fetch": false, "a look": true} {
		t.Run(name, func(t *testing.T) {
			g := newGallery(t)
			g.keeps("cat 0", "dog 0")
			if other {
				g.blockLike("dog 0", 31)
			}
			landed := false
			land := func() {
				if !landed {
					landed = true
					g.blockLike("cat 0", 31)
				}
			}
			if other {
				g.eyes.look = func(bytes string) {
					if bytes == "cat 4" {
						land()
					}
				}
				g.Looks().Index(t.Context(), lookalike.IndexOptions{}) // so that blocking needs no look
				g.refuses("cat 4")
				return
			}
			g.Looks().Index(t.Context(), lookalike.IndexOptions{})
			g.origin.arrived, g.origin.hold = make(chan string, 1), make(chan struct{})
			done := make(chan error)
			go func() {
				_, err := g.ask("cat 4")
				done <- err
			}()
			<-g.origin.arrived
			land()
			close(g.origin.hold)
			var f *Failure
			if err := <-done; !errors.As(err, &f) || f.Kind != Similar {
				t.Errorf("%v", err)
			}
		})
	}
}

// Without a decoder, no image is shown that might be blocked.
func TestNoDecoderForSimilar(t *testing.T) {
	g := newGallery(t)
	g.keeps("cat 0", "busy 1", "deadly 1")
	g.blockLike("cat 0", 31)
	for range 2 { // which is not remembered
		if _, err := g.ask("busy 2"); !errors.Is(err, errBusy) {
			t.Errorf("busy: %v", err)
		}
	}
	looked := g.looked
	for range 2 { // which is, for a while
		var f *Failure
		if _, err := g.ask("deadly 2"); !errors.As(err, &f) || f.Kind != Unchecked {
			t.Errorf("deadly: %v", err)
		}
	}
	if g.looked != looked+1 {
		t.Errorf("an image that crashes decoders has crashed %d", g.looked-looked)
	}
	if _, _, err := g.Add("i", "https://a.example/added", strings.NewReader("x")); err == nil {
		t.Error("no image is added")
	}
	for name, entries := range map[string]int{"i": 3} {
		urls := 0
		for _, err := range g.index.URLs(name) {
			if urls++; err != nil {
				t.Fatal(err)
			}
		}
		if urls != entries-1 {
			t.Errorf("%s: %d", name, urls)
		}
	}
}

// Images that are shown without being kept are compared as well, also those that were fetched
// before the block.
func TestBlockSimilarUncached(t *testing.T) {
	g := newGallery(t)
	g.keeps("cat 0")
	show := func(what string) error {
		g.origin.set(urlOf(what), what)
		f, err := g.Fetch(t.Context(), "i", urlOf(what))
		if err == nil {
			f.Close()
		}
		return err
	}
	for _, what := range []string{"cat 1", "dog 1"} {
		if err := show(what); err != nil {
			t.Fatal(err)
		}
	}
	g.blockLike("cat 0", 31)
	for what, want := range map[string]bool{"cat 1": false, "cat 2": false, "dog 1": true, "dog 2": true, "busy": false} {
		if err := show(what); (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestUnblockSimilar(t *testing.T) {
	g := newGallery(t)
	g.keeps("cat 0")
	hash := printOf("cat", 0).Hash()
	g.blockLike("cat 0", 31)
	g.refuses("cat 1", "cat 2")
	if r, err := g.Unblock(t.Context(), Target{URL: urlOf("cat 0")}, RemoveOptions{}); err != nil || len(r.Unblocked) != 3 {
		t.Fatalf("%+v, %v", r, err) // the URL, its bytes and how they look
	}
	g.keeps("cat 1", "cat 0")
	if r, err := g.Block(t.Context(), Target{Hash: &hash}, RemoveOptions{Within: 5}); err != nil || len(r.Blocked) != 1 || len(r.Images) != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	g.keeps("cat 0", "cat 6")
	g.refuses("cat 4")
	g.reopen(func() {})
	g.refuses("cat 3")
	if _, err := g.Unblock(t.Context(), Target{Hash: &hash}, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Unblock(t.Context(), Target{Hash: &hash}, RemoveOptions{}); !errors.Is(err, ErrNotBlocked) {
		t.Errorf("again: %v", err)
	}
	g.keeps("cat 4", "cat 3")
}

// If an image cannot be blocked by likeness, the error says why, and nothing else is done.
func TestBlockSimilarRefuses(t *testing.T) {
	g := newGallery(t)
	g.keeps("blank 0", "busy 1")
	for name, c := range map[string]struct {
		t    Target
		want error
	}{
		"nothing to see": {Target{URL: urlOf("blank 0")}, lookalike.ErrFaint},
		"no decoder":     {Target{URL: urlOf("busy 1")}, errBusy},
		"not kept":       {Target{URL: urlOf("cat 9")}, lookalike.ErrUnknown},
		"no such bytes":  {Target{Digest: record.Digest{1}}, lookalike.ErrUnknown},
	} {
		if _, err := g.Block(t.Context(), c.t, RemoveOptions{Similar: true}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for b := range g.Blocks() {
		t.Errorf("%+v is blocked", b)
	}
	g.keeps("blank 0", "busy 1")
}

// If likeness is off, blocks by likeness have no effect, and none can be added.
func TestLikenessOff(t *testing.T) {
	g := newGallery(t)
	g.keeps("cat 0")
	g.blockLike("cat 0", 31)
	g.o.Look = nil
	g.reopen(func() {})
	g.keeps("cat 1")
	if _, err := g.Block(t.Context(), Target{Hash: &likeness.Hash{}}, RemoveOptions{}); !errors.Is(err, lookalike.ErrOff) {
		t.Errorf("block: %v", err)
	}
	g.o.Look = g.eyes.read
	g.reopen(func() {})
	g.refuses("cat 2")
}

// A hash is dropped with the last bucket that has the image, and not before.
func TestRemovalTakesTheHash(t *testing.T) {
	g := newGallery(t)
	g.keeps("cat 0", "dog 0")
	if _, err := g.Keep(t.Context(), "f", urlOf("cat 0")); err != nil {
		t.Fatal(err)
	}
	if r, err := g.Looks().Index(t.Context(), lookalike.IndexOptions{}); err != nil || r.Added != 2 || r.Known != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	count := func(when string, want int) {
		t.Helper()
		if got := g.Looks().Book.Len(); got != want {
			t.Errorf("%s: %d hashes, want %d", when, got, want)
		}
	}
	purge := func(o RemoveOptions) {
		t.Helper()
		if _, err := g.Purge(t.Context(), Target{URL: urlOf("cat 0")}, o); err != nil {
			t.Fatal(err)
		}
	}
	purge(RemoveOptions{Buckets: []string{"i"}})
	count("still in another bucket", 2)
	purge(RemoveOptions{})
	count("gone", 1)
	// A removal that a crash has broken off takes it along when it is finished.
	image, _ := g.Find("i", urlOf("dog 0"))
	if err := g.index.Apply([]index.Change{{Bucket: "i", Purge: &index.Removing{Digest: image.Digest, Format: image.Format}}}); err != nil {
		t.Fatal(err)
	}
	g.reopen(func() {})
	count("finished", 0)
}

// Index hashes images without a hash, once only, and drops hashes of images that are gone.
func TestIndexLooks(t *testing.T) {
	g := newGallery(t)
	g.keeps("cat 0", "cat 1", "dog 0", "blank 0", "broken", "deadly", "busy")
	stale := record.Digest{7}
	if err := g.Looks().Book.Put(stale, printOf("cat", 0)); err != nil {
		t.Fatal(err)
	}
	want := lookalike.IndexReport{Images: 7, Added: 6, Faint: 3, Failed: 1, Dropped: 1}
	for _, next := range []lookalike.IndexReport{want, {Images: 7, Known: 6, Failed: 1}} {
		got, err := g.Looks().Index(t.Context(), lookalike.IndexOptions{Rate: 1000})
		if got.Seconds = 0; err != nil || got != next {
			t.Errorf("%+v, %v; want %+v", got, err, next)
		}
	}
	found, err := g.Looks().Similar(printOf("cat", 0), 31, 10, true)
	if err != nil || len(found) != 2 || found[1].Distance != 1 || found[0].Buckets[0] != "i" {
		t.Errorf("%+v, %v", found, err)
	}
	// One that is broken off goes on where it was.
	g.keeps("bird 0", "bird 40")
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := g.Looks().Index(ctx, lookalike.IndexOptions{Progress: func(record.Progress) { cancel() }}); !errors.Is(err, context.Canceled) {
		t.Errorf("broken off: %v", err)
	}
	if got, err := g.Looks().Index(t.Context(), lookalike.IndexOptions{}); err != nil || got.Added >= 2 {
		t.Errorf("%+v, %v", got, err)
	}
	g.clock.add(time.Hour)
}

// What a store has already is looked at no faster than is allowed; what is known costs no time.
func TestIndexAtARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGallery(t)
		g.keeps("cat 0", "dog 0", "bird 0", "bird 40", "cat 40", "dog 40")
		for _, want := range []time.Duration{3 * time.Second, 0} {
			began := time.Now()
			r, err := g.Looks().Index(t.Context(), lookalike.IndexOptions{Rate: 2})
			if took := time.Since(began); err != nil || r.Images != 6 || took != want {
				t.Errorf("%+v, %v, in %v, want %v", r, err, took, want)
			}
		}
	})
}

// A look at an image that is not kept may end in a commit: Close waits for it.
func TestCloseWaitsForLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGallery(t)
		g.keeps("cat 0")
		g.origin.set(urlOf("cat 1"), "cat 1")
		f, err := g.Fetch(t.Context(), "i", urlOf("cat 1"))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		g.blockLike("cat 0", 31)
		look := make(chan struct{})
		g.eyes.look = func(string) { <-look }
		go func() {
			var f *Failure
			if _, _, err := g.Uncached("i", urlOf("cat 1"), false); !errors.As(err, &f) || f.Kind != Similar {
				t.Errorf("the look: %v", err)
			}
		}()
		synctest.Wait()
		go func() {
			if err := g.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		if _, _, err := g.Uncached("i", urlOf("cat 1"), false); !errors.Is(err, ErrClosed) {
			t.Errorf("a look after that: %v", err)
		}
		close(look)
		synctest.Wait()
	})
}
