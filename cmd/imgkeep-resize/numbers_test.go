package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"testing"

	"imgkeep/resize"
)

// swatches are colours of all kinds.
func swatches() *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, 64, 64))
	for y := range 64 {
		for x := range 64 {
			i := 8*(y/8) + x/8
			m.SetNRGBA(x, y, color.NRGBA{uint8(85 * (i & 3)), uint8(85 * (i >> 2 & 3)), uint8(85 * (i >> 4 & 3)), 255})
		}
	}
	return m
}

// tablePrinter is a profile of an RGB device that has a table of perceptual colours
// alone.
func tablePrinter() []byte {
	b := []byte("mft1\x00\x00\x00\x00\x03\x03\x02\x00")
	for i := range 9 {
		b = binary.BigEndian.AppendUint32(b, uint32([]int{65536, 0, 0, 0}[i%4]))
	}
	ramp := func(n int) {
		for range n {
			for i := range 256 {
				b = append(b, uint8(i))
			}
		}
	}
	ramp(3)
	for corner := range 8 {
		r, g, blue := corner>>2&1, corner>>1&1, corner&1
		l, a, bb := 30*r+50*g+20*blue, 50*r-60*g+10*blue, 40*r+20*g-60*blue // white is white
		b = append(b, uint8(float64(l)*2.55), uint8(a+128), uint8(bb+128))
	}
	ramp(3)
	return profile("mntr", "RGB ", "Lab ", tag{"A2B0", b})
}

// numberPictures are PNGs that say what their colours are in every way.
func numberPictures(t testing.TB) map[string][]byte {
	t.Helper()
	src := toPNG(t, swatches())
	gray := image.NewGray(image.Rect(0, 0, 64, 64))
	for i := range gray.Pix {
		gray.Pix[i] = uint8(4 * (i % 64))
	}
	gamma := func(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
	chromaticities := func(v ...uint32) []byte {
		var b []byte
		for _, n := range v {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return b
	}
	wide := chromaticities(31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
	all := map[string][]byte{
		"png gamma 1":                  insertPNG(src, "gAMA", gamma(100_000)),
		"png gamma 1/1.8":              insertPNG(src, "gAMA", gamma(55_556)),
		"png gamma 1/2.2 and P3":       insertPNG(insertPNG(src, "cHRM", wide), "gAMA", gamma(45_455)),
		"png P3 without gamma":         insertPNG(src, "cHRM", wide),
		"png gamma 1, and sRGB":        insertPNG(insertPNG(src, "sRGB", []byte{0}), "gAMA", gamma(100_000)),
		"png gray, gamma 1":            insertPNG(toPNG(t, gray), "gAMA", gamma(100_000)),
		"png profile with a table":     withICC(t, "png", src, tablePrinter()),
		"png profile of Display P3":    withICC(t, "png", src, wideProfile()),
		"png profile of gray, gamma 3": withICC(t, "png", toPNG(t, gray), grayProfile(3)),
	}
	for _, c := range [][2]byte{{1, 13}, {12, 13}, {9, 1}, {9, 14}, {1, 8}, {11, 13}, {6, 6}} {
		all[fmt.Sprintf("png cICP %d/%d", c[0], c[1])] = insertPNG(src, "cICP", []byte{c[0], c[1], 0, 1})
	}
	all["png cICP before a profile"] = insertPNG(withICC(t, "png", src, tablePrinter()), "cICP", []byte{12, 13, 0, 1})
	return all
}

// Profiles that have perceptual tables alone, and numbers in the place of profiles, change
// colours; also where no browser is at hand to compare with.
func TestNumbers(t *testing.T) {
	p := newPool(t, resize.Options{})
	plain := pixels(t, p, one(t, p, "png", toPNG(t, swatches()), resize.Target{Size: huge}))
	for _, name := range []string{"png gamma 1", "png gamma 1/2.2 and P3", "png cICP 9/1", "png cICP 12/13", "png profile with a table"} {
		got := pixels(t, p, one(t, p, "png", numberPictures(t)[name], resize.Target{Size: huge}))
		if d, err := difference(got, straight(plain)); err != nil || d.mean < 2 {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
	// What is no number, or of no space, changes nothing.
	for name, data := range map[string][]byte{"gAMA": {0, 0, 0, 0}, "cICP": {1, 16, 0, 1}, "cHRM": bytes.Repeat([]byte{9}, 32)} {
		got := pixels(t, p, one(t, p, "png", insertPNG(toPNG(t, swatches()), name, data), resize.Target{Size: huge}))
		if d, err := difference(got, straight(plain)); err != nil || d.mean != 0 {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}

func straight(m image.Image) *image.NRGBA {
	n := image.NewNRGBA(m.Bounds())
	for y := range m.Bounds().Dy() {
		for x := range m.Bounds().Dx() {
			n.SetNRGBA(x, y, at(m, x, y))
		}
	}
	return n
}
