package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"slices"
	"testing"

	"imgkeep/resize"
)

// apngFile is an animated PNG of 48 by 32 pixels. Its IDAT is red, its first frame green
// and blue, as large as the canvas or a part of it. inside: IDAT is a frame, too.
func apngFile(t testing.TB, inside, whole bool) []byte {
	t.Helper()
	box := image.Rect(0, 0, 48, 32)
	if !whole {
		box = image.Rect(8, 8, 40, 24)
	}
	fill := func(b image.Rectangle, c color.NRGBA) []byte {
		m := image.NewNRGBA(b)
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				m.SetNRGBA(x, y, color.NRGBA{c.R, c.G, uint8(4 * x), 254}) // not opaque: all of one kind
			}
		}
		return toPNG(t, m)
	}
	data := func(file []byte) []byte { // of IDAT
		at := bytes.Index(file, []byte("IDAT"))
		return file[at+4 : at+4+int(binary.BigEndian.Uint32(file[at-4:]))]
	}
	sequence := uint32(0)
	next := func() []byte {
		sequence++
		return binary.BigEndian.AppendUint32(nil, sequence-1)
	}
	control := func(b image.Rectangle) []byte {
		c := next()
		for _, n := range []int{b.Dx(), b.Dy(), b.Min.X, b.Min.Y} {
			c = binary.BigEndian.AppendUint32(c, uint32(n))
		}
		return pngChunk("fcTL", append(c, 0, 10, 0, 100, 0, 0))
	}
	still, frame := fill(image.Rect(0, 0, 48, 32), red), fill(box, green)
	out := slices.Concat(still[:8+25], pngChunk("acTL", []byte{0, 0, 0, 2, 0, 0, 0, 0}))
	if inside {
		out = append(out, control(image.Rect(0, 0, 48, 32))...)
	}
	out = append(out, pngChunk("IDAT", data(still))...)
	for range 2 {
		out = append(out, control(box)...)
		out = append(out, pngChunk("fdAT", append(next(), data(frame)...))...)
	}
	return append(out, pngChunk("IEND", nil)...)
}

