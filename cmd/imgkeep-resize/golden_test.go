package main

import (
	"encoding/hex"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imgkeep/resize"
)

var update = flag.Bool("update", false, "write testdata/goldens.txt anew, from what is made now")

// How far a picture may be from its golden, as apart measures: another version of
// libvips or of an encoder rounds in another way. A picture that a feature is
// missing from is to be further away by a clear margin.
const (
	goldenNear = 1.5
	goldenFar  = 3 * goldenNear
)

// Every feature that can be seen makes what it made when somebody has last looked
// at it, of the sample that is in this repository; and it can be seen: without the
// feature the picture is another. The tests of each feature say what is right;
// this one notices what nobody has thought of. After a change that is meant to be
// seen, look at the pictures (imgkeep preview), and write the goldens anew:
//
//	go test ./cmd/imgkeep-resize -run TestGoldens -update
func TestGoldens(t *testing.T) {
	p := newPool(t, resize.Options{})
	evening, err := os.ReadFile("../../contrib/sample/evening.jpg")
	if err != nil {
		t.Fatal(err)
	}
	bordered := image.NewNRGBA(image.Rect(0, 0, 300, 260))
	paint(bordered, 0, 0, 300, 260, color.NRGBA{230, 225, 220, 255})
	inside := pixels(t, p, preset(t, p, "jpeg", evening, resize.Preset{Width: 200, Format: "png"}))
	draw.Draw(bordered, inside.Bounds().Add(image.Pt(30, 60)), inside, image.Point{}, draw.Src)
	faded := image.NewNRGBA(inside.Bounds()) // transparent to the left
	for y := range faded.Rect.Dy() {
		for x := range faded.Rect.Dx() {
			c := at(inside, x, y)
			c.A = uint8(255 * x / faded.Rect.Dx())
			faded.SetNRGBA(x, y, c)
		}
	}
	mark := &resize.Watermark{Format: "png", Picture: toPNG(t, corners(40, 20))}
	with := func(c func(*resize.Watermark)) *resize.Watermark {
		m := *mark
		c(&m)
		return &m
	}
	in := image.Pt(inside.Bounds().Dx(), inside.Bounds().Dy())
	type source struct {
		format string
		data   []byte
	}
	photo, fade := source{"jpeg", evening}, source{"png", toPNG(t, faded)}
	const w, h = 120, 120
	goldens := readGoldens(t)
	known := map[string]bool{}
	for _, c := range []struct {
		name         string
		source       source
		has, without resize.Preset
	}{
		{"inside", photo, resize.Preset{Width: w, Height: h}, resize.Preset{Width: w, Height: h, Fit: "cover"}},
		{"cover", photo, resize.Preset{Width: w, Height: h, Fit: "cover"}, resize.Preset{Width: w, Height: h}},
		{"contain", photo, resize.Preset{Width: w, Height: h, Fit: "contain"}, resize.Preset{Width: w, Height: h}},
		{"crop", photo, resize.Preset{Width: w, Height: h, Fit: "crop"}, resize.Preset{Width: w, Height: h, Fit: "cover"}},
		{"gravity northwest", photo, resize.Preset{Width: w, Height: h, Fit: "crop", Gravity: "northwest"}, resize.Preset{Width: w, Height: h, Fit: "crop"}},
		{"gravity south", photo, resize.Preset{Width: w, Height: h, Fit: "contain", Gravity: "south"}, resize.Preset{Width: w, Height: h, Fit: "contain"}},
		{"gravity smart", photo, resize.Preset{Width: w, Height: h, Fit: "crop", Gravity: "smart"}, resize.Preset{Width: w, Height: h, Fit: "crop"}},
		{"enlarge", fade, resize.Preset{Width: 400, Enlarge: true}, resize.Preset{Width: 400}},
		{"background", photo, resize.Preset{Width: w, Height: h, Fit: "contain", Background: "#803010"}, resize.Preset{Width: w, Height: h, Fit: "contain"}},
		{"background behind", fade, resize.Preset{Background: "#803010"}, resize.Preset{}},
		{"transparency", fade, resize.Preset{Width: w}, resize.Preset{Width: w, Background: "#ffffff"}},
		{"transparency to JPEG", fade, resize.Preset{Width: w, Format: "jpeg"}, resize.Preset{Width: w, Format: "jpeg", Background: "#000000"}},
		{"rotate", photo, resize.Preset{Width: w, Height: h, Fit: "cover", Rotate: 90}, resize.Preset{Width: w, Height: h, Fit: "cover"}},
		{"flip horizontal", photo, resize.Preset{Width: w, Flip: "horizontal"}, resize.Preset{Width: w}},
		{"flip vertical", photo, resize.Preset{Width: w, Flip: "vertical"}, resize.Preset{Width: w}},
		{"flip both", photo, resize.Preset{Width: w, Flip: "both"}, resize.Preset{Width: w, Flip: "vertical"}},
		{"blur", photo, resize.Preset{Width: w, Blur: 2}, resize.Preset{Width: w}},
		{"sharpen", photo, resize.Preset{Width: w, Sharpen: 1}, resize.Preset{Width: w}},
		{"brightness", photo, resize.Preset{Width: w, Brightness: 10}, resize.Preset{Width: w}},
		{"contrast", photo, resize.Preset{Width: w, Contrast: 20}, resize.Preset{Width: w}},
		{"trim", source{"png", toPNG(t, bordered)}, resize.Preset{Trim: 4, Width: w, Height: h, Fit: "cover"}, resize.Preset{Width: w, Height: h, Fit: "cover"}},
		{"padding", photo, resize.Preset{Width: w, Padding: resize.Padding{Top: 4, Right: 8, Bottom: 24, Left: 8}}, resize.Preset{Width: w}},
		{"watermark", photo, resize.Preset{Width: w, Watermark: mark}, resize.Preset{Width: w}},
		{"watermark position", photo, resize.Preset{Width: w, Watermark: with(func(m *resize.Watermark) { m.Position = "north" })}, resize.Preset{Width: w, Watermark: mark}},
		{"watermark scale", photo, resize.Preset{Width: w, Watermark: with(func(m *resize.Watermark) { m.Scale = 70 })}, resize.Preset{Width: w, Watermark: mark}},
		{"watermark opacity", photo, resize.Preset{Width: w, Watermark: with(func(m *resize.Watermark) { m.Opacity = 30 })}, resize.Preset{Width: w, Watermark: mark}},
		{"watermark margin", photo, resize.Preset{Width: w, Watermark: with(func(m *resize.Watermark) { m.Margin = 20 })}, resize.Preset{Width: w, Watermark: mark}},
		{"JPEG quality", photo, resize.Preset{Width: w, JPEGQuality: 5}, resize.Preset{Width: w}},
		{"WebP quality", photo, resize.Preset{Width: w, Format: "webp", WebPQuality: 1}, resize.Preset{Width: w, Format: "webp"}},
		{"orientation", source{"jpeg", orient(t, "jpeg", toJPEG(t, inside), in.X, in.Y, 6)}, resize.Preset{Width: w, Height: h, Fit: "cover"}, resize.Preset{Width: w, Height: h, Fit: "cover", Rotate: 270}},
	} {
		known[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			got := likenessOf(pixels(t, p, preset(t, p, c.source.format, c.source.data, c.has)))
			without := likenessOf(pixels(t, p, preset(t, p, c.source.format, c.source.data, c.without)))
			if *update {
				goldens[c.name] = got
			}
			golden, ok := goldens[c.name]
			if !ok {
				t.Fatal("it has no golden: look at what is made, and run with -update")
			}
			if d := apart(got, golden); !(d <= goldenNear) {
				t.Errorf("it is %.1f from its golden, want at most %.1f:\n%v, want\n%v", d, goldenNear, got, golden)
			}
			if d := apart(without, golden); d < goldenFar {
				t.Errorf("without the feature it is %.1f from its golden, which shows nothing; want %.1f", d, goldenFar)
			}
		})
	}
	if *update {
		maps.DeleteFunc(goldens, func(name string, _ likeness) bool { return !known[name] })
		writeGoldens(t, goldens)
	}
	for name := range goldens {
		if !known[name] {
			t.Errorf("there is a golden of %q, which nothing makes", name)
		}
	}
}

