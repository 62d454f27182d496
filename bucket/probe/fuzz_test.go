package probe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image/gif"
	"image/jpeg"
	"image/png"
	"testing"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/probetest"
)

// seeds adds the samples of a format, or of all, as far as add wants them.
func seeds(f *testing.F, format probe.Format, add func(data []byte)) {
	for _, s := range samples(f) {
		if format == probe.Unknown || s.info.Format == format {
			add(s.data)
		}
	}
}

// The targets of the formats put its first bytes before what the fuzzer makes,
// so that all of its time goes into what comes behind them.

func FuzzJPEG(f *testing.F) {
	seeds(f, probe.JPEG, func(data []byte) { f.Add(data[3:]) })
	f.Fuzz(func(t *testing.T, body []byte) {
		sane(t, join(soi, []byte{0xFF}, body))
	})
}

func FuzzPNG(f *testing.F) {
	seeds(f, probe.PNG, func(data []byte) { f.Add(data[len(pngSignature):], true) })
	f.Fuzz(func(t *testing.T, body []byte, rightCRCs bool) {
		data := join([]byte(pngSignature), body)
		if rightCRCs {
			fixCRCs(data)
		}
		sane(t, data)
	})
}

// fixCRCs gives every chunk of a PNG its CRC, which a fuzzer cannot guess.
func fixCRCs(data []byte) {
	for b := data[len(pngSignature):]; len(b) >= 12; {
		n := int64(binary.BigEndian.Uint32(b))
		if n+12 > int64(len(b)) {
			return
		}
		binary.BigEndian.PutUint32(b[8+n:], crc32.ChecksumIEEE(b[4:8+n]))
		b = b[n+12:]
	}
}

func FuzzGIF(f *testing.F) {
	seeds(f, probe.GIF, func(data []byte) { f.Add(data[6:]) })
	f.Fuzz(func(t *testing.T, body []byte) {
		sane(t, join([]byte("GIF89a"), body))
	})
}

func FuzzWebP(f *testing.F) {
	seeds(f, probe.WebP, func(data []byte) { f.Add(binary.LittleEndian.Uint32(data[4:]), data[12:]) })
	f.Fuzz(func(t *testing.T, size uint32, body []byte) {
		sane(t, join([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, size), []byte("WEBP"), body))
	})
}

func FuzzBMP(f *testing.F) {
	seeds(f, probe.BMP, func(data []byte) { f.Add(data[2:]) })
	for _, c := range probetest.Corpus() {
		if c.Format == probe.BMP && len(c.Data) < 4000 {
			f.Add(c.Data[2:])
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		sane(t, join([]byte("BM"), body))
	})
}

func FuzzTIFF(f *testing.F) {
	seeds(f, probe.TIFF, func(data []byte) { f.Add(data[0] == 'M', data[4:]) })
	for _, c := range probetest.Corpus() {
		if c.Format == probe.TIFF && len(c.Data) < 4000 {
			f.Add(c.Data[0] == 'M', c.Data[4:])
		}
	}
	f.Fuzz(func(t *testing.T, big bool, body []byte) {
		order := "II*\x00"
		if big {
			order = "MM\x00*"
		}
		sane(t, join([]byte(order), body))
	})
}

func FuzzAVIF(f *testing.F) {
	seeds(f, probe.AVIF, func(data []byte) { f.Add(data[12:]) })
	for _, c := range probetest.Corpus() {
		if c.Format == probe.AVIF && len(c.Data) < 4000 {
			f.Add(c.Data[12:])
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		sane(t, join(be32(20), []byte("ftypavif"), body))
	})
}

func FuzzHEIC(f *testing.F) {
	seeds(f, probe.HEIC, func(data []byte) { f.Add(data[12:]) })
	f.Fuzz(func(t *testing.T, body []byte) {
		sane(t, join(be32(20), []byte("ftypheic"), body))
	})
}

func FuzzJXL(f *testing.F) {
	const bare, boxes = "\xFF\x0A", "\x00\x00\x00\x0CJXL \x0D\x0A\x87\x0A\x00\x00\x00\x14ftypjxl \x00\x00\x00\x00jxl "
	add := func(data []byte) {
		if body, ok := bytes.CutPrefix(data, []byte(boxes)); ok {
			f.Add(body, true)
		} else {
			f.Add(data[len(bare):], false)
		}
	}
	seeds(f, probe.JXL, add)
	for _, c := range probetest.Corpus() {
		if c.Format == probe.JXL && len(c.Data) < 4000 {
			add(c.Data)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, inBoxes bool) {
		if inBoxes {
			sane(t, join([]byte(boxes), body))
		} else {
			sane(t, join([]byte(bare), body))
		}
	})
}

// FuzzEXIF puts what it makes where an image may have EXIF.
func FuzzEXIF(f *testing.F) {
	for o := range 10 {
		f.Add(oriented(o))
	}
	f.Add(tiff(binary.LittleEndian, orientation(binary.LittleEndian, 6)))
	f.Fuzz(func(t *testing.T, tiff []byte) {
		if len(tiff) > 60_000 {
			return // no segment of a JPEG holds it
		}
		want := 0
		for _, carrier := range []string{"jpeg", "png"} {
			data := carriers[carrier](tiff)
			sane(t, data)
			info, err := probe.Read(bytes.NewReader(data), probe.Limits{})
			if err != nil {
				t.Errorf("%s is broken by EXIF: %v", carrier, err)
			}
			if want != 0 && info.Orientation != want {
				t.Errorf("%s has orientation %d, jpeg %d", carrier, info.Orientation, want)
			}
			if want == 0 {
				want = info.Orientation
			}
		}
	})
}

