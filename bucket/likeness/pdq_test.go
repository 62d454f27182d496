package likeness

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// drawn is a picture of soft shapes and some noise, the same for the same seed on any
// machine: sums of whole numbers only.
func drawn(width, height, bands int, seed uint64) Pixels {
	r := rand.New(rand.NewPCG(seed, 19))
	p := Pixels{Width: width, Height: height, Bands: bands, Data: make([]byte, width*height*bands)}
	type blob struct{ x, y, size, colour int }
	blobs := make([]blob, 40)
	for i := range blobs {
		blobs[i] = blob{r.IntN(width), r.IntN(height), 1 + r.IntN(max(width, height)/5+1), r.IntN(1 << 24)}
	}
	for y := range height {
		for x := range width {
			sum := [3]int{90 + 60*y/height, 90 + 60*x/width, 120}
			for _, b := range blobs {
				far := max(x-b.x, b.x-x) + max(y-b.y, b.y-y)
				if far < b.size {
					for band := range 3 {
						sum[band] += (b.colour>>(8*band)&255 - 128) * (b.size - far) / b.size
					}
				}
			}
			for band := range bands {
				p.Data[p.at(x, y)+band] = byte(min(max(sum[band]+r.IntN(9), 0), 255))
			}
		}
	}
	return p
}

