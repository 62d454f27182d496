package vips

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/draw"
	"math"
	"math/bits"
	"testing"

	"imgkeep/resize"
)

// A JPEG that only JPEGs are made of is never RGB: whatever its sampling, its size and its
// orientation, it looks as by a preset, which goes by RGB.
func TestPlanes(t *testing.T) {
	full, half := [2]int{1, 1}, [2]int{2, 2}
	for _, c := range []struct {
		name         string
		luma, colour [2]int // samples of a block of both, sideways and down
		planes       int
		turns        int     // of the orientations, so many are tried
		more         float64 // it may differ by this, of 255, on average
	}{
		{"4:2:0", half, full, 3, 9, 1},
		{"4:2:2", [2]int{2, 1}, full, 3, 9, 1},
		{"4:4:0", [2]int{1, 2}, full, 3, 1, 1},
		// Here libjpeg only repeats colours, which shows where little is shrunk.
		{"4:1:1", [2]int{4, 1}, full, 3, 1, 2.5},
		{"4:1:0", [2]int{4, 2}, full, 3, 1, 2.5},
		{"4:4:4", full, full, 3, 1, 1},
		{"4:4:4 of pairs of blocks", [2]int{2, 1}, [2]int{2, 1}, 3, 1, 1},
		{"colours in more detail", full, [2]int{2, 1}, 3, 1, 1}, // by RGB
		{"gray", full, full, 1, 1, 1},
	} {
		for orientation := range c.turns {
			for _, size := range []image.Point{{401, 299}, {96, 64}} {
				t.Run(fmt.Sprint(c.name, size, orientation), func(t *testing.T) {
					src := flatBlocks(size.X, size.Y, orientation, c.planes, c.luma, c.colour)
					for _, quality := range []int{80, 95} {
						for _, heights := range [][]int{{51}, {60, 33, 20}} {
							comparePlanes(t, src, quality, heights, c.more)
						}
					}
				})
			}
		}
	}
}

// Colours that RGB has not got show which way a JPEG went. By its planes goes one of any size, also
// where libjpeg can shrink it only to a part of a pixel.
func TestPlanesOfAnySize(t *testing.T) {
	for shrink := 1; shrink <= 8; shrink *= 2 {
		for _, more := range []image.Point{{}, {1, 0}, {0, 1}, {2, 3}, {5, 4}, {7, 7}} {
			src := toJPEG(t, colours(320+more.X, 240+more.Y, func(float64, float64) uint8 { return 255 }))
			got := decode(t, resized(t, src, 150/shrink)).(*image.YCbCr)
			for _, y := range got.Y {
				if y < 126 || y > 130 {
					t.Fatalf("%v by %d: a luma is %d, want 128", more, shrink, y)
				}
			}
		}
	}
}

// A JPEG that ends early is refused in any format and at any size, also where it lacks only what
// becomes a part of a pixel.
func TestEndsEarly(t *testing.T) {
	for rows := 96; rows <= 104; rows++ {
		whole := toJPEG(t, scene(150, rows))
		for _, height := range []int{5, 11, 20, 60} {
			for _, format := range []string{"jpeg", "png"} {
				target := resize.Target{Size: resize.Size{Height: height}, Format: format}
				if _, err := decoder.Resize(whole[:len(whole)-50], request("jpeg", target)); err == nil {
					t.Errorf("150 by %d to %d as %s is made without its end", rows, height, format)
				}
			}
		}
	}
}

