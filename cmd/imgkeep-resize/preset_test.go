package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/png"
	"math"
	"testing"

	"imgkeep/resize"
)

var (
	white = color.NRGBA{255, 255, 255, 255}
	black = color.NRGBA{0, 0, 0, 255}
)

// preset makes a picture by a preset, which is to be valid.
func preset(t testing.TB, p *resize.Pool, format string, src []byte, c resize.Preset) resize.Result {
	t.Helper()
	if errs := c.Check(); len(errs) > 0 {
		t.Fatalf("%+v: %v", c, errs)
	}
	return one(t, p, format, src, resize.Target{Preset: &c})
}

// filled is a picture of one colour.
func filled(w, h int, c color.NRGBA) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	draw.Draw(m, m.Rect, image.NewUniform(c), image.Point{}, draw.Src)
	return m
}

// paint fills a part of a picture.
func paint(m draw.Image, x0, y0, x1, y1 int, c color.NRGBA) {
	draw.Draw(m, image.Rect(x0, y0, x1, y1), image.NewUniform(c), image.Point{}, draw.Src)
}

// columns is a picture whose columns of pixels are gray 0, 1, 2 and so on, so
// that it can be told which of them are left.
func columns(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for x := range w {
		paint(m, x, 0, x+1, h, color.NRGBA{uint8(x), uint8(x), uint8(x), 255})
	}
	return m
}

// turnedRight is a picture turned by a quarter, clockwise.
func turnedRight(m *image.NRGBA) *image.NRGBA {
	b := m.Bounds()
	out := image.NewNRGBA(image.Rect(0, 0, b.Dy(), b.Dx()))
	for y := range b.Dy() {
		for x := range b.Dx() {
			out.SetNRGBA(b.Dy()-1-y, x, m.NRGBAAt(x, y))
		}
	}
	return out
}

// same compares pictures pixel by pixel.
func same(t testing.TB, about string, got image.Image, want *image.NRGBA) {
	t.Helper()
	if got.Bounds() != want.Bounds() {
		t.Errorf("%s: it is %v, want %v", about, got.Bounds(), want.Bounds())
		return
	}
	for y := range want.Rect.Dy() {
		for x := range want.Rect.Dx() {
			if g, w := at(got, x, y), want.NRGBAAt(x, y); g != w && (g.A > 0 || w.A > 0) {
				t.Errorf("%s: at %d, %d it is %v, want %v", about, x, y, g, w)
				return
			}
		}
	}
}

// Each way to fit, for sources that are larger, smaller and of another shape.
// Sides are exact; what is cut off is seen by the corners that are left.
func TestFit(t *testing.T) {
	p := newPool(t, resize.Options{})
	for _, c := range []struct {
		preset       resize.Preset
		w, h         int // of the source
		wantW, wantH int
	}{
		{resize.Preset{}, 80, 60, 80, 60},
		{resize.Preset{Width: 40}, 80, 60, 40, 30},
		{resize.Preset{Height: 20}, 80, 60, 27, 20},
		{resize.Preset{Width: 40, Height: 40}, 80, 60, 40, 30},
		{resize.Preset{Width: 200, Height: 100}, 80, 60, 80, 60},
		{resize.Preset{Width: 200, Height: 100, Enlarge: true}, 80, 60, 133, 100},
		{resize.Preset{Width: 200, Enlarge: true}, 80, 60, 200, 150},
		{resize.Preset{Height: 200, Enlarge: true}, 80, 60, 267, 200},
		{resize.Preset{Width: 40, Height: 40, Fit: "cover"}, 80, 60, 40, 40},
		{resize.Preset{Width: 200, Height: 100, Fit: "cover"}, 80, 60, 80, 40},
		{resize.Preset{Width: 40, Height: 80, Fit: "cover"}, 80, 60, 30, 60},
		{resize.Preset{Width: 200, Height: 100, Fit: "cover", Enlarge: true}, 80, 60, 200, 100},
		{resize.Preset{Width: 40, Height: 40, Fit: "contain"}, 80, 60, 40, 40},
		{resize.Preset{Width: 200, Height: 100, Fit: "contain"}, 80, 60, 200, 100},
		{resize.Preset{Width: 200, Height: 100, Fit: "contain", Enlarge: true}, 80, 60, 200, 100},
		{resize.Preset{Width: 40, Height: 40, Fit: "crop"}, 80, 60, 40, 40},
		{resize.Preset{Width: 40, Fit: "crop"}, 80, 60, 40, 60},
		{resize.Preset{Width: 200, Height: 20, Fit: "crop"}, 80, 60, 80, 20},
		{resize.Preset{Width: 40, Height: 40, Fit: "cover"}, 10000, 1, 1, 1},
		{resize.Preset{Width: 40, Height: 40, Fit: "cover", Enlarge: true}, 10000, 1, 40, 40},
		{resize.Preset{Width: 40, Height: 40, Fit: "contain"}, 1, 10000, 40, 40},
		{resize.Preset{Width: 7, Height: 5, Enlarge: true}, 1, 1, 5, 5},
	} {
		if c.w == 10000 && c.preset.Enlarge {
			continue // too many pixels: see TestPresetLimits
		}
		c.preset.Format = "png"
		m := pixels(t, p, preset(t, p, "png", toPNG(t, corners(c.w, c.h)), c.preset))
		if b := m.Bounds(); b.Dx() != c.wantW || b.Dy() != c.wantH {
			t.Errorf("%+v of %dx%d: %v, want %dx%d", c.preset, c.w, c.h, b, c.wantW, c.wantH)
		}
	}
}

