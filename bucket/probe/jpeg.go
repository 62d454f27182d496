package probe

import (
	"encoding/binary"
	"fmt"

	"imgkeep/bucket/probe/marks"
)

// JPEG (ITU-T T.81, annex B) is a chain of markers: 0xFF, any number of fill
// bytes 0xFF, a code. Most begin a segment with a length; behind SOS there is
// entropy-coded data, in which 0xFF is followed by 0x00 or a restart marker.
//
// The search for the next marker is libjpeg's: bytes between segments that are no marker
// are skipped, since cameras leave padding there and every viewer accepts it. So
// entropy-coded data, which has no length, is treated like padding, and several scans like
// several segments.

type jpegState struct {
	marker     byte  // of the current segment
	end        int64 // offset behind the current segment
	components int   // of the frame; 0 before it
	scanned    bool  // a scan has begun
	scans      int   // that have begun
}

// jpegMaxScans is the most scans of an accepted image. Each makes a decoder go
// over all coefficients once more, also where it has next to no data: of a
// progressive JPEG, 45 bytes are a whole scan of 49 megapixels (the maxscans of
// libjpeg-turbo's djpeg is against the same). Encoders write about ten.
const (
	jpegMaxScans = 100
	// jpegFullScans is how many an image may have that is as large as Limits allow.
	// Of smaller ones all scans together go over no more pixels than of that: else
	// 395 KB of 49 megapixels in 100 scans kept a decoder busy for seconds.
	jpegFullScans = 16
)

// jpegKinds names the kinds other than SOF0 to SOF2, by the marker that shows
// them. libjpeg-turbo 2 decodes none of them but the arithmetic-coded, and those
// only where it was built for that; in browsers it is not.
var jpegKinds = map[byte]string{
	0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical lossless",
	0xC8: "reserved", 0xC9: "arithmetic-coded", 0xCA: "arithmetic-coded", 0xCB: "arithmetic-coded lossless",
	0xCD: "arithmetic-coded hierarchical", 0xCE: "arithmetic-coded hierarchical", 0xCF: "arithmetic-coded hierarchical",
	marks.DHP: "hierarchical", marks.EXP: "hierarchical", marks.LS: "JPEG-LS",
}

// jpegStart is called after a 0xFF; the first time, behind that of the magic.
func jpegStart(s *Scanner, _ []byte) error {
	return s.take(1, jpegMarker)
}

func jpegNext(s *Scanner, _ []byte) error {
	return s.find(jpegStart)
}

// jpegMarker receives the byte behind a 0xFF.
func jpegMarker(s *Scanner, b []byte) error {
	j := &s.jpeg
	m := b[0]
	switch {
	case m == 0xFF: // a fill byte
		return s.take(1, jpegMarker)
	case marks.Alone(m):
		return s.find(jpegStart)
	case m == marks.EOI:
		if !j.scanned {
			return s.broken("it ends before its first scan")
		}
		return s.done()
	case m == marks.SOI:
		return s.broken("a second SOI marker")
	case jpegKinds[m] != "":
		return s.unsupported("%s JPEG (marker 0x%02X), which browsers do not show", jpegKinds[m], m)
	case m < marks.SOF0, m >= marks.JPG0 && m < marks.COM:
		return s.broken("the reserved marker 0x%02X", m)
	}
	j.marker = m
	return s.take(2, jpegSegment)
}

