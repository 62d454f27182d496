package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/backup"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
	"imgkeep/scripts/patience"
	"imgkeep/scripts/tempdir"
)

// flipAll flips a bit of the index of an open store, so many bytes behind each place
// where it holds some bytes.
func flipAll(t *testing.T, root string, of []byte, behind int) {
	t.Helper()
	path := filepath.Join(root, record.IndexFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for at := 0; ; n++ {
		next := bytes.Index(data[at:], of)
		if next < 0 {
			break
		}
		at += next + len(of)
		place := int64(at - len(of) + behind)
		if _, err := f.WriteAt([]byte{data[place] ^ 1}, place); err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 {
		t.Fatal("the index does not hold that")
	}
}

// A record that is damaged while the store is open is "damaged", never "not kept": whether
// its key, its value, or the record of its image is damaged.
func TestDamagedRecord(t *testing.T) {
	key := index.KeyOf(urlA)
	for name, tt := range map[string]struct {
		of     []byte
		behind int
	}{
		"key":    {key[:], 15},
		"value":  {key[:], 20},
		"digest": {digestBytes("a"), 31},
		"facts":  {digestBytes("a"), 33},
	} {
		o, root := newOrigin(), tempdir.New(t)
		s := openStore(t, Options{Root: root, Origin: o})
		for n := range 50 {
			url := fmt.Sprintf("https://example.com/%d.png", n)
			o.set(url, fmt.Sprint(n))
			keep(t, s, url)
		}
		o.set(urlA, "a")
		keep(t, s, urlA)
		flipAll(t, root, tt.of, tt.behind)
		if _, err := s.Keep(t.Context(), "i", urlA); !errors.Is(err, index.ErrDamaged) {
			t.Errorf("%s: got %v", name, err)
		}
		if n := o.count(urlA); n != 1 {
			t.Errorf("%s: fetched %d times", name, n)
		}
		r, err := scrub.Run(t.Context(), s.Maintenance(), scrub.Options{}) // which goes on to the end
		if err != nil || r.Found[record.Disagreement] == 0 || r.Files != 51 {
			t.Errorf("%s: scrub: %+v, %v", name, r, err)
		}
		s.Close(t.Context())
		if _, err := Open(Options{Root: root, Origin: o, Buckets: []Bucket{{Name: "i"}}}); !errors.Is(err, index.ErrDamaged) {
			t.Errorf("%s: opened: %v", name, err)
		}
	}
}

// An index that loses its pages while the store is in use is made anew from the journals: what
// is kept is found again, what is blocked stays so, and what is new is kept.
func TestIndexDamagedInUse(t *testing.T) {
	o, root := newOrigin(), tempdir.New(t)
	s := openStore(t, Options{Root: root, Origin: o})
	url := func(n int) string { return fmt.Sprintf("https://example.com/%d.png", n) }
	for n := range 50 {
		o.set(url(n), fmt.Sprint(n))
		keep(t, s, url(n))
	}
	if _, err := s.Block(t.Context(), Target{URL: url(7)}, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(root, record.IndexFile), int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find("i", url(1)); !errors.Is(err, index.ErrDamaged) {
		t.Errorf("cut off: %v", err)
	}
	for deadline := time.Now().Add(patience.Of(t)); s.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not made anew")
		}
	}
	for n := range 50 {
		if _, err := s.Find("i", url(n)); n == 7 && !errors.Is(err, ErrRemoved) || n != 7 && err != nil {
			t.Errorf("%d: %v", n, err)
		}
	}
	o.set(urlA, "a")
	keep(t, s, urlA)
	s.Close(t.Context())
	keep(t, openStore(t, Options{Root: root, Origin: o}), urlA)
	if n := o.count(urlA); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

func digestBytes(body string) []byte {
	d := digestOfText(body)
	return d[:]
}

// Scrub compares blocks, in a store that is in use as well.
func TestScrubBlocks(t *testing.T) {
	for _, alone := range []bool{true, false} {
		x := newScrubbable(t)
		at := x.c.Now()
		x.must(addTo(x.Store, "", []*ledger.Event{ledger.BlockEvent(ledger.OpBlock, record.Block{Kind: record.BlockURL, Subject: urlA, Since: at})}))
		x.must(x.commit(index.Change{Block: &record.Block{Kind: record.BlockHost, Subject: "bad.example", Since: at}}, nil))
		files, err := journal.Files(x.Root(), "")
		x.must(err)
		line := "unindexed " + files[0] + ":1"
		for range 2 {
			_, f := x.scrub(scrub.Options{Exclusive: alone})
			f.want(t, line, "unjournaled index.db")
		}
		if _, err := x.Find("i", urlA); err != nil {
			t.Errorf("looking has changed it: %v", err)
		}
		r, f := x.scrub(scrub.Options{Exclusive: alone, Repair: true})
		if f.want(t, line, "unjournaled index.db"); r.Remain != 0 {
			t.Errorf("repaired: %+v", f.all)
		}
		if _, err := x.Find("i", urlA); !errors.Is(err, ErrRemoved) {
			t.Errorf("not blocked: %v", err)
		}
		x.wantClean()
		appendTo(t, x.Path(files[0]), "garbage\n")
		_, f = x.scrub(scrub.Options{Exclusive: alone})
		f.want(t, "broken-line "+files[0]+":3")
	}
}

// A removal that stopped between journal and index is found while other removals go on.
func TestScrubRemovalsInUse(t *testing.T) {
	x := newScrubbable(t)
	x.must(addTo(x.Store, "i", []*ledger.Event{ledger.RemoveEvent(ledger.OpForget, x.a, x.now(), "", "")}))
	stop, stopped, begun := make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			url := fmt.Sprintf("https://example.com/new/%d.png", n)
			x.o.set(url, url)
			_, err := x.Keep(context.Background(), "i", url)
			if err == nil {
				_, err = x.Forget(context.Background(), url, RemoveOptions{})
			}
			if err != nil {
				t.Error(err)
				return
			}
			select {
			case begun <- struct{}{}:
			case <-stop:
				return
			default:
			}
		}
	}()
	<-begun
	for range 3 {
		_, f := x.scrub(scrub.Options{})
		f.want(t, "half-removed "+x.journalLine(5))
	}
	close(stop)
	<-stopped
}

