package resize

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func TestPresetsAccepted(t *testing.T) {
	for _, p := range []Preset{
		{},
		{Width: 8192, Height: 8192, Fit: "cover", Gravity: "smart", Enlarge: true, Rotate: 270, Flip: "both", Trim: 254},
		{Width: 1, Fit: "crop", Gravity: "northwest", Brightness: 100, Contrast: -100, Blur: 20, Padding: Padding{1000, 0, 0, 1000}},
		{Height: 1, Sharpen: 10, Background: "#00ff7f", Format: "jpeg", JPEGQuality: 100, Progressive: true, MaxBytes: 16 << 20, Animated: "first"},
		{Sharpen: 0.3, Format: "webp", WebPQuality: 1, MaxBytes: 1 << 10, Animated: "keep"},
		{Blur: 0.3, JPEGQuality: 1, WebPQuality: 100, Progressive: true},
		{Watermark: &Watermark{Position: "centre", Scale: 100, Opacity: 100}},
		{Watermark: &Watermark{Margin: 1000, Opacity: 1, Scale: 1}},
	} {
		if errs := p.Check(); len(errs) > 0 {
			t.Errorf("%+v: %v", p, errs)
		}
	}
}

// Each mistake is told by its key, and what is allowed.
func TestPresetsRefused(t *testing.T) {
	for _, c := range []struct {
		preset Preset
		want   string
	}{
		{Preset{Width: -1}, "width: -1 is not in the range 0 to 8192"},
		{Preset{Width: 8193}, "width: 8193 is not in the range 0 to 8192"},
		{Preset{Height: -1}, "height: -1 is not in the range 0 to 8192"},
		{Preset{Height: 8193}, "height: 8193 is not in the range 0 to 8192"},
		{Preset{Fit: "round"}, `fit: "round" is not one of inside, cover, contain, crop`},
		{Preset{Width: 1, Fit: "crop", Gravity: "up"}, `gravity: "up" is not one of centre, north, northeast, east, southeast, south, southwest, west, northwest, smart`},
		{Preset{Rotate: 45}, "rotate: 45 is not one of 0, 90, 180, 270"},
		{Preset{Flip: "x"}, `flip: "x" is not one of horizontal, vertical, both`},
		{Preset{Trim: -1}, "trim: -1 is not in the range 0 to 254"},
		{Preset{Trim: 255}, "trim: 255 is not in the range 0 to 254"},
		{Preset{Brightness: 101}, "brightness: 101 is not in the range -100 to 100"},
		{Preset{Brightness: -101}, "brightness: -101 is not in the range -100 to 100"},
		{Preset{Contrast: 101}, "contrast: 101 is not in the range -100 to 100"},
		{Preset{Contrast: -101}, "contrast: -101 is not in the range -100 to 100"},
		{Preset{Blur: 0.2}, "blur: 0.2 is neither 0 nor in the range 0.3 to 20"},
		{Preset{Blur: 20.1}, "blur: 20.1 is neither 0 nor in the range 0.3 to 20"},
		{Preset{Blur: math.NaN()}, "blur: NaN is neither 0 nor in the range 0.3 to 20"},
		{Preset{Blur: math.Inf(1)}, "blur: +Inf is neither 0 nor in the range 0.3 to 20"},
		{Preset{Sharpen: 0.29}, "sharpen: 0.29 is neither 0 nor in the range 0.3 to 10"},
		{Preset{Sharpen: 10.1}, "sharpen: 10.1 is neither 0 nor in the range 0.3 to 10"},
		{Preset{Padding: Padding{Left: 1001}}, "padding: 1001 is not in the range 0 to 1000"},
		{Preset{Padding: Padding{Top: -1}}, "padding: -1 is not in the range 0 to 1000"},
		{Preset{Background: "white"}, `background: "white" is not a colour: want "#rrggbb" in lower case, as in "#ffffff"`},
		{Preset{Background: "#FFFFFF"}, `background: "#FFFFFF" is not a colour: want "#rrggbb" in lower case, as in "#ffffff"`},
		{Preset{Background: "#ffff"}, `background: "#ffff" is not a colour: want "#rrggbb" in lower case, as in "#ffffff"`},
		{Preset{Format: "jpg"}, `format: "jpg" is not one of jpeg, png, gif, webp, avif`},
		{Preset{JPEGQuality: 101}, "quality.jpeg: 101 is not in the range 0 to 100"},
		{Preset{WebPQuality: -1}, "quality.webp: -1 is not in the range 0 to 100"},
		{Preset{Format: "jpeg", MaxBytes: 1023}, "max_bytes: 1023 is neither 0 nor in the range 1KiB to 16MiB"},
		{Preset{Format: "jpeg", MaxBytes: 16<<20 + 1}, "max_bytes: 16777217 is neither 0 nor in the range 1KiB to 16MiB"},
		{Preset{Animated: "no"}, `animated: "no" is not one of keep, first`},
		{Preset{Watermark: &Watermark{Position: "smart"}}, `watermark.position: "smart" is not one of centre, north, northeast, east, southeast, south, southwest, west, northwest`},
		{Preset{Watermark: &Watermark{Scale: 101}}, "watermark.scale: 101 is not in the range 0 to 100"},
		{Preset{Watermark: &Watermark{Opacity: -1}}, "watermark.opacity: -1 is not in the range 0 to 100"},
		{Preset{Watermark: &Watermark{Margin: 1001}}, "watermark.margin: 1001 is not in the range 0 to 1000"},

		// Right for themselves, and not beside each other.
		{Preset{Fit: "cover", Width: 9}, "fit: cover needs both width and height"},
		{Preset{Fit: "contain", Height: 9}, "fit: contain needs both width and height"},
		{Preset{Fit: "crop"}, "fit: crop needs width or height"},
		{Preset{Enlarge: true}, "enlarge: it needs width or height"},
		{Preset{Fit: "crop", Width: 9, Enlarge: true}, "enlarge: fit: crop does not change the scale; want cover"},
		{Preset{Width: 9, Gravity: "north"}, "gravity: it has no effect with fit: inside; want cover, contain or crop"},
		{Preset{Width: 9, Height: 9, Fit: "contain", Gravity: "smart"}, "gravity: smart chooses what is cut off, and fit: contain cuts nothing off"},
		{Preset{Blur: 1, Sharpen: 1}, "sharpen: blur undoes it: want one of them"},
		{Preset{MaxBytes: 5000}, "max_bytes: it lowers the quality, so format must be jpeg, webp or avif"},
		{Preset{MaxBytes: 5000, Format: "png"}, "max_bytes: it lowers the quality, so format must be jpeg, webp or avif"},
		{Preset{Progressive: true, Format: "webp"}, "progressive: webp knows no such thing; format must be jpeg, png or left out"},
		{Preset{Progressive: true, Format: "gif"}, "progressive: gif knows no such thing; format must be jpeg, png or left out"},
		{Preset{JPEGQuality: 9, Format: "png"}, "quality.jpeg: format is png"},
		{Preset{WebPQuality: 9, Format: "jpeg"}, "quality.webp: format is jpeg"},
		{Preset{Animated: "keep", Format: "png"}, "animated: png holds no animation: want first, or format gif, webp or left out"},
		{Preset{Animated: "keep", Trim: 1}, "animated: an animation is not trimmed: want first"},
		{Preset{Watermark: &Watermark{Position: "centre", Margin: 1}}, "watermark.margin: it has no effect in the centre"},
	} {
		var got []string
		for _, e := range c.preset.Check() {
			got = append(got, e.Error())
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%+v\ngot  %s\nwant %s", c.preset, s, c.want)
		}
	}
}