// What cover and contain do with what is over, on each axis: the whole of the
// other side is there, and what is cut off is as much on either side.
func TestCoverAndContain(t *testing.T) {
	p := newPool(t, resize.Options{})
	wide := toPNG(t, columns(200, 100))
	m := pixels(t, p, preset(t, p, "png", wide, resize.Preset{Width: 100, Height: 100, Fit: "cover"}))
	if l, r := at(m, 0, 50), at(m, 99, 50); l.R != 50 || r.R != 149 {
		t.Errorf("cover: from %v to %v, want from 50 to 149", l, r)
	}
	m = pixels(t, p, preset(t, p, "png", toPNG(t, turnedRight(columns(200, 100))), resize.Preset{Width: 100, Height: 100, Fit: "cover"}))
	if l, r := at(m, 50, 0), at(m, 50, 99); l.R != 50 || r.R != 149 {
		t.Errorf("cover, upright: from %v to %v, want from 50 to 149", l, r)
	}
	m = pixels(t, p, preset(t, p, "png", toPNG(t, corners(80, 40)), resize.Preset{Width: 100, Height: 60, Fit: "contain", Background: "#102030"}))
	want := filled(100, 60, color.NRGBA{16, 32, 48, 255})
	draw.Draw(want, image.Rect(10, 10, 90, 50), corners(80, 40), image.Point{}, draw.Src)
	same(t, "contain", m, want)
	m = pixels(t, p, preset(t, p, "png", toPNG(t, corners(80, 40)), resize.Preset{Width: 30, Height: 20, Fit: "crop"}))
	want = corners(80, 40).SubImage(image.Rect(25, 10, 55, 30)).(*image.NRGBA)
	moved := image.NewNRGBA(image.Rect(0, 0, 30, 20))
	draw.Draw(moved, moved.Rect, want, image.Pt(25, 10), draw.Src)
	same(t, "crop", m, moved)
}

// Gravity says which part stays, and where a contained picture stands.
func TestGravity(t *testing.T) {
	p := newPool(t, resize.Options{})
	source := image.NewNRGBA(image.Rect(0, 0, 100, 60))
	for y := range 60 {
		for x := range 100 {
			source.SetNRGBA(x, y, color.NRGBA{uint8(x), uint8(y), 200, 255})
		}
	}
	src := toPNG(t, source)
	for gravity, c := range map[string]struct{ x, y int }{
		"": {35, 20}, "centre": {35, 20}, "north": {35, 0}, "northeast": {70, 0}, "east": {70, 20}, "southeast": {70, 40},
		"south": {35, 40}, "southwest": {0, 40}, "west": {0, 20}, "northwest": {0, 0},
	} {
		m := pixels(t, p, preset(t, p, "png", src, resize.Preset{Width: 30, Height: 20, Fit: "crop", Gravity: gravity}))
		if got, want := at(m, 0, 0), (color.NRGBA{uint8(c.x), uint8(c.y), 200, 255}); got != want {
			t.Errorf("crop, %s: begins at %v, want %v", gravity, got, want)
		}
		m = pixels(t, p, preset(t, p, "png", src, resize.Preset{Width: 170, Height: 100, Fit: "contain", Gravity: gravity}))
		for _, d := range []struct{ x, y int }{{0, 0}, {99, 59}} {
			if got, want := at(m, c.x+d.x, c.y+d.y), source.NRGBAAt(d.x, d.y); got != want {
				t.Errorf("contain, %s: at %d, %d there is %v, want %v", gravity, c.x+d.x, c.y+d.y, got, want)
			}
		}
	}
}

// Smart gravity finds what draws the eye, wherever it is.
func TestSmartGravity(t *testing.T) {
	p := newPool(t, resize.Options{})
	for _, x := range []int{20, 200, 380} {
		m := filled(480, 120, color.NRGBA{120, 125, 130, 255})
		for i := range 80 { // a bright pattern
			paint(m, x+i%10*8, 20+i/10*10, x+i%10*8+5, 20+i/10*10+6, color.NRGBA{250, uint8(40 + i), 30, 255})
		}
		for _, format := range []string{"png", "jpeg"} {
			src := toPNG(t, m)
			if format == "jpeg" {
				src = toJPEG(t, m)
			}
			got := pixels(t, p, preset(t, p, format, src, resize.Preset{Width: 120, Height: 120, Fit: "cover", Gravity: "smart"}))
			red := 0
			for i := range 120 * 120 {
				if c := at(got, i%120, i/120); c.R > 200 && c.B < 100 {
					red++
				}
			}
			if red < 80*30*6/10 { // a JPEG smears colours
				t.Errorf("%s: of the pattern at %d, %d pixels are left, want %d", format, x, red, 80*30)
			}
		}
	}
}

