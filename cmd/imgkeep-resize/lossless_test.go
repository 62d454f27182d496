package main

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"os"
	"testing"

	xdraw "golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"imgkeep/resize"
)

// written is a page of text, twice as large as the size that is made of it.
func written(ground, ink color.Color) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, 600, 400))
	draw.Draw(m, m.Rect, image.NewUniform(ground), image.Point{}, draw.Src)
	d := font.Drawer{Dst: m, Src: image.NewUniform(ink), Face: basicfont.Face7x13}
	for y := 16; y < 400; y += 16 {
		d.Dot = fixed.P(8, y)
		d.DrawString("The quick brown fox jumps over the lazy dog, 0123456789 times, and so on each line.")
	}
	return m
}

// pixelArt has pixels of 10 by 10, in few colours.
func pixelArt() *image.NRGBA {
	small, m := image.NewNRGBA(image.Rect(0, 0, 60, 40)), image.NewNRGBA(image.Rect(0, 0, 600, 400))
	state := uint32(7)
	for i := range 60 * 40 {
		state = state*1664525 + 1013904223
		c := []color.NRGBA{red, green, blue, yellow, black, white}[state>>24%6]
		if i > 0 && state>>20&15 < 10 {
			c = small.NRGBAAt((i-1)%60, (i-1)/60)
		}
		small.SetNRGBA(i%60, i/60, c)
	}
	xdraw.NearestNeighbor.Scale(m, m.Rect, small, small.Rect, draw.Src, nil)
	return m
}

// A picture that was lossless does not lose half of its colours' resolution, unless it is a
// photo, of which nobody sees it, and which would be many times as large.
func TestLossless(t *testing.T) {
	p := newPool(t, resize.Options{Sources: besides, Outputs: []string{"avif"}})
	evening, err := os.ReadFile("../../contrib/sample/evening.jpg")
	if err != nil {
		t.Fatal(err)
	}
	photo := straight(pixels(t, p, preset(t, p, "jpeg", evening, resize.Preset{Width: 600, Format: "png"})))
	captioned := straight(photo)
	d := font.Drawer{Dst: captioned, Src: image.NewUniform(red), Face: basicfont.Face7x13, Dot: fixed.P(20, 340)}
	d.DrawString("A CAPTION IN RED OVER A PHOTO, WHICH IS ALL OF IT THAT SUFFERS")
	for name, c := range map[string]struct {
		picture  *image.NRGBA
		lossless bool
	}{
		"red text on blue":   {written(blue, red), true},
		"black text":         {written(white, black), true},
		"pixel art":          {pixelArt(), true},
		"photo":              {photo, false},
		"photo with caption": {captioned, false},
	} {
		small := preset(t, p, "png", toPNG(t, c.picture), resize.Preset{Width: 300})
		want := pixels(t, p, small)
		lossy := one(t, p, "jpeg", toJPEG(t, c.picture), resize.Target{Size: resize.Size{Width: 300}, Format: "webp"})
		if isLossless(lossy.Data) {
			t.Errorf("%s: of a JPEG it is lossless", name)
		}
		// From BMP, PNG, a lossless WebP, each alone and by a preset with a limit.
		sources := map[string][]byte{"png": toPNG(t, c.picture), "bmp": toBMP(c.picture)}
		if c.lossless {
			sources["webp"] = one(t, p, "png", toPNG(t, c.picture), resize.Target{Size: huge, Format: "webp"}).Data
			if !isLossless(sources["webp"]) {
				t.Errorf("%s: in full, it is not lossless", name)
				continue
			}
		}
		for format, src := range sources {
			r := one(t, p, format, src, resize.Target{Size: resize.Size{Width: 300}, Format: "webp"})
			d, err := difference(pixels(t, p, r), straight(want))
			t.Logf("%s, %s: lossless %v, %d bytes; lossy %d; png %d; %v, %v", name, format, isLossless(r.Data), len(r.Data), len(lossy.Data), len(small.Data), d, err)
			if isLossless(r.Data) != c.lossless {
				t.Errorf("%s, %s: lossless is %v", name, format, !c.lossless)
			}
			if c.lossless && (err != nil || d.worst > 1) {
				t.Errorf("%s, %s: it is lossless, and %v, %v", name, format, d, err)
			}
			if len(r.Data) > 4*len(lossy.Data) {
				t.Errorf("%s, %s: %d bytes, over 4 times %d", name, format, len(r.Data), len(lossy.Data))
			}
			// Within a limit of bytes that it just meets, it stays what it is, also where no lossy
			// one meets it. (libvips adds metadata, which count.)
			limited := preset(t, p, format, src, resize.Preset{Width: 300, Format: "webp", MaxBytes: int64(len(r.Data) + 256)})
			if len(limited.Data) != len(r.Data) || isLossless(limited.Data) != c.lossless {
				t.Errorf("%s, %s: %d bytes within the limit of %d, lossless %v", name, format, len(limited.Data), len(r.Data), isLossless(limited.Data))
			}
		}
	}
}

