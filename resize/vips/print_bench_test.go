package vips

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/likeness"
	"imgkeep/resize"
	"imgkeep/scripts/benchtest"
)

// What a print costs, what it finds, and what it takes for the same that is not: the tables
// of contrib/docs/look-alikes.md and contrib/BENCHMARKS.md. Files of one picture, such as a
// wallpaper upright or dark, count once.
func BenchmarkLikeness(b *testing.B) {
	for b.Loop() {
		t := &likenessTables{TB: b, found: map[string]*tally{}}
		all := map[string]string{} // files, by the picture
		data := map[string][]byte{}
		for _, format := range []string{"jpeg", "png", "webp"} {
			for path, text := range benchtest.Photos(b, format, 0) {
				name := pictureOf(path)
				if old, ok := all[name]; !ok || len(data[old]) < len(text) || len(data[old]) == len(text) && path < old {
					all[name], data[path] = path, text
				}
			}
		}
		if len(all) == 0 {
			all["made"], data["made.jpeg"] = "made.jpeg", toJPEG(b, scene(2560, 1600))
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			path := all[name]
			fmt.Fprintln(os.Stderr, path)
			format := strings.Replace(strings.TrimPrefix(strings.ToLower(filepath.Ext(path)), "."), "jpg", "jpeg", 1)
			t.measure(name, format, data[path])
		}
		t.print()
	}
	b.ReportMetric(0, "ns/op")
}

// sized is the size in the name of a file.
var sized = regexp.MustCompile(`_\d+x\d+$`)

// pictureOf names the picture in a file of a wallpaper package.
func pictureOf(path string) string {
	dir, file := filepath.Split(path)
	if before, _, ok := strings.Cut(dir, "/contents/"); ok {
		return before
	}
	name := sized.ReplaceAllString(strings.TrimSuffix(file, filepath.Ext(file)), "")
	for _, end := range []string{"-d", "-l", "-Light", "-Dark"} {
		name = strings.TrimSuffix(name, end)
	}
	before, _, _ := strings.Cut(name, "_Wallpaper")
	return dir + before
}

// tally counts what was found within 20, 31 and 40 bits, of so many.
type tally struct{ within [3]int }

var distances = [3]int{20, likeness.Within, 40}

func (t *tally) add(distance int) {
	for i, most := range distances {
		if distance <= most {
			t.within[i]++
		}
	}
}

type likenessTables struct {
	testing.TB
	found            map[string]*tally
	order            []string
	prints           []likeness.Print
	names            []string           // of those pictures
	parts            [][]likeness.Print // of each picture
	faint            int                // pictures that match nothing
	three, more, one time.Duration      // three sizes, and a print besides, and alone
}

// uploaded is how large pictures are that are uploaded, at most.
const uploaded = 1600

func (t *likenessTables) measure(name, format string, src []byte) {
	var three []resize.Target
	for _, h := range heights {
		three = append(three, resize.Target{Size: resize.Size{Height: h}, Quality: 80})
	}
	took := func(targets ...resize.Target) time.Duration {
		before := cpu(t.TB.(*testing.B))
		if _, err := decoder.Resize(src, request(format, targets...)); err != nil {
			t.Fatal(err)
		}
		return cpu(t.TB.(*testing.B)) - before
	}
	if format == "jpeg" {
		for range 3 {
			t.three += took(three...)
			t.more += took(append(three[:3:3], resize.PrintTarget())...)
			t.one += took(resize.PrintTarget())
		}
	}
	r, err := decoder.Resize(src, request(format, resize.Target{Size: resize.Size{Height: uploaded, Width: uploaded}, Format: "png"}))
	if err != nil {
		t.Fatal(err)
	}
	shown := decode(t, r[0].Data)
	m := image.NewNRGBA(shown.Bounds())
	draw.Draw(m, m.Rect, image.White, image.Point{}, draw.Src)
	draw.Draw(m, m.Rect, shown, m.Rect.Min, draw.Over)
	own := printOfFile(t, "jpeg", jpegOf(t, m, 90))
	if !own.Matches() {
		t.faint++
		return
	}
	t.prints, t.names = append(t.prints, own), append(t.names, name)
	for _, c := range changes {
		if t.found[c.name] == nil {
			t.found[c.name] = &tally{}
			t.order = append(t.order, c.name)
		}
		changed := printOfFile(t, "jpeg", jpegOf(t, c.change(m), cmp.Or(c.quality, 85)))
		t.found[c.name].add(nearest(changed, own))

	}
	var parts []likeness.Print
	const n = 4
	for i := range n * n {
		w, h := m.Rect.Dx()/n, m.Rect.Dy()/n
		part := image.Rect(0, 0, w, h).Add(m.Rect.Min).Add(image.Pt(i%n*w, i/n*h))
		if p := printOfFile(t, "jpeg", jpegOf(t, m.SubImage(part), 90)); p.Matches() {
			parts = append(parts, p)
		}
	}
	t.parts = append(t.parts, parts)
}

