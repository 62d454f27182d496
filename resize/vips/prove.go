package vips

/*
#include "fault.h"
#include "pages.h"
#include "thumb.h"
*/
import "C"

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"imgkeep/resize"
)

// samples are images of a few pixels, one of each readable format: in colour, with alpha if
// the format has it, and with two frames if it is animated.
//
//go:embed samples
var samples embed.FS

// A trial says what to read and write to prove a decoder.
type trial struct {
	source, output string
	alpha          bool // of the output
	frames         int
}

// trials prove each format that the decoder promises.
func (d *Decoder) trials() []trial {
	var all []trial
	for _, f := range d.formats {
		t := trial{f, f, f != "jpeg", 1}
		if f == "gif" || f == "webp" {
			t.frames = 2
		}
		all = append(all, t)
	}
	for _, f := range d.sources {
		all = append(all, trial{f, d.plainest(), true, 1})
	}
	for _, f := range d.outputs {
		all = append(all, trial{d.plainest(), f, true, 1})
	}
	return all
}

// plainest is the format to read or write while another one is on trial: the most common
// available one, which has been proved before.
func (d *Decoder) plainest() string {
	for _, f := range d.formats {
		if f == "png" {
			return f
		}
	}
	return d.formats[0]
}

// Prove reads and writes a tiny image of every format that the decoder promises. Its error
// names the first format that does not work, libvips' version and message, and what may be
// missing. Call it at any time, also within a sandbox, but not while an image is resized.
//
// Afterwards the process has no page of the libraries' files that only this needed, and
// starting.
func (d *Decoder) Prove() error {
	defer C.pages_release()
	for _, t := range d.trials() {
		if err := d.try(t); err != nil {
			return err
		}
	}
	return nil
}

func (d *Decoder) try(t trial) error {
	data, err := samples.ReadFile("samples/sample." + t.source)
	if err != nil {
		return err
	}
	src := bytes.Clone(data) // which is changed
	if _, err := d.read(src, t.source); err != nil {
		return d.cannot(false, t.source, err)
	}
	const side = 8
	out, err := d.Resize(src, &resize.Request{
		Format: t.source, Targets: []resize.Target{{Size: resize.Size{Height: side, Width: side}, Format: t.output}},
		MaxPixels: 1 << 20, AnimationPixels: 1 << 20,
	})
	if err != nil && slices.Contains(d.sources, t.source) {
		return d.cannot(false, t.source, err) // the output has been proved before
	}
	if err != nil {
		return d.cannot(true, t.output, err)
	}
	if err := d.inspect(out[0], t, side); err != nil {
		return d.cannot(true, t.output, err)
	}
	return nil
}

// read opens an image as far as its header.
func (d *Decoder) read(src []byte, format string) (info C.thumb_info, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	C.fault_reset()
	in, err := d.open(src, format, 1<<20, false)
	if err != nil {
		return info, err
	}
	defer in.close()
	if rc := C.thumb_read(in.data, in.size, in.format, &info); rc != 0 {
		return info, failure(rc)
	}
	return info, nil
}

// inspect reads what was written, if the decoder reads that format.
func (d *Decoder) inspect(r resize.Result, t trial, side int) error {
	if r.Frames != t.frames || r.Width != side || r.Height != side {
		return fmt.Errorf("it made %d frames of %d by %d pixels", r.Frames, r.Width, r.Height)
	}
	if _, ok := d.reads[t.output]; !ok {
		return nil
	}
	info, err := d.read(r.Data, t.output)
	if err != nil {
		return err
	}
	if int(info.width) != side || int(info.height) != side || int(info.frames) != t.frames || (t.alpha && info.alpha == 0) {
		return fmt.Errorf("it reads back %d frames of %d by %d pixels, alpha %v", info.frames, info.width, info.height, info.alpha != 0)
	}
	return nil
}

// packages are the Debian packages that some formats need besides libvips itself: from
// Debian 13 on; before that libheif contained everything.
var packages = map[bool]map[string]string{ // writes, then format
	false: {"avif": "libheif-plugin-dav1d", "heic": "libheif-plugin-libde265"},
	true:  {"avif": "libheif-plugin-aomenc"},
}

// cannot says that a format does not work, and what may help.
func (d *Decoder) cannot(writes bool, format string, err error) error {
	verb := "read"
	if writes {
		verb = "write"
	}
	help := "on Debian it belongs to libvips42t64, before Debian 13 to libvips42"
	if p := packages[writes][format]; p != "" {
		help = "on Debian 13 and later, install " + p
	}
	if broken, ok := errors.AsType[*resize.ImageError](err); ok {
		err = errors.New(broken.Detail)
	}
	return fmt.Errorf("libvips %s cannot %s %s: %w (%s)", d.Version(), verb, format, err, help)
}
