package vips

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"testing"

	stdbmp "golang.org/x/image/bmp"
)

// What golang.org/x/image decodes, which is not much, has the same colours here; and
// nothing makes it panic.
func FuzzBMP(f *testing.F) {
	m := image.NewPaletted(image.Rect(0, 0, 9, 5), color.Palette{color.Black, color.White, color.NRGBA{9, 8, 7, 255}})
	rgb := image.NewRGBA(m.Rect)
	for i := range m.Pix {
		m.Pix[i] = byte(i % 3)
		rgb.Set(i%9, i/9, color.NRGBA{byte(i), byte(3 * i), byte(7 * i), 255})
	}
	for _, m := range []image.Image{m, rgb} {
		var b bytes.Buffer
		if err := stdbmp.Encode(&b, m); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add(append([]byte("BM\x00\x00\x00\x00\x00\x00\x00\x00\x42\x00\x00\x00\x28\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x01\x00\x20\x00\x03\x00\x00\x00"),
		append(make([]byte, 20), "\x01\x00\xFF\x00\x00\xFF\x00\x00\xFF\x00\x00\x00pixels!!"...)...))
	f.Add([]byte("BM\x00\x00\x00\x00\x00\x00\x00\x00\x1A\x00\x00\x00\x0C\x00\x00\x00\x02\x00\x01\x00\x01\x00\x04\x00\x12\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, src []byte) {
		b, err := readBMP(src)
		if err != nil || b.width < 1 || b.height < 1 || b.width > 100 || b.height > 100 || !b.runs && len(b.data) < b.stride()*b.height {
			return
		}
		got := image.NewNRGBA(image.Rect(0, 0, b.width, b.height))
		if b.runs {
			_ = b.unpack(got.Pix)
			return
		}
		b.rows(got.Pix)
		m, err := stdbmp.Decode(bytes.NewReader(src))
		if err != nil || b.bits == 32 { // whose alpha it takes for one
			return
		}
		want := image.NewNRGBA(m.Bounds())
		draw.Draw(want, want.Rect, m, image.Point{}, draw.Src)
		if got.Rect != want.Rect || !bytes.Equal(got.Pix, want.Pix) {
			t.Errorf("%q: another picture", src)
		}
	})
}

// Of a mask counts what is in a pixel; no bit belongs to two, and none is in pieces.
func TestMasks(t *testing.T) {
	for _, c := range []struct {
		bits  int
		masks [4]uint32
		ok    bool
		alpha uint32
	}{
		{32, [4]uint32{0xFF0000, 0xFF00, 0xFF, 0xFF << 24}, true, 0xFF << 24},
		{32, [4]uint32{0xFF0000, 0xFF00, 0xFF, 0x81 << 24}, false, 0},
		{32, [4]uint32{0xFF0000, 0xFF00, 0xFF, 1}, false, 0},
		{32, [4]uint32{0x810000, 0xFF00, 0xFF, 0}, false, 0},
		{16, [4]uint32{0xF800, 0x7E0, 0x1F, 0xFF << 24}, true, 0},
		{16, [4]uint32{0x7C00, 0x3E0, 0x1F, 0x8000}, true, 0x8000},
	} {
		b := bmp{bits: c.bits, masks: c.masks}
		if ok := b.trimMasks(); ok != c.ok || ok && b.masks[3] != c.alpha {
			t.Errorf("%d bits, %x: %v, %x", c.bits, c.masks, ok, b.masks)
		}
	}
}
