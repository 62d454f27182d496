package main_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var (
	red    = color.RGBA{255, 0, 0, 255}
	green  = color.RGBA{0, 255, 0, 255}
	blue   = color.RGBA{0, 0, 255, 255}
	yellow = color.RGBA{255, 255, 0, 255}
)

// corners is a picture whose quarters are red (top left), green (top right), blue
// (bottom left) and yellow (bottom right).
func corners(w, h int) *image.Paletted {
	m := image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{red, green, blue, yellow, color.Black})
	for y := range h {
		for x := range w {
			m.SetColorIndex(x, y, uint8(x*2/w+y*2/h*2))
		}
	}
	return m
}

// noise is a picture that does not compress, and another for each seed.
func noise(w, h int, seed uint64) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range m.Pix {
		m.Pix[i] = uint8(random.Uint32()) | uint8(i%4/3*255) // opaque
	}
	return m
}

func toJPEG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 90}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func toPNG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// toGIF makes an animation that shows each frame for a second, for ever.
func toGIF(t testing.TB, frames ...*image.Paletted) []byte {
	t.Helper()
	g := &gif.GIF{Image: frames}
	for range frames {
		g.Delay = append(g.Delay, 100)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// photo is a JPEG of its own.
func photo(t testing.TB, w, h int) []byte {
	t.Helper()
	return toJPEG(t, noise(w, h, rand.Uint64()))
}

// segment is a segment of a JPEG (ITU-T T.81, B.1.1.4).
func segment(marker byte, data []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(2+len(data)))
	return append(b, data...)
}

// inserted is a JPEG with a segment after its first marker.
func inserted(file, segment []byte) []byte {
	return append(append(bytes.Clone(file[:2]), segment...), file[2:]...)
}

// oriented is a JPEG whose EXIF says how it is to be turned.
func oriented(file []byte, orientation uint16) []byte {
	exif := []byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01")
	exif = binary.BigEndian.AppendUint16(exif, orientation)
	return inserted(file, segment(0xe1, append(exif, 0, 0, 0, 0, 0, 0)))
}

// lengthened is a JPEG of just so many bytes, the new ones in comments.
func lengthened(t testing.TB, file []byte, n int) []byte {
	t.Helper()
	more := n - len(file)
	if more < 4 || more > 65000 {
		t.Fatalf("cannot lengthen %d bytes to %d", len(file), n)
	}
	return inserted(file, segment(0xfe, make([]byte, more-4)))
}

// chunk is a chunk of a PNG (RFC 2083, section 3.2).
func chunk(kind string, data []byte) []byte {
	body := append([]byte(kind), data...)
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	return binary.BigEndian.AppendUint32(append(b, body...), crc32.ChecksumIEEE(body))
}

// bomb is the beginning of a PNG that would be large.
func bomb(w, h int) []byte {
	ihdr := binary.BigEndian.AppendUint32(nil, uint32(w))
	ihdr = binary.BigEndian.AppendUint32(ihdr, uint32(h))
	return append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(ihdr, 8, 2, 0, 0, 0))...)
}

// undecodable is a PNG that is whole, and whose pixels are rubbish.
func undecodable() []byte {
	return slices.Concat(bomb(30, 30), chunk("IDAT", []byte("these are no pixels")), chunk("IEND", nil))
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
