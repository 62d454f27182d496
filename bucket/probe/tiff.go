package probe

import (
	"encoding/binary"
	"fmt"
)

// TIFF (Adobe, TIFF 6.0) is a header, followed in any order by directories of fields,
// values of fields that are longer than four bytes, and the pixels, in strips or tiles.
// Fields refer to places by offsets. It is read only forward: the first directory wherever
// it is, and after it the offsets and lengths of the strips. Further directories (pages,
// smaller copies, EXIF) are ignored.
//
// The image is complete if the file reaches the furthest end of what the first directory
// refers to. Tables of offsets or lengths before the directory have passed when it is read;
// libtiff writes them after it. For such a file only the presence of the tables is known,
// and a truncated strip is left to the decoder, which refuses it.
//
// Accepted is what decoders read safely: gray, palette, RGB and CMYK, in whole numbers of 1
// to 16 bits, uncompressed or in LZW, Deflate or PackBits. JPEG and fax codes are refused
// as a type: their decoders tolerate damaged and missing data, and half a picture would be
// stored for good. So is BigTIFF.

type tiffState struct {
	order       binary.ByteOrder
	end         int64 // offset behind all that is known to be named
	left        int   // fields of the directory still to read
	table       int   // the table being read
	at          uint32
	last        uint32 // offset of the strip that begins last
	lastAt      uint32 // its place in the table
	finalCount  uint32 // length of the strip that stands last in the table
	rows        uint32 // of a strip
	colours     uint32 // numbers of the palette
	tileWidth   uint32
	tileHeight  uint32
	width       uint32
	tables      [4]tiffTable
	tag         uint16 // of the last field
	bits        uint16
	photometric uint16
	samples     uint16
	planes      uint16
	tiles       bool // the tables are of tiles
	strips      bool
	coloured    bool // there is a photometric interpretation
}

// A tiffTable is a field of many values. One that is still to be read lies ahead.
type tiffTable struct {
	offset, count uint32
	size          uint8 // bytes of a value; 0: there is no such field
	read          bool
}

// The tables.
const (
	tiffBits = iota
	tiffFormats
	tiffOffsets
	tiffCounts
)

const (
	tiffMaxFields = 256
	tiffMaxStrips = 65_536
	// tiffMaxTile is the most pixels of a tile, which a decoder holds in whole.
	tiffMaxTile = 1 << 22

	tiffLong = 4

	tiffPlain      = 1 // compression
	tiffLZW        = 5
	tiffDeflate    = 8
	tiffOldDeflate = 32946
	tiffPackBits   = 32773

	tiffWhiteIsZero = 0 // photometric interpretation
	tiffBlackIsZero = 1
	tiffRGB         = 2
	tiffPalette     = 3
	tiffCMYK        = 5
)

// tiffSizes are the bytes of a value of each type. A field of another type is passed
// over.
var tiffSizes = [...]uint8{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4}

// reach says that something ends at offset end.
func (t *tiffState) reach(end int64) { t.end = max(t.end, end) }

// tiffStart is called after the byte order and 42.
func tiffStart(s *Scanner, _ []byte) error {
	s.tiff = tiffState{order: byteOrder(s.magic[:2]), end: tiffHeaderBytes, rows: 1<<32 - 1, bits: 1, samples: 1, planes: 1}
	return s.take(4, tiffHeader)
}

// tiffHeader receives the offset of the first directory.
func tiffHeader(s *Scanner, b []byte) error {
	directory := int64(s.tiff.order.Uint32(b))
	if directory < tiffHeaderBytes {
		return s.broken("a directory at byte %d", directory)
	}
	s.tiff.reach(directory + 2)
	return s.skip(directory-s.off, tiffDirectory)
}

func tiffDirectory(s *Scanner, _ []byte) error { return s.take(2, tiffCount) }

func tiffCount(s *Scanner, b []byte) error {
	s.tiff.left = int(s.tiff.order.Uint16(b))
	if s.tiff.left > tiffMaxFields {
		return s.unsupported("a directory of %d fields, over %d", s.tiff.left, tiffMaxFields)
	}
	s.tiff.reach(s.off + 12*int64(s.tiff.left) + 4)
	return s.tiffNext()
}

func (s *Scanner) tiffNext() error {
	if s.tiff.left == 0 {
		return s.take(4, tiffChecked)
	}
	s.tiff.left--
	return s.take(12, tiffField)
}

