package vips

import (
	"encoding/binary"
	"errors"
	"fmt"

	"imgkeep/bucket/probe/marks"
	"imgkeep/bucket/probe/whole"
	"imgkeep/resize"
)

// A GIF is decoded and composed here, as browsers do it (GIF89a Specification): areas that
// no frame covers are transparent, and so is an area that is restored to the background.
// libvips' loader makes it black if no frame has a transparent colour. libvips also accepts
// a GIF that ends in the middle of a frame, and treats 4,096 frames as all of them.
//
// It needs memory for one canvas, and for what is below a frame with disposal to the
// previous state.

// gifMaxFrames is the most frames of an animation that stays one.
const gifMaxFrames = 1 << 16

var errGIFCut = errors.New("gif: it ends before its trailer")

// A gifReader goes from frame to frame.
type gifReader struct {
	src           []byte
	first         int // offset of the first block
	at            int // offset of the next one
	global        []byte
	width, height int
	canvas        []byte // RGBA
	under         []byte // the canvas below the last frame, if it has to be restored
	last          gifFrame
	lzw           gifLZW
}

// A gifFrame is a frame, with the settings of its control extension.
type gifFrame struct {
	left, top, width, height int
	interlaced               bool
	colours                  []byte
	data                     int // offset of its code size
	delay                    int // in hundredths of a second
	disposal                 byte
	clear                    int // index of the transparent colour; -1: none
}

func openGIF(src []byte, maxPixels int64) (source, error) {
	g, m, err := readGIF(whole.Ended(src))
	if err != nil {
		return source{}, &resize.ImageError{Detail: err.Error()}
	}
	if err := roomFor(g.width, g.height, maxPixels); err != nil {
		return source{}, err
	}
	m.width, m.height, m.palette = g.width, g.height, true
	m.pixels = make([]byte, 4*g.width*g.height)
	g.canvas, m.compose = m.pixels, g.compose
	return m.open()
}

// readGIF finds out what must be known before a frame is decoded: the size of the canvas
// and the number of frames.
func readGIF(src []byte) (*gifReader, raw, error) {
	m := raw{loop: 1}
	if len(src) < 13 {
		return nil, m, errGIFCut
	}
	g := &gifReader{src: src, at: 13}
	var err error
	if g.global, err = g.table(src[10]); err != nil {
		return nil, m, err
	}
	g.first = g.at
	le := binary.LittleEndian
	g.width, g.height = int(le.Uint16(src[6:])), int(le.Uint16(src[8:]))
	for {
		f, err := g.next(&m.loop)
		if err != nil {
			return nil, m, err
		}
		if f == nil {
			break
		}
		// Many encoders write too small a screen.
		if m.frames++; m.frames == 1 {
			g.width, g.height = max(g.width, f.left+f.width), max(g.height, f.top+f.height)
		}
		if m.frames <= gifMaxFrames {
			m.delays = append(m.delays, 10*f.delay)
		}
		g.at = f.data + 1
		if err := g.skip(); err != nil {
			return nil, m, err
		}
	}
	if m.frames == 0 {
		return nil, m, errors.New("gif: it has no frame")
	}
	if m.frames > gifMaxFrames {
		m.frames = 1
	}
	return g, m, nil
}

// table reads the colour table that flags announce.
func (g *gifReader) table(flags byte) ([]byte, error) {
	n := int(marks.Colours(flags))
	if n == 0 {
		return nil, nil
	}
	if g.at+n > len(g.src) {
		return nil, errGIFCut
	}
	g.at += n
	return g.src[g.at-n : g.at], nil
}

// skip skips sub-blocks, up to the one of length 0.
func (g *gifReader) skip() error {
	for g.at < len(g.src) {
		n := int(g.src[g.at])
		if g.at += 1 + n; n == 0 {
			return nil
		}
	}
	return errGIFCut
}

// next goes to the next frame. nil: there is none. loop is how often the animation plays.
func (g *gifReader) next(loop *int) (*gifFrame, error) {
	f := &gifFrame{clear: -1}
	for g.at < len(g.src) {
		block := g.src[g.at]
		g.at++
		switch block {
		case marks.Padding:
		case marks.Trailer:
			return nil, nil
		case marks.Extension:
			if g.at+1 >= len(g.src) {
				return nil, errGIFCut
			}
			f.extension(g.src[g.at], g.src[g.at+1:], loop)
			g.at++
			if err := g.skip(); err != nil {
				return nil, err
			}
		case marks.Picture:
			if g.at+9 >= len(g.src) {
				return nil, errGIFCut
			}
			b, le := g.src[g.at:], binary.LittleEndian
			f.left, f.top, f.width, f.height = int(le.Uint16(b)), int(le.Uint16(b[2:])), int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
			f.interlaced = b[8]&0x40 != 0
			g.at += 9
			var err error
			if f.colours, err = g.table(b[8]); err != nil || g.at >= len(g.src) {
				return nil, errGIFCut
			}
			if f.colours == nil {
				f.colours = g.global
			}
			f.data = g.at
			return f, nil
		default:
			return nil, fmt.Errorf("gif: no block begins with 0x%02x", block)
		}
	}
	return nil, errGIFCut
}

