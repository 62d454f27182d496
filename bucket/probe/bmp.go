package probe

import (
	"encoding/binary"
	"fmt"
)

// BMP (Microsoft, Bitmap Storage) is a file header, an information header with the
// dimensions, masks and a palette, and rows of pixels, each padded to 4 bytes. The length
// in the file header is ignored, because many writers get it wrong; so are reserved fields.
//
// Accepted is what browsers show: information headers of Windows 3 to 5 and of OS/2, pixels
// of 1 to 8, 16, 24 and 32 bits, with any masks, at any offset after the header, and run
// lengths of 4 and 8 bits. OS/2's other compressions, and an embedded JPEG or PNG, which
// are for printers, are refused as a type.

type bmpState struct {
	header  int64 // bytes of the information header
	pixels  int64 // offset of the pixels
	end     int64 // offset behind them; 0: they are in run lengths
	palette int64 // bytes of the palette
	bits    int64 // of a pixel
	alpha   bool  // there is a mask for it
}

const (
	bmpFileHeader = 14
	bmpHeaderOS2  = 12
	bmpHeader3    = 40
	bmpHeader3RGB = 52 // with masks
	bmpHeader3A   = 56 // with one for alpha
	bmpHeaderOS22 = 64
	bmpHeader4    = 108
	bmpHeader5    = 124

	bmpPlain      = 0 // compression
	bmpRuns8      = 1
	bmpRuns4      = 2
	bmpMasks      = 3
	bmpAlphaMasks = 6
)

// bmpStart is called after the first two bytes.
func bmpStart(s *Scanner, _ []byte) error {
	return s.take(16, bmpOffset)
}

// bmpOffset receives a length, what is reserved, the offset of the pixels, and the
// length of the information header.
func bmpOffset(s *Scanner, b []byte) error {
	s.bmp.pixels = int64(binary.LittleEndian.Uint32(b[8:]))
	s.bmp.header = int64(binary.LittleEndian.Uint32(b[12:]))
	switch s.bmp.header {
	case bmpHeaderOS2:
		return s.take(8, bmpOS2)
	case bmpHeader3, bmpHeader3RGB, bmpHeader3A, bmpHeaderOS22, bmpHeader4, bmpHeader5:
		return s.take(32, bmpInfo)
	}
	return s.unsupported("an information header of %d bytes", s.bmp.header)
}

// bmpOS2 receives the information header of OS/2 1 from the width on.
func bmpOS2(s *Scanner, b []byte) error {
	le := binary.LittleEndian
	s.bmp.bits = int64(le.Uint16(b[6:]))
	switch s.bmp.bits {
	case 1, 2, 4, 8:
		s.bmp.palette = 3 << s.bmp.bits
	case 24:
	default:
		return s.unsupported("pixels of %d bits", s.bmp.bits)
	}
	if planes := le.Uint16(b[4:]); planes != 1 {
		return s.broken("%d planes", planes)
	}
	// Writers leave out colours that they do not use.
	s.bmp.palette = min(s.bmp.palette, max(0, s.bmp.pixels-bmpFileHeader-s.bmp.header))
	return s.bmpSize(int64(le.Uint16(b)), int64(le.Uint16(b[2:])), bmpPlain)
}

// bmpInfo receives the information header from the width on. A negative height
// says that the first row is the top one.
func bmpInfo(s *Scanner, b []byte) error {
	le := binary.LittleEndian
	width, height := int64(int32(le.Uint32(b))), int64(int32(le.Uint32(b[4:])))
	planes, compression, colours := le.Uint16(b[8:]), le.Uint32(b[12:]), int64(le.Uint32(b[28:]))
	bits := int64(le.Uint16(b[10:]))
	s.bmp.bits = bits
	ok := false
	switch compression {
	case bmpPlain:
		ok = bits == 1 || bits == 2 || bits == 4 || bits == 8 || bits == 16 || bits == 24 || bits == 32
	case bmpRuns8:
		ok = bits == 8 && height > 0
	case bmpRuns4:
		ok = bits == 4 && height > 0
	case bmpMasks, bmpAlphaMasks:
		ok = (bits == 16 || bits == 32) && s.bmp.header != bmpHeaderOS22
	}
	switch {
	case planes != 1:
		return s.broken("%d planes", planes)
	case height == 0:
		return s.broken("an image of %d x %d pixels", width, height)
	case !ok:
		return s.unsupported("pixels of %d bits with compression %d, from the top: %v", bits, compression, height < 0)
	}
	if bits <= 8 {
		if colours == 0 || colours > 1<<bits {
			colours = 1 << bits
		}
		s.bmp.palette = 4 * colours
	}
	return s.bmpSize(width, max(height, -height), compression)
}

