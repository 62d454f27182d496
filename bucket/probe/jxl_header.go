package probe

import "imgkeep/bucket/probe/marks"

// A jxlHeader reads what a codestream begins with (ISO/IEC 18181-1, SizeHeader and
// ImageMetadata), up to what its colours are: bits from the lowest
// up. Behind its end it reads zeroes, and says so by short.
type jxlHeader struct {
	s     *Scanner
	rest  []byte
	bit   int
	short bool
}

// jxlMaxSide is the longest side that the format is meant for.
const jxlMaxSide = 1 << 30

// jxlRatios are width to height.
var jxlRatios = [8][2]int64{1: {1, 1}, 2: {12, 10}, 3: {4, 3}, 4: {3, 2}, 5: {16, 9}, 6: {5, 4}, 7: {2, 1}}

func (h *jxlHeader) bits(n int) int64 {
	var v int64
	for i := range n {
		at := h.bit / 8
		if at >= len(h.rest) {
			h.short = true
			return 0
		}
		v |= int64(h.rest[at]>>(h.bit%8)&1) << i
		h.bit++
	}
	return v
}

func (h *jxlHeader) flag() bool { return h.bits(1) == 1 }

// A jxlRange is a number of some bits, and an offset added to it.
type jxlRange struct {
	offset int64
	bits   int
}

// u32 reads a number in one of four ranges, of which it says the one.
func (h *jxlHeader) u32(of [4]jxlRange) int64 {
	r := of[h.bits(2)]
	return r.offset + h.bits(r.bits)
}

// enum reads a number of a list.
func (h *jxlHeader) enum() int64 {
	return h.u32([4]jxlRange{{0, 0}, {1, 0}, {2, 4}, {18, 6}})
}

// side reads a length that is not one by eights.
func (h *jxlHeader) side() int64 {
	return h.u32([4]jxlRange{{1, 9}, {1, 13}, {1, 18}, {1, 30}})
}

// size reads a SizeHeader.
func (h *jxlHeader) size() (width, height int64) {
	side := h.side
	if h.flag() {
		side = func() int64 { return (h.bits(5) + 1) * 8 }
	}
	height = side()
	if r := jxlRatios[h.bits(3)]; r[0] > 0 {
		return height * r[0] / r[1], height
	}
	return side(), height
}

// depth reads a BitDepth.
func (h *jxlHeader) depth() {
	if h.flag() {
		h.u32([4]jxlRange{{32, 0}, {16, 0}, {24, 0}, {1, 6}})
		h.bits(4)
		return
	}
	h.u32([4]jxlRange{{8, 0}, {10, 0}, {12, 0}, {1, 6}})
}

// read takes in the header. What it returns is to be looked at also where it is
// short: the size is held against the limits before the rest is there.
func (h *jxlHeader) read() error {
	if string([]byte{byte(h.bits(8)), byte(h.bits(8))}) != marks.JXLCodestream && !h.short {
		return h.s.broken("a codestream that begins with %q", h.rest[:2])
	}
	width, height := h.size()
	if h.short {
		return nil
	}
	if max(width, height) > jxlMaxSide || width == 0 {
		return h.s.broken("an image of %d x %d pixels", width, height)
	}
	if err := h.s.size(width, height); err != nil {
		return err
	}
	if h.flag() { // all as usual
		return nil
	}
	orientation, more := int64(0), h.flag()
	if more {
		orientation = h.bits(3)
		if h.flag() {
			h.size() // the size it is meant to be shown in, which viewers do not go by
		}
		preview := h.flag()
		switch {
		case preview && !h.short:
			return h.s.unsupported("a preview")
		case h.flag() && !h.short:
			return h.s.unsupported("an animation")
		}
	}
	h.depth()
	h.flag() // whether 16 bits are enough to compute with
	extra := h.u32([4]jxlRange{{0, 0}, {1, 0}, {2, 4}, {1, 12}})
	if extra > 1 && !h.short {
		return h.s.unsupported("%d channels besides the colours", extra)
	}
	if extra == 1 && !h.short {
		if err := h.channel(); err != nil {
			return err
		}
	}
	c := Colour{Lossless: !h.flag()} // or XYB, which is made for loss
	h.colours(&c)
	if !h.short {
		h.s.info.Orientation, h.s.colour = int(orientation)+1, c
	}
	return nil
}

// channel reads an ExtraChannelInfo. Only alpha is accepted: libvips takes any for
// it, and black (CMYK), an ink or what a sensor saw changes the picture.
func (h *jxlHeader) channel() error {
	if h.flag() {
		return nil // alpha of 8 bits
	}
	const alpha = 0
	kind := h.enum()
	if kind != alpha && !h.short {
		return h.s.unsupported("a channel of kind %d besides the colours", kind)
	}
	h.depth()
	h.u32([4]jxlRange{{0, 0}, {3, 0}, {4, 0}, {1, 3}}) // how much smaller it is
	for n := h.u32([4]jxlRange{{0, 0}, {0, 4}, {16, 5}, {48, 10}}); n > 0 && !h.short; n-- {
		h.bits(8) // of its name
	}
	if h.flag() && !h.short {
		return h.s.unsupported("colours that are weighted by alpha")
	}
	return nil
}

// colours reads a ColourEncoding.
func (h *jxlHeader) colours(c *Colour) {
	const gray, xyb, d65, custom = 1, 2, 1, 2
	if h.flag() { // sRGB
		return
	}
	profile, space := h.flag(), h.enum()
	if profile || space == xyb {
		return
	}
	coordinates := func(n int) {
		for range 2 * n {
			h.u32([4]jxlRange{{0, 19}, {524288, 19}, {1048576, 20}, {2097152, 21}})
		}
	}
	white := h.enum()
	if white == custom {
		coordinates(1)
	}
	primaries := int64(1)
	if space != gray {
		if primaries = h.enum(); primaries == custom {
			coordinates(3)
		}
	}
	if h.flag() { // a gamma
		h.bits(24)
		return
	}
	transfer := h.enum()
	if white != d65 || primaries == custom {
		return
	}
	if primaries == 11 {
		primaries = 12 // as H.273 has it: 11 is for another white
	}
	c.Gray, c.Primaries, c.Transfer = space == gray, int(primaries), int(transfer)
}