// A size of an animated PNG is its first frame: never the picture that stands there for
// programs that know no animation.
func TestAPNG(t *testing.T) {
	p := newPool(t, resize.Options{})
	for name, c := range map[string]struct {
		inside, whole bool
		want          color.NRGBA
	}{
		"IDAT is a frame":       {true, true, red},
		"IDAT is no frame":      {false, true, green},
		"a frame that is small": {false, false, green},
	} {
		src := apngFile(t, c.inside, c.whole)
		m := pixels(t, p, one(t, p, "png", src, resize.Target{Size: huge}))
		if got := at(m, 24, 16); got.R != c.want.R || got.G != c.want.G {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if got := at(m, 2, 2); (got.A == 0) != !c.whole {
			t.Errorf("%s: the corner is %v", name, got)
		}
		mustRefuse(t, p, "png", src[:len(src)-60])
	}
}

// An apngFrame is of one colour. delay is in hundredths of a second.
type apngFrame struct {
	box             image.Rectangle
	colour          color.NRGBA
	delay           int
	disposal, blend byte
}

// apngMovie is an animated PNG of 48 by 32 pixels.
func apngMovie(t testing.TB, kind string, outside bool, frames []apngFrame) []byte {
	t.Helper()
	canvas := image.Rect(0, 0, 48, 32)
	blank := func(b image.Rectangle) draw.Image {
		switch kind {
		case "16 bits":
			return image.NewNRGBA64(b)
		case "palette":
			return image.NewPaletted(b, color.Palette{clear, red, green, blue, yellow, white})
		}
		return image.NewNRGBA(b)
	}
	data := func(b image.Rectangle, c color.NRGBA) []byte {
		m := blank(image.Rect(0, 0, b.Dx(), b.Dy()))
		draw.Draw(m, m.Bounds(), image.NewUniform(c), image.Point{}, draw.Src)
		if kind != "palette" { // not all opaque, or the encoder would choose another kind of pixels
			m.Set(0, 0, color.NRGBA{c.R, c.G, c.B, min(c.A, 254)})
		}
		file := toPNG(t, m)
		at := bytes.Index(file, []byte("IDAT"))
		return file[at+4 : at+4+int(binary.BigEndian.Uint32(file[at-4:]))]
	}
	header := toPNG(t, blank(canvas))
	header = header[:bytes.Index(header, []byte("IDAT"))-4]
	out := slices.Concat(header, pngChunk("acTL", []byte{0, 0, 0, byte(len(frames)), 0, 0, 0, 3}))
	if outside {
		out = append(out, pngChunk("IDAT", data(canvas, white))...)
	}
	sequence := uint32(0)
	for i, f := range frames {
		c := binary.BigEndian.AppendUint32(nil, sequence)
		for _, n := range []int{f.box.Dx(), f.box.Dy(), f.box.Min.X, f.box.Min.Y} {
			c = binary.BigEndian.AppendUint32(c, uint32(n))
		}
		c = append(binary.BigEndian.AppendUint16(c, uint16(f.delay)), 0, 0, f.disposal, f.blend) // of a hundredth, if of nothing
		out = append(out, pngChunk("fcTL", c)...)
		sequence++
		picture := data(f.box, f.colour)
		if i == 0 && !outside {
			out = append(out, pngChunk("IDAT", picture)...)
			continue
		}
		for _, part := range [][]byte{picture[:9], picture[9:]} {
			out = append(out, pngChunk("fdAT", append(binary.BigEndian.AppendUint32(nil, sequence), part...))...)
			sequence++
		}
	}
	return append(out, pngChunk("IEND", nil)...)
}

// apngCourse goes through all that a frame may do.
var apngCourse = []apngFrame{
	{image.Rect(0, 0, 48, 32), red, 10, 0, 0},
	{image.Rect(8, 8, 24, 24), green, 20, 1, 0},                        // and its place is transparent then
	{image.Rect(4, 4, 40, 28), blue, 30, 2, 0},                         // and it is gone then
	{image.Rect(16, 0, 48, 16), clear, 40, 0, 0},                       // in the place of what is there
	{image.Rect(0, 0, 48, 32), color.NRGBA{0, 0, 0, 0}, 50, 0, 1},      // on it: nothing
	{image.Rect(0, 16, 24, 32), color.NRGBA{0, 255, 0, 255}, 60, 2, 1}, // and it is gone then
	{image.Rect(40, 24, 48, 32), yellow, 70, 0, 1},
}

// apngShown are the frames as they are shown, by what each says (W3C PNG, third edition,
// 13.2), pixel by pixel.
func apngShown(frames []apngFrame) (all []*image.NRGBA) {
	now := image.NewNRGBA(image.Rect(0, 0, 48, 32))
	for i, f := range frames {
		before := clone(now)
		each := func(do func(x, y int)) {
			for y := f.box.Min.Y; y < f.box.Max.Y; y++ {
				for x := f.box.Min.X; x < f.box.Max.X; x++ {
					do(x, y)
				}
			}
		}
		each(func(x, y int) {
			if f.blend == 0 || f.colour.A == 255 {
				now.SetNRGBA(x, y, f.colour)
			}
		})
		all = append(all, clone(now))
		each(func(x, y int) {
			switch {
			case f.disposal == 1, f.disposal == 2 && i == 0:
				now.SetNRGBA(x, y, clear)
			case f.disposal == 2:
				now.SetNRGBA(x, y, before.NRGBAAt(x, y))
			}
		})
	}
	return all
}

// As WebP or GIF, an animated PNG moves: each frame in its place, for its time.
func TestAPNGMoves(t *testing.T) {
	p := newPool(t, resize.Options{})
	for name, src := range map[string][]byte{
		"IDAT is a frame":  apngMovie(t, "", false, apngCourse),
		"IDAT is no frame": apngMovie(t, "", true, apngCourse),
		"16 bits":          apngMovie(t, "16 bits", false, apngCourse),
		"palette":          apngMovie(t, "palette", true, apngCourse),
	} {
		r := one(t, p, "png", src, resize.Target{Size: huge, Format: "gif"})
		got := playGIF(t, r.Data)
		want := apngShown(apngCourse)
		delays := []int{100, 200, 300, 400, 500, 600, 700}
		got = got.again(t, delays)
		if r.Frames != len(want) || got.loop != 3 {
			t.Errorf("%s: %d frames, shown %d times", name, r.Frames, got.loop)
		}
		for i := range want {
			// A corner of each is not opaque, quite.
			d, err := difference(got.frames[i], want[i])
			if err != nil || d.worst > 8 || d.mean > 0.5 {
				t.Errorf("%s: frame %d: %v, %v", name, i, d, err)
			}
		}
		w := one(t, p, "png", src, resize.Target{Size: resize.Size{Width: 24}, Format: "webp"})
		if times := timesWebP(t, w.Data); w.Frames != len(want) || times.loop != 3 || sum(times.delays) != sum(delays) {
			t.Errorf("%s as WebP: %d frames, %v, shown %d times", name, w.Frames, times.delays, times.loop)
		}
		// As PNG, and where a preset wants the first frame, it is that; and a broken frame
		// breaks only what moves.
		still := one(t, p, "png", src, resize.Target{Size: huge})
		if d, err := difference(pixels(t, p, still), want[0]); still.Frames != 1 || err != nil || d.worst > 1 {
			t.Errorf("%s as PNG: %d frames, %v, %v", name, still.Frames, d, err)
		}
		if r := preset(t, p, "png", src, resize.Preset{Width: 24, Format: "webp", Animated: "first"}); r.Frames != 1 {
			t.Errorf("%s: the first frame has %d", name, r.Frames)
		}
		bad := bytes.Clone(src)
		last := bytes.LastIndex(bad, []byte("fdAT"))
		bad[last+8] ^= 0xff
		one(t, p, "png", bad, resize.Target{Size: huge})
		blamedFor(t, p, bad, "webp")
	}
	// One that is too large for its budget gives its first frame.
	q := newPool(t, resize.Options{AnimationPixels: 48 * 32 * 6})
	if r := one(t, q, "png", apngMovie(t, "", false, apngCourse), resize.Target{Size: huge, Format: "webp"}); r.Frames != 1 {
		t.Errorf("beyond the budget: %d frames", r.Frames)
	}
	// A profile counts for all frames, and so do numbers.
	mild := []apngFrame{{image.Rect(0, 0, 48, 32), red, 10, 0, 0}, {image.Rect(0, 0, 48, 32), color.NRGBA{200, 100, 60, 255}, 10, 0, 0}}
	for name, src := range map[string][]byte{
		"profile": withICC(t, "png", apngMovie(t, "", false, mild), wideProfile()),
		"cICP":    insertPNG(apngMovie(t, "", false, mild), "cICP", []byte{12, 4, 0, 1}),
	} {
		frames := playGIF(t, one(t, p, "png", src, resize.Target{Size: huge, Format: "gif"}).Data).frames
		if c, want := at(frames[1], 20, 16), displayP.toSRGB(color.NRGBA{200, 100, 60, 255}); !near(c, want, 3) {
			t.Errorf("%s: %v, want %v", name, c, want)
		}
	}
}

func sum(all []int) (n int) {
	for _, v := range all {
		n += v
	}
	return n
}

func blamedFor(t *testing.T, p *resize.Pool, src []byte, format string) {
	t.Helper()
	_, err := p.Resize(t.Context(), bytes.NewReader(src), int64(len(src)), resize.Job{Format: "png", Targets: []resize.Target{{Size: huge, Format: format}}})
	if _, ok := errors.AsType[*resize.ImageError](err); !ok {
		t.Errorf("a broken frame: %v", err)
	}
}

func apngPictures(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"png animated, IDAT is a frame":       apngFile(t, true, true),
		"png animated, IDAT is no frame":      apngFile(t, false, true),
		"png animated, a frame that is small": apngFile(t, false, false),
	}
}
