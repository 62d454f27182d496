// Package vips decodes and resizes images with libvips, for the decoder
// process and no other.
//
// It starts libvips through bimg, which also answers for its formats and its
// cache. The work itself goes through a small C file beside this one, for what
// bimg does not do: it makes all sizes from one decoding, keeps animations,
// fails on an image that is cut off, opens an image with the loader of its
// declared format only, and computes no size itself but makes the exact one
// that it is told.
//
// The package knows no limits but those in the request, and does not confine
// the process. An image may crash it: that is why this is a process of its own.
package vips

/*
#cgo pkg-config: vips gmodule-no-export-2.0
#cgo CFLAGS: -O3
#cgo LDFLAGS: -lm
#include <string.h>
#include <vips/vips.h>
#include "thumb.h"
*/
import "C"

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/h2non/bimg"

	"imgkeep/resize"
)

// output is a format that can be saved.
type output struct {
	thumb C.int
	side  int // most pixels of a side that its encoder takes
}

// formats are all that can be loaded and saved.
var formats = map[string]struct {
	output
	bimg bimg.ImageType
}{
	"jpeg": {output{C.THUMB_JPEG, 65500}, bimg.JPEG},
	"png":  {output{C.THUMB_PNG, maxSide}, bimg.PNG},
	"gif":  {output{C.THUMB_GIF, 65535}, bimg.GIF},
	"webp": {output{C.THUMB_WEBP, 16383}, bimg.WEBP},
}

// outputs can be saved besides, where that is asked for.
var outputs = map[string]output{"avif": {C.THUMB_AVIF, 16384}}

// maxSide bounds the sides of an image. Only a PNG can have longer ones; with
// them, single rows would take much memory in many places.
const maxSide = 1_000_000

// A Decoder is libvips, started and narrowed down to what is needed. It is not
// for concurrent use.
type Decoder struct {
	formats, outputs []string
}

// Start sets libvips up, for the whole process. It is called once. From then on
// no image can be loaded but a JPEG, PNG, GIF or WebP in memory, also not
// through bimg. wanted are formats to be saved besides: "avif". One that
// this libvips cannot save is an error.
func Start(wanted []string) (*Decoder, error) {
	d := &Decoder{outputs: wanted}
	for _, name := range wanted {
		if _, ok := outputs[name]; !ok {
			return nil, fmt.Errorf("vips: format %q is none that can be written", name)
		}
	}
	if rc := C.thumb_start(flag(slices.Contains(wanted, "avif"))); rc != 0 {
		return nil, fmt.Errorf("libvips %s cannot write %s: %w", d.Version(), strings.Join(wanted, ", "), failure(rc))
	}
	// Nothing is ever asked for twice.
	bimg.VipsCacheSetMax(0)
	bimg.VipsCacheSetMaxMem(0)
	// No machine code is written while running; see resample.c.
	bimg.VipsVectorSetEnabled(false)
	for _, name := range []string{"jpeg", "png", "gif", "webp"} {
		t := formats[name].bimg
		if bimg.VipsIsTypeSupported(t) && bimg.VipsIsTypeSupportedSave(t) {
			d.formats = append(d.formats, name)
		}
	}
	if len(d.formats) == 0 {
		return nil, fmt.Errorf("vips: libvips %s reads and writes none of jpeg, png, gif, webp", d.Version())
	}
	return d, nil
}

// Version of the libvips that runs, which may differ from the headers that
// this was built with.
func (d *Decoder) Version() string { return C.GoString(C.vips_version_string()) }

// Formats that libvips can both read and write, as it was built.
func (d *Decoder) Formats() []string { return d.formats }

// Outputs are the formats that it was started to write besides.
func (d *Decoder) Outputs() []string { return d.outputs }

// saves is how a format is saved.
func saves(format string) output {
	if out, ok := outputs[format]; ok {
		return out
	}
	return formats[format].output
}

// Resize implements [resize.Decoder].
func (d *Decoder) Resize(src []byte, r *resize.Request) ([]resize.Result, error) {
	// libvips keeps some state for each thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer C.thumb_tidy()

	in, ok := formats[r.Format]
	if !ok || len(src) == 0 {
		return nil, fmt.Errorf("vips: %d bytes of format %q", len(src), r.Format)
	}
	data, size := unsafe.Pointer(unsafe.SliceData(src)), C.size_t(len(src))
	var info C.thumb_info
	if rc := C.thumb_read(data, size, in.thumb, &info); rc != 0 {
		return nil, failure(rc)
	}
	if r.Format == "gif" {
		n, err := gifFrames(src)
		if err != nil {
			return nil, &resize.ImageError{Detail: err.Error()}
		}
		if n != int(info.frames) {
			info.frames = 1 // better one frame than an animation that breaks off
		}
	}
	if err := limit(r, &info); err != nil {
		return nil, err
	}
	results := make([]resize.Result, len(r.Targets))
	for _, g := range groups(r) {
		if err := g.make(src, r, info, results); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// limit checks what the header says, before any pixel is decoded.
func limit(r *resize.Request, info *C.thumb_info) error {
	w, h := int(info.width), int(info.height)
	if w < 1 || h < 1 || info.frames < 1 {
		return &resize.ImageError{Detail: fmt.Sprintf("it has %d frames of %d by %d pixels", info.frames, w, h)}
	}
	if int64(w)*int64(h) > r.MaxPixels || max(w, h) > maxSide {
		return &resize.ImageError{TooLarge: true, Detail: fmt.Sprintf("%d by %d pixels are over %d, or a side over %d", w, h, r.MaxPixels, maxSide)}
	}
	return nil
}

// stripWebP removes the metadata that libvips 8.14 puts into every WebP, also
// when it is told not to: an EXIF block that says nothing, and the extended
// header that it then needs. data is libvips' own, a RIFF file of chunks (see
// the WebP Container Specification); it is changed.
func stripWebP(data []byte) []byte {
	const header, chunkHeader = 12, 8
	if len(data) < header {
		return data
	}
	out := data[:header]
	for rest := data[header:]; len(rest) >= chunkHeader; {
		n := chunkHeader + int64(binary.LittleEndian.Uint32(rest[4:]))
		n = min(n+n%2, int64(len(rest)))
		chunk := rest[:n]
		rest = rest[n:]
		switch string(chunk[:4]) {
		case "EXIF", "XMP ", "ICCP":
			continue
		case "VP8X":
			if n > chunkHeader {
				const animated, alpha = 0x02, 0x10
				if chunk[chunkHeader] &= animated | alpha; chunk[chunkHeader] == 0 {
					continue
				}
			}
		}
		out = append(out, chunk...)
	}
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-chunkHeader))
	return out
}

// failure turns libvips' error buffer into an error that blames the image or
// the decoder.
func failure(rc C.int) error {
	text := C.GoBytes(unsafe.Pointer(C.vips_error_buffer()), C.int(C.strlen(C.vips_error_buffer())))
	C.vips_error_clear()
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	if rc == C.THUMB_IMAGE || rc == C.THUMB_LARGE {
		return &resize.ImageError{TooLarge: rc == C.THUMB_LARGE, Detail: string(line)}
	}
	return errors.New("vips: " + string(line))
}
