package main

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"os"
	"testing"

	"imgkeep/resize"
)

// ICC profiles, written here by ICC.1:2001-04, and what a colour management system
// should make of colours under them.

type xyz [3]float64

// rgbSpace is a colour space of three lights, in XYZ adapted to D50.
type rgbSpace struct {
	light [3]xyz
	gamma float64
}

var (
	d50      = xyz{0.9642, 1, 0.8249}
	displayP = rgbSpace{[3]xyz{{0.51512, 0.24120, -0.00105}, {0.29198, 0.69225, 0.04189}, {0.15710, 0.06657, 0.78407}}, 563.0 / 256}
	adobeRGB = rgbSpace{[3]xyz{{0.60974, 0.31111, 0.01947}, {0.20528, 0.62567, 0.06087}, {0.14919, 0.06322, 0.74457}}, 563.0 / 256}
	srgb     = rgbSpace{[3]xyz{{0.43607, 0.22249, 0.01392}, {0.38515, 0.71687, 0.09708}, {0.14307, 0.06061, 0.71410}}, 0}
)

// tag is an element of a profile.
type tag struct {
	name string
	data []byte
}

func profile(class, space, pcs string, tags ...tag) []byte {
	tags = append([]tag{
		{"desc", append([]byte("desc\x00\x00\x00\x00\x00\x00\x00\x05test\x00"), make([]byte, 4+4+2+1+67)...)},
		{"cprt", []byte("text\x00\x00\x00\x00none\x00\x00\x00\x00")},
		{"wtpt", xyzType(d50)},
	}, tags...)
	head := make([]byte, 128)
	copy(head[8:], "\x02\x40\x00\x00"+class+space+pcs)
	copy(head[36:], "acsp")
	copy(head[68:], xyzType(d50)[8:])
	table := binary.BigEndian.AppendUint32(nil, uint32(len(tags)))
	var data []byte
	for _, tag := range tags {
		for len(data)%4 != 0 {
			data = append(data, 0)
		}
		table = append(table, tag.name...)
		table = binary.BigEndian.AppendUint32(table, uint32(128+4+12*len(tags)+len(data)))
		table = binary.BigEndian.AppendUint32(table, uint32(len(tag.data)))
		data = append(data, tag.data...)
	}
	all := append(append(head, table...), data...)
	binary.BigEndian.PutUint32(all, uint32(len(all)))
	return all
}

func xyzType(v xyz) []byte {
	b := []byte("XYZ \x00\x00\x00\x00")
	for _, f := range v {
		b = binary.BigEndian.AppendUint32(b, uint32(int32(f*65536+0.5)))
	}
	return b
}

// curve is one gamma, or that of sRGB, which needs a table, for 0.
func curve(gamma float64) []byte {
	b := []byte("curv\x00\x00\x00\x00")
	if gamma > 0 {
		b = binary.BigEndian.AppendUint32(b, 1)
		b = binary.BigEndian.AppendUint16(b, uint16(gamma*256+0.5))
		return append(b, 0, 0)
	}
	b = binary.BigEndian.AppendUint32(b, 1024)
	for i := range 1024 {
		b = binary.BigEndian.AppendUint16(b, uint16(srgb.linear(float64(i)/1023)*65535+0.5))
	}
	return b
}

func (s rgbSpace) profile() []byte {
	return profile("mntr", "RGB ", "XYZ ",
		tag{"rXYZ", xyzType(s.light[0])}, tag{"gXYZ", xyzType(s.light[1])}, tag{"bXYZ", xyzType(s.light[2])},
		tag{"rTRC", curve(s.gamma)}, tag{"gTRC", curve(s.gamma)}, tag{"bTRC", curve(s.gamma)})
}

// wideProfile is that of a display with the primaries of Display P3.
func wideProfile() []byte { return displayP.profile() }

// grayProfile is that of gray pixels with a gamma.
func grayProfile(gamma float64) []byte {
	return profile("mntr", "GRAY", "XYZ ", tag{"kTRC", curve(gamma)})
}

func (s rgbSpace) linear(v float64) float64 {
	switch {
	case s.gamma > 0:
		return math.Pow(v, s.gamma)
	case v <= 0.04045:
		return v / 12.92
	}
	return math.Pow((v+0.055)/1.055, 2.4)
}

