package vips

/*
#include "thumb.h"
*/
import "C"

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/draw"
	"image/png"
	"slices"

	"imgkeep/resize"
)

// An animated PNG (W3C PNG, third edition, 13) is composed here if the result is an
// animation. If the result is one picture, libvips decodes the first frame: that is IDAT,
// unless IDAT is only for viewers without animation and never shown.
//
// It needs memory for one canvas, for what is below a frame with disposal to the previous
// state, and for one frame.

// An apng is an animation.
type apng struct {
	width, height int    // of the canvas
	header        []byte // the data of IHDR
	palette       []byte // chunks that all frames share: PLTE and tRNS,
	colours       []byte // and those that say what its colours are, and the orientation
	plays         int    // how often all frames are shown; 0: for ever
	frames        []apngFrame
	outside       bool // IDAT is not a frame

	canvas *image.NRGBA
	under  *image.NRGBA // the canvas below the last frame, if it has to be restored
	last   int          // the frame that was composed last
}

type apngFrame struct {
	box      image.Rectangle
	delay    int // in milliseconds
	disposal byte
	over     bool     // it is blended over what is there; otherwise it replaces that
	data     [][]byte // of its IDAT or fdAT chunks
}

const (
	apngBackground = 1
	apngPrevious   = 2

	// apngMaxFrames is the most frames of an animation that stays one, as of a GIF.
	apngMaxFrames = gifMaxFrames
)

// apngColours are the chunks that all frames share, besides the palette.
var apngColours = []string{"gAMA", "cHRM", "sRGB", "iCCP", "cICP", "cLLI", "mDCV", "eXIf"}

// readAPNG finds the frames of an animation. nil: it is none. It expects chunks as package
// probe has found them; anything else is left to libvips.
func readAPNG(src []byte) *apng {
	const head, around = 8, 12
	var a apng
	animated, pictures := false, false
	for rest := src[min(head, len(src)):]; len(rest) >= around; {
		n := int64(binary.BigEndian.Uint32(rest))
		if n+around > int64(len(rest)) {
			return nil
		}
		kind, data, chunk := string(rest[4:8]), rest[8:8+n], rest[:around+n]
		rest = rest[around+n:]
		switch {
		case kind == "IHDR" && n == 13 && a.header == nil:
			a.header = data
			a.width, a.height = int(binary.BigEndian.Uint32(data)), int(binary.BigEndian.Uint32(data[4:]))
		case kind == "acTL" && n == 8 && !pictures:
			animated, a.plays = true, int(min(binary.BigEndian.Uint32(data[4:]), 1<<16))
		case kind == "fcTL" && n == 26 && animated:
			if len(a.frames) == 0 {
				a.outside = pictures
			}
			a.frames = append(a.frames, readFrame(data))
		case kind == "IDAT":
			if pictures = true; !animated {
				return nil
			}
			if len(a.frames) == 1 {
				a.frames[0].data = append(a.frames[0].data, data)
			}
		case kind == "fdAT" && n > 4 && len(a.frames) > 0:
			f := &a.frames[len(a.frames)-1]
			f.data = append(f.data, data[4:])
		case (kind == "PLTE" || kind == "tRNS") && !pictures:
			a.palette = append(a.palette, chunk...)
		case slices.Contains(apngColours, kind) && !pictures:
			a.colours = append(a.colours, chunk...)
		}
		if kind == "IEND" {
			break
		}
	}
	return a.valid()
}

// readFrame reads an fcTL chunk.
func readFrame(data []byte) apngFrame {
	be := binary.BigEndian
	number := func(at int) int { return int(min(be.Uint32(data[at:]), 1<<30)) }
	f := apngFrame{box: image.Rect(0, 0, number(4), number(8)).Add(image.Pt(number(12), number(16))), disposal: data[24], over: data[25] == 1}
	part, of := int(be.Uint16(data[20:])), int(be.Uint16(data[22:]))
	if of == 0 {
		of = 100
	}
	f.delay = 1000 * part / of
	return f
}

