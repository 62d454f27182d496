package vips

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"math"
	"testing"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
	_ "golang.org/x/image/webp"

	"imgkeep/resize"
)

// charts are pictures on which a bad filter shows. Each is as large as the
// halves, boxes and rests of a resizing need to have something to do.
var charts = []struct {
	name string
	at   func(x, y float64) (r, g, b float64) // from 0 to 255
}{
	{"lines", func(x, y float64) (r, g, b float64) {
		// Spokes of 1.5 pixels, black on white, at every angle.
		const step = math.Pi / 36
		x, y = x-chartW/2, y-chartH/2
		angle := math.Atan2(y, x)
		off := math.Hypot(x, y) * math.Abs(math.Sin(angle-math.Round(angle/step)*step))
		v := 255 * min(max(off-0.25, 0), 1)
		return v, v, v
	}},
	{"gradient", func(x, y float64) (r, g, b float64) {
		return 255 * x / chartW, 255 * y / chartH, 255 * (1 - (x+y)/(chartW+chartH))
	}},
	{"rings", func(x, y float64) (r, g, b float64) {
		// A zone plate: from a broad ring in the middle to one of two pixels at the
		// left and right edge. What is too fine for the result has to become gray.
		x, y = x-chartW/2, y-chartH/2
		v := 127.5 * (1 + math.Cos(math.Pi*(x*x+y*y)/chartW))
		return v, v, v
	}},
	{"noise", func(x, y float64) (r, g, b float64) {
		h := uint32(x)*0x9e3779b1 ^ uint32(y)*0x85ebca77
		h = (h ^ h>>15) * 0x2c1b3c6d
		h = (h ^ h>>12) * 0x297a2d39
		h ^= h >> 15
		return float64(h & 255), float64(h >> 8 & 255), float64(h >> 16 & 255)
	}},
	{"text", func(x, y float64) (r, g, b float64) { // chart writes on it
		if y < chartH/2 {
			return 255, 255, 255
		}
		return 20, 60, 140
	}},
}

const chartW, chartH = 900, 675

//go:norace
func chart(i int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, chartW, chartH))
	for y := range chartH {
		for x := range chartW {
			r, g, b := charts[i].at(float64(x), float64(y))
			m.SetNRGBA(x, y, color.NRGBA{toByte(r), toByte(g), toByte(b), 255})
		}
	}
	if charts[i].name == "text" {
		d := font.Drawer{Dst: m, Src: image.Black, Face: basicfont.Face7x13}
		for y := 15; y < chartH; y += 15 {
			if y > chartH/2 {
				d.Src = image.White
			}
			d.Dot = fixed.P(y%7, y)
			for n := y; d.Dot.X < fixed.I(chartW); n += 7 {
				d.DrawString(fmt.Sprintf("Sphinx of black quartz, judge my vow %d! ", n))
			}
		}
	}
	return m
}

// encoded is a picture as a source.
func encoded(t testing.TB, m image.Image, format string) []byte {
	t.Helper()
	switch format {
	case "png":
		return toPNG(t, m)
	case "jpeg":
		return toJPEG(t, m)
	}
	// Of a lossless source, a WebP might be lossless, too.
	r, err := decoder.Resize(toJPEG(t, m), request("jpeg", resize.Target{
		Size: resize.Size{Height: m.Bounds().Dy()}, Format: format, Quality: 92,
	}))
	if err != nil {
		t.Fatal(err)
	}
	return r[0].Data
}

// What is made looks like the ideal at its size, by structural similarity, 1
// being the same picture: without loss of the encoder's, and as it is served,
// by the default quality. Both is for the worst of several sizes from one
// decoding and of single ones, since they go different ways: JPEG and WebP are
// decoded smaller than they are, by filters that are not ours, 220 from the
// smallest JPEG that is decoded at half its size.
func TestQuality(t *testing.T) {
	type least struct{ resized, served float64 }
	limits := map[string]map[string]least{
		"jpeg": {"lines": {0.955, 0.94}, "gradient": {0.998, 0.995}, "rings": {0.75, 0.745}, "noise": {0.885, 0.79}, "text": {0.93, 0.91}},
		"png":  {"lines": {0.99, 0.99}, "gradient": {0.999, 0.999}, "rings": {0.90, 0.90}, "noise": {0.97, 0.97}, "text": {0.985, 0.985}},
		"webp": {"lines": {0.98, 0.955}, "gradient": {0.995, 0.987}, "rings": {0.905, 0.91}, "noise": {0.97, 0.875}, "text": {0.98, 0.965}},
	}
	for i, c := range charts {
		m := chart(i)
		for format, of := range limits {
			t.Run(c.name+"/"+format, func(t *testing.T) {
				want := of[c.name]
				resized, served := leastLikeness(t, encoded(t, m, format), format)
				report := t.Logf
				if resized < want.resized || served < want.served || want == (least{}) {
					report = t.Errorf
				}
				report("SSIM %.4f, as served %.4f; want at least %v", resized, served, want)
			})
		}
	}
}