// toSRGB converts a colour of the space.
func (s rgbSpace) toSRGB(c color.NRGBA) color.NRGBA {
	var v xyz
	for j, n := range []uint8{c.R, c.G, c.B} {
		for i := range v {
			v[i] += s.light[j][i] * s.linear(float64(n)/255)
		}
	}
	out := fromXYZ(v)
	out.A = c.A
	return out
}

// fromXYZ is a colour in sRGB, by Cramer's rule.
func fromXYZ(v xyz) color.NRGBA {
	det := func(a, b, c xyz) float64 {
		return a[0]*(b[1]*c[2]-b[2]*c[1]) - b[0]*(a[1]*c[2]-a[2]*c[1]) + c[0]*(a[1]*b[2]-a[2]*b[1])
	}
	l := srgb.light
	d := det(l[0], l[1], l[2])
	encode := func(v float64) uint8 {
		if v = min(max(v, 0), 1); v <= 0.0031308 {
			v *= 12.92
		} else {
			v = 1.055*math.Pow(v, 1/2.4) - 0.055
		}
		return uint8(v*255 + 0.5)
	}
	return color.NRGBA{encode(det(v, l[1], l[2]) / d), encode(det(l[0], v, l[2]) / d), encode(det(l[0], l[1], v) / d), 255}
}

// fromLab is a colour in sRGB (CIE 1976 L*a*b* of D50).
func fromLab(l, a, b float64) color.NRGBA {
	fy := (l + 16) / 116
	inverse := func(t float64) float64 {
		if t > 6.0/29 {
			return t * t * t
		}
		return 3 * 36 / 841.0 * (t - 4.0/29)
	}
	return fromXYZ(xyz{d50[0] * inverse(fy+a/500), d50[1] * inverse(fy), d50[2] * inverse(fy-b/200)})
}

// inks are what each ink of a press of these tests changes, in L*, a* and b*: not
// what the inks of any real press do, so that it shows whether they are used.
var inks = [4][3]float64{{-20, 50, 20}, {-25, -45, 30}, {-10, 10, -60}, {-40, 0, 0}}

// lut8 is what a table of type lut8 (ICC.1:2001-04, 6.5.8) from so many channels to three, with
// two points for each, has before these points.
func lut8(channels int) []byte {
	b := append([]byte("mft1\x00\x00\x00\x00"), uint8(channels), 3, 2, 0)
	for i := range 9 {
		b = binary.BigEndian.AppendUint32(b, uint32([]int{65536, 0, 0, 0}[i%4]))
	}
	return append(b, identities(channels)...)
}

// identities are curves of 256 points that change nothing.
func identities(n int) (b []byte) {
	for range n {
		for i := range 256 {
			b = append(b, uint8(i))
		}
	}
	return b
}

// printProfile is a profile of that press: a table of type lut8 with two points for
// each ink. Since the inks only add up, all ways to interpolate agree.
func printProfile() []byte {
	b := lut8(4)
	for corner := range 16 { // the first ink changes last
		lab := [3]float64{100, 0, 0}
		for ink := range 4 {
			if corner>>(3-ink)&1 == 1 {
				for i := range lab {
					lab[i] += inks[ink][i]
				}
			}
		}
		b = append(b, uint8(lab[0]*2.55+0.5), uint8(lab[1]+128.5), uint8(lab[2]+128.5))
	}
	b = append(b, identities(3)...)
	return profile("prtr", "CMYK", "Lab ", tag{"A2B0", b}, tag{"A2B1", b})
}

func printed(c color.CMYK) color.NRGBA {
	lab := [3]float64{100, 0, 0}
	for ink, n := range []uint8{c.C, c.M, c.Y, c.K} {
		for i := range lab {
			lab[i] += inks[ink][i] * float64(n) / 255
		}
	}
	return fromLab(lab[0], lab[1], lab[2])
}

