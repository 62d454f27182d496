package probe_test

import (
	"bytes"
	"testing"

	"imgkeep/bucket/probe"
)

func TestGIF(t *testing.T) {
	head, image, end := screen(17, 11), gifImage(0, 0, 17, 11), []byte(gifTrailer)
	// coded is an image with the given code size and sub-blocks.
	coded := func(data ...byte) []byte { return join(image[:10], data) }
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"plain", join(head, image, end), nil},
		{"no colour table", join([]byte("GIF89a"), le16(17), le16(11), []byte{0, 0, 0}, image, end), nil},
		{"the size of no colour table", join([]byte("GIF89a"), le16(17), le16(11), []byte{0x7F, 0, 0}, image, end), nil},
		{"the largest colour table", join([]byte("GIF89a"), le16(17), le16(11), []byte{0x87, 0, 0}, make([]byte, 768), image, end), nil},
		{"a colour table too short", join([]byte("GIF89a"), le16(17), le16(11), []byte{0x87, 0, 0}, make([]byte, 700), image, end), probe.ErrTruncated},
		{"a colour table of the frame", join(head, image[:9], []byte{0x80}, make([]byte, 6), image[10:], end), nil},
		{"an interlaced frame", join(head, image[:9], []byte{0x40}, image[10:], end), nil},
		{"long sub-blocks", join(head, coded(8, 255), make([]byte, 255), []byte{255}, make([]byte, 255), []byte{0}, end), nil},
		{"no sub-blocks", join(head, coded(2, 0), end), nil},
		{"a trailer in a sub-block", join(head, coded(2, 2, ';', ';', 0), end), nil},
		{"javascript behind it", join(head, image, end, []byte("=1;alert(1)")), nil},
		{"another behind it", join(head, image, end, head, image, end), nil},

		{"no frames", join(head, end), probe.ErrBroken},
		{"only extensions", join(head, []byte("\x21\xFE\x01x\x00"), end), probe.ErrBroken},
		{"no trailer", join(head, image), probe.ErrTruncated},
		{"width 0", join(screen(0, 11), image, end), nil},
		{"height 0", join(screen(17, 0), image, end), nil},
		{"no screen, and no frame", join(screen(0, 0), gifImage(0, 0, 0, 0), end), probe.ErrBroken},
		{"zeros between blocks", join(head, []byte{0}, image, []byte{0, 0, 0}, image, []byte{0}, end), nil},
		{"a letter between blocks", join(head, image, []byte("x"), image, end), probe.ErrBroken},
		{"html in place of a block", join(head, []byte("<html>")), probe.ErrBroken},

		{"LZW codes of 0 bits", join(head, coded(0, 0), end), probe.ErrBroken},
		{"LZW codes of 1 bit", join(head, coded(1, 0), end), nil},
		{"LZW codes of 11 bits", join(head, coded(11, 0), end), nil},
		{"LZW codes of 12 bits", join(head, coded(12, 0), end), probe.ErrBroken},
		{"LZW codes of 255 bits", join(head, coded(255, 0), end), probe.ErrBroken},

		{"a sub-block past the end", join(head, coded(2, 200), end), probe.ErrTruncated},
		{"an extension without end", join(head, image, []byte("\x21\xFE\x01x")), probe.ErrTruncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			check(t, c.data, probe.Limits{}, c.want)
			splits(t, c.data, probe.Limits{})
		})
	}
}

// The first frame may exceed the screen, and makes the image larger; the others
// do not.
func TestGIFSize(t *testing.T) {
	join2 := func(frames ...[]byte) []byte {
		return join(screen(10, 20), join(frames...), []byte(gifTrailer))
	}
	for _, c := range []struct {
		name                  string
		data                  []byte
		width, height, frames int
	}{
		{"as the screen", join2(gifImage(0, 0, 10, 20)), 10, 20, 1},
		{"smaller", join2(gifImage(3, 3, 1, 1)), 10, 20, 1},
		{"wider", join2(gifImage(0, 0, 11, 20)), 11, 20, 1},
		{"higher", join2(gifImage(0, 0, 1, 21)), 10, 21, 1},
		{"moved out", join2(gifImage(5, 6, 10, 20)), 15, 26, 1},
		{"moved far out", join2(gifImage(65535, 65535, 65535, 65535)), 131070, 131070, 1},
		{"empty", join2(gifImage(0, 0, 0, 0)), 10, 20, 1},
		{"a second that is larger", join2(gifImage(0, 0, 10, 20), gifImage(0, 0, 30, 30)), 10, 20, 2},
		{"a first that is larger, too", join2(gifImage(0, 0, 12, 22), gifImage(0, 0, 30, 30)), 12, 22, 2},
		{"100,000 frames", join2(bytes.Repeat(gifImage(0, 0, 1, 1), 100_000)), 10, 20, 100_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			info, err := probe.Read(bytes.NewReader(c.data), probe.Limits{})
			if want := animated(probe.GIF, c.width, c.height, c.frames); err != nil || info != want {
				t.Errorf("got %+v, %v; want %+v", info, err, want)
			}
		})
	}
}
