package vips

/*
#include "thumb.h"
*/
import "C"

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/draw"
	"image/png"
	"slices"

	"imgkeep/resize"
)

// Of an animated PNG (W3C PNG, third edition) whose first image, in IDAT, is not part of
// the animation, viewers see that image never, and libvips sees no other. What is made
// of it is then made of its first frame.

// apng is the first frame of one.
type apng struct {
	width, height    int // of the canvas
	left, top        int
	frameW, frameH   int
	around, pictures []byte // chunks that say how it is shown, and its data
}

// apngFirst returns the first frame of an animation, if IDAT is not it. Chunks are as
// package probe has found them; what is not is left to libvips.
func apngFirst(src []byte) *apng {
	const head, around = 8, 12
	var a apng
	var control []byte
	animated, outside := false, false
	for rest := src[min(head, len(src)):]; len(rest) >= around; {
		n := int64(binary.BigEndian.Uint32(rest))
		if n+around > int64(len(rest)) {
			return nil
		}
		kind, data, chunk := string(rest[4:8]), rest[8:8+n], rest[:around+n]
		rest = rest[around+n:]
		switch {
		case kind == "IHDR" && n == 13:
			a.width, a.height = int(binary.BigEndian.Uint32(data)), int(binary.BigEndian.Uint32(data[4:]))
			control = data
		case kind == "acTL":
			animated = animated || !outside
		case kind == "fcTL" && n == 26 && animated:
			if a.frameW > 0 {
				return a.valid(control) // the second: the first is over
			}
			if !outside {
				return nil // IDAT is the first frame
			}
			be := binary.BigEndian
			a.frameW, a.frameH = int(be.Uint32(data[4:])), int(be.Uint32(data[8:]))
			a.left, a.top = int(be.Uint32(data[12:])), int(be.Uint32(data[16:]))
		case kind == "IDAT":
			if outside = true; !animated {
				return nil
			}
		case kind == "fdAT" && n > 4 && a.frameW > 0:
			a.pictures = append(a.pictures, data[4:]...)
		case kind == "IEND":
			return a.valid(control)
		case slices.Contains(apngKeeps, kind) && !outside:
			a.around = append(a.around, chunk...)
		}
	}
	return nil
}

// apngKeeps are the chunks that all frames share.
var apngKeeps = []string{"PLTE", "tRNS", "gAMA", "cHRM", "sRGB", "iCCP", "cICP", "eXIf"}

func (a *apng) valid(header []byte) *apng {
	if header == nil || len(a.pictures) == 0 || a.frameW < 1 || a.frameH < 1 ||
		a.left < 0 || a.top < 0 || a.frameW > a.width-a.left || a.frameH > a.height-a.top {
		return nil
	}
	b := binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"), uint32(a.frameW))
	b = append(binary.BigEndian.AppendUint32(b, uint32(a.frameH)), header[8:13]...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[12:]))
	b = append(b, a.around...)
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(a.pictures)))
	b = append(append(b, "IDAT"...), a.pictures...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[at+4:]))
	a.pictures = append(b, "\x00\x00\x00\x00IEND\xae\x42\x60\x82"...)
	return a
}

// open makes a source of the frame: for libvips, if it is as large as the canvas.
func (a *apng) open(maxPixels int64) (source, error) {
	if a.frameW == a.width && a.frameH == a.height {
		return ofBytes(profiled(a.pictures), C.THUMB_PNG), nil
	}
	if err := roomFor(a.width, a.height, maxPixels); err != nil {
		return source{}, err
	}
	if err := resize.Room(8 * int64(a.frameW) * int64(a.frameH)); err != nil {
		return source{}, err
	}
	frame, err := png.Decode(bytes.NewReader(a.pictures))
	if err != nil {
		return source{}, &resize.ImageError{Detail: err.Error()}
	}
	canvas := image.NewNRGBA(image.Rect(0, 0, a.width, a.height))
	draw.Draw(canvas, image.Rect(a.left, a.top, a.left+a.frameW, a.top+a.frameH), frame, frame.Bounds().Min, draw.Src)
	return (&raw{pixels: canvas.Pix, width: a.width, height: a.height}).open()
}
