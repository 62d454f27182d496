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
	// 1 to 23 of a-z, 0-9, - and _, a letter first. It is part of links. Not in the form of
	// a size (x200), and neither full nor info.
	Name string `yaml:"name"`
	// The width of the box, in pixels: 1 to 8192; 0: free.
	Width int `yaml:"width"`
	// The height of the box, in pixels: 1 to 8192; 0: free.
	Height int `yaml:"height"`
	// How a picture is fitted to the box: inside, the whole picture and nothing else; cover,
	// the picture fills the box and the rest is cut off; contain, the whole picture, and the
	// rest of the box is filled; crop, cut out at its own scale. Empty: inside.
	Fit string `yaml:"fit"`
	// Which part is kept (cover, crop), or where the picture is placed (contain): centre,
	// north, northeast, east, southeast, south, southwest, west, northwest; or smart, the part
	// that attracts attention. Empty: centre.
	Gravity string `yaml:"gravity"`
	// Also enlarge a picture that is smaller than the box. Without it, cover gives the
	// largest piece that has the shape of the box.
	Enlarge bool `yaml:"enlarge"`
	// Rotation clockwise, before fitting, in degrees: 0, 90, 180 or 270.
	Rotate int `yaml:"rotate"`
	// Mirrored: horizontal, vertical or both. Empty: no.
	Flip string `yaml:"flip"`
	// Cut off borders in the colour of the top left pixel, with a tolerance of this much in
	// each channel: 1 to 254. An animation becomes its first frame. 0: no.
	Trim int `yaml:"trim"`
	// The change in brightness, -100 to 100 percent.
	Brightness int `yaml:"brightness"`
	// The change in contrast, -100 to 100 percent.
	Contrast int `yaml:"contrast"`
	// The radius of blurring (sigma), in pixels of the result: 0.3 to 20; 0: no blurring. A
	// picture with too many pixels for it is refused: 4 megapixels at 20.
	Blur float64 `yaml:"blur"`
	// The radius of sharpening (sigma), in pixels of the result: 0.3 to 10; 0: no sharpening.
	Sharpen float64 `yaml:"sharpen"`
	// Padding around the picture, in pixels, 0 to 1000: one number for all edges, two (top and
	// bottom, left and right) or four (top, right, bottom, left). Empty: none.
	Padding []int `yaml:"padding"`
	// The colour behind transparent parts and in filled areas, as "#rrggbb". Empty:
	// transparent, and white in a JPEG.
	Background string `yaml:"background"`
	// A text or a picture on top.
	Watermark Watermark `yaml:"watermark"`
	// jpeg, png, gif, webp or avif. Empty: as the source.
	Format string `yaml:"format"`
	// Like resize.negotiate, for this preset, which then has no format. Empty: none.
	Negotiate []string `yaml:"negotiate"`
	// The quality of lossy formats.
	Quality Quality `yaml:"quality"`
	// A JPEG or PNG whose whole area appears early while it loads.
	Progressive bool `yaml:"progressive"`
	// The most bytes of the result, 1KiB to 16MiB: the quality is lowered until it fits. For
	// format jpeg, webp or avif. 0: no limit.
	MaxBytes ByteSize `yaml:"max_bytes"`
	// keep: an animation stays one, if the format can hold it. first: its first frame.
	// Empty: keep.
	Animated string `yaml:"animated"`
}

// Quality is that of each lossy format, 1 to 100.
type Quality struct {
	// Of JPEG, 1 to 100. 0: resize.quality.
	JPEG int `yaml:"jpeg"`
	// Of WebP, 1 to 100. 0: resize.quality.
	WebP int `yaml:"webp"`
	// Of AVIF, 1 to 100. 0: resize.avif_quality.
	AVIF int `yaml:"avif"`
}

// Watermark is what a preset puts on a picture: a text or another picture. Both empty:
// none.
type Watermark struct {
	// One line of 1 to 100 characters, in the Latin, Greek or Cyrillic script.
	Text string `yaml:"text"`
	// Its colour, as "#rrggbb". Empty: white.
	Colour string `yaml:"colour"`
	// The path of a picture of at most 1 MiB, instead of a text.
	Picture string `yaml:"picture"`
	// Where it is placed, like gravity without smart. Empty: southeast.
	Position string `yaml:"position"`
	// Its width in percent of the result's: 1 to 100. 0: 25 for a text, and its own width
	// for a picture.
	Scale int `yaml:"scale"`
	// Its opacity in percent, 1 to 100; 0: 100.
	Opacity int `yaml:"opacity"`
	// Its distance from the edges, in pixels. 0 to 1000.
	Margin int `yaml:"margin"`
}

const (
	maxText   = 100 // characters of a watermark
	textScale = 25
)

// Definition is the preset as a decoder gets it, without the picture of its watermark and
// its format. quality and avif, the quality of AVIF, apply where the preset has none.
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

// makes tells whether the preset makes pictures in a format, whatever the source's.
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

// Outputs are the formats that are written and that not every decoder writes: "avif", or
// none.
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
			p.addf(at+".name", "%q is listed twice", preset.Name)
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

// validateEager reports names that are not a size that can be made.
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
