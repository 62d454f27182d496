package bucket

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
	"imgkeep/bucket/variant"
)

// Originals, variants and targets of links have their derived time from the beginning, and get
// it back when they are opened, ensured or scrubbed.
func TestStamps(t *testing.T) {
	x := newScrubbable(t)
	ctx := context.Background()
	made := variant.Key{Name: "x7", Format: probe.JPEG}
	maker := func(context.Context, io.Reader, int64) ([]byte, error) { return []byte("made of it"), nil }
	f, err := x.OpenVariant(ctx, x.a, made.Name, made.Format, maker)
	x.must(err)
	f.Close()
	want := func(when string, file string) {
		t.Helper()
		path := x.Path(file)
		real, err := filepath.EvalSymlinks(path)
		x.must(err)
		info, err := os.Stat(path)
		x.must(err)
		if at := record.ModTimeOf(real); !info.ModTime().Equal(at) {
			t.Errorf("%s, %s: %v, want %v", file, when, info.ModTime(), at)
		}
	}
	spoil := func(file string) {
		now := time.Now()
		x.must(os.Chtimes(x.Path(file), now, now))
	}
	want("made", x.a.VariantFile(made.Name, made.Format))
	for when, again := range map[string]func() error{
		"opened": func() error {
			f, err := x.Open(ctx, x.a)
			if err == nil {
				f.Close()
				f, err = x.OpenVariant(ctx, x.a, made.Name, made.Format, nil)
			}
			if err == nil {
				f.Close()
			}
			return err
		},
		"ensured": func() error {
			if err := x.Ensure(ctx, x.a); err != nil {
				return err
			}
			return x.EnsureVariant(ctx, x.a, made.Name, made.Format, nil)
		},
	} {
		spoil(x.a.File())
		spoil(x.a.VariantFile(made.Name, made.Format))
		x.must(again())
		want(when, x.a.File())
		want(when, x.a.VariantFile(made.Name, made.Format))
	}
	spoil(x.a.File())
	x.scrub(scrub.Options{})
	want("scrubbed", x.a.File())
}

// An orphan counts as young by when it was created, not by its derived time, which is long
// ago.
func TestStampedOrphanIsYoung(t *testing.T) {
	x := newScrubbable(t)
	young := record.Image{Bucket: "i", Digest: record.Digest{8}, Info: probe.Info{Format: probe.PNG}}
	x.write(young.File(), "x")
	x.must(os.Chtimes(x.Path(young.File()), record.ModTimeOf(young.File()), record.ModTimeOf(young.File())))
	info, err := os.Stat(x.Path(young.File()))
	x.must(err)
	if got := local.Changed(young.File(), info); time.Since(got) > time.Hour {
		t.Errorf("it is of %v", got)
	}
	old := time.Now().Add(-2 * time.Hour)
	x.must(os.Chtimes(x.Path(young.File()), old, old))
	if info, err = os.Stat(x.Path(young.File())); err != nil || !local.Changed(young.File(), info).Equal(info.ModTime()) {
		t.Errorf("a file without its time is of %v, %v", local.Changed(young.File(), info), err)
	}
}
