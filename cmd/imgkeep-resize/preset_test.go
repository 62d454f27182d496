package main

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"image/gif"
	"image/png"
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
		"webp":      sizes(resize.Preset{Format: "webp"}, "jpeg", func(c *resize.Preset, q int) { c.WebPQuality = q }),
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
		source, from := source, "png"
		if format == "webp" {
			source, from = toJPEG(t, noise(240, 180)), "jpeg" // whose WebP is lossy
		}
		at := func(q int) resize.Preset {
			if format == "jpeg" {
				return resize.Preset{Format: format, JPEGQuality: q}
			}
			return resize.Preset{Format: format, WebPQuality: q}
		}
		full := len(preset(t, p, from, source, at(90)).Data)
		fits, over := len(preset(t, p, from, source, at(40)).Data), len(preset(t, p, from, source, at(50)).Data)
		if fits >= over || over >= full {
			t.Fatalf("%s: %d, %d, %d bytes show nothing", format, fits, over, full)
		}
		for _, limit := range []int{full, full - 1, over, fits} {
			c := at(90)
			c.MaxBytes = int64(limit)
			got := len(preset(t, p, from, source, c).Data)
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
		_, err := p.Resize(context.Background(), bytes.NewReader(source), int64(len(source)), resize.Job{Format: from, Targets: []resize.Target{{Preset: &c}}})
		if refusal, ok := errors.AsType[*resize.ImageError](err); !ok || !refusal.TooLarge {
			t.Errorf("%s: what cannot fit: %v", format, err)
		}
	}
	// An animation as a whole.
	moving := &gif.GIF{}
	for i := range 6 {
		m := image.NewPaletted(image.Rect(0, 0, 120, 80), palette.Plan9)
		draw.Draw(m, m.Rect, noise(120, 80+i), image.Pt(0, i), draw.Src)
		moving.Image, moving.Delay = append(moving.Image, m), append(moving.Delay, 9)
	}
	most := len(preset(t, p, "gif", toGIF(t, moving), resize.Preset{Format: "webp", WebPQuality: 60}).Data)
	r := preset(t, p, "gif", toGIF(t, moving), resize.Preset{Format: "webp", WebPQuality: 60, MaxBytes: int64(most / 2)})
	if r.Frames != 6 || len(r.Data) > most/2 {
		t.Errorf("animation: %d frames, %d bytes, over %d", r.Frames, len(r.Data), most/2)
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
	if got.loop != want.loop {
		t.Errorf("loop %d; want %d", got.loop, want.loop)
	}
	got = got.again(t, want.delays)
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
		refusal, refused := errors.AsType[*resize.ImageError](err)
		if c.ok && err != nil || !c.ok && (!refused || !refusal.TooLarge) {
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
