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

type tifState struct {
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
	tables      [4]tifTable
	tag         uint16 // of the last field
	bits        uint16
	photometric uint16
	samples     uint16
	planes      uint16
	tiles       bool // the tables are of tiles
	strips      bool
	coloured    bool // there is a photometric interpretation
}

// A tifTable is a field of many values. One that is still to be read lies ahead.
type tifTable struct {
	offset, count uint32
	size          uint8 // bytes of a value; 0: there is no such field
	read          bool
}

// The tables.
const (
	tifBits = iota
	tifFormats
	tifOffsets
	tifCounts
)

const (
	tifMaxFields = 256
	tifMaxStrips = 65_536
	// tifMaxTile is the most pixels of a tile, which a decoder holds in whole.
	tifMaxTile = 1 << 22

	tifLong = 4

	tifPlain      = 1 // compression
	tifLZW        = 5
	tifDeflate    = 8
	tifOldDeflate = 32946
	tifPackBits   = 32773

	tifWhiteIsZero = 0 // photometric interpretation
	tifBlackIsZero = 1
	tifRGB         = 2
	tifPalette     = 3
	tifCMYK        = 5
)

// tifSizes are the bytes of a value of each type. A field of another type is passed
// over.
var tifSizes = [...]uint8{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4}

// reach says that something ends at offset end.
func (t *tifState) reach(end int64) { t.end = max(t.end, end) }

// tifStart is called after the byte order and 42.
func tifStart(s *Scanner, _ []byte) error {
	s.tif = tifState{order: byteOrder(s.magic[:2]), end: tiffHeaderBytes, rows: 1<<32 - 1, bits: 1, samples: 1, planes: 1}
	return s.take(4, tifHeader)
}

// tifHeader receives the offset of the first directory.
func tifHeader(s *Scanner, b []byte) error {
	directory := int64(s.tif.order.Uint32(b))
	if directory < tiffHeaderBytes {
		return s.broken("a directory at byte %d", directory)
	}
	s.tif.reach(directory + 2)
	return s.skip(directory-s.off, tifDirectory)
}

func tifDirectory(s *Scanner, _ []byte) error { return s.take(2, tifCount) }

func tifCount(s *Scanner, b []byte) error {
	s.tif.left = int(s.tif.order.Uint16(b))
	if s.tif.left > tifMaxFields {
		return s.unsupported("a directory of %d fields, over %d", s.tif.left, tifMaxFields)
	}
	s.tif.reach(s.off + 12*int64(s.tif.left) + 4)
	return s.tifNext()
}

func (s *Scanner) tifNext() error {
	if s.tif.left == 0 {
		return s.take(4, tifChecked)
	}
	s.tif.left--
	return s.take(12, tifField)
}

// tifField receives tag, type, count, and value or offset of a field. No tag stands
// there twice: which one counts, readers do not agree on.
func tifField(s *Scanner, b []byte) error {
	t := &s.tif
	tag, kind, count := t.order.Uint16(b), t.order.Uint16(b[2:]), t.order.Uint32(b[4:])
	if tag <= t.tag {
		return s.broken("field %d behind field %d", tag, t.tag)
	}
	t.tag = tag
	if int(kind) >= len(tifSizes) || tifSizes[kind] == 0 {
		kind = 0
	} else if n := int64(count) * int64(tifSizes[kind]); n > 4 {
		t.reach(int64(t.order.Uint32(b[8:])) + n)
	}
	switch tag {
	case 258:
		return s.tifTable(tifBits, kind == tiffShort, kind, count, b[8:])
	case 339:
		return s.tifTable(tifFormats, kind == tiffShort, kind, count, b[8:])
	case 320:
		t.colours = count
		return s.tifNext()
	case 273, 324:
		t.tiles, t.strips = t.tiles || tag == 324, t.strips || tag == 273
		return s.tifTable(tifOffsets, kind == tiffShort || kind == tifLong, kind, count, b[8:])
	case 279, 325:
		t.tiles, t.strips = t.tiles || tag == 325, t.strips || tag == 279
		return s.tifTable(tifCounts, kind == tiffShort || kind == tifLong, kind, count, b[8:])
	case 256, 257, 278, 322, 323:
		if count != 1 || kind != tiffShort && kind != tifLong {
			return s.broken("field %d has %d values of type %d", tag, count, kind)
		}
	case 259, 262, 274, 277, 284:
		if count != 1 || kind != tiffShort {
			return s.broken("field %d has %d values of type %d", tag, count, kind)
		}
	default:
		return s.tifNext()
	}
	v := uint32(t.order.Uint16(b[8:]))
	if kind == tifLong {
		v = t.order.Uint32(b[8:])
	}
	if err := s.tifNumber(tag, v); err != nil {
		return err
	}
	return s.tifNext()
}

