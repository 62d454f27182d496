package probetest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"imgkeep/bucket/probe"
)

// bombs are small, and want to become large.
func bombs() []Case {
	const mega = 1 << 20
	jpg, png, gif, webp := probe.JPEG, probe.PNG, probe.GIF, probe.WebP
	few := zeros(4 * mega) // 4 KB
	return []Case{
		{"png-50000x50000-in-a-few-kb", "CVE-2021-29453", png, pngOf(ihdr(50000, 50000, 8, 6, 0), few), probe.ErrPixels, Refused},
		{"png-50000x50000-with-all-pixels", "CVE-2021-29453", png, pngOf(ihdr(50000, 50000, 1, 0, 0), zeros(50000*(1+6250))), probe.ErrPixels, Refused},
		{"png-20000x20000", "bimg: 439 KB decoded in full", png, pngOf(ihdr(20000, 20000, 8, 0, 0), zeros(20000*20001)), probe.ErrPixels, Refused},
		{"png-20000x20000-interlaced", "libvips: unpacked into temporary files", png, pngOf(ihdr(20000, 20000, 8, 0, 1), few), probe.ErrPixels, Refused},
		{"png-sides-of-31-bits", "", png, pngOf(ihdr(1<<31-1, 1<<31-1, 16, 6, 0), few), probe.ErrPixels, Refused},
		{"png-a-row-of-16385", "", png, pngOf(ihdr(16385, 1, 8, 0, 0), zeros(16386)), probe.ErrPixels, Made},
		{"png-largest-16-bit", "", png, pngOf(ihdr(7000, 7000, 16, 6, 0), zeros(7000*(1+7000*8))), nil, Made},
		{"png-idat-of-256-mb", "", png, pngOf(ihdr(side, side, 8, 0, 0), zeros(256*mega)), nil, Either},
		{"png-iccp-of-1-gb", "CVE-2010-0205", png, inPNG(chunk("iCCP", []byte("icc\x00\x00"), zeros(1024*mega))), nil, Either},
		{"png-ztxt-of-1-gb", "CVE-2010-0205", png, inPNG(chunk("zTXt", []byte("Comment\x00\x00"), zeros(1024*mega))), nil, Made},
		{"png-itxt-of-1-gb", "CVE-2010-0205", png, inPNG(chunk("iTXt", []byte("Comment\x00\x01\x00\x00\x00"), zeros(1024*mega))), nil, Made},
		{"png-100-ztxt-of-8-mb", "CVE-2010-0205", png, inPNG(bytes.Repeat(chunk("zTXt", []byte("Comment\x00\x00"), zeros(8*mega-100)), 100)), nil, Made},
		{"png-100000-text-chunks", "", png, inPNG(bytes.Repeat(chunk("tEXt", []byte("a\x00b")), 100_000)), nil, Made},
		{"apng-of-100000-frames", "", png, inPNG(chunk("acTL", be32(100_000), be32(0)), bytes.Repeat(chunk("fcTL", make([]byte, 26)), 100_000)), probe.ErrFrames, Either},

		{"jpeg-65500x65500", "CVE-2021-29453", jpg, jpegOf(65500, 65500), probe.ErrPixels, Refused},
		{"jpeg-7000x7000-without-the-pixels", "imagor#329", jpg, jpegOf(7000, 7000), nil, Either}, // has its end marker, and is grey
		{"jpeg-of-5000-empty-scans", "LJT-01-004", jpg, scans(7000, 7000, 5000), probe.ErrPixels, Refused},
		{"jpeg-of-882-scans", "LJT-01-004", jpg, progressive(800, 800, 1, 882), probe.ErrPixels, Refused},
		{"jpeg-of-101-scans", "LJT-01-004", jpg, progressive(1600, 1200, 1, 100), probe.ErrPixels, Refused},
		{"jpeg-of-100-scans", "LJT-01-004", jpg, progressive(1600, 1200, 1, 99), nil, Made},
		{"jpeg-progressive-49-megapixels", "", jpg, progressive(7000, 7000, 3, 0), nil, Made},
		{"jpeg-icc-chain-of-16-mb", "", jpg, inJPEG(iccChain(250)), nil, Either},
		{"jpeg-icc-chain-that-never-ends", "", jpg, inJPEG(icc(1, 255, []byte("acsp"))), nil, Either},
		{"jpeg-icc-chain-numbered-backwards", "", jpg, inJPEG(icc(255, 3, []byte("acsp")), icc(0, 3, nil), icc(2, 1, nil)), nil, Either},
		{"jpeg-200-exif-of-64-kb", "imaginary#397", jpg, inJPEG(bytes.Repeat(segment(0xE1, []byte("Exif\x00\x00"), make([]byte, 65000)), 200)), nil, Either},

		{"gif-of-100000-frames", "imgproxy#1230", gif, gifOf(1, 1, 100_000), probe.ErrFrames, Either},
		{"gif-of-10000-frames", "weserv#243", gif, gifOf(8, 8, 10_000), nil, Either},
		{"gif-of-11-frames-of-49-megapixels", "", gif, gifOf(7000, 7000, 11), probe.ErrFrames, Either},
		{"gif-of-10-frames-of-49-megapixels", "", gif, gifOf(7000, 7000, 10), nil, Either},
		{"gif-of-65535x65535", "CVE-2021-29453", gif, gifOf(65535, 65535, 1), probe.ErrPixels, Either},
		{"gif-grown-by-its-first-frame", "", gif, join(screen(1, 1), gifFrame(65000, 65000, 1, 1), []byte(";")), probe.ErrPixels, Either},
		{"gif-grown-by-its-second-frame", "", gif, join(screen(1, 1), gifFrame(0, 0, 1, 1), gifImage(0, 0, 65535, 65535), []byte{2, 1, 0, 0, ';'}), probe.ErrPixels, Either},
		{"gif-of-49-megapixels-by-lzw", "", gif, join(screen(7000, 7000), gifFrame(0, 0, 7000, 7000), []byte(";")), nil, Made},

		{"webp-of-16383x16383-in-30-bytes", "CVE-2021-29453", webp, webpFile(vp8l(16383, 16383, false)), probe.ErrPixels, Refused},
		{"webp-of-49-megapixels-in-30-bytes", "", webp, webpFile(vp8l(7000, 7000, false)), nil, Made},
		{"webp-of-12000-frames", "", webp, webpAnimation(1, 1, 12_000, vp8l(1, 1, false)), probe.ErrFrames, Either},
		{"webp-of-10000-frames", "", webp, webpAnimation(1, 1, 10_000, vp8l(1, 1, false)), nil, Either},
		{"webp-of-2000-frames-of-49-megapixels", "", webp, webpAnimation(7000, 7000, 2000, vp8l(7000, 7000, false)), probe.ErrFrames, Either},
		{"webp-of-10-frames-of-49-megapixels", "", webp, webpAnimation(7000, 7000, 10, vp8l(7000, 7000, false)), nil, Either},
		{"webp-icc-of-8-mb", "", webp, webpFile(vp8x(flagICC, side, side), riff("ICCP", make([]byte, 8*mega)), vp8l(side, side, true)), nil, Either},
	}
}