// tiffField receives tag, type, count, and value or offset of a field. No tag stands
// there twice: which one counts, readers do not agree on.
func tiffField(s *Scanner, b []byte) error {
	t := &s.tiff
	tag, kind, count := t.order.Uint16(b), t.order.Uint16(b[2:]), t.order.Uint32(b[4:])
	if tag <= t.tag {
		return s.broken("field %d behind field %d", tag, t.tag)
	}
	t.tag = tag
	if int(kind) >= len(tiffSizes) || tiffSizes[kind] == 0 {
		kind = 0
	} else if n := int64(count) * int64(tiffSizes[kind]); n > 4 {
		t.reach(int64(t.order.Uint32(b[8:])) + n)
	}
	switch tag {
	case 258:
		return s.tiffTable(tiffBits, kind == tiffShort, kind, count, b[8:])
	case 339:
		return s.tiffTable(tiffFormats, kind == tiffShort, kind, count, b[8:])
	case 320:
		t.colours = count
		return s.tiffNext()
	case 273, 324:
		t.tiles, t.strips = t.tiles || tag == 324, t.strips || tag == 273
		return s.tiffTable(tiffOffsets, kind == tiffShort || kind == tiffLong, kind, count, b[8:])
	case 279, 325:
		t.tiles, t.strips = t.tiles || tag == 325, t.strips || tag == 279
		return s.tiffTable(tiffCounts, kind == tiffShort || kind == tiffLong, kind, count, b[8:])
	case 256, 257, 278, 322, 323:
		if count != 1 || kind != tiffShort && kind != tiffLong {
			return s.broken("field %d has %d values of type %d", tag, count, kind)
		}
	case 259, 262, 274, 277, 284:
		if count != 1 || kind != tiffShort {
			return s.broken("field %d has %d values of type %d", tag, count, kind)
		}
	default:
		return s.tiffNext()
	}
	v := uint32(t.order.Uint16(b[8:]))
	if kind == tiffLong {
		v = t.order.Uint32(b[8:])
	}
	if err := s.tiffNumber(tag, v); err != nil {
		return err
	}
	return s.tiffNext()
}

// tiffNumber receives the value of a field that has one.
func (s *Scanner) tiffNumber(tag uint16, v uint32) error {
	t := &s.tiff
	switch tag {
	case 256:
		t.width = v
	case 257:
		if max(t.width, v) > 1<<31-1 {
			return s.broken("an image of %d x %d pixels", t.width, v)
		}
		return s.size(int64(t.width), int64(v))
	case 259:
		switch v {
		case tiffPlain, tiffLZW, tiffDeflate, tiffOldDeflate, tiffPackBits:
		default:
			return s.unsupported("compression %d", v)
		}
	case 262:
		t.photometric, t.coloured = uint16(v), true
	case 274:
		if v >= 1 && v <= 8 {
			s.info.Orientation = int(v)
		}
	case 277:
		t.samples = uint16(v)
	case 278:
		if t.rows = v; v == 0 {
			return s.broken("strips of no rows")
		}
	case 284:
		if t.planes = uint16(v); v != 1 && v != 2 {
			return s.broken("planar configuration %d", v)
		}
	case 322:
		t.tileWidth, t.tiles = v, true
	case 323:
		t.tileHeight, t.tiles = v, true
	}
	return nil
}

// tiffTable notes a table, and reads one that is in its field.
func (s *Scanner) tiffTable(which int, rightKind bool, kind uint16, count uint32, b []byte) error {
	t := &s.tiff
	table := &t.tables[which]
	if !rightKind || count == 0 {
		return s.broken("field %d has %d values of type %d", t.tag, count, kind)
	}
	if count > tiffMaxStrips {
		return s.unsupported("field %d has %d values, over %d", t.tag, count, tiffMaxStrips)
	}
	if table.size != 0 {
		return s.unsupported("strips and tiles")
	}
	*table = tiffTable{offset: t.order.Uint32(b), count: count, size: tiffSizes[kind]}
	if n := int(count) * int(table.size); n <= 4 {
		table.read = true
		for i := range count {
			if err := s.tiffValue(which, i, b[i*uint32(table.size):]); err != nil {
				return err
			}
		}
	}
	return s.tiffNext()
}

// tiffValue receives value i of a table.
func (s *Scanner) tiffValue(which int, i uint32, b []byte) error {
	t := &s.tiff
	v := uint32(t.order.Uint16(b))
	if t.tables[which].size == 4 {
		v = t.order.Uint32(b)
	}
	switch which {
	case tiffBits:
		if i > 0 && v != uint32(t.bits) {
			return s.unsupported("samples of %d and of %d bits", t.bits, v)
		}
		t.bits = uint16(v)
	case tiffFormats:
		if v != 1 {
			return s.unsupported("samples of format %d", v)
		}
	case tiffOffsets:
		if v < tiffHeaderBytes {
			return s.broken("pixels at byte %d", v)
		}
		if v >= t.last {
			t.last, t.lastAt = v, i
		}
		// If the lengths have been read, only that of the last is still known, which
		// nearly always is the last in the file, too.
		if counts := t.tables[tiffCounts]; i == t.tables[tiffOffsets].count-1 && counts.read && t.lastAt == i {
			t.reach(int64(v) + int64(t.finalCount))
		}
		t.reach(int64(v) + 1)
	case tiffCounts:
		if v == 0 {
			return s.broken("pixels in 0 bytes")
		}
		if t.tables[tiffOffsets].read && i == t.lastAt {
			t.reach(int64(t.last) + int64(v))
		}
		t.finalCount = v
	}
	return nil
}