// tifNumber receives the value of a field that has one.
func (s *Scanner) tifNumber(tag uint16, v uint32) error {
	t := &s.tif
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
		case tifPlain, tifLZW, tifDeflate, tifOldDeflate, tifPackBits:
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

// tifTable notes a table, and reads one that is in its field.
func (s *Scanner) tifTable(which int, rightKind bool, kind uint16, count uint32, b []byte) error {
	t := &s.tif
	table := &t.tables[which]
	if !rightKind || count == 0 {
		return s.broken("field %d has %d values of type %d", t.tag, count, kind)
	}
	if count > tifMaxStrips {
		return s.unsupported("field %d has %d values, over %d", t.tag, count, tifMaxStrips)
	}
	if table.size != 0 {
		return s.unsupported("strips and tiles")
	}
	*table = tifTable{offset: t.order.Uint32(b), count: count, size: tifSizes[kind]}
	if n := int(count) * int(table.size); n <= 4 {
		table.read = true
		for i := range count {
			if err := s.tifValue(which, i, b[i*uint32(table.size):]); err != nil {
				return err
			}
		}
	}
	return s.tifNext()
}

// tifValue receives value i of a table.
func (s *Scanner) tifValue(which int, i uint32, b []byte) error {
	t := &s.tif
	v := uint32(t.order.Uint16(b))
	if t.tables[which].size == 4 {
		v = t.order.Uint32(b)
	}
	switch which {
	case tifBits:
		if i > 0 && v != uint32(t.bits) {
			return s.unsupported("samples of %d and of %d bits", t.bits, v)
		}
		t.bits = uint16(v)
	case tifFormats:
		if v != 1 {
			return s.unsupported("samples of format %d", v)
		}
	case tifOffsets:
		if v < tiffHeaderBytes {
			return s.broken("pixels at byte %d", v)
		}
		if v >= t.last {
			t.last, t.lastAt = v, i
		}
		// If the lengths have been read, only that of the last is still known, which
		// nearly always is the last in the file, too.
		if counts := t.tables[tifCounts]; i == t.tables[tifOffsets].count-1 && counts.read && t.lastAt == i {
			t.reach(int64(v) + int64(t.finalCount))
		}
		t.reach(int64(v) + 1)
	case tifCounts:
		if v == 0 {
			return s.broken("pixels in 0 bytes")
		}
		if t.tables[tifOffsets].read && i == t.lastAt {
			t.reach(int64(t.last) + int64(v))
		}
		t.finalCount = v
	}
	return nil
}

// tifChecked is called after the first directory.
func tifChecked(s *Scanner, _ []byte) error {
	t := &s.tif
	if s.info.Width == 0 || !t.coloured {
		return s.broken("a directory without dimensions or colours")
	}
	least, most := uint16(1), uint16(2) // samples
	switch t.photometric {
	case tifWhiteIsZero, tifBlackIsZero:
	case tifRGB:
		least, most = 3, 4
	case tifPalette:
		most = 1
	case tifCMYK:
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
	for _, which := range []int{tifBits, tifFormats} {
		if n := t.tables[which].count; n > 1 && n != uint32(t.samples) {
			return s.broken("%d depths or formats of %d samples", n, t.samples)
		}
	}
	strips, err := s.tifStrips()
	if err != nil {
		return err
	}
	if t.planes == 2 {
		strips *= int64(t.samples)
	}
	if offsets, counts := t.tables[tifOffsets].count, t.tables[tifCounts].count; int64(offsets) != strips || int64(counts) != strips {
		return s.broken("%d places and %d lengths for %d strips or tiles", offsets, counts, strips)
	}
	return s.tifTables()
}

// tifStrips returns how many strips or tiles a plane has.
func (s *Scanner) tifStrips() (int64, error) {
	t := &s.tif
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
	case w > tifMaxTile/h:
		return 0, s.unsupported("tiles of %d x %d pixels, over %d", w, h, tifMaxTile)
	}
	return ((width + w - 1) / w) * ((height + h - 1) / h), nil
}

// tifTables goes on with the nearest table that lies ahead, and when there is none,
// with the end.
func (s *Scanner) tifTables() error {
	t := &s.tif
	nearest := -1
	for i, table := range t.tables {
		if table.size != 0 && !table.read && int64(table.offset) >= s.off && (nearest < 0 || table.offset < t.tables[nearest].offset) {
			nearest = i
		}
	}
	if nearest < 0 {
		return s.tifPixels()
	}
	t.table, t.at = nearest, 0
	return s.skip(int64(t.tables[nearest].offset)-s.off, tifTableStart)
}

func tifTableStart(s *Scanner, _ []byte) error {
	return s.take(int(s.tif.tables[s.tif.table].size), tifTableValue)
}

func tifTableValue(s *Scanner, b []byte) error {
	t := &s.tif
	table := &t.tables[t.table]
	if err := s.tifValue(t.table, t.at, b); err != nil {
		return err
	}
	if t.at++; t.at < table.count {
		return s.take(int(table.size), tifTableValue)
	}
	table.read = true
	return s.tifTables()
}

// tifPixels is called when all is read that could be.
func (s *Scanner) tifPixels() error {
	t := &s.tif
	if bits := t.tables[tifBits]; bits.size == 0 || bits.read {
		switch {
		case t.bits == 8, t.bits == 16 && t.photometric != tifPalette:
		case (t.bits == 1 || t.bits == 2 || t.bits == 4) && t.samples == 1:
		default:
			return s.unsupported("%d samples of %d bits, with photometric interpretation %d", t.samples, t.bits, t.photometric)
		}
	}
	if t.photometric == tifPalette && t.bits <= 8 && t.colours != 3<<t.bits {
		return s.broken("a palette of %d numbers for pixels of %d bits", t.colours, t.bits)
	}
	return s.skip(max(t.end-s.off, 0), tifEnd)
}

func tifEnd(s *Scanner, _ []byte) error { return s.done() }

// tifCutOff is the verdict on a TIFF that ended after n bytes.
func (s *Scanner) tifCutOff(n int64) error {
	return fmt.Errorf("%w: tiff ends after %d of %d bytes at least", ErrTruncated, n, s.tif.end)
}