// bmpSize goes on to masks or pixels.
func (s *Scanner) bmpSize(width, height int64, compression uint32) error {
	if err := s.size(width, height); err != nil {
		return err
	}
	least := bmpFileHeader + s.bmp.header + s.bmp.palette
	if s.bmp.header == bmpHeader3 && compression == bmpMasks {
		least += 12
	} else if s.bmp.header == bmpHeader3 && compression == bmpAlphaMasks {
		least += 16
	}
	if s.bmp.pixels < least {
		return s.unsupported("pixels at byte %d, before %d", s.bmp.pixels, least)
	}
	if compression == bmpRuns4 || compression == bmpRuns8 {
		return s.skip(s.bmp.pixels-s.off, bmpRuns)
	}
	row := (width*s.bmp.bits + 31) / 32 * 4
	if row > (1<<62)/height {
		return s.broken("%d rows of %d bytes", height, row)
	}
	s.bmp.end = s.bmp.pixels + row*height
	if compression == bmpMasks || compression == bmpAlphaMasks {
		s.bmp.alpha = compression == bmpAlphaMasks || s.bmp.header >= bmpHeader3A
		return s.skip(bmpFileHeader+bmpHeader3-s.off, bmpBeforeMasks)
	}
	return s.skip(s.bmp.end-s.off, bmpEnd)
}

func bmpBeforeMasks(s *Scanner, _ []byte) error {
	if s.bmp.alpha {
		return s.take(16, bmpMask)
	}
	return s.take(12, bmpMask)
}

// bmpMask receives the bits of red, green and blue, and perhaps of alpha: each contiguous,
// without overlap. Some writers leave an alpha mask of 32 bits with pixels of 16 bits:
// browsers ignore it.
func bmpMask(s *Scanner, b []byte) error {
	var all uint32
	for i := 0; i < len(b); i += 4 {
		m := binary.LittleEndian.Uint32(b[i:])
		if i == 12 {
			m &= 1<<s.bmp.bits - 1
		}
		if lowest := m & -m; (m+lowest)&m != 0 || m&all != 0 {
			return s.unsupported("masks %x and %x", all, m)
		}
		all |= m
	}
	if s.bmp.bits == 16 && all > 1<<16-1 {
		return s.unsupported("masks %x of 16 bits", all)
	}
	return s.skip(s.bmp.end-s.off, bmpEnd)
}

func bmpEnd(s *Scanner, _ []byte) error { return s.done() }

// bmpRuns is called where a run begins.
func bmpRuns(s *Scanner, _ []byte) error { return s.take(2, bmpRun) }

// bmpRun receives a run: the number of pixels, and their value; or 0, and a command.
func bmpRun(s *Scanner, b []byte) error {
	const row, end, move = 0, 1, 2
	switch n := int64(b[1]); {
	case b[0] > 0, n == row:
		return bmpRuns(s, nil)
	case n == end:
		return s.done()
	case n == move:
		return s.skip(2, bmpRuns)
	default: // n pixels, in whole 2 bytes
		return s.skip((n*s.bmp.bits+15)/16*2, bmpRuns)
	}
}

// bmpCutOff is the verdict on a BMP that ended after n bytes.
func (s *Scanner) bmpCutOff(n int64) error {
	if s.bmp.end == 0 {
		return fmt.Errorf("%w: bmp ends after %d bytes, before its runs do", ErrTruncated, n)
	}
	return fmt.Errorf("%w: bmp ends after %d of %d bytes", ErrTruncated, n, s.bmp.end)
}
