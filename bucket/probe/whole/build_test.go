package whole_test

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"imgkeep/bucket/probe/marks"
)

// The functions of this file put files together from the parts that their standards
// name, as those of package probe's tests do.

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

func be16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }
func be32(v int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }
func le16(v int) []byte { return binary.LittleEndian.AppendUint16(nil, uint16(v)) }
func le24(v int) []byte { return le32(v)[:3] }
func le32(v int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }

var (
	soi = []byte{0xFF, 0xD8}
	eoi = []byte{0xFF, 0xD9}
)

// segment returns a JPEG segment with its length.
func segment(marker byte, data ...[]byte) []byte {
	d := join(data...)
	return join([]byte{0xFF, marker}, be16(len(d)+2), d)
}

// sof returns a frame header of 8 bits a sample without subsampling.
func sof(marker byte, width, height, components int) []byte {
	d := join([]byte{8}, be16(height), be16(width), []byte{byte(components)})
	for i := range components {
		d = append(d, byte(i+1), 0x11, 0)
	}
	return segment(marker, d)
}

// sos returns a scan header for the first components, and entropy-coded data.
func sos(components int, data ...byte) []byte {
	d := []byte{byte(components)}
	for i := range components {
		d = append(d, byte(i+1), 0)
	}
	return join(segment(0xDA, d, []byte{0, 63, 0}), data)
}

// jpegFile returns a JPEG of 17 x 11 with the given segments before its frame.
func jpegFile(segments ...[]byte) []byte {
	return join(soi, join(segments...), sof(0xC0, 17, 11, 3), sos(3, 1, 2, 3), eoi)
}

// chunk returns a PNG chunk with its length and CRC.
func chunk(kind string, data ...[]byte) []byte {
	d := join(data...)
	body := join([]byte(kind), d)
	return join(be32(len(d)), body, be32(int(crc32.ChecksumIEEE(body))))
}

// ihdr returns the header of a PNG.
func ihdr(width, height int, depth, color byte) []byte {
	return chunk("IHDR", be32(width), be32(height), []byte{depth, color, 0, 0, 0})
}

// pngFile returns a PNG of 17 x 11 with the given chunks before its pixels.
func pngFile(chunks ...[]byte) []byte {
	return join([]byte(marks.PNG), ihdr(17, 11, 8, 2), join(chunks...), idat, iend)
}

var (
	idat = chunk("IDAT", []byte("pixels"))
	iend = chunk("IEND")
)

// screen returns the header of a GIF with a colour table of four entries.
func screen(width, height int) []byte {
	return join([]byte("GIF89a"), le16(width), le16(height), []byte{0x81, 0, 0}, make([]byte, 12))
}

// gifImage returns a frame without a colour table of its own.
func gifImage(left, top, width, height int) []byte {
	return join([]byte{0x2C}, le16(left), le16(top), le16(width), le16(height), []byte{0, 2, 2, 0x4C, 0x01, 0})
}

// riff returns a RIFF chunk, padded to an even length.
func riff(kind string, data ...[]byte) []byte {
	d := join(data...)
	b := join([]byte(kind), le32(len(d)), d)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

// webp returns a file of the given chunks.
func webp(chunks ...[]byte) []byte {
	b := join([]byte("WEBP"), join(chunks...))
	return join([]byte("RIFF"), le32(len(b)), b)
}

// vp8 returns a chunk that holds the header of a lossy image and data.
func vp8(width, height int, data []byte) []byte {
	return riff("VP8 ", []byte{0x10, 0, 0, 0x9D, 1, 0x2A}, le16(width), le16(height), data)
}

const flagAnim = 0x02

// vp8x returns the chunk of a canvas.
func vp8x(flags byte, width, height int) []byte {
	return riff("VP8X", []byte{flags, 0, 0, 0}, le24(width-1), le24(height-1))
}

// anmf returns a frame that holds the given chunks.
func anmf(left, top, width, height int, chunks ...[]byte) []byte {
	return riff("ANMF", le24(left/2), le24(top/2), le24(width-1), le24(height-1), le24(100), []byte{0}, join(chunks...))
}