// likeness is what a picture looks like, roughly: its size, and of each of 8 by 8
// parts the mean of red, green, blue and alpha, and how rough it is, the mean
// difference of neighbours, which blurring, sharpening and encoders change. Colours
// count as much as they can be seen.
type likeness struct {
	w, h   int
	values []byte // 64 of each
}

const (
	likenessSide  = 8
	likenessKinds = 5
	// Differences of neighbours are smaller than colours are.
	roughnessScale = 4
)

func likenessOf(m image.Image) likeness {
	b := m.Bounds()
	p := likeness{b.Dx(), b.Dy(), make([]byte, 0, likenessKinds*likenessSide*likenessSide)}
	light := func(c color.NRGBA) float64 {
		return (0.299*float64(c.R) + 0.587*float64(c.G) + 0.114*float64(c.B)) * float64(c.A) / 255
	}
	var kinds [likenessKinds][]byte
	for cell := range likenessSide * likenessSide {
		x0, x1 := cell%likenessSide*p.w/likenessSide, (cell%likenessSide+1)*p.w/likenessSide
		y0, y1 := cell/likenessSide*p.h/likenessSide, (cell/likenessSide+1)*p.h/likenessSide
		var sums [likenessKinds]float64
		n := 0.0
		for y := y0; y < y1; y++ {
			for x := x0; x < x1; x++ {
				c := at(m, x, y)
				a := float64(c.A) / 255
				right, below := at(m, min(x+1, p.w-1), y), at(m, x, min(y+1, p.h-1))
				rough := math.Abs(light(c)-light(right)) + math.Abs(light(c)-light(below))
				for i, v := range []float64{float64(c.R) * a, float64(c.G) * a, float64(c.B) * a, float64(c.A), roughnessScale * rough} {
					sums[i] += v
				}
				n++
			}
		}
		for i, sum := range sums {
			kinds[i] = append(kinds[i], byte(min(math.Round(sum/n), 255)))
		}
	}
	p.values = slices.Concat(kinds[:]...)
	return p
}