// valid returns the animation without frames that have no data, if all frames lie on the
// canvas.
func (a *apng) valid() *apng {
	a.frames = slices.DeleteFunc(a.frames, func(f apngFrame) bool { return len(f.data) == 0 })
	if a.header == nil || len(a.frames) == 0 {
		return nil
	}
	for _, f := range a.frames {
		if f.box.Empty() || !f.box.In(image.Rect(0, 0, a.width, a.height)) {
			return nil
		}
	}
	return a
}

// picture is a frame as a separate PNG, with some of the shared chunks: a profile of
// megabytes is not copied into each of a thousand frames.
func (a *apng) picture(f apngFrame, shared ...[]byte) []byte {
	be := binary.BigEndian
	b := be.AppendUint32([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"), uint32(f.box.Dx()))
	b = append(be.AppendUint32(b, uint32(f.box.Dy())), a.header[8:13]...)
	b = be.AppendUint32(b, crc32.ChecksumIEEE(b[12:]))
	b = append(b, slices.Concat(shared...)...)
	at, n := len(b), 0
	for _, d := range f.data {
		n += len(d)
	}
	b = append(be.AppendUint32(b, uint32(n)), "IDAT"...)
	b = append(b, slices.Concat(f.data...)...)
	b = be.AppendUint32(b, crc32.ChecksumIEEE(b[at+4:]))
	return append(b, "\x00\x00\x00\x00IEND\xae\x42\x60\x82"...)
}

// open makes a source of the animation, or of its first frame: for libvips, if the frame is
// as large as the canvas.
func (a *apng) open(maxPixels int64, animate bool) (source, error) {
	if len(a.frames) > apngMaxFrames || !animate {
		a.frames = a.frames[:1]
	}
	f := a.frames[0]
	if len(a.frames) == 1 && f.box == image.Rect(0, 0, a.width, a.height) {
		return ofBytes(profiled(a.picture(f, a.colours, a.palette)), C.THUMB_PNG), nil
	}
	if err := roomFor(a.width, a.height, maxPixels); err != nil {
		return source{}, err
	}
	largest := 0
	for _, f := range a.frames {
		largest = max(largest, f.box.Dx()*f.box.Dy())
	}
	// 8 bytes for a pixel of 16 bits, and what is below.
	if err := resize.Room(12 * int64(largest)); err != nil {
		return source{}, err
	}
	a.canvas, a.last = image.NewNRGBA(image.Rect(0, 0, a.width, a.height)), -1
	m := raw{pixels: a.canvas.Pix, width: a.width, height: a.height, frames: len(a.frames), loop: a.plays, compose: a.compose}
	for _, f := range a.frames {
		m.delays = append(m.delays, f.delay)
	}
	m.palette = a.header[9] == 3
	m.profile = profileOf(a.picture(f, a.colours))
	return m.open()
}

// compose puts frame i onto the canvas: frame 0, or the one after the last.
func (a *apng) compose(i int) error {
	if i == 0 {
		clear(a.canvas.Pix)
		a.under, a.last = nil, -1
	}
	if a.last >= 0 {
		switch f := a.frames[a.last]; {
		case f.disposal == apngBackground || f.disposal == apngPrevious && a.last == 0:
			draw.Draw(a.canvas, f.box, image.Transparent, image.Point{}, draw.Src)
		case f.disposal == apngPrevious && a.under != nil:
			draw.Draw(a.canvas, f.box, a.under, f.box.Min, draw.Src)
		}
	}
	f := a.frames[i]
	if a.under = nil; f.disposal == apngPrevious {
		a.under = image.NewNRGBA(f.box)
		draw.Draw(a.under, f.box, a.canvas, f.box.Min, draw.Src)
	}
	frame, err := png.Decode(bytes.NewReader(a.picture(f, a.palette)))
	if err != nil {
		return fmt.Errorf("png: frame %d: %w", i, err)
	}
	if frame.Bounds().Size() != f.box.Size() {
		return fmt.Errorf("png: frame %d is %v and not %v", i, frame.Bounds(), f.box)
	}
	how := draw.Src
	if f.over {
		how = draw.Over
	}
	draw.Draw(a.canvas, f.box, frame, frame.Bounds().Min, how)
	a.last = i
	return nil
}
