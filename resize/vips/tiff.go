package vips

/*
#include "thumb.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"imgkeep/resize"
)

const formatTIFF = "tiff"

// tiffCodes are the compressions (TIFF 6.0) whose decoders report when they run out of
// data: none, LZW, Deflate by both of its numbers, PackBits. libtiff knows a dozen more.
var tiffCodes = []uint16{1, 5, 8, 32946, 32773}

// openTIFF treats a TIFF as its first directory only. Until the source is closed, it cuts
// the link to the second directory: libvips counts all pages before it opens one, and there
// may be thousands, or a cycle.
func openTIFF(src []byte) (source, error) {
	next, err := tiffLink(src)
	if err != nil {
		return source{}, &resize.ImageError{Detail: "tiff: " + err.Error()}
	}
	link := src[next : next+4]
	was := [4]byte(link)
	clear(link)
	return source{data: unsafe.Pointer(unsafe.SliceData(src)), size: C.size_t(len(src)), format: C.THUMB_TIFF, lossless: true, close: func() { copy(link, was[:]) }}, nil
}

// tiffLink returns the offset of the link from the first directory to the second.
func tiffLink(src []byte) (_ int64, err error) {
	var order binary.ByteOrder
	switch {
	case len(src) < 8:
		return 0, fmt.Errorf("%d bytes", len(src))
	case string(src[:4]) == "II*\x00":
		order = binary.LittleEndian
	case string(src[:4]) == "MM\x00*":
		order = binary.BigEndian
	default:
		return 0, fmt.Errorf("it begins with %q", src[:4])
	}
	at := int64(order.Uint32(src[4:]))
	if at+2 > int64(len(src)) {
		return 0, fmt.Errorf("a directory at byte %d of %d", at, len(src))
	}
	fields := int64(order.Uint16(src[at:]))
	at += 2
	if at+12*fields+4 > int64(len(src)) {
		return 0, fmt.Errorf("a directory of %d fields at byte %d of %d", fields, at, len(src))
	}
	depth, samples, planes := uint16(1), uint16(1), uint16(1)
	for range fields {
		const short = 3
		f := src[at:]
		v, isShort := order.Uint16(f[8:]), order.Uint16(f[2:]) == short
		switch order.Uint16(f) {
		case 258:
			if depth, err = tiffDepth(src, f, order); err != nil {
				return 0, err
			}
		case 259:
			if !isShort || !slices.Contains(tiffCodes, v) {
				return 0, fmt.Errorf("compression %d", v)
			}
		case 277:
			samples = v
		case 284:
			planes = v
		}
		at += 12
	}
	switch {
	case planes == 2 && samples == 2:
		// libvips puts the samples of one plane into both.
		return 0, errors.New("gray and alpha in a plane each")
	case depth != 8 && depth != 16 && (samples > 1 || depth != 1 && depth != 2 && depth != 4):
		return 0, fmt.Errorf("%d samples of %d bits", samples, depth)
	}
	return at, nil
}

// tiffDepth reads how many bits samples have, wherever that stands: for libvips, it is
// the depth of the first one. Package probe sees it only behind the directory.
func tiffDepth(src, field []byte, order binary.ByteOrder) (uint16, error) {
	n, values := int64(order.Uint32(field[4:])), field[8:12]
	if n > 2 {
		at := int64(order.Uint32(field[8:]))
		if n > 4 || at+2*n > int64(len(src)) {
			return 0, fmt.Errorf("%d depths at byte %d of %d", n, at, len(src))
		}
		values = src[at : at+2*n]
	}
	depth := order.Uint16(values)
	for i := range n {
		if d := order.Uint16(values[2*i:]); d != depth {
			return 0, fmt.Errorf("samples of %d and of %d bits", depth, d)
		}
	}
	return depth, nil
}