// nearest is the distance of the nearest of all turns; 256 where one matches nothing.
func nearest(a, b likeness.Print) int {
	least := likeness.Bits
	for _, h := range a.Hashes {
		if a.Matches() && b.Matches() {
			least = min(least, h.Distance(b.Hash()))
		}
	}
	return least
}

func jpegOf(t testing.TB, m image.Image, quality int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// changes are what happens to pictures on their way.
var changes = []struct {
	name    string
	quality int // of the JPEG; 0: 85
	change  func(*image.NRGBA) image.Image
}{
	{"recompressed: JPEG of quality 40", 40, func(m *image.NRGBA) image.Image { return m }},
	{"recompressed: JPEG of quality 10", 10, func(m *image.NRGBA) image.Image { return m }},
	{"half as large", 0, func(m *image.NRGBA) image.Image { return smaller(m, 2) }},
	{"an eighth as large", 0, func(m *image.NRGBA) image.Image { return smaller(m, 8) }},
	{"brighter by a sixth of the range", 0, func(m *image.NRGBA) image.Image { return pixelwise(m, func(v int) int { return v + 42 }) }},
	{"half the contrast", 0, func(m *image.NRGBA) image.Image { return pixelwise(m, func(v int) int { return 64 + v/2 }) }},
	{"gray", 0, func(m *image.NRGBA) image.Image {
		g := image.NewGray(m.Rect)
		draw.Draw(g, m.Rect, m, m.Rect.Min, draw.Src)
		return g
	}},
	{"mirrored", 0, func(m *image.NRGBA) image.Image {
		return mapped(m, m.Rect.Dx(), m.Rect.Dy(), func(x, y int) (int, int) { return m.Rect.Dx() - 1 - x, y })
	}},
	{"turned by 90 degrees", 0, func(m *image.NRGBA) image.Image {
		return mapped(m, m.Rect.Dy(), m.Rect.Dx(), func(x, y int) (int, int) { return y, m.Rect.Dy() - 1 - x })
	}},
	{"letterboxed: black bars, a fifth of the height each", 0, func(m *image.NRGBA) image.Image { return framed(m, 0, m.Rect.Dy()/5, color.Black) }},
	{"a white frame, a tenth of the width", 0, func(m *image.NRGBA) image.Image {
		return framed(m, m.Rect.Dx()/10, m.Rect.Dx()/10, color.White)
	}},
	{"a line of text, half as wide, at the bottom", 0, func(m *image.NRGBA) image.Image { return over(m, 2, 94, 50, 4, 255, true) }},
	{"a watermark: half-transparent text across the middle", 0, func(m *image.NRGBA) image.Image { return over(m, 10, 44, 80, 12, 128, true) }},
	{"a sticker: a white box of 20% by 20%", 0, func(m *image.NRGBA) image.Image { return over(m, 60, 60, 20, 20, 255, false) }},
	{"cropped: 2% off each side", 0, func(m *image.NRGBA) image.Image { return inner(m, 2) }},
	{"cropped: 5% off each side", 0, func(m *image.NRGBA) image.Image { return inner(m, 5) }},
	{"turned by 5 degrees", 0, func(m *image.NRGBA) image.Image {
		return mapped(m, m.Rect.Dx(), m.Rect.Dy(), func(x, y int) (int, int) { // by shears
			u, v := x-m.Rect.Dx()/2, y-m.Rect.Dy()/2
			return x + v*87/1000, y - u*87/1000
		})
	}},
}

func smaller(m *image.NRGBA, by int) image.Image {
	return mapped(m, m.Rect.Dx()/by, m.Rect.Dy()/by, func(x, y int) (int, int) { return x*by + by/2, y*by + by/2 })
}

// mapped is a picture whose pixels come from elsewhere in another, or are black.
func mapped(m *image.NRGBA, w, h int, from func(x, y int) (int, int)) *image.NRGBA {
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			u, v := from(x, y)
			c := color.NRGBA{A: 255}
			if p := (image.Pt(u, v).Add(m.Rect.Min)); p.In(m.Rect) {
				c = m.NRGBAAt(p.X, p.Y)
			}
			out.SetNRGBA(x, y, c)
		}
	}
	return out
}

