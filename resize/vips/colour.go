package vips

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"imgkeep/bucket/probe"
)

// A file may describe its colours by numbers: a PNG by gAMA and cHRM, or by cICP (W3C PNG,
// third edition, 11.3.2), an AVIF or HEIC by nclx (ISO/IEC 23091-2, which is ITU-T H.273).
// libvips knows only profiles, so it gets a profile with the same meaning. For PQ and HLG
// see bright.go.

// A colourSpace is three primaries and a white, as x and y of CIE 1931, and the function
// from values to light.
type colourSpace struct {
	primaries [4][2]float64
	light     func(float64) float64
	bright    *bright // instead of light
}

var (
	d65    = [2]float64{0.3127, 0.3290}
	bt709  = [4][2]float64{{0.64, 0.33}, {0.30, 0.60}, {0.15, 0.06}, d65}
	bt2020 = [4][2]float64{{0.708, 0.292}, {0.170, 0.797}, {0.131, 0.046}, d65}
	cicpXY = map[int][4][2]float64{ // ITU-T H.273, table 2
		1:  bt709,
		4:  {{0.67, 0.33}, {0.21, 0.71}, {0.14, 0.08}, {0.310, 0.316}},
		5:  {{0.64, 0.33}, {0.29, 0.60}, {0.15, 0.06}, d65},
		6:  {{0.630, 0.340}, {0.310, 0.595}, {0.155, 0.070}, d65},
		7:  {{0.630, 0.340}, {0.310, 0.595}, {0.155, 0.070}, d65},
		8:  {{0.681, 0.319}, {0.243, 0.692}, {0.145, 0.049}, {0.310, 0.316}},
		9:  bt2020,
		10: {{1, 0}, {0, 1}, {0, 0}, {1.0 / 3, 1.0 / 3}},
		11: {{0.680, 0.320}, {0.265, 0.690}, {0.150, 0.060}, {0.314, 0.351}},
		12: {{0.680, 0.320}, {0.265, 0.690}, {0.150, 0.060}, d65},
		22: {{0.630, 0.340}, {0.295, 0.605}, {0.155, 0.077}, d65},
	}
	cicpLight = map[int]func(float64) float64{ // table 3
		// For television, browsers use the curve of screens (BT.1886), not that of cameras.
		1: power(2.4), 6: power(2.4), 14: power(2.4), 15: power(2.4),
		4: power(2.2), 5: power(2.8), 7: light240M, 8: power(1), 13: lightSRGB,
		17: func(v float64) float64 { return 52.37 / 48 * math.Pow(v, 2.6) },
	}
)

// coded is the space of code points of H.273. Not ok: browsers do not know it. peak is as
// in bright.
func coded(primaries, transfer int, peak float64) (space colourSpace, ok bool) {
	xy, ok := cicpXY[primaries]
	if !ok {
		return colourSpace{}, false
	}
	const pq, hlg = 16, 18
	if transfer == pq || transfer == hlg {
		return colourSpace{primaries: xy, bright: &bright{hlg: transfer == hlg, peak: peak}}, true
	}
	light := cicpLight[transfer]
	return colourSpace{primaries: xy, light: light}, light != nil
}

// codedHEIF is the space of an AVIF or HEIC. Not ok: the file has a profile, or is sRGB.
func codedHEIF(c probe.Colour) (space colourSpace, ok bool) {
	const unsaid, bt709, srgb = 2, 1, 13
	primaries, transfer := c.Primaries, c.Transfer
	switch transfer {
	case 0, unsaid, 1, 6, 14, 15: // for these, browsers take sRGB instead of television's curve
		transfer = srgb
	}
	if primaries == 0 || primaries == unsaid {
		primaries = bt709
	}
	if c.Profile || primaries == bt709 && transfer == srgb {
		return colourSpace{}, false
	}
	return coded(primaries, transfer, c.Peak)
}

// light240M is the curve of SMPTE 240M.
func light240M(v float64) float64 {
	if v < 4*0.0228 {
		return v / 4
	}
	return math.Pow((v+0.1115)/1.1115, 1/0.45)
}

func power(gamma float64) func(float64) float64 {
	return func(v float64) float64 { return math.Pow(v, gamma) }
}

func lightSRGB(v float64) float64 {
	if v <= 0.04045 {
		return v / 12.92
	}
	return math.Pow((v+0.055)/1.055, 2.4)
}

// Parts of a PNG: its signature and IHDR; what every chunk has besides its data.
const pngHead, pngHeader, pngAround = 8, 25, 12

