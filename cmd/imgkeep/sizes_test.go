package main_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	_ "image/jpeg"
	_ "image/png"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"imgkeep/bucket/probe"
)

// decoded is the picture of an answer.
func (a answer) decoded() image.Image {
	a.t.Helper()
	m, _, err := image.Decode(bytes.NewReader(a.body))
	if err != nil {
		a.t.Fatalf("%s: %v", a.about, err)
	}
	return m
}

// fitted is the size of a picture of w by h in a limit, 0 being none: the ratio
// of the sides kept, the exact fraction rounded once, half up; not enlarged.
func fitted(w, h, limitW, limitH int) (int, int) {
	ratio := big.NewRat(1, 1)
	for _, r := range []struct{ limit, side int }{{limitW, w}, {limitH, h}} {
		if r := big.NewRat(int64(r.limit), int64(r.side)); r.Sign() > 0 && r.Cmp(ratio) < 0 {
			ratio = r
		}
	}
	round := func(side int) int {
		r := new(big.Rat).Mul(big.NewRat(int64(side), 1), ratio)
		r.Add(r, big.NewRat(1, 2))
		return max(1, int(new(big.Int).Quo(r.Num(), r.Denom()).Int64()))
	}
	return round(w), round(h)
}

// A size on the list is exactly that size; one with a side off the list is
// refused, whatever the other side is.
func TestSizes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"sizes": []int{7, 33, 100}})
	pictures := map[string][2]int{"wide": {90, 41}, "high": {13, 200}, "small": {5, 3}, "line": {300, 1}}
	s := w.start()
	for name, side := range pictures {
		source := toPNG(t, corners(side[0], side[1]))
		url := w.origin.serve("/pictures/"+name, source)
		for _, h := range []int{0, 7, 33, 100} {
			for _, width := range []int{0, 7, 33, 100} {
				if h == 0 && width == 0 {
					continue
				}
				size := fmt.Sprintf("%dx%d", h, width)
				switch {
				case h == 0:
					size = fmt.Sprintf("x%d", width)
				case width == 0:
					size = fmt.Sprintf("%dx", h)
				}
				a := s.get(link("i", size, url)).isImage("image/png")
				wantW, wantH := fitted(side[0], side[1], width, h)
				if b := a.decoded().Bounds(); b.Dx() != wantW || b.Dy() != wantH {
					t.Errorf("%s of %v: %dx%d, want %dx%d", size, side, b.Dx(), b.Dy(), wantW, wantH)
				}
			}
		}
	}
	url := w.origin.url("/pictures/wide")
	for _, size := range []string{"8x", "x8", "7x8", "8x7", "7x0", "0x7", "07x", "7x07", "100", "x", "xx", "7x7x7", "1000x1000", "99999x", "100000x", "-7x", "preview"} {
		s.get(link("i", size, url)).isError(http.StatusBadRequest, "size")
	}
	for _, size := range []string{"7X7", "+7x", "7%20x7", "7.0x", "Full"} {
		s.get(link("i", size, url)).isError(http.StatusBadRequest, "malformed")
	}
	s.stop()
}

// A size is in the format of its source, and a picture of the same.
func TestFormats(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.start()
	for _, test := range []struct {
		contentType string
		source      []byte
	}{
		{"image/jpeg", toJPEG(t, corners(80, 60))},
		{"image/png", toPNG(t, corners(80, 60))},
		{"image/gif", toGIF(t, corners(80, 60))},
		{"image/webp", testdata(t, "still.webp")},
	} {
		url := w.origin.serve("/pictures/"+test.contentType, test.source)
		s.get(link("i", "full", url)).isBytes(test.contentType, test.source)
		a := s.get(link("i", "20x50", url)).isImage(test.contentType)
		info, err := probe.Read(bytes.NewReader(a.body), probe.Limits{})
		if err != nil || info.Format.ContentType() != test.contentType || info.Width != 27 || info.Height != 20 {
			t.Errorf("%s: a size is %+v, %v", test.contentType, info, err)
		}
		s.sameHead(a)
		if test.contentType != "image/webp" { // which Go cannot decode
			checkCorners(t, test.contentType, a.decoded(), red, green, blue, yellow)
		}
	}
	s.stop()
}

// A source that not every browser shows is served as it is in full, and gives a
// WebP in every size, also in one that it is not larger than: its size is never the
// original under another name. Where it is not listed, it is no image.
func TestExtraFormats(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"picture.avif", "picture.bmp", "picture.heic", "picture.tiff", "picture.jxl"} {
		src := testdata(t, file)
		info, err := probe.Read(bytes.NewReader(src), probe.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		contentType := info.Format.ContentType()
		w := newWorld(t, settings{"formats": []string{"jpeg", info.Format.String()}, "sizes": []int{20, 50, 100}})
		s := w.start()
		url := w.origin.serve("/pictures/"+file, src)
		s.get(link("i", "full", url)).isBytes(contentType, src)
		for size, want := range map[string][2]int{"20x50": {27, 20}, "100x100": {80, 60}} {
			a := s.get(link("i", size, url)).isImage("image/webp")
			got, err := probe.Read(bytes.NewReader(a.body), probe.Limits{})
			if err != nil || got.Width != want[0] || got.Height != want[1] {
				t.Errorf("%s: %s is %+v, %v", file, size, got, err)
			}
			s.sameHead(a)
		}
		s.stop()

		w = newWorld(t, nil)
		s = w.start()
		s.get(link("i", "full", w.origin.serve("/pictures/"+file, src))).isError(http.StatusUnsupportedMediaType, "type")
		s.stop()
	}
}

