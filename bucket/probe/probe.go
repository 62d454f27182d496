// Package probe recognises images by their own bytes: JPEG, PNG, GIF, WebP, AVIF,
// BMP, HEIC, TIFF and JPEG XL. It reads their dimensions as early as the bytes
// allow, and tells a complete image from a cut-off one.
//
// It is for downloads from untrusted hosts: a [Scanner] runs beside the download like a
// hash, sees every byte once, and refuses what is no image, too large, broken or, at the
// end, incomplete. It ignores names and declared content types.
//
// It promises that any split of the same bytes gives the same answer, that it needs the
// same few hundred bytes of memory for every input, that time grows only with the bytes and
// not with their claims, and that no input makes it panic. For an AVIF or HEIC it also
// holds the table of contents, which may have at most 64 KiB.
//
// It does not decode: it walks over pixel data. An accepted image has a sound structure
// from its first byte to its end marker; its compressed data may still be damaged, which
// only a decoder can tell. It cannot tell the end of a JPEG XL that is a bare codestream:
// see [Scanner.Endless].
//
// It skips what follows the end marker of an image, which does not affect the result:
// phones append videos ("motion photos") and further JPEGs (MPF) to their pictures, servers
// append newlines, and every browser shows them all. [Scanner.End] says where it begins.
package probe

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// The verdicts. Errors of this package wrap exactly one of them, with what was
// wrong and at which byte.
var (
	// ErrType: the bytes are no image of an accepted type, or of a kind
	// within such a type that browsers do not show.
	ErrType = errors.New("not an accepted image type")
	// ErrPixels: the image has more pixels, or a longer side, than Limits allow;
	// or it is a JPEG of more than 100 scans, or whose scans, each of which goes over
	// all pixels, go over more than 16 times the pixels that Limits allow.
	ErrPixels = errors.New("too many pixels")
	// ErrFrames: the animation has more frames, or more pixels in all of them
	// together, than Limits allow.
	ErrFrames = errors.New("too many frames")
	// ErrBroken: the bytes contradict their format.
	ErrBroken = errors.New("broken image")
	// ErrTruncated: the bytes ended before the image did.
	ErrTruncated = errors.New("truncated image")
)

// Format is an image file format. The zero value is Unknown.
type Format uint8

// The formats. Stores keep the numbers on disk: a new one comes last.
const (
	Unknown Format = iota
	JPEG
	PNG
	GIF
	WebP
	AVIF
	BMP
	HEIC
	TIFF
	JXL
)

var formats = [...]struct{ name, ext, contentType string }{
	Unknown: {"unknown", "", "application/octet-stream"},
	JPEG:    {"jpeg", ".jpg", "image/jpeg"},
	PNG:     {"png", ".png", "image/png"},
	GIF:     {"gif", ".gif", "image/gif"},
	WebP:    {"webp", ".webp", "image/webp"},
	AVIF:    {"avif", ".avif", "image/avif"},
	BMP:     {"bmp", ".bmp", "image/bmp"},
	HEIC:    {"heic", ".heic", "image/heic"},
	TIFF:    {"tiff", ".tif", "image/tiff"},
	JXL:     {"jxl", ".jxl", "image/jxl"},
}

// Formats returns all formats, in the order of their numbers.
func Formats() []Format {
	var all []Format
	for f := JPEG; int(f) < len(formats); f++ {
		all = append(all, f)
	}
	return all
}

// Web returns the formats that every browser shows.
func Web() []Format { return []Format{JPEG, PNG, GIF, WebP} }

// ParseFormat returns the format of a name as String prints it, in lower case.
func ParseFormat(name string) (Format, error) {
	var names []string
	for _, f := range Formats() {
		if f.String() == name {
			return f, nil
		}
		names = append(names, f.String())
	}
	return Unknown, fmt.Errorf("unknown image format %q: use one of %s", name, strings.Join(names, ", "))
}

// known maps values that are no format to Unknown, so that the methods below
// never panic.
func (f Format) known() Format {
	if int(f) < len(formats) {
		return f
	}
	return Unknown
}

// String returns the format's name, such as jpeg; unknown for what is none.
func (f Format) String() string { return formats[f.known()].name }

// Ext returns the format's file extension with its dot; empty for Unknown.
func (f Format) Ext() string { return formats[f.known()].ext }

// ContentType returns the format's media type; application/octet-stream for
// Unknown, which no browser shows.
func (f Format) ContentType() string { return formats[f.known()].contentType }

// Info is what an image says of itself.
type Info struct {
	Format Format
	// Width and Height are in pixels, as stored in the file: before
	// Orientation is applied.
	Width, Height int
	// Orientation is the EXIF orientation, 1 to 8; 1 where the file has none,
	// or none that can be trusted. Of an AVIF or HEIC it is what its own turning and
	// mirroring (irot, imir) come to, which is what viewers go by there; of a JPEG XL
	// what its codestream says.
	Orientation int
	// Frames is the number of frames found in the file, not the number it
	// claims. 1 for images that are not animated.
	Frames int
}

// Shown returns the dimensions after Orientation is applied, as a viewer sees
// them.
func (i Info) Shown() (width, height int) {
	if i.Orientation >= 5 && i.Orientation <= 8 {
		return i.Height, i.Width
	}
	return i.Width, i.Height
}

// Limits bound what is accepted. The zero value accepts every format that the
// package knows, of any size. A value that is exactly at a limit passes. A negative
// MaxPixels or MaxSide refuses every image, the other two every animation.
type Limits struct {
	Formats   []Format // accepted formats; empty: all
	MaxPixels int64    // most pixels of a frame, width*height; 0: no limit
	MaxSide   int      // longest side, in pixels; 0: no limit
	// MaxFrames is the most frames of an animation; 0: no limit. Each costs a
	// decoder and a browser more than its pixels do.
	MaxFrames int
	// MaxAnimationPixels bounds the pixels of all frames of an animation
	// together, width*height*frames; 0: no limit. A frame counts for the whole
	// canvas, since that is what decoders and browsers compose for each, and for
	// more where it reaches beyond. An image of one frame is no animation.
	MaxAnimationPixels int64
}

// Read reads r to its end, or to the first byte that decides against it, and returns the
// verdict. It returns an error of r itself unchanged.
func Read(r io.Reader, l Limits) (Info, error) {
	s := NewScanner(l)
	if _, err := io.Copy(s, r); err != nil && s.err == nil {
		return s.info, err
	}
	return s.Close()
}
