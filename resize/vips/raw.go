package vips

/*
#include <stdlib.h>
#include "thumb.h"
*/
import "C"

import (
	"runtime"
	"runtime/cgo"
	"runtime/debug"
	"unsafe"

	"imgkeep/resize"
)

// raw is an image decoded here, in memory-safe Go, and not by a library. It is RGBA, with
// colours not weighted by alpha.
type raw struct {
	pixels        []byte
	width, height int
	frames        int
	delays        []int  // of each frame, in milliseconds
	loop          int    // how often all frames are shown; 0: for ever
	palette       bool   // it has few colours
	profile       []byte // ICC; nil: sRGB
	// compose puts frame i into pixels: frame 0, or the one after the last. nil: there is
	// one frame, and it is there already.
	compose func(i int) error

	at  int   // the frame that is there
	err error // of compose
}

// largeRaw is the number of pixels from which memory is released at once.
const largeRaw = 4 << 20

// roomFor refuses an image before memory is allocated for its pixels.
func roomFor(width, height int, maxPixels int64) error {
	if width < 1 || height < 1 {
		return &resize.ImageError{Detail: "no pixels"}
	}
	if int64(width) > maxPixels/int64(height) || max(width, height) > maxSide {
		return tooLarge("%d by %d pixels are over %d, or a side over %d", width, height, maxPixels, maxSide)
	}
	return resize.Room(4 * int64(width) * int64(height))
}

// open makes a source of it, at its first frame.
func (m *raw) open() (source, error) {
	if m.compose != nil {
		if err := m.compose(0); err != nil {
			return source{}, &resize.ImageError{Detail: err.Error()}
		}
	}
	var pin runtime.Pinner
	in := (*C.thumb_raw)(C.calloc(1, C.sizeof_thumb_raw))
	in.width, in.height, in.frames, in.palette = C.int(m.width), C.int(m.height), C.int(max(1, m.frames)), flag(m.palette)
	pin.Pin(unsafe.SliceData(m.pixels))
	in.pixels = unsafe.Pointer(unsafe.SliceData(m.pixels))
	if len(m.profile) > 0 {
		pin.Pin(unsafe.SliceData(m.profile))
		in.profile, in.profile_size = unsafe.Pointer(unsafe.SliceData(m.profile)), C.size_t(len(m.profile))
	}
	var handle cgo.Handle
	if m.frames > 1 {
		delays := make([]C.int, m.frames)
		for i, d := range m.delays[:m.frames] {
			delays[i] = C.int(d)
		}
		pin.Pin(unsafe.SliceData(delays))
		in.delays, in.loop = unsafe.SliceData(delays), C.int(m.loop)
		handle = cgo.NewHandle(m)
		in.handle = C.uintptr_t(handle)
	}
	return source{data: unsafe.Pointer(in), size: C.sizeof_thumb_raw, format: C.THUMB_RAW, raw: m, lossless: true, close: func() {
		C.free(unsafe.Pointer(in))
		pin.Unpin()
		if handle != 0 {
			handle.Delete()
		}
		m.pixels, m.compose = nil, nil
		if m.width*m.height > largeRaw {
			debug.FreeOSMemory()
		}
	}}, nil
}

// thumbFrame composes a frame. Not 0: it failed.
//
//export thumbFrame
func thumbFrame(handle C.uintptr_t, frame C.int) C.int {
	m := cgo.Handle(handle).Value().(*raw)
	if m.at == int(frame) && m.err == nil {
		return 0
	}
	m.at = int(frame)
	if m.err = m.compose(m.at); m.err != nil {
		return C.THUMB_IMAGE
	}
	return 0
}