func TestPresetNames(t *testing.T) {
	for _, name := range []string{"a", "avatar", "x", "xx", "x-200", "a200x300", "big_2", strings.Repeat("a", 23)} {
		if err := CheckPresetName(name); (err == nil) != (name != "x") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "x200", "x0", "x00000000", "150x", "150x150", "1a", "-a", "_a", "Avatar", "a.b", "a/b", "a b", "ä", "a\n", "a%", strings.Repeat("a", 24)} {
		if err := CheckPresetName(name); err == nil {
			t.Errorf("%q is accepted", name)
		} else if _, sizeErr := ParseSize(name); sizeErr == nil && !strings.Contains(err.Error(), "size") && name[0] == 'x' {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// No name is a size as well.
func FuzzPresetName(f *testing.F) {
	f.Add("x200")
	f.Add("avatar")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := ParseSize(s); err == nil && CheckPresetName(s) == nil {
			t.Errorf("%q is both", s)
		}
	})
}

// Whatever is changed about a preset changes its digest.
func TestPresetDigest(t *testing.T) {
	seen := map[string]string{}
	add := func(about string, p Preset) {
		d := p.Digest()
		if len(d) != 8 || strings.Trim(d, "abcdefghijklmnopqrstuvwxyz234567") != "" || d != p.Digest() {
			t.Errorf("%s: %q", about, d)
		}
		if other := seen[d]; other != "" {
			t.Errorf("%s and %s have the same digest", about, other)
		}
		seen[d] = about
	}
	base := Preset{Watermark: &Watermark{Format: "png", Picture: []byte("one")}}
	add("base", base)
	add("another picture", Preset{Watermark: &Watermark{Format: "png", Picture: []byte("two")}})
	var walk func(v reflect.Value, name string)
	walk = func(v reflect.Value, name string) {
		for i := range v.NumField() {
			f, name := v.Field(i), name+v.Type().Field(i).Name
			before := reflect.New(f.Type()).Elem()
			before.Set(f)
			switch f.Kind() {
			case reflect.Int, reflect.Int64:
				f.SetInt(f.Int() + 7)
			case reflect.Float64:
				f.SetFloat(7)
			case reflect.Bool:
				f.SetBool(true)
			case reflect.String:
				f.SetString("other")
			case reflect.Struct:
				walk(f, name+".")
				continue
			case reflect.Pointer:
				walk(f.Elem(), name+".")
				f.SetZero()
			case reflect.Slice:
				f.SetBytes([]byte("three"))
			default:
				t.Fatalf("%s is a %s", name, f.Kind())
			}
			add(name, base)
			f.Set(before)
		}
	}
	walk(reflect.ValueOf(&base).Elem(), "")
	if len(seen) < 30 {
		t.Errorf("%d kinds of change", len(seen))
	}
}

// Only what leaves a picture of the right size as it is may be replaced by it.
func TestPlain(t *testing.T) {
	for _, p := range []Preset{{}, {Width: 9, Height: 9, Fit: "cover", Gravity: "smart", Enlarge: true, Animated: "keep", JPEGQuality: 5, WebPQuality: 6, Format: "jpeg"}} {
		if !p.Plain() {
			t.Errorf("%+v is not plain", p)
		}
	}
	for _, p := range []Preset{
		{Rotate: 90}, {Flip: "both"}, {Trim: 1}, {Blur: 1}, {Sharpen: 1}, {Brightness: 1}, {Contrast: 1}, {Padding: Padding{Left: 1}},
		{Background: "#ffffff"}, {Watermark: &Watermark{}}, {Animated: "first"}, {Progressive: true}, {MaxBytes: 5000},
	} {
		if p.Plain() {
			t.Errorf("%+v is plain", p)
		}
	}
}

// What holds of every layout, whatever the sides: the window is within the
// resized picture, and stands within the canvas, which is as large as promised.
func TestLayoutHolds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	side := func() int {
		if r.IntN(4) == 0 {
			return 1 + r.IntN(3)
		}
		return 1 + r.IntN(1<<(1+r.IntN(20)))
	}
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	made := 0
	for range 100_000 {
		p := Preset{
			Width: r.IntN(3) * (1 + r.IntN(4000)), Height: r.IntN(3) * (1 + r.IntN(4000)), Fit: pick(fits...), Gravity: pick(append(gravities, "", "smart")...),
			Enlarge: r.IntN(2) == 0, Rotate: 90 * r.IntN(4), Padding: Padding{r.IntN(9), r.IntN(9), r.IntN(9), r.IntN(9)},
		}
		if len(p.Check()) > 0 {
			continue
		}
		made++
		w, h := side(), side()
		target := Target{Preset: &p}
		l := target.Layout(w, h)
		about := fmt.Sprintf("%+v of %dx%d: %+v", p, w, h, l)
		if p.Rotate%180 != 0 {
			w, h = h, w
		}
		smart := l.WindowX == -1
		if smart != (l.WindowY == -1) || smart && p.Gravity != "smart" || !smart && (l.WindowX < 0 || l.WindowY < 0) {
			t.Fatal(about)
		}
		if l.WindowW < 1 || l.WindowH < 1 || max(0, l.WindowX)+l.WindowW > l.ScaleW || max(0, l.WindowY)+l.WindowH > l.ScaleH {
			t.Fatal("the window hangs over:", about)
		}
		if l.CanvasX < 0 || l.CanvasY < 0 || l.CanvasX+l.WindowW > l.CanvasW || l.CanvasY+l.WindowH > l.CanvasH {
			t.Fatal("the canvas is too small:", about)
		}
		if !p.Enlarge && (l.ScaleW > w || l.ScaleH > h) {
			t.Fatal("enlarged:", about)
		}
		limit := target.Limit()
		if limit.Width > 0 && l.CanvasW > limit.Width || limit.Height > 0 && l.CanvasH > limit.Height {
			t.Fatal("over the limit:", about, limit)
		}
		inner := func(n, a, b int) int { return n - a - b }
		iw, ih := inner(l.CanvasW, p.Padding.Left, p.Padding.Right), inner(l.CanvasH, p.Padding.Top, p.Padding.Bottom)
		switch {
		case p.Fit == "contain", p.Fit == "cover" && p.Enlarge:
			if iw != p.Width || ih != p.Height {
				t.Fatal("not the box:", about)
			}
		case p.Fit == "cover":
			// The box, or its shape, as exactly as one rounding can.
			if d := math.Abs(float64(iw)*float64(p.Height) - float64(ih)*float64(p.Width)); d > float64(max(p.Width, p.Height))/2+1 && iw > 1 && ih > 1 {
				t.Fatal("out of shape:", about)
			}
		case p.Fit == "inside" && p.Enlarge:
			if iw != p.Width && ih != p.Height {
				t.Fatal("no side binds:", about)
			}
		}
		// Nothing is distorted by more than a rounding of either side.
		if l.ScaleW > 1 && l.ScaleH > 1 {
			want := float64(l.ScaleW) * float64(h) / float64(w)
			if back := float64(l.ScaleH) * float64(w) / float64(h); math.Abs(want-float64(l.ScaleH)) > 0.51 && math.Abs(back-float64(l.ScaleW)) > 0.51 {
				t.Fatal("distorted:", about)
			}
		}
	}
	if made < 10_000 {
		t.Errorf("only %d of the presets were valid", made)
	}
}

