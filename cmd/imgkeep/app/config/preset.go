package config

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"imgkeep/resize"
	"imgkeep/sign"
)

// Preset is a size with a name. Its fields are those of resize.Preset, where each
// is explained; zero stands for the default.
type Preset struct {
	// Name stands in links. No other size has it.
	Name       string  `yaml:"name"`
	Width      int     `yaml:"width"`
	Height     int     `yaml:"height"`
	Fit        string  `yaml:"fit"`
	Gravity    string  `yaml:"gravity"`
	Enlarge    bool    `yaml:"enlarge"`
	Rotate     int     `yaml:"rotate"`
	Flip       string  `yaml:"flip"`
	Trim       int     `yaml:"trim"`
	Brightness int     `yaml:"brightness"`
	Contrast   int     `yaml:"contrast"`
	Blur       float64 `yaml:"blur"`
	Sharpen    float64 `yaml:"sharpen"`
	// Padding is one number for all edges, two for top and bottom and for left
	// and right, or four: top, right, bottom, left. Empty: none.
	Padding    []int     `yaml:"padding"`
	Background string    `yaml:"background"`
	Watermark  Watermark `yaml:"watermark"`
	Format     string    `yaml:"format"`
	// Negotiate is as that of Resize, for this preset. It has no Format then.
	Negotiate []string `yaml:"negotiate"`
	// Quality of lossy formats. 0: Resize.Quality, or Resize.AVIFQuality.
	Quality     Quality  `yaml:"quality"`
	Progressive bool     `yaml:"progressive"`
	MaxBytes    ByteSize `yaml:"max_bytes"`
	Animated    string   `yaml:"animated"`
}

// Quality is that of each lossy format, 1 to 100.
type Quality struct {
	JPEG int `yaml:"jpeg"`
	WebP int `yaml:"webp"`
	AVIF int `yaml:"avif"`
}

// Watermark is what a preset puts on a picture: a text or another picture. Both
// empty: nothing.
type Watermark struct {
	// Text is one line.
	Text string `yaml:"text"`
	// Colour of Text, "#rrggbb". Empty: white.
	Colour string `yaml:"colour"`
	// Picture is the path of a file.
	Picture string `yaml:"picture"`
	// Position, Scale, Opacity and Margin are those of resize.Watermark; but a
	// text whose scale is 0 has one of 25.
	Position string `yaml:"position"`
	Scale    int    `yaml:"scale"`
	Opacity  int    `yaml:"opacity"`
	Margin   int    `yaml:"margin"`
}

const (
	maxText   = 100 // characters of a watermark
	textScale = 25
)

// Definition is the preset as a decoder gets it, but for the picture of its
// watermark and the format of that. quality and avif, the quality of AVIF, are what
// holds where the preset has none.
func (p Preset) Definition(quality, avif int) resize.Preset {
	d := resize.Preset{
		Width: p.Width, Height: p.Height, Fit: p.Fit, Gravity: p.Gravity, Enlarge: p.Enlarge,
		Rotate: p.Rotate, Flip: p.Flip, Trim: p.Trim,
		Brightness: p.Brightness, Contrast: p.Contrast, Blur: p.Blur, Sharpen: p.Sharpen,
		Background: p.Background, Format: p.Format,
		JPEGQuality: p.Quality.JPEG, WebPQuality: p.Quality.WebP, AVIFQuality: p.Quality.AVIF,
		Progressive: p.Progressive, MaxBytes: int64(p.MaxBytes), Animated: p.Animated,
	}
	if d.JPEGQuality == 0 && (p.Format == "" || p.Format == "jpeg") {
		d.JPEGQuality = quality
	}
	if d.WebPQuality == 0 && (p.Format == "" || p.Format == "webp") {
		d.WebPQuality = quality
	}
	if d.AVIFQuality == 0 && p.makes("avif") {
		d.AVIFQuality = avif
	}
	switch n := p.Padding; len(n) {
	case 1:
		d.Padding = resize.Padding{Top: n[0], Right: n[0], Bottom: n[0], Left: n[0]}
	case 2:
		d.Padding = resize.Padding{Top: n[0], Right: n[1], Bottom: n[0], Left: n[1]}
	case 4:
		d.Padding = resize.Padding{Top: n[0], Right: n[1], Bottom: n[2], Left: n[3]}
	}
	if w := p.Watermark; w.Text != "" || w.Picture != "" {
		d.Watermark = &resize.Watermark{Position: w.Position, Scale: w.Scale, Opacity: w.Opacity, Margin: w.Margin}
		if w.Text != "" && w.Scale == 0 {
			d.Watermark.Scale = textScale
		}
	}
	return d
}