// What lies behind: nothing where the format can say so, white in a JPEG, or the
// colour that is asked for, which also shows through what is transparent.
func TestBackground(t *testing.T) {
	p := newPool(t, resize.Options{})
	half := filled(40, 40, color.NRGBA{255, 0, 0, 128})
	box := resize.Preset{Width: 60, Height: 40, Fit: "contain"}
	for _, c := range []struct {
		source               image.Image
		format, background   string
		wantEdge, wantInside color.NRGBA
		tolerance            int
	}{
		{half, "png", "", clear, color.NRGBA{255, 0, 0, 128}, 0},
		{half, "webp", "", clear, color.NRGBA{255, 0, 0, 128}, 6},
		{half, "jpeg", "", white, color.NRGBA{255, 127, 127, 255}, 4},
		{half, "png", "#0000ff", blue, color.NRGBA{128, 0, 127, 255}, 0},
		{half, "jpeg", "#0000ff", blue, color.NRGBA{128, 0, 127, 255}, 12},
		{filled(40, 40, red), "png", "", clear, red, 0},
		{filled(40, 40, red), "png", "#00ff00", green, red, 0},
		{filled(40, 40, red), "jpeg", "", white, red, 4},
		{image.NewGray(image.Rect(0, 0, 40, 40)), "png", "", clear, black, 0},
		{image.NewGray(image.Rect(0, 0, 40, 40)), "jpeg", "", white, black, 3},
		{image.NewGray(image.Rect(0, 0, 40, 40)), "png", "#ff0000", red, black, 0},
		{image.NewGray(image.Rect(0, 0, 40, 40)), "png", "#ffffff", white, black, 0},
	} {
		box.Format, box.Background = c.format, c.background
		box.JPEGQuality, box.WebPQuality = 0, 0
		if c.format == "jpeg" {
			box.JPEGQuality = 98
		}
		m := pixels(t, p, preset(t, p, "png", toPNG(t, c.source), box))
		about := fmt.Sprintf("%T to %s on %q", c.source, c.format, c.background)
		if got := at(m, 2, 20); !near(got, c.wantEdge, c.tolerance) {
			t.Errorf("%s: beside it there is %v, want %v", about, got, c.wantEdge)
		}
		if got := at(m, 30, 20); !near(got, c.wantInside, c.tolerance) {
			t.Errorf("%s: in it there is %v, want %v", about, got, c.wantInside)
		}
	}
}

// Rotating and flipping move pixels and change none. The box is that of the
// turned picture; EXIF's orientation comes first.
func TestRotateAndFlip(t *testing.T) {
	p := newPool(t, resize.Options{})
	R, G, B, Y := red, green, blue, yellow
	source := corners(60, 40)
	for _, c := range []struct {
		rotate int
		flip   string
		want   [4]color.NRGBA
	}{
		{0, "", [4]color.NRGBA{R, G, B, Y}}, {90, "", [4]color.NRGBA{B, R, Y, G}}, {180, "", [4]color.NRGBA{Y, B, G, R}}, {270, "", [4]color.NRGBA{G, Y, R, B}},
		{0, "horizontal", [4]color.NRGBA{G, R, Y, B}}, {0, "vertical", [4]color.NRGBA{B, Y, R, G}}, {0, "both", [4]color.NRGBA{Y, B, G, R}},
		{90, "horizontal", [4]color.NRGBA{R, B, G, Y}}, {90, "vertical", [4]color.NRGBA{Y, G, B, R}}, {270, "both", [4]color.NRGBA{B, R, Y, G}},
	} {
		about := fmt.Sprintf("rotate %d, flip %q", c.rotate, c.flip)
		m := pixels(t, p, preset(t, p, "png", toPNG(t, source), resize.Preset{Rotate: c.rotate, Flip: c.flip}))
		w, h := 60, 40
		if c.rotate%180 != 0 {
			w, h = h, w
		}
		want := image.NewNRGBA(image.Rect(0, 0, w, h))
		for i, q := range c.want {
			paint(want, i%2*w/2, i/2*h/2, (i%2+1)*w/2, (i/2+1)*h/2, q)
		}
		same(t, about, m, want)
		// 30 wide, after turning.
		m = pixels(t, p, preset(t, p, "png", toPNG(t, source), resize.Preset{Width: 30, Rotate: c.rotate, Flip: c.flip}))
		if wantH := 30 * h / w; m.Bounds().Dx() != 30 || m.Bounds().Dy() != wantH {
			t.Errorf("%s: %v, want 30 by %d", about, m.Bounds(), wantH)
		}
		for i, q := range c.want {
			if got := at(m, 5+i%2*20, (1+2*(i/2))*m.Bounds().Dy()/4); !near(got, q, 2) {
				t.Errorf("%s, smaller: quarter %d is %v, want %v", about, i, got, q)
			}
		}
	}
	// Shown, this is blue, red above yellow, green; a quarter more turns it upside down.
	turned := orient(t, "png", toPNG(t, source), 60, 40, 6)
	m := pixels(t, p, preset(t, p, "png", turned, resize.Preset{Rotate: 90}))
	for i, q := range [4]color.NRGBA{Y, B, G, R} {
		if got := at(m, 15+i%2*30, 10+i/2*20); got != q {
			t.Errorf("orientation 6, and rotated: quarter %d is %v, want %v", i, got, q)
		}
	}
}

