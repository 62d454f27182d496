package vips

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"imgkeep/resize"
)

const (
	formatBMP = "bmp"
	formatGIF = "gif"
)

// openBMP decodes a BMP (Microsoft, Bitmap Storage) of the kinds that package probe lists.
// libvips reads BMP only through ImageMagick, which reads a hundred more formats.
func openBMP(src []byte, maxPixels int64) (source, error) {
	b, err := readBMP(src)
	if err != nil {
		return source{}, &resize.ImageError{Detail: err.Error()}
	}
	if err := roomFor(b.width, b.height, maxPixels); err != nil {
		return source{}, err
	}
	// Memory is allocated for all pixels before they are read, so check that they exist.
	if !b.runs && int64(len(b.data)) < int64(b.stride())*int64(b.height) {
		return source{}, &resize.ImageError{Detail: fmt.Sprintf("bmp: %d by %d pixels in %d bytes", b.width, b.height, len(b.data))}
	}
	m := raw{pixels: make([]byte, 4*b.width*b.height), width: b.width, height: b.height, palette: b.bits <= 8}
	if b.runs {
		err = b.unpack(m.pixels)
	} else {
		b.rows(m.pixels)
	}
	if err != nil {
		return source{}, &resize.ImageError{Detail: err.Error()}
	}
	return m.open()
}

// A bmp has a header that was read.
type bmp struct {
	width, height int
	topDown, runs bool
	bits          int
	palette       [256][4]byte
	masks         [4]uint32 // of red, green, blue, alpha; where there is no palette
	data          []byte
}

func (b *bmp) stride() int { return (b.width*b.bits + 31) / 32 * 4 }

func readBMP(src []byte) (*bmp, error) {
	const file, os2, windows = 14, 12, 40
	le := binary.LittleEndian
	if len(src) < file+os2 || string(src[:2]) != "BM" {
		return nil, errors.New("bmp: no header")
	}
	offset, header := int64(le.Uint32(src[10:])), int64(le.Uint32(src[14:]))
	if header > 124 || int64(len(src)) < file+header || offset > int64(len(src)) {
		return nil, errors.New("bmp: it ends before its pixels")
	}
	b, h, entry, colours, compression := &bmp{}, src[file:], 4, 0, uint32(0)
	switch {
	case header == os2:
		b.width, b.height, b.bits, entry = int(le.Uint16(h[4:])), int(le.Uint16(h[6:])), int(le.Uint16(h[10:])), 3
	case header >= windows:
		b.width, b.height, b.bits = int(int32(le.Uint32(h[4:]))), int(int32(le.Uint32(h[8:]))), int(le.Uint16(h[14:]))
		compression, colours = le.Uint32(h[16:]), int(le.Uint32(h[32:]))
		if b.height < 0 {
			b.height, b.topDown = -b.height, true
		}
	default:
		return nil, fmt.Errorf("bmp: a header of %d bytes", header)
	}
	planes := 8
	if header >= windows {
		planes = 12
	}
	if n := le.Uint16(h[planes:]); n != 1 {
		return nil, fmt.Errorf("bmp: %d planes", n)
	}
	at, err := b.kind(src, header, compression)
	if err != nil {
		return nil, err
	}
	if b.bits <= 8 {
		if colours <= 0 || colours > 1<<b.bits {
			colours = 1 << b.bits
		}
		b.colours(src[min(at, int64(len(src))):], entry, min(colours, max(0, int(offset-at)/entry)))
	}
	b.data = src[offset:]
	return b, nil
}

// kind finds out how pixels are stored, and where their description ends.
func (b *bmp) kind(src []byte, header int64, compression uint32) (int64, error) {
	const masks = 14 + 40
	at := 14 + header
	ok := false
	switch compression {
	case 0:
		switch b.bits {
		case 1, 2, 4, 8, 24:
			ok = true
			b.masks = [4]uint32{0xFF0000, 0xFF00, 0xFF, 0}
		case 16:
			ok = header >= 40
			b.masks = [4]uint32{0x7C00, 0x3E0, 0x1F, 0}
		case 32:
			ok = header >= 40
			b.masks = [4]uint32{0xFF0000, 0xFF00, 0xFF, 0} // whatever the fourth byte is
		}
	case 1, 2:
		b.runs = true
		ok = b.bits == 8/int(compression) && header >= 40 && !b.topDown
	case 3, 6:
		n := 3
		if header >= 56 || compression == 6 {
			n = 4
		}
		ok = (b.bits == 16 || b.bits == 32) && header >= 40 && header != 64 && len(src) >= masks+4*n
		for i := 0; ok && i < n; i++ {
			b.masks[i] = binary.LittleEndian.Uint32(src[masks+4*i:])
		}
		if header == 40 {
			at += int64(4 * n)
		}
		ok = ok && b.trimMasks()
	}
	if !ok {
		return 0, fmt.Errorf("bmp: pixels of %d bits with compression %d, in a header of %d bytes", b.bits, compression, header)
	}
	return at, nil
}

