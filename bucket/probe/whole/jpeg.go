package whole

import (
	"bufio"
	"encoding/binary"
	"io"

	"imgkeep/bucket/probe/marks"
)

// checkJPEG reads the entropy-coded data (ITU-T T.81, annexes F and G) without making
// pixels of it: each scan has to give all of its blocks, and the scans together each
// coefficient to its last bit. A progressive JPEG that was cut off between two scans has
// every block, but is coarser than its origin's.
//
// Of a progressive JPEG it is kept which coefficients are not 0, a bit for each:
// refining a coefficient takes a bit of the data only then.
func checkJPEG(file io.ReaderAt, size int64) error {
	// Zeros are blocks, of which a byte may have several. Where data ends, an encoder
	// fills up the last byte with ones.
	var last [2]byte
	if err := readAt(file, last[:], size-2); err != nil || last == [2]byte{} {
		return errCut
	}
	j := jpegWalk{in: bufio.NewReaderSize(io.NewSectionReader(file, 2, size-2), 32<<10)}
	for {
		marker, err := j.next()
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if marks.Alone(marker) {
			continue
		}
		if err := j.segment(marker); err != nil {
			return cut(err)
		}
	}
	if len(j.components) == 0 {
		return errCut
	}
	for _, c := range j.components {
		for _, low := range c.low {
			if low != 1 {
				return errCut
			}
		}
	}
	return nil
}

// jpegMostBlocks bounds how many blocks are gone over in all scans together: 20 scans
// of the three components of 50 megapixels. It takes seconds.
const jpegMostBlocks = 20 * 3 * 50_000_000 / 64

type jpegWalk struct {
	in         *bufio.Reader
	components []*jpegComponent
	tables     [2][4]jpegTable // of DC and AC
	progress   bool
	mcusX      int // of an interleaved scan
	mcusY      int
	restart    int // interval, in MCUs; 0: none
	blocks     int // gone over

	// Of the running scan.
	bits uint32 // read and not used, in the high bits
	held int
	eobs int // blocks that have ended, of an end-of-band run
}

type jpegComponent struct {
	id, h, v byte
	width    int // in blocks, for a scan of this component alone
	height   int
	stride   int      // blocks of a row, in whole MCUs
	coded    []uint64 // progressive: which coefficients are not 0, by block
	low      [64]byte // 1 + the lowest bit that is known of each coefficient; 0: none
	dc, ac   byte     // tables of the running scan
}

// next skips what is no marker, and returns the code of the next one.
func (j *jpegWalk) next() (byte, error) {
	for {
		b, err := j.in.ReadByte()
		if err != nil {
			return 0, err
		}
		if b != 0xFF {
			continue
		}
		for b == 0xFF {
			if b, err = j.in.ReadByte(); err != nil {
				return 0, err
			}
		}
		return b, nil
	}
}

func (j *jpegWalk) segment(marker byte) error {
	var length [2]byte
	if _, err := io.ReadFull(j.in, length[:]); err != nil {
		return err
	}
	b := make([]byte, max(0, int(binary.BigEndian.Uint16(length[:]))-2))
	if _, err := io.ReadFull(j.in, b); err != nil {
		return err
	}
	switch marker {
	case marks.SOF0, marks.SOF1, marks.SOF2:
		j.progress = marker == marks.SOF2
		return j.frame(b)
	case marks.DHT:
		return j.huffman(b)
	case marks.DRI:
		if len(b) != 2 {
			return errCut
		}
		j.restart = int(binary.BigEndian.Uint16(b))
	case marks.SOS:
		return j.scan(b)
	}
	return nil
}

