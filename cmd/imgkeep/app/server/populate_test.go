package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/bucket/variant"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/resize"
)

func populator(t *testing.T, s *site) *server.Populator {
	t.Helper()
	p, err := server.NewPopulator(server.Options{Store: s.store, Resizer: s.decoder, Sizes: []int{10, 20, 50}, Quality: 70}, 2)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// All sizes of an image are made from one decoding, and are what a viewer gets.
func TestPopulate(t *testing.T) {
	s := newSite(t, func(_ *bucket.Options, o *server.Options) { o.Sizes = []int{10, 20, 50} })
	p := populator(t, s)
	source := toPNG(t, 40, 30)
	url := s.origin.put("cat", source)
	small, smaller := toPNG(t, 13, 10), toPNG(t, 20, 15)
	s.decoder.answer = func(got []byte, j resize.Job) ([]resize.Result, error) {
		var all []resize.Result
		for _, target := range j.Targets {
			if target.Quality != 70 {
				t.Errorf("quality %d", target.Quality)
			}
			all = append(all, result(t, map[string][]byte{"10x20": small, "x20": smaller, "50x50": source}[target.Size.String()]))
		}
		return all, nil
	}
	got, err := p.Populate(t.Context(), "i", url+"#a", []string{"10x20", "x20", "50x50"})
	if want := (server.Populated{Fetched: true, Bytes: int64(len(source)), Made: 3}); got != want || err != nil {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if len(s.decoder.jobs) != 1 {
		t.Errorf("%d decodings", len(s.decoder.jobs))
	}
	for size, want := range map[string][]byte{"10x20": small, "x20": smaller, "50x50": source, "full": source} {
		if w := s.get(s.link(size, url)); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), want) {
			t.Errorf("%s: status %d, %d bytes", size, w.Code, w.Body.Len())
		}
	}
	// The original stands for the size that it is.
	if made, err := s.store.VariantNames(bucketImage(t, s, url)); err != nil || len(made) != 3 {
		t.Errorf("made %v, %v", made, err)
	}
	got, err = p.Populate(t.Context(), "i", url, []string{"10x20"})
	if want := (server.Populated{Bytes: int64(len(source))}); got != want || err != nil || len(s.decoder.jobs) != 1 {
		t.Errorf("again: %+v, %v after %d decodings", got, err, len(s.decoder.jobs))
	}
}

func bucketImage(t *testing.T, s *site, url string) record.Image {
	t.Helper()
	image, err := s.store.Find("i", url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.store.Path(image.File())); err != nil {
		t.Error(err)
	}
	return image
}

// If several sizes at once crash a decoder, each is tried alone: only these tries count as
// crashes of the image.
func TestPopulatePoison(t *testing.T) {
	s := newSite(t, func(_ *bucket.Options, o *server.Options) { o.Sizes = []int{10, 20, 50} })
	p := populator(t, s)
	died := fmt.Errorf("%w: %w", resize.ErrCrashed, resize.ErrPoison)
	s.decoder.answer = func(_ []byte, j resize.Job) ([]resize.Result, error) {
		if len(j.Targets) > 1 {
			return nil, died
		}
		return []resize.Result{result(t, map[string][]byte{"10x": toPNG(t, 13, 10), "x10": toPNG(t, 10, 8)}[j.Targets[0].Size.String()])}, nil
	}
	many := s.origin.put("many", toPNG(t, 40, 30))
	if got, err := p.Populate(t.Context(), "i", many, []string{"10x", "x10"}); err != nil || got.Made != 2 {
		t.Errorf("too many at once: made %d, %v", got.Made, err)
	}
	if facts, err := query.Show(t.Context(), s.store.Maintenance(), many, record.Digest{}); err != nil || len(facts.Images) != 1 || facts.Images[0].Poison != nil {
		t.Errorf("too many at once: held against the image: %+v, %v", facts, err)
	}
	s.decoder.answer = func([]byte, resize.Job) ([]resize.Result, error) { return nil, died }
	bad := s.origin.put("bad", toPNG(t, 41, 30))
	if got, err := p.Populate(t.Context(), "i", bad, []string{"10x", "x10"}); !errors.Is(err, variant.ErrPoison) || got.Made != 0 {
		t.Errorf("the image: made %d, %v", got.Made, err)
	}
	if jobs := len(s.decoder.jobs); jobs != 3+2 {
		t.Errorf("%d decodings", jobs)
	}
}

func TestPopulateRefuses(t *testing.T) {
	s := newSite(t, nil)
	p := populator(t, s)
	cat := s.origin.put("cat", toPNG(t, 40, 30))
	gone := s.origin.put("gone", &fetch.Error{Kind: fetch.Gone, Err: fmt.Errorf("gone")})
	// Of two answers one is nonsense.
	s.decoder.answer = func([]byte, resize.Job) ([]resize.Result, error) {
		return []resize.Result{result(t, toPNG(t, 13, 10)), result(t, toPNG(t, 13, 10))}, nil
	}
	many := make([]string, resize.MaxTargets+1)
	for i := range many {
		many[i] = "10x10"
	}
	for _, c := range []struct {
		bucket, url string
		sizes       []string
		code        string
		stops       bool
	}{
		{"x", cat, nil, "bucket", true},
		{"i", cat, []string{"11x"}, "size", true},
		{"i", cat, []string{"full"}, "size", true},
		{"i", cat, []string{"nonsense"}, "size", true},
		{"i", cat, many, "size", true},
		{"i", "ftp://example.com/", nil, "url", false},
		{"i", gone, []string{"10x"}, "gone", false},
		{"i", gone, []string{"10x"}, "gone", false}, // remembered
		{"i", cat, []string{"10x20", "x50"}, "resize-crashed", false},
	} {
		_, err := p.Populate(t.Context(), c.bucket, c.url, c.sizes)
		if err == nil || server.Code(err) != c.code || server.Stops(err) != c.stops {
			t.Errorf("%s %s %.30v: %v; want the code %s, stops %v", c.bucket, c.url, c.sizes, err, c.code, c.stops)
		}
	}
	if n := s.origin.fetches[gone]; n > 1 {
		t.Errorf("%d fetches of what is gone", n)
	}
	if _, err := server.NewPopulator(server.Options{}, 1); err == nil {
		t.Error("a populator without a store")
	}
}
