package probe

import "encoding/binary"

// BMP (Microsoft, Bitmap Storage) is a file header, an information header with
// the dimensions, a palette, and rows of pixels, each of whole 4 bytes. The length
// in the file header is not asked: many writers get it wrong.
//
// Accepted is what the decoder reads, golang.org/x/image/bmp: information headers
// of Windows 3, 4 and 5, pixels of 1, 2, 4, 8, 24 and 32 bits without compression,
// right behind what describes them. OS/2's headers, run lengths, 16 bits and masks
// of one's own are rare, and refused as a type.

type bmpState struct {
	header  int64 // bytes of the information header
	pixels  int64 // offset of the pixels
	end     int64 // offset behind them
	palette int64 // bytes of the palette
}

const (
	bmpFileHeader = 14
	bmpHeader3    = 40
	bmpHeader4    = 108
	bmpHeader5    = 124

	bmpPlain = 0 // compression
	bmpMasks = 3
)

// bmpStart is called behind the length and what is reserved.
func bmpStart(s *Scanner, _ []byte) error {
	return s.take(8, bmpOffset)
}

// bmpOffset is given the offset of the pixels, and the length of the information
// header.
func bmpOffset(s *Scanner, b []byte) error {
	s.bmp.pixels = int64(binary.LittleEndian.Uint32(b))
	s.bmp.header = int64(binary.LittleEndian.Uint32(b[4:]))
	switch s.bmp.header {
	case bmpHeader3, bmpHeader4, bmpHeader5:
		return s.take(32, bmpInfo)
	}
	return s.unsupported("an information header of %d bytes", s.bmp.header)
}

// bmpInfo is given the information header from the width on. A negative height
// says that the first row is the top one.
func bmpInfo(s *Scanner, b []byte) error {
	le := binary.LittleEndian
	width, height := int64(int32(le.Uint32(b))), int64(int32(le.Uint32(b[4:])))
	planes, bits, compression, colours := le.Uint16(b[8:]), int64(le.Uint16(b[10:])), le.Uint32(b[12:]), int64(le.Uint32(b[28:]))
	height = max(height, -height)
	switch {
	case planes != 1:
		return s.broken("%d planes", planes)
	case compression != bmpPlain && compression != bmpMasks:
		return s.unsupported("compression %d", compression)
	case compression == bmpMasks && (s.bmp.header == bmpHeader3 || bits != 32):
		return s.unsupported("masks for pixels of %d bits in a header of %d bytes", bits, s.bmp.header)
	}
	switch bits {
	case 1, 2, 4, 8:
		if colours == 0 {
			colours = 1 << bits
		}
		if colours > 1<<bits {
			return s.broken("%d colours in %d bits", colours, bits)
		}
		s.bmp.palette = 4 * colours
	case 24, 32:
	default:
		return s.unsupported("pixels of %d bits", bits)
	}
	if err := s.size(width, height); err != nil {
		return err
	}
	if want := bmpFileHeader + s.bmp.header + s.bmp.palette; s.bmp.pixels != want {
		return s.unsupported("pixels at byte %d, not at %d", s.bmp.pixels, want)
	}
	row := (width*bits + 31) / 32 * 4
	if row > (1<<62)/height {
		return s.broken("%d rows of %d bytes", height, row)
	}
	s.bmp.end = s.bmp.pixels + row*height
	if compression == bmpMasks {
		return s.skip(4, bmpBeforeMasks)
	}
	return s.skip(s.bmp.end-s.off, bmpEnd)
}

func bmpBeforeMasks(s *Scanner, _ []byte) error {
	return s.take(16, bmpMask)
}

// bmpMask is given the bits of red, green, blue and alpha. Only those are known
// that say what would hold without them.
func bmpMask(s *Scanner, b []byte) error {
	if string(b) != "\x00\x00\xFF\x00\x00\xFF\x00\x00\xFF\x00\x00\x00\x00\x00\x00\xFF" {
		return s.unsupported("masks %x", b)
	}
	return s.skip(s.bmp.end-s.off, bmpEnd)
}

func bmpEnd(s *Scanner, _ []byte) error { return s.done() }