// A blurred edge is the integral of the Gauss function, which also says how far
// it is blurred. Transparent pixels lend no colour.
func TestBlur(t *testing.T) {
	p := newPool(t, resize.Options{})
	m := filled(120, 40, black)
	paint(m, 60, 0, 120, 40, white)
	for _, sigma := range []float64{1, 2, 8} {
		got := pixels(t, p, preset(t, p, "png", toPNG(t, m), resize.Preset{Blur: sigma}))
		for x := 40; x < 80; x++ {
			want := 255 * 0.5 * (1 + math.Erf((float64(x)+0.5-60)/(sigma*math.Sqrt2)))
			if g := float64(at(got, x, 20).G); math.Abs(g-want) > 5 {
				t.Errorf("sigma %v: at %d there is %.0f, want %.1f", sigma, x, g, want)
			}
		}
	}
	m = filled(60, 40, color.NRGBA{0, 255, 0, 0}) // green, and not to be seen
	paint(m, 30, 0, 60, 40, red)
	got := pixels(t, p, preset(t, p, "png", toPNG(t, m), resize.Preset{Blur: 3}))
	if c := at(got, 30, 20); c.A < 100 || c.A > 160 {
		t.Errorf("the edge is not blurred: %v", c)
	}
	for x := range 60 {
		if c := at(got, x, 20); c.A > 8 && (c.G > 4 || c.R < 250) {
			t.Errorf("at %d there is %v: a fringe", x, c)
		}
	}
}

// Sharpening darkens the dark side of an edge and lightens the other, in
// proportion to the difference to the blurred picture, and leaves areas alone.
func TestSharpen(t *testing.T) {
	p := newPool(t, resize.Options{})
	m := filled(120, 40, color.NRGBA{100, 100, 100, 255})
	paint(m, 60, 0, 120, 40, color.NRGBA{150, 150, 150, 255})
	got := pixels(t, p, preset(t, p, "png", toPNG(t, m), resize.Preset{Sharpen: 2}))
	for x := 40; x < 80; x++ {
		before := float64(m.NRGBAAt(x, 20).G)
		blurred := 100 + 50*0.5*(1+math.Erf((float64(x)+0.5-60)/(2*math.Sqrt2)))
		if g, want := float64(at(got, x, 20).G), 2*before-blurred; math.Abs(g-want) > 2 {
			t.Errorf("at %d there is %.0f, want %.1f", x, g, want)
		}
	}
	m = filled(60, 40, color.NRGBA{0, 255, 0, 0})
	paint(m, 30, 0, 60, 40, color.NRGBA{200, 100, 50, 255})
	got = pixels(t, p, preset(t, p, "png", toPNG(t, m), resize.Preset{Sharpen: 3}))
	for x := 30; x < 60; x++ {
		if c := at(got, x, 20); !near(c, color.NRGBA{200, 100, 50, 255}, 2) {
			t.Errorf("beside what is transparent, at %d, there is %v", x, c)
		}
	}
}

func TestBrightnessAndContrast(t *testing.T) {
	p := newPool(t, resize.Options{})
	source := toPNG(t, columns(256, 4))
	for _, c := range []struct{ brightness, contrast int }{{10, 0}, {-10, 0}, {100, 0}, {-100, 0}, {0, 20}, {0, -20}, {0, 100}, {0, -100}, {15, 30}} {
		m := pixels(t, p, preset(t, p, "png", source, resize.Preset{Brightness: c.brightness, Contrast: c.contrast}))
		for _, x := range []int{0, 20, 100, 127, 128, 180, 255} {
			want := (float64(x)-127.5)*(1+float64(c.contrast)/100) + 127.5 + 2.55*float64(c.brightness)
			want = min(max(want, 0), 255)
			if got := float64(at(m, x, 2).R); math.Abs(got-want) > 1 {
				t.Errorf("brightness %d, contrast %d: %d became %.0f, want %.1f", c.brightness, c.contrast, x, got, want)
			}
		}
	}
	// What is transparent stays so.
	m := pixels(t, p, preset(t, p, "png", toPNG(t, filled(20, 20, color.NRGBA{100, 100, 100, 90})), resize.Preset{Brightness: 20}))
	if got := at(m, 10, 10); got != (color.NRGBA{151, 151, 151, 90}) {
		t.Errorf("with alpha: %v", got)
	}
}

