package query

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// What is kept comes in the order of the journals, each URL once, whatever was removed, kept
// again or replaced meanwhile, and nothing that only the journal or only the index has.
func TestKeptImages(t *testing.T) {
	s := newKept(t, "i", "other")
	images := make([]record.Image, 8)
	for n := range images {
		images[n] = imageAt("i", n, "a.example")
	}
	forget := func(i record.Image) {
		if _, err := s.ledger.Add("i", []*ledger.Event{ledger.RemoveEvent(ledger.OpForget, i, begun, "", "")}); err != nil {
			t.Fatal(err)
		}
		if err := s.index.Apply([]index.Change{{Bucket: "i", URL: i.URL, Forget: true}}); err != nil {
			t.Fatal(err)
		}
	}
	s.keep(t, images[:6]...)
	s.keep(t, imageAt("other", 9, "a.example"))
	forget(images[1])
	forget(images[2])
	s.keep(t, images[2]) // again
	replaced := images[3]
	replaced.Digest[0]++
	s.keep(t, replaced)
	second := images[4]
	second.URL += "&second"
	s.keep(t, second)
	if err := s.index.Apply([]index.Change{{Bucket: "i", URL: images[6].URL, Keep: index.ImageOf(images[6])}}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.root, "i", record.JournalDir, "2026-10.ndjson")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("no line\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	later := images[7]
	later.Stored = later.Stored.AddDate(0, 2, 0)
	s.keep(t, later)

	want := []string{images[0].URL, images[2].URL, images[4].URL, images[5].URL, replaced.URL, second.URL, later.URL}
	var got []string
	for image, err := range keptImages(t.Context(), s, "i") {
		if err != nil {
			t.Fatal(err)
		}
		if image.URL == replaced.URL && image.Digest != replaced.Digest {
			t.Errorf("%s is told to have an image that was replaced", image.URL)
		}
		got = append(got, image.URL)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for range keptImages(t.Context(), s, "i") {
		break // no more is wanted
	}

	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	for _, err := range keptImages(ctx, s, "i") {
		if !errors.Is(err, stopped) {
			t.Errorf("after the end: %v", err)
		}
	}
	s.index.Close()
	n := 0
	for _, err := range keptImages(t.Context(), s, "i") {
		if n++; err == nil {
			t.Error("it is answered without an index")
		}
	}
	if n != 1 {
		t.Errorf("%d answers, want one error", n)
	}
}

// More lines than fit into memory are sorted on the disk, and nothing of that stays.
func TestKeptImagesMany(t *testing.T) {
	s := newKept(t, "i")
	if err := os.Mkdir(filepath.Join(s.root, record.TmpDir), 0o700); err != nil {
		t.Fatal(err)
	}
	const many = 5000
	images := make([]record.Image, many)
	for n := range images {
		images[n] = imageAt("i", n, fmt.Sprintf("h%d.example", n%7))
	}
	s.keep(t, images...)
	kept, err := confirmed(t.Context(), s, "i", 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	for i := range many + 100 {
		if kept.has(i) != (i < many) {
			t.Fatalf("line %d: %v", i, kept.has(i))
		}
	}
	if left, err := os.ReadDir(filepath.Join(s.root, record.TmpDir)); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
