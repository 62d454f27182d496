package main

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"slices"
	"testing"

	"imgkeep/resize"
)

// apngFile is an animated PNG of 48 by 32 pixels. Its IDAT is red, its first frame green
// and blue, as large as the canvas or a part of it. inside: IDAT is a frame, too.
func apngFile(t testing.TB, inside, whole bool) []byte {
	t.Helper()
	box := image.Rect(0, 0, 48, 32)
	if !whole {
		box = image.Rect(8, 8, 40, 24)
	}
	fill := func(b image.Rectangle, c color.NRGBA) []byte {
		m := image.NewNRGBA(b)
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				m.SetNRGBA(x, y, color.NRGBA{c.R, c.G, uint8(4 * x), 254}) // not opaque: all of one kind
			}
		}
		return toPNG(t, m)
	}
	data := func(file []byte) []byte { // of IDAT
		at := bytes.Index(file, []byte("IDAT"))
		return file[at+4 : at+4+int(binary.BigEndian.Uint32(file[at-4:]))]
	}
	sequence := uint32(0)
	next := func() []byte {
		sequence++
		return binary.BigEndian.AppendUint32(nil, sequence-1)
	}
	control := func(b image.Rectangle) []byte {
		c := next()
		for _, n := range []int{b.Dx(), b.Dy(), b.Min.X, b.Min.Y} {
			c = binary.BigEndian.AppendUint32(c, uint32(n))
		}
		return pngChunk("fcTL", append(c, 0, 10, 0, 100, 0, 0))
	}
	still, frame := fill(image.Rect(0, 0, 48, 32), red), fill(box, green)
	out := slices.Concat(still[:8+25], pngChunk("acTL", []byte{0, 0, 0, 2, 0, 0, 0, 0}))
	if inside {
		out = append(out, control(image.Rect(0, 0, 48, 32))...)
	}
	out = append(out, pngChunk("IDAT", data(still))...)
	for range 2 {
		out = append(out, control(box)...)
		out = append(out, pngChunk("fdAT", append(next(), data(frame)...))...)
	}
	return append(out, pngChunk("IEND", nil)...)
}

// A size of an animated PNG is its first frame: never the picture that stands there for
// programs that know no animation.
func TestAPNG(t *testing.T) {
	p := newPool(t, resize.Options{})
	for name, c := range map[string]struct {
		inside, whole bool
		want          color.NRGBA
	}{
		"IDAT is a frame":       {true, true, red},
		"IDAT is no frame":      {false, true, green},
		"a frame that is small": {false, false, green},
	} {
		src := apngFile(t, c.inside, c.whole)
		m := pixels(t, p, one(t, p, "png", src, resize.Target{Size: huge}))
		if got := at(m, 24, 16); got.R != c.want.R || got.G != c.want.G {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if got := at(m, 2, 2); (got.A == 0) != !c.whole {
			t.Errorf("%s: the corner is %v", name, got)
		}
		blamed(t, p, "png", src[:len(src)-60])
	}
}

func apngPictures(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"png animated, IDAT is a frame":       apngFile(t, true, true),
		"png animated, IDAT is no frame":      apngFile(t, false, true),
		"png animated, a frame that is small": apngFile(t, false, false),
	}
}
