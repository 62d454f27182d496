package probetest

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// The functions of this file put files together from the parts that their standards name, so
// that a test can get any of them wrong. No decoder is asked: pixels are missing.

// Join is all parts, one after the other.
func Join(parts ...[]byte) []byte { return slices.Concat(parts...) }

// BE16 is a number in 16 bits, big-endian.
func BE16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }

// BE32 is a number in 32 bits, big-endian.
func BE32(v int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }

// LE16 is a number in 16 bits, little-endian.
func LE16(v int) []byte { return binary.LittleEndian.AppendUint16(nil, uint16(v)) }

// LE24 is a number in 24 bits, little-endian.
func LE24(v int) []byte { return LE32(v)[:3] }

// LE32 is a number in 32 bits, little-endian.
func LE32(v int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }

// SOI and EOI are the first and the last marker of a JPEG.
var (
	SOI = []byte{0xFF, 0xD8}
	EOI = []byte{0xFF, 0xD9}
)

// Segment returns a JPEG segment with its length.
func Segment(marker byte, data ...[]byte) []byte {
	d := Join(data...)
	return Join([]byte{0xFF, marker}, BE16(len(d)+2), d)
}

// SOF returns a frame header of 8 bits a sample without subsampling.
func SOF(marker byte, width, height, components int) []byte {
	d := Join([]byte{8}, BE16(height), BE16(width), []byte{byte(components)})
	for i := range components {
		d = append(d, byte(i+1), 0x11, 0)
	}
	return Segment(marker, d)
}

// SOS returns a scan header for the first components, and entropy-coded data.
func SOS(components int, data ...byte) []byte {
	d := []byte{byte(components)}
	for i := range components {
		d = append(d, byte(i+1), 0)
	}
	return Join(Segment(0xDA, d, []byte{0, 63, 0}), data)
}

// JPEGFile returns a JPEG of 17 x 11 with the given segments before its frame.
func JPEGFile(segments ...[]byte) []byte {
	return Join(SOI, Join(segments...), SOF(0xC0, 17, 11, 3), SOS(3, 1, 2, 3), EOI)
}

// Chunk returns a PNG chunk with its length and CRC.
func Chunk(kind string, data ...[]byte) []byte {
	d := Join(data...)
	body := Join([]byte(kind), d)
	return Join(BE32(len(d)), body, BE32(int(crc32.ChecksumIEEE(body))))
}

// IHDR returns the header of a PNG.
func IHDR(width, height int, depth, color byte) []byte {
	return Chunk("IHDR", BE32(width), BE32(height), []byte{depth, color, 0, 0, 0})
}

// PNGFile returns a PNG of 17 x 11 with the given chunks before its pixels.
func PNGFile(chunks ...[]byte) []byte {
	return Join([]byte("\x89PNG\r\n\x1A\n"), IHDR(17, 11, 8, 2), Join(chunks...), IDAT, IEND)
}

// IDAT has pixels that nobody can decode; IEND is the last chunk of a PNG.
var (
	IDAT = Chunk("IDAT", []byte("pixels"))
	IEND = Chunk("IEND")
)

// Screen returns the header of a GIF with a colour table of four entries.
func Screen(width, height int) []byte {
	return Join([]byte("GIF89a"), LE16(width), LE16(height), []byte{0x81, 0, 0}, make([]byte, 12))
}

// GIFImage returns a frame without a colour table of its own.
func GIFImage(left, top, width, height int) []byte {
	return Join([]byte{0x2C}, LE16(left), LE16(top), LE16(width), LE16(height), []byte{0, 2, 2, 0x4C, 0x01, 0})
}

// RIFF returns a RIFF chunk, padded to an even length.
func RIFF(kind string, data ...[]byte) []byte {
	d := Join(data...)
	b := Join([]byte(kind), LE32(len(d)), d)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

// WebP returns a file of the given chunks.
func WebP(chunks ...[]byte) []byte {
	b := Join([]byte("WEBP"), Join(chunks...))
	return Join([]byte("RIFF"), LE32(len(b)), b)
}

// VP8 returns a chunk that holds the header of a lossy image and data.
func VP8(width, height int, data []byte) []byte {
	return RIFF("VP8 ", []byte{0x10, 0, 0, 0x9D, 1, 0x2A}, LE16(width), LE16(height), data)
}

// VP8X returns the chunk of a canvas.
func VP8X(flags byte, width, height int) []byte {
	return RIFF("VP8X", []byte{flags, 0, 0, 0}, LE24(width-1), LE24(height-1))
}

// ANMF returns a frame that holds the given chunks.
func ANMF(left, top, width, height int, chunks ...[]byte) []byte {
	return RIFF("ANMF", LE24(left/2), LE24(top/2), LE24(width-1), LE24(height-1), LE24(100), []byte{0}, Join(chunks...))
}
