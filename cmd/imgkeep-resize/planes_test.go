package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"testing"

	"imgkeep/bucket/probe"
	"imgkeep/resize"
)

// planesTIFF is a TIFF (Adobe, TIFF 6.0) of one strip a plane, 32 by 16 pixels large, whose
// quarters differ in each sample. apart: each sample is a plane of its own. depths is
// what the field of depths says, and it stands before the directory where that is asked for.
func planesTIFF(samples, bits, photometric int, apart, depthsFirst bool, depths ...int) []byte {
	const w, h, short, long = 32, 16, 3, 4
	le := binary.LittleEndian
	value := func(b []byte, x, y, sample int) []byte {
		v := byte(40*sample + 60*(2*x/w) + 17*(2*y/h) + 30)
		if sample == samples-1 && (samples == 2 || samples == 4) && photometric != 5 {
			v = 255 // alpha
		}
		if bits == 16 {
			return append(b, v, v)
		}
		return append(b, v)
	}
	b := []byte("II*\x00\x00\x00\x00\x00")
	at := len(b)
	for _, d := range depths {
		b = le.AppendUint16(b, uint16(d))
	}
	for len(b) < at+8 {
		b = append(b, 0)
	}
	planes, strips := 1, []int{}
	if apart {
		planes = samples
	}
	for plane := range planes {
		strips = append(strips, len(b))
		for y := range h {
			for x := range w {
				for s := range samples {
					if !apart || s == plane {
						b = value(b, x, y, s)
					}
				}
			}
		}
	}
	table := func(values ...int) int {
		if len(values) == 1 {
			return values[0]
		}
		place := len(b)
		for _, v := range values {
			b = le.AppendUint32(b, uint32(v))
		}
		return place
	}
	var counts []int
	for range planes {
		counts = append(counts, w*h*bits/8*samples/planes)
	}
	places, lengths := table(strips...), table(counts...)
	le.PutUint32(b[4:], uint32(len(b)))
	if !depthsFirst {
		at = len(b) + 2 + 12*11 + 4
	}
	if len(depths) <= 2 {
		at = depths[0]
		if len(depths) == 2 {
			at |= depths[1] << 16
		}
	}
	planar := 1
	if apart {
		planar = 2
	}
	extra := 0
	fields := [][4]int{{256, short, 1, w}, {257, short, 1, h}, {258, short, len(depths), at}, {259, short, 1, 1}, {262, short, 1, photometric},
		{273, long, planes, places}, {277, short, 1, samples}, {278, short, 1, h}, {279, long, planes, lengths}, {284, short, 1, planar}}
	if (samples == 2 || samples == 4) && photometric != 5 {
		extra = 2
	}
	fields = append(fields, [4]int{338, short, 1, extra})
	b = le.AppendUint16(b, uint16(len(fields)))
	for _, f := range fields {
		b = le.AppendUint32(le.AppendUint32(le.AppendUint16(le.AppendUint16(b, uint16(f[0])), uint16(f[1])), uint32(f[2])), uint32(f[3]))
	}
	b = le.AppendUint32(b, 0)
	for _, d := range depths {
		b = le.AppendUint16(b, uint16(d))
	}
	return b
}

// Samples in planes of their own give the same picture as samples beside each other, or
// are refused.
func TestPlanes(t *testing.T) {
	p := newPool(t, resize.Options{})
	same := func(n, v int) []int {
		all := make([]int, n)
		for i := range all {
			all[i] = v
		}
		return all
	}
	for _, c := range []struct {
		samples, photometric int
		refused              bool
	}{{1, 1, false}, {2, 1, true}, {3, 2, false}, {4, 2, false}, {4, 5, false}} {
		for _, bits := range []int{8, 16} {
			name := fmt.Sprintf("%d samples of %d bits, photometric interpretation %d", c.samples, bits, c.photometric)
			beside := planesTIFF(c.samples, bits, c.photometric, false, false, same(c.samples, bits)...)
			apart := planesTIFF(c.samples, bits, c.photometric, true, false, same(c.samples, bits)...)
			_, err := probe.Read(bytes.NewReader(apart), probe.Limits{})
			if (err != nil) != c.refused {
				t.Errorf("%s: %v", name, err)
			}
			if c.refused {
				mustRefuse(t, p, "tiff", apart)
				continue
			}
			var pictures [2]image.Image
			for i, src := range [][]byte{beside, apart} {
				pictures[i] = pixels(t, p, one(t, p, "tiff", src, resize.Target{Size: huge, Format: "png"}))
			}
			checkQuarters(t, name, pictures[1], quarters(pictures[0]))
		}
	}
}

// Depths are read where they stand: before the directory, too.
func TestDepths(t *testing.T) {
	p := newPool(t, resize.Options{})
	for _, first := range []bool{false, true} {
		for _, c := range []struct {
			samples, photometric int
			depths               []int
			ok                   bool
		}{
			{3, 2, []int{8, 8, 8}, true}, {3, 2, []int{8, 8, 16}, false}, {3, 2, []int{12, 12, 12}, false}, {3, 2, []int{4, 4, 4}, false},
			{3, 2, []int{1, 1, 1}, false}, {4, 5, []int{8, 8, 8, 8}, true}, {4, 5, []int{8, 8, 8, 4}, false},
		} {
			src := planesTIFF(c.samples, 8, c.photometric, false, first, c.depths...)
			if c.ok {
				one(t, p, "tiff", src, resize.Target{Size: huge})
			} else {
				mustRefuse(t, p, "tiff", src)
			}
			if _, err := probe.Read(bytes.NewReader(src), probe.Limits{}); !first && (err == nil) != c.ok {
				t.Errorf("%v: %v", c.depths, err)
			}
		}
	}
}