// iccChain is an ICC profile of n full segments. It says that it is as long as it is.
func iccChain(n int) []byte {
	const room = 65533 - 14
	var b []byte
	for i := range n {
		data := make([]byte, room)
		if i == 0 {
			copy(data, be32(n*room))
			copy(data[8:], "\x02\x40\x00\x00mntrRGB XYZ ")
			copy(data[36:], "acsp")
			copy(data[128:], be32(1<<24)) // tags
		}
		b = append(b, icc(i+1, n, data)...)
	}
	return b
}

// lies are headers that say something else than the data.
func lies() []Case {
	jpg, png, gif, webp := probe.JPEG, probe.PNG, probe.GIF, probe.WebP
	tall := vp8l(side, side, true)
	cut := func(b []byte, n int) []byte { return b[:len(b)-n] }
	return []Case{
		{"webp-small-canvas-over-a-bomb", "", webp, webpFile(vp8x(0, side, side), vp8l(16383, 16383, false)), probe.ErrBroken, Refused},
		{"webp-large-canvas-over-nothing", "", webp, webpFile(vp8x(0, 16383, 3000), tall), probe.ErrBroken, Refused},
		{"webp-canvas-of-24-bits", "", webp, webpFile(vp8x(flagAnim, 1<<24, 1<<24), tall), probe.ErrBroken, Refused},
		{"webp-frame-beyond-the-canvas", "", webp, webpFile(vp8x(flagAnim, side, side), riff("ANIM", make([]byte, 6)),
			riff("ANMF", le24(1<<23), le24(1<<23), le24(side-1), le24(side-1), le24(9), []byte{0}, tall)), probe.ErrBroken, Refused},
		{"webp-frame-larger-than-its-image", "", webp, webpFile(vp8x(flagAnim, 2*side, 2*side), riff("ANIM", make([]byte, 6)),
			riff("ANMF", le24(0), le24(0), le24(2*side-1), le24(2*side-1), le24(9), []byte{0}, tall)), probe.ErrBroken, Either},
		{"webp-says-animation-and-has-none", "", webp, webpFile(vp8x(flagAnim, side, side), tall), probe.ErrBroken, Refused},
		{"webp-pixels-missing", "imagor#329", webp, webpFile(riff("VP8L", vp8l(side, side, true)[8:60])), nil, Refused},
		{"webp-vp8-of-noise", "CVE-2023-4863", webp, webpFile(riff("VP8L", vp8l(side, side, true)[8:13], noise(4000))), nil, Either},
		{"webp-lossy-of-noise", "", webp, webpFile(riff("VP8 ", []byte{0x10, 1, 0, 0x9D, 1, 0x2A}, le16(side), le16(side), noise(4000))), nil, Either},

		{"png-more-rows-than-data", "imagor#329", png, pngOf(ihdr(side, side, 8, 2, 0), zeros(100)), nil, Refused},
		{"png-data-that-is-no-zlib", "", png, pngOf(ihdr(side, side, 8, 2, 0), noise(1000)), nil, Refused},
		{"png-wrong-adler", "", png, pngOf(ihdr(side, side, 8, 0, 0), append(cut(zeros(side*(side+1)), 4), 1, 2, 3, 4)), nil, Either},
		{"png-filter-255", "", png, pngOf(ihdr(side, 1, 8, 0, 0), stored(bytes.Repeat([]byte{0xFF}, side+1))), nil, Either},
		{"png-palette-index-beyond", "", png, join([]byte(pngSignature), ihdr(side, side, 8, 3, 0), chunk("PLTE", []byte{1, 2, 3}),
			chunk("IDAT", stored(bytes.Repeat(join([]byte{0}, bytes.Repeat([]byte{0xFF}, side)), side))), chunk("IEND")), nil, Either},
		{"png-palette-of-769-bytes", "", png, inPNG(chunk("PLTE", make([]byte, 769))), probe.ErrBroken, Refused},
		{"png-without-palette", "", png, pngOf(ihdr(side, side, 8, 3, 0), zeros(side*(side+1))), probe.ErrBroken, Refused},
		{"png-two-headers", "", png, inPNG(ihdr(50000, 50000, 8, 6, 0)), probe.ErrBroken, Refused},
		{"png-unknown-critical-chunk", "", png, inPNG(chunk("EVIL", []byte(Payload))), probe.ErrBroken, Refused},
		{"png-17-bits-a-sample", "", png, pngOf(ihdr(side, side, 17, 2, 0), zeros(10000)), probe.ErrBroken, Refused},
		{"png-trns-too-long", "CVE-2015-8126", png, inPNG(chunk("tRNS", make([]byte, 5000))), nil, Either},

		{"jpeg-two-frames", "", jpg, inJPEG(segment(0xC0, []byte{8}, be16(9), be16(9), []byte{1, 1, 0x11, 0})), probe.ErrBroken, Refused},
		{"jpeg-scan-before-frame", "", jpg, inJPEG(segment(0xDA, []byte{1, 1, 0, 0, 63, 0})), probe.ErrBroken, Refused},
		{"jpeg-255-components", "", jpg, inJPEG(segment(0xC0, []byte{8}, be16(9), be16(9), []byte{255}, make([]byte, 765))), probe.ErrType, Refused},
		{"jpeg-12-bits-a-sample", "", jpg, inJPEG(segment(0xC1, []byte{12}, be16(9), be16(9), []byte{1, 1, 0x11, 0})), probe.ErrType, Refused},
		{"jpeg-lossless", "", jpg, inJPEG(segment(0xC3, []byte{8}, be16(9), be16(9), []byte{1, 1, 0x11, 0})), probe.ErrType, Refused},
		{"jpeg-height-told-later", "", jpg, jpegOf(side, 0), probe.ErrType, Refused},
		{"jpeg-width-0", "", jpg, jpegOf(0, side), probe.ErrBroken, Refused},
		{"jpeg-huffman-table-too-full", "CVE-2013-6629", jpg, inJPEG(segment(0xC4, []byte{0}, bytes.Repeat([]byte{255}, 16), make([]byte, 4080))), nil, Either},
		{"jpeg-scan-of-noise", "", jpg, jpegNoise(), nil, Either},

		{"gif-lzw-code-beyond-the-table", "", gif, join(screen(side, side), gifImage(0, 0, side, side), []byte{2}, subBlocks(bytes.Repeat([]byte{0xFF}, 500)), []byte(";")), nil, Either},
		{"gif-without-pixels", "imagor#329", gif, join(screen(side, side), gifImage(0, 0, side, side), []byte{2, 0, ';'}), nil, Either},
		{"gif-first-frame-outside-the-screen", "", gif, join(screen(9, 9), gifFrame(side, side, 9, 9), []byte(";")), nil, Either},
		{"gif-no-frame", "", gif, join(screen(side, side), []byte(";")), probe.ErrBroken, Refused},
		{"gif-screen-0x0", "", gif, gifOf(0, 0, 1), nil, Made},
		{"gif-frame-0x0", "", gif, join(screen(side, side), gifImage(0, 0, 0, 0), []byte{2, 0, ';'}), nil, Either},
	}
}

