package heif_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgkeep/bucket/probe/heif"
)

// meta returns the body of the meta box of a file of package probe.
func meta(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("../testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	at := bytes.Index(b, []byte("meta"))
	return b[at+4 : at-4+int(binary.BigEndian.Uint32(b[at-4:]))]
}

// read reads a table, and returns the sizes that it has shown and held against a limit.
func read(b []byte, coded string, limit error) (image heif.Image, shown [2]int64, each int, err error) {
	image, err = heif.Read(b, coded, heif.Limits{
		Shown: func(w, h int64) error { shown = [2]int64{w, h}; return limit },
		Each:  func(_, _ int64) error { each++; return nil },
	})
	return image, shown, each, err
}

// The table alone says what there is to know, without the file that it stands in.
func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, coded   string
		width, height int64
		orientation   int
	}{
		{"still.avif", heif.AV1, 17, 11, 1},
		{"alpha.avif", heif.AV1, 17, 11, 1},
		{"turned.avif", heif.AV1, 8, 6, 7},
		{"tiles.avif", heif.AV1, 128, 64, 1},
		{"still.heic", heif.HEVC, 17, 11, 1},
	} {
		image, shown, each, err := read(meta(t, c.name), c.coded, nil)
		if err != nil || shown != [2]int64{c.width, c.height} || image.Orientation != c.orientation || each == 0 {
			t.Errorf("%s: %+v of %v pixels, %d sizes, %v", c.name, image, shown, each, err)
		}
		stat, err := os.Stat(filepath.Join("../testdata", c.name))
		if err != nil || image.End < 1 || image.End > stat.Size() || image.First < 1 || image.First >= image.End {
			t.Errorf("%s: %+v, %v", c.name, image, err)
		}
	}
}

// A limit's error is passed on, with what was found before; and images of the other
// kind are none.
func TestReadRefuses(t *testing.T) {
	tooLarge := errors.New("too large")
	if image, _, _, err := read(meta(t, "turned.avif"), heif.AV1, tooLarge); err != tooLarge || image.Orientation != 7 {
		t.Errorf("%+v, %v", image, err)
	}
	_, _, _, err := read(meta(t, "still.avif"), heif.HEVC, nil)
	if f, ok := errors.AsType[*heif.Fault](err); !ok || !f.Unsupported {
		t.Errorf("AV1 for HEVC: %v", err)
	}
	_, _, _, err = read(nil, heif.AV1, nil)
	if f, ok := errors.AsType[*heif.Fault](err); !ok || f.Unsupported {
		t.Errorf("nothing: %v", err)
	}
}

// FuzzRead: a table makes nothing panic, and what passes makes sense.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"still.avif", "alpha.avif", "turned.avif", "tiles.avif", "exif.avif"} {
		f.Add(meta(f, name), true)
	}
	for _, name := range []string{"still.heic", "exif.heic"} {
		f.Add(meta(f, name), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, av1 bool) {
		coded := heif.HEVC
		if av1 {
			coded = heif.AV1
		}
		image, shown, each, err := read(b, coded, nil)
		if _, ok := errors.AsType[*heif.Fault](err); err != nil && (!ok || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q", err)
		}
		if err == nil && (shown[0] < 1 || shown[1] < 1 || each == 0 || image.Orientation < 1 || image.Orientation > 8 || image.First < 0 || image.End < 0) {
			t.Errorf("%+v of %v pixels", image, shown)
		}
		_ = image.Grid.Check(b)
		image.Colours.OfAV1(b)
	})
}