// leastLikeness is the least of all sizes that are made, without an encoder's loss
// and as served.
func leastLikeness(t *testing.T, src []byte, of string) (resized, served float64) {
	t.Helper()
	resized, served = 1, 1
	full := flat(decode(t, src))
	references := map[int]plane{}
	for _, heights := range [][]int{{300, 100}, {220}, {100}} {
		// By jobs of their own: a JPEG that only JPEGs are made of goes another way.
		for worst, format := range map[*float64]string{&resized: "png", &served: ""} {
			var targets []resize.Target
			for _, h := range heights {
				targets = append(targets, resize.Target{Size: resize.Size{Height: h}, Format: format})
			}
			results, err := decoder.Resize(src, request(of, targets...))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				if _, ok := references[r.Height]; !ok {
					references[r.Height] = newReference(full, r.Width, r.Height).luma()
				}
				*worst = min(*worst, ssim(luma(decode(t, r.Data)), references[r.Height]))
			}
		}
	}
	return resized, served
}

// reference is what a picture ideally looks like at some size: all of it is
// decoded, weighted by a Lanczos filter with three lobes in floating point, and
// nothing is rounded. As in the resizer, and all that it is compared with, the
// values are taken as they are stored, not made linear to light before.
type reference [3]plane // red, green, blue, from 0 to 255

//go:norace
func newReference(m *image.RGBA64, w, h int) (r reference) {
	for c := range r {
		p := plane{m.Rect.Dx(), m.Rect.Dy(), make([]float64, m.Rect.Dx()*m.Rect.Dy())}
		for i := range p.v {
			p.v[i] = float64(uint16(m.Pix[8*i+2*c])<<8|uint16(m.Pix[8*i+2*c+1])) / 257
		}
		r[c] = lanczos(p, w, h)
		for i, v := range r[c].v {
			r[c].v[i] = min(max(v, 0), 255)
		}
	}
	return r
}

func (r reference) luma() plane {
	p := plane{r[0].w, r[0].h, make([]float64, len(r[0].v))}
	for i := range p.v {
		p.v[i] = lumaOf(r[0].v[i], r[1].v[i], r[2].v[i])
	}
	return p
}

// image is the reference as an encoder can take it.
func (r reference) image() *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, r[0].w, r[0].h))
	for i := range r[0].v {
		copy(m.Pix[4*i:], []uint8{toByte(r[0].v[i]), toByte(r[1].v[i]), toByte(r[2].v[i]), 255})
	}
	return m
}

// flat is a picture in one layout that is exact for all, from 0, 0.
func flat(m image.Image) *image.RGBA64 {
	out := image.NewRGBA64(image.Rectangle{Max: m.Bounds().Size()})
	draw.Draw(out, out.Rect, m, m.Bounds().Min, draw.Src)
	return out
}

func toByte(v float64) uint8 { return uint8(math.Round(min(max(v, 0), 255))) }

// plane is one value for each pixel, row by row.
type plane struct {
	w, h int
	v    []float64
}

//go:norace
func luma(m image.Image) plane {
	b := m.Bounds()
	p := plane{b.Dx(), b.Dy(), make([]float64, b.Dx()*b.Dy())}
	for i := range p.v {
		r, g, bl, _ := m.At(b.Min.X+i%p.w, b.Min.Y+i/p.w).RGBA()
		p.v[i] = lumaOf(float64(r), float64(g), float64(bl)) / 257
	}
	return p
}

// lumaOf weights as ITU-R BT.601 and JPEG do.
func lumaOf(r, g, b float64) float64 { return 0.299*r + 0.587*g + 0.114*b }

