package probe_test

import (
	"encoding/binary"

	"imgkeep/bucket/probe/probetest"
)

// Short names of the parts that files are put together from.
var (
	join                         = probetest.Join
	be16, be32, le16, le24, le32 = probetest.BE16, probetest.BE32, probetest.LE16, probetest.LE24, probetest.LE32

	segment, sof, sos, jpegFile = probetest.Segment, probetest.SOF, probetest.SOS, probetest.JPEGFile
	chunk, ihdr, pngFile        = probetest.Chunk, probetest.IHDR, probetest.PNGFile
	screen, gifImage            = probetest.Screen, probetest.GIFImage
	riff, webp, vp8, vp8x, anmf = probetest.RIFF, probetest.WebP, probetest.VP8, probetest.VP8X, probetest.ANMF

	soi, eoi, idat, iend = probetest.SOI, probetest.EOI, probetest.IDAT, probetest.IEND
)

// JPEG

// app1 returns the EXIF segment of a JPEG.
func app1(tiff []byte) []byte { return segment(0xE1, []byte("Exif\x00\x00"), tiff) }

// EXIF

// field is an entry of a TIFF directory. A value of a SHORT stands left.
type field struct {
	tag, kind, count int
	value            []byte
}

// tiff returns a TIFF structure whose directory is at offset 8.
func tiff(o binary.AppendByteOrder, fields ...field) []byte {
	b := []byte("II")
	if o == binary.BigEndian {
		b = []byte("MM")
	}
	b = o.AppendUint16(b, 42)
	b = o.AppendUint32(b, 8)
	b = o.AppendUint16(b, uint16(len(fields)))
	for _, f := range fields {
		b = o.AppendUint16(b, uint16(f.tag))
		b = o.AppendUint16(b, uint16(f.kind))
		b = o.AppendUint32(b, uint32(f.count))
		b = append(b, f.value...)
	}
	return o.AppendUint32(b, 0)
}

// orientation returns the field that carries it.
func orientation(o binary.AppendByteOrder, v int) field {
	return field{0x0112, 3, 1, o.AppendUint16(o.AppendUint16(nil, uint16(v)), 0)}
}

// oriented returns a TIFF structure that carries nothing else.
func oriented(v int) []byte { return tiff(binary.BigEndian, orientation(binary.BigEndian, v)) }

// PNG

const pngSignature = "\x89PNG\r\n\x1A\n"

// wrongCRC returns a chunk with its last byte flipped.
func wrongCRC(chunk []byte) []byte {
	c := join(chunk)
	c[len(c)-1] ^= 0xFF
	return c
}

// GIF

const gifTrailer = ";"

// WebP

// vp8l returns a chunk that holds the header of a lossless image and data.
func vp8l(width, height int, data []byte) []byte {
	return riff("VP8L", []byte{0x2F}, le32((width-1)|(height-1)<<14), data)
}

const (
	flagAnim = 0x02
	flagExif = 0x08
)
