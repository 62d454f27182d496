package main

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"os"
	"slices"
	"testing"

	"imgkeep/resize"
)

func still(m image.Image) *gif.GIF {
	b := m.Bounds()
	pal := color.Palette{clear, red, green, blue, yellow, color.White, color.Black, color.Gray{128}}
	q := image.NewPaletted(b, pal)
	for y := range b.Dy() {
		for x := range b.Dx() {
			q.Set(x, y, m.At(x, y))
		}
	}
	return &gif.GIF{Image: []*image.Paletted{q}, Delay: []int{0}}
}

// Each of the eight orientations shows the same picture as a viewer would:
// which corner of the stored picture ends up where is written down here.
func TestOrientation(t *testing.T) {
	p := newPool(t, resize.Options{})
	R, G, B, Y := red, green, blue, yellow
	for o, want := range map[int][4]color.NRGBA{ // top left, top right, bottom left, bottom right
		1: {R, G, B, Y}, 2: {G, R, Y, B}, 3: {Y, B, G, R}, 4: {B, Y, R, G},
		5: {R, B, G, Y}, 6: {B, R, Y, G}, 7: {Y, G, B, R}, 8: {G, Y, R, B},
	} {
		const w, h = 160, 96
		for format, src := range map[string][]byte{
			"jpeg": toJPEG(t, corners(w, h)), "png": toPNG(t, corners(w, h)), "webp": toWebP(t, p, "png", toPNG(t, corners(w, h))),
		} {
			src = orient(t, format, src, w, h, o)
			want := want
			if format == "webp" { // which no browser turns
				want = [4]color.NRGBA{R, G, B, Y}
			}
			// Shrunk, and at its own size, where no shrinking is needed.
			for _, z := range []resize.Size{{Height: 48, Width: 48}, huge} {
				m := pixels(t, p, one(t, p, format, src, resize.Target{Size: z}))
				b := m.Bounds()
				if turned := b.Dy() > b.Dx(); turned != (o >= 5 && format != "webp") {
					t.Errorf("%s, orientation %d, %v: %v", format, o, z, b)
				}
				x, y := b.Dx()/8, b.Dy()/8
				got := [4]color.NRGBA{at(m, x, y), at(m, b.Dx()-1-x, y), at(m, x, b.Dy()-1-y), at(m, b.Dx()-1-x, b.Dy()-1-y)}
				for i := range got {
					if !near(got[i], want[i], 12) {
						t.Errorf("%s, orientation %d, %v: corner %d is %v, want %v", format, o, z, i, got[i], want[i])
					}
				}
			}
		}
	}
}

// Metadata is gone, and with it the orientation, which is applied already.
func TestNoMetadata(t *testing.T) {
	p := newPool(t, resize.Options{})
	secret := append(exif(3), "my secret place"...)
	for format, src := range map[string][]byte{
		"jpeg": insertJPEG(insertJPEG(toJPEG(t, corners(64, 48)), 1, append([]byte("Exif\x00\x00"), secret...)), 13, []byte("Photoshop 3.0\x00secret")),
		"png":  insertPNG(insertPNG(toPNG(t, corners(64, 48)), "eXIf", secret), "tEXt", []byte("Comment\x00a secret")),
		"webp": insertWebP(toWebP(t, p, "png", toPNG(t, corners(64, 48))), 64, 48, 0x08, "EXIF", secret),
		"gif":  bytes.Replace(toGIF(t, still(corners(64, 48))), []byte{0x2c}, []byte("\x21\xfe\x08a secret\x00\x2c"), 1),
	} {
		for _, z := range []resize.Size{{Height: 20}, huge} {
			for _, r := range many(t, p, format, src, resize.Target{Size: z}, resize.Target{Size: z, Format: "jpeg"}, resize.Target{Size: z, Format: "png"}, resize.Target{Size: z, Format: "webp"}) {
				for _, mark := range []string{"secret", "Exif", "eXIf", "EXIF", "tEXt", "Photoshop", "ICC", "iCCP"} {
					if bytes.Contains(r.Data, []byte(mark)) {
						t.Errorf("%s to %s still holds %q", format, r.Format, mark)
					}
				}
			}
		}
	}
}