// Damage that decoders pass over does not keep a JPEG from having trimmed sizes, however much of it
// there is; its missing end does.
func TestTrimDamaged(t *testing.T) {
	m := image.NewRGBA(image.Rect(0, 0, 400, 300))
	draw.Draw(m, m.Rect, image.White, image.Point{}, draw.Src)
	draw.Draw(m, image.Rect(40, 30, 360, 270), scene(320, 240), image.Point{}, draw.Src)
	src := toJPEG(t, m)
	sized := func(src []byte, trim int) (image.Image, error) {
		results, err := decoder.Resize(src, request("jpeg", resize.Target{Preset: &resize.Preset{Width: 100, Trim: trim}, Format: "png"}))
		if err != nil {
			return nil, err
		}
		return decode(t, results[0].Data), nil
	}
	for _, codes := range []int{0, 10, 2000} { // that no table has, each a warning of libjpeg's
		damaged := bytes.Clone(src)
		copy(damaged[len(damaged)/2:], bytes.Repeat([]byte{0xff, 0}, codes*2))
		for _, trim := range []int{0, 10} {
			m, err := sized(damaged, trim)
			if err != nil {
				t.Errorf("%d codes are broken, trimmed by %d: %v", codes, trim, err)
			} else if r, _, _, _ := m.At(50, 1).RGBA(); (r > 0xf000) != (trim == 0) {
				t.Errorf("%d codes are broken, trimmed by %d: the border is %v", codes, trim, trim == 0)
			}
		}
	}
	if _, err := sized(src[:len(src)-50], 10); err == nil {
		t.Error("trimmed without its end")
	}
}

// Where the size is odd, the last samples of colour stand for the last pixels alone. What a
// thin picture would have beyond its edge shows most.
func TestPlanesAtEdges(t *testing.T) {
	for _, side := range []int{80, 104, 100, 103} {
		for pixels := 1; pixels <= 5; pixels += 2 {
			for _, down := range []bool{false, true} {
				size, height := image.Pt(side, side*50/pixels), 50
				if down {
					size, height = image.Pt(size.Y, size.X), pixels
				}
				src := toJPEG(t, colours(size.X, size.Y, func(x, y float64) uint8 {
					if down {
						x = y
					}
					return uint8(40 + 176*x)
				}))
				got := decode(t, resized(t, src, height)).(*image.YCbCr)
				// The middle of the last pixel, in the ramp.
				want := 40 + 176*(1-0.5/float64(pixels))
				if last := float64(got.Cb[got.COffset(got.Rect.Max.X-1, got.Rect.Max.Y-1)]); math.Abs(last-want) > 10 {
					t.Errorf("%v to %v: its last colour is %.0f, want %.0f", size, got.Rect.Size(), last, want)
				}
			}
		}
	}
}

// colours is a picture of luma 128, with both colours as of is at a part of its width and height.
func colours(w, h int, of func(x, y float64) uint8) image.Image {
	m := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio444)
	for i := range m.Y {
		c := of((float64(i%w)+0.5)/float64(w), (float64(i/w)+0.5)/float64(h))
		m.Y[i], m.Cb[i], m.Cr[i] = 128, c, c
	}
	return m
}

// resized is a JPEG as one of a height.
func resized(t *testing.T, src []byte, height int) []byte {
	t.Helper()
	r, err := decoder.Resize(src, request("jpeg", resize.Target{Size: resize.Size{Height: height}}))
	if err != nil {
		t.Fatal(err)
	}
	return r[0].Data
}

// comparePlanes makes JPEGs both ways, and says which differ from the PNG by so much more than
// those by RGB do.
func comparePlanes(t *testing.T, src []byte, quality int, heights []int, more float64) {
	t.Helper()
	make := func(target resize.Target) (all []image.Image) {
		var targets []resize.Target
		for _, h := range heights {
			if target.Preset != nil {
				target.Preset = &resize.Preset{Height: h, JPEGQuality: quality}
			}
			target.Size = resize.Size{Height: h}
			targets = append(targets, target)
		}
		results, err := decoder.Resize(src, request("jpeg", targets...))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			all = append(all, decode(t, r.Data))
		}
		return all
	}
	planes, converted := make(resize.Target{Quality: quality}), make(resize.Target{Preset: &resize.Preset{}})
	for i, want := range make(resize.Target{Format: "png"}) {
		if planes[i].Bounds() != want.Bounds() {
			t.Fatalf("height %d: it is %v, want %v", heights[i], planes[i].Bounds(), want.Bounds())
		}
		got, other := meanDifference(planes[i], want), meanDifference(converted[i], want)
		for c, d := range got {
			if d > other[c]+more {
				t.Errorf("height %d, quality %d: its %s differs by %.1f, and by RGB by %.1f", heights[i], quality, []string{"red", "green", "blue"}[c], d, other[c])
			}
		}
	}
}

