package index

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"imgkeep/bucket/record"
)

// of is an image that is counted for a site.
func of(site, bytes string) Image {
	i := imageOf(bytes)
	i.Site = SiteOf(site)
	return i
}

func wantBytes(t *testing.T, db *DB, about string, want map[string]int64) {
	t.Helper()
	for site, n := range want {
		if got, err := db.SiteBytes(SiteOf(site)); err != nil || got != n {
			t.Errorf("%s: %d bytes of %q, %v; want %d", about, got, site, err, n)
		}
	}
	if err := db.Check(); err != nil {
		t.Errorf("%s: %v", about, err)
	}
}

// The bytes of an image count for the site of its entry, for as long as there is one,
// once in each bucket, in whatever way it comes and goes.
func TestSites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	db := open(t, path)
	keep := func(bucket, url string, i Image) Change { return Change{Bucket: bucket, URL: url, Keep: &i} }
	one, two, nobody := of("one", "one's"), of("two", "two's, longer"), of("", "nobody's")
	gone := &Removing{Digest: one.Digest, Format: one.Format}
	for _, step := range []struct {
		about    string
		changes  []Change
		one, two int64
	}{
		{"kept", []Change{keep("i", "1", one), keep("i", "2", two), keep("i", "3", nobody)}, 5, 13},
		{"kept again", []Change{keep("i", "1", one), keep("i", "3", nobody)}, 5, 13},
		{"under another site's URL", []Change{keep("i", "4", of("two", "one's"))}, 5, 13},
		{"in another bucket", []Change{keep("f", "1", one)}, 10, 13},
		{"another image of the URL", []Change{keep("i", "1", two), keep("i", "4", two)}, 10, 13}, // the entry stays
		{"found again by another", []Change{keep("i", "5", of("two", "one's"))}, 10, 13},
		{"forgotten", []Change{{Bucket: "i", URL: "5", Forget: true}, {Bucket: "i", URL: "5", Forget: true}}, 5, 13},
		{"brought by another", []Change{keep("i", "5", of("two", "one's"))}, 5, 18},
		{"spared", []Change{{Bucket: "i", URL: "5", Forget: true, Spare: true}, {Bucket: "f", Purge: gone, Spare: true}}, 5, 18},
		{"purged", []Change{{Bucket: "i", Purge: gone}, {Bucket: "f", Purge: gone}, {Bucket: "f", Purge: gone}}, 0, 13},
		{"purged and kept at once", []Change{{Bucket: "i", Purge: &Removing{Digest: two.Digest}}, keep("i", "9", one), keep("i", "9", of("one", "more"))}, 9, 0},
		{"none left", []Change{{Bucket: "i", Purge: gone}, {Bucket: "i", URL: "9", Forget: true}, {Bucket: "i", URL: "3", Forget: true}}, 0, 0},
	} {
		apply(t, db, step.changes...)
		wantBytes(t, db, step.about, map[string]int64{"one": step.one, "two": step.two, "": 0})
		if _, _, err := db.Compact(path + ".new"); err != nil {
			t.Fatal(err)
		}
		wantBytes(t, db, step.about+", compacted", map[string]int64{"one": step.one, "two": step.two, "": 0})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open(t, path)
		wantBytes(t, db, step.about+", opened", map[string]int64{"one": step.one, "two": step.two, "": 0})
	}
	// A change that is refused changes no sum.
	if err := db.Apply([]Change{keep("i", "1", one), keep("none", "1", one)}); err == nil {
		t.Error("no error")
	}
	wantBytes(t, db, "refused", map[string]int64{"one": 0})
}

// An index that is made anew has the sums of what is put into it.
func TestSitesOfNewIndex(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	var entries []Entry
	want := map[string]int64{"": 0}
	for n := range 1000 {
		site := fmt.Sprint("site ", n%7)
		e := Entry{Image: of(site, fmt.Sprint("bytes ", n)), Refs: 1}
		entries = append(entries, e)
		want[site] += 2 * e.Bytes
	}
	entries = append(entries, Entry{Image: of("", "nobody's"), Refs: 1})
	slices.SortFunc(entries, func(a, b Entry) int { return slices.Compare(a.Digest[:], b.Digest[:]) })
	r, err := Rebuild(path)
	if err != nil {
		t.Fatal(err)
	}
	contents := []Content{{Bucket: "i", Images: eachOf(entries)}, {Bucket: "f", Images: eachOf(entries)}}
	if err := r.Replace(path+".new", contents, nil, record.Position{}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, open(t, path), "made anew", want)
}

// An entry with a part of a site is an error, not another site.
func TestSiteOfAnEntry(t *testing.T) {
	for _, site := range []string{"", "one"} {
		i := of(site, "a")
		whole := imageEntry{Image: i, refs: 3}.encode()
		if got, err := decodeRecord(i.Digest[:], whole); err != nil || got.Image != i || got.refs != 3 {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := decodeRecord(i.Digest[:], append(whole, 0)); err == nil {
			t.Errorf("%q: a byte too many is no error", site)
		}
		bare := len(imageEntry{Image: imageOf("a"), refs: 3}.encode())
		for n := bare + 1; n < len(whole); n++ {
			if _, err := decodeRecord(i.Digest[:], whole[:n]); err == nil {
				t.Errorf("%q: %d of %d bytes are no error", site, n, len(whole))
			}
		}
	}
}
