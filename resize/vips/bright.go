package vips

import (
	"encoding/binary"
	"math"
	"sort"
)

// PQ (SMPTE ST 2084) and HLG (ARIB STD-B67) encode pictures with lights brighter than white
// (ITU-R BT.2100). sRGB cannot hold them, so they are tone-mapped as in Chromium: by the
// operator of SMPTE ST 2094-50 for a picture without metadata of its own, on a screen that
// shows nothing brighter than white. Paper white becomes half as bright, and brighter
// lights share the rest.

// A bright says how code values become light in these encodings.
type bright struct {
	hlg bool
	// peak is the brightest light of the picture, in cd/m². 0: unknown.
	peak float64
}

const (
	paperWhite = 203.0  // cd/m² (ITU-R BT.2408)
	usualPeak  = 1000.0 // of screens that pictures are mastered on; always that of HLG
)

// sceneHLG is the light in front of the camera of one HLG value, relative to 1.
func sceneHLG(v float64) float64 {
	const a, b, c = 0.17883277, 0.28466892, 0.55991073
	if v <= 0.5 {
		return v * v / 3
	}
	return (math.Exp((v-c)/a) + b) / 12
}

// screenPQ is the light of a PQ value, relative to white.
func screenPQ(v float64) float64 {
	const m1, m2, c1, c2, c3 = 2610.0 / 16384, 2523.0 / 32, 3424.0 / 4096, 2413.0 / 128, 2392.0 / 128
	p := math.Pow(v, 1/m2)
	return 10_000 / paperWhite * math.Pow(max(p-c1, 0)/(c2-c3*p), 1/m1)
}

// light is that of a value: on a screen, relative to white; for HLG, in front of the
// camera.
func (b *bright) light(v float64) float64 {
	if b.hlg {
		return sceneHLG(v)
	}
	return screenPQ(v)
}

// screen turns lights into those of a screen, relative to white. luminance is the weight of
// each.
func (b *bright) screen(l, luminance [3]float64) [3]float64 {
	if !b.hlg {
		return l
	}
	y := luminance[0]*l[0] + luminance[1]*l[1] + luminance[2]*l[2]
	if y <= 0 {
		return [3]float64{}
	}
	gain := math.Pow(y, 0.2) * usualPeak / paperWhite
	return [3]float64{gain * l[0], gain * l[1], gain * l[2]}
}

// most is the brightest light, relative to white.
func (b *bright) most() float64 {
	if b.peak > 0 && !b.hlg {
		return b.peak / paperWhite
	}
	return usualPeak / paperWhite
}

// shown is the shown light of a pixel whose brightest channel is x: linear up to white,
// then along a quadratic curve up to the peak. A picture that is never brighter than white
// stays as it is.
func (b *bright) shown(x float64) float64 {
	most := b.most()
	if most <= 1 {
		return x
	}
	white := 1 - 0.5*min(math.Log(most)/math.Log(usualPeak/paperWhite), 1)
	switch {
	case x <= 1:
		return white * x
	case x >= most:
		return 1
	}
	const kappa = 0.65
	midX, midY := 1-kappa+kappa/white, (1-kappa)*white+kappa
	// x = (1-t)² + 2t(1-t)midX + t²most
	p, q := 1-2*midX+most, midX-1
	t := (x - 1) / (q + math.Sqrt(q*q+p*(x-1)))
	return (1-t)*(1-t)*white + 2*t*(1-t)*midY + t*t
}

// gray is the light of a gray value.
func (b *bright) gray(v float64) float64 {
	l := b.light(v)
	return min(b.shown(b.screen([3]float64{l, l, l}, [3]float64{1, 0, 0})[0]), 1)
}

// table is the element of a profile that turns values of the space into XYZ (lut16Type,
// ICC.1:2001-04, 6.5.7): curves, a three-dimensional table, and curves again. The first
// curves map values to about the sRGB values of what is shown, and the last undo a cube
// root, so that the table is nearly linear.
func (b *bright) table(s colourSpace) []byte {
	const in, grid, out = 1024, 33, 4096 // entries
	be := binary.BigEndian
	even := func(v float64) float64 { return 0.5*math.Pow(b.gray(v), 1/2.2) + 0.5*v }
	code := func(v float64) uint16 { return uint16(math.Round(65535 * min(max(v, 0), 1))) }

	t := append([]byte("mft2\x00\x00\x00\x00\x03\x03"), grid, 0)
	for i := range 9 { // the unit matrix
		one := uint32(0)
		if i%4 == 0 {
			one = 1 << 16
		}
		t = be.AppendUint32(t, one)
	}
	t = be.AppendUint16(be.AppendUint16(t, in), out)
	for range 3 {
		for i := range in {
			t = be.AppendUint16(t, code(even(float64(i)/(in-1))))
		}
	}
	var nodes [grid]float64 // the lights of the values on the grid
	for i := range nodes {
		const steps = 1 << 16
		nodes[i] = b.light(float64(sort.Search(steps, func(n int) bool { return even(float64(n)/steps) >= float64(i)/(grid-1) })) / steps)
	}
	xyz := s.columns()
	own := s.matrix()
	srgb := colourSpace{primaries: bt709}.columns()
	wide := colourSpace{primaries: bt2020}.matrix().inverse()
	for i := range grid * grid * grid { // the last number changes first
		l := b.screen([3]float64{nodes[i/grid/grid], nodes[i/grid%grid], nodes[i%grid]}, own[1])
		in2020 := wide.times(own.times(l))
		if x := max(in2020[0], in2020[1], in2020[2]); x > 0 {
			gain := b.shown(x) / x
			l = [3]float64{gain * l[0], gain * l[1], gain * l[2]}
		}
		v := xyz.times(l)
		if b.most() < 1 { // and so it is clipped at white, each channel separately
			l = srgb.inverse().times(v)
			v = srgb.times([3]float64{min(max(l[0], 0), 1), min(max(l[1], 0), 1), min(max(l[2], 0), 1)})
		}
		for _, f := range v {
			t = be.AppendUint16(t, code(math.Cbrt(f)))
		}
	}
	for range 3 {
		for i := range out {
			v := float64(i) / (out - 1)
			t = be.AppendUint16(t, uint16(math.Round(0x8000*v*v*v))) // 0x8000 is 1
		}
	}
	return t
}