// checkCorners checks the colours of the quarters: top left, top right, bottom
// left, bottom right.
func checkCorners(t *testing.T, about string, m image.Image, want ...color.RGBA) {
	t.Helper()
	w, h := m.Bounds().Dx(), m.Bounds().Dy()
	for i, want := range want {
		got := color.RGBAModel.Convert(m.At(w/4+i%2*w/2, h/4+i/2*h/2)).(color.RGBA)
		far := func(a, b uint8) bool { return max(a, b)-min(a, b) > 40 }
		if far(got.R, want.R) || far(got.G, want.G) || far(got.B, want.B) {
			t.Errorf("%s: quarter %d is %v, want %v", about, i, got, want)
		}
	}
}

// An animation stays one at a size, at the same pace.
func TestAnimations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	second := corners(60, 40)
	for i := range second.Pix {
		second.Pix[i] = 3 - second.Pix[i] // turned round
	}
	source := toGIF(t, corners(60, 40), second, corners(60, 40))
	moving := w.origin.serve("/pictures/moving.gif", source)
	webp := w.origin.serve("/pictures/moving.webp", testdata(t, "moving.webp"))
	s := w.start()
	s.get(link("i", "full", moving)).isBytes("image/gif", source)
	a := s.get(link("i", "x50", moving)).isImage("image/gif")
	g, err := gif.DecodeAll(bytes.NewReader(a.body))
	if err != nil || len(g.Image) != 3 || g.Config.Width != 50 || g.Config.Height != 33 || g.LoopCount != 0 || !slices.Equal(g.Delay, []int{100, 100, 100}) {
		t.Fatalf("%d frames of %dx%d, loop %d, delays %v, %v", len(g.Image), g.Config.Width, g.Config.Height, g.LoopCount, g.Delay, err)
	}
	checkCorners(t, "first frame", g.Image[0], red, green, blue, yellow)

	source = testdata(t, "moving.webp")
	s.get(link("i", "full", webp)).isBytes("image/webp", source)
	before, err := probe.Read(bytes.NewReader(source), probe.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	a = s.get(link("i", "x20", webp)).isImage("image/webp")
	info, err := probe.Read(bytes.NewReader(a.body), probe.Limits{})
	if err != nil || info.Width != 20 || info.Frames != before.Frames || info.Frames < 2 {
		t.Errorf("got %+v of %+v, %v", info, before, err)
	}
	s.stop()
}

// A photo that its EXIF block turns is turned before it is made smaller, so that
// a limit on the height is one on the height that is seen; its size has no EXIF
// block any more. The original is left as it is.
func TestOrientation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.start()
	for orientation, want := range map[uint16][]color.RGBA{
		1: {red, green, blue, yellow},
		3: {yellow, blue, green, red},
		6: {blue, red, yellow, green},
		8: {green, yellow, red, blue},
	} {
		about := fmt.Sprintf("orientation %d", orientation)
		source := oriented(toJPEG(t, corners(80, 40)), orientation)
		url := w.origin.serve(fmt.Sprintf("/pictures/%d.jpg", orientation), source)
		s.get(link("i", "full", url)).isBytes("image/jpeg", source)
		a := s.get(link("i", "20x", url)).isImage("image/jpeg")
		m := a.decoded()
		wantW, wantH := 40, 20
		if orientation >= 5 {
			wantW = 10
		}
		if b := m.Bounds(); b.Dx() != wantW || b.Dy() != wantH {
			t.Errorf("%s: %v, want %dx%d", about, b, wantW, wantH)
		}
		checkCorners(t, about, m, want...)
		if bytes.Contains(a.body, []byte("Exif")) {
			t.Errorf("%s: the size has an EXIF block", about)
		}
	}
	s.stop()
}

// Where the original is as small as what would be made, and takes fewer bytes,
// it is what is sent. It is not stored twice.
func TestSmallOriginal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	source := toPNG(t, corners(8, 8))
	url := w.origin.serve("/pictures/dot", source)
	s := w.start()
	s.get(link("i", "10x10", url)).isBytes("image/png", source)
	s.stop()
	w.origin.off()
	w.addGate(func(int) string { return crash })
	s = w.start()
	s.get(link("i", "10x10", url)).isBytes("image/png", source)
	s.stop()
}

// An original that has vanished from disk is fetched again; one that is damaged
// is found out when a size is made of it.
func TestDamage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	source := photo(t, 80, 60)
	url := w.origin.serve("/pictures/cat", source)
	s := w.start()
	s.get(link("i", "full", url)).isBytes("image/jpeg", source)
	file := filepath.Join(w.root(), w.originals("i")[0])
	// Files of the store are immutable: this replaces it, or takes it away.
	damage := func(data []byte) {
		t.Helper()
		err := os.Remove(file)
		if err == nil && data != nil {
			err = os.WriteFile(file, data, 0o444)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	damage(nil)
	s.get(link("i", "full", url)).isBytes("image/jpeg", source)
	damage(source[:100])
	s.get(link("i", "full", url)).isBytes("image/jpeg", source)
	other := bytes.Clone(source)
	other[len(other)/2]++
	damage(other)
	s.get(link("i", "20x20", url)).isImage("image/jpeg")
	s.get(link("i", "full", url)).isBytes("image/jpeg", source)
	if n := w.origin.count("/pictures/cat"); n != 4 {
		t.Errorf("%d fetches, want one and one for each damage", n)
	}
	damage(nil)
	w.origin.refuse("/pictures/cat", http.StatusNotFound)
	s.get(link("i", "full", url)).isError(http.StatusBadGateway, "lost")
	s.stop()
}
