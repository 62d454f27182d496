package vips

/*
#include "thumb.h"
*/
import "C"

import (
	"fmt"
	"slices"

	"imgkeep/bucket/likeness"
	"imgkeep/resize"
)

const (
	// leastFrame is the least number of pixels that a frame counts for in the budget of an
	// animation: resizing an empty frame takes as long as resizing this many.
	leastFrame = 128 * 128
	// maxBlur bounds the cost of blurring and sharpening an image: pixels times the length
	// of the filter in both directions. This much takes about a second.
	maxBlur = 1 << 30
)

// A group are targets made from one decoding: all with the same trimming.
type group struct {
	trim    int
	indices []int
}

func groups(r *resize.Request) []group {
	var all []group
	for i, t := range r.Targets {
		trim := 0
		if t.Preset != nil {
			trim = t.Preset.Trim
		}
		at := slices.IndexFunc(all, func(g group) bool { return g.trim == trim })
		if at < 0 {
			all, at = append(all, group{trim: trim}), len(all)
		}
		all[at].indices = append(all[at].indices, i)
	}
	return all
}

// make fills in the results of the group's targets.
func (g group) make(in source, r *resize.Request, info C.thumb_info, results []resize.Result) error {
	shown := info
	var area *C.thumb_area
	if g.trim > 0 {
		area = new(C.thumb_area)
		if rc := C.thumb_trim(in.data, in.size, in.format, C.int(g.trim), area); rc != 0 {
			return failure(rc)
		}
		shown.width, shown.height = area.width, area.height
	}
	targets, frames, err := g.plan(r, &shown)
	defer func() {
		for i := range targets {
			C.thumb_free(targets[i].edit.mark)
		}
	}()
	if err != nil {
		return err
	}
	for i := range targets {
		targets[i].lossless = flag(in.lossless)
	}
	if rc := C.thumb_make(in.data, in.size, in.format, &info, area, frames, &targets[0], C.int(len(targets))); rc != 0 {
		return failure(rc)
	}
	for i, t := range targets {
		at := g.indices[i]
		format, data, count := r.FormatOf(at), C.GoBytes(t.data, C.int(t.size)), 1
		C.thumb_free(t.data)
		if t.animate != 0 {
			count = int(frames)
		}
		switch format {
		case "webp":
			data = stripWebP(data)
		case resize.FormatPrint:
			data = printOf(int(t.width), int(t.height), data)
		}
		results[at] = resize.Result{Format: format, Width: int(t.width), Height: int(t.height), Frames: count, Data: data}
	}
	return nil
}

// printOf is the print of pixels.
func printOf(width, height int, pixels []byte) []byte {
	return likeness.Of(likeness.Pixels{Width: width, Height: height, Bands: len(pixels) / (width * height), Data: pixels}).Bytes()
}

// plan computes the targets. frames is how many are wanted.
func (g group) plan(r *resize.Request, info *C.thumb_info) (targets []C.thumb_target, frames C.int, err error) {
	w, h := int(info.width), int(info.height)
	pixels := int64(w) * int64(h)
	if info.orientation >= 5 {
		w, h = h, w
	}
	var moving, blurred int64 // pixels of a frame of all animated targets, and what blurring it costs
	for _, i := range g.indices {
		t, out := r.Targets[i], saves(r.FormatOf(i))
		l := t.Layout(w, h)
		if max(l.CanvasW, l.CanvasH) > out.side {
			return targets, 0, tooLarge("%d by %d pixels are too many for %s", l.CanvasW, l.CanvasH, r.FormatOf(i))
		}
		largest := max(int64(l.ScaleW)*int64(l.ScaleH), int64(l.CanvasW)*int64(l.CanvasH))
		if t.Preset != nil && largest > r.MaxPixels {
			return targets, 0, tooLarge("the preset needs %d pixels, which is over %d", largest, r.MaxPixels)
		}
		c := C.thumb_target{
			scale_w: C.int(l.ScaleW), scale_h: C.int(l.ScaleH),
			width: C.int(l.CanvasW), height: C.int(l.CanvasH),
			format: out.thumb, quality: C.int(t.QualityOf(r.FormatOf(i))),
			animate: flag(t.Animates(r.Format)),
		}
		cost := int64(0)
		if t.Preset != nil {
			if cost, err = preset(&c, t.Preset, l, r.MaxPixels); err != nil {
				return targets, 0, err
			}
		}
		targets = append(targets, c)
		if cost > maxBlur {
			return targets, 0, tooLarge("%d by %d pixels are too many to blur or sharpen so far", l.WindowW, l.WindowH)
		}
		if c.animate != 0 {
			moving, blurred = moving+largest, blurred+cost
		}
	}
	frames = 1
	if n := int64(info.frames); moving > 0 && n <= r.AnimationPixels/max(pixels, moving, leastFrame) && n*blurred <= maxBlur {
		frames = info.frames
	}
	return targets, frames, nil
}