// Borders go, to the pixel, in colours that differ by no more than is allowed;
// what is left is fitted. A picture that is all border stays whole.
func TestTrim(t *testing.T) {
	p := newPool(t, resize.Options{})
	border := color.NRGBA{240, 240, 240, 255}
	m := filled(100, 80, border)
	paint(m, 90, 0, 100, 80, color.NRGBA{236, 240, 244, 255})
	draw.Draw(m, image.Rect(17, 9, 77, 49), corners(60, 40), image.Point{}, draw.Src)
	same(t, "within the tolerance", pixels(t, p, preset(t, p, "png", toPNG(t, m), resize.Preset{Trim: 4})), corners(60, 40))
	if b := pixels(t, p, preset(t, p, "png", toPNG(t, m), resize.Preset{Trim: 3})).Bounds(); b.Dx() != 83 || b.Dy() != 80 {
		t.Errorf("beyond the tolerance: %v", b)
	}
	r := preset(t, p, "png", toPNG(t, m), resize.Preset{Trim: 4, Width: 30, Height: 30, Fit: "cover"})
	if r.Width != 30 || r.Height != 30 || at(pixels(t, p, r), 0, 0) != red {
		t.Errorf("and covered: %dx%d, %v", r.Width, r.Height, at(pixels(t, p, r), 0, 0))
	}
	// Turned by EXIF, as a JPEG, whose noise is in the tolerance.
	photo := orient(t, "jpeg", toJPEG(t, m), 100, 80, 6)
	r = preset(t, p, "jpeg", photo, resize.Preset{Trim: 40})
	if w, h := r.Width, r.Height; w < 40 || w > 44 || h < 60 || h > 64 {
		t.Errorf("turned: %dx%d, want about 40x60", w, h)
	}
	if got := at(pixels(t, p, r), 10, 10); !near(got, blue, 20) {
		t.Errorf("turned: top left is %v", got)
	}
	hidden := filled(50, 50, color.NRGBA{1, 2, 3, 0})
	paint(hidden, 0, 0, 50, 9, color.NRGBA{200, 0, 0, 0})
	paint(hidden, 10, 11, 30, 40, blue)
	same(t, "transparent border", pixels(t, p, preset(t, p, "png", toPNG(t, hidden), resize.Preset{Trim: 1})), filled(20, 29, blue))
	same(t, "nothing but border", pixels(t, p, preset(t, p, "png", toPNG(t, filled(30, 20, red)), resize.Preset{Trim: 10})), filled(30, 20, red))
	deep := image.NewNRGBA64(image.Rect(0, 0, 30, 30))
	draw.Draw(deep, deep.Rect, image.NewUniform(border), image.Point{}, draw.Src)
	draw.Draw(deep, image.Rect(5, 6, 25, 16), image.NewUniform(blue), image.Point{}, draw.Src)
	same(t, "16 bits", pixels(t, p, preset(t, p, "png", toPNG(t, deep), resize.Preset{Trim: 5})), filled(20, 10, blue))
	// Beside targets that are not trimmed, in one job.
	results := many(t, p, "png", toPNG(t, m), resize.Target{Preset: &resize.Preset{Trim: 4}}, resize.Target{Size: huge}, resize.Target{Preset: &resize.Preset{Trim: 3}})
	for i, want := range []int{60, 100, 83} {
		if results[i].Width != want {
			t.Errorf("in one job: result %d is %d wide, want %d", i, results[i].Width, want)
		}
	}
}

func TestPadding(t *testing.T) {
	p := newPool(t, resize.Options{})
	m := pixels(t, p, preset(t, p, "png", toPNG(t, corners(40, 20)), resize.Preset{Background: "#123456", Padding: resize.Padding{Top: 1, Right: 2, Bottom: 3, Left: 4}}))
	want := filled(46, 24, color.NRGBA{0x12, 0x34, 0x56, 255})
	draw.Draw(want, image.Rect(4, 1, 44, 21), corners(40, 20), image.Point{}, draw.Src)
	same(t, "around", m, want)
	// The box is that of the picture within.
	r := preset(t, p, "png", toPNG(t, corners(40, 20)), resize.Preset{Width: 20, Height: 20, Fit: "contain", Padding: resize.Padding{Top: 5, Right: 5, Bottom: 5, Left: 5}})
	if r.Width != 30 || r.Height != 30 {
		t.Errorf("with a box: %dx%d", r.Width, r.Height)
	}
}

