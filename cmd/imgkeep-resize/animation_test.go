package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"slices"
	"testing"

	"imgkeep/resize"
)

// movie is what a viewer sees of an animation.
type movie struct {
	frames []*image.NRGBA
	delays []int // milliseconds
	loop   int   // times it is shown; 0: for ever
}

// playGIF composes the frames as GIF89a says.
func playGIF(t testing.TB, data []byte) movie {
	t.Helper()
	g, err := gif.DecodeAll(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var m movie
	canvas := image.NewNRGBA(image.Rect(0, 0, g.Config.Width, g.Config.Height))
	for i, f := range g.Image {
		before := clone(canvas)
		draw.Draw(canvas, f.Bounds(), f, f.Bounds().Min, draw.Over)
		m.frames = append(m.frames, clone(canvas))
		m.delays = append(m.delays, 10*g.Delay[i])
		switch g.Disposal[i] {
		case gif.DisposalBackground:
			draw.Draw(canvas, f.Bounds(), image.Transparent, image.Point{}, draw.Src)
		case gif.DisposalPrevious:
			canvas = before
		}
	}
	switch g.LoopCount {
	case -1:
		m.loop = 1
	case 0:
	default:
		m.loop = g.LoopCount + 1
	}
	return m
}

// again divides a movie by the delays of the one that it was made of: an encoder may
// have put frames together that look the same.
func (m movie) again(t testing.TB, delays []int) movie {
	t.Helper()
	n := movie{delays: delays, loop: m.loop}
	f, left := -1, 0
	for i, d := range delays {
		if left == 0 {
			if f++; f == len(m.frames) {
				t.Fatalf("delays %v end before frame %d of %v", m.delays, i, delays)
			}
			left = m.delays[f]
		}
		if left -= d; left < 0 {
			t.Fatalf("delays %v are not those of %v", m.delays, delays)
		}
		n.frames = append(n.frames, m.frames[f])
	}
	if left > 0 || f+1 < len(m.frames) {
		t.Fatalf("delays %v are longer than %v", m.delays, delays)
	}
	return n
}

func clone(m *image.NRGBA) *image.NRGBA {
	c := *m
	c.Pix = slices.Clone(m.Pix)
	return &c
}

// timesWebP reads delays and loop count from the chunks ANMF and ANIM of the
// WebP Container Specification. It shows no frames.
func timesWebP(t testing.TB, data []byte) movie {
	t.Helper()
	var m movie
	for rest := data[12:]; len(rest) >= 8; {
		n := int(binary.LittleEndian.Uint32(rest[4:]))
		body := rest[8 : 8+n]
		switch string(rest[:4]) {
		case "ANIM":
			m.loop = int(binary.LittleEndian.Uint16(body[4:]))
		case "ANMF":
			m.delays = append(m.delays, int(body[12])|int(body[13])<<8|int(body[14])<<16)
		}
		rest = rest[8+n+n%2:]
	}
	return m
}

func TestAnimationStays(t *testing.T) {
	p := newPool(t, resize.Options{})
	const w, h, n = 240, 120, 6
	for _, loop := range []int{-1, 0, 1, 4} {
		for _, transparent := range []bool{false, true} {
			source := toGIF(t, animation(w, h, n, loop, transparent))
			want := playGIF(t, source)
			for _, z := range []resize.Size{{Height: 40}, huge} {
				name := fmt.Sprintf("loop %d, transparent %v, %v", loop, transparent, z)
				r := many(t, p, "gif", source, resize.Target{Size: z}, resize.Target{Size: z, Format: "webp", Quality: 95})
				got := playGIF(t, r[0].Data)
				if r[0].Frames != n || len(got.frames) != n || got.loop != want.loop || !slices.Equal(got.delays, want.delays) {
					t.Errorf("%s: GIF of %d frames, %d loops, delays %v; want %d, %d, %v", name, len(got.frames), got.loop, got.delays, n, want.loop, want.delays)
					continue
				}
				for f := range n {
					compare(t, fmt.Sprintf("%s: GIF frame %d", name, f), got.frames[f], want.frames[f])
				}
				times := timesWebP(t, r[1].Data)
				if r[1].Frames != n || times.loop != want.loop || !slices.Equal(times.delays, want.delays) {
					t.Errorf("%s: WebP of %d loops, delays %v; want %d, %v", name, times.loop, times.delays, want.loop, want.delays)
				}
				// And back: what the WebP shows, as a GIF.
				again := playGIF(t, one(t, p, "webp", r[1].Data, resize.Target{Size: z, Format: "gif"}).Data)
				if len(again.frames) != n || again.loop != want.loop || !slices.Equal(again.delays, want.delays) {
					t.Errorf("%s: from WebP: %d frames, %d loops, delays %v", name, len(again.frames), again.loop, again.delays)
					continue
				}
				for f := range n {
					compare(t, fmt.Sprintf("%s: WebP frame %d", name, f), again.frames[f], want.frames[f])
				}
				small := one(t, p, "webp", r[1].Data, resize.Target{Size: resize.Size{Height: 30}})
				times = timesWebP(t, small.Data)
				if small.Frames != n || small.Height != 30 || times.loop != want.loop || !slices.Equal(times.delays, want.delays) {
					t.Errorf("%s: WebP to WebP: %+v", name, times)
				}
			}
		}
	}
}

// compare looks at the middle of each of the 24 fields of a frame.
func compare(t testing.TB, name string, got, want *image.NRGBA) {
	t.Helper()
	for i := range 6 {
		for _, j := range []int{1, 3, 5, 7} {
			g := at(got, (2*i+1)*got.Rect.Dx()/12, j*got.Rect.Dy()/8)
			w := at(want, (2*i+1)*want.Rect.Dx()/12, j*want.Rect.Dy()/8)
			if !near(g, w, 16) {
				t.Errorf("%s: field %d, %d is %v, want %v", name, i, j, g, w)
			}
		}
	}
}

// Frames stand below each other inside libvips. Nothing of one may leak into
// the next.
func TestFramesDoNotBleed(t *testing.T) {
	p := newPool(t, resize.Options{})
	g := &gif.GIF{}
	for f := range 4 {
		m := image.NewPaletted(image.Rect(0, 0, 97, 61), color.Palette{red, blue})
		for i := range m.Pix {
			m.Pix[i] = uint8(f % 2)
		}
		g.Image, g.Delay = append(g.Image, m), append(g.Delay, 10)
	}
	got := playGIF(t, one(t, p, "gif", toGIF(t, g), resize.Target{Size: resize.Size{Height: 23}}).Data)
	for f, m := range got.frames {
		want := []color.NRGBA{red, blue}[f%2]
		for i := range m.Rect.Dx() * m.Rect.Dy() {
			if c := at(m, i%m.Rect.Dx(), i/m.Rect.Dx()); !near(c, want, 2) {
				t.Fatalf("frame %d at %d, %d is %v, want %v", f, i%m.Rect.Dx(), i/m.Rect.Dx(), c, want)
			}
		}
	}
}

// A frame that covers a part, and one that is taken away again.
func TestDisposal(t *testing.T) {
	p := newPool(t, resize.Options{})
	pal := color.Palette{clear, red, green, blue}
	block := func(r image.Rectangle, index uint8) *image.Paletted {
		m := image.NewPaletted(r, pal)
		for i := range m.Pix {
			m.Pix[i] = index
		}
		return m
	}
	whole := image.Rect(0, 0, 120, 80)
	source := toGIF(t, &gif.GIF{
		Image:    []*image.Paletted{block(whole, 1), block(image.Rect(60, 0, 120, 80), 2), block(image.Rect(0, 40, 60, 80), 3), block(image.Rect(20, 20, 100, 60), 2)},
		Delay:    []int{10, 20, 30, 40},
		Disposal: []byte{gif.DisposalNone, gif.DisposalPrevious, gif.DisposalNone, gif.DisposalBackground},
		Config:   image.Config{ColorModel: pal, Width: 120, Height: 80},
	})
	want := playGIF(t, source)
	for _, format := range []string{"gif", "webp"} {
		r := one(t, p, "gif", source, resize.Target{Size: resize.Size{Height: 40}, Format: format, Quality: 95})
		if format == "webp" {
			r = one(t, p, "webp", r.Data, resize.Target{Size: huge, Format: "gif"})
		}
		got := playGIF(t, r.Data)
		if len(got.frames) != len(want.frames) {
			t.Fatalf("%s: %d frames, want %d", format, len(got.frames), len(want.frames))
		}
		for f := range got.frames {
			compare(t, fmt.Sprintf("%s frame %d", format, f), got.frames[f], want.frames[f])
		}
	}
}

// Formats without animation get the first frame, in the same job too.
func TestFirstFrame(t *testing.T) {
	p := newPool(t, resize.Options{})
	source := toGIF(t, animation(240, 120, 6, 0, false))
	r := many(t, p, "gif", source, resize.Target{Size: huge, Format: "png"}, resize.Target{Size: resize.Size{Height: 40}}, resize.Target{Size: resize.Size{Height: 60}, Format: "jpeg", Quality: 95})
	if r[0].Frames != 1 || r[1].Frames != 6 || r[2].Frames != 1 {
		t.Errorf("%d, %d, %d frames, want 1, 6, 1", r[0].Frames, r[1].Frames, r[2].Frames)
	}
	want := playGIF(t, source).frames[0]
	for _, i := range []int{0, 2} {
		m := pixels(t, p, r[i])
		got := image.NewNRGBA(m.Bounds())
		draw.Draw(got, got.Rect, m, image.Point{}, draw.Src)
		compare(t, r[i].Format, got, want)
	}
}

// The budget counts all frames, as stored and as made; beyond it the first
// frame is kept. The limit itself still passes.
func TestAnimationBudget(t *testing.T) {
	const w, h, n = 240, 120, 6
	source := toGIF(t, animation(w, h, n, 0, false))
	quarter := resize.Target{Size: resize.Size{Height: 60}}
	for _, c := range []struct {
		name    string
		budget  int64
		targets []resize.Target
		frames  int
	}{
		{"at the limit as stored", w * h * n, []resize.Target{quarter}, n},
		{"one above as stored", w*h*n - 1, []resize.Target{quarter}, 1},
		{"at the limit as made", w * h * n * 3 / 2, []resize.Target{{Size: huge}, quarter, quarter}, n},
		{"one above as made", w*h*n*3/2 - 1, []resize.Target{{Size: huge}, quarter, quarter}, 1},
		{"stills do not count", w * h * n, []resize.Target{quarter, {Size: huge, Format: "png"}, {Size: huge, Format: "jpeg"}}, n},
	} {
		p := newPool(t, resize.Options{AnimationPixels: c.budget})
		r := many(t, p, "gif", source, c.targets...)
		if r[0].Frames != c.frames {
			t.Errorf("%s: %d frames, want %d", c.name, r[0].Frames, c.frames)
		}
		if g, err := gif.DecodeAll(bytes.NewReader(r[0].Data)); err != nil || len(g.Image) != c.frames {
			t.Errorf("%s: result has %d frames, want %d: %v", c.name, len(g.Image), c.frames, err)
		}
	}
}