// A truncated last line is normal in the newest file of a journal, and damage in an earlier
// one.
func TestTornLineOfOlderMonth(t *testing.T) {
	x := newDamageable(t)
	older := "i/journal/2026-11.ndjson"
	for _, cut := range []int{1, 30} {
		x.restore(x.indexes[1])
		text := x.journals[older]
		x.must(os.WriteFile(filepath.Join(x.root, older), []byte(text[:len(text)-cut]), local.PrivateFile))
		want := cut > 1 // it is whole but for its end otherwise
		line := fmt.Sprintf("broken-line %s:%d", older, strings.Count(text, "\n"))
		s := x.open(slog.New(slog.DiscardHandler))
		var f found
		if _, err := scrub.Run(t.Context(), s.Maintenance(), scrub.Options{Found: f.add}); err != nil {
			t.Error(err)
		}
		x.must(s.Close(t.Context()))
		_, r := mustReindex(t, x.root)
		for by, f := range map[string]*found{"scrub": &f, "reindex": r} {
			if slices.Contains(f.short(), line) != want || !want && len(f.all) > 0 {
				t.Errorf("%s, %d bytes less: %v", by, cut, f.short())
			}
		}
	}
}

// A missing month of a journal is reported.
func TestMonthIsMissed(t *testing.T) {
	x := newDamageable(t)
	x.restore(x.indexes[1])
	older := "i/journal/2026-11.ndjson"
	x.must(os.Remove(filepath.Join(x.root, older)))
	var f found
	s := x.open(slog.New(slog.DiscardHandler))
	if _, err := scrub.Run(t.Context(), s.Maintenance(), scrub.Options{Found: f.add}); err != nil {
		t.Error(err)
	}
	x.must(s.Close(t.Context()))
	if !slices.Contains(f.short(), "missing "+older) {
		t.Errorf("scrub: %v", f.short())
	}
	if _, r := mustReindex(t, x.root); !slices.Contains(r.short(), "missing "+older) {
		t.Errorf("reindex: %v", r.short())
	}
	_, b := backUp(t, x.root, filepath.Join(tempdir.New(t), "backup"))
	b.want(t, "missing "+older)
}

