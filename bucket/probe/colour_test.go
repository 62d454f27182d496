package probe_test

import (
	"bytes"
	"testing"

	"imgkeep/bucket/probe"
)

// Which colours a file says that it has, and whether it lost some, by what real encoders
// wrote (testdata/README.md).
func TestColourOf(t *testing.T) {
	srgb := probe.Colour{Primaries: 1, Transfer: 13}
	full := srgb
	full.Lossless = true
	lossless := probe.Colour{Lossless: true}
	for name, want := range map[string]probe.Colour{
		"lossy.webp": {}, "alpha.webp": {}, "img2webp.webp": {}, "lossless.webp": lossless,
		"still.avif": full, "exif.avif": {Primaries: 2, Transfer: 2}, "tiles.avif": full,
		"still.heic": {}, "still.jxl": srgb, "lossless.jxl": full, "jpeg.jxl": lossless,
		"plain.bmp": {}, "progressive.jpg": {},
	} {
		if got := probe.ColourOf(file(t, name)); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	// What an AVIF says, it says instead of its coded image.
	still := file(t, "still.avif")
	at := bytes.Index(still, []byte("colrnclx"))
	set := func(b []byte, at int, v ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], v)
		return b
	}
	for name, c := range map[string]struct {
		file []byte
		want probe.Colour
	}{
		"PQ":                {set(still, at+9, 9, 0, 16), probe.Colour{Primaries: 9, Transfer: 16, Lossless: true}},
		"a profile":         {set(still, at+4, []byte("prof")...), probe.Colour{Profile: true, Lossless: true}},
		"RGB in planes":     {set(still, bytes.Index(still, []byte("av1C"))+6, 0x0c), probe.Colour{Primaries: 1, Transfer: 13}},
		"cut off":           {still[:len(still)-9], full},
		"cut off in meta":   {still[:100], probe.Colour{}},
		"nothing":           {nil, probe.Colour{}},
		"no such file type": {[]byte("GIF87"), probe.Colour{}},
	} {
		if got := probe.ColourOf(c.file); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// Coded images (AV1 Bitstream and Decoding Process, 5.5) may be cut, or lie, anywhere.
func TestColourOfCodedImage(t *testing.T) {
	still := file(t, "still.avif")
	// Without what the container says: its property is of another kind.
	mute := bytes.Replace(still, []byte("colrnclx"), []byte("pasp\x00\x00\x00\x01"), 1)
	mdat := bytes.Index(mute, []byte("mdat")) + 4
	if got := probe.ColourOf(mute); got.Primaries != 1 || got.Transfer != 13 {
		t.Errorf("the coded image says %+v, want 1 and 13", got)
	}
	for at := mdat; at < min(mdat+32, len(mute)); at++ {
		for _, v := range []byte{0, 0x7f, 0x80, 0xff} {
			b := bytes.Clone(mute)
			b[at] = v
			probe.ColourOf(b)
		}
	}
}