// turned is resized to width w, and turned on its side. One goroutine alone counts here,
// and in the others below: watched for races it takes ten times as long.
//
//go:norace
func turned(p plane, w int) plane {
	out := plane{p.h, w, make([]float64, p.h*w)}
	scale := float64(p.w) / float64(w)
	for x := range w {
		centre := (float64(x)+0.5)*scale - 0.5
		from, to := int(math.Ceil(centre-3*scale)), int(math.Floor(centre+3*scale))
		weights, sum := make([]float64, to-from+1), 0.0
		for i := range weights {
			d := (float64(from+i) - centre) / scale
			weights[i] = sinc(d) * sinc(d/3)
			sum += weights[i]
		}
		for y := range p.h {
			v := 0.0
			for i, weight := range weights {
				v += weight * p.v[y*p.w+min(max(from+i, 0), p.w-1)]
			}
			out.v[x*p.h+y] = v / sum
		}
	}
	return out
}

// lanczos resizes with a window of three lobes.
func lanczos(p plane, w, h int) plane {
	return turned(turned(p, w), h)
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// ssim is the mean structural similarity of two planes of one size: Wang, Bovik,
// Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to
// Structural Similarity", IEEE Transactions on Image Processing 13 (4), 2004,
// with its constants and its window of 11 by 11 pixels, a Gauss function of
// sigma 1.5. Windows that reach over the edge are left out. Nothing is shrunk
// before, as some programs do with large pictures. Planes that cannot be compared
// are as unlike as can be, -1.
//
//go:norace
func ssim(a, b plane) float64 {
	const c1, c2 = 0.01 * 255 * 0.01 * 255, 0.03 * 255 * 0.03 * 255
	if a.w != b.w || a.h != b.h || a.w < windowSide || a.h < windowSide {
		return -1
	}
	ma, mb := window(a.v, a.v, a.w, false), window(b.v, b.v, a.w, false)
	aa, bb, ab := window(a.v, a.v, a.w, true), window(b.v, b.v, a.w, true), window(a.v, b.v, a.w, true)
	total := 0.0
	for i, u := range ma {
		v := mb[i]
		total += (2*u*v + c1) * (2*(ab[i]-u*v) + c2) / ((u*u + v*v + c1) * (aa[i] - u*u + bb[i] - v*v + c2))
	}
	return total / float64(len(ma))
}

const windowSide = 11

// window is the weighted mean of each window of rows of w pixels: of a, or of a
// times b.
//
//go:norace
func window(a, b []float64, w int, times bool) []float64 {
	var weights [windowSide]float64
	sum := 0.0
	for i := range weights {
		d := float64(i - windowSide/2)
		weights[i] = math.Exp(-d * d / (2 * 1.5 * 1.5))
		sum += weights[i]
	}
	for i := range weights {
		weights[i] /= sum
	}
	h, to := len(a)/w, w-windowSide+1
	across := make([]float64, h*to)
	for y := range h {
		for x := range to {
			v := 0.0
			for i, weight := range weights {
				at := y*w + x + i
				if times {
					v += weight * a[at] * b[at]
				} else {
					v += weight * a[at]
				}
			}
			across[y*to+x] = v
		}
	}
	out := make([]float64, (h-windowSide+1)*to)
	for i, weight := range weights {
		for at := range out {
			out[at] += weight * across[i*to+at]
		}
	}
	return out
}

// Its three parts: lightness, contrast, and structure, which can be turned
// around.
func TestSSIM(t *testing.T) {
	const c1, c2, variance = 6.5025, 58.5225, 50.0 * 50
	flat := func(v float64) plane {
		return plane{20, 15, filled(20*15, func(int) float64 { return v })}
	}
	board := func(by float64) plane {
		return plane{20, 15, filled(20*15, func(i int) float64 { return 128 + by*float64(1-2*((i%20+i/20)%2)) })}
	}
	for name, c := range map[string]struct {
		a, b plane
		want float64
	}{
		"the same":           {board(50), board(50), 1},
		"lighter":            {flat(100), flat(150), (2*100*150 + c1) / (100*100 + 150*150 + c1)},
		"half the contrast":  {board(50), board(25), (2*variance/2 + c2) / (variance + variance/4 + c2)},
		"a negative":         {board(50), board(-50), (-2*variance + c2) / (2*variance + c2)},
		"nothing in it":      {board(50), flat(128), c2 / (variance + c2)},
		"of other sizes":     {board(50), plane{15, 20, board(50).v}, -1},
		"too small to judge": {plane{10, 30, flat(9).v}, plane{10, 30, flat(9).v}, -1},
	} {
		if got := ssim(c.a, c.b); math.Abs(got-c.want) > 1e-4 {
			t.Errorf("%s: %.5f, want %.5f", name, got, c.want)
		}
	}
}

func filled(n int, f func(i int) float64) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = f(i)
	}
	return v
}
