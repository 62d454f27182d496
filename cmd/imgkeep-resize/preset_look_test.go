package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"math"
	"testing"

	"imgkeep/resize"
)

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