// A profile is applied before it is dropped: the numbers change, so that the
// colour stays.
func TestProfile(t *testing.T) {
	p := newPool(t, resize.Options{})
	in := color.NRGBA{200, 100, 60, 255}
	wide, large := displayP.toSRGB(in), adobeRGB.toSRGB(in)
	if near(wide, in, 8) || near(large, in, 8) || near(wide, large, 3) {
		t.Fatalf("%v, %v and %v are too near to each other to show anything", in, wide, large)
	}
	m := filled(120, 80, in)
	for format, src := range map[string][]byte{"jpeg": toJPEG(t, m), "png": toPNG(t, m)} {
		for name, c := range map[string]struct {
			profile []byte
			want    color.NRGBA
		}{
			"Display P3":     {wideProfile(), wide},
			"Adobe RGB":      {adobeRGB.profile(), large},
			"sRGB":           {srgb.profile(), in},
			"cut off":        {wideProfile()[:200], in},
			"nonsense":       {bytes.Repeat([]byte("x"), 400), in},
			"of gray pixels": {bytes.Replace(wideProfile(), []byte("mntrRGB "), []byte("mntrGRAY"), 1), in},
			"of a link":      {bytes.Replace(wideProfile(), []byte("mntrRGB "), []byte("linkRGB "), 1), in},
		} {
			for _, z := range []resize.Size{{Height: 33}, huge} {
				got := at(pixels(t, p, one(t, p, format, withICC(t, format, src, c.profile), resize.Target{Size: z})), 10, 10)
				if !near(got, c.want, 3) {
					t.Errorf("%s, profile %s, %v: %v, want %v", format, name, z, got, c.want)
				}
			}
		}
	}
	// With alpha beside it, and with 16 bits; also where a preset does more.
	m = filled(120, 80, color.NRGBA{200, 100, 60, 128})
	deep := image.NewNRGBA64(image.Rect(0, 0, 120, 80))
	for i := range 120 * 80 {
		deep.Set(i%120, i/120, in)
	}
	half := wide
	half.A = 128
	for name, c := range map[string]struct {
		src  image.Image
		want color.NRGBA
	}{"alpha": {m, half}, "16 bits": {deep, wide}} {
		src := withICC(t, "png", toPNG(t, c.src), wideProfile())
		for _, target := range []resize.Target{{Size: resize.Size{Height: 33}}, {Preset: &resize.Preset{Width: 40, Height: 40, Fit: "cover", Rotate: 90}}, {Preset: &resize.Preset{Trim: 1}}} {
			if got := at(pixels(t, p, one(t, p, "png", src, target)), 10, 10); !near(got, c.want, 4) {
				t.Errorf("%s, %+v: %v, want %v", name, target, got, c.want)
			}
		}
	}
}

// Gray pixels have profiles of their own.
func TestGrayProfile(t *testing.T) {
	p := newPool(t, resize.Options{})
	m := image.NewGray(image.Rect(0, 0, 120, 80))
	for i := range m.Pix {
		m.Pix[i] = 100
	}
	for format, src := range map[string][]byte{"jpeg": toJPEG(t, m), "png": toPNG(t, m)} {
		for gamma, want := range map[float64]uint8{1: 168, 1.8: 119, 3: 69} {
			light := math.Pow(100.0/255, gamma)
			if c := fromXYZ(xyz{d50[0] * light, light, d50[2] * light}); max(c.R, want)-min(c.R, want) > 2 {
				t.Fatalf("gamma %v: the table says %d, the formula %d", gamma, want, c.R)
			}
			for _, z := range []resize.Size{{Height: 33}, huge} {
				got := at(pixels(t, p, one(t, p, format, withICC(t, format, src, grayProfile(gamma)), resize.Target{Size: z})), 10, 10)
				if !near(got, color.NRGBA{want, want, want, 255}, 3) {
					t.Errorf("%s, gamma %v, %v: %v, want %d", format, gamma, z, got, want)
				}
			}
		}
	}
}

// Four inks are what their profile says, and not what libvips takes inks for.
func TestCMYKProfile(t *testing.T) {
	p := newPool(t, resize.Options{})
	src, err := os.ReadFile("testdata/cmyk.jpg")
	if err != nil {
		t.Fatal(err)
	}
	m, err := jpeg.Decode(bytes.NewReader(src))
	if err != nil {
		t.Fatal(err)
	}
	four, ok := m.(*image.CMYK)
	if !ok {
		t.Fatalf("testdata/cmyk.jpg is a %T", m)
	}
	src = withICC(t, "jpeg", src, printProfile())
	for _, z := range []resize.Size{{Height: 16}, huge} {
		for _, format := range []string{"jpeg", "png", "webp"} {
			r := one(t, p, "jpeg", src, resize.Target{Size: z, Format: format, Quality: 98})
			got := pixels(t, p, r)
			for i := range 4 {
				fx, fy := 1+2*(i%2), 1+2*(i/2)
				want := printed(four.CMYKAt(fx*four.Rect.Dx()/4, fy*four.Rect.Dy()/4))
				if c := at(got, fx*r.Width/4, fy*r.Height/4); !near(c, want, 10) {
					t.Errorf("%s at %v: quarter %d is %v, want %v", format, z, i, c, want)
				}
			}
		}
	}
}
