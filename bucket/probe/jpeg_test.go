package probe_test

import (
	"fmt"
	"testing"

	"imgkeep/bucket/probe"
)

func TestJPEG(t *testing.T) {
	frame, scan := sof(0xC0, 17, 11, 3), sos(3, 1, 2, 3)
	// edited is a frame header with one byte of its data replaced.
	edited := func(offset int, b byte) []byte {
		f := sof(0xC0, 17, 11, 3)
		f[4+offset] = b
		return f
	}
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"plain", join(soi, frame, scan, eoi), nil},
		{"end marker behind fill bytes", join(soi, frame, scan, []byte{0xFF, 0xFF}, eoi), nil},
		{"stuffed bytes that look like the end", join(soi, frame, scan, []byte{0xFF, 0x00, 0xD9}, eoi), nil},
		{"an end marker inside a segment", join(soi, segment(0xFE, eoi), frame, scan, eoi), nil},
		{"a thumbnail inside a segment", join(soi, segment(0xE1, jpegFile()), frame, scan, eoi), nil},
		{"the longest segment", join(soi, segment(0xFE, make([]byte, 65533)), frame, scan, eoi), nil},
		{"zip behind it", join(soi, frame, scan, eoi, []byte("PK\x03\x04")), nil},

		{"no frame, no scan", join(soi, eoi), probe.ErrBroken},
		{"no scan", join(soi, frame, eoi), probe.ErrBroken},
		{"no frame", join(soi, scan, eoi), probe.ErrBroken},
		{"a scan before the frame", join(soi, scan, frame, eoi), probe.ErrBroken},
		{"two frames", join(soi, frame, frame, scan, eoi), probe.ErrBroken},
		{"a second frame behind the scan", join(soi, frame, scan, sof(0xC0, 60000, 60000, 3), scan, eoi), probe.ErrBroken},
		{"two starts", join(soi, soi, frame, scan, eoi), probe.ErrBroken},
		{"another image in place of the end", join(soi, frame, scan, jpegFile()), probe.ErrBroken},
		{"only fill bytes", join(soi, []byte{0xFF, 0xFF, 0xFF, 0xFF}), probe.ErrTruncated},
		{"a last 0xFF", join(soi, frame, scan, []byte{0xFF}), probe.ErrTruncated},
		{"a segment past the end", join(soi, frame, scan, []byte{0xFF, 0xFE, 0xFF, 0xFF}, eoi), probe.ErrTruncated},
		{"html in it", join(soi, []byte("\xFF\xE0\x00\x10<html>")), probe.ErrTruncated},

		{"length 0", join(soi, []byte{0xFF, 0xE0, 0, 0}, frame, scan, eoi), nil},
		{"length 1", join(soi, []byte{0xFF, 0xE0, 0, 1}, frame, scan, eoi), nil},
		{"length 0 of a comment", join(soi, []byte{0xFF, 0xFE, 0, 0}, frame, scan, eoi), nil},
		{"length 0 of a table", join(soi, []byte{0xFF, 0xDB, 0, 0}, frame, scan, eoi), probe.ErrBroken},
		{"length 1 of a table", join(soi, []byte{0xFF, 0xC4, 0, 1}, frame, scan, eoi), probe.ErrBroken},
		{"length 2", join(soi, []byte{0xFF, 0xE0, 0, 2}, frame, scan, eoi), nil},

		{"width 0", join(soi, sof(0xC0, 0, 11, 3), scan, eoi), probe.ErrBroken},
		{"height 0", join(soi, sof(0xC0, 17, 0, 3), scan, eoi), probe.ErrType},
		{"height 0, told later", join(soi, sof(0xC0, 17, 0, 3), scan, segment(0xDC, be16(11)), eoi), probe.ErrType},
		{"width and height 0", join(soi, sof(0xC0, 0, 0, 3), scan, eoi), probe.ErrBroken},
		{"9 bits a sample", join(soi, edited(0, 9), scan, eoi), probe.ErrBroken},
		{"12 bits a sample", join(soi, edited(0, 12), scan, eoi), probe.ErrType},
		{"0 bits a sample", join(soi, edited(0, 0), scan, eoi), probe.ErrBroken},
		{"fewer components than bytes", join(soi, edited(5, 1), sos(1, 1), eoi), probe.ErrBroken},
		{"more components than bytes", join(soi, edited(5, 4), scan, eoi), probe.ErrBroken},
		{"no components", join(soi, sof(0xC0, 17, 11, 0), scan, eoi), probe.ErrType},
		{"1 component", join(soi, sof(0xC0, 17, 11, 1), sos(1, 1), eoi), nil},
		{"2 components", join(soi, sof(0xC0, 17, 11, 2), sos(2, 1), eoi), probe.ErrType},
		{"4 components", join(soi, sof(0xC0, 17, 11, 4), sos(4, 1), eoi), nil},
		{"5 components", join(soi, sof(0xC0, 17, 11, 5), sos(4, 1), eoi), probe.ErrType},
		{"255 components", join(soi, sof(0xC0, 17, 11, 255), sos(4, 1), eoi), probe.ErrType},
		{"sampling 4 x 4", join(soi, edited(7, 0x44), scan, eoi), nil},
		{"sampling 0 x 1", join(soi, edited(7, 0x01), scan, eoi), probe.ErrBroken},
		{"sampling 1 x 0", join(soi, edited(7, 0x10), scan, eoi), probe.ErrBroken},
		{"sampling 5 x 1", join(soi, edited(7, 0x51), scan, eoi), probe.ErrBroken},
		{"sampling 1 x 5 of the last component", join(soi, edited(13, 0x15), scan, eoi), probe.ErrBroken},
		{"quantisation table 3", join(soi, edited(8, 3), scan, eoi), nil},
		{"quantisation table 4", join(soi, edited(8, 4), scan, eoi), probe.ErrBroken},
		{"an empty frame header", join(soi, segment(0xC0), scan, eoi), probe.ErrBroken},
		{"a frame header of 5 bytes", join(soi, segment(0xC0, []byte{8, 0, 11, 0, 17}), scan, eoi), probe.ErrBroken},

		{"an empty scan header", join(soi, frame, segment(0xDA), eoi), probe.ErrBroken},
		{"a scan of no components", join(soi, frame, sos(0, 1), eoi), probe.ErrBroken},
		{"a scan of 1 component", join(soi, frame, sos(1, 1), eoi), nil},
		{"a scan of more components than there are", join(soi, frame, sos(4, 1), eoi), probe.ErrBroken},
		{"a scan header too short", join(soi, frame, segment(0xDA, []byte{3, 1, 0, 2, 0, 3, 0, 0, 63}), eoi), probe.ErrBroken},
		{"a scan header too long", join(soi, frame, segment(0xDA, []byte{3, 1, 0, 2, 0, 3, 0, 0, 63, 0, 0}), eoi), probe.ErrBroken},
	} {
		t.Run(c.name, func(t *testing.T) {
			check(t, c.data, probe.Limits{}, c.want)
			splits(t, c.data, probe.Limits{})
		})
	}
}