// apart is how much two pictures differ: the mean difference, from 0 to 255, of the
// kind of values that differs most; infinitely if they are not of one size.
func apart(a, b likeness) float64 {
	if a.w != b.w || a.h != b.h || len(a.values) != len(b.values) {
		return math.Inf(1)
	}
	most := 0.0
	const n = likenessSide * likenessSide
	for from := 0; from < len(a.values); from += n {
		sum := 0.0
		for i := from; i < from+n; i++ {
			sum += math.Abs(float64(a.values[i]) - float64(b.values[i]))
		}
		most = max(most, sum/n)
	}
	return most
}

func (p likeness) String() string {
	return fmt.Sprintf("%dx%d %s", p.w, p.h, hex.EncodeToString(p.values))
}

var goldenFile = filepath.Join("testdata", "goldens.txt")

// readGoldens reads a line for each: its name, a colon, and its likeness.
func readGoldens(t *testing.T) map[string]likeness {
	t.Helper()
	text, err := os.ReadFile(goldenFile)
	if err != nil && !*update {
		t.Fatal(err)
	}
	all := map[string]likeness{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ": ")
		var p likeness
		if _, err := fmt.Sscanf(rest, "%dx%d %x", &p.w, &p.h, &p.values); err != nil || len(p.values) != likenessKinds*likenessSide*likenessSide {
			t.Fatalf("%s: %q is no likeness: %v", goldenFile, line, err)
		}
		all[name] = p
	}
	return all
}

func writeGoldens(t *testing.T, all map[string]likeness) {
	t.Helper()
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&out, "%s: %v\n", name, all[name])
	}
	if err := os.WriteFile(goldenFile, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
