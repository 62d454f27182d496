package resize

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
)

// Formats of source and result, as in [Job] and [Target].
const (
	formatJPEG = "jpeg"
	formatPNG  = "png"
	formatGIF  = "gif"
	formatWebP = "webp"
	formatAVIF = "avif"
	formatBMP  = "bmp"
	formatHEIC = "heic"
	formatTIFF = "tiff"
	formatJXL  = "jxl"
)

// FormatPrint is the format of a [Target] that is not a picture but its print, by which
// look-alikes are found: Data is then [PrintSize] bytes, those of a likeness.Print.
const (
	FormatPrint = "print"
	PrintSize   = 1 + 8*32
)

// PrintTarget is the target of a print. A print is always made of a picture of one size, at
// most 512 pixels wide and high, of the first frame.
func PrintTarget() Target {
	return Target{Size: Size{Height: printSide, Width: printSide}, Format: FormatPrint}
}

const printSide = 512

// IsPrint tells whether a target is a print.
func (t Target) IsPrint() bool { return t.Preset == nil && t.Format == FormatPrint }

// others are the extra formats that a decoder reads if [Options] Sources asks for them.
var others = []string{formatAVIF, formatBMP, formatHEIC, formatTIFF, formatJXL}

const (
	// MaxTargets is the largest number of targets of one job.
	MaxTargets = 16
	// MaxSource is the largest source, in bytes.
	MaxSource = 256 << 20
)

// A Job says what to make of one image. All targets are made from one decoding of it.
type Job struct {
	// Format of the source: "jpeg", "png", "gif", "webp", or one of [Options] Sources. The
	// decoder uses the loader of this format whatever the bytes look like, so that an image
	// cannot choose its parser.
	Format string
	// Targets are from 1 to [MaxTargets].
	Targets []Target
	// Site and Image name whose share of the decoders the job uses: where the image comes
	// from, and which image it is. Any strings will do.
	Site, Image string
	// Background: nobody waits for the result. It comes after all other jobs, and waits
	// until ctx ends.
	Background bool
	// LateTargets is called once a decoder is free, and its targets replace Targets: so a
	// job that had to wait includes what was asked for meanwhile. It must not block. nil:
	// Targets are made.
	LateTargets func() []Target
	// Held ends when the results need not be held in memory any more. Until then they count
	// against Options.MaxHeld: a disk that is slower than the decoders must not fill the
	// memory. nil: they do not count.
	Held context.Context
	// Check says what is wrong with results that no honest decoder can produce. They then
	// count as a protocol error, Resize wraps the error of Check, and the pool replaces the
	// decoder. nil: only the pool's own checks apply.
	Check func([]Result) error
}

// A Target is one picture to make.
type Target struct {
	// Preset describes the picture completely. nil: the fields below do; with a preset they
	// are ignored.
	Preset *Preset `json:"preset,omitempty"`
	// Size that the picture fits into; see [Size.Fit].
	Size Size `json:"size,omitzero"`
	// Format of the picture. Empty: that of the source; "webp" if not every browser shows
	// the source's. It can also be one of [Options] Outputs. An animation stays one in
	// "gif" and "webp"; the other formats get its first frame. In a format without alpha,
	// transparency becomes white. [PrintTarget] has a format of its own.
	Format string `json:"format,omitempty"`
	// Quality from 1 to 100 of "jpeg" and "webp", 0: 80; and of "avif", 0: 65. The others
	// are lossless and ignore it.
	Quality int `json:"quality,omitempty"`
}

// A Result is a picture made for the [Target] at the same place. It is in sRGB
// (or gray), upright, and without metadata.
type Result struct {
	// Format of Data.
	Format string
	// Width and Height in pixels, of one frame.
	Width, Height int
	// Frames is 1, or the number of frames of an animation that the encoder got. It may
	// have merged equal ones, and added their times.
	Frames int
	// Data is the encoded picture.
	Data []byte
}

// A Request is a job as the decoder receives it.
type Request struct {
	Format  string   `json:"format"`
	Targets []Target `json:"targets"`
	// MaxPixels bounds width times height of a still picture, and of a frame:
	// beyond it the answer is an [ImageError] that is TooLarge.
	MaxPixels int64 `json:"max_pixels"`
	// AnimationPixels bounds width times height times frames of an animation,
	// as stored, and of all its targets together, with no frame counted for
	// less than 16,384: beyond it the decoder makes still pictures of the first
	// frame.
	AnimationPixels int64 `json:"animation_pixels"`
}

// check says what is wrong with a request. Both ends call it.
func (r *Request) check() error {
	if !knownFormat(r.Format) && !slices.Contains(others, r.Format) {
		return fmt.Errorf("source format %s is not one of jpeg, png, gif, webp, %s", quote(r.Format), strings.Join(others, ", "))
	}
	if len(r.Targets) < 1 || len(r.Targets) > MaxTargets {
		return fmt.Errorf("%d targets; from 1 to %d can be made at once", len(r.Targets), MaxTargets)
	}
	for i, t := range r.Targets {
		if t.Preset != nil {
			if err := t.Preset.check(); err != nil {
				return fmt.Errorf("target %d: preset: %w", i, err)
			}
			continue
		}
		if err := t.Size.check(); err != nil {
			return fmt.Errorf("target %d: %w", i, err)
		}
		if t.IsPrint() {
			if t != PrintTarget() {
				return fmt.Errorf("target %d: a print is made of a picture within %s", i, PrintTarget().Size)
			}
			continue
		}
		if t.Format != "" && !slices.Contains(written, t.Format) {
			return fmt.Errorf("target %d: format %s is not one of %s", i, quote(t.Format), strings.Join(written, ", "))
		}
		if t.Quality < 0 || t.Quality > 100 {
			return fmt.Errorf("target %d: quality %d is not from 1 to 100", i, t.Quality)
		}
	}
	if r.MaxPixels < 1 || r.AnimationPixels < 1 {
		return fmt.Errorf("limits of %d pixels, and %d of an animation, are not above 0", r.MaxPixels, r.AnimationPixels)
	}
	return nil
}

// FormatOf is the format that the target at i asks for.
func (r *Request) FormatOf(i int) string { return r.Targets[i].FormatOf(r.Format) }

func knownFormat(f string) bool {
	return slices.Contains(formats, f)
}

// begins says whether data has the first bytes of the format. It keeps a decoder from
// returning HTML, or an image of another type.
func begins(format string, data []byte) bool {
	switch format {
	case formatJPEG:
		return bytes.HasPrefix(data, []byte("\xff\xd8\xff"))
	case formatPNG:
		return bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n"))
	case formatGIF:
		return bytes.HasPrefix(data, []byte("GIF89a")) || bytes.HasPrefix(data, []byte("GIF87a"))
	case formatWebP:
		return len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP"
	case formatAVIF:
		return len(data) >= 12 && string(data[4:12]) == "ftypavif"
	case FormatPrint:
		return len(data) == PrintSize && data[0] <= 100
	}
	return false
}

// animates says whether the format can hold more than one frame.
func animates(format string) bool {
	return format == formatGIF || format == formatWebP
}

// An ImageError says that no decoder can make anything of this image.
type ImageError struct {
	// TooLarge: it exceeds a limit on pixels, or on the sides of the format asked for.
	// Otherwise it is broken, truncated, or not of the format that the job says.
	TooLarge bool
	// Detail for a log: short printable ASCII, the decoder's words. It is not
	// for viewers.
	Detail string
}

func (e *ImageError) Error() string {
	if e.TooLarge {
		return "resize: image too large: " + e.Detail
	}
	return "resize: broken image: " + e.Detail
}