// Where halving the colours would show, JPEG and AVIF keep them, too; of a JPEG nothing
// changes.
func TestFullColours(t *testing.T) {
	p := newPool(t, resize.Options{Sources: besides, Outputs: []string{"avif"}})
	for name, c := range map[string]struct {
		picture *image.NRGBA
		full    bool
	}{"red text on blue": {written(blue, red), true}, "black text": {written(white, black), false}} {
		for _, format := range []string{"jpeg", "avif"} {
			target := resize.Target{Size: resize.Size{Width: 300}, Format: format}
			full := fullColours(t, one(t, p, "png", toPNG(t, c.picture), target))
			if full != c.full || fullColours(t, one(t, p, "jpeg", toJPEG(t, c.picture), target)) {
				t.Errorf("%s as %s: colours in full are %v", name, format, full)
			}
		}
	}
}

// fullColours tells whether a JPEG (ITU-T T.81, B.2.2) or an AVIF (av1C) has as many of the
// colours as of the brightness.
func fullColours(t *testing.T, r resize.Result) bool {
	t.Helper()
	if r.Format == "jpeg" {
		at := bytes.Index(r.Data, []byte{0xff, 0xc0})
		return r.Data[at+11] == 0x11
	}
	at := bytes.Index(r.Data, []byte("av1C"))
	return r.Data[at+6]&0x0c == 0
}

// Animations of few colours stay as they are, and those that would be much larger do not.
func TestLosslessAnimation(t *testing.T) {
	p := newPool(t, resize.Options{})
	drawn := one(t, p, "gif", toGIF(t, animation(300, 200, 6, 0, false)), resize.Target{Size: resize.Size{Width: 150}, Format: "webp"})
	if !isLossless(drawn.Data) || drawn.Frames != 6 {
		t.Errorf("a box that walks: %d frames, lossless %v", drawn.Frames, isLossless(drawn.Data))
	}
	// Over 2 megapixels in all frames, nobody looks.
	long := one(t, p, "gif", toGIF(t, animation(300, 200, 40, 0, false)), resize.Target{Size: resize.Size{Width: 300}, Format: "webp"})
	if isLossless(long.Data) || long.Frames != 40 {
		t.Errorf("2.4 megapixels: %d frames, lossless %v", long.Frames, isLossless(long.Data))
	}
	short := one(t, p, "gif", toGIF(t, animation(300, 200, 34, 0, false)), resize.Target{Size: resize.Size{Width: 300}, Format: "webp"})
	if !isLossless(short.Data) {
		t.Error("2.04 megapixels are not lossless")
	}
}

// isLossless tells whether a WebP has a lossless picture, and no lossy one (RFC 9649).
func isLossless(webp []byte) bool {
	return bytes.Contains(webp, []byte("VP8L")) && !bytes.Contains(webp, []byte("VP8 "))
}
