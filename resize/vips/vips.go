// Package vips decodes and resizes images with libvips, for the decoder
// process and no other.
//
// It starts libvips through bimg, which also answers for its formats and its cache. The C
// files beside this one do the rest, because bimg cannot: they make all sizes from one
// decoding, keep animations, fail on a truncated image, open an image only with the loader
// of its declared format, and make exactly the size that they are told. They read and write
// the pixels of a JPEG with libjpeg, which libvips uses too.
//
// The package knows no limits except those in the request, and does not confine the
// process. An image may crash it: that is why it runs in a separate process.
package vips

/*
#cgo pkg-config: vips gmodule-no-export-2.0
#cgo CFLAGS: -O3
#cgo LDFLAGS: -ljpeg -lm
#include <string.h>
#include <vips/vips.h>
#include "fault.h"
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
	"unsafe"

	"github.com/h2non/bimg"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/whole"
	"imgkeep/resize"
)

// output is a format that can be saved.
type output struct {
	thumb C.int
	side  int // most pixels of a side that its encoder takes
}

// formats are all that can be loaded and saved.
var formats = map[string]output{
	"jpeg": {C.THUMB_JPEG, 65500},
	"png":  {C.THUMB_PNG, maxSide},
	"gif":  {C.THUMB_GIF, 65535},
	"webp": {C.THUMB_WEBP, 16383},
}

// others are extra formats that can be loaded on request.
// BMP, which libvips has no loader for, is decoded here, and GIF too.
var others = map[string]C.int{"avif": C.THUMB_AVIF, "heic": C.THUMB_HEIC, formatBMP: C.THUMB_RAW, formatTIFF: C.THUMB_TIFF, "jxl": C.THUMB_JXL}

// outputs are extra formats that can be saved on request.
var outputs = map[string]output{"avif": {C.THUMB_AVIF, 16384}}

// maxSide bounds the sides of an image. Only a PNG can be larger; single rows would then
// take much memory in many places.
const maxSide = 1_000_000

// A Decoder is libvips, started and reduced to what is needed. It is not for concurrent
// use.
type Decoder struct {
	formats, sources, outputs []string
	reads                     map[string]C.int
}

// Start sets libvips up for the whole process. Call it once. Afterwards only a JPEG, PNG,
// GIF or WebP in memory can be loaded, and the sources asked for, such as "avif"; this
// holds for bimg too. wanted are extra formats to save: "avif". If this libvips does not
// work, as [Decoder.Prove] finds out, Start returns an error.
func Start(sources, wanted []string) (*Decoder, error) {
	C.fault_exit_code = resize.ExitUnable
	d := &Decoder{outputs: wanted, reads: map[string]C.int{}}
	var codecs []codec
	for _, name := range []string{"jpeg", "png", "gif", "webp"} {
		f := formats[name].thumb
		own := name == formatGIF // it is read here
		// JPEGs are written here; libvips may as well, because benchmarks compare with bimg.
		if (own || C.codec_find(f, 0) == 0) && C.codec_find(f, 1) == 0 {
			d.formats, d.reads[name] = append(d.formats, name), f
			codecs = append(codecs, codec{name, f, 1})
			if !own {
				codecs = append(codecs, codec{name, f, 0})
			}
		}
	}
	C.vips_error_clear()
	if len(d.formats) == 0 {
		return nil, fmt.Errorf("vips: libvips %s reads and writes none of jpeg, png, gif, webp", d.Version())
	}
	for _, name := range sources {
		f, ok := others[name]
		if !ok {
			return nil, fmt.Errorf("vips: cannot read format %q", name)
		}
		d.reads[name], d.sources = f, append(d.sources, name)
		if f != C.THUMB_RAW {
			codecs = append(codecs, codec{name, f, 0})
		}
	}
	for _, name := range wanted {
		out, ok := outputs[name]
		if !ok {
			return nil, fmt.Errorf("vips: cannot write format %q", name)
		}
		codecs = append(codecs, codec{name, out.thumb, 1})
	}
	for _, c := range codecs {
		if rc := C.codec_find(c.thumb, c.save); rc != 0 {
			return nil, d.cannot(c.save != 0, c.name, failure(rc))
		}
	}
	C.codec_block_all()
	for _, c := range codecs {
		if rc := C.codec_allow(c.thumb, c.save, 1); rc != 0 {
			return nil, d.cannot(c.save != 0, c.name, failure(rc))
		}
	}
	// No operation is asked for twice.
	bimg.VipsCacheSetMax(0)
	bimg.VipsCacheSetMaxMem(0)
	// libvips writes no machine code at run time; see resample.c.
	bimg.VipsVectorSetEnabled(false)
	// By now the libraries have opened everything that they open.
	return d, d.Prove()
}

// codec is a loader or a saver.
type codec struct {
	name        string
	thumb, save C.int
}

// A source is an image as the C part takes it.
type source struct {
	data   unsafe.Pointer
	size   C.size_t
	format C.int
	close  func()
	raw    *raw // if it is decoded here
	// lossless: its pixels are those that were written, or colours of a palette.
	lossless bool
	// profile is made of colours that the file gives by numbers. nil: there are none.
	profile []byte
}

// open makes a source of an image of a readable format. An animated PNG has all of its
// frames only if animate says so.
func (d *Decoder) open(src []byte, format string, maxPixels int64, animate bool) (source, error) {
	in, ok := d.reads[format]
	if !ok || len(src) == 0 {
		return source{}, fmt.Errorf("vips: %d bytes of format %q", len(src), format)
	}
	return open(src, format, in, maxPixels, animate)
}

// open is Decoder.open for a format that is known to be readable.
func open(src []byte, format string, in C.int, maxPixels int64, animate bool) (source, error) {
	switch format {
	case formatBMP:
		return openBMP(src, maxPixels)
	case formatGIF:
		return openGIF(src, maxPixels)
	}
	if in == C.THUMB_TIFF {
		return openTIFF(src)
	}
	switch in {
	case C.THUMB_PNG:
		src = whole.Ended(src)
		if a := readAPNG(src); a != nil && (animate && len(a.frames) > 1 || a.outside) {
			return a.open(maxPixels, animate)
		}
		src = profiled(src)
	case C.THUMB_JPEG:
		src = whole.Ended(src)
	case C.THUMB_WEBP:
		src = whole.Ended(src)
		s := ofBytes(src, in)
		s.lossless = probe.ColourOf(src).Lossless
		return s, nil
	case C.THUMB_AVIF, C.THUMB_HEIC:
		if err := checkBoxes(src); err != nil {
			return source{}, err
		}
		s, c := ofBytes(src, in), probe.ColourOf(src)
		s.lossless = c.Lossless
		if space, ok := codedHEIF(c); ok {
			s.profile = space.profile(false)
		}
		return s, nil
	case C.THUMB_JXL:
		var err error
		if src, err = codestream(src); err != nil {
			return source{}, err
		}
		s, c := ofBytes(src, in), probe.ColourOf(src)
		s.lossless = c.Lossless
		// libjxl makes a profile of any numbers, and a useless one of these.
		if space, ok := coded(c.Primaries, c.Transfer, 0); ok && space.bright != nil {
			s.profile = space.profile(c.Gray)
		}
		return s, nil
	}
	return ofBytes(src, in), nil
}

// ofBytes is a source that libvips reads.
func ofBytes(src []byte, format C.int) source {
	return source{data: unsafe.Pointer(unsafe.SliceData(src)), size: C.size_t(len(src)), format: format, close: func() {},
		lossless: format == C.THUMB_PNG || format == C.THUMB_TIFF}
}

// Version is that of the running libvips, which may differ from the headers at build time.
func (d *Decoder) Version() string { return C.GoString(C.vips_version_string()) }

// Formats are those that this build of libvips can both read and write.
func (d *Decoder) Formats() []string { return d.formats }

// Sources are the extra formats that it was started to read.
func (d *Decoder) Sources() []string { return d.sources }

// Outputs are the extra formats that it was started to write.
func (d *Decoder) Outputs() []string { return d.outputs }

// saves is how a format is saved.
func saves(format string) output {
	if format == resize.FormatPrint {
		return output{C.THUMB_PIXELS, maxSide}
	}
	if out, ok := outputs[format]; ok {
		return out
	}
	return formats[format]
}

// Resize implements [resize.Decoder].
func (d *Decoder) Resize(src []byte, r *resize.Request) ([]resize.Result, error) {
	// libvips keeps some state for each thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer C.thumb_tidy()

	C.fault_reset()
	C.vips_error_clear() // an image that was read may have left notes there
	in, err := d.open(src, r.Format, r.MaxPixels, slices.ContainsFunc(r.Targets, func(t resize.Target) bool { return t.Animates(r.Format) }))
	if err != nil {
		return nil, err
	}
	defer in.close()
	var info C.thumb_info
	if rc := C.thumb_read(in.data, in.size, in.format, &info); rc != 0 {
		return nil, failure(rc)
	}
	if err := limit(r, &info); err != nil {
		return nil, err
	}
	if in.profile != nil {
		var pin runtime.Pinner
		defer pin.Unpin()
		pin.Pin(unsafe.SliceData(in.profile))
		info.profile, info.profile_size = unsafe.Pointer(unsafe.SliceData(in.profile)), C.size_t(len(in.profile))
	}
	results := make([]resize.Result, len(r.Targets))
	for _, g := range groups(r) {
		if err := g.make(in, r, info, results); err != nil {
			if in.raw != nil && in.raw.err != nil {
				C.vips_error_clear()
				return nil, &resize.ImageError{Detail: in.raw.err.Error()}
			}
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

// stripWebP removes the metadata that libvips 8.14 puts into every WebP, even with strip:
// an empty EXIF block, and the extended header that it then needs. data is libvips' own, a
// RIFF file of chunks (see the WebP Container Specification); stripWebP changes it.
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

// failure turns libvips' error buffer into an error that says whether the image or the
// decoder is at fault.
func failure(rc C.int) error {
	text := C.GoBytes(unsafe.Pointer(C.vips_error_buffer()), C.int(C.strlen(C.vips_error_buffer())))
	C.vips_error_clear()
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	ours := C.fault_is_ours()
	switch {
	case ours == C.FAULT_MEMORY:
		return fmt.Errorf("vips: %w: %s", resize.ErrMemory, line)
	case ours == 0 && (rc == C.THUMB_IMAGE || rc == C.THUMB_LARGE):
		return &resize.ImageError{TooLarge: rc == C.THUMB_LARGE, Detail: string(line)}
	}
	return errors.New("vips: " + string(line))
}
