package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"imgkeep/resize"
)

// JPEG, WebP and AVIF in all the ways in which they say what their colours are.

// flatJPEG is a baseline JPEG (ITU-T T.81) of one colour for each block of 8 by 8 pixels:
// component by component, row by row, of blocks that are as many in width and height.
// markers stand before all else. ids are how the components are called.
func flatJPEG(markers []byte, ids string, side int, components ...[]uint8) []byte {
	b := slices.Concat([]byte{0xff, 0xd8}, markers, []byte{0xff, 0xdb, 0, 67, 0}, bytes.Repeat([]byte{8}, 64))
	n := byte(len(components))
	b = append(b, 0xff, 0xc0, 0, 8+3*n, 8, 0, byte(8*side), 0, byte(8*side), n)
	for i := range components {
		b = append(b, ids[i], 0x11, 0)
	}
	// The difference to the block before has up to 9 bits; their number is a code of 4. And
	// one code of one bit, 0, ends a block.
	b = append(b, 0xff, 0xc4, 0, 3+16+10, 0x00, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	b = append(b, 0xff, 0xc4, 0, 3+16+1, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, 0xff, 0xda, 0, 6+2*n, n)
	for i := range components {
		b = append(b, ids[i], 0)
	}
	b = append(b, 0, 63, 0)
	var bits, held uint
	put := func(v, n uint) {
		for bits, held = bits<<n|v, held+n; held >= 8; held -= 8 {
			c := byte(bits >> (held - 8))
			if b = append(b, c); c == 0xff {
				b = append(b, 0)
			}
		}
		bits &= 1<<held - 1
	}
	last := make([]int, n)
	for i := range side * side {
		for c, values := range components {
			diff := int(values[i]) - 128 - last[c]
			last[c] += diff
			size := uint(0)
			for abs(diff)>>size > 0 {
				size++
			}
			if diff < 0 {
				diff += 1<<size - 1
			}
			put(size, 4)
			put(uint(diff), size)
			put(0, 1)
		}
	}
	put(127, 7)
	return append(b, 0xff, 0xd9)
}

// adobe is Adobe's marker, which says what was done to the colours before.
func adobe(transform byte) []byte {
	return append([]byte("\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"), transform)
}

// ramps are values of as many components, which come together in many ways.
func ramps(n int) [][]uint8 {
	all := make([][]uint8, n)
	for i := range 64 {
		for c := range all {
			all[c] = append(all[c], []uint8{0, 85, 170, 255}[(i>>(2*(c%3))+c/3*(i>>1))&3])
		}
	}
	return all
}

func jpegPictures(t testing.TB, p *resize.Pool) map[string][]byte {
	src := toJPEG(t, swatches())
	gray := image.NewGray(image.Rect(0, 0, 64, 64))
	for i := range gray.Pix {
		gray.Pix[i] = uint8(4 * (i % 64))
	}
	cmyk, err := os.ReadFile("testdata/cmyk.jpg")
	if err != nil {
		t.Fatal(err)
	}
	jfif := []byte("\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00")
	all := map[string][]byte{
		"jpeg":                          src,
		"jpeg progressive":              preset(t, p, "png", toPNG(t, swatches()), resize.Preset{Width: 64, Format: "jpeg", Progressive: true}).Data,
		"jpeg gray":                     toJPEG(t, gray),
		"jpeg gray, profile of gamma 3": withICC(t, "jpeg", toJPEG(t, gray), grayProfile(3)),
		"jpeg profile of Display P3":    withICC(t, "jpeg", src, wideProfile()),
		"jpeg profile of Adobe RGB":     withICC(t, "jpeg", src, adobeRGB.profile()),
		"jpeg profile with a table":     withICC(t, "jpeg", src, tablePrinter()),
		"jpeg cmyk by Photoshop":        cmyk,
		"jpeg cmyk, Adobe 0":            flatJPEG(adobe(0), "\x01\x02\x03\x04", 8, ramps(4)...),
		"jpeg ycck, Adobe 2":            flatJPEG(adobe(2), "\x01\x02\x03\x04", 8, ramps(4)...),
		// Chromium folds black into the other inks before it looks at the profile: without
		// black, there is no difference.
		"jpeg cmyk, profile, no black": withICC(t, "jpeg", flatJPEG(adobe(0), "\x01\x02\x03\x04", 8, append(ramps(3), bytes.Repeat([]byte{255}, 64))...), printProfile()),
		"jpeg cmyk without a marker":   flatJPEG(nil, "\x01\x02\x03\x04", 8, ramps(4)...),
		"jpeg rgb, Adobe 0":            flatJPEG(adobe(0), "\x01\x02\x03", 8, ramps(3)...),
		"jpeg rgb by its ids":          flatJPEG(nil, "RGB", 8, ramps(3)...),
		"jpeg ycc, Adobe 1":            flatJPEG(adobe(1), "\x01\x02\x03", 8, ramps(3)...),
		"jpeg ycc, JFIF":               flatJPEG(jfif, "\x01\x02\x03", 8, ramps(3)...),
		"jpeg ycc without a marker":    flatJPEG(nil, "\x01\x02\x03", 8, ramps(3)...),
		"jpeg ycc with other ids":      flatJPEG(nil, "abc", 8, ramps(3)...),
	}
	wide := toJPEG(t, corners(64, 32))
	for o := range 9 {
		all[fmt.Sprintf("jpeg orientation %d", o)] = insertJPEG(wide, 1, append([]byte("Exif\x00\x00"), exif(o)...))
	}
	return all
}

func webpPictures(t testing.TB, p *resize.Pool) map[string][]byte {
	soft := corners(64, 64)
	for i := range soft.Pix {
		if i%4 == 3 {
			soft.Pix[i] = uint8(i / 64)
		}
	}
	lossy, lossless := toWebP(t, p, "jpeg", toJPEG(t, swatches())), toWebP(t, p, "png", toPNG(t, stripes(64, 64)))
	if !bytes.Contains(lossy, []byte("VP8 ")) || !bytes.Contains(lossless, []byte("VP8L")) {
		t.Errorf("they are no lossy and no lossless WebP: %.30q, %.30q", lossy, lossless)
	}
	profiled := insertWebP(lossy, 64, 64, 0x20, "ICCP", wideProfile())
	// A profile stands before the picture.
	at, picture := bytes.Index(profiled, []byte("ICCP")), bytes.Index(profiled, []byte("VP8 "))
	profiled = slices.Concat(profiled[:picture], profiled[at:], profiled[picture:at])
	return map[string][]byte{
		"webp lossy":                     lossy,
		"webp lossless":                  lossless,
		"webp with alpha":                toWebP(t, p, "png", toPNG(t, soft)),
		"webp animated":                  one(t, p, "gif", toGIF(t, animation(60, 40, 4, 0, false)), resize.Target{Size: huge, Format: "webp"}).Data,
		"webp animated, transparent":     one(t, p, "gif", toGIF(t, animation(60, 40, 4, 0, true)), resize.Target{Size: huge, Format: "webp"}).Data,
		"webp with a profile":            profiled,
		"webp that EXIF turns elsewhere": insertWebP(lossy, 64, 64, 0x08, "EXIF", exif(6)),
	}
}

// codedAVIF is an AVIF of swatches that says by nclx (ITU-T H.273) what its colours are.
func codedAVIF(t testing.TB, p *resize.Pool, primaries, transfer, matrix byte) []byte {
	b := one(t, p, "png", toPNG(t, swatches()), resize.Target{Size: huge, Format: "avif", Quality: 95}).Data
	at := bytes.Index(b, []byte("colrnclx"))
	if at < 0 { // libheif writes it or not
		return withProperty(t, b, "colr", nclx(primaries, transfer, matrix))
	}
	b[at+9], b[at+11], b[at+13] = primaries, transfer, matrix
	return b
}

// streamAVIF is noise.avif, which says it in its coded image (AV1 Bitstream and Decoding
// Process, 5.5.2), and not in its container any more.
func streamAVIF(t testing.TB, primaries, transfer byte) []byte {
	b := bytes.Replace(testdata(t, "noise.avif"), []byte("colrnclx"), []byte("pasp\x00\x00\x00\x01"), 1)
	stream := b[bytes.Index(b, []byte("mdat"))+4:]
	bits := func(n int) (v uint32) {
		for i := n; i < n+24; i++ {
			v = v<<1 | uint32(stream[i/8]>>(7-i%8)&1)
		}
		return v
	}
	for n := range 8 * 20 {
		if bits(n) != 0x010d06 { // sRGB, and the matrix of BT.601
			continue
		}
		for i, v := range []byte{primaries, transfer} {
			for j := range 8 {
				at := n + 8*i + j
				stream[at/8] = stream[at/8]&^(1<<(7-at%8)) | v>>(7-j)&1<<(7-at%8)
			}
		}
		return b
	}
	t.Fatal("the coded image does not say what its colours are")
	return nil
}

// stripes are of two colours that are equally bright, each a pixel wide.
func stripes(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		m.SetNRGBA(i%w, i/w, []color.NRGBA{red, blue}[i%w&1])
	}
	return m
}

