package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/index"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
)

// damageable is a closed store with all that damage could do harm to: URLs that
// share bytes, of which one was forgotten, an image that was purged, and blocks of
// a URL, of bytes and of a host.
type damageable struct {
	*testing.T
	root  string
	o     *origin
	clock *clock

	kept    map[string]record.Digest
	removed []string // and not blocked
	blocked []string
	files   []string // the originals

	indexes  [][]byte          // first an older one, then the last
	journals map[string]string // by path below root
}

func newDamageable(t *testing.T) *damageable {
	x := &damageable{T: t, root: t.TempDir(), o: newOrigin(), clock: newClock(), kept: map[string]record.Digest{}, journals: map[string]string{}}
	url := func(name string) string { return "https://example.com/" + name }
	for name, body := range map[string]string{
		"shared-1": "shared", "shared-2": "shared", "shared-3": "shared", "alone": "alone", "late": "late",
		"purged": "purged", "purged-late": "purged late", "blocked": "blocked", "blocked-bytes": "blocked bytes",
	} {
		x.o.set(url(name), body)
	}
	x.o.set("https://bad.example/host", "of a bad host")
	s := x.open(slog.New(slog.DiscardHandler))
	forget := func(name string) {
		_, err := s.Forget(t.Context(), url(name), RemoveOptions{})
		x.must(err)
		x.removed = append(x.removed, url(name))
	}
	purge := func(name string) {
		_, err := s.Purge(t.Context(), Target{URL: url(name)}, RemoveOptions{})
		x.must(err)
		x.removed = append(x.removed, url(name))
	}
	block := func(target Target, url string) {
		_, err := s.Block(t.Context(), target, RemoveOptions{KeepFiles: true})
		x.must(err)
		x.blocked = append(x.blocked, url)
	}
	for _, name := range []string{"shared-1", "alone", "purged", "blocked"} {
		keep(t, s, url(name))
	}
	purge("purged")
	block(Target{URL: url("blocked")}, url("blocked"))
	x.must(s.Close(t.Context()))
	x.saveIndex()
	s = x.open(slog.New(slog.DiscardHandler))
	x.clock.add(31 * 24 * time.Hour) // a new file of each journal
	for _, name := range []string{"shared-2", "shared-3", "late", "purged-late", "blocked-bytes"} {
		keep(t, s, url(name))
	}
	keep(t, s, "https://bad.example/host")
	forget("shared-1")
	forget("shared-3")
	purge("purged-late")
	block(Target{Digest: digestOfText("blocked bytes")}, url("blocked-bytes"))
	block(Target{Host: "bad.example"}, "https://bad.example/host")
	if _, err := s.Keep(t.Context(), "i", url("gone")); err == nil {
		t.Fatal("no failure")
	}
	for _, name := range []string{"shared-2", "alone", "late"} {
		i, err := s.Find("i", url(name))
		x.must(err)
		x.kept[url(name)] = i.Digest
	}
	x.must(s.Close(t.Context()))
	x.saveIndex()
	for _, dir := range []string{"journal", "i/journal"} {
		files, err := os.ReadDir(filepath.Join(x.root, dir))
		x.must(err)
		for _, f := range files {
			data, err := os.ReadFile(filepath.Join(x.root, dir, f.Name()))
			x.must(err)
			x.journals[filepath.Join(dir, f.Name())] = string(data)
		}
	}
	var err error
	x.files, err = filepath.Glob(filepath.Join(x.root, "i/?/?/*"))
	x.must(err)
	if len(x.files) != 6 || len(x.journals) != 4 {
		t.Fatalf("%d files, %d journals", len(x.files), len(x.journals))
	}
	return x
}

func (x *damageable) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

func (x *damageable) saveIndex() {
	data, err := os.ReadFile(filepath.Join(x.root, record.IndexFile))
	x.must(err)
	x.indexes = append(x.indexes, data)
}

func (x *damageable) options(log *slog.Logger) Options {
	return Options{Root: x.root, Origin: newOrigin(), Now: x.clock.Now, Log: log, Buckets: []Bucket{{Name: "i"}}}
}

func (x *damageable) open(log *slog.Logger) *Store {
	x.Helper()
	o := x.options(log)
	o.Origin = x.o
	s, err := Open(o)
	x.must(err)
	return s
}

// restore puts journals and an index back as they were; nil: there is no index.
func (x *damageable) restore(index []byte) {
	x.Helper()
	path := filepath.Join(x.root, record.IndexFile)
	if index == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			x.Fatal(err)
		}
	} else {
		x.must(os.WriteFile(path, index, local.PrivateFile))
	}
	for file, text := range x.journals {
		x.must(os.WriteFile(filepath.Join(x.root, file), []byte(text), local.PrivateFile))
	}
}