// frame reads what the scanner has found sound.
func (j *jpegWalk) frame(b []byte) error {
	if len(b) < 6 || len(b) != 6+3*int(b[5]) || len(j.components) > 0 {
		return errCut
	}
	height, width := int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:]))
	mostH, mostV := 1, 1
	for c := b[6:]; len(c) > 0; c = c[3:] {
		n := &jpegComponent{id: c[0], h: c[1] >> 4, v: c[1] & 15}
		if n.h < 1 || n.v < 1 {
			return errCut
		}
		j.components = append(j.components, n)
		mostH, mostV = max(mostH, int(n.h)), max(mostV, int(n.v))
	}
	up := func(a, b int) int { return (a + b - 1) / b }
	j.mcusX, j.mcusY = up(width, 8*mostH), up(height, 8*mostV)
	for _, c := range j.components {
		h, v := int(c.h), int(c.v)
		c.width, c.height, c.stride = up(up(width*h, mostH), 8), up(up(height*v, mostV), 8), j.mcusX*h
		if j.progress {
			if c.stride*j.mcusY*v > jpegMostBlocks/20 {
				return errCut
			}
			c.coded = make([]uint64, c.stride*j.mcusY*v)
		}
	}
	return nil
}

// A jpegTable is a Huffman code (T.81, C.2 and F.2.2.3).
type jpegTable struct {
	values []byte
	most   [17]int // the largest code of each length; -1: there is none
	first  [17]int // index of the value of code 0 of this length, if there were one
}

func (j *jpegWalk) huffman(b []byte) error {
	for len(b) > 0 {
		if len(b) < 17 || b[0]>>4 > 1 || b[0]&15 > 3 {
			return errCut
		}
		t := &j.tables[b[0]>>4][b[0]&15]
		code, n := 0, 0
		for length := 1; length <= 16; length++ {
			count := int(b[length])
			t.first[length], t.most[length] = n-code, -1
			if code, n = code+count, n+count; count > 0 {
				t.most[length] = code - 1
			}
			code <<= 1
		}
		if n > 256 || len(b) < 17+n {
			return errCut
		}
		t.values, b = b[17:17+n], b[17+n:]
	}
	return nil
}

// scan reads the header of a scan, and its data.
func (j *jpegWalk) scan(b []byte) error {
	if len(b) < 1 || len(b) != 4+2*int(b[0]) {
		return errCut
	}
	var scanned []*jpegComponent
	for c := b[1 : len(b)-3]; len(c) > 0; c = c[2:] {
		for _, n := range j.components {
			if n.id == c[0] {
				n.dc, n.ac = c[1]>>4&3, c[1]&3
				scanned = append(scanned, n)
				break
			}
		}
	}
	s := jpegScanKind{first: b[len(b)-3], last: b[len(b)-2], high: b[len(b)-1] >> 4, low: b[len(b)-1] & 15}
	if !j.progress {
		s = jpegScanKind{last: 63}
	}
	if len(scanned) != int(b[0]) || s.last > 63 || s.first > s.last || j.progress && (s.first == 0) != (s.last == 0) || s.first > 0 && len(scanned) > 1 {
		return errCut
	}
	j.bits, j.held, j.eobs = 0, 0, 0
	if err := j.data(scanned, s); err != nil {
		return err
	}
	for _, c := range scanned {
		for k := s.first; k <= s.last; k++ {
			c.low[k] = s.low + 1
		}
	}
	return nil
}

// A jpegScanKind says which coefficients a scan has, and which bits of them.
type jpegScanKind struct{ first, last, high, low byte }