func avifPictures(t testing.TB, p *resize.Pool) map[string][]byte {
	all := map[string][]byte{}
	for _, c := range [][3]byte{
		{2, 2, 2}, {1, 13, 6}, {1, 1, 1}, {1, 6, 6}, {9, 14, 9}, {9, 1, 9}, {12, 13, 6}, {11, 13, 6}, {9, 2, 9}, {2, 4, 6},
		{4, 4, 6}, {5, 5, 5}, {6, 7, 7}, {8, 8, 6}, {10, 13, 6}, {1, 17, 6}, {22, 13, 6}, {1, 13, 8}, {9, 16, 9}, {9, 18, 9}, {12, 16, 6}, {1, 18, 1},
	} {
		all[fmt.Sprintf("avif %d/%d/%d", c[0], c[1], c[2])] = codedAVIF(t, p, c[0], c[1], c[2])
	}
	pq := codedAVIF(t, p, 9, 16, 6)
	for _, v := range []byte{4, 40} { // times 100 cd/m²
		light := binary.BigEndian.AppendUint16(nil, 100*uint16(v))
		all[fmt.Sprintf("avif 9/16/6, at most %d00", v)] = withProperty(t, pq, "clli", append(light, 0, 0))
		light = binary.BigEndian.AppendUint32(make([]byte, 16), 1_000_000*uint32(v))
		all[fmt.Sprintf("avif 9/16/6, screen of %d00", v)] = withProperty(t, pq, "mdcv", append(light, 0, 0, 0, 0))
	}
	for _, name := range []string{"ten", "turned", "clear", "tiles"} {
		file, err := os.ReadFile("testdata/" + name + ".avif")
		if err != nil {
			t.Fatal(err)
		}
		all["avif of the test's "+name] = file
	}
	return all
}

