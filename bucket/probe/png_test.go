package probe_test

import (
	"bytes"
	"fmt"
	"testing"

	"imgkeep/bucket/probe"
)

func TestPNG(t *testing.T) {
	sig := []byte(pngSignature)
	head := ihdr(17, 11, 8, 2)
	plte := chunk("PLTE", []byte{1, 2, 3})
	indexed := ihdr(17, 11, 8, 3)
	// edited is a chunk of which one byte is replaced and the CRC is not.
	edited := func(chunk []byte, offset int, b byte) []byte {
		c := bytes.Clone(chunk)
		c[offset] = b
		return c
	}
	header := func(data ...byte) []byte { return chunk("IHDR", be32(17), be32(11), data) }
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"plain", join(sig, head, idat, iend), nil},
		{"several IDAT", join(sig, head, idat, idat, idat, iend), nil},
		{"an empty IDAT", join(sig, head, chunk("IDAT"), iend), nil},
		{"ancillary chunks anywhere", join(sig, head, chunk("gAMA", be32(1)), idat, chunk("tEXt"), chunk("abCd"), iend), nil},
		{"html behind it", join(sig, head, idat, iend, []byte("<script>")), nil},
		{"html in a text chunk", join(sig, head, chunk("tEXt", []byte("<script>")), idat, iend), nil},

		{"no header", join(sig, idat, iend), probe.ErrBroken},
		{"a chunk before the header", join(sig, chunk("tEXt"), head, idat, iend), probe.ErrBroken},
		{"Apple's own kind", join(sig, chunk("CgBI", be32(0)), head, idat, iend), probe.ErrBroken},
		{"two headers", join(sig, head, head, idat, iend), probe.ErrBroken},
		{"a larger header behind the pixels", join(sig, head, idat, ihdr(60000, 60000, 8, 2), iend), probe.ErrBroken},
		{"no pixels", join(sig, head, iend), probe.ErrBroken},
		{"no end", join(sig, head, idat), probe.ErrTruncated},
		{"an end with data", join(sig, head, idat, chunk("IEND", []byte("x"))), probe.ErrBroken},
		{"an unknown critical chunk", join(sig, head, chunk("NEWS"), idat, iend), probe.ErrBroken},
		{"a type in lower case", join(sig, head, idat, chunk("idat"), iend), nil},
		{"a type with a digit", join(sig, head, chunk("tEX1"), idat, iend), probe.ErrBroken},
		{"a type with a space", join(sig, head, chunk("tEX "), idat, iend), probe.ErrBroken},
		{"a type of the last letter", join(sig, head, chunk("zZZz"), idat, iend), nil},
		{"a type below A", join(sig, head, chunk("t@Xt"), idat, iend), probe.ErrBroken},
		{"a type above Z", join(sig, head, chunk("t[Xt"), idat, iend), probe.ErrBroken},
		{"a type below a", join(sig, head, chunk("t`Xt"), idat, iend), probe.ErrBroken},
		{"a type above z", join(sig, head, chunk("t{Xt"), idat, iend), probe.ErrBroken},
		{"a type of zeroes", join(sig, head, make([]byte, 12), idat, iend), probe.ErrBroken},
		{"a type in 8 bits", join(sig, head, chunk("t\xC5Xt"), idat, iend), probe.ErrBroken},

		{"the longest chunk", join(sig, head, be32(1<<31-1), []byte("tEXt"), idat, iend), probe.ErrTruncated},
		{"longer than the longest chunk", join(sig, head, be32(1<<31), []byte("tEXt"), idat, iend), probe.ErrBroken},
		{"2^32-1 bytes", join(sig, head, be32(1<<32-1), []byte("IDAT"), idat, iend), probe.ErrBroken},

		{"a wrong CRC of IHDR", join(sig, wrongCRC(head), idat, iend), probe.ErrBroken},
		{"a wrong width", join(sig, edited(head, 8+3, 18), idat, iend), probe.ErrBroken},
		{"a wrong CRC of PLTE", join(sig, head, wrongCRC(plte), idat, iend), probe.ErrBroken},
		{"a wrong CRC of IDAT", join(sig, head, wrongCRC(idat), iend), probe.ErrBroken},
		{"a wrong CRC of the second IDAT", join(sig, head, idat, wrongCRC(idat), iend), probe.ErrBroken},
		{"a damaged pixel", join(sig, head, edited(idat, 9, 'X'), iend), probe.ErrBroken},
		{"a wrong CRC of IEND", join(sig, head, idat, wrongCRC(iend)), probe.ErrBroken},
		{"a wrong CRC of an ancillary chunk", join(sig, head, wrongCRC(chunk("tEXt", []byte("x"))), idat, iend), nil},

		{"an empty IHDR", join(sig, chunk("IHDR"), idat, iend), probe.ErrBroken},
		{"IHDR of 12 bytes", join(sig, header(8, 2, 0, 0), idat, iend), probe.ErrBroken},
		{"IHDR of 14 bytes", join(sig, header(8, 2, 0, 0, 0, 0), idat, iend), probe.ErrBroken},
		{"compression 1", join(sig, header(8, 2, 1, 0, 0), idat, iend), probe.ErrBroken},
		{"filter 1", join(sig, header(8, 2, 0, 1, 0), idat, iend), probe.ErrBroken},
		{"interlace 1", join(sig, header(8, 2, 0, 0, 1), idat, iend), nil},
		{"interlace 2", join(sig, header(8, 2, 0, 0, 2), idat, iend), probe.ErrBroken},
		{"width 0", join(sig, ihdr(0, 11, 8, 2), idat, iend), probe.ErrBroken},
		{"height 0", join(sig, ihdr(17, 0, 8, 2), idat, iend), probe.ErrBroken},
		{"width 2^31", join(sig, ihdr(1<<31, 1, 8, 2), idat, iend), probe.ErrBroken},
		{"height 2^31", join(sig, ihdr(1, 1<<31, 8, 2), idat, iend), probe.ErrBroken},
		{"width 2^32-1", join(sig, ihdr(1<<32-1, 1, 8, 2), idat, iend), probe.ErrBroken},

		{"a palette", join(sig, indexed, plte, idat, iend), nil},
		{"a palette of 256 colours", join(sig, indexed, chunk("PLTE", make([]byte, 768)), idat, iend), nil},
		{"a palette of 257 colours", join(sig, indexed, chunk("PLTE", make([]byte, 771)), idat, iend), probe.ErrBroken},
		{"a palette of no colours", join(sig, indexed, chunk("PLTE"), idat, iend), probe.ErrBroken},
		{"a palette of a colour and a third", join(sig, indexed, chunk("PLTE", be32(0)), idat, iend), probe.ErrBroken},
		{"no palette", join(sig, indexed, idat, iend), probe.ErrBroken},
		{"a palette too late", join(sig, indexed, idat, plte, iend), probe.ErrBroken},
		{"a palette that is only suggested", join(sig, head, plte, idat, iend), nil},
		{"a palette in a grey image", join(sig, ihdr(17, 11, 8, 0), plte, idat, iend), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			check(t, c.data, probe.Limits{}, c.want)
			splits(t, c.data, probe.Limits{})
		})
	}
}

