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
	b := lut8(3)
	for corner := range 8 {
		r, g, blue := corner>>2&1, corner>>1&1, corner&1
		l, a, bb := 30*r+50*g+20*blue, 50*r-60*g+10*blue, 40*r+20*g-60*blue // white is white
		b = append(b, uint8(float64(l)*2.55), uint8(a+128), uint8(bb+128))
	}
	b = append(b, identities(3)...)
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
	for _, c := range [][2]byte{{1, 13}, {12, 13}, {9, 1}, {9, 14}, {1, 8}, {11, 13}, {6, 6}, {4, 7}, {8, 17}, {10, 13}, {22, 13}, {1, 2}, {2, 13}} {
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
	for name, data := range map[string][]byte{"gAMA": {0, 0, 0, 0}, "cICP": {1, 3, 0, 1}, "cHRM": bytes.Repeat([]byte{9}, 32)} {
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

// What AVIF, HEIC and JPEG XL say by numbers is what a PNG says by the same: that one is
// held against a browser where there is one.
func TestCodedColours(t *testing.T) {
	p := newPool(t, resize.Options{Sources: extraFormats, Outputs: []string{"avif"}})
	full := func(format string, src []byte) image.Image {
		return pixels(t, p, one(t, p, format, src, resize.Target{Size: huge, Format: "png"}))
	}
	plain := full("avif", codedAVIF(t, p, 2, 2, 6))
	heic := full("heic", testdata(t, "noise.heic"))
	type pair struct {
		format    string
		file, png []byte
	}
	pairs := map[string]pair{
		"heic 12/13": {"heic", withProperty(t, testdata(t, "noise.heic"), "colr", nclx(12, 13, 6)), insertPNG(toPNG(t, heic), "cICP", []byte{12, 13, 0, 1})},
		"heic 9/18":  {"heic", withProperty(t, testdata(t, "noise.heic"), "colr", nclx(9, 18, 6)), insertPNG(toPNG(t, heic), "cICP", []byte{9, 18, 0, 1})},
		// A profile counts more than numbers.
		"avif 9/16 and a profile": {"avif", withProperty(t, codedAVIF(t, p, 9, 16, 6), "colr", append([]byte("prof"), wideProfile()...)), withICC(t, "png", toPNG(t, plain), wideProfile())},
		"avif in its stream":      {"avif", streamAVIF(t, 12, 13), insertPNG(toPNG(t, full("avif", testdata(t, "noise.avif"))), "cICP", []byte{12, 13, 0, 1})},
		// A screen for film, as it is, and for television, of which AVIF takes sRGB.
		"avif 2/8":   {"avif", codedAVIF(t, p, 2, 8, 6), insertPNG(toPNG(t, plain), "cICP", []byte{1, 8, 0, 1})},
		"avif 9/14":  {"avif", codedAVIF(t, p, 9, 14, 6), insertPNG(toPNG(t, plain), "cICP", []byte{9, 13, 0, 1})},
		"jxl of P3":  {"jxl", testdata(t, "p3.jxl"), insertPNG(toPNG(t, swatches()), "cICP", []byte{12, 13, 0, 1})},
		"jxl of PQ":  {"jxl", testdata(t, "pq.jxl"), pqPNG(t, 9, 16)},
		"jxl of HLG": {"jxl", testdata(t, "hlg.jxl"), pqPNG(t, 9, 18)},
	}
	for _, c := range [][2]byte{{12, 13}, {9, 13}, {9, 16}, {9, 18}, {1, 18}, {6, 7}, {4, 4}} {
		pairs[fmt.Sprintf("avif %d/%d", c[0], c[1])] = pair{"avif", codedAVIF(t, p, c[0], c[1], 6), insertPNG(toPNG(t, plain), "cICP", []byte{c[0], c[1], 0, 1})}
	}
	for name, c := range pairs {
		want := straight(full("png", c.png))
		if d, err := difference(full(c.format, c.file), want); err != nil || d.mean > 0.5 || d.worst > 3 {
			t.Errorf("%s: %v, %v", name, d, err)
		}
		// And that is something else than the numbers themselves.
		if without, err := difference(full("png", withoutColours(c.png)), want); err != nil || without.mean < 0.5 {
			t.Errorf("%s: nothing changes: %v, %v", name, without, err)
		}
	}
}

// withoutColours is a PNG without the chunk behind IHDR.
func withoutColours(src []byte) []byte {
	const head, around = 8 + 25, 12
	n := int(binary.BigEndian.Uint32(src[head:])) + around
	return append(bytes.Clone(src[:head]), src[head+n:]...)
}

func nclx(primaries, transfer, matrix byte) []byte {
	return []byte{'n', 'c', 'l', 'x', 0, primaries, 0, transfer, 0, matrix, 0x80}
}

// withProperty gives the first item of an AVIF or HEIC one more property (ISO/IEC 14496-12,
// 8.11), as libheif writes these files.
func withProperty(t testing.TB, src []byte, kind string, body []byte) []byte {
	t.Helper()
	be := binary.BigEndian
	find := func(kind string) int { // of a box, its beginning
		at := bytes.Index(src, []byte(kind)) - 4
		if at < 0 {
			t.Fatalf("no %s box", kind)
		}
		return at
	}
	meta, iprp, ipco, ipma, iloc := find("meta"), find("iprp"), find("ipco"), find("ipma"), find("iloc")
	box := append(be.AppendUint32(nil, uint32(8+len(body))), kind...)
	box = append(box, body...)
	count := byte(0)
	for at := ipco + 8; at < ipco+int(be.Uint32(src[ipco:])); at += int(be.Uint32(src[at:])) {
		count++
	}
	out := bytes.Clone(src)
	grow := func(at, by int) { be.PutUint32(out[at:], be.Uint32(out[at:])+uint32(by)) }
	all := len(box) + 1
	grow(meta, all)
	grow(iprp, all)
	grow(ipco, len(box))
	grow(ipma, 1)
	if out[iloc+12] != 0x44 || out[iloc+13] != 0x40 || out[iloc+8] != 0 || ipma < ipco || out[ipma+8] != 0 || out[ipma+11] != 0 {
		t.Fatal("the file is not as this test knows it")
	}
	for i := range int(be.Uint16(out[iloc+14:])) {
		grow(iloc+16+18*i+4, all) // where the pieces are counted from; one each
	}
	entry := ipma + 16 // item, how many properties it has, and which
	out[entry+2]++
	out = append(out[:entry+3:entry+3], append([]byte{count + 1}, out[entry+3:]...)...)
	end := ipco + int(be.Uint32(src[ipco:]))
	return append(out[:end:end], append(box, out[end:]...)...)
}
