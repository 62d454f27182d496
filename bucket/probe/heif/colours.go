package heif

// Colours are what a file says of its colours. The zero value says nothing.
type Colours struct {
	// Lossless: the pixels are of RGB, or have their colours in full resolution.
	Lossless bool
	// Profile: there is an ICC profile.
	Profile bool
	// Primaries and Transfer are those of ITU-T H.273. 0: not said.
	Primaries, Transfer int
	// Peak is how bright the brightest pixel is (clli), in cd/m². 0: not said.
	Peak float64
}

// colours notes what properties say of the image, or else of its first tile, and where
// its data begins.
func (t *table) colours(item *item) {
	c := &t.image.Colours
	all := item.properties
	if !item.inside {
		t.image.First = item.at
	}
	if item.kind == "grid" && len(item.tiles) > 0 {
		if tile := t.items[item.tiles[0]]; tile != nil {
			all = append(all[:len(all):len(all)], tile.properties...)
			t.image.First = tile.at
		}
	}
	for _, p := range all {
		f := fields{rest: p.body}
		switch p.kind {
		case "colr":
			switch kind := string(f.bytes(4)); {
			case kind == "prof" || kind == "rICC":
				c.Profile = true
			case kind == "nclx" && c.Primaries == 0:
				primaries, transfer, matrix := int(f.uint(2)), int(f.uint(2)), f.uint(2)
				if !f.short {
					c.Primaries, c.Transfer = primaries, transfer
					c.Lossless = c.Lossless || matrix == 0
				}
			}
		case "av1C":
			// Neither one plane, nor planes of colours that are narrower.
			c.Lossless = c.Lossless || len(p.body) > 2 && p.body[2]&0x18 == 0
		case "clli":
			c.Peak = float64(f.uint(2))
		}
	}
}

// OfAV1 takes Primaries and Transfer, and perhaps Lossless, from the first sequence
// header of a coded image (AV1 Bitstream and Decoding Process, 5.5), which is read up to
// what it says of colours. What is broken or cut off says nothing.
func (c *Colours) OfAV1(b []byte) {
	const sequenceHeader, most = 1, 8
	for range most {
		if len(b) < 2 {
			return
		}
		kind, extended, sized := b[0]>>3&15, b[0]&4 != 0, b[0]&2 != 0
		b = b[1:]
		if extended {
			b = b[1:]
		}
		n := uint64(len(b))
		if sized {
			n = 0
			for i := 0; ; i++ {
				if i == 4 || len(b) == 0 { // more than it could have
					return
				}
				v := b[0]
				b, n = b[1:], n|uint64(v&127)<<(7*i)
				if v < 128 {
					break
				}
			}
		}
		if n > uint64(len(b)) {
			return
		}
		if kind == sequenceHeader {
			h := av1Header{rest: b[:n]}
			h.colours(c)
			return
		}
		b = b[n:]
	}
}

// An av1Header reads bits, the highest first. Behind its end it reads zeroes, and says so
// by short.
type av1Header struct {
	rest  []byte
	bit   int
	short bool
}

func (h *av1Header) bits(n int) (v int) {
	for range n {
		v <<= 1
		if at := h.bit / 8; at < len(h.rest) {
			v |= int(h.rest[at] >> (7 - h.bit%8) & 1)
		} else {
			h.short = true
		}
		h.bit++
	}
	return v
}

func (h *av1Header) flag() bool { return h.bits(1) == 1 }

// colours reads a sequence header (5.5.1) of a still picture. One of a video has more
// before the colours, and is not asked.
func (h *av1Header) colours(c *Colours) {
	profile := h.bits(3)
	still, reduced := h.flag(), h.flag()
	if !still || !reduced {
		if h.flag() { // timing
			return
		}
		delays := h.flag()
		for range h.bits(5) + 1 { // points of operation
			h.bits(12)
			if h.bits(5) > 7 {
				h.flag()
			}
			if delays && h.flag() {
				h.bits(4)
			}
		}
	} else {
		h.bits(5)
	}
	wide, high := h.bits(4)+1, h.bits(4)+1
	h.bits(wide)
	h.bits(high)
	if !reduced && h.flag() { // numbers of frames
		h.bits(7)
	}
	h.bits(3) // superblocks of 128, filters within
	if !reduced {
		h.bits(4)
		ordered := h.flag()
		if ordered {
			h.bits(2)
		}
		if choose := h.flag(); choose || h.flag() { // tools for what a screen shows
			if !h.flag() {
				h.flag()
			}
		}
		if ordered {
			h.bits(3)
		}
	}
	h.bits(3) // filters
	deep := h.flag()
	if profile == 2 && deep {
		h.flag()
	}
	gray := profile != 1 && h.flag()
	if described := h.flag(); !described || h.short {
		return
	}
	primaries, transfer := h.bits(8), h.bits(8)
	matrix := h.bits(8)
	if h.short {
		return
	}
	c.Primaries, c.Transfer = primaries, transfer
	c.Lossless = c.Lossless || matrix == 0 && !gray
}
