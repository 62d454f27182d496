package vips

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"image/gif"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestGIFFrames(t *testing.T) {
	const (
		screen = "GIF89a\x02\x00\x02\x00\x00\x00\x00"
		colour = "GIF89a\x02\x00\x02\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
		frame  = "\x2c\x00\x00\x00\x00\x02\x00\x02\x00\x00\x02\x02\x44\x01\x00"
		local  = "\x2c\x00\x00\x00\x00\x02\x00\x02\x00\x80\x00\x00\x00\xff\xff\xff\x02\x02\x44\x01\x00"
		delay  = "\x21\xf9\x04\x00\x0a\x00\x00\x00"
		loop   = "\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
	)
	for src, want := range map[string]int{
		colour + frame + ";": 1,
		colour + loop + delay + frame + delay + frame + ";":              2,
		screen + local + frame + local + ";trailing":                     3,
		screen + "\x21\xfe\x02;;\x00" + frame + ";":                      1,
		screen + "\x00" + frame + "\x00\x00" + frame + "\x00;":           2,
		screen + frame + "\x21\xf9\x00" + strings.Repeat(frame, 9) + ";": 10,
		screen + strings.Repeat(frame, gifMaxFrames) + ";":               gifMaxFrames,
		screen + strings.Repeat(frame, gifMaxFrames+1) + ";":             1,
	} {
		if _, m, err := readGIF([]byte(src)); m.frames != want || err != nil {
			t.Errorf("%.80q: %d frames, %v, want %d", src, m.frames, err, want)
		}
		for i := range min(300, strings.IndexByte(src+";", ';')) {
			if _, _, err := readGIF([]byte(src[:i])); err == nil {
				t.Errorf("%q is taken for whole", src[:i])
			}
		}
	}
	for _, src := range []string{screen + ";", screen + "x;"} {
		if _, _, err := readGIF([]byte(src)); err == nil {
			t.Errorf("%q is taken for one", src)
		}
	}
}

// composed are the frames as a viewer sees them.
func composed(src []byte) ([]*image.NRGBA, error) {
	g, m, err := readGIF(src)
	if err != nil {
		return nil, err
	}
	g.canvas = make([]byte, 4*g.width*g.height)
	var all []*image.NRGBA
	for i := range m.frames {
		if err := g.compose(i); err != nil {
			return all, err
		}
		all = append(all, &image.NRGBA{Pix: bytes.Clone(g.canvas), Stride: 4 * g.width, Rect: image.Rect(0, 0, g.width, g.height)})
	}
	return all, g.compose(0)
}

// played are the frames of a GIF as the standard library decodes them, composed by the
// standard.
func played(g *gif.GIF) []*image.NRGBA {
	box := image.Rect(0, 0, g.Config.Width, g.Config.Height).Union(image.Rectangle{Max: g.Image[0].Rect.Max})
	canvas := image.NewNRGBA(box)
	var all []*image.NRGBA
	for i, f := range g.Image {
		before := bytes.Clone(canvas.Pix)
		draw.Draw(canvas, f.Rect, f, f.Rect.Min, draw.Over)
		all = append(all, &image.NRGBA{Pix: bytes.Clone(canvas.Pix), Stride: canvas.Stride, Rect: box})
		switch g.Disposal[i] {
		case gif.DisposalBackground:
			draw.Draw(canvas, f.Rect, image.Transparent, image.Point{}, draw.Src)
		case gif.DisposalPrevious:
			copy(canvas.Pix, before)
		}
	}
	return all
}

func sameFrames(t *testing.T, src []byte) {
	t.Helper()
	g, err := gif.DecodeAll(bytes.NewReader(src))
	if err != nil {
		t.Fatal(err)
	}
	got, err := composed(src)
	want := played(g)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d frames, %v; want %d", len(got), err, len(want))
	}
	for i := range want {
		if got[i].Rect != want[i].Rect || !bytes.Equal(got[i].Pix, want[i].Pix) {
			t.Fatalf("frame %d differs", i)
		}
	}
}

