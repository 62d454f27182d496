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
	"embed"
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

// others are formats that can be loaded besides, where that is asked for.
// BMP, which libvips has no loader for, is decoded here.
var others = map[string]C.int{"avif": C.THUMB_AVIF, "heic": C.THUMB_HEIC, formatBMP: C.THUMB_RAW, formatTIFF: C.THUMB_TIFF, "jxl": C.THUMB_JXL}

// outputs can be saved besides, where that is asked for.
var outputs = map[string]output{"avif": {C.THUMB_AVIF, 16384}}

// maxSide bounds the sides of an image. Only a PNG can have longer ones; with
// them, single rows would take much memory in many places.
const maxSide = 1_000_000

// A Decoder is libvips, started and narrowed down to what is needed. It is not
// for concurrent use.
type Decoder struct {
	formats, sources, outputs []string
	reads                     map[string]C.int
}

// Start sets libvips up, for the whole process. It is called once. From then on
// no image can be loaded but a JPEG, PNG, GIF or WebP in memory, and those of
// the sources asked for, such as "avif"; also not through bimg. wanted are formats
// to be saved besides: "avif". What this libvips cannot load or save is an error.
func Start(sources, wanted []string) (*Decoder, error) {
	d := &Decoder{outputs: wanted, reads: map[string]C.int{}}
	var loaders []C.int
	for _, name := range sources {
		thumb, ok := others[name]
		if !ok {
			return nil, fmt.Errorf("vips: format %q is none that can be read", name)
		}
		d.reads[name], d.sources = thumb, append(d.sources, name)
		if thumb != C.THUMB_RAW {
			loaders = append(loaders, thumb)
		}
	}
	for _, name := range wanted {
		if _, ok := outputs[name]; !ok {
			return nil, fmt.Errorf("vips: format %q is none that can be written", name)
		}
	}
	if rc := C.thumb_start(unsafe.SliceData(loaders), C.int(len(loaders)), flag(slices.Contains(wanted, "avif"))); rc != 0 {
		return nil, fmt.Errorf("libvips %s cannot read or write one of %s: %w", d.Version(), strings.Join(slices.Concat(sources, wanted), ", "), failure(rc))
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
			d.reads[name] = formats[name].thumb
		}
	}
	if len(d.formats) == 0 {
		return nil, fmt.Errorf("vips: libvips %s reads and writes none of jpeg, png, gif, webp", d.Version())
	}
	for _, name := range sources {
		if err := d.try(name); err != nil {
			return nil, fmt.Errorf("libvips %s cannot read %s: %w", d.Version(), name, err)
		}
	}
	return d, nil
}

// samples are images of a few pixels.
//
//go:embed samples
var samples embed.FS

// try decodes a first image of a format. So it is known that this libvips can,
// and all that its libraries open, they have opened then.
func (d *Decoder) try(format string) error {
	src, err := samples.ReadFile("samples/sample." + format)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer C.thumb_tidy()
	in, err := d.open(src, format, maxSide*maxSide)
	if err != nil {
		return err
	}
	defer in.close()
	if rc := C.thumb_try(in.data, in.size, in.format); rc != 0 {
		return failure(rc)
	}
	C.vips_error_clear() // libheif reads on behind the end of a small one
	return nil
}

// A source is an image as the C part takes it.
type source struct {
	data   unsafe.Pointer
	size   C.size_t
	format C.int
	close  func()
}

// open makes a source of an image of one of the formats that are read.
func (d *Decoder) open(src []byte, format string, maxPixels int64) (source, error) {
	in, ok := d.reads[format]
	if !ok || len(src) == 0 {
		return source{}, fmt.Errorf("vips: %d bytes of format %q", len(src), format)
	}
	if in == C.THUMB_RAW {
		return openBMP(src, maxPixels)
	}
	if in == C.THUMB_TIFF {
		return openTIFF(src)
	}
	if in == C.THUMB_JXL {
		var err error
		if src, err = codestream(src); err != nil {
			return source{}, err
		}
	}
	return source{unsafe.Pointer(unsafe.SliceData(src)), C.size_t(len(src)), in, func() {}}, nil
}

// Version of the libvips that runs, which may differ from the headers that
// this was built with.
func (d *Decoder) Version() string { return C.GoString(C.vips_version_string()) }

// Formats that libvips can both read and write, as it was built.
func (d *Decoder) Formats() []string { return d.formats }

// Sources are the formats that it was started to read besides.
func (d *Decoder) Sources() []string { return d.sources }

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

	in, err := d.open(src, r.Format, r.MaxPixels)
	if err != nil {
		return nil, err
	}
	defer in.close()
	var info C.thumb_info
	if rc := C.thumb_read(in.data, in.size, in.format, &info); rc != 0 {
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
		if err := g.make(in, r, info, results); err != nil {
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