func tooLarge(format string, args ...any) error {
	return &resize.ImageError{TooLarge: true, Detail: fmt.Sprintf(format, args...)}
}

func flag(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// preset fills in what a preset asks for, and returns the cost of blurring a frame.
func preset(c *C.thumb_target, p *resize.Preset, l resize.Layout, maxPixels int64) (cost int64, err error) {
	if p.Rotate%180 != 0 { // the picture is resized before it is turned
		c.scale_w, c.scale_h = c.scale_h, c.scale_w
	}
	c.progressive, c.max_bytes = flag(p.Progressive), C.size_t(p.MaxBytes)
	c.edited = 1
	e := &c.edit
	*e = C.thumb_edit{
		quarters: C.int(p.Rotate / 90),
		flip_x:   flag(p.Flip == "horizontal" || p.Flip == "both"),
		flip_y:   flag(p.Flip == "vertical" || p.Flip == "both"),
		window_x: C.int(l.WindowX), window_y: C.int(l.WindowY), window_w: C.int(l.WindowW), window_h: C.int(l.WindowH),
		brightness: C.int(p.Brightness), contrast: C.int(p.Contrast),
		blur: C.double(p.Blur), sharpen: C.double(p.Sharpen),
		canvas_x: C.int(l.CanvasX), canvas_y: C.int(l.CanvasY), canvas_w: C.int(l.CanvasW), canvas_h: C.int(l.CanvasH),
		background: -1,
	}
	if rgb, ok := p.BackgroundRGB(); ok {
		e.background = C.int(rgb[0])<<16 | C.int(rgb[1])<<8 | C.int(rgb[2])
	}
	if p.Watermark != nil {
		if err := watermark(e, p.Watermark, l, maxPixels); err != nil {
			return 0, err
		}
	}
	// Two passes, each as long as the Gauss function is wide.
	if sigma := max(p.Blur, p.Sharpen); sigma > 0 {
		cost = int64(float64(l.WindowW) * float64(l.WindowH) * (2 + 12*sigma))
	}
	return cost, nil
}

// watermark decodes a watermark to the size that it has on the canvas. The operator
// provides it: the image is not at fault for what is wrong with it.
func watermark(e *C.thumb_edit, m *resize.Watermark, l resize.Layout, maxPixels int64) error {
	f, ok := formats[m.Format]
	if !ok || len(m.Picture) == 0 {
		return fmt.Errorf("vips: watermark of %d bytes of format %q", len(m.Picture), m.Format)
	}
	in, err := open(m.Picture, m.Format, f.thumb, maxPixels, false)
	if err != nil {
		return fmt.Errorf("vips: watermark: %v", err) // not an ImageError: the requested image is not at fault
	}
	defer in.close()
	var info C.thumb_info
	if rc := C.thumb_read(in.data, in.size, in.format, &info); rc != 0 {
		return fmt.Errorf("vips: watermark: %w", ours(rc))
	}
	width, height := int(info.width), int(info.height)
	if int64(width)*int64(height) > maxPixels {
		return fmt.Errorf("vips: watermark of %d by %d pixels", width, height)
	}
	if info.orientation >= 5 {
		width, height = height, width
	}
	x, y, w, h := m.Place(width, height, l.CanvasW, l.CanvasH)
	if w == 0 {
		return nil // no room
	}
	if rc := C.thumb_mark(in.data, in.size, in.format, C.int(w), C.int(h), &e.mark); rc != 0 {
		return fmt.Errorf("vips: watermark: %w", ours(rc))
	}
	e.mark_x, e.mark_y, e.mark_w, e.mark_h = C.int(x), C.int(y), C.int(w), C.int(h)
	e.opacity = 100
	if m.Opacity > 0 {
		e.opacity = C.int(m.Opacity)
	}
	return nil
}

// ours is failure for faults that the requested image did not cause.
func ours(C.int) error { return failure(C.THUMB_SELF) }
