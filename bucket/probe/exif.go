package probe

import "encoding/binary"

// Of EXIF only the orientation matters: tag 0x0112 of the first directory of a TIFF
// structure (TIFF 6.0; EXIF 2.32, 4.6.5). It is read in one pass: forward only, one
// directory, each offset at most once, never beyond the segment that contains it. So a
// directory that points back at itself, a count of 65535 or an offset of 4 GB cost nothing.
// EXIF never makes an image broken, since viewers ignore what they cannot read: anything
// that does not follow the standards exactly counts as orientation 1.

type exifState struct {
	end         int64 // offset behind the segment
	base        int64 // offset that TIFF counts from: that of the byte order
	then        step  // what follows the segment
	order       binary.ByteOrder
	entries     int // entries of the directory still to read
	orientation int // what was found, for then to use
	seen        bool
}

const (
	tiffMagic       = 42
	tiffShort       = 3
	tagOrientation  = 0x0112
	tiffHeaderBytes = 8
)

// exif reads the TIFF structure that begins here and ends before the offset end, and
// continues with then at end. Only the first of an image counts, valid or not; libvips does
// the same.
func (s *Scanner) exif(end int64, then step) error {
	if s.exifData.seen {
		return s.skip(end-s.off, then)
	}
	s.exifData = exifState{end: end, then: then, orientation: 1, seen: true}
	return s.exifTake(2, exifOrder)
}

// exifTake is take, unless the segment ends before.
func (s *Scanner) exifTake(n int, next step) error {
	if s.off+int64(n) > s.exifData.end {
		return s.exifLeave()
	}
	return s.take(n, next)
}

func (s *Scanner) exifLeave() error {
	return s.skip(s.exifData.end-s.off, s.exifData.then)
}

func exifOrder(s *Scanner, b []byte) error {
	s.exifData.base = s.start
	if s.exifData.order = byteOrder(b); s.exifData.order == nil {
		return s.exifLeave()
	}
	return s.exifTake(tiffHeaderBytes-2, exifHeader)
}

// byteOrder is that of a TIFF which begins with b. nil: it is none.
func byteOrder(b []byte) binary.ByteOrder {
	switch string(b) {
	case "II":
		return binary.LittleEndian
	case "MM":
		return binary.BigEndian
	}
	return nil
}

func exifHeader(s *Scanner, b []byte) error {
	if s.exifData.order.Uint16(b) != tiffMagic {
		return s.exifLeave()
	}
	directory := s.exifData.base + int64(s.exifData.order.Uint32(b[2:]))
	if directory < s.off || directory > s.exifData.end {
		return s.exifLeave()
	}
	return s.skip(directory-s.off, exifDirectory)
}

func exifDirectory(s *Scanner, _ []byte) error {
	return s.exifTake(2, exifCount)
}

func exifCount(s *Scanner, b []byte) error {
	s.exifData.entries = int(s.exifData.order.Uint16(b))
	return s.exifNext()
}

func (s *Scanner) exifNext() error {
	if s.exifData.entries == 0 {
		return s.exifLeave()
	}
	s.exifData.entries--
	return s.exifTake(12, exifEntry)
}

// exifEntry receives tag, type, count and value of a field. A SHORT stands in
// the first two bytes of the value.
func exifEntry(s *Scanner, b []byte) error {
	o := s.exifData.order
	if o.Uint16(b) != tagOrientation {
		return s.exifNext()
	}
	if v := o.Uint16(b[8:]); o.Uint16(b[2:]) == tiffShort && o.Uint32(b[4:]) == 1 && v >= 1 && v <= 8 {
		s.exifData.orientation = int(v)
	}
	return s.exifLeave()
}