// start opens the store, and checks what must hold whatever was damaged: no
// original is deleted, nothing that is blocked is seen, and no answer is wrong
// without a word.
func (x *damageable) start(what string) (refused error) {
	x.Helper()
	var log bytes.Buffer
	s, err := Open(x.options(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))))
	if err == nil {
		defer s.Close(context.Background())
		wrong := x.wrong(s)
		for _, url := range x.blocked {
			if _, err := s.Find("i", url); err == nil {
				x.Errorf("%s: %s is blocked, and visible\n%s", what, url, &log)
			}
		}
		if len(wrong) > 0 && log.Len() == 0 {
			x.Errorf("%s: not a word, and wrong: %v", what, wrong)
		}
	}
	for _, file := range x.files {
		if _, err := os.Lstat(file); err != nil {
			x.Fatalf("%s: an original is deleted: %v\n%s", what, err, &log)
		}
	}
	return err
}

// wrong are the URLs of which the store says what is not so.
func (x *damageable) wrong(s *Store) map[string]bool {
	wrong := map[string]bool{}
	for url, digest := range x.kept {
		if i, err := s.Find("i", url); err != nil && !errors.Is(err, index.ErrDamaged) || err == nil && i.Digest != digest {
			wrong[url] = true
		}
	}
	for _, url := range x.removed {
		if _, err := s.Find("i", url); err == nil {
			wrong[url] = true
		}
	}
	for _, url := range x.blocked {
		if _, err := s.Find("i", url); !errors.Is(err, ErrRemoved) && !errors.Is(err, index.ErrDamaged) {
			wrong[url] = true
		}
	}
	return wrong
}

// each goes through the bytes of a file, each with what is flipped in it: all of
// them, and with -short one in so many.
func each(t *testing.T, size, oneIn int) func(func(at int, flip byte) bool) {
	random := rand.New(rand.NewPCG(1, uint64(size)))
	return func(yield func(int, byte) bool) {
		at, step := 0, 1
		if testing.Short() {
			at, step = oneIn/2, oneIn
		}
		for ; at < size && !t.Failed(); at += step {
			flip := byte(1 + random.IntN(255))
			if at%2 == 0 {
				flip = 1 << random.IntN(8)
			}
			if !yield(at, flip) {
				return
			}
		}
	}
}

// An older index catches up with the journals, also with damaged ones.
func TestOlderIndex(t *testing.T) {
	x := newDamageable(t)
	for _, older := range [][]byte{x.indexes[0], x.indexes[1], nil} {
		x.restore(older)
		var log bytes.Buffer
		s := x.open(slog.New(slog.NewTextHandler(&log, nil)))
		if wrong := x.wrong(s); len(wrong) > 0 {
			t.Errorf("wrong: %v", wrong)
		}
		if silent := log.Len() == 0; silent != bytes.Equal(older, x.indexes[1]) {
			t.Errorf("the log has %q", &log)
		}
		if r, err := scrub.Run(t.Context(), s.Maintenance(), scrub.Options{Exclusive: true}); err != nil || len(r.Found) > 0 {
			t.Errorf("scrub: %+v, %v", r, err)
		}
		x.must(s.Close(t.Context()))
	}
}

// Each byte of the index is damaged in turn: the index is refused, or answers correctly.
func TestEachByteOfIndex(t *testing.T) {
	x := newDamageable(t)
	last := x.indexes[1]
	refused := 0
	for at, flip := range each(t, len(last), 83) {
		damaged := bytes.Clone(last)
		damaged[at] ^= flip
		x.restore(damaged)
		if err := x.start(fmt.Sprintf("byte %d ^ %#x", at, flip)); err != nil {
			if refused++; !strings.Contains(err.Error(), "imgkeep reindex") {
				t.Errorf("byte %d ^ %#x: %v", at, flip, err)
			}
		}
	}
	if refused < 10 {
		t.Errorf("%d times it was refused", refused)
	}
}

// Each byte of each journal is damaged in turn, with the current index, an older one, and
// none.
func TestEachByteOfJournal(t *testing.T) {
	x := newDamageable(t)
	for file, text := range x.journals {
		for at, flip := range each(t, len(text), 61) {
			for i, index := range [][]byte{x.indexes[1], x.indexes[0], nil} {
				x.restore(index)
				damaged := []byte(text)
				damaged[at] ^= flip
				x.must(os.WriteFile(filepath.Join(x.root, file), damaged, local.PrivateFile))
				x.start(fmt.Sprintf("byte %d of %s ^ %#x, index %d", at, file, flip, i))
			}
		}
	}
}

