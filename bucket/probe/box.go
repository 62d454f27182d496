package probe

import "encoding/binary"

// AVIF, HEIC and JPEG XL are chains of boxes (ISO/IEC 14496-12, 4.2): size, kind,
// and a body.

type boxState struct {
	kind [4]byte // of the current box
	body boxBody
}

// A boxBody is called where n bytes of a box follow, or boxEndless: all that there
// are.
type boxBody func(s *Scanner, n int64) error

const boxEndless = -1

// nextBox is called where a box begins. s.box.body is then given it.
func nextBox(s *Scanner, _ []byte) error {
	return s.take(8, boxHeader)
}

// boxHeader receives size and kind of a box.
func boxHeader(s *Scanner, b []byte) error {
	s.box.kind = [4]byte(b[4:])
	switch size := int64(binary.BigEndian.Uint32(b)); size {
	case 0:
		return s.box.body(s, boxEndless)
	case 1:
		return s.take(8, boxLargeSize)
	default:
		return s.boxSized(size - 8)
	}
}

func boxLargeSize(s *Scanner, b []byte) error {
	size := binary.BigEndian.Uint64(b)
	if size > 1<<62 {
		return s.broken("a %q box of %d bytes", s.box.kind[:], size)
	}
	return s.boxSized(int64(size) - 16)
}

func (s *Scanner) boxSized(n int64) error {
	if n < 0 {
		return s.broken("a %q box with %d bytes less than its header", s.box.kind[:], -n)
	}
	return s.box.body(s, n)
}