// meanDifference is that of red, green and blue, of 255.
func meanDifference(a, b image.Image) (mean [3]float64) {
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			r1, g1, b1, _ := a.At(x, y).RGBA()
			r2, g2, b2, _ := b.At(x, y).RGBA()
			for c, d := range [3]int{int(r1) - int(r2), int(g1) - int(g2), int(b1) - int(b2)} {
				mean[c] += math.Abs(float64(d)) / 257 / float64(a.Bounds().Dx()*a.Bounds().Dy())
			}
		}
	}
	return mean
}

// flatBlocks is a JPEG (ITU-T T.81) of three ramps whose blocks are each of one value, with the
// sampling factors of its planes. Orientation 0: it does not say.
func flatBlocks(w, h, orientation, planes int, luma, colour [2]int) []byte {
	be := binary.BigEndian
	out := []byte{0xFF, 0xD8}
	segment := func(marker byte, data ...byte) {
		out = append(out, 0xFF, marker)
		out = append(be.AppendUint16(out, uint16(len(data)+2)), data...)
	}
	if orientation > 0 {
		segment(0xE1, append([]byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00"),
			byte(orientation), 0, 0, 0, 0, 0, 0)...)
	}
	segment(0xDB, append([]byte{0}, bytes.Repeat([]byte{1}, 64)...)...)
	frame := append(be.AppendUint16(be.AppendUint16([]byte{8}, uint16(h)), uint16(w)), byte(planes))
	scan := []byte{byte(planes)}
	factors := [3][2]int{luma, colour, colour}
	widest, highest := 1, 1
	for i, f := range factors[:planes] {
		frame = append(frame, byte(i+1), byte(f[0]<<4|f[1]), 0)
		scan = append(scan, byte(i+1), 0)
		widest, highest = max(widest, f[0]), max(highest, f[1])
	}
	segment(0xC0, frame...)
	// Twelve codes of four bits for how long a difference is; one of one bit for the end of a block.
	segment(0xC4, append([]byte{0x00, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)...)
	segment(0xC4, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	segment(0xDA, append(scan, 0, 63, 0)...)

	var acc uint64
	n := 0
	put := func(v, length int) {
		acc, n = acc<<length|uint64(v)&(1<<length-1), n+length
		for ; n >= 8; n -= 8 {
			b := byte(acc >> (n - 8))
			if out = append(out, b); b == 0xFF {
				out = append(out, 0)
			}
		}
	}
	var last [3]int
	for top := 0; top < h; top += 8 * highest {
		for left := 0; left < w; left += 8 * widest {
			for i, f := range factors[:planes] {
				for block := range f[0] * f[1] {
					// The middle of the block, as a part of the picture.
					x := (float64(left) + (float64(block%f[0])+0.5)*8*float64(widest)/float64(f[0])) / float64(w)
					y := (float64(top) + (float64(block/f[0])+0.5)*8*float64(highest)/float64(f[1])) / float64(h)
					value := int(8 * [3]float64{60*x*y - 30, 120*x - 60, 80*y - 60}[i])
					d := value - last[i]
					last[i] = value
					length := bits.Len(uint(max(d, -d)))
					put(length, 4)
					if d < 0 {
						d--
					}
					put(d, length)
					put(0, 1)
				}
			}
		}
	}
	put(0x7F, 7)
	return append(out, 0xFF, 0xD9)
}