func pixelwise(m *image.NRGBA, to func(int) int) image.Image {
	out := image.NewNRGBA(m.Rect)
	for i, v := range m.Pix {
		if out.Pix[i] = v; i%4 < 3 {
			out.Pix[i] = uint8(min(max(to(int(v)), 0), 255))
		}
	}
	return out
}

func framed(m *image.NRGBA, x, y int, c color.Color) image.Image {
	out := image.NewNRGBA(image.Rect(0, 0, m.Rect.Dx()+2*x, m.Rect.Dy()+2*y))
	draw.Draw(out, out.Rect, image.NewUniform(c), image.Point{}, draw.Src)
	draw.Draw(out, m.Rect.Sub(m.Rect.Min).Add(image.Pt(x, y)), m, m.Rect.Min, draw.Src)
	return out
}

func inner(m *image.NRGBA, percent int) image.Image {
	x, y := m.Rect.Dx()*percent/100, m.Rect.Dy()*percent/100
	return m.SubImage(image.Rect(m.Rect.Min.X+x, m.Rect.Min.Y+y, m.Rect.Max.X-x, m.Rect.Max.Y-y))
}

// over lays a white box on a picture, at percents of its sides; or letters, as far as they
// tell from afar: blocks with gaps between them.
func over(m *image.NRGBA, x, y, w, h int, alpha uint8, letters bool) image.Image {
	out := image.NewNRGBA(m.Rect)
	copy(out.Pix, m.Pix)
	at := func(px, py int) image.Point {
		return m.Rect.Min.Add(image.Pt(m.Rect.Dx()*px/100, m.Rect.Dy()*py/100))
	}
	box := image.Rectangle{at(x, y), at(x+w, y+h)}
	white := image.NewUniform(color.NRGBA{255, 255, 255, alpha})
	if !letters {
		draw.Draw(out, box, white, image.Point{}, draw.Over)
		return out
	}
	letter := max(box.Dy()*6/10, 1)
	for left := box.Min.X; left+letter <= box.Max.X; left += letter * 4 / 3 {
		r := image.Rect(left, box.Min.Y, left+letter, box.Max.Y)
		stroke := max(letter/4, 1)
		draw.Draw(out, image.Rect(r.Min.X, r.Min.Y, r.Min.X+stroke, r.Max.Y), white, image.Point{}, draw.Over)
		draw.Draw(out, image.Rect(r.Max.X-stroke, r.Min.Y, r.Max.X, r.Max.Y), white, image.Point{}, draw.Over)
		draw.Draw(out, image.Rect(r.Min.X+stroke, (r.Min.Y+r.Max.Y)/2, r.Max.X-stroke, (r.Min.Y+r.Max.Y)/2+stroke), white, image.Point{}, draw.Over)
	}
	return out
}

func (t *likenessTables) print() {
	percent := func(n, of int) string { return fmt.Sprintf("%.0f%%", 100*float64(n)/float64(max(of, 1))) }
	fmt.Printf("\n%d pictures; %d more have too little to see\n\n| found of them | 20 bits | 31 bits | 40 bits |\n| --- | --- | --- | --- |\n", len(t.prints), t.faint)
	for _, name := range t.order {
		fmt.Printf("| %s |", name)
		for _, n := range t.found[name].within {
			fmt.Printf(" %s |", percent(n, len(t.prints)))
		}
		fmt.Println()
	}
	var others tally
	parts, pairs := 0, 0
	for i, own := range t.parts {
		parts += len(own)
		for j, p := range t.prints {
			if i == j {
				continue
			}
			pairs += 1 + len(own)
			for k, q := range append([]likeness.Print{t.prints[i]}, own...) {
				d := nearest(p, q)
				if others.add(d); d <= distances[2] {
					fmt.Fprintf(os.Stderr, "%s is %d bits from part %d of %s\n", t.names[j], d, k, t.names[i])
				}
			}
		}
	}
	fmt.Printf("| falsely found: each of the %d pictures compared with the others, and with %d sixteenths of those: %d pairs |", len(t.prints), parts, pairs)
	for _, n := range others.within {
		fmt.Printf(" %d |", n)
	}
	if t.three > 0 {
		fmt.Printf("\n\nprocessor time of JPEG: three sizes %.0f ms; and a print %.0f ms (%+.1f%%); a print alone %.0f ms, all pictures three times\n",
			float64(t.three.Milliseconds()), float64(t.more.Milliseconds()), 100*(float64(t.more)/float64(t.three)-1), float64(t.one.Milliseconds()))
	}
	fmt.Println()
}
