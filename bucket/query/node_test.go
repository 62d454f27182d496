package query_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/buckettest"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
)

// What the index knows is listed without the journal: each image once, and with URLs what is
// asked for by URL.
func TestListKnown(t *testing.T) {
	o, c := new(buckettest.Origin), new(buckettest.Clock)
	s := buckettest.Open(t, bucket.Options{Root: t.TempDir(), Origin: o, Now: c.Now})
	const many = 600 // more than the index reads ahead
	kept, urls := map[string]uint64{}, []query.Named{{Bucket: "i", URL: "https://unknown.example/"}, {Bucket: "another", URL: urlA}}
	var images []record.Image
	begun := c.Now()
	for n := range many {
		url := fmt.Sprintf("https://h%d.example/%03d", n%2, n)
		o.Set(url, fmt.Sprint("bytes ", n/2*2%(many-2))) // two URLs of each, and four of the first
		c.Add(time.Second)
		image := buckettest.Keep(t, s, url)
		kept[image.Digest.String()]++
		images, urls = append(images, image), append(urls, query.Named{Bucket: "i", URL: url})
	}
	for _, tt := range []struct {
		name string
		f    query.Filter
		want int
		err  error
	}{
		{"all", query.Filter{}, many/2 - 1, nil},
		{"of the bucket", query.Filter{Buckets: []string{"i"}}, many/2 - 1, nil},
		{"of no bucket", query.Filter{Buckets: []string{"x"}}, 0, bucket.ErrNoBucket},
		{"of another type", query.Filter{Types: []string{"webp"}}, 0, nil},
		{"since the third", query.Filter{Since: begun.Add(3 * time.Second)}, many/2 - 2, nil},
		{"until the third", query.Filter{Until: begun.Add(3 * time.Second)}, 1, nil},
		{"by host", query.Filter{Hosts: []string{"h0.example"}}, 0, query.ErrNoHosts},
	} {
		got := map[string]uint64{}
		for e, err := range query.ListKnown(t.Context(), s.Maintenance(), tt.f) {
			if err != nil {
				if !errors.Is(err, tt.err) {
					t.Errorf("%s: %v", tt.name, err)
				}
				break
			}
			if e.URL != "" || e.Node == nil || got[e.Digest] != 0 || e.Node.URLs != kept[e.Digest] {
				t.Errorf("%s: %+v, want %d URLs", tt.name, e, kept[e.Digest])
			}
			got[e.Digest]++
		}
		if len(got) != tt.want {
			t.Errorf("%s: %d images, want %d", tt.name, len(got), tt.want)
		}
	}
	if _, err := s.Forget(t.Context(), images[5].URL, bucket.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	var named []string
	for e, err := range query.ListNamed(t.Context(), s.Maintenance(), query.Filter{Hosts: []string{"h1.example"}, Until: images[9].Stored}, slices.Clone(urls)) {
		if err != nil {
			t.Fatal(err)
		}
		named = append(named, e.URL[len("https://h1.example/"):])
	}
	// The index has the time of an image's first URL. 5 is removed, and 599 has the bytes of 0.
	if want := []string{"001", "003", "007", "009", "599"}; !slices.Equal(named, want) {
		t.Errorf("by URL: %q, want %q", named, want)
	}
}
