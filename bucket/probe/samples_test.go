package probe_test

import (
	"bytes"
	"image"
	"image/color"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"imgkeep/bucket/probe"
)

// A sample is a complete image, and what is to be found in it.
type sample struct {
	name string
	data []byte
	info probe.Info
	// known is how many bytes tell the dimensions; 0 where no test asks.
	known int
	// trailing is how many bytes follow the end of the image.
	trailing int
}

func still(f probe.Format, width, height int) probe.Info {
	return probe.Info{Format: f, Width: width, Height: height, Orientation: 1, Frames: 1}
}

func animated(f probe.Format, width, height, frames int) probe.Info {
	return probe.Info{Format: f, Width: width, Height: height, Orientation: 1, Frames: frames}
}

func turned(f probe.Format, width, height, orientation int) probe.Info {
	return probe.Info{Format: f, Width: width, Height: height, Orientation: orientation, Frames: 1}
}

// samples returns every kind of image that is accepted: made by real encoders,
// and put together by hand where those make no such file.
func samples(tb testing.TB) []sample {
	tb.Helper()
	encoded := func(encode func(w *bytes.Buffer) error) []byte {
		var w bytes.Buffer
		if err := encode(&w); err != nil {
			tb.Fatal(err)
		}
		return w.Bytes()
	}
	file := func(name string) []byte { return file(tb, name) }
	asJPEG := func(m image.Image) []byte {
		return encoded(func(w *bytes.Buffer) error { return jpeg.Encode(w, m, &jpeg.Options{Quality: 20}) })
	}
	asPNG := func(m image.Image) []byte {
		return encoded(func(w *bytes.Buffer) error { return png.Encode(w, m) })
	}
	asGIF := func(g *gif.GIF) []byte {
		return encoded(func(w *bytes.Buffer) error { return gif.EncodeAll(w, g) })
	}

	box := image.Rect(0, 0, 17, 11)
	rgb, gray, indexed := image.NewNRGBA(box), image.NewGray(box), image.NewPaletted(box, palette.Plan9[:16])
	for y := range 11 {
		for x := range 17 {
			c := color.NRGBA{uint8(x * 15), uint8(y * 23), uint8(x * y), 255}
			rgb.Set(x, y, c)
			gray.Set(x, y, c)
			indexed.SetColorIndex(x, y, uint8(x+y)%16)
		}
	}
	patch := image.NewPaletted(image.Rect(3, 2, 9, 8), palette.Plan9[:4])
	animation := &gif.GIF{Image: []*image.Paletted{indexed, patch, patch}, Delay: []int{10, 10, 10}}

	const mpf = 40
	photo := join(jpegFile(app1(oriented(6))), jpegFile()[:mpf])

	return []sample{
		{"jpeg", asJPEG(rgb), still(probe.JPEG, 17, 11), 0, 0},
		{"jpeg grey", asJPEG(gray), still(probe.JPEG, 17, 11), 0, 0},
		{"jpeg progressive", file("progressive.jpg"), still(probe.JPEG, 17, 11), 0, 0},
		{"jpeg by hand", jpegFile(), still(probe.JPEG, 17, 11), 2 + 4 + 6, 0},
		{"jpeg extended", join(soi, sof(0xC1, 17, 11, 1), sos(1, 1), eoi), still(probe.JPEG, 17, 11), 2 + 4 + 6, 0},
		{"jpeg cmyk", join(soi, sof(0xC0, 17, 11, 4), sos(4, 1), eoi), still(probe.JPEG, 17, 11), 2 + 4 + 6, 0},
		{"jpeg smallest", join(soi, sof(0xC0, 1, 1, 1), sos(1, 1), eoi), still(probe.JPEG, 1, 1), 2 + 4 + 6, 0},
		{"jpeg largest", join(soi, sof(0xC0, 65535, 65535, 3), sos(3, 1), eoi), still(probe.JPEG, 65535, 65535), 2 + 4 + 6, 0},
		{"jpeg of several scans", join(soi, sof(0xC2, 17, 11, 3), sos(3, 1, 2), segment(0xC4, []byte("table")),
			sos(1, 3), segment(0xFE, []byte("comment")), sos(1, 4, 5), eoi), still(probe.JPEG, 17, 11), 2 + 4 + 6, 0},
		{"jpeg with restarts and stuffing", join(soi, segment(0xDD, be16(1)), sof(0xC0, 17, 11, 3),
			sos(3, 1, 0xFF, 0, 0xFF, 0xD0, 2, 0xFF, 0xD1, 0xFF, 0, 0xFF, 0xFF, 0xD7, 3), eoi), still(probe.JPEG, 17, 11), 0, 0},
		{"jpeg with fill bytes and padding", join(soi, []byte{0xFF, 0xFF}, segment(0xE0), []byte{0, 'x', 0xFF, 0}, sof(0xC0, 17, 11, 3),
			[]byte{0xFF, 0x01, 0xFF, 0xD0}, sos(3, 1, 0xFF), eoi), still(probe.JPEG, 17, 11), 0, 0},
		{"jpeg with every other segment", jpegFile(segment(0xDB, []byte("q")), segment(0xC4), segment(0xCC), segment(0xDC, be16(11)),
			segment(0xDD, be16(0)), segment(0xE1, []byte("http://ns.adobe.com/xap")), segment(0xEF), segment(0xFE)), still(probe.JPEG, 17, 11), 0, 0},
		{"jpeg exif", jpegFile(app1(oriented(6))), turned(probe.JPEG, 17, 11, 6), 0, 0},
		{"jpeg with another behind it", photo, turned(probe.JPEG, 17, 11, 6), 0, mpf},

		{"png", asPNG(rgb), still(probe.PNG, 17, 11), 8 + 8 + 13, 0},
		{"png grey", asPNG(gray), still(probe.PNG, 17, 11), 8 + 8 + 13, 0},
		{"png indexed", asPNG(indexed), still(probe.PNG, 17, 11), 8 + 8 + 13, 0},
		{"png by hand", pngFile(), still(probe.PNG, 17, 11), 8 + 8 + 13, 0},
		{"png largest", join([]byte(pngSignature), ihdr(1<<31-1, 1<<31-1, 1, 0), idat, iend), still(probe.PNG, 1<<31-1, 1<<31-1), 8 + 8 + 13, 0},
		{"png exif", pngFile(chunk("eXIf", oriented(8))), turned(probe.PNG, 17, 11, 8), 8 + 8 + 13, 0},
		{"png with text around its pixels", join([]byte(pngSignature), ihdr(17, 11, 16, 6), chunk("tEXt", []byte("a")),
			idat, idat, chunk("tEXt"), chunk("eXIf", oriented(3)), iend), still(probe.PNG, 17, 11), 8 + 8 + 13, 0},
		{"apng", pngFile(chunk("acTL", be32(3), be32(0)), chunk("fcTL"), chunk("IDAT"), chunk("fcTL"), chunk("fdAT"), chunk("fcTL")),
			animated(probe.PNG, 17, 11, 3), 8 + 8 + 13, 0},
		{"png and a newline", join(pngFile(), []byte("\n")), still(probe.PNG, 17, 11), 8 + 8 + 13, 1},

		{"gif", asGIF(&gif.GIF{Image: []*image.Paletted{indexed}, Delay: []int{0}}), still(probe.GIF, 17, 11), 0, 0},
		{"gif animated", asGIF(animation), animated(probe.GIF, 17, 11, 3), 0, 0},
		{"gif by hand", join(screen(17, 11), gifImage(0, 0, 17, 11), []byte(gifTrailer)), still(probe.GIF, 17, 11), 13 + 12 + 10, 0},
		{"gif 87a", join([]byte("GIF87a"), screen(17, 11)[6:], gifImage(0, 0, 17, 11), []byte(gifTrailer)), still(probe.GIF, 17, 11), 13 + 12 + 10, 0},
		{"gif with extensions", join(screen(17, 11), []byte("\x21\xFE\x02hi\x01!\x00"), gifImage(0, 0, 17, 11), []byte("\x21\xF9\x04\x00\x01\x00\x00\x00"),
			gifImage(1, 1, 2, 2), []byte("\x21\xFF\x00"), []byte(gifTrailer)), animated(probe.GIF, 17, 11, 2), 0, 0},
		{"gif and a script", join(screen(17, 11), gifImage(0, 0, 17, 11), []byte(gifTrailer+"*/=alert(1)//")), still(probe.GIF, 17, 11), 13 + 12 + 10, 13},

		{"webp lossy", file("lossy.webp"), still(probe.WebP, 17, 11), 30, 0},
		{"webp lossless", file("lossless.webp"), still(probe.WebP, 17, 11), 25, 0},
		{"webp alpha", file("alpha.webp"), still(probe.WebP, 17, 11), 30, 0},
		{"webp exif", file("exif.webp"), still(probe.WebP, 17, 11), 30, 0},
		{"webp from gif2webp", file("gif2webp.webp"), animated(probe.WebP, 15, 9, 4), 30, 0},
		{"webp from img2webp", file("img2webp.webp"), animated(probe.WebP, 16, 12, 3), 30, 0},
		{"webp with odd chunks", webp(vp8x(0, 17, 11), riff("ICCP", []byte("odd")), vp8(17, 11, []byte("o")), riff("junk", []byte("x"))),
			still(probe.WebP, 17, 11), 30, 0},
		{"avif", file("still.avif"), still(probe.AVIF, 17, 11), 0, 0},
		{"avif alpha", file("alpha.avif"), still(probe.AVIF, 17, 11), 0, 0},
		{"avif tiles", file("tiles.avif"), still(probe.AVIF, 128, 64), 0, 0},
		{"avif turned", file("turned.avif"), turned(probe.AVIF, 8, 6, 7), 0, 0},
		{"avif exif", file("exif.avif"), still(probe.AVIF, 17, 11), 0, 0},
		{"avif and rubbish", join(file("still.avif"), []byte("rubbish")), still(probe.AVIF, 17, 11), 0, 7},
		{"bmp", file("plain.bmp"), still(probe.BMP, 17, 11), 14 + 36, 0},
		{"bmp alpha", file("alpha.bmp"), still(probe.BMP, 17, 11), 14 + 36, 0},
		{"bmp indexed", file("indexed.bmp"), still(probe.BMP, 17, 11), 14 + 36, 0},
		{"heic", file("still.heic"), still(probe.HEIC, 17, 11), 0, 0},
		{"tiff", file("still.tiff"), still(probe.TIFF, 17, 11), 0, 0},
		{"tiff, directory first", file("first.tiff"), still(probe.TIFF, 17, 11), 8 + 2 + 2*12, 0},
		{"tiff, lengths first", file("lengths.tiff"), still(probe.TIFF, 17, 11), 8 + 2 + 2*12, 0},
		{"tiff tiles", file("tiles.tiff"), still(probe.TIFF, 17, 11), 0, 0},
		{"tiff turned", file("turned.tiff"), turned(probe.TIFF, 17, 11, 6), 0, 0},
		{"tiff pages", file("pages.tiff"), still(probe.TIFF, 17, 11), 0, 1784 - 888},
		{"heic exif", file("exif.heic"), still(probe.HEIC, 128, 64), 0, 0},
		// A codestream without a box ends, as far as can be told, with its header.
		{"jxl", file("still.jxl"), still(probe.JXL, 17, 11), 6, 154 - 9},
		{"jxl lossless", file("lossless.jxl"), still(probe.JXL, 17, 11), 6, 95 - 9},
		{"jxl alpha", file("alpha.jxl"), still(probe.JXL, 17, 11), 6, 235 - 9},
		{"jxl turned", file("turned.jxl"), turned(probe.JXL, 17, 11, 6), 32 + 8 + 6, 0},
		{"jxl from jpeg", file("jpeg.jxl"), turned(probe.JXL, 17, 11, 6), 0, 0},
		{"webp and rubbish", join(file("lossy.webp"), []byte("RIFFRAFF")), still(probe.WebP, 17, 11), 30, 8},
	}
}

func file(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