// What is transparent stays so, and its hidden colour does not bleed into the
// edge of what is not.
func TestTransparency(t *testing.T) {
	p := newPool(t, resize.Options{})
	m := image.NewNRGBA(image.Rect(0, 0, 300, 200))
	for y := range 200 {
		for x := range 300 {
			c := color.NRGBA{0, 255, 0, 0} // green, and not to be seen
			if x >= 100 {
				c = color.NRGBA{255, 0, 0, 255}
			}
			if x >= 200 {
				c = color.NRGBA{0, 0, 255, 128}
			}
			m.SetNRGBA(x, y, c)
		}
	}
	source := toPNG(t, m)
	for _, format := range []string{"png", "webp"} {
		r := one(t, p, "png", source, resize.Target{Size: resize.Size{Height: 70}, Format: format, Quality: 100})
		got := pixels(t, p, r)
		if c := at(got, 5, 35); c.A != 0 {
			t.Errorf("%s: transparent became %v", format, c)
		}
		if c := at(got, 52, 35); !near(c, red, 8) {
			t.Errorf("%s: solid red became %v", format, c)
		}
		if c := at(got, 100, 35); !near(c, color.NRGBA{0, 0, 255, 128}, 10) {
			t.Errorf("%s: half-transparent blue became %v", format, c)
		}
		for x := 30; x < 40; x++ {
			if c := at(got, x, 35); c.A > 8 && (c.G > 12 || c.R < 240) {
				t.Errorf("%s: the edge at %d is %v: hidden green shows", format, x, c)
			}
		}
	}
	// A JPEG has no alpha: white, not black.
	got := pixels(t, p, one(t, p, "png", source, resize.Target{Size: resize.Size{Height: 70}, Format: "jpeg", Quality: 95}))
	if c := at(got, 5, 35); !near(c, color.NRGBA{255, 255, 255, 255}, 6) {
		t.Errorf("transparent became %v in a JPEG", c)
	}
	// GIF knows only one or the other.
	r := one(t, p, "gif", toGIF(t, animation(120, 80, 1, 0, true)), resize.Target{Size: resize.Size{Height: 40}})
	got = pixels(t, p, r)
	if c := at(got, 30, 2); c.A != 0 {
		t.Errorf("GIF: transparent became %v", c)
	}
	if c := at(got, 30, 20); !near(c, red, 8) {
		t.Errorf("GIF: red became %v", c)
	}
	// A WebP with alpha as the source, where libwebp must not scale.
	r = one(t, p, "webp", toWebP(t, p, "png", source), resize.Target{Size: resize.Size{Height: 70}, Format: "png"})
	got = pixels(t, p, r)
	if c := at(got, 5, 35); c.A > 2 {
		t.Errorf("WebP: transparent became %v", c)
	}
	if c := at(got, 52, 35); !near(c, red, 8) {
		t.Errorf("WebP: red became %v", c)
	}
}

// Kinds of pixels that Go can write: each keeps its colours.
func TestColours(t *testing.T) {
	p := newPool(t, resize.Options{})
	const w, h = 120, 80
	fill := func(m interface {
		image.Image
		Set(x, y int, c color.Color)
	}, c color.Color) image.Image {
		for y := range h {
			for x := range w {
				m.Set(x, y, c)
			}
		}
		return m
	}
	box := image.Rect(0, 0, w, h)
	many := make(color.Palette, 200)
	for i := range many {
		many[i] = color.NRGBA{uint8(i), 100, uint8(255 - i), 255}
	}
	for name, c := range map[string]struct {
		src  image.Image
		want color.NRGBA
	}{
		"gray":              {fill(image.NewGray(box), color.Gray{77}), color.NRGBA{77, 77, 77, 255}},
		"16-bit gray":       {fill(image.NewGray16(box), color.Gray16{0x4d80}), color.NRGBA{77, 77, 77, 255}},
		"16-bit colour":     {fill(image.NewRGBA64(box), color.RGBA64{0xc8c8, 0x6464, 0x3232, 0xffff}), color.NRGBA{200, 100, 50, 255}},
		"16-bit alpha":      {fill(image.NewNRGBA64(box), color.NRGBA64{0xc8c8, 0x6464, 0x3232, 0x8080}), color.NRGBA{200, 100, 50, 128}},
		"palette":           {fill(image.NewPaletted(box, color.Palette{red, green, color.NRGBA{10, 200, 30, 255}}), color.NRGBA{10, 200, 30, 255}), color.NRGBA{10, 200, 30, 255}},
		"palette, large":    {fill(image.NewPaletted(box, many), many[150]), color.NRGBA{150, 100, 105, 255}},
		"palette and alpha": {fill(image.NewPaletted(box, color.Palette{red, clear, color.NRGBA{10, 200, 30, 128}}), color.NRGBA{10, 200, 30, 128}), color.NRGBA{10, 200, 30, 128}},
		"colour":            {fill(image.NewNRGBA(box), color.NRGBA{200, 100, 50, 255}), color.NRGBA{200, 100, 50, 255}},
		"alpha":             {fill(image.NewNRGBA(box), color.NRGBA{200, 100, 50, 200}), color.NRGBA{200, 100, 50, 200}},
	} {
		for _, z := range []resize.Size{{Height: 33}, huge} {
			for _, format := range []string{"png", "webp"} {
				r := one(t, p, "png", toPNG(t, c.src), resize.Target{Size: z, Format: format, Quality: 100})
				if got := at(pixels(t, p, r), r.Width/2, r.Height/2); !near(got, c.want, 4) {
					t.Errorf("%s to %s at %v: %v, want %v", name, format, z, got, c.want)
				}
			}
		}
	}
	// JPEG, gray and in colour.
	for name, c := range map[string]struct {
		src  image.Image
		want color.NRGBA
	}{
		"gray":   {fill(image.NewGray(box), color.Gray{77}), color.NRGBA{77, 77, 77, 255}},
		"colour": {fill(image.NewNRGBA(box), color.NRGBA{200, 100, 50, 255}), color.NRGBA{200, 100, 50, 255}},
	} {
		m := pixels(t, p, one(t, p, "jpeg", toJPEG(t, c.src), resize.Target{Size: resize.Size{Height: 33}}))
		if got := at(m, 10, 10); !near(got, c.want, 4) {
			t.Errorf("JPEG in %s: %v, want %v", name, got, c.want)
		}
		if _, gray := m.(*image.Gray); gray != (name == "gray") {
			t.Errorf("JPEG in %s became a %T", name, m)
		}
	}
}

