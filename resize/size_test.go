package resize

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for s, want := range map[string]Size{
		"250x250":     {Height: 250, Width: 250},
		"150x":        {Height: 150},
		"x200":        {Width: 200},
		"1x1":         {Height: 1, Width: 1},
		"99999x99999": {Height: 99999, Width: 99999},
		"x99999":      {Width: 99999},
		"10x2000":     {Height: 10, Width: 2000},
	} {
		z, err := ParseSize(s)
		if err != nil || z != want {
			t.Errorf("%q: got %+v, %v, want %+v", s, z, err, want)
		}
		if z.String() != s {
			t.Errorf("%q prints as %q", s, z.String())
		}
	}
}

func TestParseSizeRefuses(t *testing.T) {
	for s, why := range map[string]string{
		"": "height, x, width", "x": "height, x, width", "250": "height, x, width", "full": "height, x, width",
		"250X250": "height, x, width", "250×250": "height, x, width", "250x250x": "height, x, width", "1x2x3": "height, x, width",
		"0x250": "leading zero", "250x0": "leading zero", "0x": "leading zero", "x0": "leading zero", "0250x": "leading zero", "x01": "leading zero",
		"-1x": "height, x, width", "+1x": "height, x, width", " 1x": "height, x, width", "1x ": "height, x, width", "1 x": "height, x, width",
		"1_0x": "height, x, width", "0x10x": "leading zero", "1e3x": "height, x, width", "1.5x": "height, x, width", "٣x": "height, x, width",
		"100000x": "at most 5 digits", "x100000": "at most 5 digits", "00000000001x": "at most 5 digits",
		"x" + strings.Repeat("9", 1000): "at most 5 digits", "1x\n": "height, x, width", "1x\x00": "height, x, width",
	} {
		z, err := ParseSize(s)
		if err == nil || z != (Size{}) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: got %+v and %v, want an error with %q", s, z, err, why)
		} else if len(err.Error()) > 200 || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%q: the error is not fit for a log: %q", s, err)
		}
	}
}

func TestSizeAsText(t *testing.T) {
	text, err := json.Marshal(Size{Height: 150, Width: 20})
	if err != nil || string(text) != `"150x20"` {
		t.Errorf("got %s, %v", text, err)
	}
	for _, z := range []Size{{}, {Height: -1}, {Width: 100000}, {Height: 1, Width: -1}} {
		if text, err := json.Marshal(z); err == nil {
			t.Errorf("%+v became %s", z, text)
		}
	}
	var z Size
	if err := json.Unmarshal([]byte(`"x7"`), &z); err != nil || z != (Size{Width: 7}) {
		t.Errorf("got %+v, %v", z, err)
	}
	if err := json.Unmarshal([]byte(`"07x"`), &z); err == nil {
		t.Errorf("got %+v", z)
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		size         string
		width, hight int
		wantW, wantH int
	}{
		{"150x150", 1600, 1200, 150, 113}, // 112.5 goes up
		{"150x150", 1200, 1600, 113, 150},
		{"x150", 1600, 1201, 150, 113}, // 112.59
		{"x150", 1600, 1199, 150, 112}, // 112.41
		{"150x", 1600, 1200, 200, 150},
		{"250x250", 250, 250, 250, 250},
		{"250x250", 251, 250, 250, 249}, // 249.004
		{"250x250", 249, 1, 249, 1},     // never enlarged
		{"250x250", 100000, 1, 250, 1},  // never 0
		{"250x250", 1, 100000, 1, 250},
		{"1x1", 3, 2, 1, 1},
		{"2x2", 3, 2, 2, 1}, // 1.33
		{"100x", 7, 50, 7, 50},
		{"x2", 1000, 499, 2, 1}, // 0.998
		{"x2", 4, 3, 2, 2},      // 1.5 goes up
		{"1x3", 3, 2, 2, 1},     // 1.5 goes up, within 3
		{"99999x99999", math.MaxInt, math.MaxInt, 99999, 99999},
		{"x2", math.MaxInt, math.MaxInt - 1, 2, 2},
		{"x99999", math.MaxInt, 1, 99999, 1},
		{"99999x", math.MaxInt, 99999, math.MaxInt, 99999},
		{"150x150", 0, -5, 1, 1},
	} {
		z, err := ParseSize(c.size)
		if err != nil {
			t.Fatal(err)
		}
		if w, h := z.Fit(c.width, c.hight); w != c.wantW || h != c.wantH {
			t.Errorf("%s of %d by %d: got %d by %d, want %d by %d", c.size, c.width, c.hight, w, h, c.wantW, c.wantH)
		}
	}
	if w, h := (Size{}).Fit(70, 80); w != 70 || h != 80 {
		t.Errorf("no limit: got %d by %d", w, h)
	}
}