// Images that are removed during a backup are not reported as missing.
func TestBackupWhileRemoving(t *testing.T) {
	for _, op := range []string{ledger.OpForget, ledger.OpPurge} {
		root, urls := varied(t)
		s := openStore(t, Options{Root: root, Origin: newOrigin(), Buckets: []Bucket{{Name: "i"}, {Name: "f"}}})
		last := record.Image{}
		var under []string // which URLs
		for _, url := range urls {
			i, err := s.Find("i", url)
			if err != nil {
				t.Fatal(err)
			}
			if last.Bucket == "" || bytes.Compare(i.Digest[:], last.Digest[:]) > 0 {
				last, under = i, nil
			}
			if i.Digest == last.Digest {
				under = append(under, url)
			}
		}
		dir := filepath.Join(tempdir.New(t), "backup")
		var f found
		remove := func() {
			var err error
			if op == ledger.OpPurge {
				_, err = s.Purge(t.Context(), Target{Digest: last.Digest}, RemoveOptions{Buckets: []string{"i"}})
			}
			for _, url := range under {
				if op == ledger.OpForget && err == nil {
					_, err = s.Forget(t.Context(), url, RemoveOptions{Buckets: []string{"i"}})
				}
			}
			if err != nil {
				t.Error(err)
			}
		}
		images := 0
		r, err := backup.Run(t.Context(), backup.Options{Root: root, Dir: dir, Found: f.add, Progress: func(p record.Progress) {
			if p.Stage == "images" {
				if images++; images == 64*64+1 { // bucket f is done, and i is at its first folder
					remove()
				}
			}
		}})
		if f.want(t); err != nil || r.Images != r.Copied || r.Images == 0 {
			t.Errorf("%s: %+v, %v", op, r, err)
		}
		if got := readJournal(t, dir, "i"); got[len(got)-1].Op != op {
			t.Errorf("the backup does not know that it was removed: %+v", got[len(got)-1])
		}
		_, g := restore(t, dir, filepath.Join(tempdir.New(t), "again"))
		g.want(t)
		s.Close(t.Context())
	}
}

// A repair by an operator asks the origin, whatever failures are recorded.
func TestScrubRepairAsksAgain(t *testing.T) {
	x := newScrubbable(t)
	x.must(os.Remove(x.Path(x.a.File())))
	delete(x.o.answers, urlA)
	if _, err := x.Open(t.Context(), x.a); !errors.Is(err, ErrLost) {
		t.Fatalf("got %v", err)
	}
	x.o.set(urlA, "the bytes of a")
	asked := x.o.count(urlA)
	if _, err := x.Open(t.Context(), x.a); !errors.Is(err, ErrLost) || x.o.count(urlA) != asked {
		t.Fatalf("a viewer: %v, asked %d times", err, x.o.count(urlA))
	}
	r, f := x.scrub(scrub.Options{Repair: true})
	if f.want(t, "missing "+x.a.File()); r.Remain != 0 {
		t.Errorf("repaired: %+v", f.all)
	}
	x.wantClean()
}

// A folder in the place of an original is repaired like a missing file, also when the same
// bytes come under another URL; the folder's contents are put aside.
func TestRepairFolder(t *testing.T) {
	for name, repair := range map[string]func(x *scrubbable) error{
		"open": func(x *scrubbable) error {
			f, err := x.Open(x.t.Context(), x.a)
			if err == nil {
				f.Close()
			}
			return err
		},
		"ensure": func(x *scrubbable) error { return x.Ensure(x.t.Context(), x.a) },
		"make": func(x *scrubbable) error {
			f, err := x.OpenVariant(x.t.Context(), x.a, "100x100", probe.PNG, asItIs)
			if err == nil {
				f.Close()
			}
			return err
		},
		"keep": func(x *scrubbable) error {
			x.o.set("https://example.com/a2.png", "the bytes of a")
			_, err := x.Keep(x.t.Context(), "i", "https://example.com/a2.png")
			return err
		},
		"repair": func(x *scrubbable) error {
			r, err := scrub.Run(x.t.Context(), x.Maintenance(), scrub.Options{Repair: true})
			if err == nil && r.Remain > 0 {
				err = fmt.Errorf("%+v", r)
			}
			return err
		},
	} {
		x := newScrubbable(t)
		x.must(os.Remove(x.Path(x.a.File())))
		x.must(os.MkdirAll(filepath.Join(x.Path(x.a.File()), "of somebody"), 0o755))
		x.must(os.WriteFile(filepath.Join(x.Path(x.a.File()), "of somebody", "note"), []byte("milk"), 0o644))
		if err := repair(x); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := content(t, x.Store, x.a); got != "the bytes of a" {
			t.Errorf("%s: it has %q", name, got)
		}
		if got := x.quarantined()[x.a.File()+"/of somebody/note"]; got != "milk" {
			t.Errorf("%s: put aside: %v", name, x.quarantined())
		}
	}
}