func TestPlaceOfWatermark(t *testing.T) {
	for _, c := range []struct {
		mark       Watermark
		w, h       int // of the mark
		cw, ch     int // of the canvas
		x, y, a, b int
	}{
		{Watermark{}, 20, 10, 100, 60, 80, 50, 20, 10},
		{Watermark{Position: "centre"}, 20, 10, 100, 60, 40, 25, 20, 10},
		{Watermark{Position: "northwest", Margin: 5}, 20, 10, 100, 60, 5, 5, 20, 10},
		{Watermark{Scale: 50}, 20, 10, 100, 60, 50, 35, 50, 25},
		{Watermark{Scale: 100, Margin: 10}, 20, 10, 100, 60, 10, 10, 80, 40},
		{Watermark{Scale: 100}, 10, 20, 100, 60, 70, 0, 30, 60},
		{Watermark{Scale: 1}, 20, 10, 10, 10, 9, 9, 1, 1},
		{Watermark{}, 20, 10, 10, 10, 0, 5, 10, 5},
		{Watermark{Margin: 5}, 20, 10, 10, 10, 0, 0, 0, 0},
		{Watermark{}, 0, 10, 10, 10, 0, 0, 0, 0},
	} {
		if x, y, a, b := c.mark.Place(c.w, c.h, c.cw, c.ch); x != c.x || y != c.y || a != c.a || b != c.b {
			t.Errorf("%+v of %dx%d on %dx%d: at %d, %d with %dx%d", c.mark, c.w, c.h, c.cw, c.ch, x, y, a, b)
		}
	}
}

