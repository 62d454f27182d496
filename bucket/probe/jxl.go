package probe

import (
	"encoding/binary"
	"fmt"

	"imgkeep/bucket/probe/marks"
)

// JPEG XL (ISO/IEC 18181) is a codestream (part 1), which is a file by itself or
// lies in a chain of boxes (part 2): a signature, ftyp, then jxlc with all of it, or
// jxlp boxes with a part each. All other boxes are metadata, and passed over; they
// are never unpacked (brob).
//
// The header of the codestream has all that is needed: see [jxlHeader]. It is read bit by
// bit, again from the start for each further byte, since its length is unknown; it has a
// bound.
//
// In boxes the image is complete when jxlc or the last jxlp is. A codestream has neither a
// length nor an end marker: without boxes, or in a box that extends to the end of the file,
// it is accepted after its header, and only a decoder can tell whether it is truncated.
// (Ours fails then.) See [Scanner.Endless].
//
// Only still images are accepted, of gray or RGB.

type jxlState struct {
	left  int64  // bytes of the codestream that follow in it; boxEndless: all
	last  bool   // there are none in another
	parts uint32 // jxlp boxes so far

	head   [jxlMaxHead]byte // the first bytes of the codestream
	held   int              // bytes in head
	passed bool             // the header is read
}

const (
	// jxlMaxHead bounds the header that is looked at. Encoders need 4 to 20 bytes;
	// the names of extra channels can make it longer.
	jxlMaxHead = 256
	// jxlMaxFtyp bounds the ftyp box. Encoders write 20 bytes.
	jxlMaxFtyp = 64
)

// jxlBare is called after the first bytes of a codestream.
func jxlBare(s *Scanner, _ []byte) error {
	s.jxl = &jxlState{left: boxEndless, last: true}
	s.jxl.held = copy(s.jxl.head[:], marks.JXLCodestream)
	return s.take(1, jxlHead)
}

// jxlBoxes is called after the signature box.
func jxlBoxes(s *Scanner, _ []byte) error {
	s.jxl, s.box.body = &jxlState{}, jxlBody
	return s.take(16, jxlBrand)
}

// jxlBrand receives what an ftyp box begins with: size, kind, brand and version.
func jxlBrand(s *Scanner, b []byte) error {
	n := binary.BigEndian.Uint32(b)
	if string(b[4:12]) != "ftypjxl " || n < 16 || n > jxlMaxFtyp {
		return s.broken("no ftyp box of JPEG XL, but %q", b)
	}
	return s.skip(int64(n)-16, nextBox)
}

func jxlBody(s *Scanner, n int64) error {
	x := s.jxl
	switch string(s.box.kind[:]) {
	case "jxlc":
		if x.parts > 0 {
			return s.broken("the whole codestream behind %d parts of one", x.parts)
		}
		x.left, x.last = n, true
		return s.jxlPart()
	case "jxlp":
		if n < 4 && n != boxEndless {
			return s.broken("a jxlp box of %d bytes", n)
		}
		x.left = n
		return s.take(4, jxlIndex)
	case "jxll":
		if n != 1 {
			return s.broken("a jxll box of %d bytes", n)
		}
		return s.take(1, jxlLevel)
	case "ftyp", "JXL ":
		return s.broken("two %q boxes", s.box.kind[:])
	}
	if n == boxEndless {
		return s.broken("it ends with a %q box, before its codestream does", s.box.kind[:])
	}
	return s.skip(n, nextBox)
}

// jxlLevel receives what a decoder must be able to do.
func jxlLevel(s *Scanner, b []byte) error {
	if b[0] != 5 && b[0] != 10 {
		return s.unsupported("level %d", b[0])
	}
	return nextBox(s, nil)
}

// jxlIndex receives the number of a jxlp box, whose first bit says that it is the
// last.
func jxlIndex(s *Scanner, b []byte) error {
	const last = 1 << 31
	v := binary.BigEndian.Uint32(b)
	s.jxl.last = v&last != 0
	switch {
	case v&^last != s.jxl.parts:
		return s.broken("part %d of the codestream, and %d are there", v&^last, s.jxl.parts)
	case s.jxl.left == boxEndless && !s.jxl.last:
		return s.broken("it ends with part %d, which is not the last", s.jxl.parts)
	case s.jxl.left != boxEndless:
		s.jxl.left -= 4
	}
	s.jxl.parts++
	return s.jxlPart()
}

// jxlPart is called where bytes of the codestream follow, or where those of a box
// are over.
func (s *Scanner) jxlPart() error {
	x := s.jxl
	switch {
	case x.left == boxEndless && x.passed:
		return s.done()
	case x.passed:
		return s.skip(x.left, jxlPartEnd)
	case x.left != 0:
		return s.take(1, jxlHead)
	case x.last:
		return s.broken("a codestream of %d bytes", x.held)
	}
	return nextBox(s, nil)
}

func jxlPartEnd(s *Scanner, _ []byte) error {
	if s.jxl.last {
		return s.done()
	}
	return nextBox(s, nil)
}

// jxlHead receives the next byte of the header of the codestream.
func jxlHead(s *Scanner, b []byte) error {
	x := s.jxl
	if x.held == len(x.head) {
		return s.unsupported("a header of more than %d bytes", len(x.head))
	}
	x.head[x.held] = b[0]
	x.held++
	if x.left != boxEndless {
		x.left--
	}
	h := jxlHeader{s: s, rest: x.head[:x.held]}
	if err := h.read(); err != nil {
		return err
	}
	x.passed = !h.short
	return s.jxlPart()
}

// jxlCutOff is the verdict on an image that ended after n bytes.
func (s *Scanner) jxlCutOff(n int64) error {
	if s.jxl == nil || !s.jxl.passed {
		return fmt.Errorf("%w: jxl ends after %d bytes, in what comes before its pixels", ErrTruncated, n)
	}
	return fmt.Errorf("%w: jxl ends after %d bytes, before its codestream does", ErrTruncated, n)
}