// FuzzSplit compares an image fed whole, in pieces of any lengths and cut off
// anywhere.
func FuzzSplit(f *testing.F) {
	seeds(f, probe.Unknown, func(data []byte) { f.Add(data, []byte{1, 7, 0, 20}, uint16(len(data)/2), int64(100), 2, int64(300)) })
	f.Fuzz(func(t *testing.T, data, lengths []byte, cut uint16, maxPixels int64, maxFrames int, maxAnimationPixels int64) {
		l := probe.Limits{MaxPixels: maxPixels, MaxFrames: maxFrames, MaxAnimationPixels: maxAnimationPixels}
		all, i := feed(data, l, whole), 0
		pieces := feed(data, l, func() int {
			if i++; i > len(lengths) {
				return 1
			}
			return int(lengths[i-1])
		})
		if pieces != all {
			t.Errorf("in pieces %+v; whole %+v", pieces, all)
		}
		if all.err != "" {
			return
		}
		// A part of a good image is the same image, cut off or complete.
		if len(data) > 0 {
			part := data[:int(cut)%len(data)]
			info, err := probe.Read(bytes.NewReader(part), l)
			switch {
			case err == nil && info != all.info:
				t.Errorf("%d of %d bytes: %+v; whole: %+v", len(part), len(data), info, all.info)
			case err != nil && !errors.Is(err, probe.ErrTruncated) && len(part) > 0:
				t.Errorf("%d of %d bytes of a good image: %v", len(part), len(data), err)
			}
		}
		if info, err := probe.Read(bytes.NewReader(join(data, lengths)), l); err != nil || info != all.info {
			t.Errorf("with more behind it: %+v, %v; without: %+v", info, err, all.info)
		}
	})
}

// FuzzStandardLibrary holds the dimensions against those that image/jpeg,
// image/png and image/gif find, and the verdict against their decoders: what
// they decode is a complete image.
func FuzzStandardLibrary(f *testing.F) {
	seeds(f, probe.Unknown, func(data []byte) { f.Add(data, true) })
	f.Fuzz(func(t *testing.T, data []byte, rightCRCs bool) {
		if rightCRCs && bytes.HasPrefix(data, []byte(pngSignature)) {
			data = bytes.Clone(data)
			fixCRCs(data)
		}
		sane(t, data)
		likeStandardLibrary(t, data)
	})
}

func TestLikeStandardLibrary(t *testing.T) {
	for _, s := range samples(t) {
		likeStandardLibrary(t, s.data)
	}
}

func likeStandardLibrary(t *testing.T, data []byte) {
	t.Helper()
	scanner := probe.NewScanner(probe.Limits{})
	_, _ = scanner.Write(data)
	_, known := scanner.Info()
	got, err := scanner.Close()

	const pixels = 1 << 16 // what is decoded at most
	// image/jpeg accepts rubbish right behind SOI, which no browser takes for
	// a JPEG, and a width or height of 0.
	if c, e := jpeg.DecodeConfig(bytes.NewReader(data)); e == nil && bytes.HasPrefix(data, []byte("\xFF\xD8\xFF")) && c.Width > 0 && c.Height > 0 {
		if !known || got.Format != probe.JPEG || got.Width != c.Width || got.Height != c.Height {
			t.Errorf("%+v, %v; image/jpeg: %d x %d", got, err, c.Width, c.Height)
		}
		if c.Width*c.Height <= pixels {
			// Of more scans than are accepted it decodes all.
			if _, e := jpeg.Decode(bytes.NewReader(data)); e == nil && err != nil && !errors.Is(err, probe.ErrPixels) {
				t.Errorf("image/jpeg decodes what is said to be %v", err)
			}
		}
	}
	if c, e := png.DecodeConfig(bytes.NewReader(data)); e == nil {
		if !known || got.Format != probe.PNG || got.Width != c.Width || got.Height != c.Height {
			t.Errorf("%+v, %v; image/png: %d x %d", got, err, c.Width, c.Height)
		}
		// image/png skips unknown critical chunks and odd types, so that
		// it accepts more.
	}
	if c, e := gif.DecodeConfig(bytes.NewReader(data)); e == nil && c.Width > 0 && c.Height > 0 {
		if got.Format != probe.GIF || known && (got.Width < c.Width || got.Height < c.Height) {
			t.Errorf("%+v, %v; image/gif: %d x %d", got, err, c.Width, c.Height)
		}
		// Of plain text extensions, image/gif believes that all have one length.
		if c.Width*c.Height <= pixels && !bytes.Contains(data, []byte{0x21, 0x01}) {
			if g, e := gif.DecodeAll(bytes.NewReader(data)); e == nil && (err != nil || got != animated(probe.GIF, c.Width, c.Height, len(g.Image))) {
				t.Errorf("%+v, %v; image/gif: %d x %d, %d frames", got, err, c.Width, c.Height, len(g.Image))
			}
		}
	}
}