// testdata/cmyk.jpg has four inks and no profile: its quarters are what is left if each ink
// swallows all of its colour, as in browsers.
func TestCMYK(t *testing.T) {
	p := newPool(t, resize.Options{})
	src, err := os.ReadFile("testdata/cmyk.jpg")
	if err != nil {
		t.Fatal(err)
	}
	for name, src := range map[string][]byte{"bare": src, "with a profile for screens": withICC(t, "jpeg", src, wideProfile())} {
		for _, z := range []resize.Size{{Height: 16}, huge} {
			for _, format := range []string{"jpeg", "png", "webp"} {
				r := one(t, p, "jpeg", src, resize.Target{Size: z, Format: format, Quality: 95})
				m := pixels(t, p, r)
				for i, want := range []color.NRGBA{{215, 2, 14, 255}, {67, 251, 12, 255}, {20, 59, 255, 255}, {225, 225, 39, 255}} {
					got := at(m, (1+2*(i%2))*r.Width/4, (1+2*(i/2))*r.Height/4)
					if !near(got, want, 8) {
						t.Errorf("%s to %s at %v: quarter %d is %v, want about %v", name, format, z, i, got, want)
					}
				}
			}
		}
	}
}

// All targets of one job are the pictures that they would be in a job each.
func TestSeveralTargets(t *testing.T) {
	p := newPool(t, resize.Options{})
	src := toJPEG(t, corners(1600, 1200))
	var targets []resize.Target
	for _, s := range []string{"150x", "500x", "x200", "250x250", "150x"} {
		targets = append(targets, resize.Target{Size: size(t, s)}, resize.Target{Size: size(t, s), Format: "png"}, resize.Target{Size: size(t, s), Format: "webp", Quality: 95})
	}
	for i, r := range many(t, p, "jpeg", src, targets...) {
		want := "jpeg"
		if f := targets[i].Format; f != "" {
			want = f
		}
		if r.Format != want || r.Frames != 1 {
			t.Errorf("target %d: %s, %d frames", i, r.Format, r.Frames)
		}
		alone := pixels(t, p, one(t, p, "jpeg", src, targets[i]))
		m := pixels(t, p, r)
		if m.Bounds() != alone.Bounds() {
			t.Errorf("target %d: %v, alone %v", i, m.Bounds(), alone.Bounds())
		}
		b := m.Bounds()
		for _, at4 := range []image.Point{{b.Dx() / 4, b.Dy() / 4}, {b.Dx() * 3 / 4, b.Dy() / 4}, {b.Dx() / 4, b.Dy() * 3 / 4}, {b.Dx() * 3 / 4, b.Dy() * 3 / 4}} {
			if !near(at(m, at4.X, at4.Y), at(alone, at4.X, at4.Y), 10) {
				t.Errorf("target %d at %v: %v, alone %v", i, at4, at(m, at4.X, at4.Y), at(alone, at4.X, at4.Y))
			}
		}
	}
}

// A palette stays one: a chart must not grow tenfold by being made smaller.
func TestPaletteStays(t *testing.T) {
	p := newPool(t, resize.Options{})
	r := one(t, p, "png", toPNG(t, still(corners(400, 300)).Image[0]), resize.Target{Size: resize.Size{Height: 100}})
	if m, ok := pixels(t, p, r).(*image.Paletted); !ok {
		t.Errorf("became a %T", pixels(t, p, r))
	} else if !slices.ContainsFunc(m.Palette, func(c color.Color) bool { return near(color.NRGBAModel.Convert(c).(color.NRGBA), blue, 8) }) {
		t.Errorf("without blue: %v", m.Palette)
	}
}