func jxlPictures(t testing.TB) map[string][]byte {
	names, err := filepath.Glob("testdata/*.jxl")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	all := map[string][]byte{}
	for _, name := range names {
		name = filepath.Base(name)
		all["jxl of the test's "+name] = testdata(t, name)
	}
	return all
}

// pqPNG is one whose colours are PQ's or HLG's, in 16 bits.
func pqPNG(t testing.TB, primaries, transfer byte) []byte {
	deep := image.NewNRGBA64(image.Rect(0, 0, 64, 64))
	for y := range 64 {
		for x := range 64 {
			i := 8*(y/8) + x/8
			deep.SetNRGBA64(x, y, color.NRGBA64{uint16(i&3) * 0x4000, uint16(i>>2&3) * 0x4000, uint16(i>>4&3) * 0x4000, 0xffff})
		}
	}
	return insertPNG(toPNG(t, deep), "cICP", []byte{primaries, transfer, 0, 1})
}

func brightPictures(t testing.TB) map[string][]byte {
	all := map[string][]byte{}
	for _, c := range [][2]byte{{9, 16}, {9, 18}, {12, 16}, {12, 18}, {1, 16}, {1, 18}} {
		all[fmt.Sprintf("png cICP %d/%d", c[0], c[1])] = pqPNG(t, c[0], c[1])
	}
	level := func(kind string, before int, v uint32) []byte {
		b := binary.BigEndian.AppendUint32(make([]byte, before), v*10_000)
		return insertPNG(pqPNG(t, 9, 16), kind, append(b, 0, 0, 0, 0))
	}
	for _, v := range []uint32{150, 400, 4000} {
		all[fmt.Sprintf("png cICP 9/16, at most %d", v)] = level("cLLI", 0, v)
		all[fmt.Sprintf("png cICP 9/16, screen of %d", v)] = level("mDCV", 16, v)
	}
	gray := image.NewGray(image.Rect(0, 0, 64, 64))
	for i := range gray.Pix {
		gray.Pix[i] = uint8(3 * (i % 64))
	}
	all["png gray, cICP 9/16"] = insertPNG(toPNG(t, gray), "cICP", []byte{9, 16, 0, 1})
	all["png gray, cICP 9/18"] = insertPNG(toPNG(t, gray), "cICP", []byte{9, 18, 0, 1})
	return all
}