// Every code that may follow 0xFF, in the header and behind a scan.
func TestJPEGMarkers(t *testing.T) {
	const bare, long, broken, kind = 0, 1, 2, 3
	class := func(m byte) int {
		switch {
		case m == 0x00, m == 0x01, m == 0xFF, m >= 0xD0 && m <= 0xD7:
			return bare // stuffing, fill bytes, restarts: no segment
		case m == 0xC4, m == 0xCC, m == 0xDB, m == 0xDC, m == 0xDD, m >= 0xE0 && m <= 0xEF, m == 0xFE:
			return long
		case m >= 0xC3 && m <= 0xCF, m == 0xDE, m == 0xDF, m == 0xF7:
			return kind // lossless, hierarchical, arithmetic, JPEG-LS
		}
		return broken
	}
	frame, scan := sof(0xC0, 17, 11, 3), sos(3, 1, 2, 3)
	for i := range 256 {
		m := byte(i)
		if m >= 0xC0 && m <= 0xC2 || m == 0xD9 || m == 0xDA {
			continue // TestJPEG has them
		}
		part, want := segment(m), error(nil)
		switch class(m) {
		case bare:
			part = []byte{0xFF, m}
		case broken:
			want = probe.ErrBroken
		case kind:
			want = probe.ErrType
		}
		t.Run(fmt.Sprintf("0x%02X", m), func(t *testing.T) {
			check(t, join(soi, segment(0xE0), part, frame, scan, eoi), probe.Limits{}, want)
			check(t, join(soi, frame, scan, part, eoi), probe.Limits{}, want)
			check(t, join(soi, frame, scan, part, segment(0xC4), scan, eoi), probe.Limits{}, want)
		})
	}
}