// colourChunks takes the chunks that describe colours out of the beginning of a PNG: out is
// what stands before and between them, rest what follows.
func colourChunks(src []byte) (chunks map[string][]byte, out, rest []byte) {
	const around = pngAround
	chunks, out, rest = map[string][]byte{}, slices.Clone(src[:pngHead+pngHeader]), src[pngHead+pngHeader:]
	for len(rest) >= around {
		n := int64(binary.BigEndian.Uint32(rest))
		kind := string(rest[4:8])
		if n+around > int64(len(rest)) || kind == "IDAT" {
			break
		}
		switch kind {
		case "gAMA", "cHRM", "cICP", "sRGB", "iCCP", "cLLI", "mDCV":
			if _, ok := chunks[kind]; !ok && crc32.ChecksumIEEE(rest[4:8+n]) == binary.BigEndian.Uint32(rest[8+n:]) {
				chunks[kind] = rest[8 : 8+n]
			}
		default:
			out = append(out, rest[:around+n]...)
		}
		rest = rest[around+n:]
	}
	return chunks, out, rest
}

// profileOf is the profile of a PNG, or one made of its numbers. nil: it has none, or none
// that is worth its memory.
func profileOf(src []byte) []byte {
	const most = 4 << 20
	chunks, _, _ := colourChunks(src)
	if space, ok := numbers(chunks); ok {
		return space.profile(false)
	}
	_, packed, _ := bytes.Cut(chunks["iCCP"], []byte{0})
	if len(packed) < 1 || chunks["sRGB"] != nil {
		return nil
	}
	z, err := zlib.NewReader(bytes.NewReader(packed[1:]))
	if err != nil {
		return nil
	}
	profile, err := io.ReadAll(io.LimitReader(z, most+1))
	if err != nil || len(profile) > most {
		return nil
	}
	return profile
}