// data goes over all blocks of a scan.
func (j *jpegWalk) data(scanned []*jpegComponent, s jpegScanKind) error {
	mcusX, mcusY := j.mcusX, j.mcusY
	alone := len(scanned) == 1
	if alone {
		mcusX, mcusY = scanned[0].width, scanned[0].height
	}
	for mcu := range mcusX * mcusY {
		if j.restart > 0 && mcu > 0 && mcu%j.restart == 0 {
			if err := j.restarted(); err != nil {
				return err
			}
		}
		x, y := mcu%mcusX, mcu/mcusX
		for _, c := range scanned {
			h, v := int(c.h), int(c.v)
			if alone {
				h, v = 1, 1
			}
			for i := range h * v {
				if j.blocks++; j.blocks > jpegMostBlocks {
					return errCut
				}
				coded := new(uint64)
				if c.coded != nil {
					coded = &c.coded[(y*v+i/h)*c.stride+x*h+i%h]
				}
				if err := j.block(c, coded, s); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// restarted goes behind the restart marker.
func (j *jpegWalk) restarted() error {
	j.bits, j.held, j.eobs = 0, 0, 0
	marker, err := j.next()
	if err != nil || marker < marks.RST0 || marker > marks.RST7 {
		return errCut
	}
	return nil
}

// bit reads n bits.
func (j *jpegWalk) bit(n int) (int, error) {
	for j.held < n {
		if err := j.fill(); err != nil {
			return 0, err
		}
	}
	v := int(j.bits >> (32 - n))
	if n == 0 {
		v = 0
	}
	j.bits, j.held = j.bits<<n, j.held-n
	return v, nil
}

// fill reads a byte of data. There is none behind a marker.
func (j *jpegWalk) fill() error {
	b, err := j.in.ReadByte()
	if err != nil {
		return cut(err)
	}
	if b == 0xFF {
		stuffed, err := j.in.ReadByte()
		if err != nil || stuffed != 0 {
			return errCut
		}
	}
	j.bits |= uint32(b) << (24 - j.held)
	j.held += 8
	return nil
}

// value reads a Huffman code.
func (j *jpegWalk) value(t *jpegTable) (int, error) {
	code := 0
	for length := 1; length <= 16; length++ {
		b, err := j.bit(1)
		if err != nil {
			return 0, err
		}
		code = code<<1 | b
		if t.values != nil && code <= t.most[length] {
			return int(t.values[t.first[length]+code]), nil
		}
	}
	return 0, errCut
}

func (j *jpegWalk) block(c *jpegComponent, coded *uint64, s jpegScanKind) error {
	k := int(s.first)
	if k == 0 {
		if s.high > 0 {
			_, err := j.bit(1)
			return err
		}
		size, err := j.value(&j.tables[0][c.dc])
		if err != nil || size > 16 {
			return errCut
		}
		if _, err := j.bit(size); err != nil {
			return err
		}
		k = 1
	}
	if s.high > 0 {
		return j.refine(c, coded, s)
	}
	if j.eobs > 0 {
		j.eobs--
		return nil
	}
	for ; k <= int(s.last); k++ {
		v, err := j.value(&j.tables[1][c.ac])
		if err != nil {
			return err
		}
		run, size := v>>4, v&15
		if size == 0 && run < 15 {
			return j.ended(run)
		}
		if k += run; k > int(s.last) && size > 0 {
			return errCut
		}
		if size > 0 {
			*coded |= 1 << k
			if _, err := j.bit(size); err != nil {
				return err
			}
		}
	}
	return nil
}

// ended reads how many further blocks have ended. A sequential JPEG knows none.
func (j *jpegWalk) ended(run int) error {
	if !j.progress {
		return nil
	}
	more, err := j.bit(run)
	j.eobs = 1<<run + more - 1
	return err
}

// refine reads a bit of each coefficient that is not 0, and those that become so
// (T.81, G.1.2.3).
func (j *jpegWalk) refine(c *jpegComponent, coded *uint64, s jpegScanKind) error {
	k := int(s.first)
	if j.eobs == 0 {
		for ; k <= int(s.last); k++ {
			v, err := j.value(&j.tables[1][c.ac])
			if err != nil {
				return err
			}
			run, size := v>>4, v&15
			if size == 0 && run < 15 {
				if err := j.ended(run); err != nil {
					return err
				}
				j.eobs++ // this block, too
				break
			}
			if size > 0 {
				if _, err := j.bit(1); err != nil {
					return err
				}
			}
			// Over so many that are 0, and refining those that are not.
			for ; k <= int(s.last); k++ {
				if *coded>>k&1 == 0 {
					if run == 0 {
						break
					}
					run--
				} else if _, err := j.bit(1); err != nil {
					return err
				}
			}
			if size > 0 && k <= int(s.last) {
				*coded |= 1 << k
			}
		}
	}
	if j.eobs > 0 {
		for ; k <= int(s.last); k++ {
			if *coded>>k&1 == 1 {
				if _, err := j.bit(1); err != nil {
					return err
				}
			}
		}
		j.eobs--
	}
	return nil
}
