package probe_test

import (
	"bytes"
	"crypto/sha256"
	"image"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"testing"

	"imgkeep/bucket/probe"
)

// BenchmarkScanner feeds large images in the pieces that a download brings. A
// download is hashed, too; the last figure is what that costs. The WebP figure
// says only that a chunk is skipped at once.
func BenchmarkScanner(b *testing.B) {
	noise := image.NewRGBA(image.Rect(0, 0, 1500, 1000))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise.Pix {
		noise.Pix[i] = uint8(r.Uint32())
	}
	indexed := image.NewPaletted(noise.Rect, palette.Plan9)
	for i := range indexed.Pix {
		indexed.Pix[i] = uint8(r.Uint32())
	}
	encoded := func(encode func(w *bytes.Buffer) error) []byte {
		var w bytes.Buffer
		if err := encode(&w); err != nil {
			b.Fatal(err)
		}
		return w.Bytes()
	}
	for _, bench := range []struct {
		name string
		data []byte
	}{
		{"jpeg", encoded(func(w *bytes.Buffer) error { return jpeg.Encode(w, noise, &jpeg.Options{Quality: 90}) })},
		{"png", encoded(func(w *bytes.Buffer) error { return png.Encode(w, noise) })},
		{"gif", encoded(func(w *bytes.Buffer) error { return gif.Encode(w, indexed, nil) })},
		{"webp", webp(vp8(1500, 1000, make([]byte, 1<<20)))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(bench.data)))
			b.ReportAllocs()
			for b.Loop() {
				s := probe.NewScanner(probe.Limits{})
				for p := bench.data; len(p) > 0; {
					n := min(len(p), 32<<10)
					if _, err := s.Write(p[:n]); err != nil {
						b.Fatal(err)
					}
					p = p[n:]
				}
				if _, err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(int64(len(noise.Pix)))
		for b.Loop() {
			sha256.Sum256(noise.Pix)
		}
	})
}
