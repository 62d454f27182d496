package query

import (
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

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// kept is a store of index and journals, without files.
type kept struct {
	root    string
	index   *index.DB
	ledger  *journal.Journals
	buckets []string
}

func newKept(t testing.TB, buckets ...string) *kept {
	t.Helper()
	s := &kept{root: t.TempDir(), buckets: buckets}
	for _, name := range append([]string{""}, buckets...) {
		if err := os.MkdirAll(filepath.Join(s.root, name, record.JournalDir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if s.index, err = index.Open(filepath.Join(s.root, record.IndexFile), buckets, index.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.index.Close() })
	s.ledger = journal.Open(local.OS{}, s.root, buckets, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { s.ledger.Close() })
	return s
}

func (s *kept) Begin(ctx context.Context) (context.Context, func(), error) {
	return ctx, func() {}, nil
}
func (s *kept) Path(file string) string                     { return filepath.Join(s.root, file) }
func (s *kept) Buckets() []string                           { return s.buckets }
func (s *kept) Index() *index.DB                            { return s.index }
func (s *kept) Ledger() ledger.Ledger                       { return s.ledger }
func (s *kept) VariantNames(record.Image) ([]string, error) { return nil, nil }
func (s *kept) DigestsOf(string) ([]record.Digest, error)   { return nil, nil }
func (s *kept) URLs(context.Context, string, record.Digest) ([]string, error) {
	return nil, nil
}
func (s *kept) In(names []string) ([]string, error) {
	if len(names) == 0 {
		return s.buckets, nil
	}
	return names, nil
}

// imageAt is an image of a number, kept so many seconds after the beginning.
func imageAt(bucket string, n int, host string) record.Image {
	d := record.Digest{}
	copy(d[:], fmt.Sprintf("%s-%d-%s", bucket, n, host))
	format := probe.JPEG
	if n%10 == 0 {
		format = probe.PNG
	}
	return record.Image{
		Bucket: bucket, URL: fmt.Sprintf("https://%s/pictures/%d.jpg?a=1&b=%d", host, n, n), Digest: d, Bytes: int64(1000 + n),
		Info: probe.Info{Format: format, Width: 100 + n%1000, Height: 50, Orientation: 1, Frames: 1}, Stored: begun.Add(time.Duration(n) * time.Second),
	}
}

var begun = time.Date(2026, 10, 30, 12, 0, 0, 0, time.UTC)

func (s *kept) keep(t testing.TB, images ...record.Image) {
	t.Helper()
	var changes []index.Change
	var events []*ledger.Event
	for _, i := range images {
		changes = append(changes, index.Change{Bucket: i.Bucket, URL: i.URL, Keep: index.ImageOf(i)})
		events = append(events, ledger.KeepEvent(i))
	}
	if _, err := s.ledger.Add(images[0].Bucket, events); err != nil {
		t.Fatal(err)
	}
	if err := s.index.Apply(changes); err != nil {
		t.Fatal(err)
	}
}

func numbers(page Recent) (all []int) {
	for _, i := range page.Items {
		var n int
		fmt.Sscanf(i.URL[strings.LastIndexByte(i.URL, '/')+1:], "%d", &n)
		all = append(all, n)
	}
	return all
}

// The pages of all that is kept, one after the other, are all of it, the newest first,
// whatever the size of a page and the number of buckets.
func TestLatestKept(t *testing.T) {
	s := newKept(t, "f", "i")
	var want []int
	for n := range 40 {
		s.keep(t, imageAt([]string{"f", "i", "i"}[n%3], n, "a.example"))
		want = append(want, n)
	}
	slices.Reverse(want)
	for _, limit := range []int{1, 7, 39, 40, 41, MaxRecent} {
		var got []int
		f := RecentFilter{Limit: limit, Budget: time.Hour}
		for range 50 {
			page, err := LatestKept(t.Context(), s, f)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Items) > limit || page.Partial {
				t.Errorf("pages of %d: one has %d items, partial %v", limit, len(page.Items), page.Partial)
			}
			got = append(got, numbers(page)...)
			if f.Before = page.Next; f.Before == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v", limit, got)
		}
	}
	// What comes in meanwhile is on no later page.
	first, err := LatestKept(t.Context(), s, RecentFilter{Limit: 3, Budget: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s.keep(t, imageAt("i", 99, "a.example"))
	second, err := LatestKept(t.Context(), s, RecentFilter{Limit: 3, Before: first.Next, Budget: time.Hour})
	if err != nil || !slices.Equal(numbers(second), []int{36, 35, 34}) {
		t.Errorf("%v, %v", numbers(second), err)
	}
}

// Each filter chooses by itself, and what the index does not have is not shown: what was
// removed, and the former image of a URL.
func TestLatestKeptFilter(t *testing.T) {
	s := newKept(t, "f", "i")
	for n := range 20 {
		s.keep(t, imageAt("i", n, "a.example"))
	}
	s.keep(t, imageAt("i", 20, "sub.b.example"), imageAt("i", 21, "xb.example"))
	s.keep(t, imageAt("f", 22, "b.example"))
	gone := imageAt("i", 19, "a.example")
	if err := s.index.Apply([]index.Change{{Bucket: "i", URL: gone.URL, Forget: true}}); err != nil {
		t.Fatal(err)
	}
	other := imageAt("i", 18, "a.example")
	other.Digest, other.Stored = record.Digest{9}, begun.Add(time.Hour)
	s.keep(t, other)
	block := record.Block{Kind: record.BlockHost, Subject: "*.b.example", Since: begun}
	if err := s.index.Apply([]index.Change{{Block: &block}}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		f    RecentFilter
		want []int
	}{
		"all, in part":      {RecentFilter{Limit: 6}, []int{18, 22, 21, 20, 17, 16}},
		"a bucket":          {RecentFilter{Filter: Filter{Buckets: []string{"f"}}}, []int{22}},
		"a host":            {RecentFilter{Filter: Filter{Hosts: []string{"b.example"}}}, []int{22}},
		"hosts below one":   {RecentFilter{Filter: Filter{Hosts: []string{"*.b.example"}}}, []int{20}},
		"two hosts":         {RecentFilter{Filter: Filter{Hosts: []string{"b.example", "xb.example"}}}, []int{22, 21}},
		"a type":            {RecentFilter{Filter: Filter{Types: []string{"png"}}}, []int{20, 10, 0}},
		"since":             {RecentFilter{Filter: Filter{Since: begun.Add(21 * time.Second)}}, []int{18, 22, 21}},
		"until":             {RecentFilter{Filter: Filter{Until: begun.Add(2 * time.Second)}}, []int{1, 0}},
		"a part of the URL": {RecentFilter{Text: "17.jpg?a=1&b=17"}, []int{17}},
		"a host and a part": {RecentFilter{Text: "/pictures/2", Filter: Filter{Hosts: []string{"a.example"}}}, []int{2}},
		"no such part":      {RecentFilter{Text: `"`}, nil},
		"bytes":             {RecentFilter{MinBytes: 1003, MaxBytes: 1005}, []int{5, 4, 3}},
		"pixels":            {RecentFilter{MinSide: 103, MaxSide: 104}, []int{4, 3}},
	} {
		c.f.Budget = time.Hour
		page, err := LatestKept(t.Context(), s, c.f)
		if err != nil || !slices.Equal(numbers(page), c.want) {
			t.Errorf("%s: %v, %v; want %v", name, numbers(page), err, c.want)
		}
		for _, i := range page.Items {
			if blocked := strings.Contains(i.URL, "sub.b."); blocked != (i.Block != nil) || i.URLs != 1 {
				t.Errorf("%s: %+v", name, i)
			}
		}
	}
	for _, f := range []RecentFilter{{Limit: -1}, {Limit: MaxRecent + 1}, {Before: "!"}, {Before: "aTo6eA"}, {Before: strings.Repeat("A", 8000)}} {
		if _, err := LatestKept(t.Context(), s, f); err == nil {
			t.Errorf("%+v is no error", f)
		}
	}
	// Any place may be named as that of a page, and none is read that is not the journal's.
	for _, at := range []string{"i:2026-10.ndjson:77", "i:2026-10.ndjson:999999999", "i:2025-01.ndjson:5", "z::0", "i::0"} {
		page, err := LatestKept(t.Context(), s, RecentFilter{Before: encodeCursor(at)})
		if err != nil {
			t.Errorf("%s: %v, %v", at, page, err)
		}
	}
	if _, err := LatestKept(t.Context(), s, RecentFilter{Before: encodeCursor("i:../../etc/passwd:0")}); !errors.Is(err, ErrCursor) {
		t.Errorf("a path: %v", err)
	}
}

// Where the time is up, the page says how far it has come, and the next goes on there.
func TestLatestKeptBudget(t *testing.T) {
	s := newKept(t, "i")
	var images []record.Image
	for n := range 6000 { // more than a block of the journal
		images = append(images, imageAt("i", n, "a.example"))
	}
	images[0] = imageAt("i", 0, "rare.example")
	s.keep(t, images...)
	f := RecentFilter{Filter: Filter{Hosts: []string{"rare.example"}}, Budget: 1}
	pages := 0
	for ; ; pages++ {
		page, err := LatestKept(t.Context(), s, f)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) == 1 {
			break
		}
		if !page.Partial || page.Next == "" || page.Looked.Before(begun) || page.Looked.After(images[5999].Stored) {
			t.Fatalf("page %d: %+v", pages, page)
		}
		f.Before = page.Next
	}
	if pages < 2 {
		t.Errorf("found after %d pages: the budget bounds nothing", pages)
	}
}

func TestLatestFailures(t *testing.T) {
	s := newKept(t, "f", "i")
	var changes []index.Change
	for n := range 20 {
		f := record.Failure{Kind: []string{"gone", "timeout"}[n%2], Attempts: 1, First: begun.Add(time.Duration(n/2) * time.Minute), Next: begun.Add(time.Hour), Detail: fmt.Sprint(n), Host: "a.example", URL: fmt.Sprint("https://a.example/", n)}
		changes = append(changes, index.Change{Bucket: []string{"f", "i"}[n%2], URL: fmt.Sprint("https://a.example/", n), Fail: &f})
	}
	if err := s.index.Apply(changes); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{1, 3, 19, 20, 21} {
		f := RecentFilter{Limit: limit}
		seen, last := map[string]bool{}, begun.Add(time.Hour)
		for range 30 {
			page, err := LatestFailures(t.Context(), s, f, nil)
			if err != nil || len(page.Items) > limit || page.All != 20 {
				t.Fatalf("%+v, %v", page, err)
			}
			for _, d := range page.Items {
				if seen[d.Detail] || d.First.After(last) {
					t.Errorf("pages of %d: %s comes twice, or too late", limit, d.Detail)
				}
				seen[d.Detail], last = true, d.First
			}
			if f.Before = page.Next; f.Before == "" {
				break
			}
		}
		if len(seen) != 20 {
			t.Errorf("pages of %d: %d failures", limit, len(seen))
		}
	}
	page, err := LatestFailures(t.Context(), s, RecentFilter{Filter: Filter{Buckets: []string{"i"}}}, []fetch.ErrorKind{"timeout"})
	if err != nil || page.All != 10 || page.Next != "" {
		t.Errorf("%+v, %v", page, err)
	}
	for _, at := range []string{"x", "1.i", "1.i.zz", "x.i." + strings.Repeat("0", 32), "1.i." + strings.Repeat("0", 30), "1.i.00.00"} {
		if _, err := LatestFailures(t.Context(), s, RecentFilter{Before: at}, nil); !errors.Is(err, ErrCursor) {
			t.Errorf("%q: %v", at, err)
		}
	}
	if page, err := LatestFailures(t.Context(), s, RecentFilter{Text: "example/1"}, nil); err != nil || page.All != 11 {
		t.Errorf("%d hold it, %v", page.All, err)
	}
}

func TestCountHosts(t *testing.T) {
	s := newKept(t, "i")
	now := begun.Add(40 * 24 * time.Hour)
	young := imageAt("i", 7, "b.example")
	young.Stored = now.Add(-time.Hour)
	s.keep(t, imageAt("i", 1, "a.example"), imageAt("i", 2, "a.example"), young)
	fail := record.Failure{Kind: "gone", Attempts: 1, First: now, Next: now, Host: "c.example"}
	block := record.Block{Kind: record.BlockHost, Subject: "a.example", Since: begun}
	if err := s.index.Apply([]index.Change{{Bucket: "i", URL: "https://c.example/x", Fail: &fail}, {Block: &block}}); err != nil {
		t.Fatal(err)
	}
	got, err := CountHosts(t.Context(), s, now)
	if err != nil || got.All != 3 || len(got.Hosts) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	a, b, c := got.Hosts[0], got.Hosts[1], got.Hosts[2]
	if a.Host != "a.example" || a.URLs != 2 || a.Bytes != 2003 || a.Month.URLs != 0 || a.Block == nil ||
		b.Host != "b.example" || b.URLs != 1 || b.Month.URLs != 1 || b.Block != nil || !b.Newest.Equal(young.Stored) ||
		c.Host != "c.example" || c.URLs != 0 || c.Failed != 1 || c.Failures["gone"] != 1 {
		t.Errorf("%+v", got)
	}
}

// The time of a page does not grow with what is kept: what of a journal is read is its end,
// and of what few images are chosen by is looked for in the text of the lines.
func BenchmarkLatestKept(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := filled(b, n)
			for name, f := range map[string]RecentFilter{
				"newest":  {},
				"oldest":  {Filter: Filter{Until: begun.Add(time.Minute)}},
				"host":    {Filter: Filter{Hosts: []string{"rare.example"}}},
				"type":    {Filter: Filter{Types: []string{"png"}}},
				"text":    {Text: "/pictures/777.jpg"},
				"nothing": {Text: "there is no such thing"},
				"bytes":   {MinBytes: 1 << 40},
			} {
				b.Run(name, func(b *testing.B) {
					pages := 0
					for b.Loop() {
						f := f
						f.Before = ""
						for {
							page, err := LatestKept(b.Context(), s, f)
							if err != nil {
								b.Fatal(err)
							}
							if pages++; !page.Partial {
								break
							}
							f.Before = page.Next
						}
					}
					b.ReportMetric(float64(pages)/float64(b.N), "pages/op")
				})
			}
		})
	}
}