// A watermark stands where it should, as large and as strong as it should.
func TestWatermark(t *testing.T) {
	p := newPool(t, resize.Options{})
	mark := toPNG(t, corners(20, 10))
	on := func(source []byte, m resize.Watermark, c resize.Preset) image.Image {
		t.Helper()
		m.Format, m.Picture = "png", mark
		if bytes.HasPrefix(m.Picture, []byte("\xff\xd8")) {
			m.Format = "jpeg"
		}
		c.Watermark = &m
		return pixels(t, p, preset(t, p, "png", source, c))
	}
	ground := toPNG(t, filled(100, 60, black))
	for position, at := range map[string]image.Point{
		"": {80, 50}, "southeast": {80, 50}, "south": {40, 50}, "southwest": {0, 50}, "west": {0, 25}, "northwest": {0, 0},
		"north": {40, 0}, "northeast": {80, 0}, "east": {80, 25}, "centre": {40, 25},
	} {
		want := filled(100, 60, black)
		draw.Draw(want, image.Rect(0, 0, 20, 10).Add(at), corners(20, 10), image.Point{}, draw.Src)
		same(t, "position "+position, on(ground, resize.Watermark{Position: position}, resize.Preset{}), want)
	}
	want := filled(100, 60, black)
	draw.Draw(want, image.Rect(73, 43, 93, 53), corners(20, 10), image.Point{}, draw.Src)
	same(t, "margin", on(ground, resize.Watermark{Margin: 7}, resize.Preset{}), want)

	m := on(ground, resize.Watermark{Position: "northwest", Scale: 50}, resize.Preset{})
	for _, c := range []struct {
		x, y int
		want color.NRGBA
	}{{12, 6, red}, {37, 6, green}, {12, 19, blue}, {37, 19, yellow}, {52, 6, black}, {12, 27, black}} {
		if got := at(m, c.x, c.y); !near(got, c.want, 4) {
			t.Errorf("half as wide: at %d, %d there is %v, want %v", c.x, c.y, got, c.want)
		}
	}
	m = on(toPNG(t, filled(100, 60, color.NRGBA{0, 0, 200, 255})), resize.Watermark{Opacity: 25}, resize.Preset{})
	if got := at(m, 82, 51); !near(got, color.NRGBA{64, 0, 150, 255}, 1) {
		t.Errorf("a quarter as strong: %v", got)
	}
	// On what is transparent it has its own colour.
	m = on(toPNG(t, filled(100, 60, color.NRGBA{0, 0, 200, 0})), resize.Watermark{Opacity: 50}, resize.Preset{})
	if got := at(m, 82, 51); !near(got, color.NRGBA{255, 0, 0, 128}, 1) {
		t.Errorf("on nothing: %v", got)
	}
	m = on(toPNG(t, filled(100, 60, color.NRGBA{0, 0, 200, 128})), resize.Watermark{Opacity: 50}, resize.Preset{})
	if got := at(m, 82, 51); !near(got, color.NRGBA{170, 0, 66, 192}, 2) {
		t.Errorf("on what is half transparent: %v", got)
	}
	// On gray, in colour; on padding; and on the result, not on the source.
	m = on(toPNG(t, image.NewGray(image.Rect(0, 0, 100, 60))), resize.Watermark{}, resize.Preset{Rotate: 90, Padding: resize.Padding{Right: 30}, Background: "#ffffff"})
	if got := at(m, 72, 91); got != red || m.Bounds().Dx() != 90 {
		t.Errorf("on padding: %v in %v", got, m.Bounds())
	}
	// Larger than the picture: it is made smaller; and there may be no room at all.
	m = on(toPNG(t, filled(8, 8, black)), resize.Watermark{}, resize.Preset{})
	if got := at(m, 7, 7); near(got, black, 50) {
		t.Errorf("on a small picture: %v", got)
	}
	same(t, "no room", on(toPNG(t, filled(8, 8, black)), resize.Watermark{Margin: 4}, resize.Preset{}), filled(8, 8, black))
	// In an animation, on every frame.
	w := resize.Watermark{Format: "png", Picture: mark, Position: "northwest"}
	got := playGIF(t, preset(t, p, "gif", toGIF(t, animation(120, 80, 4, 0, false)), resize.Preset{Watermark: &w}).Data)
	if len(got.frames) != 4 {
		t.Fatalf("%d frames", len(got.frames))
	}
	for f, m := range got.frames {
		if c := at(m, 3, 3); !near(c, red, 8) {
			t.Errorf("frame %d: %v", f, c)
		}
	}
	// What is wrong with a watermark is not the image's fault; but the decoder is
	// replaced, since it says that of itself.
	broken := resize.Watermark{Format: "png", Picture: mark[:40]}
	q, err := resize.NewPool(resize.Options{Command: []string{decoder}, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	_, err = q.Resize(context.Background(), bytes.NewReader(ground), int64(len(ground)), resize.Job{Format: "png", Targets: []resize.Target{{Preset: &resize.Preset{Watermark: &broken}}}})
	if !errors.Is(err, resize.ErrCrashed) {
		t.Errorf("a broken watermark: %v", err)
	}
}

// The format and its quality are the preset's.
func TestPresetFormat(t *testing.T) {
	p := newPool(t, resize.Options{})
	source := toPNG(t, noise(80, 60))
	for _, format := range []string{"", "jpeg", "png", "gif", "webp"} {
		r := preset(t, p, "png", source, resize.Preset{Format: format})
		if want := format; want == "" && r.Format != "png" || want != "" && r.Format != want {
			t.Errorf("format %q: %s", format, r.Format)
		}
		pixels(t, p, r)
	}
	sizes := func(c resize.Preset, source string, qualities func(*resize.Preset, int)) []int {
		src := toPNG(t, noise(80, 60))
		if source == "jpeg" {
			src = toJPEG(t, noise(80, 60))
		}
		var all []int
		for _, q := range []int{20, 80, 0, 95} {
			qualities(&c, q)
			all = append(all, len(preset(t, p, source, src, c).Data))
		}
		return all
	}
	for about, n := range map[string][]int{
		"jpeg":      sizes(resize.Preset{Format: "jpeg"}, "png", func(c *resize.Preset, q int) { c.JPEGQuality = q }),
		"webp":      sizes(resize.Preset{Format: "webp"}, "png", func(c *resize.Preset, q int) { c.WebPQuality = q }),
		"as source": sizes(resize.Preset{WebPQuality: 50}, "jpeg", func(c *resize.Preset, q int) { c.JPEGQuality = q }),
	} {
		if !(n[0] < n[1] && n[1] == n[2] && n[2] < n[3]) {
			t.Errorf("%s: %d bytes at 20, %d at 80, %d by default, %d at 95", about, n[0], n[1], n[2], n[3])
		}
	}
}

// A progressive JPEG has SOF2 (ITU-T T.81, table B.1), an interlaced PNG says so
// in IHDR.
func TestProgressive(t *testing.T) {
	p := newPool(t, resize.Options{})
	for _, progressive := range []bool{false, true} {
		r := preset(t, p, "png", toPNG(t, noise(80, 60)), resize.Preset{Format: "jpeg", Progressive: progressive})
		if got := bytes.Contains(r.Data, []byte{0xff, 0xc2, 0, 17}); got != progressive {
			t.Errorf("JPEG: progressive is %v, want %v", got, progressive)
		}
		for about, source := range map[string]image.Image{"PNG": noise(80, 60), "PNG with a palette": still(corners(80, 60)).Image[0]} {
			r = preset(t, p, "png", toPNG(t, source), resize.Preset{Progressive: progressive})
			if got := r.Data[28] == 1; got != progressive {
				t.Errorf("%s: interlaced is %v, want %v", about, got, progressive)
			}
		}
	}
}

// Quality goes down until the file fits, and no further.
func TestMaxBytes(t *testing.T) {
	p := newPool(t, resize.Options{})
	source := toPNG(t, noise(240, 180))
	for _, format := range []string{"jpeg", "webp"} {
		at := func(q int) resize.Preset {
			if format == "jpeg" {
				return resize.Preset{Format: format, JPEGQuality: q}
			}
			return resize.Preset{Format: format, WebPQuality: q}
		}
		full := len(preset(t, p, "png", source, at(90)).Data)
		fits, over := len(preset(t, p, "png", source, at(40)).Data), len(preset(t, p, "png", source, at(50)).Data)
		if fits >= over || over >= full {
			t.Fatalf("%s: %d, %d, %d bytes show nothing", format, fits, over, full)
		}
		for _, limit := range []int{full, full - 1, over, fits} {
			c := at(90)
			c.MaxBytes = int64(limit)
			got := len(preset(t, p, "png", source, c).Data)
			exact := limit == full && got == full || limit == over && got == over || limit == fits && got == fits || limit == full-1
			if format == "webp" { // whose steps are uneven
				exact = got > limit*9/10
			}
			if got > limit || !exact {
				t.Errorf("%s: %d bytes within %d", format, got, limit)
			}
		}
		c := at(90)
		c.MaxBytes = 1 << 10 // less than it has at quality 1
		_, err := p.Resize(context.Background(), bytes.NewReader(source), int64(len(source)), resize.Job{Format: "png", Targets: []resize.Target{{Preset: &c}}})
		if blame, ok := errors.AsType[*resize.ImageError](err); !ok || !blame.TooLarge {
			t.Errorf("%s: what cannot fit: %v", format, err)
		}
	}
	// An animation as a whole.
	moving := toGIF(t, animation(120, 80, 6, 0, false))
	most := len(preset(t, p, "gif", moving, resize.Preset{Format: "webp", WebPQuality: 100}).Data)
	r := preset(t, p, "gif", moving, resize.Preset{Format: "webp", WebPQuality: 100, MaxBytes: int64(most - 1)})
	if r.Frames != 6 || len(r.Data) >= most {
		t.Errorf("animation: %d frames, %d bytes, not below %d", r.Frames, len(r.Data), most)
	}
}

// An animation stays one, or gives its first frame; and what is done to it is
// done to every frame alike.
func TestPresetAnimations(t *testing.T) {
	p := newPool(t, resize.Options{})
	source := toGIF(t, animation(240, 120, 6, 2, false))
	want := playGIF(t, source)
	for _, c := range []struct {
		preset resize.Preset
		frames int
	}{
		{resize.Preset{}, 6}, {resize.Preset{Animated: "keep"}, 6}, {resize.Preset{Animated: "first"}, 1},
		{resize.Preset{Format: "webp"}, 6}, {resize.Preset{Format: "webp", Animated: "first"}, 1}, {resize.Preset{Format: "png"}, 1},
		{resize.Preset{Trim: 3}, 1},
	} {
		if r := preset(t, p, "gif", source, c.preset); r.Frames != c.frames {
			t.Errorf("%+v: %d frames, want %d", c.preset, r.Frames, c.frames)
		}
	}
	got := playGIF(t, preset(t, p, "gif", source, resize.Preset{Width: 60, Height: 120, Fit: "cover", Gravity: "west", Flip: "horizontal"}).Data)
	if len(got.frames) != 6 || fmt.Sprint(got.delays) != fmt.Sprint(want.delays) || got.loop != want.loop {
		t.Fatalf("%d frames, delays %v, loop %d; want 6, %v, %d", len(got.frames), got.delays, got.loop, want.delays, want.loop)
	}
	// The west of the mirrored picture is the right quarter, in which the box ends.
	for f, m := range got.frames {
		for _, x := range []int{10, 50} {
			want := at(want.frames[f], 239-x, 60)
			if c := at(m, x, 60); !near(c, want, 16) {
				t.Errorf("frame %d at %d: %v, want %v", f, x, c, want)
			}
		}
	}
	// A smart window does not follow what moves: the ground, which is brighter to
	// the right, stands still.
	ground := make(color.Palette, 256)
	for i := range ground {
		ground[i] = color.Gray{uint8(i)}
	}
	ground[255] = red
	g := &gif.GIF{}
	for f := range 5 {
		m := image.NewPaletted(image.Rect(0, 0, 240, 120), ground)
		for i := range m.Pix {
			m.Pix[i] = uint8(i % 240)
		}
		for i := range 40 * 60 {
			m.SetColorIndex(f*50+i%40, 30+i/40, 255)
		}
		g.Image, g.Delay = append(g.Image, m), append(g.Delay, 10)
	}
	got = playGIF(t, preset(t, p, "gif", toGIF(t, g), resize.Preset{Width: 100, Height: 100, Fit: "cover", Gravity: "smart"}).Data)
	first := at(got.frames[0], 50, 5)
	for f, m := range got.frames {
		if c := at(m, 50, 5); !near(c, first, 10) {
			t.Errorf("smart: frame %d has %v at its top, the first %v", f, c, first)
		}
	}
}

// A preset cannot make the decoder work without end: on both sides of each limit.
func TestPresetLimits(t *testing.T) {
	p := newPool(t, resize.Options{MaxPixels: 1_000_000, AnimationPixels: 1_000_000})
	try := func(source image.Image, c resize.Preset) error {
		t.Helper()
		src := toPNG(t, source)
		_, err := p.Resize(context.Background(), bytes.NewReader(src), int64(len(src)), resize.Job{Format: "png", Targets: []resize.Target{{Preset: &c}}})
		return err
	}
	for _, c := range []struct {
		about  string
		w, h   int
		preset resize.Preset
		ok     bool
	}{
		{"enlarged to the limit", 10, 10, resize.Preset{Width: 1000, Height: 1000, Enlarge: true}, true},
		{"enlarged beyond", 10, 10, resize.Preset{Width: 1001, Height: 1001, Enlarge: true}, false},
		{"padded to the limit", 998, 998, resize.Preset{Padding: resize.Padding{Top: 1, Right: 1, Bottom: 1, Left: 1}}, true},
		{"padded beyond", 998, 998, resize.Preset{Padding: resize.Padding{Top: 2, Right: 2, Bottom: 1, Left: 1}}, false},
		{"a line that covers a box", 10000, 1, resize.Preset{Width: 40, Height: 40, Fit: "cover", Enlarge: true}, false},
		{"a short line that covers a box", 600, 1, resize.Preset{Width: 40, Height: 40, Fit: "cover", Enlarge: true}, true},
	} {
		err := try(filled(c.w, c.h, red), c.preset)
		blame, refused := errors.AsType[*resize.ImageError](err)
		if c.ok && err != nil || !c.ok && (!refused || !blame.TooLarge) {
			t.Errorf("%s: %v", c.about, err)
		}
	}
	// 2^30 / (2 + 12*20) is 4,436,928 pixels.
	p = newPool(t, resize.Options{})
	if err := try(filled(2106, 2106, red), resize.Preset{Blur: 20}); err != nil {
		t.Errorf("blurred to the limit: %v", err)
	}
	if err := try(filled(2107, 2107, red), resize.Preset{Blur: 20}); err == nil {
		t.Error("blurred beyond the limit")
	}
	// An animation over it keeps its first frame.
	moving := toGIF(t, animation(1000, 800, 6, 0, false))
	for sigma, frames := range map[float64]int{18: 6, 19: 1} {
		if r := preset(t, p, "gif", moving, resize.Preset{Blur: sigma}); r.Frames != frames {
			t.Errorf("an animation blurred by %v: %d frames, want %d", sigma, r.Frames, frames)
		}
	}
}

// All of it at once, beside sizes, from one decoding; and each as it would be
// alone.
func TestPresetsTogether(t *testing.T) {
	p := newPool(t, resize.Options{})
	src := toPNG(t, corners(800, 600))
	presets := []resize.Preset{
		{Width: 100, Height: 100, Fit: "cover", Gravity: "east", Format: "png"},
		{Width: 300, Height: 300, Fit: "contain", Rotate: 90, Background: "#abcdef"},
		{Width: 1000, Height: 1000, Enlarge: true},
		{Width: 64, Trim: 5, Flip: "both"},
	}
	var targets []resize.Target
	for i := range presets {
		targets = append(targets, resize.Target{Preset: &presets[i]}, resize.Target{Size: resize.Size{Height: 50 * (i + 1)}})
	}
	for i, r := range many(t, p, "png", src, targets...) {
		m, alone := pixels(t, p, r), pixels(t, p, one(t, p, "png", src, targets[i]))
		if m.Bounds() != alone.Bounds() {
			t.Errorf("target %d: %v, alone %v", i, m.Bounds(), alone.Bounds())
		}
		b := m.Bounds()
		for _, q := range []image.Point{{b.Dx() / 4, b.Dy() / 4}, {b.Dx() * 3 / 4, b.Dy() / 4}, {b.Dx() / 4, b.Dy() * 3 / 4}} {
			if !near(at(m, q.X, q.Y), at(alone, q.X, q.Y), 3) {
				t.Errorf("target %d at %v: %v, alone %v", i, q, at(m, q.X, q.Y), at(alone, q.X, q.Y))
			}
		}
	}
	if _, err := png.Decode(bytes.NewReader(src)); err != nil {
		t.Fatal(err)
	}
}
