package main

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"testing"

	"imgkeep/resize"
)

// The pictures of the tests, all made here.

var (
	red    = color.NRGBA{255, 0, 0, 255}
	green  = color.NRGBA{0, 255, 0, 255}
	blue   = color.NRGBA{0, 0, 255, 255}
	yellow = color.NRGBA{255, 255, 0, 255}
	clear  = color.NRGBA{}
)

// corners paints the quarters red (top left), green (top right), blue (bottom
// left) and yellow (bottom right).
func corners(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := red
			switch left, top := x < w/2, y < h/2; {
			case !left && top:
				c = green
			case left && !top:
				c = blue
			case !left && !top:
				c = yellow
			}
			m.SetNRGBA(x, y, c)
		}
	}
	return m
}

// noise is hard to compress, so that there is much of it to cut off.
func noise(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	state := uint32(1)
	for i := range m.Pix {
		state = state*1664525 + 1013904223
		m.Pix[i] = uint8(state >> 24)
		if i%4 == 3 {
			m.Pix[i] = 255
		}
	}
	return m
}

func toPNG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func toJPEG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func toGIF(t testing.TB, g *gif.GIF) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// toWebP uses the decoder itself: Go has no encoder. What it makes of a JPEG is lossy.
func toWebP(t testing.TB, p *resize.Pool, format string, src []byte) []byte {
	t.Helper()
	return one(t, p, format, src, resize.Target{Size: huge, Format: "webp", Quality: 95}).Data
}

// pixels decodes a result. Of an animation it gives the first frame.
func pixels(t testing.TB, p *resize.Pool, r resize.Result) image.Image {
	t.Helper()
	if r.Format == "webp" {
		r = one(t, p, "webp", r.Data, resize.Target{Size: huge, Format: "png"})
	}
	m, format, err := image.Decode(bytes.NewReader(r.Data))
	if err != nil || format != r.Format {
		t.Fatalf("result of type %s decodes as %s: %v", r.Format, format, err)
	}
	if b := m.Bounds(); b.Dx() != r.Width || b.Dy() != r.Height {
		t.Fatalf("result says %dx%d and is %dx%d", r.Width, r.Height, b.Dx(), b.Dy())
	}
	return m
}

// at is a pixel, as straight 8-bit values.
func at(m image.Image, x, y int) color.NRGBA {
	return color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA)
}

// near says whether no channel differs by more than most.
func near(a, b color.NRGBA, most int) bool {
	d := func(x, y uint8) bool { return max(int(x)-int(y), int(y)-int(x)) <= most }
	return d(a.R, b.R) && d(a.G, b.G) && d(a.B, b.B) && d(a.A, b.A)
}

// exif is a TIFF structure with nothing but an orientation.
func exif(orientation int) []byte {
	b := []byte("MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01")
	return append(b, 0, byte(orientation), 0, 0, 0, 0, 0, 0)
}

// insertJPEG puts an APP segment right after the start of the file.
func insertJPEG(src []byte, app byte, data []byte) []byte {
	out := append([]byte{}, src[:2]...)
	out = append(out, 0xff, 0xe0+app)
	out = binary.BigEndian.AppendUint16(out, uint16(len(data)+2))
	return append(append(out, data...), src[2:]...)
}

// insertPNG puts a chunk right after IHDR.
func insertPNG(src []byte, kind string, data []byte) []byte {
	const head = 8 + 25
	out := append([]byte{}, src[:head]...)
	out = append(out, pngChunk(kind, data)...)
	return append(out, src[head:]...)
}

func pngChunk(kind string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, kind...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// insertWebP adds a chunk at the end of a lossy WebP without alpha, which it
// first makes an extended one with the flag.
func insertWebP(src []byte, w, h int, flag byte, kind string, data []byte) []byte {
	vp8x := []byte{flag, 0, 0, 0, byte(w - 1), byte((w - 1) >> 8), 0, byte(h - 1), byte((h - 1) >> 8), 0}
	body := append([]byte("WEBP"), riffChunk("VP8X", vp8x)...)
	body = append(body, src[12:]...)
	body = append(body, riffChunk(kind, data)...)
	return riffChunk("RIFF", body)
}

func riffChunk(kind string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(data)))
	if b = append(b, data...); len(data)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

func withICC(t testing.TB, format string, src, profile []byte) []byte {
	t.Helper()
	switch format {
	case "jpeg":
		return insertJPEG(src, 2, append([]byte("ICC_PROFILE\x00\x01\x01"), profile...))
	case "png":
		b := bytes.NewBufferString("icc\x00\x00")
		z := zlib.NewWriter(b)
		_, _ = z.Write(profile)
		_ = z.Close()
		return insertPNG(src, "iCCP", b.Bytes())
	}
	t.Fatal(format)
	return nil
}

// animation has a box that walks over a coloured ground, n frames, and a delay
// of its own for each.
func animation(w, h, n int, loop int, transparent bool) *gif.GIF {
	pal := color.Palette{clear, red, green, blue, yellow, color.White}
	ground := uint8(2)
	if transparent {
		ground = 0
	}
	g := &gif.GIF{LoopCount: loop}
	for f := range n {
		m := image.NewPaletted(image.Rect(0, 0, w, h), pal)
		for i := range m.Pix {
			m.Pix[i] = ground
		}
		for y := h / 4; y < h*3/4; y++ {
			for x := range w / n {
				m.SetColorIndex(f*w/n+x, y, 1)
			}
		}
		g.Image = append(g.Image, m)
		g.Delay = append(g.Delay, 5+f)
		g.Disposal = append(g.Disposal, gif.DisposalBackground)
	}
	return g
}