// Table 11.1 of the standard: every other pair is broken.
func TestPNGDepths(t *testing.T) {
	allowed := map[[2]int]bool{
		{0, 1}: true, {0, 2}: true, {0, 4}: true, {0, 8}: true, {0, 16}: true,
		{2, 8}: true, {2, 16}: true,
		{3, 1}: true, {3, 2}: true, {3, 4}: true, {3, 8}: true,
		{4, 8}: true, {4, 16}: true,
		{6, 8}: true, {6, 16}: true,
	}
	plte := chunk("PLTE", []byte{1, 2, 3})
	for color := range 256 {
		for depth := range 18 {
			want := probe.ErrBroken
			if allowed[[2]int{color, depth}] {
				want = nil
			}
			check(t, join([]byte(pngSignature), ihdr(17, 11, byte(depth), byte(color)), plte, idat, iend), probe.Limits{}, want)
		}
	}
}

// Frames are counted, not believed.
func TestPNGFrames(t *testing.T) {
	actl := func(n int) []byte { return chunk("acTL", be32(n), be32(0)) }
	fctl, fdat := chunk("fcTL", make([]byte, 26)), chunk("fdAT", be32(1))
	head := join([]byte(pngSignature), ihdr(17, 11, 8, 2))
	for _, c := range []struct {
		name string
		data []byte
		want int
	}{
		{"still", join(head, idat, iend), 1},
		{"two", join(head, actl(2), fctl, idat, fctl, fdat, iend), 2},
		{"two beside the still image", join(head, actl(2), idat, fctl, fdat, fctl, fdat, iend), 2},
		{"three, one announced", join(head, actl(1), fctl, idat, fctl, fdat, fctl, fdat, iend), 3},
		{"one, 2^31 announced", join(head, actl(1<<31), fctl, idat, iend), 1},
		{"none, 2^31 announced", join(head, actl(1<<31), idat, iend), 1},
		{"a thousand", join(head, actl(1000), idat, bytes.Repeat(fctl, 1000), iend), 1000},
		{"announced behind the pixels", join(head, idat, actl(2), fctl, fdat, fctl, fdat, iend), 1},
		{"not announced", join(head, fctl, idat, fctl, fdat, iend), 1},
		{"announced with a wrong CRC", join(head, wrongCRC(actl(2)), fctl, idat, fctl, fdat, iend), 1},
		{"one with a wrong CRC", join(head, actl(2), fctl, idat, wrongCRC(fctl), fdat, iend), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			info, err := probe.Read(bytes.NewReader(c.data), probe.Limits{})
			if want := animated(probe.PNG, 17, 11, c.want); err != nil || info != want {
				t.Errorf("got %+v, %v; want %+v", info, err, want)
			}
		})
	}
}

// A bomb of a few bytes is known by its header.
func TestPNGBomb(t *testing.T) {
	for _, side := range []int{20_000, 50_000, 1<<31 - 1} {
		t.Run(fmt.Sprint(side), func(t *testing.T) {
			head := join([]byte(pngSignature), ihdr(side, side, 8, 2))
			check(t, head[:29], probe.Limits{MaxPixels: 50_000_000}, probe.ErrPixels)
			check(t, head[:28], probe.Limits{MaxPixels: 50_000_000}, probe.ErrTruncated)
		})
	}
}
