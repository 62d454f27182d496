package main

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"testing"

	"imgkeep/resize"
)

// Thin lines neither fade nor grow fat when a picture is made smaller: dark ones
// on light weigh what light ones on dark do, and as much as before. (Not black and
// white, which the overshoot of a filter would be cut off at.)
func TestThinLines(t *testing.T) {
	p := newPool(t, resize.Options{})
	const w, h, period = 960, 720, 6
	dark, light := color.NRGBA{60, 60, 60, 255}, color.NRGBA{200, 200, 200, 255}
	lines := func(ink, paper color.NRGBA) *image.NRGBA {
		m := filled(w, h, paper)
		for x := 0; x < w; x += period {
			paint(m, x, 0, x+1, h, ink)
		}
		return m
	}
	mean := func(m image.Image) float64 {
		b := m.Bounds()
		sum, n := 0, 0
		// Not the edges: a filter has only one side there.
		for y := b.Dy() / 8; y < b.Dy()*7/8; y++ {
			for x := b.Dx() / 8; x < b.Dx()*7/8; x++ {
				sum, n = sum+int(at(m, x, y).G), n+1
			}
		}
		return float64(sum) / float64(n)
	}
	for _, format := range []string{"png", "jpeg", "webp"} {
		var sources [2][]byte
		for i, m := range []*image.NRGBA{lines(dark, light), lines(light, dark)} {
			switch format {
			case "png":
				sources[i] = toPNG(t, m)
			case "jpeg":
				sources[i] = toJPEG(t, m)
			case "webp":
				sources[i] = toWebP(t, p, "jpeg", toJPEG(t, m))
			}
		}
		for _, height := range []int{613, 400, 240, 90} {
			var means [2]float64
			for i, src := range sources {
				means[i] = mean(pixels(t, p, one(t, p, format, src, resize.Target{Size: resize.Size{Height: height}, Format: "png"})))
			}
			about := fmt.Sprintf("%s at %d: dark lines %.1f, light lines %.1f", format, height, means[0], means[1])
			if want := 200 - 140.0/period; means[0] < want-1 || means[0] > want+1 {
				t.Errorf("%s; dark lines were %.1f", about, want)
			}
			if sum := means[0] + means[1]; sum < 258.5 || sum > 261.5 {
				t.Errorf("%s: together they are %.1f, not 260", about, sum)
			}
		}
	}
}

// No kind of alpha lets the colour of what cannot be seen into the edge: with 8
// and 16 bits, in gray and with a palette.
func TestNoFringes(t *testing.T) {
	p := newPool(t, resize.Options{})
	half := func(m draw.Image, hidden, seen color.Color) image.Image {
		draw.Draw(m, image.Rect(0, 0, 150, 200), image.NewUniform(hidden), image.Point{}, draw.Src)
		draw.Draw(m, image.Rect(150, 0, 300, 200), image.NewUniform(seen), image.Point{}, draw.Src)
		return m
	}
	box := image.Rect(0, 0, 300, 200)
	bright := color.NRGBA{250, 240, 230, 255}
	dark := color.NRGBA{0, 0, 0, 0} // the fringe of bad resizing is dark
	for name, m := range map[string]image.Image{
		"8 bits":  half(image.NewNRGBA(box), dark, bright),
		"16 bits": half(image.NewNRGBA64(box), dark, bright),
		"palette": half(image.NewPaletted(box, color.Palette{dark, bright}), dark, bright),
	} {
		for _, target := range []resize.Target{
			{Size: resize.Size{Height: 70}}, {Size: resize.Size{Height: 7}},
			{Preset: &resize.Preset{Height: 70, Sharpen: 1}}, {Preset: &resize.Preset{Height: 70, Blur: 1}},
			{Preset: &resize.Preset{Height: 450, Enlarge: true}},
		} {
			got := pixels(t, p, one(t, p, "png", toPNG(t, m), target))
			b := got.Bounds()
			edge := 0
			for x := range b.Dx() {
				c := at(got, x, b.Dy()/2)
				if c.A > 8 && c.A < 255 {
					edge++
				}
				// A filter may make an edge brighter, and a palette is coarse.
				if c.A > 8 && (c.R < bright.R-20 || c.G < bright.G-20 || c.B < bright.B-20) {
					t.Errorf("%s, %+v: at %d there is %v", name, target, x, c)
				}
			}
			if edge == 0 && target.Preset != nil {
				t.Errorf("%s, %+v: there is no edge to look at", name, target)
			}
		}
	}
}

// A line is a line at any size.
func TestExtremeRatios(t *testing.T) {
	p := newPool(t, resize.Options{})
	for _, side := range [][2]int{{1, 10000}, {10000, 1}, {1, 1}, {2, 1}, {16000, 2}} {
		m := filled(side[0], side[1], green)
		for format, src := range map[string][]byte{"png": toPNG(t, m), "jpeg": toJPEG(t, m), "webp": toWebP(t, p, "png", toPNG(t, m))} {
			for _, target := range []resize.Target{
				{Size: resize.Size{Height: 150, Width: 150}}, {Size: resize.Size{Height: 1}},
				{Preset: &resize.Preset{Width: 50, Height: 50, Fit: "cover"}}, {Preset: &resize.Preset{Width: 50, Height: 50, Fit: "contain", Background: "#00ff00"}},
				{Preset: &resize.Preset{Width: 50, Height: 50, Fit: "crop", Gravity: "smart"}}, {Preset: &resize.Preset{Trim: 9, Rotate: 90, Width: 40}},
				{Preset: &resize.Preset{Width: 50, Height: 50, Blur: 2}}, {Preset: &resize.Preset{Width: 50, Height: 50, Fit: "cover", Gravity: "smart"}},
			} {
				r := one(t, p, format, src, target)
				got := pixels(t, p, r)
				if c := at(got, r.Width/2, r.Height/2); !near(c, green, 4) {
					t.Errorf("%s of %v, %+v: %v in the middle of %v", format, side, target.Preset, c, got.Bounds())
				}
			}
		}
	}
}