// Missing lines and months of a journal damage nothing either. Only an index that goes further
// can notice that the last file is missing.
func TestMonthMissing(t *testing.T) {
	x := newDamageable(t)
	for file := range x.journals {
		for i, index := range [][]byte{x.indexes[1], x.indexes[0], nil} {
			what := fmt.Sprintf("without %s, index %d", file, i)
			last := strings.HasSuffix(file, "2026-12.ndjson")
			if last && i > 0 {
				continue
			}
			x.restore(index)
			x.must(os.Remove(filepath.Join(x.root, file)))
			err := x.start(what)
			if isBlocks := filepath.Dir(file) == record.JournalDir; (last || i == 1 || i == 2 && isBlocks) != (err != nil) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// A start that rebuilds the index deletes nothing: neither if a line is broken, nor if a month
// is missing, nor if a kept image has no line.
func TestReindexDeletesNothing(t *testing.T) {
	for name, damage := range map[string]func(text string) string{
		"a bit":                  func(text string) string { return strings.Replace(text, "b.png", "b.pnf", 1) },
		"no JSON":                func(text string) string { return strings.Replace(text, `"url"`, `"ur`, 1) },
		"removed, and not kept":  func(text string) string { return text[strings.Index(text, "\n")+1:] },
		"the same, without sums": func(text string) string { return unsummed(strings.Replace(text, "b.png", "b.pnf", 1)) },
	} {
		for _, start := range []bool{true, false} {
			o, root := newOrigin(), t.TempDir()
			o.set(urlA, "the same")
			o.set(urlB, "the same")
			s, err := Open(Options{Root: root, Origin: o, Now: newClock().Now, Buckets: []Bucket{{Name: "i"}}})
			if err != nil {
				t.Fatal(err)
			}
			b := keep(t, s, urlB)
			keep(t, s, urlA)
			if _, err := s.Forget(t.Context(), urlA, RemoveOptions{}); err != nil {
				t.Fatal(err)
			}
			s.Close(t.Context())
			path := filepath.Join(root, month)
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.WriteFile(path, []byte(damage(string(good))), local.PrivateFile), os.Remove(filepath.Join(root, record.IndexFile))); err != nil {
				t.Fatal(err)
			}
			if !start {
				mustReindex(t, root)
			}
			s, err = Open(Options{Root: root, Origin: newOrigin(), Buckets: []Bucket{{Name: "i"}}})
			if err != nil {
				t.Fatal(err)
			}
			s.Close(t.Context())
			// The journal is repaired, and nothing is missing.
			if err := os.WriteFile(path, good, local.PrivateFile); err != nil {
				t.Fatal(err)
			}
			if _, f := mustReindex(t, root); len(f.all) > 0 {
				t.Errorf("%s: found %v", name, f.short())
			}
			s = openStore(t, Options{Root: root, Origin: newOrigin()})
			if i, err := s.Find("i", urlB); err != nil || i.Digest != b.Digest || content(t, s, i) != "the same" {
				t.Errorf("%s: %+v, %v", name, i, err)
			}
			s.Close(t.Context())
		}
	}
}

// Opening a store rebuilds an index of an earlier layout.
func TestOldIndexIsMadeAnew(t *testing.T) {
	x := newDamageable(t)
	for _, version := range []int{1, 2, 4} {
		data, err := os.ReadFile(fmt.Sprintf("index/testdata/schema%d.db", version))
		x.must(err)
		x.restore(data)
		var log bytes.Buffer
		s := x.open(slog.New(slog.NewTextHandler(&log, nil)))
		if wrong := x.wrong(s); len(wrong) > 0 || !strings.Contains(log.String(), "older layout") {
			t.Errorf("wrong: %v; the log: %s", wrong, &log)
		}
		x.must(s.Close(t.Context()))
	}
}

// A group of lines that did not completely reach the disk does not count, even if the index
// catches up with the journal before the next group is written.
func TestFailedLinesAreNotTakenIn(t *testing.T) {
	f := &localtest.Fault{}
	o, root := newOrigin(), t.TempDir()
	s := openStore(t, Options{Root: root, Origin: o, disk: newStepDisk(func(s localtest.Step, do func() error) error {
		if s.Op == "Sync" && strings.HasSuffix(s.Path, record.JournalExt) {
			return f.Hook(s, do)
		}
		return do()
	})})
	o.set(urlA, "a")
	o.set(urlB, "b")
	keep(t, s, urlA)
	f.Arm(1, os.ErrDeadlineExceeded, false, false)
	if _, err := s.Keep(t.Context(), "i", urlB); err == nil {
		t.Fatal("no error")
	}
	f.Disarm()
	if _, err := s.Keep(t.Context(), "i", "https://example.com/gone"); err == nil { // a commit without a line
		t.Fatal("no error")
	}
	if _, err := s.Find("i", urlB); !errors.Is(err, ErrNotKept) {
		t.Errorf("got %v", err)
	}
	if events := readJournal(t, root, "i"); len(events) != 1 {
		t.Errorf("the journal has %d lines", len(events))
	}
	keep(t, s, urlB)
	s.Close(t.Context())
	s = openStore(t, Options{Root: root, Origin: newOrigin()})
	keep(t, s, urlA)
	keep(t, s, urlB)
}
