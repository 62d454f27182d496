package probe_test

import (
	"bytes"
	"testing"

	"imgkeep/bucket/probe"
)

func TestWebP(t *testing.T) {
	lossy, lossless := vp8(17, 11, nil), vp8l(17, 11, []byte("data"))
	still, moving := vp8x(0, 17, 11), vp8x(flagAnim, 17, 11)
	anim := riff("ANIM", make([]byte, 6))
	// sized is a file whose RIFF header announces n bytes more than there are.
	sized := func(n int, chunks ...[]byte) []byte {
		f := webp(chunks...)
		copy(f[4:], le32(len(f)-8+n))
		return f
	}
	// edited is a chunk with one byte of its data replaced.
	edited := func(chunk []byte, offset int, b byte) []byte {
		c := bytes.Clone(chunk)
		c[8+offset] = b
		return c
	}
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"lossy", webp(lossy), nil},
		{"lossless", webp(lossless), nil},
		{"lossy on a canvas", webp(still, lossy), nil},
		{"lossless on a canvas", webp(still, lossless), nil},
		{"alpha", webp(still, riff("ALPH", []byte("abc")), lossy), nil},
		{"unknown chunks", webp(still, riff("abcd"), lossy, riff("\x00\x00\x00\x00", []byte("x"))), nil},
		{"more chunks without a canvas", webp(lossy, riff("XMP ", []byte("x"))), nil},
		{"a canvas of later standards", webp(riff("VP8X", make([]byte, 4), le24(16), le24(10), []byte("more")), lossy), nil},
		{"frames", webp(moving, anim, anmf(0, 0, 17, 11, lossy), anmf(2, 2, 5, 5, vp8l(5, 5, nil))), nil},
		{"a frame with alpha and others", webp(moving, anim, anmf(0, 0, 17, 11, riff("ALPH", []byte("a")), lossy, riff("abcd"))), nil},
		{"html behind it", join(webp(lossy), []byte("<script>")), nil},

		{"no chunk", webp(), probe.ErrBroken},
		{"a header of a chunk, cut", webp([]byte("VP8 ")), probe.ErrBroken},
		{"no image first", webp(riff("EXIF", oriented(6)), lossy), probe.ErrBroken},
		{"alpha first", webp(riff("ALPH"), lossy), probe.ErrBroken},
		{"a canvas only", webp(still), probe.ErrBroken},
		{"a canvas and metadata", webp(still, riff("XMP ", []byte("x"))), probe.ErrBroken},
		{"a canvas behind the image", webp(lossy, vp8x(0, 10000, 10000)), nil}, // not read by decoders
		{"two canvases", webp(still, vp8x(0, 10000, 10000), lossy), nil},       // the first counts
		{"an animation without frames", webp(moving, anim), probe.ErrBroken},
		{"an animation with a still image", webp(moving, anim, lossy), probe.ErrBroken},
		{"an animation with both", webp(moving, anim, anmf(0, 0, 17, 11, lossy), lossy), probe.ErrBroken},
		{"a still canvas with frames only", webp(still, anim, anmf(0, 0, 17, 11, lossy)), probe.ErrBroken},

		{"size 0", join([]byte("RIFF"), le32(0), []byte("WEBP"), lossy), probe.ErrBroken},
		{"the least size", join([]byte("RIFF"), le32(12), []byte("WEBPVP8 "), le32(0)), probe.ErrBroken},
		{"a byte less than the least size", join([]byte("RIFF"), le32(11), []byte("WEBPVP8 "), le32(0)), probe.ErrBroken},
		{"the largest size", join([]byte("RIFF"), le32(1<<32-11), []byte("WEBP"), lossy), probe.ErrTruncated},
		{"more than the largest size", join([]byte("RIFF"), le32(1<<32-10), []byte("WEBP"), lossy), probe.ErrBroken},
		{"2^32-1 bytes", join([]byte("RIFF"), le32(1<<32-1), []byte("WEBP"), lossy), probe.ErrBroken},
		{"a size of two bytes more", sized(2, lossy), probe.ErrTruncated},
		{"a size of two bytes less", sized(-2, lossy), probe.ErrBroken},
		{"seven bytes left", webp(lossy, make([]byte, 7)), nil},
		{"padding not counted", sized(-1, still, vp8(17, 11, []byte("o"))), nil},
		{"no padding", sized(-1, still, vp8(17, 11, []byte("o")))[:8+4+18+8+11], nil},
		{"a chunk longer than the file", webp(join([]byte("VP8 "), le32(1000), lossy[8:])), probe.ErrBroken},
		{"a chunk of 2^32-1 bytes", webp(still, join([]byte("junk"), le32(1<<32-1)), lossy), probe.ErrBroken},
		{"a second chunk longer than the file", webp(lossy, join([]byte("junk"), le32(1))), probe.ErrBroken},

		{"VP8 of 9 bytes", webp(riff("VP8 ", lossy[8:17])), probe.ErrBroken},
		{"an empty VP8", webp(riff("VP8 "), lossy), probe.ErrBroken},
		{"an interframe", webp(edited(lossy, 0, 0x11)), probe.ErrBroken},
		{"version 3", webp(edited(lossy, 0, 0x16)), nil},
		{"version 4", webp(edited(lossy, 0, 0x18)), probe.ErrBroken},
		{"a hidden frame", webp(edited(lossy, 0, 0x00)), probe.ErrBroken},
		{"a wrong start code", webp(edited(lossy, 3, 0x9C)), probe.ErrBroken},
		{"a partition that fits", webp(edited(lossy, 1, 9>>3)), nil},
		{"a partition as long as the chunk", webp(edited(edited(lossy, 0, 0x50), 1, 10>>3)), probe.ErrBroken},
		{"a partition longer than the chunk", webp(edited(lossy, 2, 0xFF)), probe.ErrBroken},
		{"scaling is no part of the size", webp(edited(edited(lossy, 7, 0xC0), 9, 0x40)), nil},
		{"VP8 of width 0", webp(vp8(0, 11, nil)), probe.ErrBroken},
		{"VP8 of height 0", webp(vp8(17, 0, nil)), probe.ErrBroken},

		{"VP8L of 4 bytes", webp(riff("VP8L", lossless[8:12])), probe.ErrBroken},
		{"VP8L of 5 bytes", webp(riff("VP8L", lossless[8:13])), nil},
		{"a wrong VP8L signature", webp(edited(lossless, 0, 0x2E)), probe.ErrBroken},
		{"VP8L with alpha", webp(edited(lossless, 4, lossless[12]|0x10)), nil},
		{"VP8L of version 1", webp(edited(lossless, 4, lossless[12]|0x20)), probe.ErrBroken},

		{"VP8X of 9 bytes", webp(riff("VP8X", make([]byte, 9)), lossy), probe.ErrBroken},
		{"a canvas larger than its image", webp(vp8x(0, 18, 11), lossy), probe.ErrBroken},
		{"a canvas narrower than its image", webp(vp8x(0, 16, 11), lossy), probe.ErrBroken},
		{"a canvas lower than its image", webp(vp8x(0, 17, 10), lossy), probe.ErrBroken},
		{"a canvas smaller than its image", webp(vp8x(0, 1, 1), lossy), probe.ErrBroken},
		{"a small canvas over a lossless bomb", webp(vp8x(0, 17, 11), vp8l(16383, 16383, nil)), probe.ErrBroken},
		{"a canvas of 2^32 pixels", webp(vp8x(flagAnim, 1<<16, 1<<16), anmf(0, 0, 17, 11, lossy)), probe.ErrBroken},
		{"a canvas of 2^32-1 pixels", webp(vp8x(flagAnim, 1<<16+1, 1<<16-1), anmf(0, 0, 17, 11, lossy)), nil},

		{"a frame that fits exactly", webp(vp8x(flagAnim, 19, 13), anmf(2, 2, 17, 11, lossy)), nil},
		{"a frame too wide", webp(vp8x(flagAnim, 18, 13), anmf(2, 2, 17, 11, lossy)), probe.ErrBroken},
		{"a frame too high", webp(vp8x(flagAnim, 19, 12), anmf(2, 2, 17, 11, lossy)), probe.ErrBroken},
		{"a frame narrower than its image", webp(moving, anmf(0, 0, 16, 11, lossy)), probe.ErrBroken},
		{"a frame lower than its image", webp(moving, anmf(0, 0, 17, 10, lossy)), probe.ErrBroken},
		{"a frame smaller than its image", webp(moving, anmf(0, 0, 1, 1, lossy)), probe.ErrBroken},
		{"a frame without an image", webp(moving, anmf(0, 0, 17, 11)), probe.ErrBroken},
		{"a second frame without an image", webp(moving, anmf(0, 0, 17, 11, lossy), anmf(0, 0, 17, 11, riff("ALPH"))), probe.ErrBroken},
		{"a frame of 15 bytes", webp(moving, riff("ANMF", make([]byte, 15))), probe.ErrBroken},
		{"a frame in a frame", webp(moving, anmf(0, 0, 17, 11, anmf(0, 0, 17, 11, lossy))), probe.ErrBroken},
		{"a chunk longer than its frame", webp(moving, anmf(0, 0, 17, 11, lossy, join([]byte("junk"), le32(2))), riff("junk")), probe.ErrBroken},
		{"an image longer than its frame", webp(moving, anmf(0, 0, 17, 11, join([]byte("VP8 "), le32(20), lossy[8:])), make([]byte, 50)), probe.ErrBroken},
		{"seven bytes left in a frame", webp(moving, anmf(0, 0, 17, 11, lossy, make([]byte, 7)), anmf(0, 0, 17, 11, lossy)), nil},
		{"a frame of odd length", webp(moving, riff("ANMF", anmf(0, 0, 17, 11, vp8(17, 11, []byte("o")))[8:][:16+8+11]), anmf(0, 0, 17, 11, lossy)), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			check(t, c.data, probe.Limits{}, c.want)
			splits(t, c.data, probe.Limits{})
		})
	}
}

// The largest dimensions that each kind can state.
func TestWebPLargest(t *testing.T) {
	for name, c := range map[string]struct {
		data          []byte
		width, height int
	}{
		"lossy":    {webp(vp8(16383, 16383, nil)), 16383, 16383},
		"lossless": {webp(vp8l(16384, 16384, nil)), 16384, 16384},
		"canvas":   {webp(vp8x(flagAnim, 1<<24, 255), anmf(0, 0, 1, 1, vp8(1, 1, nil))), 1 << 24, 255},
	} {
		t.Run(name, func(t *testing.T) {
			info, err := probe.Read(bytes.NewReader(c.data), probe.Limits{})
			if want := still(probe.WebP, c.width, c.height); err != nil || info != want {
				t.Errorf("got %+v, %v; want %+v", info, err, want)
			}
		})
	}
}
