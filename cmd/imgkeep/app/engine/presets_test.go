package engine

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/resize"
)

// A text has its colour, a shadow that stands out from it, and room for both; what
// the font has not is refused, and not drawn as a box.
func TestDrawText(t *testing.T) {
	for _, c := range []struct {
		hex         string
		ink, shadow color.NRGBA
	}{
		{"", color.NRGBA{255, 255, 255, 255}, color.NRGBA{0, 0, 0, 140}},
		{"#ffee00", color.NRGBA{255, 238, 0, 255}, color.NRGBA{0, 0, 0, 140}},
		{"#000040", color.NRGBA{0, 0, 64, 255}, color.NRGBA{255, 255, 255, 140}},
	} {
		file, err := drawText("© Ж é", c.hex)
		if err != nil {
			t.Fatal(err)
		}
		m, err := png.Decode(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		b := m.Bounds()
		count := map[color.NRGBA]int{}
		edge := 0
		for y := range b.Dy() {
			for x := range b.Dx() {
				p := color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA)
				count[p]++
				if p.A > 0 && (x == 0 || y == 0 || x == b.Dx()-1 || y == b.Dy()-1) {
					edge++
				}
			}
		}
		if count[c.ink] < 500 || count[c.shadow] < 100 || count[color.NRGBA{}] < 1000 || b.Dy() < 60 || b.Dy() > 140 {
			t.Errorf("%s: %v, of ink %d pixels, of shadow %d, of nothing %d", c.hex, b, count[c.ink], count[c.shadow], count[color.NRGBA{}])
		}
		if edge > b.Dx() {
			t.Errorf("%s: it is cut off: %d pixels at the edge", c.hex, edge)
		}
	}
	for _, text := range []string{"日本", "a😀", "\u0001"} {
		if _, err := drawText(text, ""); err == nil || !strings.Contains(err.Error(), "the built-in font has no ") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if file, err := drawText(strings.Repeat("W", 100), ""); err != nil || len(file) > resize.MaxWatermark {
		t.Errorf("the longest text: %d bytes, %v", len(file), err)
	}
}

// A picture is read at the start: one that cannot be used stops it, and names the
// preset.
func TestWatermarkPicture(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	picture := func(w, h int) []byte {
		var b bytes.Buffer
		if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, w, h))); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	logo := picture(20, 10)
	atLimit := append(bytes.Clone(logo), make([]byte, resize.MaxWatermark-len(logo))...)
	for name, c := range map[string]struct {
		path, want string
	}{
		"good":            {write("logo.jpg", logo), ""}, // whatever it is called
		"at the limit":    {write("limit.png", atLimit), ""},
		"most pixels":     {write("pixels.png", picture(2000, 2000)), ""},
		"missing":         {filepath.Join(dir, "none.png"), "no such file"},
		"a folder":        {dir, "is a directory"},
		"too large":       {write("large.png", append(atLimit, 0)), "more than 1048576 bytes"},
		"too many pixels": {write("many.png", picture(2001, 2000)), "more than 4000000 pixels"},
		"no image":        {write("text.png", []byte("<svg/>")), "not an accepted image type"},
		"cut off":         {write("cut.png", logo[:len(logo)-5]), "truncated"},
	} {
		c1 := config.Default()
		c1.Presets = []config.Preset{{Name: "plain"}, {Name: "marked", Watermark: config.Watermark{Picture: c.path, Opacity: 5}}}
		presets, err := Presets(c1)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want == "":
			if w := presets["marked"].Watermark; w.Format != "png" || !bytes.HasPrefix(w.Picture, []byte("\x89PNG")) || w.Opacity != 5 || presets["plain"].Watermark != nil {
				t.Errorf("%s: %+v", name, w)
			}
		case err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), `presets[1].watermark: preset "marked": picture: `):
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// Hot links hang on the definitions of presets: a change drops those made before.
func TestFingerprintHasPresets(t *testing.T) {
	of := func(p config.Preset) []string {
		c := config.Default()
		c.Presets = []config.Preset{p}
		presets, err := Presets(c)
		if err != nil {
			t.Fatal(err)
		}
		e := fingerprint(c, presets)
		slices.Sort(e)
		return e
	}
	first := of(config.Preset{Name: "a", Width: 5})
	if again := of(config.Preset{Name: "a", Width: 5}); !slices.Equal(first, again) {
		t.Errorf("the same is %q, and then %q", first, again)
	}
	for _, other := range []config.Preset{{Name: "b", Width: 5}, {Name: "a", Width: 6}, {Name: "a", Width: 5, Watermark: config.Watermark{Text: "x"}}} {
		if e := of(other); !slices.ContainsFunc(first, func(s string) bool { return !slices.Contains(e, s) }) {
			t.Errorf("%+v: nothing of %q is gone from %q", other, first, e)
		}
	}
}

// nginx looks for the files that presets make, also in formats that no original
// has.
func TestSiteHasFormatsOfPresets(t *testing.T) {
	c := config.Default()
	c.Formats = []string{"jpeg"}
	c.Presets = []config.Preset{{Name: "a"}, {Name: "b", Format: "webp"}, {Name: "c", Format: "jpeg"}}
	site, err := NewSite(c)
	if err != nil || fmt.Sprint(site.Extensions) != "[.jpg .webp]" {
		t.Errorf("%v, %v", site.Extensions, err)
	}
}
