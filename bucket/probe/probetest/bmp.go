package probetest

import (
	"bytes"

	"imgkeep/bucket/probe"
)

// bmpOf is a BMP (Microsoft, Bitmap Storage): its information header is filled up
// to the length that it states, and masks and palette are what follows.
func bmpOf(header, width, height, bits, compression, colours int, rest, pixels []byte) []byte {
	info := join(le32(header), le32(width), le32(height), le16(1), le16(bits), le32(compression), make([]byte, 12), le32(colours), le32(0))
	info = join(info[:min(len(info), header)], make([]byte, max(0, header-len(info))))
	if header > 40 {
		copy(info[40:], "\x00\x00\xFF\x00\x00\xFF\x00\x00\xFF\x00\x00\x00\x00\x00\x00\xFF")
	}
	offset := 14 + len(info) + len(rest)
	return join([]byte("BM"), le32(offset+len(pixels)), le32(0), le32(offset), info, rest, pixels)
}

// goodBMP is noise.
func goodBMP() []byte {
	return bmpOf(40, side, side*3/4, 24, 0, 0, nil, noise(side*3*side*3/4))
}

func bmps() []Case {
	const half = side * 3 / 4
	var all []Case
	add := func(name string, data []byte, want error, size Outcome) {
		all = append(all, Case{"bmp-" + name, "", probe.BMP, data, want, size})
	}
	rows := func(width, bits, height int) []byte { return make([]byte, (width*bits+31)/32*4*height) }
	grey := func(n int) []byte { return bytes.Repeat([]byte{7, 7, 7, 0}, n) }

	for _, bits := range []int{1, 2, 4, 8} {
		add("palette-of-"+string(rune('0'+bits))+"-bits", bmpOf(40, side, half, bits, 0, 0, grey(1<<bits), rows(side, bits, half)), nil, Made)
	}
	add("few-colours", bmpOf(40, side, half, 8, 0, 3, grey(3), rows(side, 8, half)), nil, Made)
	add("colours-beyond-the-palette", bmpOf(40, side, half, 8, 0, 3, grey(3), bytes.Repeat([]byte{3}, side*half)), nil, Made)
	add("too-many-colours", bmpOf(40, side, half, 4, 0, 17, grey(17), rows(side, 4, half)), nil, Made)
	add("4-billion-colours", bmpOf(40, side, half, 8, 0, 1<<32-1, grey(3), rows(side, 8, half)), probe.ErrType, Either)
	add("32-bits", bmpOf(108, side, half, 32, 0, 0, nil, noise(4*side*half)), nil, Made)
	add("masks", bmpOf(124, side, half, 32, 3, 0, nil, noise(4*side*half)), nil, Made)
	add("masks-of-its-own", func() []byte {
		b := bmpOf(124, side, half, 32, 3, 0, nil, noise(4*side*half))
		b[14+40] = 1
		return b
	}(), probe.ErrType, Either) // it is in two pieces
	add("masks-that-overlap", func() []byte {
		b := bmpOf(124, side, half, 32, 3, 0, nil, noise(4*side*half))
		b[14+40+4+2] = 0x80
		return b
	}(), probe.ErrType, Either)
	alpha := func(mask int) []byte {
		b := bmpOf(124, side, half, 32, 3, 0, nil, noise(4*side*half))
		copy(b[14+40+12:], le32(mask))
		return b
	}
	add("mask-for-alpha-of-no-bit", alpha(0), nil, Made)
	add("mask-for-alpha-in-two-pieces", alpha(0x81<<24), probe.ErrType, Refused)
	add("mask-for-alpha-on-blue", alpha(1), probe.ErrType, Refused)
	add("mask-for-alpha-behind-16-bits", func() []byte {
		b := bmpOf(124, side, half, 16, 3, 0, nil, noise(2*side*half))
		copy(b[14+40:], join(le32(0xF800), le32(0x7E0), le32(0x1F)))
		return b
	}(), nil, Made)
	add("masks-in-a-short-header", bmpOf(40, side, half, 32, 3, 0, make([]byte, 12), noise(4*side*half)), nil, Made)
	add("masks-of-32-bits-for-16", bmpOf(124, side, half, 16, 3, 0, nil, noise(2*side*half)), probe.ErrType, Either)
	add("masks-behind-the-pixels", bmpOf(40, side, half, 32, 3, 0, nil, noise(4*side*half)), probe.ErrType, Either)
	add("top-row-first", bmpOf(40, side, -half, 24, 0, 0, nil, rows(side, 24, half)), nil, Made)
	add("os2", join([]byte("BM"), le32(0), le32(0), le32(26), le32(12), le16(side), le16(half), le16(1), le16(24), rows(side, 24, half)), nil, Made)
	add("os2-of-50000x50000", join([]byte("BM"), le32(0), le32(0), le32(26), le32(12), le16(50000), le16(50000), le16(1), le16(24)), probe.ErrPixels, Refused)
	add("header-of-4-gb", bmpOf(40, side, half, 24, 0, 0, nil, nil)[:14:14], probe.ErrTruncated, Refused)
	runs := bytes.Repeat([]byte{side, 3, 0, 0}, half)
	add("run-lengths", bmpOf(40, side, half, 8, 1, 0, grey(256), append(bytes.Clone(runs), 0, 1)), nil, Made)
	add("run-lengths-without-end", bmpOf(40, side, half, 8, 1, 0, grey(256), runs), probe.ErrTruncated, Refused)
	add("run-lengths-beyond-the-picture", bmpOf(40, side, half, 8, 1, 0, grey(256), append(bytes.Repeat([]byte{255, 3, 0, 255}, 1000), make([]byte, 256+2)...)), probe.ErrTruncated, Refused)
	add("a-megabyte-of-run-lengths", bmpOf(40, side, half, 8, 1, 0, grey(256), append(bytes.Repeat([]byte{255, 3}, 1<<19), 0, 1)), nil, Made)
	add("moves-beyond-the-picture", bmpOf(40, side, half, 4, 2, 0, grey(16), append(bytes.Repeat([]byte{0, 2, 255, 255, 9, 3}, 5000), 0, 1)), nil, Made)
	add("run-lengths-for-49-megapixels", bmpOf(40, 7000, 7000, 8, 1, 0, grey(256), []byte{0, 1}), nil, Made)
	add("run-lengths-from-the-top", bmpOf(40, side, -half, 8, 1, 0, grey(256), append(bytes.Clone(runs), 0, 1)), probe.ErrType, Refused)
	add("run-lengths-of-4-bits-for-8", bmpOf(40, side, half, 8, 2, 0, grey(256), append(bytes.Clone(runs), 0, 1)), probe.ErrType, Refused)
	add("jpeg-inside", bmpOf(40, side, half, 0, 4, 0, nil, goodJPEG()), probe.ErrType, Refused)
	add("16-bits", bmpOf(40, side, half, 16, 0, 0, nil, rows(side, 16, half)), nil, Made)
	add("a-gap-before-the-pixels", bmpOf(40, side, half, 24, 0, 0, make([]byte, 4), rows(side, 24, half)), nil, Made)
	add("pixels-in-the-header", func() []byte {
		b := goodBMP()
		b[10] = 20
		return b
	}(), probe.ErrType, Either)
	add("pixels-at-4-gb", func() []byte {
		b := goodBMP()
		copy(b[10:], le32(1<<32-1))
		return b
	}(), probe.ErrTruncated, Refused)
	add("two-planes", func() []byte {
		b := goodBMP()
		b[26] = 2
		return b
	}(), probe.ErrBroken, Refused)
	add("50000x50000", bmpOf(40, 50000, 50000, 1, 0, 0, grey(2), noise(200)), probe.ErrPixels, Refused)
	add("sides-of-31-bits", bmpOf(40, 1<<31-1, -1<<31, 32, 0, 0, nil, noise(200)), probe.ErrPixels, Refused)
	add("negative-width", bmpOf(40, -side, half, 24, 0, 0, nil, rows(side, 24, half)), probe.ErrBroken, Refused)
	add("height-0", bmpOf(40, side, 0, 24, 0, 0, nil, nil), probe.ErrBroken, Refused)
	add("a-side-of-16384", bmpOf(40, 16384, 1, 1, 0, 0, grey(2), rows(16384, 1, 1)), nil, Made)
	add("a-side-of-16385", bmpOf(40, 16385, 1, 1, 0, 0, grey(2), rows(16385, 1, 1)), probe.ErrPixels, Made)
	add("49-megapixels-in-6-mb", bmpOf(40, 7000, 7000, 1, 0, 0, grey(2), rows(7000, 1, 7000)), nil, Made)
	add("49-megapixels-in-200-bytes", bmpOf(40, 7000, 7000, 1, 0, 0, grey(2), noise(200)), probe.ErrTruncated, Refused)
	add("a-row-missing", bmpOf(40, side, half, 24, 0, 0, nil, rows(side, 24, half-1)), probe.ErrTruncated, Refused)
	return all
}
