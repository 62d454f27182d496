package vips

/*
#include "thumb.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unsafe"

	"imgkeep/resize"
)

const formatTIFF = "tiff"

// tiffCodes are the compressions (TIFF 6.0) whose decoders say when they run out of
// data: none, LZW, Deflate by both of its numbers, PackBits. libtiff knows a dozen
// more.
var tiffCodes = []uint16{1, 5, 8, 32946, 32773}

// openTIFF takes a TIFF for what its first directory is. Until the source is closed
// the link to the second one is cut: libvips counts all pages before it opens one, and
// they can be thousands, or go in a circle.
func openTIFF(src []byte) (source, error) {
	next, err := tiffLink(src)
	if err != nil {
		return source{}, &resize.ImageError{Detail: "tiff: " + err.Error()}
	}
	link := src[next : next+4]
	was := [4]byte(link)
	clear(link)
	return source{data: unsafe.Pointer(unsafe.SliceData(src)), size: C.size_t(len(src)), format: C.THUMB_TIFF, close: func() { copy(link, was[:]) }}, nil
}

// tiffLink returns the offset of the link from the first directory to the second.
func tiffLink(src []byte) (int64, error) {
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
	for range fields {
		const compression, short = 259, 3
		if f := src[at:]; order.Uint16(f) == compression &&
			(order.Uint16(f[2:]) != short || !slices.Contains(tiffCodes, order.Uint16(f[8:]))) {
			return 0, fmt.Errorf("compression %d", order.Uint16(f[8:]))
		}
		at += 12
	}
	return at, nil
}