// profiled gives a PNG a profile in place of its numbers, if it has any that apply. The
// result may be src.
func profiled(src []byte) []byte {
	if len(src) < pngHead+pngHeader+pngAround {
		return src
	}
	chunks, out, rest := colourChunks(src)
	space, ok := numbers(chunks)
	if !ok {
		return src
	}
	var packed bytes.Buffer
	packed.WriteString("numbers\x00\x00")
	z := zlib.NewWriter(&packed)
	_, _ = z.Write(space.profile(src[pngHead+8+9]&2 == 0)) // to memory
	_ = z.Close()
	chunk := binary.BigEndian.AppendUint32(nil, uint32(packed.Len()))
	chunk = append(append(chunk, "iCCP"...), packed.Bytes()...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	return slices.Concat(out[:pngHead+pngHeader], chunk, out[pngHead+pngHeader:], rest)
}

// numbers returns what chunks say about colours. Not ok: nothing, or a profile says it.
func numbers(chunks map[string][]byte) (colourSpace, bool) {
	if c := chunks["cICP"]; len(c) == 4 && c[2] == 0 && c[3] == 1 {
		if space, ok := coded(int(c[0]), int(c[1]), peak(chunks)); ok {
			return space, true
		}
	}
	gamma := chunks["gAMA"]
	if chunks["iCCP"] != nil || chunks["sRGB"] != nil || len(gamma) != 4 {
		return colourSpace{}, false
	}
	exponent := float64(binary.BigEndian.Uint32(gamma)) / 100_000
	if exponent < 0.1 || exponent > 10 {
		return colourSpace{}, false
	}
	space := colourSpace{primaries: bt709, light: power(1 / exponent)}
	if c := chunks["cHRM"]; len(c) == 32 {
		for i := range 8 {
			// White comes first there.
			space.primaries[(i/2+3)%4][i%2] = float64(binary.BigEndian.Uint32(c[4*i:])) / 100_000
		}
	}
	return space, space.sane()
}

// peak is bright's peak, for a PNG.
func peak(chunks map[string][]byte) float64 {
	if c := chunks["cLLI"]; len(c) == 8 && binary.BigEndian.Uint32(c) > 0 {
		return float64(binary.BigEndian.Uint32(c)) / 10_000
	}
	if c := chunks["mDCV"]; len(c) == 24 {
		return float64(binary.BigEndian.Uint32(c[16:])) / 10_000
	}
	return 0
}

// sane says whether primaries can produce colours at all.
func (s colourSpace) sane() bool {
	for _, p := range s.primaries {
		if p[0] < 0 || p[1] < 0.001 || p[0]+p[1] > 1.2 {
			return false
		}
	}
	a, b, c := s.primaries[0], s.primaries[1], s.primaries[2]
	return math.Abs((b[0]-a[0])*(c[1]-a[1])-(c[0]-a[0])*(b[1]-a[1])) > 0.01
}

type matrix [3][3]float64

func (m matrix) times(v [3]float64) (w [3]float64) {
	for i := range w {
		w[i] = m[i][0]*v[0] + m[i][1]*v[1] + m[i][2]*v[2]
	}
	return w
}

func (m matrix) inverse() (n matrix) {
	minor := func(i, j int) float64 {
		a, b, c, d := (i+1)%3, (i+2)%3, (j+1)%3, (j+2)%3
		return m[a][c]*m[b][d] - m[a][d]*m[b][c]
	}
	d := m[0][0]*minor(0, 0) + m[0][1]*minor(0, 1) + m[0][2]*minor(0, 2)
	for i := range 3 {
		for j := range 3 {
			n[j][i] = minor(i, j) / d
		}
	}
	return n
}

// d50 is the white point of profiles.
var d50 = [3]float64{0.9642, 1, 0.8249}

// matrix turns the space's lights into XYZ, by columns.
func (s colourSpace) matrix() (m matrix) {
	xyz := func(p [2]float64) [3]float64 { return [3]float64{p[0], p[1], 1 - p[0] - p[1]} }
	white := xyz(s.primaries[3])
	for j := range 3 {
		white[j] /= s.primaries[3][1]
		for i, v := range xyz(s.primaries[j]) {
			m[i][j] = v
		}
	}
	amounts := m.inverse().times(white)
	for i := range 3 {
		for j := range 3 {
			m[i][j] *= amounts[j]
		}
	}
	return m
}

// lights are the primaries in XYZ, with the white of profiles (by Bradford's matrix).
func (s colourSpace) lights() (all [3][3]float64) {
	m := s.matrix()
	bradford := matrix{{0.8951, 0.2664, -0.1614}, {-0.7502, 1.7135, 0.0367}, {0.0389, -0.0685, 1.0296}}
	from, to := bradford.times(m.times([3]float64{1, 1, 1})), bradford.times(d50)
	for j := range 3 {
		cone := bradford.times([3]float64{m[0][j], m[1][j], m[2][j]})
		for i := range cone {
			cone[i] *= to[i] / from[i]
		}
		all[j] = bradford.inverse().times(cone)
	}
	return all
}

// columns are the lights as a matrix.
func (s colourSpace) columns() (m matrix) {
	for j, v := range s.lights() {
		for i := range v {
			m[i][j] = v[i]
		}
	}
	return m
}

// A tag is an element of a profile.
type tag struct {
	name string
	data []byte
}

// profile is an ICC profile (ICC.1:2001-04) of the space, or of gray in it.
func (s colourSpace) profile(gray bool) []byte {
	be := binary.BigEndian
	light := s.light
	if s.bright != nil {
		if !gray {
			return profile("RGB ", tag{"A2B0", s.bright.table(s)})
		}
		light = s.bright.gray
	}
	curve := be.AppendUint32([]byte("curv\x00\x00\x00\x00"), 1024)
	for i := range 1024 {
		curve = be.AppendUint16(curve, uint16(math.Round(65535*min(max(light(float64(i)/1023), 0), 1))))
	}
	if gray {
		return profile("GRAY", tag{"kTRC", curve})
	}
	l := s.lights()
	return profile("RGB ", tag{"rXYZ", xyzTag(l[0])}, tag{"gXYZ", xyzTag(l[1])}, tag{"bXYZ", xyzTag(l[2])},
		tag{"rTRC", curve}, tag{"gTRC", curve}, tag{"bTRC", curve})
}

func xyzTag(v [3]float64) []byte {
	b := []byte("XYZ \x00\x00\x00\x00")
	for _, f := range v {
		b = binary.BigEndian.AppendUint32(b, uint32(int32(math.Round(f*65536))))
	}
	return b
}

// profile is the profile of a screen.
func profile(space string, tags ...tag) []byte {
	be := binary.BigEndian
	tags = append([]tag{{"desc", append([]byte("desc\x00\x00\x00\x00\x00\x00\x00\x02x\x00"), make([]byte, 78)...)},
		{"cprt", []byte("text\x00\x00\x00\x00\x00\x00\x00\x00")}, {"wtpt", xyzTag(d50)}}, tags...)
	head := make([]byte, 128)
	copy(head[8:], "\x02\x40\x00\x00mntr"+space+"XYZ ")
	copy(head[36:], "acsp")
	copy(head[68:], xyzTag(d50)[8:])
	table, data := be.AppendUint32(nil, uint32(len(tags))), []byte(nil)
	for _, t := range tags {
		table = be.AppendUint32(append(table, t.name...), uint32(128+4+12*len(tags)+len(data)))
		table = be.AppendUint32(table, uint32(len(t.data)))
		data = append(data, t.data...)
		data = append(data, make([]byte, (4-len(data)%4)%4)...)
	}
	all := slices.Concat(head, table, data)
	be.PutUint32(all, uint32(len(all)))
	return all
}