// A preset arrives as it was sent, with its watermark; each on its side of the
// limits.
func TestPresetOnTheWire(t *testing.T) {
	whole := Preset{
		Width: 5, Height: 6, Fit: "contain", Gravity: "north", Enlarge: true, Rotate: 90, Flip: "both", Trim: 7, Blur: 1.5,
		Brightness: -8, Contrast: 9, Padding: Padding{1, 2, 3, 4}, Background: "#010203", Format: "webp", WebPQuality: 11, MaxBytes: 5000, Animated: "first",
		Watermark: &Watermark{Position: "north", Scale: 12, Opacity: 13, Margin: 14, Format: "png", Picture: bytes.Repeat([]byte("p"), MaxWatermark)},
	}
	small := Preset{Watermark: &Watermark{Format: "gif", Picture: []byte("q")}}
	req := &Request{"gif", []Target{{Preset: &whole}, {Size: Size{Height: 5}}, {Preset: &Preset{}}, {Preset: &small}}, 100, 200}
	var b bytes.Buffer
	must(t, writeRequest(&b, req, strings.NewReader("abc"), 3))
	got, src, err := readRequest(&b, new(memory))
	if err != nil || string(src) != "abc" || !reflect.DeepEqual(got, req) || b.Len() > 0 {
		t.Fatalf("%+v, %q, %v, and %d bytes behind", got, src, err, b.Len())
	}
	for head, want := range map[string]string{
		`"targets":[{"preset":{"fit":"round"}}]`:                                       "fit: ",
		`"targets":[{"preset":{"watermark":{"format":"png"}}}]`:                        "0 watermarks of 1 presets",
		`"targets":[{"preset":{"watermark":{"format":"svg"}}}],"watermarks":[1]`:       "watermark of format",
		`"targets":[{"preset":{"watermark":{"format":"png"}}}],"watermarks":[0]`:       "a watermark of 0 bytes",
		`"targets":[{"preset":{"watermark":{"format":"png"}}}],"watermarks":[1048577]`: "a watermark of 1048577 bytes",
		`"targets":[{"preset":{}}],"watermarks":[1]`:                                   "1 watermarks of 0 presets",
		`"targets":[{"preset":{"watermark":{"format":"png","picture":"YQ=="}}}]`:       "unknown field",
	} {
		var b bytes.Buffer
		must(t, rawHead(&b, `{"format":"jpeg",`+head+`,"max_pixels":1,"animation_pixels":1,"bytes":1}`))
		b.WriteString("xx")
		if _, _, err := readRequest(&b, new(memory)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", head, err, want)
		}
	}
	// A result is held against what the preset can give.
	req = &Request{"gif", []Target{{Preset: &Preset{Width: 10, Format: "png", Padding: Padding{Left: 5}}}}, 100, 200}
	for h, ok := range map[resultHead]bool{
		{"png", 15, 900, 1, 1}: true, {"png", 16, 9, 1, 1}: false, {"gif", 15, 9, 1, 1}: false, {"png", 15, 9, 2, 1}: false,
	} {
		if err := h.check(req, 0); (err == nil) != ok {
			t.Errorf("%+v: %v", h, err)
		}
	}
	req.Targets[0].Preset = &Preset{Animated: "first"}
	if err := (&resultHead{"gif", 9, 9, 2, 1}).check(req, 0); err == nil {
		t.Error("more than the first frame")
	}
}
