package main

import (
	"image"
	"math/big"
	"testing"

	"imgkeep/resize"
)

// The size of the output is exactly what one rounding gives, for every format
// and orientation, and never 0 or larger than the source.
func TestExactSizes(t *testing.T) {
	p := newPool(t, resize.Options{Workers: 2})
	for _, c := range []struct {
		format        string
		width, height int // as stored
		orientation   int
		size          string
		wantW, wantH  int
	}{
		// One limit.
		{"jpeg", 1600, 1200, 1, "150x", 200, 150},
		{"jpeg", 1600, 1200, 1, "x150", 150, 113}, // 112.5 goes up
		{"jpeg", 1600, 1200, 1, "x200", 200, 150},
		{"jpeg", 1201, 1600, 1, "250x", 188, 250}, // 187.66
		{"jpeg", 1999, 1333, 1, "500x", 750, 500}, // 749.81
		{"jpeg", 1999, 1333, 1, "x500", 500, 333}, // 333.42
		{"png", 640, 480, 1, "x333", 333, 250},    // 249.75
		{"png", 641, 479, 1, "250x", 335, 250},    // 334.55
		{"gif", 320, 200, 1, "150x", 240, 150},
		{"gif", 321, 201, 1, "x150", 150, 94}, // 93.93
		{"webp", 800, 600, 1, "250x", 333, 250},
		{"webp", 799, 601, 1, "x250", 250, 188}, // 188.05
		// Two limits: the tighter one binds, both are kept.
		{"jpeg", 1600, 1200, 1, "250x250", 250, 188}, // 187.5
		{"jpeg", 1200, 1600, 1, "250x250", 188, 250},
		{"jpeg", 1600, 1200, 1, "150x500", 200, 150},
		{"jpeg", 1600, 1200, 1, "500x150", 150, 113},
		{"png", 1000, 1000, 1, "250x150", 150, 150},
		{"png", 1000, 999, 1, "250x250", 250, 250}, // 249.75
		{"png", 1000, 997, 1, "250x250", 250, 249}, // 249.25
		{"gif", 500, 499, 1, "200x200", 200, 200},  // 199.6
		{"webp", 333, 500, 1, "200x200", 133, 200}, // 133.2
		// Never enlarged.
		{"jpeg", 100, 80, 1, "150x150", 100, 80},
		{"jpeg", 100, 80, 1, "80x100", 100, 80},
		{"jpeg", 100, 80, 1, "80x", 100, 80},
		{"png", 150, 150, 1, "150x150", 150, 150},
		{"png", 151, 151, 1, "150x150", 150, 150},
		{"png", 151, 1, 1, "150x150", 150, 1},
		{"gif", 1, 1, 1, "500x500", 1, 1},
		{"webp", 7, 3, 1, "x500", 7, 3},
		{"jpeg", 200, 500, 1, "500x150", 150, 375},
		// Never nothing.
		{"png", 10000, 1, 1, "150x150", 150, 1},
		{"png", 1, 10000, 1, "150x150", 1, 150},
		{"png", 10000, 1, 1, "150x", 10000, 1},
		{"jpeg", 1, 10000, 1, "x150", 1, 10000},
		{"jpeg", 10000, 2, 1, "x150", 150, 1},
		{"jpeg", 9999, 33, 1, "x150", 150, 1}, // 0.495
		{"gif", 3000, 2, 1, "x150", 150, 1},
		{"webp", 3, 3000, 1, "150x", 1, 150},
		{"png", 3, 2, 1, "1x1", 1, 1},
		{"png", 2000, 3, 1, "x1", 1, 1},
		// Turned by a quarter: the sides change places before the limits count.
		{"jpeg", 1600, 1200, 6, "150x", 113, 150},
		{"jpeg", 1600, 1200, 8, "x150", 150, 200},
		{"jpeg", 1600, 1200, 5, "250x250", 188, 250},
		{"jpeg", 1200, 1600, 7, "250x250", 250, 188},
		{"jpeg", 10000, 1, 6, "150x150", 1, 150},
		{"png", 640, 480, 6, "x333", 333, 444},
		// Mirrored or upside down: they do not.
		{"jpeg", 1600, 1200, 2, "150x", 200, 150},
		{"jpeg", 1600, 1200, 3, "x150", 150, 113},
		{"jpeg", 1999, 1333, 4, "500x", 750, 500},
		{"png", 641, 479, 3, "250x", 335, 250},
		// No orientation at all counts as 1, and so does any of a WebP, as in browsers.
		{"webp", 800, 600, 8, "250x", 333, 250},
		{"jpeg", 1600, 1200, 0, "150x", 200, 150},
		{"jpeg", 1600, 1200, 9, "150x", 200, 150},
	} {
		src := plain(t, p, c.format, c.width, c.height)
		if c.orientation != 1 {
			src = orient(t, c.format, src, c.width, c.height, c.orientation)
		}
		r := one(t, p, c.format, src, resize.Target{Size: size(t, c.size)})
		if r.Width != c.wantW || r.Height != c.wantH {
			t.Errorf("%s of %dx%d, orientation %d, to %s: says %dx%d, want %dx%d", c.format, c.width, c.height, c.orientation, c.size, r.Width, r.Height, c.wantW, c.wantH)
		}
		if b := pixels(t, p, r).Bounds(); b.Dx() != c.wantW || b.Dy() != c.wantH {
			t.Errorf("%s of %dx%d, orientation %d, to %s: is %dx%d, want %dx%d", c.format, c.width, c.height, c.orientation, c.size, b.Dx(), b.Dy(), c.wantW, c.wantH)
		}
		// The table itself, against exact fractions.
		w, h := c.width, c.height
		if c.orientation >= 5 && c.orientation <= 8 && c.format != "webp" {
			w, h = h, w
		}
		if ew, eh := exact(w, h, size(t, c.size)); ew != c.wantW || eh != c.wantH {
			t.Errorf("%dx%d to %s: the table wants %dx%d, the fractions %dx%d", w, h, c.size, c.wantW, c.wantH, ew, eh)
		}
	}
}

