package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"maps"
	"slices"
	"strings"
	"testing"

	"imgkeep/resize"
)

// The most that a size may differ from what Chromium shows, in all channels of all
// pixels: 255 is the difference of black and white.
const (
	meanLimit  = 3.0
	blockLimit = 6.0 // mean of a block of 8 by 8 pixels
)

// TestLikeChromium holds sizes against what Chromium shows of the same file, for pictures of
// every kind that these tests make. scripts/colours prints what it finds.
func TestLikeChromium(t *testing.T) {
	p := newPool(t, resize.Options{Sources: extraFormats, Outputs: []string{"avif"}})
	pictures := map[string][]byte{}
	maps.Copy(pictures, gifPictures())
	maps.Copy(pictures, bmpPictures())
	maps.Copy(pictures, apngPictures(t))
	maps.Copy(pictures, numberPictures(t))
	maps.Copy(pictures, brightPictures(t))
	maps.Copy(pictures, jpegPictures(t, p))
	maps.Copy(pictures, webpPictures(t, p))
	maps.Copy(pictures, avifPictures(t, p))
	maps.Copy(pictures, jxlPictures(t))
	shown := inChromium(t, pictures)
	for _, name := range slices.Sorted(maps.Keys(pictures)) {
		format, _, _ := strings.Cut(name, " ")
		want := shown[name]
		if want == nil && format == "jxl" {
			t.Logf("%s: this chromium does not show JPEG XL", name)
			continue
		}
		results, err := p.Resize(t.Context(), bytes.NewReader(pictures[name]), int64(len(pictures[name])),
			resize.Job{Format: format, Targets: []resize.Target{{Size: huge, Format: "png"}}})
		if want == nil || err != nil {
			if (want == nil) != (err != nil) {
				t.Errorf("%s: chromium shows %v, and we say %v", name, want != nil, err)
			}
			continue
		}
		d, err := difference(pixels(t, p, results[0]), want)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		t.Logf("%s: %v", name, d)
		if d.mean > meanLimit || d.worst > blockLimit {
			t.Errorf("%s: %v; at most %v, and %v in a block", name, d, meanLimit, blockLimit)
		}
	}
}

// A distance is how much two pictures differ, and where most.
type distance struct {
	mean, worst float64
	at          image.Point // of the worst block
	got, want   color.NRGBA // in its middle
}

func (d distance) String() string {
	return fmt.Sprintf("%.2f of 255, worst block %.2f at %v: %v, want %v", d.mean, d.worst, d.at, d.got, d.want)
}

// difference compares pictures as they look on white and on black.
func difference(got image.Image, want *image.NRGBA) (distance, error) {
	b := want.Bounds()
	if got.Bounds() != b {
		return distance{}, fmt.Errorf("%v, want %v", got.Bounds(), b)
	}
	var d distance
	var sum float64
	for y := 0; y < b.Dy(); y += 8 {
		for x := 0; x < b.Dx(); x += 8 {
			block, n := 0, 0
			for v := y; v < min(y+8, b.Dy()); v++ {
				for u := x; u < min(x+8, b.Dx()); u++ {
					g, w := at(got, u, v), want.NRGBAAt(u, v)
					for _, c := range [...][2]uint8{{g.R, w.R}, {g.G, w.G}, {g.B, w.B}} {
						for _, ground := range []int{0, 255} {
							on := func(c, a uint8) int { return (int(c)*int(a) + ground*(255-int(a))) / 255 }
							block += abs(on(c[0], g.A) - on(c[1], w.A))
						}
					}
					n += 6
				}
			}
			sum += float64(block)
			if mean := float64(block) / float64(n); mean > d.worst {
				d.worst, d.at = mean, image.Pt(x, y)
				mid := image.Pt(min(x+4, b.Dx()-1), min(y+4, b.Dy()-1))
				d.got, d.want = at(got, mid.X, mid.Y), want.NRGBAAt(mid.X, mid.Y)
			}
		}
	}
	d.mean = sum / float64(6*b.Dx()*b.Dy())
	return d, nil
}

func abs(n int) int { return max(n, -n) }

// gifPictures are GIFs whose canvas is not covered, and other things that encoders do.
func gifPictures() map[string][]byte {
	screen := func(w, h int) []byte {
		return []byte{'G', 'I', 'F', '8', '9', 'a', byte(w), 0, byte(h), 0, 0x81, 0, 0, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255}
	}
	// frame is one of a single colour; its codes are of 3 bits, and all are preceded by a
	// clearing code, so that they do not grow.
	frame := func(x, y, w, h int, colour byte) []byte {
		b := []byte{0x2c, byte(x), 0, byte(y), 0, byte(w), 0, byte(h), 0, 0, 2}
		var bits, n uint
		var data []byte
		put := func(code uint) {
			for bits, n = bits|code<<n, n+3; n >= 8; bits, n = bits>>8, n-8 {
				data = append(data, byte(bits))
			}
		}
		for range w * h {
			put(4)
			put(uint(colour))
		}
		put(5)
		put(0)
		put(0)
		for chunk := range slices.Chunk(data, 255) {
			b = append(append(b, byte(len(chunk))), chunk...)
		}
		return append(b, 0)
	}
	control := func(disposal, clear byte) []byte {
		flags := disposal << 2
		if clear < 4 {
			flags |= 1
		}
		return []byte{0x21, 0xf9, 4, flags, 10, 0, clear, 0}
	}
	const none = 255
	end := []byte{0x3b}
	return map[string][]byte{
		"gif whose canvas no frame covers":              slices.Concat(screen(32, 24), frame(8, 8, 8, 8, 1), end),
		"gif that is disposed of to the background":     slices.Concat(screen(32, 24), control(2, none), frame(8, 8, 8, 8, 1), control(0, none), frame(0, 0, 4, 4, 2), end),
		"gif that is disposed of to what was before":    slices.Concat(screen(32, 24), control(3, none), frame(8, 8, 8, 8, 1), control(0, none), frame(0, 0, 4, 4, 2), end),
		"gif with a transparent colour":                 slices.Concat(screen(32, 24), control(0, 1), frame(8, 8, 8, 8, 1), end),
		"gif whose screen is 0 x 0":                     slices.Concat(screen(0, 0), frame(0, 0, 16, 8, 3), end),
		"gif whose screen is smaller than its frame":    slices.Concat(screen(8, 8), frame(0, 0, 16, 12, 3), end),
		"gif whose frame reaches beyond its screen":     slices.Concat(screen(16, 16), frame(8, 8, 16, 12, 3), end),
		"gif with zeros behind its frame":               slices.Concat(screen(16, 16), frame(0, 0, 16, 16, 3), []byte{0}, end),
		"gif with zeros between its frames":             slices.Concat(screen(16, 16), control(0, 9), frame(0, 0, 16, 16, 3), []byte{0}, control(0, 9), frame(0, 0, 16, 16, 3), end),
		"gif without a trailer":                         slices.Concat(screen(16, 16), frame(0, 0, 16, 16, 3)),
		"gif without a colour table":                    slices.Concat([]byte("GIF89a\x10\x00\x10\x00\x00\x00\x00"), frame(0, 0, 16, 16, 3), end),
		"gif with a colour beyond its table":            slices.Concat([]byte("GIF89a\x10\x00\x10\x00\x80\x00\x00\x00\xff\x00\xff\x00\x00"), frame(0, 0, 16, 16, 3), end),
		"gif whose background is a colour of its table": slices.Concat(screen(16, 16)[:11], []byte{2, 0}, screen(16, 16)[13:], frame(4, 4, 8, 8, 1), end),
	}
}
