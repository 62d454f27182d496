package probe

import (
	"encoding/binary"
	"hash/crc32"
)

// PNG (W3C PNG Specification, third edition, which includes APNG) is a
// signature and a chain of chunks: length, type, data, CRC of type and data.
//
// A wrong CRC breaks a critical chunk, as it does in libpng; what an ancillary
// chunk with a wrong CRC says is ignored, and the image goes on.

type pngState struct {
	kind   [4]byte // type of the current chunk
	header bool    // IHDR has been seen
	index  bool    // it says colour type 3, which needs a palette
	colors bool    // PLTE has been seen
	data   bool    // IDAT
	anim   bool    // acTL, before IDAT
	frames int     // fcTL, so many times
}

const pngMaxLength = 1<<31 - 1 // also of each side

func pngStart(s *Scanner, _ []byte) error {
	return s.take(8, pngChunk)
}

// pngChunk receives length and type of a chunk.
func pngChunk(s *Scanner, b []byte) error {
	p := &s.png
	n := int64(binary.BigEndian.Uint32(b))
	p.kind = [4]byte(b[4:])
	for _, c := range p.kind {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return s.broken("no chunk type has the letters %q", p.kind[:])
		}
	}
	if n > pngMaxLength {
		return s.broken("%s chunk of %d bytes", p.kind[:], n)
	}
	s.crc, s.sum = crc32.ChecksumIEEE(p.kind[:]), true
	switch kind := string(p.kind[:]); {
	case kind == "IHDR":
		if p.header {
			return s.broken("a second IHDR chunk")
		}
		if n != 13 {
			return s.broken("IHDR chunk of %d bytes", n)
		}
		return s.take(13, pngHeader)
	case !p.header:
		return s.broken("the first chunk is %s, not IHDR", p.kind[:])
	case kind == "PLTE":
		// In other colour types it is a mere suggestion.
		if p.index && (n == 0 || n > 3*256 || n%3 != 0) {
			return s.broken("PLTE chunk of %d bytes", n)
		}
		p.colors = true
	case kind == "IDAT":
		if p.index && !p.colors {
			return s.broken("IDAT chunk before the palette that it needs")
		}
		p.data = true
	case kind == "IEND":
		if !p.data {
			return s.broken("it ends without an IDAT chunk")
		}
		if n != 0 {
			return s.broken("IEND chunk of %d bytes", n)
		}
	case kind == "eXIf" && !p.data:
		// Decoders look for EXIF before the pixels only.
		return s.exif(s.off+n, pngChunkEnd)
	case p.critical():
		return s.broken("the unknown critical chunk %s", p.kind[:])
	}
	return s.skip(n, pngChunkEnd)
}

// critical reports whether no decoder may skip the current chunk.
func (p *pngState) critical() bool { return p.kind[0]&0x20 == 0 }

// pngHeader receives the data of IHDR.
func pngHeader(s *Scanner, b []byte) error {
	p := &s.png
	width, height := int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
	if width > pngMaxLength || height > pngMaxLength {
		return s.broken("an image of %d x %d pixels", width, height)
	}
	depth, color := b[8], b[9]
	if !pngDepth(depth, color) {
		return s.broken("colour type %d with %d bits a sample", color, depth)
	}
	if b[10] != 0 || b[11] != 0 || b[12] > 1 {
		return s.broken("compression %d, filter %d, interlace %d", b[10], b[11], b[12])
	}
	if err := s.size(width, height); err != nil {
		return err
	}
	p.header, p.index = true, color == 3
	return pngChunkEnd(s, nil)
}

// pngDepth reports whether a colour type may have a bit depth.
func pngDepth(depth, color byte) bool {
	switch color {
	case 0: // greyscale
		return depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16
	case 3: // indexed
		return depth == 1 || depth == 2 || depth == 4 || depth == 8
	case 2, 4, 6: // true colour, greyscale with alpha, true colour with alpha
		return depth == 8 || depth == 16
	}
	return false
}

func pngChunkEnd(s *Scanner, _ []byte) error {
	s.sum = false
	return s.take(4, pngCRC)
}

// pngCRC receives the CRC of the current chunk, and heeds the chunk if it fits.
func pngCRC(s *Scanner, b []byte) error {
	p := &s.png
	if stated := binary.BigEndian.Uint32(b); stated != s.crc {
		if p.critical() {
			return s.broken("the CRC of the %s chunk is %08x, its data has %08x", p.kind[:], stated, s.crc)
		}
		if string(p.kind[:]) == "eXIf" && !p.data {
			s.exifData = exifState{} // as if it had never been there
		}
		return s.take(8, pngChunk)
	}
	switch string(p.kind[:]) {
	case "IEND":
		return s.done()
	case "acTL":
		// Behind IDAT it is too late: the image is a still one.
		p.anim = p.anim || !p.data
	case "fcTL":
		if p.anim {
			if err := s.frame(s.canvas()); err != nil {
				return err
			}
			p.frames++
			s.info.Frames = p.frames
		}
	case "eXIf":
		if !p.data {
			s.info.Orientation = s.exifData.orientation
		}
	}
	return s.take(8, pngChunk)
}
