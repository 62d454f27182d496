package vips

import "fmt"

// gifLZW unpacks the data of a frame: codes of growing length, lowest bit first, in
// sub-blocks. compress/lzw is slower because it serves every kind of reader, and does not
// accept codes that begin with 1 bit, which some encoders write for two colours.
type gifLZW struct {
	src    []byte
	at     int // in src
	block  int // bytes of the sub-block that are left
	bits   uint32
	held   uint
	first  uint // bits of the first codes, less one
	width  uint
	next   int // next code to assign; gifCodes: none left
	old    int // the last code; -1: none since the table was cleared
	ended  bool
	prefix [gifCodes]uint16
	suffix [gifCodes]byte
	out    [gifCodes + 1]byte // decoded, from the end; out[from:] is unread
	from   int
}

const gifCodes = 1 << 12

func (l *gifLZW) start(g *gifReader, at int) error {
	bits := uint(g.src[at])
	if bits < 1 || bits > 11 {
		return fmt.Errorf("gif: LZW codes of %d bits", bits)
	}
	l.src, l.at, l.block, l.bits, l.held, l.first, l.ended, l.from = g.src, at+1, 0, 0, 0, bits, false, len(l.out)
	for i := range 1 << bits {
		l.suffix[i] = byte(i)
	}
	l.clear()
	return nil
}

func (l *gifLZW) clear() { l.width, l.next, l.old = l.first+1, 1<<l.first+2, -1 }

// code reads a code. ok is false where the data ends.
func (l *gifLZW) code() (code int, ok bool, err error) {
	for l.held < l.width {
		if l.block == 0 {
			if l.at >= len(l.src) {
				return 0, false, errGIFCut
			}
			if l.block = int(l.src[l.at]); l.block == 0 {
				return 0, false, nil
			}
			l.at++
		}
		if l.at >= len(l.src) {
			return 0, false, errGIFCut
		}
		l.bits |= uint32(l.src[l.at]) << l.held
		l.held += 8
		l.at++
		l.block--
	}
	code = int(l.bits & (1<<l.width - 1))
	l.bits >>= l.width
	l.held -= l.width
	return code, true, nil
}

// read fills row as far as the data reaches.
func (l *gifLZW) read(row []byte) (n int, err error) {
	for n < len(row) {
		if l.from < len(l.out) {
			m := copy(row[n:], l.out[l.from:])
			n, l.from = n+m, l.from+m
			continue
		}
		if l.ended {
			return n, nil
		}
		if err := l.decode(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// decode expands the next code into out.
func (l *gifLZW) decode() error {
	code, ok, err := l.code()
	reset := 1 << l.first
	switch {
	case err != nil:
		return err
	case !ok, code == reset+1:
		l.ended = true
		return nil
	case code == reset:
		l.clear()
		return nil
	case code > l.next, code == l.next && l.old < 0, code > reset && l.old < 0:
		return fmt.Errorf("gif: LZW code %d, where %d is the next", code, l.next)
	}
	from, walk := len(l.out), code
	if code == l.next { // the code assigned just now: the last one, and its first byte
		from--
		walk = l.old
	}
	for walk > reset {
		from--
		l.out[from], walk = l.suffix[walk], int(l.prefix[walk])
	}
	from--
	l.out[from] = l.suffix[walk]
	if code == l.next {
		l.out[len(l.out)-1] = l.out[from]
	}
	if l.from = from; l.old >= 0 && l.next < gifCodes {
		l.prefix[l.next], l.suffix[l.next] = uint16(l.old), l.out[from]
		if l.next++; l.next == 1<<l.width && l.width < 12 {
			l.width++
		}
	}
	l.old = code
	return nil
}