// Against exact fractions, over many sizes of all magnitudes.
func TestFitIsExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	side := func(most int) int { return 1 + int(math.Exp(rnd.Float64()*math.Log(float64(most)))) }
	for range 50_000 {
		w, h := side(1<<31), side(1<<31)
		if rnd.IntN(3) == 0 {
			w, h = side(300), side(300)
		}
		z := Size{Height: min(side(3000), maxSide), Width: min(side(3000), maxSide)}
		switch rnd.IntN(4) {
		case 0:
			z.Height = 0
		case 1:
			z.Width = 0
		}
		gotW, gotH := z.Fit(w, h)
		ratio := big.NewRat(1, 1)
		if r := big.NewRat(int64(z.Width), int64(w)); z.Width > 0 && r.Cmp(ratio) < 0 {
			ratio = r
		}
		if r := big.NewRat(int64(z.Height), int64(h)); z.Height > 0 && r.Cmp(ratio) < 0 {
			ratio = r
		}
		if wantW, wantH := rounded(ratio, w), rounded(ratio, h); gotW != wantW || gotH != wantH {
			t.Fatalf("%v of %d by %d: got %d by %d, want %d by %d", z, w, h, gotW, gotH, wantW, wantH)
		}
		if gotW < 1 || gotH < 1 || gotW > w || gotH > h || z.Width > 0 && gotW > z.Width || z.Height > 0 && gotH > z.Height {
			t.Fatalf("%v of %d by %d: %d by %d is out of bounds", z, w, h, gotW, gotH)
		}
	}
}

func rounded(ratio *big.Rat, side int) int {
	r := new(big.Rat).Mul(ratio, big.NewRat(int64(side), 1))
	r.Add(r, big.NewRat(1, 2))
	return max(1, int(new(big.Int).Quo(r.Num(), r.Denom()).Int64()))
}

// What parses prints back the same bytes, so that a size has one spelling.
func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"250x250", "150x", "x200", "x", "0x1", "1x99999", "99999x100000", "-1x+2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		z, err := ParseSize(s)
		if err != nil {
			if z != (Size{}) {
				t.Errorf("%q: an error and %+v", s, z)
			}
			return
		}
		if z.String() != s || z.check() != nil {
			t.Errorf("%q parses as %+v, which prints as %q: %v", s, z, z, z.check())
		}
	})
}

func TestListed(t *testing.T) {
	l := Listed{Sides: []int{100, 200}, Presets: []string{"avatar", "card"}}
	for name, want := range map[string]string{
		"100x100": "", "100x200": "", "200x": "", "x100": "", "avatar": "", "card": "",
		"150x": "150, of 150x, is not one of the sizes [100 200]", "x150": "150, of x150",
		"100x150": "150, of 100x150", "150x100": "150, of 150x100", "101x": "101, of", "99x": "99, of",
		"": `"" is neither one of the presets avatar, card nor height x width`, "x": `"x" is neither one of`,
		"0x100": "height x width", "100x0": "height x width", "0100x": "height x width", "100X100": "height x width",
		"-100x": "height x width", "100": "height x width", "100x100x100": "height x width",
		"full": "height x width", "info": "height x width", "Avatar": "height x width", "avatar ": "height x width",
		"a\n" + strings.Repeat("b", 1000): `"a\nbb`,
	} {
		err := l.Check(name)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v; want %q", name, err, want)
		}
		if err != nil && (len(err.Error()) > 200 || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q: a line of %d bytes: %v", name, len(err.Error()), err)
		}
	}
	if err := (Listed{}).Check("avatar"); err == nil || strings.Contains(err.Error(), "presets") {
		t.Errorf("nothing is listed: %v", err)
	}
	if err := (Listed{}).Check("100x"); err == nil {
		t.Error("a side passes that is not listed")
	}
}
