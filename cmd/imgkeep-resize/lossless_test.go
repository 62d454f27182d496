package main

import (
	"bytes"
	"image"
	"image/color"
	"os"
	"testing"

	"imgkeep/resize"
)

// letters are some, of 5 by 7 pixels, row by row from the left.
var letters = [][7]uint8{
	{0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f}, {0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04}, {0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e},
	{0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11}, {0x04, 0x0a, 0x11, 0x11, 0x1f, 0x11, 0x11}, {0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e},
	{0x11, 0x12, 0x14, 0x18, 0x14, 0x12, 0x11}, {0, 0, 0, 0, 0, 0, 0},
}

// write writes letters from a point on, as many as fit.
func write(m *image.NRGBA, ink color.NRGBA, x, y int) {
	state := uint32(x + 99*y)
	for ; x+6 < m.Rect.Dx(); x += 7 {
		state = state*1664525 + 1013904223
		for row, bits := range letters[state>>29] {
			for column := range 5 {
				if bits>>(4-column)&1 == 1 {
					m.SetNRGBA(x+column, y+row, ink)
				}
			}
		}
	}
}

// written is a page of text, twice as large as the size that is made of it.
func written(ground, ink color.NRGBA, spacing int) *image.NRGBA {
	m := filled(600, 400, ground)
	for y := 8; y+8 < 400; y += spacing {
		write(m, ink, 8, y)
	}
	return m
}

// pixelArt has pixels of 10 by 10, in few colours.
func pixelArt() *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, 600, 400))
	state, last := uint32(7), red
	for i := range 60 * 40 {
		if state = state*1664525 + 1013904223; state>>20&15 >= 10 {
			last = []color.NRGBA{red, green, blue, yellow, black, white}[state>>24%6]
		}
		paint(m, i%60*10, i/60*10, i%60*10+10, i/60*10+10, last)
	}
	return m
}

// A picture that was lossless does not lose half of its colours' resolution, unless it is a
// photo, of which nobody sees it, and which would be many times as large.
func TestLossless(t *testing.T) {
	p := newPool(t, resize.Options{Sources: extraFormats, Outputs: []string{"avif"}})
	evening, err := os.ReadFile("../../contrib/sample/evening.jpg")
	if err != nil {
		t.Fatal(err)
	}
	photo := straight(pixels(t, p, preset(t, p, "jpeg", evening, resize.Preset{Width: 600, Format: "png"})))
	captioned := straight(photo)
	write(captioned, red, 20, 340)
	for name, c := range map[string]struct {
		picture  *image.NRGBA
		lossless bool
	}{
		"red text on blue":   {written(blue, red, 12), true},
		"black text":         {written(white, black, 12), false},
		"boxes":              {corners(600, 400), true},
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
			limited := preset(t, p, format, src, resize.Preset{Width: 300, Format: "webp", MaxBytes: max(1<<10, int64(len(r.Data)+256))})
			if len(r.Data) > 1<<10 && len(limited.Data) != len(r.Data) || isLossless(limited.Data) != c.lossless {
				t.Errorf("%s, %s: %d bytes within the limit of %d, lossless %v", name, format, len(limited.Data), len(r.Data), isLossless(limited.Data))
			}
		}
	}
}

// Where halving the colours would show, JPEG and AVIF keep them, too; of a JPEG nothing
// changes.
func TestFullColours(t *testing.T) {
	p := newPool(t, resize.Options{Sources: extraFormats, Outputs: []string{"avif"}})
	for name, c := range map[string]struct {
		picture *image.NRGBA
		full    bool
	}{"red text on blue": {written(blue, red, 12), true}, "black text": {written(white, black, 12), false}} {
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

// At its own size, where nothing got softer, text is lossless for its few bytes.
func TestLosslessIsSmaller(t *testing.T) {
	p := newPool(t, resize.Options{})
	text := written(white, black, 12)
	lossy := one(t, p, "jpeg", toJPEG(t, text), resize.Target{Size: huge, Format: "webp"})
	r := one(t, p, "png", toPNG(t, text), resize.Target{Size: huge, Format: "webp"})
	if t.Logf("%d bytes, lossy %d", len(r.Data), len(lossy.Data)); !isLossless(r.Data) || len(r.Data) > len(lossy.Data)/2 {
		t.Errorf("%d bytes, lossless %v, and lossy %d", len(r.Data), isLossless(r.Data), len(lossy.Data))
	}
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
