package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"imgkeep/bucket/probe"
	"imgkeep/resize"
)

// bmpFile is a BMP (Microsoft, Bitmap Storage) from its parts, 40 by 24 pixels large:
// header is the length of the information header, rest what stands between it and the
// pixels.
type bmpFile struct {
	header, bits, compression, colours int
	height                             int // 0: 24
	masks                              []uint32
	rest, pixels                       []byte
	reserved                           uint32
}

func (f bmpFile) bytes() []byte {
	le := binary.LittleEndian
	const width = 40
	height := 24
	if f.height != 0 {
		height = f.height
	}
	info := le.AppendUint32(nil, uint32(f.header))
	if f.header == 12 {
		for _, n := range []int{width, height, 1, f.bits} {
			info = le.AppendUint16(info, uint16(n))
		}
	} else {
		for _, n := range []int{width, height, 1 | f.bits<<16, f.compression, 0, 0, 0, f.colours, 0} {
			info = le.AppendUint32(info, uint32(int32(n)))
		}
		for _, m := range f.masks {
			info = le.AppendUint32(info, m)
		}
		info = append(info, make([]byte, max(0, f.header-len(info)))...)
	}
	info = append(info, f.rest...)
	b := le.AppendUint32([]byte("BM"), uint32(14+len(info)+len(f.pixels)))
	b = le.AppendUint32(b, f.reserved)
	b = le.AppendUint32(b, uint32(14+len(info)))
	return slices.Concat(b, info, f.pixels)
}

// bmpPictures are BMPs of every kind that browsers show.
func bmpPictures() map[string][]byte {
	const width, height = 40, 24
	rows := func(bits int) []byte {
		b := make([]byte, (width*bits+31)/32*4*height)
		for i := range b {
			b[i] = byte(i*i/7 + 3*i)
		}
		return b
	}
	palette := func(n, entry int) []byte {
		var b []byte
		for i := range n {
			b = append(b, []byte{byte(255 - i), byte(7 * i), byte(31 * i), 0x55}[:entry]...)
		}
		return b
	}
	all := map[string][]byte{}
	add := func(name string, f bmpFile) { all["bmp "+name] = f.bytes() }
	for _, bits := range []int{1, 2, 4, 8} {
		add(fmt.Sprintf("palette of %d bits", bits), bmpFile{header: 40, bits: bits, rest: palette(1<<bits, 4), pixels: rows(bits)})
		if bits != 2 {
			add(fmt.Sprintf("os/2, %d bits", bits), bmpFile{header: 12, bits: bits, rest: palette(1<<bits, 3), pixels: rows(bits)})
		}
	}
	add("few colours", bmpFile{header: 40, bits: 8, colours: 3, rest: palette(3, 4), pixels: rows(8)})
	add("more colours than bits", bmpFile{header: 40, bits: 4, colours: 300, rest: palette(16, 4), pixels: rows(4)})
	add("os/2, 24 bits", bmpFile{header: 12, bits: 24, pixels: rows(24)})
	add("os/2 of version 2", bmpFile{header: 64, bits: 8, rest: palette(256, 4), pixels: rows(8)})
	add("palette before 24 bits", bmpFile{header: 40, bits: 24, colours: 256, rest: palette(256, 4), pixels: rows(24)})
	add("gap before the pixels", bmpFile{header: 40, bits: 8, rest: append(palette(256, 4), make([]byte, 33)...), pixels: rows(8)})
	add("reserved bytes that are not 0", bmpFile{header: 40, bits: 24, pixels: rows(24), reserved: 0xCAFE})
	add("top row first", bmpFile{header: 40, bits: 24, height: -height, pixels: rows(24)})
	add("16 bits", bmpFile{header: 40, bits: 16, pixels: rows(16)})
	for _, header := range []int{40, 52, 56, 108, 124} {
		kind := func(name string, bits int, masks ...uint32) {
			f := bmpFile{header: header, bits: bits, compression: 3, masks: masks, pixels: rows(bits)}
			if header == 52 || header == 40 {
				f.masks = masks[:3]
			}
			add(fmt.Sprintf("%s in a header of %d", name, header), f)
		}
		kind("masks of 565", 16, 0xF800, 0x7E0, 0x1F, 0)
		kind("masks of 4444", 16, 0xF00, 0xF0, 0xF, 0xF000)
		kind("masks of 32 bits", 32, 0xFF, 0xFF00, 0xFF0000, 0)
		kind("masks with alpha", 32, 0xFF000000, 0xFF0000, 0xFF00, 0xFF)
		kind("masks of 10 bits", 32, 0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)
		add(fmt.Sprintf("32 bits in a header of %d", header), bmpFile{header: header, bits: 32, pixels: rows(32)})
	}
	add("masks for alpha behind a short header", bmpFile{header: 40, bits: 32, compression: 6, masks: []uint32{0xFF, 0xFF00, 0xFF0000, 0xFF000000}, pixels: rows(32)})
	unused := rows(32)
	for i := 3; i < len(unused); i += 4 {
		unused[i] = 0
	}
	add("32 bits whose alpha is 0", bmpFile{header: 108, bits: 32, compression: 3, masks: []uint32{0xFF0000, 0xFF00, 0xFF, 0xFF000000}, pixels: unused})
	add("32 bits whose fourth byte is 0", bmpFile{header: 40, bits: 32, pixels: unused})

	runs := []byte{40, 1, 0, 0, 10, 2, 0, 3, 7, 8, 9, 0, 5, 4, 0, 0, 0, 2, 5, 3, 12, 6, 0, 0, 255, 3, 0, 0, 0, 0, 0, 40}
	for i := range byte(40) {
		runs = append(runs, i)
	}
	add("runs of 8 bits", bmpFile{header: 40, bits: 8, compression: 1, rest: palette(256, 4), pixels: append(runs, 0, 0, 8, 9, 0, 1)})
	add("runs of 4 bits", bmpFile{header: 40, bits: 4, compression: 2, rest: palette(16, 4), pixels: []byte{
		40, 0x12, 0, 0, 7, 0x34, 0, 5, 0x56, 0x78, 0x90, 0, 0, 3, 0xAB, 0xC0, 0, 0, 0, 2, 5, 3, 12, 0xEF, 0, 0, 255, 0x21, 0, 1}})
	return all
}

// What is one of these is kept, has a size made, and is cut off without its last byte.
func TestBMP(t *testing.T) {
	p := newPool(t, resize.Options{})
	for name, src := range bmpPictures() {
		info, err := probe.Read(bytes.NewReader(src), probe.Limits{})
		if err != nil || info.Width != 40 || info.Height != 24 || info.Format != probe.BMP {
			t.Errorf("%s: %+v, %v", name, info, err)
			continue
		}
		if _, err := probe.Read(bytes.NewReader(src[:len(src)-1]), probe.Limits{}); err == nil {
			t.Errorf("%s: it is whole without its last byte", name)
		}
		if r := one(t, p, "bmp", src, resize.Target{Size: resize.Size{Height: 12}}); r.Width != 20 || r.Format != "webp" {
			t.Errorf("%s: %s of %d x %d", name, r.Format, r.Width, r.Height)
		}
		mustRefuse(t, p, "bmp", src[:len(src)-1])
	}
}