// exact fits with fractions: the smallest ratio of limit to side, at most 1,
// times the sides, rounded half up, at least 1.
func exact(w, h int, z resize.Size) (int, int) {
	ratio := big.NewRat(1, 1)
	for _, q := range []struct{ limit, side int }{{z.Width, w}, {z.Height, h}} {
		if r := big.NewRat(int64(q.limit), int64(q.side)); q.limit > 0 && r.Cmp(ratio) < 0 {
			ratio = r
		}
	}
	round := func(side int) int {
		r := new(big.Rat).Mul(ratio, big.NewRat(int64(side), 1))
		r.Add(r, big.NewRat(1, 2))
		return max(1, int(new(big.Int).Quo(r.Num(), r.Denom()).Int64()))
	}
	return round(w), round(h)
}

// plain is a gray picture of the format.
func plain(t testing.TB, p *resize.Pool, format string, w, h int) []byte {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, w, h))
	switch format {
	case "jpeg":
		return toJPEG(t, m)
	case "gif":
		return toGIF(t, still(m))
	case "webp":
		return toWebP(t, p, "png", toPNG(t, m))
	}
	return toPNG(t, m)
}

func orient(t testing.TB, format string, src []byte, w, h, orientation int) []byte {
	t.Helper()
	switch format {
	case "jpeg":
		return insertJPEG(src, 1, append([]byte("Exif\x00\x00"), exif(orientation)...))
	case "png":
		return insertPNG(src, "eXIf", exif(orientation))
	case "webp":
		return insertWebP(src, w, h, 0x08, "EXIF", exif(orientation))
	}
	t.Fatalf("%s has no orientation", format)
	return nil
}