// tiffChecked is called after the first directory.
func tiffChecked(s *Scanner, _ []byte) error {
	t := &s.tiff
	if s.info.Width == 0 || !t.coloured {
		return s.broken("a directory without dimensions or colours")
	}
	least, most := uint16(1), uint16(2) // samples
	switch t.photometric {
	case tiffWhiteIsZero, tiffBlackIsZero:
	case tiffRGB:
		least, most = 3, 4
	case tiffPalette:
		most = 1
	case tiffCMYK:
		least, most = 4, 4
	default:
		return s.unsupported("photometric interpretation %d", t.photometric)
	}
	if t.samples < least || t.samples > most {
		return s.unsupported("%d samples a pixel, with photometric interpretation %d", t.samples, t.photometric)
	}
	if t.planes == 2 && t.samples == 2 { // of which libvips makes another picture
		return s.unsupported("gray and alpha in a plane each")
	}
	for _, which := range []int{tiffBits, tiffFormats} {
		if n := t.tables[which].count; n > 1 && n != uint32(t.samples) {
			return s.broken("%d depths or formats of %d samples", n, t.samples)
		}
	}
	strips, err := s.tiffStrips()
	if err != nil {
		return err
	}
	if t.planes == 2 {
		strips *= int64(t.samples)
	}
	if offsets, counts := t.tables[tiffOffsets].count, t.tables[tiffCounts].count; int64(offsets) != strips || int64(counts) != strips {
		return s.broken("%d places and %d lengths for %d strips or tiles", offsets, counts, strips)
	}
	return s.tiffTables()
}

// tiffStrips returns how many strips or tiles a plane has.
func (s *Scanner) tiffStrips() (int64, error) {
	t := &s.tiff
	width, height := int64(s.info.Width), int64(s.info.Height)
	if !t.tiles {
		rows := min(int64(t.rows), height)
		return (height + rows - 1) / rows, nil
	}
	w, h := int64(t.tileWidth), int64(t.tileHeight)
	switch {
	case t.strips:
		return 0, s.unsupported("strips and tiles")
	case t.planes == 2: // which libvips does not read
		return 0, s.unsupported("tiles of one sample each")
	case w == 0 || h == 0 || w%16 != 0 || h%16 != 0:
		return 0, s.broken("tiles of %d x %d pixels", w, h)
	case w > tiffMaxTile/h:
		return 0, s.unsupported("tiles of %d x %d pixels, over %d", w, h, tiffMaxTile)
	}
	return ((width + w - 1) / w) * ((height + h - 1) / h), nil
}

// tiffTables goes on with the nearest table that lies ahead, and when there is none,
// with the end.
func (s *Scanner) tiffTables() error {
	t := &s.tiff
	nearest := -1
	for i, table := range t.tables {
		if table.size != 0 && !table.read && int64(table.offset) >= s.off && (nearest < 0 || table.offset < t.tables[nearest].offset) {
			nearest = i
		}
	}
	if nearest < 0 {
		return s.tiffPixels()
	}
	t.table, t.at = nearest, 0
	return s.skip(int64(t.tables[nearest].offset)-s.off, tiffTableStart)
}

func tiffTableStart(s *Scanner, _ []byte) error {
	return s.take(int(s.tiff.tables[s.tiff.table].size), tiffTableValue)
}

func tiffTableValue(s *Scanner, b []byte) error {
	t := &s.tiff
	table := &t.tables[t.table]
	if err := s.tiffValue(t.table, t.at, b); err != nil {
		return err
	}
	if t.at++; t.at < table.count {
		return s.take(int(table.size), tiffTableValue)
	}
	table.read = true
	return s.tiffTables()
}

// tiffPixels is called when all is read that could be.
func (s *Scanner) tiffPixels() error {
	t := &s.tiff
	if bits := t.tables[tiffBits]; bits.size == 0 || bits.read {
		switch {
		case t.bits == 8, t.bits == 16 && t.photometric != tiffPalette:
		case (t.bits == 1 || t.bits == 2 || t.bits == 4) && t.samples == 1:
		default:
			return s.unsupported("%d samples of %d bits, with photometric interpretation %d", t.samples, t.bits, t.photometric)
		}
	}
	if t.photometric == tiffPalette && t.bits <= 8 && t.colours != 3<<t.bits {
		return s.broken("a palette of %d numbers for pixels of %d bits", t.colours, t.bits)
	}
	return s.skip(max(t.end-s.off, 0), tiffEnd)
}

func tiffEnd(s *Scanner, _ []byte) error { return s.done() }

// tiffCutOff is the verdict on a TIFF that ended after n bytes.
func (s *Scanner) tiffCutOff(n int64) error {
	return fmt.Errorf("%w: tiff ends after %d of %d bytes at least", ErrTruncated, n, s.tiff.end)
}
