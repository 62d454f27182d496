package probe_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"imgkeep/bucket/probe"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		format                 probe.Format
		name, ext, contentType string
	}{
		{probe.JPEG, "jpeg", ".jpg", "image/jpeg"},
		{probe.PNG, "png", ".png", "image/png"},
		{probe.GIF, "gif", ".gif", "image/gif"},
		{probe.WebP, "webp", ".webp", "image/webp"},
		{probe.AVIF, "avif", ".avif", "image/avif"},
		{probe.BMP, "bmp", ".bmp", "image/bmp"},
		{probe.HEIC, "heic", ".heic", "image/heic"},
		{probe.TIFF, "tiff", ".tif", "image/tiff"},
		{probe.JXL, "jxl", ".jxl", "image/jxl"},
		{probe.Unknown, "unknown", "", "application/octet-stream"},
		{probe.Format(100), "unknown", "", "application/octet-stream"},
		{probe.Format(255), "unknown", "", "application/octet-stream"},
	} {
		if s := c.format.String(); s != c.name {
			t.Errorf("Format(%d).String() = %q, want %q", c.format, s, c.name)
		}
		if s := c.format.Ext(); s != c.ext {
			t.Errorf("%s.Ext() = %q, want %q", c.name, s, c.ext)
		}
		if s := c.format.ContentType(); s != c.contentType {
			t.Errorf("%s.ContentType() = %q, want %q", c.name, s, c.contentType)
		}
		f, err := probe.ParseFormat(c.name)
		if slices.Contains(probe.Formats(), c.format) {
			if f != c.format || err != nil {
				t.Errorf("ParseFormat(%q) = %v, %v", c.name, f, err)
			}
		} else if f != probe.Unknown || err == nil {
			t.Errorf("ParseFormat(%q) = %v, %v, want an error", c.name, f, err)
		}
	}
	for _, name := range []string{"", "JPEG", "jpg", "image/png", "png ", "AVIF", "svg"} {
		if f, err := probe.ParseFormat(name); f != probe.Unknown || err == nil {
			t.Errorf("ParseFormat(%q) = %v, %v, want an error", name, f, err)
		}
	}
}

func TestShown(t *testing.T) {
	for o := -1; o <= 10; o++ {
		w, h := probe.Info{Width: 3, Height: 2, Orientation: o}.Shown()
		if turned := o >= 5 && o <= 8; turned && (w != 2 || h != 3) || !turned && (w != 3 || h != 2) {
			t.Errorf("3 x 2 with orientation %d is shown as %d x %d", o, w, h)
		}
	}
}

func TestRead(t *testing.T) {
	for _, s := range samples(t) {
		got, err := probe.Read(bytes.NewReader(s.data), probe.Limits{})
		if err != nil || got != s.info {
			t.Errorf("%s: got %+v, %v; want %+v", s.name, got, err, s.info)
		}
	}
}

// An error of the reader is not a verdict on the image.
func TestReadError(t *testing.T) {
	lost := errors.New("connection lost")
	r := io.MultiReader(bytes.NewReader(pngFile()[:40]), iotest.ErrReader(lost))
	info, err := probe.Read(r, probe.Limits{})
	if !errors.Is(err, lost) || errors.Is(err, probe.ErrTruncated) {
		t.Errorf("got %v, want %v", err, lost)
	}
	if info.Width != 17 || info.Height != 11 {
		t.Errorf("got %+v, want what was read before the error", info)
	}
}

// A verdict ends the reading: a bomb is not read to its end.
func TestReadStops(t *testing.T) {
	unread := iotest.ErrReader(errors.New("read past the verdict"))
	r := io.MultiReader(bytes.NewReader([]byte("<html>")), unread)
	if _, err := probe.Read(r, probe.Limits{}); !errors.Is(err, probe.ErrType) {
		t.Errorf("got %v, want %v", err, probe.ErrType)
	}
}

// verdicts are all of them, to check that an error wraps exactly one.
var verdicts = []error{probe.ErrType, probe.ErrPixels, probe.ErrFrames, probe.ErrBroken, probe.ErrTruncated}

// check holds what Read says of data against a verdict.
func check(t *testing.T, data []byte, l probe.Limits, want error) {
	t.Helper()
	info, err := probe.Read(bytes.NewReader(data), l)
	for _, v := range verdicts {
		if errors.Is(err, v) != (v == want) {
			t.Errorf("got %+v, %v; want %v", info, err, want)
			return
		}
	}
}