// lengths are chunks that cannot be as long as they say.
func lengths() []Case {
	jpg, png, gif, webp := probe.JPEG, probe.PNG, probe.GIF, probe.WebP
	text := chunk("tEXt", []byte("a\x00b"))
	long := func(n int) []byte { return inPNG(join(be32(n), text[4:])) }
	good := vp8l(side, side, true)
	sized := func(file []byte, n int) []byte { return join(file[:4], le32(n), file[8:]) }
	var all []Case
	for _, n := range []int{1<<32 - 1, 1 << 31, 1<<31 - 1, 1<<31 - 13, 1 << 24} {
		want := probe.ErrTruncated // waiting for what never comes
		if n >= 1<<31 {
			want = probe.ErrBroken
		}
		all = append(all, Case{fmt.Sprintf("png-chunk-of-%d-bytes", n), "", png, long(n), want, Refused})
	}
	for _, n := range []int{1<<32 - 1, 1<<32 - 8, 1 << 31, 1<<31 - 1, 1 << 24} {
		all = append(all,
			Case{fmt.Sprintf("webp-chunk-of-%d-bytes", n), "", webp, webpFile(sized(good, n)), probe.ErrBroken, Refused},
			Case{fmt.Sprintf("webp-second-chunk-of-%d-bytes", n), "", webp, webpFile(good, sized(riff("junk"), n)), probe.ErrBroken, Either})
	}
	return append(all,
		Case{"png-header-of-14-bytes", "", png, pngOf(chunk("IHDR", be32(side), be32(side), []byte{8, 0, 0, 0, 0, 0}), zeros(9)), probe.ErrBroken, Refused},
		Case{"png-end-of-9-bytes", "", png, join(goodPNG()[:len(goodPNG())-12], chunk("IEND", make([]byte, 9))), probe.ErrBroken, Either},
		Case{"jpeg-segment-of-0-bytes", "", jpg, inJPEG([]byte{0xFF, 0xE1, 0, 0}), nil, Made},
		Case{"jpeg-segment-of-1-byte", "CVE-2004-0200", jpg, inJPEG([]byte{0xFF, 0xFE, 0, 1}), nil, Made},
		Case{"jpeg-segment-over-the-end", "", jpg, inJPEG([]byte{0xFF, 0xFE, 0xFF, 0xFF}), probe.ErrTruncated, Refused},
		Case{"webp-riff-of-0-bytes", "", webp, sized(webpFile(good), 0), probe.ErrBroken, Refused},
		Case{"webp-riff-of-4-gb", "", webp, sized(webpFile(good), 1<<32-12), probe.ErrTruncated, Either},
		Case{"gif-blocks-without-end", "", gif, join(screen(side, side), gifImage(0, 0, side, side), []byte{2}, bytes.Repeat([]byte{1}, 10_000)), probe.ErrTruncated, Refused},
		Case{"gif-comment-without-end", "", gif, join(screen(side, side), []byte{0x21, 0xFE}, bytes.Repeat([]byte{1}, 10_001)), probe.ErrTruncated, Refused},
	)
}

