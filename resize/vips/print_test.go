package vips

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"testing"

	"imgkeep/bucket/likeness"
	"imgkeep/resize"
)

// printOfFile has the decoder make a print, besides other targets.
func printOfFile(t testing.TB, format string, src []byte, besides ...resize.Target) likeness.Print {
	t.Helper()
	r, err := decoder.Resize(src, request(format, append(besides, resize.PrintTarget())...))
	if err != nil {
		t.Fatal(err)
	}
	if len(r) != len(besides)+1 {
		t.Fatalf("%d results of %d targets", len(r), len(besides)+1)
	}
	p, err := likeness.ParsePrint(r[len(besides)].Data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// printOfPixels is the print of all pixels of a picture, none of it made smaller.
func printOfPixels(m *image.NRGBA) likeness.Print {
	p := likeness.Pixels{Width: m.Rect.Dx(), Height: m.Rect.Dy(), Bands: 3}
	for i := 0; i < len(m.Pix); i += 4 {
		p.Data = append(p.Data, m.Pix[i:i+3]...)
	}
	return likeness.Of(p)
}

func apart(t *testing.T, what string, a, b likeness.Print, most int) {
	t.Helper()
	if !a.Matches() || !b.Matches() {
		t.Errorf("%s: qualities %d and %d: matches nothing", what, a.Quality, b.Quality)
	}
	if d := a.Hash().Distance(b.Hash()); d > most {
		t.Errorf("%s: %d bits apart, want at most %d", what, d, most)
	}
}

// A print of a file is within 12 bits of that of its pixels, whatever else is made of it.
func TestPrint(t *testing.T) {
	m := scene(1300, 900)
	want := printOfPixels(m)
	small := resize.Target{Size: resize.Size{Height: 150}}
	large := resize.Target{Size: resize.Size{Height: 800}}
	trimmed := resize.Target{Preset: &resize.Preset{Width: 100, Trim: 10}}
	apart(t, "jpeg", printOfFile(t, "jpeg", toJPEG(t, m)), want, 12)
	apart(t, "png", printOfFile(t, "png", toPNG(t, m)), want, 12)
	apart(t, "beside a small size", printOfFile(t, "jpeg", toJPEG(t, m), small), want, 12)
	apart(t, "beside a large size", printOfFile(t, "jpeg", toJPEG(t, m), large, small), want, 12)
	apart(t, "beside a trimmed size", printOfFile(t, "jpeg", toJPEG(t, m), trimmed), want, 12)
}

// A picture that is smaller than the size prints are made of is not enlarged.
func TestPrintOfSmall(t *testing.T) {
	m := scene(200, 120)
	if got, want := printOfFile(t, "png", toPNG(t, m)), printOfPixels(m); got != want {
		t.Errorf("%d bits apart, quality %d and %d", got.Hash().Distance(want.Hash()), got.Quality, want.Quality)
	}
	if p := printOfFile(t, "png", toPNG(t, scene(300, 4))); p.Matches() {
		t.Error("4 pixels high: matches")
	}
}

// The print is that of the picture as viewers see it: upright, of the first frame, on
// white where it is transparent, without bars.
func TestPrintOfWhatIsShown(t *testing.T) {
	m := scene(600, 400)
	want := printOfPixels(m)

	boxed := image.NewNRGBA(image.Rect(0, 0, 600, 600))
	draw.Draw(boxed, boxed.Rect, image.Black, image.Point{}, draw.Src)
	draw.Draw(boxed, m.Rect.Add(image.Pt(0, 100)), m, image.Point{}, draw.Src)
	apart(t, "letterboxed", printOfFile(t, "jpeg", toJPEG(t, boxed)), want, 12)

	clear, white := scene(600, 400), scene(600, 400)
	for y := range 200 {
		for x := range 300 {
			clear.SetNRGBA(x+150, y+100, color.NRGBA{})
			white.SetNRGBA(x+150, y+100, color.NRGBA{255, 255, 255, 255})
		}
	}
	apart(t, "transparent", printOfFile(t, "png", toPNG(t, clear)), printOfPixels(white), 12)

	var b bytes.Buffer
	pal := color.Palette{}
	for v := range 216 {
		pal = append(pal, color.RGBA{uint8(v % 6 * 51), uint8(v / 6 % 6 * 51), uint8(v / 36 * 51), 255})
	}
	first, second := image.NewPaletted(m.Rect, pal), image.NewPaletted(m.Rect, pal)
	draw.FloydSteinberg.Draw(first, m.Rect, m, image.Point{})
	draw.Draw(second, m.Rect, image.White, image.Point{}, draw.Src)
	if err := gif.EncodeAll(&b, &gif.GIF{Image: []*image.Paletted{first, second}, Delay: []int{5, 5}}); err != nil {
		t.Fatal(err)
	}
	apart(t, "first frame", printOfFile(t, "gif", b.Bytes()), want, 20)
	apart(t, "first frame beside an animation", printOfFile(t, "gif", b.Bytes(), resize.Target{Size: resize.Size{Height: 100}}), want, 20)
}

func BenchmarkPrint(b *testing.B) {
	src := toJPEG(b, scene(2560, 1600))
	var three []resize.Target
	for _, h := range heights {
		three = append(three, resize.Target{Size: resize.Size{Height: h}, Quality: 80})
	}
	for name, targets := range map[string][]resize.Target{"three sizes": three, "three sizes and print": append(three[:3:3], resize.PrintTarget()), "print alone": {resize.PrintTarget()}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := decoder.Resize(src, request("jpeg", targets...)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