// BenchmarkLatestFailures is of as many failures as a bucket remembers.
func BenchmarkLatestFailures(b *testing.B) {
	s := newKept(b, "i")
	for n := 0; n < index.DefaultMaxFailures; n += 4096 {
		var changes []index.Change
		for i := n; i < min(n+4096, index.DefaultMaxFailures); i++ {
			f := record.Failure{Kind: "gone", Status: 404, Attempts: 1, First: begun.Add(time.Duration(i) * time.Second), Next: begun.Add(time.Hour * 1000), Detail: "404 Not Found", Host: "a.example", Head: "<html>"}
			changes = append(changes, index.Change{Bucket: "i", URL: fmt.Sprint("https://a.example/", i), Fail: &f})
		}
		if err := s.index.Apply(changes); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if page, err := LatestFailures(b.Context(), s, RecentFilter{}, nil); err != nil || page.All != index.DefaultMaxFailures {
			b.Fatal(page.All, err)
		}
	}
}

// filled is a store of n images, one of which, the oldest, is of a rare host.
func filled(b *testing.B, n int) *kept {
	s := newKept(b, "i")
	for from := 0; from < n; from += 4096 {
		var images []record.Image
		for i := from; i < min(from+4096, n); i++ {
			host := fmt.Sprintf("host%d.example", i%1000)
			if i == 0 {
				host = "rare.example"
			}
			images = append(images, imageAt("i", i, host))
		}
		s.keep(b, images...)
	}
	return s
}