// Each line of testdata/reference.txt is what Meta's program says of a drawn picture.
func TestReference(t *testing.T) {
	file, err := os.Open("testdata/reference.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := 0
	for lines := bufio.NewScanner(file); lines.Scan(); n++ {
		var width, height, bands, quality int
		var seed uint64
		var hashes [turns]string
		args := []any{&width, &height, &bands, &seed, &quality}
		for i := range hashes {
			args = append(args, &hashes[i])
		}
		if _, err := fmt.Sscan(lines.Text(), args...); err != nil {
			t.Fatalf("line %d: %v", n+1, err)
		}
		got := exact(drawn(width, height, bands, seed))
		if got.Quality != quality || got.Hash().String() != hashes[0] {
			t.Errorf("%d x %d x %d, seed %d: quality %d, %s; the reference has %d, %s", width, height, bands, seed, got.Quality, got.Hash(), quality, hashes[0])
		}
		// The order of turns is ours.
		var own []string
		for _, h := range got.Hashes {
			own = append(own, h.String())
		}
		if slices.Sort(own); !slices.Equal(own, slices.Sorted(slices.Values(hashes[:]))) {
			t.Errorf("%d x %d x %d, seed %d: turned and mirrored: %s; the reference has %s", width, height, bands, seed, own, hashes)
		}
	}
	if n < 30 {
		t.Errorf("%d lines of the reference", n)
	}
}

// mirrored, and turned below, are what the numbers of turns mean, done to pixels.
func turn(p Pixels, n int) Pixels {
	out := Pixels{Width: p.Width, Height: p.Height, Bands: p.Bands, Data: make([]byte, len(p.Data))}
	if n&transpose != 0 {
		out.Width, out.Height = p.Height, p.Width
	}
	for y := range p.Height {
		for x := range p.Width {
			u, v := x, y
			if n&mirrorX != 0 {
				u = p.Width - 1 - x
			}
			if n&mirrorY != 0 {
				v = p.Height - 1 - y
			}
			if n&transpose != 0 {
				u, v = v, u
			}
			copy(out.Data[out.at(u, v):][:p.Bands], p.Data[p.at(x, y):][:p.Bands])
		}
	}
	return out
}

// The eight hashes of a picture are those of it turned and mirrored, but for what the
// grid of samples does to them.
func TestTurns(t *testing.T) {
	p := drawn(256, 320, 3, 1)
	all := exact(p)
	for n := range turns {
		own := exact(turn(p, n)).Hash()
		if d := own.Distance(all.Hashes[n]); d > Within {
			t.Errorf("turn %d: %d bits from the hash of the turned pixels", n, d)
		}
		for m, h := range all.Hashes {
			if d := own.Distance(h); m != n && d < 64 {
				t.Errorf("turn %d is %d bits from turn %d", n, d, m)
			}
		}
	}
}

// What is too small, or too flat, matches nothing.
func TestMatches(t *testing.T) {
	flat := Pixels{Width: 100, Height: 100, Bands: 1, Data: bytes.Repeat([]byte{200}, 10000)}
	for name, c := range map[string]struct {
		p    Pixels
		want bool
	}{
		"a picture":        {drawn(400, 300, 3, 2), true},
		"gray":             {drawn(400, 300, 1, 2), true},
		"5 pixels high":    {drawn(400, MinSide, 3, 2), true},
		"4 pixels high":    {drawn(400, MinSide-1, 3, 2), false},
		"4 pixels wide":    {drawn(MinSide-1, 400, 3, 2), false},
		"one colour":       {flat, false},
		"nothing":          {Pixels{}, false},
		"two bands":        {Pixels{Width: 100, Height: 100, Bands: 2, Data: make([]byte, 20000)}, false},
		"fewer bytes":      {Pixels{Width: 100, Height: 100, Bands: 3, Data: make([]byte, 29999)}, false},
		"negative":         {Pixels{Width: -1, Height: -1, Bands: 1, Data: []byte{1}}, false},
		"64 by 64 samples": {drawn(64, 64, 3, 2), true},
	} {
		if got := Of(c.p); got.Matches() != c.want {
			t.Errorf("%s: matches %v, of quality %d", name, got.Matches(), got.Quality)
		}
	}
	for quality, want := range map[int]bool{MinQuality - 1: false, MinQuality: true} {
		if got := (Print{Quality: quality}).Matches(); got != want {
			t.Errorf("quality %d: matches %v", quality, got)
		}
	}
}

// framed is a picture with bars of a colour around it.
func framed(p Pixels, left, top, right, bottom int, colour byte) Pixels {
	out := Pixels{Width: left + p.Width + right, Height: top + p.Height + bottom, Bands: p.Bands}
	out.Data = bytes.Repeat([]byte{colour}, out.Width*out.Height*out.Bands)
	for y := range p.Height {
		copy(out.Data[out.at(left, top+y):], p.Data[p.at(0, y):p.at(p.Width, y)])
	}
	return out
}

func TestTrim(t *testing.T) {
	p := drawn(200, 150, 3, 3)
	noisy := framed(p, 0, 40, 0, 40, 0)
	for i := range noisy.Data[:noisy.at(0, 40)] {
		noisy.Data[i] = byte(i % even)
	}
	louder := framed(p, 0, 40, 0, 0, 0)
	louder.Data[louder.at(100, 0)] = even + 1
	flat := Pixels{Width: 50, Height: 40, Bands: 3, Data: make([]byte, 6000)}
	soft := Pixels{Width: 50, Height: 200, Bands: 1}
	for y := range soft.Height {
		soft.Data = append(soft.Data, bytes.Repeat([]byte{byte(y)}, 50)...)
	}
	object := Pixels{Width: 100, Height: 100, Bands: 1, Data: bytes.Repeat([]byte{255}, 10000)}
	for y := 30; y < 70; y++ {
		for x := 50 - min(y-30, 70-y); x < 50+min(y-30, 70-y); x++ { // which begins at a point
			object.Data[object.at(x, y)] = byte(x * y)
		}
	}
	blended := framed(p, 0, 40, 0, 40, 0)
	for x := range blended.at(1, 0) * blended.Width {
		blended.Data[blended.at(0, 40)+x] /= 4
	}
	thin := framed(drawn(MinSide-1, 100, 3, 4), 30, 0, 30, 0, 0)
	for name, c := range map[string]struct {
		p             Pixels
		width, height int
	}{
		"nothing to trim": {p, 200, 150},
		"letterboxed":     {framed(p, 0, 40, 0, 40, 0), 200, 150},
		"pillarboxed":     {framed(p, 30, 0, 30, 0, 255), 200, 150},
		"framed":          {framed(p, 10, 20, 30, 40, 255), 200, 150},
		"one bar":         {framed(p, 0, 0, 0, 1, 0), 200, 150},
		"bars with noise": {noisy, 200, 150},
		"too much noise":  {louder, 200, 190},
		"one colour":      {flat, 50, 40},
		"a soft edge":     {soft, 50, 200},
		"an object":       {object, 100, 100},
		"a blended edge":  {blended, 200, 150},
		"too thin a rest": {thin, 60 + MinSide - 1, 100},
		"no pixels":       {Pixels{Width: 10, Height: 10, Bands: 3}, 10, 10},
	} {
		if got := trim(c.p); got.Width != c.width || got.Height != c.height {
			t.Errorf("%s: %d x %d is left, want %d x %d", name, got.Width, got.Height, c.width, c.height)
		}
	}
	if got := trim(framed(p, 10, 20, 30, 40, 255)); !bytes.Equal(got.Data, p.Data) {
		t.Error("what is left is not what was framed")
	}
}

// A picture that is trimmed has the print of the picture without its bars.
func TestTrimmedPrint(t *testing.T) {
	p := drawn(300, 200, 3, 5)
	if a, b := Of(p), Of(framed(p, 0, 50, 0, 50, 0)); a != b {
		t.Errorf("letterboxed: %d bits apart", a.Hash().Distance(b.Hash()))
	}
}

func TestHashText(t *testing.T) {
	h := exact(drawn(100, 100, 3, 6)).Hash()
	for _, s := range []string{h.String(), strings.ToUpper(h.String())} {
		if got, err := ParseHash(s); err != nil || got != h {
			t.Errorf("%s: %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", h.String()[1:], h.String() + "0", strings.Repeat("g", 64), strings.Repeat("é", 32)} {
		if got, err := ParseHash(s); err == nil {
			t.Errorf("%q is read as %s", s, got)
		}
	}
}

func TestPrintBytes(t *testing.T) {
	p := exact(drawn(100, 100, 3, 7))
	if got, err := ParsePrint(p.Bytes()); err != nil || got != p {
		t.Errorf("%v, %v", got, err)
	}
	over := p.Bytes()
	over[0] = 101
	for name, b := range map[string][]byte{"none": nil, "short": p.Bytes()[1:], "long": append(p.Bytes(), 0), "quality over 100": over} {
		if _, err := ParsePrint(b); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

// Whatever pixels there are, there is a print, and the same one again.
func FuzzOf(f *testing.F) {
	f.Add(uint16(5), uint16(5), uint8(3), []byte("pixels"))
	f.Add(uint16(64), uint16(64), uint8(1), []byte{0, 255})
	f.Add(uint16(300), uint16(1), uint8(3), []byte{})
	f.Fuzz(func(t *testing.T, width, height uint16, bands uint8, seed []byte) {
		p := Pixels{Width: int(width % 600), Height: int(height % 600), Bands: int(bands % 5)}
		p.Data = make([]byte, p.Width*p.Height*p.Bands)
		for i := range p.Data {
			if len(seed) > 0 {
				p.Data[i] = seed[i%len(seed)] + byte(i/len(seed))
			}
		}
		got := Of(p)
		if got.Quality < 0 || got.Quality > 100 || got != Of(p) {
			t.Errorf("%d x %d x %d: quality %d", p.Width, p.Height, p.Bands, got.Quality)
		}
		if min(p.Width, p.Height) < MinSide && got != (Print{}) {
			t.Errorf("%d x %d has a print", p.Width, p.Height)
		}
		if again, err := ParsePrint(got.Bytes()); err != nil || again != got {
			t.Errorf("%v", err)
		}
	})
}

func BenchmarkOf(b *testing.B) {
	p := drawn(512, 512, 3, 8)
	b.ReportAllocs()
	for b.Loop() {
		if !exact(p).Matches() {
			b.Fatal("no print")
		}
	}
}

// The transform's rows are orthogonal, each of length 1.
func TestCosines(t *testing.T) {
	for i := range cosines {
		for j := range cosines {
			sum, want := 0.0, 0.0
			for k := range side {
				sum += float64(cosines[i][k]) * float64(cosines[j][k])
			}
			if i == j {
				want = 1
			}
			if math.Abs(sum-want) > 1e-5 {
				t.Errorf("rows %d and %d: %g", i+1, j+1, sum)
			}
		}
	}
}
