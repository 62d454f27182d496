package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
)

const month = "i/journal/2026-11.ndjson"

// found gathers findings as "kind path".
type found struct{ all []record.Finding }

func (f *found) add(x record.Finding) { f.all = append(f.all, x) }

func (f *found) short() []string {
	var s []string
	for _, x := range f.all {
		s = append(s, string(x.Kind)+" "+x.Path)
	}
	slices.Sort(s)
	return s
}

func (f *found) want(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := f.short(); !slices.Equal(got, want) {
		t.Errorf("found\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func mustReindex(t *testing.T, root string) (reindex.Report, *found) {
	t.Helper()
	var f found
	report, err := reindex.Run(t.Context(), reindex.Options{Root: root, Found: f.add, Progress: func(record.Progress) {}})
	if err != nil {
		t.Fatal(err)
	}
	return report, &f
}

// unsummed are lines of a journal as an earlier version wrote them.
func unsummed(lines string) string {
	return regexp.MustCompile(`,"sum":"[0-9a-f]{8}"}`).ReplaceAllString(lines, "}")
}

// appendTo writes to the end of a file.
func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// answers are all that the index of a store says.
func answers(t *testing.T, s *Store) map[string]any {
	t.Helper()
	all := map[string]any{}
	for name := range s.buckets {
		for e, err := range s.index.Images(name) {
			if err != nil {
				t.Fatal(err)
			}
			all[name+" image "+record.Digest(e.Digest).String()] = e
			if all[fmt.Sprintf("site %x", e.Site)], err = s.index.SiteBytes(e.Site); err != nil {
				t.Fatal(err)
			}
		}
		for l, err := range s.index.URLs(name) {
			if err != nil {
				t.Fatal(err)
			}
			all[fmt.Sprintf("%s url %x", name, l.Key)] = l
		}
	}
	return all
}

// A store with all that matters to an index: buckets, URLs that share bytes, URLs
// whose bytes have changed, failures, images first kept at different times.
func varied(t *testing.T) (root string, urls []string) {
	t.Helper()
	o, c, root := newOrigin(), newClock(), t.TempDir()
	s := openStore(t, Options{Root: root, Origin: o, Now: c.Now, Buckets: []Bucket{{Name: "i"}, {Name: "f"}}})
	for n := range 60 {
		url := fmt.Sprintf("https://site%d.example/%d.png?a=1&b=<2>", n%4, n)
		urls = append(urls, url)
		o.set(url, fmt.Sprint("bytes ", n/3))
		c.add(7 * 24 * 3600e9 / 10) // the journal has several months
		keep(t, s, url)
		if n%4 == 0 {
			if _, err := s.Keep(t.Context(), "f", url); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := range 10 { // what is kept under them is another image now
		image := keep(t, s, urls[n])
		other := keep(t, s, urls[30+n])
		image.Digest, image.Bytes, image.Stored = other.Digest, other.Bytes, c.Now()
		if err := s.commit(index.Change{Bucket: "i", URL: image.URL, Keep: index.ImageOf(image)}, ledger.KeepEvent(image)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Keep(t.Context(), "i", "https://example.com/gone"); err == nil {
		t.Fatal("no failure")
	}
	s.Close(t.Context())
	return root, urls
}

// What is made from journals and files alone answers as the index did that grew
// with them.
func TestReindexAnswersAsBefore(t *testing.T) {
	root, _ := varied(t)
	open := func() *Store {
		return openStore(t, Options{Root: root, Origin: newOrigin(), Buckets: []Bucket{{Name: "i"}, {Name: "f"}}})
	}
	s := open()
	before := answers(t, s)
	s.Close(t.Context())
	for _, damage := range []func(path string) error{
		os.Remove,
		func(path string) error { return os.Truncate(path, 0) },
		func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("garbage ", 9999)), 0o600) },
		func(path string) error { return nil },
	} {
		if err := damage(filepath.Join(root, record.IndexFile)); err != nil {
			t.Fatal(err)
		}
		report, f := mustReindex(t, root)
		s = open()
		after := answers(t, s)
		zero := 0
		for k, v := range before {
			// What nothing refers to any more the journal cannot tell from
			// what was removed: its entry stays.
			if after[k] != v {
				t.Errorf("%s: %+v, was %+v", k, after[k], v)
			}
			if e, ok := v.(index.Entry); ok && e.Refs == 0 {
				zero++
			}
		}
		if len(after) != len(before) || zero == 0 {
			t.Errorf("%d answers, were %d; %d images without a URL", len(after), len(before), zero)
		}
		f.want(t)
		if report.Lines != 60+15+10 || report.URLs != 60+15 {
			t.Errorf("report: %+v", report)
		}
		s.Close(t.Context())
	}
}

// A torn end is passed over, what is broken in the middle is reported with its
// place and skipped, and what is between is kept.
func TestReindexBrokenLines(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	c := newClock()
	var urls []string
	s := openStore(t, Options{Root: root, Origin: o, Now: c.Now})
	for n := range 4 {
		url := fmt.Sprintf("https://example.com/%d.png", n)
		urls = append(urls, url)
		o.set(url, url)
		keep(t, s, url)
	}
	s.Close(t.Context())
	path := filepath.Join(root, month)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(path, good, 0o640) // for checkTree
	lines := strings.SplitAfter(string(good), "\n")[:4]
	bad := []string{
		"\n", "{\n", "nul\n", "[]\n", strings.Repeat("\x00", 100) + "\n",
		strings.Replace(lines[0], `"op":"keep",`, `"op":"keep"`, 1),
		strings.Replace(lines[0], `"digest":"`, `"digest":"../`, 1),
		strings.Replace(lines[0], `"png"`, `"svg"`, 1),
		strings.Replace(lines[0], `"width":3`, `"width":-3`, 1),
		strings.Replace(lines[0], `"width":3`, `"width":3e99`, 1),
		strings.TrimSuffix(lines[0], "\n") + lines[1],
		`{"op":"keep","url":"` + strings.Repeat("x", 3*journal.MaxLine) + "\"}\n",
	}
	text, want := "", []string{}
	n := 0
	add := func(s string, isBad bool) {
		n++
		text += s
		if isBad {
			want = append(want, fmt.Sprintf("broken-line %s:%d", month, n))
		}
	}
	for i, l := range lines {
		for _, b := range bad[i*len(bad)/4 : (i+1)*len(bad)/4] {
			add(b, true)
		}
		add(l, false)
	}
	for _, end := range []string{"", lines[0][:20], `{"time":"`, "\x00\x00\x00"} {
		if err := os.WriteFile(path, []byte(text+end), 0o640); err != nil {
			t.Fatal(err)
		}
		_, f := mustReindex(t, root)
		f.want(t, want...)
		s := openStore(t, Options{Root: root, Origin: newOrigin()})
		for _, url := range urls {
			if _, err := s.Find("i", url); err != nil {
				t.Errorf("end %q: %s: %v", end, url, err)
			}
		}
		s.Close(t.Context())
	}
}

// What a newer version has noted, perhaps a removal, is not passed over.
func TestReindexUnknownOperation(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.set(urlA, "a")
	c := newClock()
	s := openStore(t, Options{Root: root, Origin: o, Now: c.Now})
	keep(t, s, urlA)
	s.Close(t.Context())
	path := filepath.Join(root, month)
	good, _ := os.ReadFile(path)
	defer os.WriteFile(path, good, 0o640) // for checkTree
	before, err := os.ReadFile(filepath.Join(root, record.IndexFile))
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, strings.Replace(unsummed(string(good)), `"keep"`, `"vanish"`, 1))
	_, err = reindex.Run(t.Context(), reindex.Options{Root: root})
	if !errors.Is(err, ledger.ErrOperation) || !strings.Contains(err.Error(), month+`:2: `) || !strings.Contains(err.Error(), `"vanish"`) {
		t.Errorf("got %v", err)
	}
	if after, err := os.ReadFile(filepath.Join(root, record.IndexFile)); err != nil || string(after) != string(before) {
		t.Errorf("the index has changed, %v", err)
	}
}

func TestReindexMissingAndOrphan(t *testing.T) {
	o, c, root := newOrigin(), newClock(), t.TempDir()
	o.set(urlA, "a")
	o.set(urlB, "b")
	s := openStore(t, Options{Root: root, Origin: o, Now: c.Now})
	a, b := keep(t, s, urlA), keep(t, s, urlB)
	s.Close(t.Context())
	if err := os.Remove(filepath.Join(root, a.File())); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, month)
	good, _ := os.ReadFile(path)
	defer os.WriteFile(path, good, 0o640) // for checkTree
	if err := os.WriteFile(path, []byte(strings.SplitAfter(string(good), "\n")[0]), 0o640); err != nil {
		t.Fatal(err)
	}
	report, f := mustReindex(t, root)
	f.want(t, "missing "+a.File(), "orphan "+b.File())
	if report.Images != 0 || report.URLs != 0 || report.Found[record.Missing] != 1 || report.Found[record.Orphan] != 1 {
		t.Errorf("report: %+v", report)
	}
	// The image that is gone is fetched again when it is asked for.
	s = openStore(t, Options{Root: root, Origin: o, Now: c.Now})
	if got := content(t, s, keep(t, s, urlA)); got != "a" {
		t.Errorf("got %q", got)
	}
}

func TestReindexRefused(t *testing.T) {
	o, root := newOrigin(), t.TempDir()
	o.set(urlA, "a")
	s := openStore(t, Options{Root: root, Origin: o})
	keep(t, s, urlA)
	if _, err := reindex.Run(t.Context(), reindex.Options{Root: root}); !errors.Is(err, index.ErrLocked) {
		t.Errorf("while the store is open: %v", err)
	}
	s.Close(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := reindex.Run(ctx, reindex.Options{Root: root}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := reindex.Run(t.Context(), reindex.Options{Root: filepath.Join(root, "none")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no store: %v", err)
	}
	s = openStore(t, Options{Root: root, Origin: newOrigin()})
	keep(t, s, urlA)
}
