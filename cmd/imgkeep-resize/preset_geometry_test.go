package main

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"testing"

	"imgkeep/resize"
)

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