// random is an animation of n frames that cover parts, in every way to dispose of them.
func random(seed uint64, n, colours int) *gif.GIF {
	r := rand.New(rand.NewPCG(seed, 1))
	g := &gif.GIF{Config: image.Config{Width: 40, Height: 30}}
	pal := append(color.Palette{color.NRGBA{}}, palette.Plan9[:colours-1]...)
	for i := range n {
		x, y := r.IntN(40), r.IntN(30)
		m := image.NewPaletted(image.Rect(x, y, x+1+r.IntN(40-x), y+1+r.IntN(30-y)), pal)
		if r.IntN(3) == 0 {
			m.Palette = palette.Plan9[:colours]
		}
		for j := range m.Pix {
			m.Pix[j] = byte(r.IntN(colours))
			if j > 0 && r.IntN(3) > 0 {
				m.Pix[j] = m.Pix[j-1]
			}
		}
		g.Image, g.Delay, g.Disposal = append(g.Image, m), append(g.Delay, i), append(g.Disposal, byte(r.IntN(4)))
	}
	return g
}

func TestGIFComposes(t *testing.T) {
	for seed := range uint64(60) {
		var b bytes.Buffer
		if err := gif.EncodeAll(&b, random(seed, 8, []int{2, 4, 16, 256}[seed%4])); err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { sameFrames(t, b.Bytes()) })
	}
	// A frame so large that all codes are used up.
	m := image.NewPaletted(image.Rect(0, 0, 300, 300), palette.Plan9)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range m.Pix {
		m.Pix[i] = byte(r.Uint32())
	}
	var b bytes.Buffer
	if err := gif.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	sameFrames(t, b.Bytes())
	// Interlaced: the same rows in another order.
	rows := func(interlaced bool) []byte {
		m := image.NewPaletted(image.Rect(0, 0, 5, 21), palette.Plan9)
		order := make([]int, 0, 21)
		for y := range 21 {
			order = append(order, y)
		}
		if interlaced {
			order = order[:0]
			for pass := range 4 {
				for y := []int{0, 4, 2, 1}[pass]; y < 21; y += []int{8, 8, 4, 2}[pass] {
					order = append(order, y)
				}
			}
		}
		for i, y := range order {
			for x := range 5 {
				m.SetColorIndex(x, i, byte(10*y+x))
			}
		}
		var b bytes.Buffer
		if err := gif.Encode(&b, m, nil); err != nil {
			t.Fatal(err)
		}
		if src := b.Bytes(); interlaced {
			src[bytes.Index(src[13:], []byte("\x2c\x00\x00\x00\x00\x05\x00"))+13+9] |= 0x40
		}
		return b.Bytes()
	}
	plain, err := composed(rows(false))
	if err != nil {
		t.Fatal(err)
	}
	laced, err := composed(rows(true))
	if err != nil || !bytes.Equal(plain[0].Pix, laced[0].Pix) {
		t.Errorf("interlaced it is another picture (%v)", err)
	}
	sameFrames(t, rows(true))
}

// What the standard library decodes is the same here; and nothing costs more than its
// pixels.
func FuzzGIF(f *testing.F) {
	for seed := range uint64(4) {
		var b bytes.Buffer
		if err := gif.EncodeAll(&b, random(seed, 3, 4)); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte("GIF89a\x02\x00\x02\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\x21\xf9\x04\x00\x0a\x00\x00\x00\x2c\x00\x00\x00\x00\x02\x00\x02\x00\x00\x02\x02\x44\x01\x00;"))
	f.Add([]byte("GIF89a\x00\x00\x00\x00\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x02\x00\x02\x00\x40\x01\x02\x44\x01\x00\x00;"))
	f.Fuzz(func(t *testing.T, src []byte) {
		g, m, err := readGIF(src)
		if err != nil || g.width*g.height > 1<<14 || m.frames > 20 {
			return
		}
		got, _ := composed(src)
		std, err := gif.DecodeAll(bytes.NewReader(src))
		if err != nil || bytes.Contains(src, []byte{0x21, 0x01}) { // whose plain text it reads otherwise
			return
		}
		for _, m := range std.Image {
			if len(m.Palette) == 0 {
				return
			}
		}
		want := played(std)
		if len(got) != len(want) {
			t.Fatalf("%d frames, want %d", len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i].Pix, want[i].Pix) {
				t.Fatalf("frame %d of %d differs", i, len(want))
			}
		}
	})
}