// extension reads one that says how the next frame, or the animation, is shown.
func (f *gifFrame) extension(label byte, b []byte, loop *int) {
	switch {
	case label == marks.Control && len(b) >= 5 && b[0] >= 4:
		f.delay, f.disposal, f.clear = int(binary.LittleEndian.Uint16(b[2:])), b[1]>>2&7, -1
		if b[1]&1 != 0 {
			f.clear = int(b[4])
		}
	case label == marks.Application && len(b) >= 16 && b[0] == 11 && b[12] >= 3 && b[13]&7 == 1 &&
		(string(b[1:12]) == "NETSCAPE2.0" || string(b[1:12]) == "ANIMEXTS1.0"):
		if *loop = int(binary.LittleEndian.Uint16(b[14:])); *loop > 0 {
			*loop = min(*loop+1, 1<<16-1) // the number counts repetitions
		}
	}
}

// compose makes the canvas what a viewer sees of frame i: frame 0, or the one after the
// last.
func (g *gifReader) compose(i int) error {
	if i == 0 {
		g.at, g.last, g.under = g.first, gifFrame{}, nil
		clear(g.canvas)
	}
	g.dispose()
	loop := 0
	f, err := g.next(&loop)
	if err == nil && f == nil {
		err = errGIFCut
	}
	if err != nil {
		return err
	}
	g.last = *f
	if f.disposal == 3 || f.disposal == 4 { // some encoders write 4
		g.under = g.under[:0]
		g.rows(func(row []byte) { g.under = append(g.under, row...) })
	}
	return g.draw(f)
}

// rows visits the part of the canvas that the last frame covers.
func (g *gifReader) rows(each func(row []byte)) {
	f := g.last
	for y := f.top; y < min(f.top+f.height, g.height); y++ {
		if left, right := min(f.left, g.width), min(f.left+f.width, g.width); left < right {
			each(g.canvas[4*(y*g.width+left) : 4*(y*g.width+right)])
		}
	}
}

// dispose applies the disposal of the last frame.
func (g *gifReader) dispose() {
	switch g.last.disposal {
	case 2:
		g.rows(func(row []byte) { clear(row) })
	case 3, 4:
		under := g.under
		g.rows(func(row []byte) { under = under[copy(row, under):] })
	}
}

// draw decodes a frame onto the canvas. Pixels without data stay as they are.
func (g *gifReader) draw(f *gifFrame) error {
	var colours [256][4]byte
	for i := range colours {
		if 3*i+3 <= len(f.colours) {
			colours[i] = [4]byte{f.colours[3*i], f.colours[3*i+1], f.colours[3*i+2], 255}
		} else {
			colours[i] = [4]byte{0, 0, 0, 255}
		}
	}
	row, y, pass := make([]byte, f.width), 0, 0
	if f.interlaced && f.height == 0 || f.width == 0 {
		g.at = f.data + 1
		return g.skip()
	}
	if err := g.lzw.start(g, f.data); err != nil {
		return err
	}
	for range f.height {
		n, err := g.lzw.read(row)
		if err != nil {
			return err
		}
		if top := f.top + y; top < g.height {
			for x, index := range row[:max(0, min(n, g.width-f.left))] {
				if int(index) != f.clear {
					copy(g.canvas[4*(top*g.width+f.left+x):], colours[index][:])
				}
			}
		}
		if n < len(row) {
			break
		}
		y, pass = nextRow(y, pass, f)
	}
	g.at = f.data + 1
	return g.skip()
}

// nextRow is the row that follows in the data of a frame.
func nextRow(y, pass int, f *gifFrame) (int, int) {
	if !f.interlaced {
		return y + 1, 0
	}
	starts, steps := [...]int{0, 4, 2, 1}, [...]int{8, 8, 4, 2}
	for y += steps[pass]; y >= f.height && pass < 3; {
		pass++
		y = starts[pass]
	}
	return y, pass
}