// jpegSegment receives the length of a segment, which counts itself.
func jpegSegment(s *Scanner, b []byte) error {
	j := &s.jpeg
	n := int(binary.BigEndian.Uint16(b)) - 2
	if n < 0 && (j.marker >= marks.APP0 && j.marker < marks.JPG0 || j.marker == marks.COM || j.marker == marks.DNL) {
		// What only says something besides is skipped, as libjpeg does, whose writers
		// have left files of such lengths.
		n = 0
	}
	if n < 0 {
		return s.broken("segment 0x%02X with a length of %d, less than 2", j.marker, n+2)
	}
	j.end = s.off + int64(n)
	switch j.marker {
	case marks.SOF0, marks.SOF1, marks.SOF2:
		if j.components != 0 {
			return s.broken("a second frame header")
		}
		if n < 6 {
			return s.broken("a frame header of %d bytes", n)
		}
		return s.take(6, jpegFrame)
	case marks.SOS:
		if j.components == 0 {
			return s.broken("a scan before the frame header")
		}
		if n < 1 {
			return s.broken("an empty scan header")
		}
		return s.take(1, jpegScan)
	case marks.APP1:
		// Decoders look for EXIF in the header only.
		if n >= len(marks.EXIF) && !j.scanned {
			return s.take(len(marks.EXIF), jpegAPP)
		}
	}
	return s.jpegLeave()
}

// jpegLeave skips the rest of the segment.
func (s *Scanner) jpegLeave() error {
	return s.skip(s.jpeg.end-s.off, jpegNext)
}

// jpegFrame receives precision, height, width and the number of components.
func jpegFrame(s *Scanner, b []byte) error {
	height := int64(binary.BigEndian.Uint16(b[1:]))
	width := int64(binary.BigEndian.Uint16(b[3:]))
	n := int(b[5])
	if height == 0 && width != 0 {
		// Its height would come behind the first scan, in a DNL segment.
		// No common decoder reads it there.
		return s.unsupported("a height of 0, to be told later (DNL)")
	}
	if err := s.size(width, height); err != nil {
		return err
	}
	switch b[0] {
	case 8:
	case 12:
		return s.unsupported("12 bits a sample, which browsers do not show")
	default:
		return s.broken("%d bits a sample", b[0])
	}
	if n != 1 && n != 3 && n != 4 {
		return s.unsupported("%d colour components", n)
	}
	if s.jpeg.end-s.start != int64(6+3*n) {
		return s.broken("a frame header of %d bytes for %d components", s.jpeg.end-s.start, n)
	}
	s.jpeg.components = n
	return s.take(3*n, jpegComponents)
}

// jpegComponents receives identifier, sampling factors and quantisation table
// of each component.
func jpegComponents(s *Scanner, b []byte) error {
	for ; len(b) > 0; b = b[3:] {
		if h, v := b[1]>>4, b[1]&15; h < 1 || h > 4 || v < 1 || v > 4 {
			return s.broken("sampling factors %d x %d", h, v)
		}
		if b[2] > 3 {
			return s.broken("quantisation table %d", b[2])
		}
	}
	return jpegNext(s, nil)
}

// jpegScan receives the number of components in a scan.
func jpegScan(s *Scanner, b []byte) error {
	n := int(b[0])
	if n < 1 || n > s.jpeg.components {
		return s.broken("a scan of %d components in a frame of %d", n, s.jpeg.components)
	}
	if s.jpeg.end-s.start != int64(4+2*n) {
		return s.broken("a scan header of %d bytes for %d components", s.jpeg.end-s.start, n)
	}
	s.jpeg.scanned = true
	if s.jpeg.scans++; s.jpeg.scans > jpegMaxScans {
		return fmt.Errorf("%w: jpeg of %d x %d has more than %d scans", ErrPixels, s.info.Width, s.info.Height, jpegMaxScans)
	}
	if m := s.limits.MaxPixels; m > 0 && s.canvas()*int64(s.jpeg.scans) > jpegFullScans*m {
		return fmt.Errorf("%w: jpeg of %d x %d has %d scans, which go over more than %d times the pixels allowed",
			ErrPixels, s.info.Width, s.info.Height, s.jpeg.scans, jpegFullScans)
	}
	return s.jpegLeave()
}

func jpegAPP(s *Scanner, b []byte) error {
	if string(b) != marks.EXIF {
		return s.jpegLeave()
	}
	return s.exif(s.jpeg.end, jpegOriented)
}

func jpegOriented(s *Scanner, _ []byte) error {
	s.info.Orientation = s.exifData.orientation
	return jpegNext(s, nil)
}