// trimMasks removes bits beyond a pixel from the masks, and says whether each mask is
// contiguous and overlaps no other. Values by a mask in pieces would exceed its table.
func (b *bmp) trimMasks() bool {
	var all uint32
	for i, m := range b.masks {
		m &= 1<<b.bits - 1
		if m&all != 0 || (m+m&-m)&m != 0 {
			return false
		}
		all |= m
		b.masks[i] = m
	}
	return true
}

// colours reads n colours of the palette. The rest are black.
func (b *bmp) colours(src []byte, entry, n int) {
	for i := range b.palette {
		b.palette[i] = [4]byte{0, 0, 0, 255}
		if i < n && len(src) >= entry*(i+1) {
			c := src[entry*i:]
			b.palette[i] = [4]byte{c[2], c[1], c[0], 255}
		}
	}
}

// rows reads uncompressed pixels.
func (b *bmp) rows(out []byte) {
	le, opaque := binary.LittleEndian, b.masks[3] == 0
	var scale [4][]byte
	for i, m := range b.masks {
		scale[i] = scaled(m)
	}
	for y := range b.height {
		row, to := b.data[y*b.stride():], out[4*b.width*y:]
		if !b.topDown {
			to = out[4*b.width*(b.height-1-y):]
		}
		for x := range b.width {
			p := to[4*x : 4*x+4]
			var v uint32
			switch b.bits {
			case 16:
				v = uint32(le.Uint16(row[2*x:]))
			case 24:
				p[0], p[1], p[2], p[3] = row[3*x+2], row[3*x+1], row[3*x], 255
				continue
			case 32:
				v = le.Uint32(row[4*x:])
			default:
				shift := 8 - b.bits - x*b.bits%8
				copy(p, b.palette[row[x*b.bits/8]>>shift&(1<<b.bits-1)][:])
				continue
			}
			for i, m := range b.masks {
				p[i] = scale[i][v&m>>min(bits.TrailingZeros32(m), 31)>>max(0, bits.OnesCount32(m)-8)]
			}
			if opaque {
				p[3] = 255
			}
		}
	}
}

// scaled are the values of a mask, from its first 8 bits, scaled to 255.
func scaled(mask uint32) []byte {
	most := 1<<min(8, bits.OnesCount32(mask)) - 1
	all := make([]byte, most+1)
	for i := range all {
		if most > 0 {
			all[i] = byte((i*255 + most/2) / most)
		}
	}
	return all
}

// unpack reads run lengths. Pixels that no run reaches are black, as in Chromium.
func (b *bmp) unpack(out []byte) error {
	const row, end, move = 0, 1, 2
	for i := 3; i < len(out); i += 4 {
		out[i] = 255
	}
	x, y := 0, 0
	// Only the part of n pixels that is on the picture: the time depends on the picture,
	// whatever the runs claim.
	put := func(n int, index func(i int) byte) {
		if y < b.height {
			to := out[4*b.width*(b.height-1-y):]
			for i := range min(n, b.width-x) {
				copy(to[4*(x+i):], b.palette[index(i)][:])
			}
		}
		x = min(x+n, b.width)
	}
	cut := errors.New("bmp: it ends before its runs do")
	for d := b.data; ; {
		if len(d) < 2 {
			return cut
		}
		n, v := int(d[0]), d[1]
		d = d[2:]
		switch {
		case n > 0:
			put(n, func(i int) byte { return b.index(v, i) })
		case v == row:
			x, y = 0, y+1
		case v == end:
			return nil
		case v == move:
			if len(d) < 2 {
				return cut
			}
			x, y, d = min(x+int(d[0]), b.width), min(y+int(d[1]), b.height), d[2:]
		default:
			bytes := (int(v)*b.bits + 15) / 16 * 2
			if len(d) < bytes {
				return cut
			}
			put(int(v), func(i int) byte { return b.index(d[i*b.bits/8], i) })
			d = d[bytes:]
		}
	}
}

// index is that of pixel i of a byte of run lengths.
func (b *bmp) index(v byte, i int) byte {
	switch {
	case b.bits == 8:
		return v
	case i%2 == 0:
		return v >> 4
	}
	return v & 15
}
