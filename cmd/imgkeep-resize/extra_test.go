package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgkeep/bucket/probe"
	"imgkeep/resize"
)

// The formats that are only read.

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// formatOf is the format of a file of testdata.
func formatOf(name string) string { return strings.TrimPrefix(filepath.Ext(name), ".") }

// toBMP writes 24 bits a pixel (Microsoft, Bitmap Storage).
func toBMP(m *image.NRGBA) []byte {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	row := (3*w + 3) / 4 * 4
	b := []byte("BM")
	for _, n := range []int{54 + row*h, 0, 54, 40, w, h, 1 | 24<<16, 0, row * h, 0, 0, 0, 0} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	for y := h - 1; y >= 0; y-- {
		for x := range w {
			c := m.NRGBAAt(x, y)
			b = append(b, c.B, c.G, c.R)
		}
		b = append(b, make([]byte, row-3*w)...)
	}
	return b
}

// quarters are the colours in the middle of the four quarters, from the top left,
// row by row.
func quarters(m image.Image) [4]color.NRGBA {
	w, h := m.Bounds().Dx(), m.Bounds().Dy()
	return [4]color.NRGBA{at(m, w/4, h/4), at(m, w*3/4, h/4), at(m, w/4, h*3/4), at(m, w*3/4, h*3/4)}
}

func checkQuarters(t *testing.T, name string, m image.Image, want [4]color.NRGBA) {
	t.Helper()
	for i, got := range quarters(m) {
		if got.A == 0 && want[i].A == 0 {
			continue
		}
		if !near(got, want[i], 12) {
			t.Errorf("%s: quarter %d is %v, want %v", name, i, got, want[i])
		}
	}
}

// What is made of a format that not every browser shows is a WebP, which has
// transparency and is small; another format where one is asked for.
func TestExtraFormats(t *testing.T) {
	p := newPool(t, resize.Options{})
	whole := [4]color.NRGBA{red, green, blue, yellow}
	for _, c := range []struct {
		file          string
		width, height int
		want          [4]color.NRGBA
	}{
		{"ten.avif", 128, 64, whole},
		{"tiles.avif", 128, 64, whole},
		{"cropped.avif", 64, 64, whole},
		{".bmp", 128, 64, whole},
		{"clear.bmp", 128, 64, whole}, // whose fourth byte nothing says the meaning of
		{"unused.bmp", 128, 64, whole},
		{"lzw.tiff", 128, 64, whole},
		{"tiles.tiff", 128, 64, whole},
		{"pyramid.tiff", 128, 64, whole},
		{"pages.tiff", 128, 64, whole},
		{"separate.tiff", 128, 64, whole},
		{"big.tiff", 128, 64, whole},
		{"lsb.tiff", 128, 64, whole},
		{"deep.tiff", 128, 64, whole},
		{"palette.tiff", 128, 64, whole},
		{"clear.tiff", 128, 64, [4]color.NRGBA{red, clear, blue, clear}},
		{"half.tiff", 128, 64, [4]color.NRGBA{half(red), half(green), half(blue), half(yellow)}},
		{"turned.tiff", 64, 128, shownAs(6)},
		{"clear.heic", 128, 64, [4]color.NRGBA{red, clear, blue, clear}},
		{"clear.avif", 128, 64, [4]color.NRGBA{red, clear, blue, clear}},
		{"plain.jxl", 128, 64, whole},
		{"deep.jxl", 128, 64, whole},
		{"float.jxl", 128, 64, whole},
		{"jpeg.jxl", 128, 64, whole},
		{"clear.jxl", 128, 64, [4]color.NRGBA{red, clear, blue, clear}},
	} {
		format := formatOf(c.file)
		src := toBMP(corners(128, 64))
		if c.file != ".bmp" {
			src = testdata(t, c.file)
		}
		info, err := probe.Read(bytes.NewReader(src), probe.Limits{})
		if w, h := info.Shown(); err != nil || info.Format.String() != format || w != c.width || h != c.height {
			t.Errorf("%s: probe says %+v, %v", c.file, info, err)
		}
		results := many(t, p, format, src, resize.Target{Size: huge, Quality: 95}, resize.Target{Size: size(t, "20x20")}, resize.Target{Size: huge, Format: "png"})
		if results[0].Format != "webp" || results[1].Format != "webp" || results[2].Format != "png" {
			t.Errorf("%s became %s, %s, %s", c.file, results[0].Format, results[1].Format, results[2].Format)
		}
		if w, h := size(t, "20x20").Fit(c.width, c.height); results[1].Width != w || results[1].Height != h {
			t.Errorf("%s became %d x %d", c.file, results[1].Width, results[1].Height)
		}
		for _, i := range []int{0, 2} {
			m := pixels(t, p, results[i])
			if b := m.Bounds(); b.Dx() != c.width || b.Dy() != c.height {
				t.Errorf("%s became %v", c.file, b)
			}
			checkQuarters(t, c.file, m, c.want)
		}
	}
}

// half is a colour half transparent.
func half(c color.NRGBA) color.NRGBA {
	c.A = 128
	return c
}