// makes tells whether pictures in a format are made by the preset, of a source in
// whatever other.
func (p Preset) makes(format string) bool {
	return p.Format == format || slices.Contains(p.Negotiate, format)
}

// negotiable are the formats that can be negotiated.
var negotiable = []string{"avif", "webp"}

func validateNegotiate(p *problems, key string, list []string) {
	for i, f := range list {
		oneOf(p, item(key, i), f, negotiable...)
	}
	unique(p, key, list)
}

// Outputs are the formats that are written, and are not among those that every
// decoder reads and writes: "avif", or none.
func (c *Config) Outputs() []string {
	avif := func(p Preset) bool { return p.makes("avif") }
	if slices.Contains(c.Resize.Negotiate, "avif") || slices.ContainsFunc(c.Presets, avif) {
		return []string{"avif"}
	}
	return nil
}

func (c *Config) validatePresets(p *problems) {
	taken := map[string]bool{}
	for i, preset := range c.Presets {
		at := item("presets", i)
		switch err := resize.CheckPresetName(preset.Name); {
		case err != nil:
			p.add(at+".name", err)
		case preset.Name == sign.SizeFull, preset.Name == sign.SizeInfo:
			p.addf(at+".name", "%q is taken: neither %s nor %s can be a preset", preset.Name, sign.SizeFull, sign.SizeInfo)
		case taken[preset.Name]:
			p.addf(at+".name", "%q stands there twice", preset.Name)
		}
		taken[preset.Name] = true
		wrong := func(key, reason string) { p.addf(at+"."+key, "preset %q: %s", preset.Name, reason) }
		if n := len(preset.Padding); n == 3 || n > 4 {
			wrong("padding", "it has 3 numbers or more than 4; want 1, 2 (top and bottom, left and right) or 4 (top, right, bottom, left)")
		}
		if err := preset.Watermark.check(); err != nil {
			wrong("watermark", err.Error())
		}
		validateNegotiate(p, at+".negotiate", preset.Negotiate)
		if len(preset.Negotiate) > 0 && preset.Format != "" {
			wrong("negotiate", "format is "+preset.Format+": want one of them, a format for all viewers or several to choose from")
		}
		if preset.Quality.AVIF != 0 && preset.Format == "" && !preset.makes("avif") {
			wrong("quality.avif", "nothing is made in avif: want format: avif, or negotiate: [avif]")
		}
		// Without the defaults, which cannot contradict anything.
		d := preset.Definition(0, 0)
		for _, e := range d.Check() {
			wrong(e.Key, e.Reason)
		}
	}
}

// validateEager names what is no size that can be made.
func (c *Config) validateEager(p *problems) {
	if n := len(c.Resize.Eager); n > resize.MaxTargets {
		p.addf("resize.eager", "it has %d sizes; want at most %d", n, resize.MaxTargets)
	}
	listed := func(side int) bool { return side == 0 || slices.Contains(c.Sizes, side) }
	for i, name := range c.Resize.Eager {
		if slices.ContainsFunc(c.Presets, func(p Preset) bool { return p.Name == name }) {
			continue
		}
		size, err := resize.ParseSize(name)
		if err != nil || !listed(size.Height) || !listed(size.Width) {
			p.addf(item("resize.eager", i), "%q is neither a preset nor height x width of the sizes, as in 250x250, 150x, x200", name)
		}
	}
	unique(p, "resize.eager", c.Resize.Eager)
}

func (w Watermark) check() error {
	alone := w
	alone.Text, alone.Picture = "", ""
	switch {
	case w.Text != "" && w.Picture != "":
		return errors.New("it has both text and picture; want one of them")
	case w.Text == "" && w.Picture == "" && alone != Watermark{}:
		return errors.New("it has neither text nor picture")
	case w.Text == "" && w.Colour != "":
		return errors.New("colour is for text; the colours of a picture are its own")
	case utf8.RuneCountInString(w.Text) > maxText || !utf8.ValidString(w.Text) || !controlFree(w.Text) || w.Text != "" && strings.TrimSpace(w.Text) == "":
		return errors.New("its text must be one line of 1 to 100 characters")
	case w.Colour != "" && (&resize.Preset{Background: w.Colour}).Check() != nil:
		return errors.New(`its colour must be "#rrggbb" in lower case, as in "#ffffff"`)
	case !controlFree(w.Picture):
		return errors.New("the path of its picture holds a control character")
	}
	return nil
}
