package vips

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/h2non/bimg"

	"imgkeep/resize"
	"imgkeep/scripts/patience"
)

var decoder *Decoder

func TestMain(m *testing.M) {
	var err error
	if decoder, err = Start(nil, []string{"avif"}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func request(format string, targets ...resize.Target) *resize.Request {
	return &resize.Request{Format: format, Targets: targets, MaxPixels: 1e9, AnimationPixels: 1e9}
}

// scene looks enough like a photo: smooth parts, edges at all angles, texture.
func scene(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	state := uint32(7)
	for y := range h {
		for x := range w {
			state = state*1664525 + 1013904223
			u, v := float64(x)/float64(w), float64(y)/float64(h)
			wave := math.Sin(40*u*u+25*v) * math.Cos(30*v*v-11*u)
			edge := math.Copysign(40, math.Sin(3+9*u+17*v))
			grain := float64(state>>24)/16 - 8
			c := func(base float64) uint8 { return uint8(min(max(base+60*wave+edge+grain, 0), 255)) }
			m.SetNRGBA(x, y, color.NRGBA{c(90 + 80*u), c(120), c(90 + 80*v), 255})
		}
	}
	return m
}

func toPNG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func toJPEG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 92}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decode(t testing.TB, data []byte) image.Image {
	t.Helper()
	m, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Nothing is shifted, by whatever the box filter has to cut at the edge: the
// halves of a picture meet in the middle, at every size.
func TestNothingShifts(t *testing.T) {
	for _, w := range []int{1000, 1001, 1002, 1003, 1007, 1013, 1999} {
		m := image.NewGray(image.Rect(0, 0, w, w))
		for i := range w * w {
			if i%w >= (w+1)/2 || w%2 == 1 && i%w == w/2 {
				m.Pix[i] = 255
			}
		}
		src := toPNG(t, m)
		for _, to := range []int{500, 334, 250, 200, 150, 99, 40, 10} {
			r, err := decoder.Resize(src, request("png", resize.Target{Size: resize.Size{Height: to}}))
			if err != nil {
				t.Fatal(err)
			}
			got := decode(t, r[0].Data)
			sum := 0.0
			for x := range to {
				v, _, _, _ := got.At(x, to/2).RGBA()
				sum += float64(v) / 0xffff
			}
			// The white part, in pixels of the source.
			if have, want := sum*float64(w)/float64(to), float64(w-w/2); math.Abs(have-want) > 0.4*float64(w)/float64(to) {
				t.Errorf("%d to %d: %.1f pixels are white, want %.1f", w, to, have, want)
			}
		}
	}
}

// libvips' own list of loaders ends with ours, for bimg too.
func TestLoadersAreBlocked(t *testing.T) {
	for name, src := range map[string]string{
		"svg":  `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>`,
		"ppm":  "P3\n1 1\n255\n255 0 0\n",
		"pdf":  "%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
		"tiff": "II*\x00\x08\x00\x00\x00\x00\x00",
	} {
		if _, err := bimg.NewImage([]byte(src)).Resize(1, 1); err == nil {
			t.Errorf("%s was loaded", name)
		}
		for _, declared := range decoder.Formats() {
			_, err := decoder.Resize([]byte(src), request(declared, resize.Target{Size: resize.Size{Height: 1}}))
			if _, ok := errors.AsType[*resize.ImageError](err); !ok {
				t.Errorf("%s as %s: %v", name, declared, err)
			}
		}
	}
	// To write a format is not to read it.
	r, err := decoder.Resize(toPNG(t, scene(20, 20)), request("png", resize.Target{Size: resize.Size{Height: 10}, Format: "avif"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bimg.NewImage(r[0].Data).Resize(1, 1); err == nil {
		t.Error("an AVIF was loaded")
	}
	if _, err := bimg.NewImage(toPNG(t, scene(20, 20))).Resize(10, 10); err != nil {
		t.Errorf("png: %v", err)
	}
}

// A request that the pool would not send is our own error, not the image's.
func TestBadRequest(t *testing.T) {
	for _, src := range []string{"", "x"} {
		_, err := decoder.Resize([]byte(src), request("svg", resize.Target{Size: resize.Size{Height: 1}}))
		if _, ok := errors.AsType[*resize.ImageError](err); ok || err == nil {
			t.Errorf("got %v", err)
		}
	}
}

// No image leaves memory behind.
func TestNoLeak(t *testing.T) {
	good, bad := toJPEG(t, scene(400, 300)), toJPEG(t, scene(400, 300))[:5000]
	targets := []resize.Target{{Size: resize.Size{Height: 100}}, {Size: resize.Size{Height: 50}, Format: "webp"}, {Size: resize.Size{Height: 30}, Format: "gif"}, {Size: resize.Size{Height: 20}, Format: "png"}}
	run := func(n int) {
		for range n {
			if _, err := decoder.Resize(good, request("jpeg", targets...)); err != nil {
				t.Fatal(err)
			}
			if _, err := decoder.Resize(bad, request("jpeg", targets...)); err == nil || !strings.Contains(err.Error(), "broken") {
				t.Fatal(err)
			}
		}
	}
	run(5)
	before := bimg.VipsMemory()
	run(20)
	// A thread of libvips may give back a little later what it has worked with.
	for deadline := time.Now().Add(patience.Of(t)); ; time.Sleep(time.Millisecond) {
		after := bimg.VipsMemory()
		if after.Memory <= before.Memory && after.Allocations <= before.Allocations {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("libvips held %+v, and holds %+v", before, after)
		}
	}
}

func FuzzStripWebP(f *testing.F) {
	r, err := decoder.Resize(toPNG(f, scene(20, 20)), request("png", resize.Target{Size: resize.Size{Height: 10}, Format: "webp"}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r[0].Data)
	f.Add([]byte("RIFF\x00\x00\x00\x00WEBPVP8X\x00\x00\x00\x00EXIF\x03\x00\x00\x00abc\x00ALPH\x01\x00\x00\x00a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := len(data)
		if out := stripWebP(data); len(out) > n {
			t.Errorf("%d bytes became %d", n, len(out))
		} else if again := stripWebP(bytes.Clone(out)); !bytes.Equal(out, again) {
			t.Errorf("%q becomes %q when stripped again", out, again)
		}
	})
}

// What libvips notes of an image that it reads is not told of the next one, which it cannot read.
func TestErrorIsOfItsImage(t *testing.T) {
	odd := flatBlocks(16, 16, 0, 3, [2]int{1, 1}, [2]int{1, 1})
	odd = slices.Insert(odd, 2+2+67, 1, 2, 3) // between two segments
	if _, err := decoder.Resize(odd, request("jpeg", resize.Target{Size: resize.Size{Height: 8}})); err != nil {
		t.Fatal(err)
	}
	png := toPNG(t, scene(20, 20))
	_, err := decoder.Resize(png[:60], request("png", resize.Target{Size: resize.Size{Height: 8}}))
	if err == nil || strings.Contains(err.Error(), "JPEG") {
		t.Errorf("a broken PNG: %v", err)
	}
}