func TestLimits(t *testing.T) {
	files := map[string]func(w, h int) []byte{
		"jpeg": func(w, h int) []byte { return join(soi, sof(0xC0, w, h, 3), sos(3, 1), eoi) },
		"png":  func(w, h int) []byte { return join([]byte(pngSignature), ihdr(w, h, 8, 2), idat, iend) },
		"gif":  func(w, h int) []byte { return join(screen(w, h), gifImage(0, 0, w, h), []byte(gifTrailer)) },
		"gif grown by its first frame": func(w, h int) []byte {
			return join(screen(1, 1), gifImage(w-1, h-1, 1, 1), []byte(gifTrailer))
		},
		"gif with a large later frame": func(w, h int) []byte {
			return join(screen(1, 1), gifImage(0, 0, 1, 1), gifImage(0, 0, w, h), []byte(gifTrailer))
		},
		"webp lossy":    func(w, h int) []byte { return webp(vp8(w, h, nil)) },
		"webp lossless": func(w, h int) []byte { return webp(vp8l(w, h, []byte{0})) },
		"webp canvas":   func(w, h int) []byte { return webp(vp8x(0, w, h), vp8(w, h, nil)) },
		"webp animated": func(w, h int) []byte {
			return webp(vp8x(flagAnim, w, h), anmf(0, 0, 1, 1, vp8(1, 1, nil)))
		},
	}
	for _, c := range []struct {
		name          string
		width, height int
		limits        probe.Limits
		want          error
	}{
		{"none", 16383, 16383, probe.Limits{}, nil},
		{"pixels, exact", 5000, 2000, probe.Limits{MaxPixels: 10_000_000}, nil},
		{"pixels, one more", 5000, 2000, probe.Limits{MaxPixels: 9_999_999}, probe.ErrPixels},
		{"pixels, more by a row", 5000, 2001, probe.Limits{MaxPixels: 10_000_000}, probe.ErrPixels},
		{"width, exact", 4000, 20, probe.Limits{MaxSide: 4000}, nil},
		{"width, one more", 4001, 20, probe.Limits{MaxSide: 4000}, probe.ErrPixels},
		{"height, exact", 20, 4000, probe.Limits{MaxSide: 4000}, nil},
		{"height, one more", 20, 4001, probe.Limits{MaxSide: 4000}, probe.ErrPixels},
		{"both, exact", 4000, 2500, probe.Limits{MaxSide: 4000, MaxPixels: 10_000_000}, nil},
		{"a single pixel", 1, 1, probe.Limits{MaxSide: 1, MaxPixels: 1}, nil},
		{"negative pixels let nothing in", 1, 1, probe.Limits{MaxPixels: -1}, probe.ErrPixels},
		{"a negative side lets nothing in", 1, 1, probe.Limits{MaxSide: -1}, probe.ErrPixels},
	} {
		for name, file := range files {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				check(t, file(c.width, c.height), c.limits, c.want)
			})
		}
	}
}

// Dimensions of which the product has more than 62 bits do not wrap around.
func TestLimitsOverflow(t *testing.T) {
	const side = 1<<31 - 1
	bomb := join([]byte(pngSignature), ihdr(side, side, 1, 0), idat, iend)
	check(t, bomb, probe.Limits{MaxPixels: 1<<63 - 1}, nil)
	check(t, bomb, probe.Limits{MaxPixels: side * side}, nil)
	check(t, bomb, probe.Limits{MaxPixels: side*side - 1}, probe.ErrPixels)
	check(t, bomb, probe.Limits{MaxSide: side}, nil)
	check(t, bomb, probe.Limits{MaxSide: side - 1}, probe.ErrPixels)
}

func TestLimitsFormats(t *testing.T) {
	for _, s := range samples(t) {
		for _, f := range probe.Formats() {
			want := probe.ErrType
			if f == s.info.Format {
				want = nil
			}
			check(t, s.data, probe.Limits{Formats: []probe.Format{f}}, want)
		}
		check(t, s.data, probe.Limits{Formats: probe.Formats()}, nil)
		check(t, s.data, probe.Limits{Formats: []probe.Format{probe.Unknown}}, probe.ErrType)
	}
}