// The decoder turns an AVIF just as probe says that it is turned, so that all that
// is computed from its sides holds.
func TestTurnedHEIF(t *testing.T) {
	p := newPool(t, resize.Options{})
	for _, file := range []string{"turned.avif", "turned.heic"} {
		src, format := testdata(t, file), formatOf(file)
		irot, imir := bytes.Index(src, []byte("irot"))+4, bytes.Index(src, []byte("imir"))+4
		seen := map[int]bool{}
		for angle := range byte(4) {
			for axis := range byte(2) {
				src[irot], src[imir] = angle, axis
				info, err := probe.Read(bytes.NewReader(src), probe.Limits{})
				if err != nil || info.Width != 128 || info.Height != 64 {
					t.Fatalf("%+v, %v", info, err)
				}
				seen[info.Orientation] = true
				w, h := info.Shown()
				r := one(t, p, format, src, resize.Target{Size: huge, Format: "png"})
				if r.Width != w || r.Height != h {
					t.Errorf("turned by %d, mirrored by %d: %d x %d, and probe says %d x %d", angle, axis, r.Width, r.Height, w, h)
				}
				checkQuarters(t, fmt.Sprintf("turned by %d, mirrored by %d", angle, axis), pixels(t, p, r), shownAs(info.Orientation))
			}
		}
		if len(seen) != 4 { // those that mirror
			t.Errorf("%d orientations", len(seen))
		}
	}
}

// The same of a JPEG XL, whose orientation lies behind its size.
func TestTurnedJXL(t *testing.T) {
	p := newPool(t, resize.Options{})
	src := testdata(t, "turned.jxl")
	at := bytes.Index(src, []byte{0xff, 0x0a}) + 3
	for orientation := 1; orientation <= 8; orientation++ {
		src[at] = src[at]&^(7<<3) | byte(orientation-1)<<3
		info, err := probe.Read(bytes.NewReader(src), probe.Limits{})
		if err != nil || info.Orientation != orientation || info.Width != 128 || info.Height != 64 {
			t.Fatalf("orientation %d: probe says %+v, %v", orientation, info, err)
		}
		w, h := info.Shown()
		r := one(t, p, "jxl", src, resize.Target{Size: huge, Format: "png"})
		if r.Width != w || r.Height != h {
			t.Errorf("orientation %d: %d x %d, and probe says %d x %d", orientation, r.Width, r.Height, w, h)
		}
		checkQuarters(t, fmt.Sprintf("orientation %d", orientation), pixels(t, p, r), shownAs(orientation))
	}
}

// shownAs is what an EXIF orientation makes of corners.
func shownAs(orientation int) [4]color.NRGBA {
	return [...][4]color.NRGBA{
		1: {red, green, blue, yellow}, 2: {green, red, yellow, blue}, 3: {yellow, blue, green, red}, 4: {blue, yellow, red, green},
		5: {red, blue, green, yellow}, 6: {blue, red, yellow, green}, 7: {yellow, green, blue, red}, 8: {green, yellow, red, blue},
	}[orientation]
}

// A format that was not asked for is not read, and its libraries are not there.
func TestExtraFormatsNotAskedFor(t *testing.T) {
	p := newPool(t, resize.Options{Sources: []string{}})
	if s := p.Sources(); len(s) != 0 {
		t.Errorf("it reads %v", s)
	}
	for _, file := range []string{"ten.avif", "plain.jxl"} {
		src := testdata(t, file)
		_, err := p.Resize(t.Context(), bytes.NewReader(src), int64(len(src)),
			resize.Job{Format: formatOf(file), Targets: []resize.Target{{Size: size(t, "20x20")}}})
		if err == nil || !strings.Contains(err.Error(), "has no "+formatOf(file)) {
			t.Errorf("%s: %v", file, err)
		}
		for _, declared := range p.Formats() {
			mustRefuse(t, p, declared, src)
		}
	}
	maps, err := os.ReadFile(filepath.Join("/proc", decoderPID(t), "maps"))
	if err != nil {
		t.Fatal(err)
	}
	// Not libdav1d: Debian 13's librsvg, which libvips is linked with, brings it along.
	for _, library := range []string{"heif", "libjxl", "magick", "Magick", "poppler", "openslide"} {
		if bytes.Contains(maps, []byte(library)) {
			t.Errorf("%s is mapped", library)
		}
	}
}

// Of the modules of libvips that are there, only those are loaded whose formats
// were asked for.
func TestExtraFormatsLoadsNoMore(t *testing.T) {
	newPool(t, resize.Options{})
	maps, err := os.ReadFile(filepath.Join("/proc", decoderPID(t), "maps"))
	if err != nil {
		t.Fatal(err)
	}
	for library, want := range map[string]bool{"vips-heif": true, "vips-jxl": true, "vips-magick": false, "vips-poppler": false, "vips-openslide": false} {
		if bytes.Contains(maps, []byte(library)) != want {
			t.Errorf("%s is mapped: %v", library, !want)
		}
	}
}

func decoderPID(t *testing.T) string {
	t.Helper()
	pid, _ := peak(t)
	return pid
}