// exifs are directories that lead in circles, and values that are nowhere.
func exifs() []Case {
	const short, long, undefined = 3, 4, 7
	turn := field{0x0112, short, 1, 6}
	vast := make([]field, 4000)
	for i := range vast {
		vast[i] = field{0x9000 + i, undefined, 1<<32 - 1, 8}
	}
	circle := tiff(directory(8, turn, field{0x8769, long, 1, 8}, field{0x8825, long, 1, 8}, field{0xA005, long, 1, 8}))
	files := map[string][]byte{
		"next-is-itself":         tiff(directory(8, turn)),
		"two-in-a-circle":        tiff(directory(26, turn), directory(8, turn)),
		"sub-directories-loop":   circle,
		"count-65535":            join([]byte("II*\x00"), le32(8), le16(65535), directory(0, turn)[2:]),
		"4000-values-of-4-gb":    tiff(directory(0, vast...)),
		"value-at-4-gb":          tiff(directory(0, turn, field{0x010F, 2, 100, 1<<32 - 50})),
		"directory-at-4-gb":      join([]byte("II*\x00"), le32(1<<32-1)),
		"thumbnail-beyond":       tiff(directory(26, turn), directory(0, field{0x0201, long, 1, 30}, field{0x0202, long, 1, 1<<32 - 1})),
		"maker-note-of-noise":    join(tiff(directory(0, field{0x8769, long, 1, 26}), directory(0, field{0x927C, undefined, 4000, 44})), []byte("Nikon\x00\x02\x10\x00\x00II*\x00\x08\x00\x00\x00"), noise(4000)),
		"directories-of-noise":   join([]byte("II*\x00"), le32(8), noise(4000)),
		"orientation-65535":      tiff(directory(0, field{0x0112, short, 1, 65535})),
		"orientation-4-gb-times": tiff(directory(0, field{0x0112, short, 1<<32 - 1, 6})),
	}
	var all []Case
	for _, name := range slices.Sorted(maps.Keys(files)) {
		exif := files[name]
		flags := vp8x(flagExif, side, side)
		all = append(all,
			Case{"jpeg-exif-" + name, "CVE-2026-35590", probe.JPEG, inJPEG(segment(0xE1, []byte("Exif\x00\x00"), exif)), nil, Made},
			Case{"png-exif-" + name, "CVE-2026-35590", probe.PNG, inPNG(chunk("eXIf", exif)), nil, Made},
			Case{"webp-exif-" + name, "CVE-2026-35590", probe.WebP, webpFile(flags, vp8l(side, side, true), riff("EXIF", exif)), nil, Made},
		)
	}
	return all
}
