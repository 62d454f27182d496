package resize

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Preset describes how a picture is made: its size and everything else. It is plain data;
// nobody changes it once it is in use. The zero value of each field asks for nothing, or
// for the default.
//
// A picture goes through its steps in this order: turned upright (as its EXIF
// block says), trimmed, rotated, flipped, fitted, brightness and contrast,
// blurred, sharpened, padded, marked, encoded.
type Preset struct {
	// Width and Height are those of the box that the picture is fitted to, in
	// pixels. 0: free.
	Width  int `json:"width,omitempty"`
	Height int `json:"height,omitempty"`
	// Fit is "inside" (all of the picture is in the box, and the result is no larger),
	// "cover" (it fills the box, and what exceeds the box is cut off), "contain" (all of it
	// is in the box, and the rest of the box is filled) or "crop" (the box is cut out of
	// it, at its own scale). Empty: "inside". "cover" and "contain" need both sides.
	Fit string `json:"fit,omitempty"`
	// Gravity says which part stays ("cover", "crop"), or where the picture stands
	// ("contain"): "centre", "north", "northeast" and so on, or "smart", the part that
	// draws the eye. Empty: "centre".
	Gravity string `json:"gravity,omitempty"`
	// Enlarge also enlarges a picture that is smaller than the box. Without it, "cover"
	// gives the largest piece that has the shape of the box.
	Enlarge bool `json:"enlarge,omitempty"`
	// Rotate turns clockwise: 0, 90, 180 or 270 degrees.
	Rotate int `json:"rotate,omitempty"`
	// Flip mirrors: "horizontal", "vertical" or "both". Empty: not.
	Flip string `json:"flip,omitempty"`
	// Trim cuts off borders whose pixels differ from the top left one by at most this much
	// in any channel, 1 to 254. 0: no trimming.
	Trim int `json:"trim,omitempty"`
	// Brightness and Contrast are changed by -100 to 100 percent.
	Brightness int `json:"brightness,omitempty"`
	Contrast   int `json:"contrast,omitempty"`
	// Blur and Sharpen are the standard deviation, in pixels of the result, of the Gauss
	// function: 0.3 to 20, and 0.3 to 10. 0: none.
	Blur    float64 `json:"blur,omitempty"`
	Sharpen float64 `json:"sharpen,omitempty"`
	// Padding is added on the outside, in pixels: top, right, bottom, left.
	Padding Padding `json:"padding,omitzero"`
	// Background is what shows through, "#rrggbb". Empty: transparent in formats that can
	// be; white in "jpeg".
	Background string `json:"background,omitempty"`
	// Watermark is put onto the picture. nil: none.
	Watermark *Watermark `json:"watermark,omitempty"`

	// Format of the result. Empty: as that of a [Target].
	Format string `json:"format,omitempty"`
	// JPEGQuality and WebPQuality are from 1 to 100; 0: 80. So is AVIFQuality; 0: 65.
	JPEGQuality int `json:"jpeg_quality,omitempty"`
	WebPQuality int `json:"webp_quality,omitempty"`
	AVIFQuality int `json:"avif_quality,omitempty"`
	// Progressive makes a JPEG or PNG whose whole area appears early while it loads.
	Progressive bool `json:"progressive,omitempty"`
	// MaxBytes is the largest size of the file: quality is lowered until it fits. It needs
	// a Format with quality: "jpeg", "webp" or "avif". 0: any size.
	MaxBytes int64 `json:"max_bytes,omitempty"`
	// Animated says what happens to an animation if Format can hold one: "keep", or "first"
	// for its first frame. Empty: "keep".
	Animated string `json:"animated,omitempty"`
}

// Padding is in pixels.
type Padding struct {
	Top    int `json:"top,omitempty"`
	Right  int `json:"right,omitempty"`
	Bottom int `json:"bottom,omitempty"`
	Left   int `json:"left,omitempty"`
}

// A Watermark is a picture that is put onto another.
type Watermark struct {
	// Position is like Gravity of a Preset, without "smart". Empty: "southeast".
	Position string `json:"position,omitempty"`
	// Scale is its width in percent of the result's, 1 to 100. 0: its own width. It is
	// never larger than the picture.
	Scale int `json:"scale,omitempty"`
	// Opacity in percent, 1 to 100. 0: 100.
	Opacity int `json:"opacity,omitempty"`
	// Margin to the edges, in pixels.
	Margin int `json:"margin,omitempty"`
	// Format of Picture, as that of a [Job].
	Format string `json:"format"`
	// Picture is a file of at most [MaxWatermark] bytes.
	Picture []byte `json:"-"`
}

// DefaultAVIFQuality looks about as good (SSIM) as a JPEG of quality 80.
const DefaultAVIFQuality = 65

// The limits of a preset.
const (
	// MaxWatermark is the largest file of a watermark, in bytes.
	MaxWatermark = 1 << 20

	maxPresetSide    = 8192
	maxPadding       = 1000
	maxTrim          = 254
	leastSigma       = 0.3
	maxBlur          = 20.0
	maxSharpen       = 10.0
	leastMaxBytes    = 1 << 10
	mostMaxBytes     = 16 << 20
	presetNameLen    = 23
	presetGeneration = 1 // goes up when the same preset gives other pictures
)

// Words of a preset.
const (
	FitInside  = "inside"
	FitCover   = "cover"
	FitContain = "contain"
	FitCrop    = "crop"

	gravitySmart  = "smart"
	animatedFirst = "first"
)

var (
	fits      = []string{FitInside, FitCover, FitContain, FitCrop}
	gravities = []string{"centre", "north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest"}
	flips     = []string{"horizontal", "vertical", "both"}
	formats   = []string{formatJPEG, formatPNG, formatGIF, formatWebP}
	// outputs are formats that a decoder writes where [Options] Outputs asks for
	// them, written all that can be asked for.
	outputs = []string{formatAVIF}
	written = slices.Concat(formats, outputs)
	colour  = regexp.MustCompile(`^#[0-9a-f]{6}$`)
)

// A PresetError is one thing wrong with a preset.
type PresetError struct {
	// Key names the setting, as in "watermark.scale".
	Key string
	// Reason says what is wrong, and what is allowed.
	Reason string
}

func (e PresetError) Error() string { return e.Key + ": " + e.Reason }

// checks collects what is wrong.
type checks []PresetError

func (c *checks) addf(key, format string, args ...any) {
	*c = append(*c, PresetError{key, fmt.Sprintf(format, args...)})
}

func (c *checks) between(key string, n, lo, hi int) {
	if n < lo || n > hi {
		c.addf(key, "%d is not in the range %d to %d", n, lo, hi)
	}
}

func (c *checks) oneOf(key, s string, names ...string) {
	if s != "" && !slices.Contains(names, s) {
		c.addf(key, "%s is not one of %s", quote(s), strings.Join(names, ", "))
	}
}

// Check returns everything that is wrong with the preset, contradictions included. It does
// not look at the bytes of a watermark.
func (p *Preset) Check() []PresetError {
	var c checks
	c.between("width", p.Width, 0, maxPresetSide)
	c.between("height", p.Height, 0, maxPresetSide)
	c.oneOf("fit", p.Fit, fits...)
	c.oneOf("gravity", p.Gravity, append(slices.Clone(gravities), gravitySmart)...)
	if !slices.Contains([]int{0, 90, 180, 270}, p.Rotate) {
		c.addf("rotate", "%d is not one of 0, 90, 180, 270", p.Rotate)
	}
	c.oneOf("flip", p.Flip, flips...)
	c.between("trim", p.Trim, 0, maxTrim)
	c.between("brightness", p.Brightness, -100, 100)
	c.between("contrast", p.Contrast, -100, 100)
	c.sigma("blur", p.Blur, maxBlur)
	c.sigma("sharpen", p.Sharpen, maxSharpen)
	edges := []int{p.Padding.Top, p.Padding.Right, p.Padding.Bottom, p.Padding.Left}
	if n := slices.Min(edges); n < 0 {
		c.between("padding", n, 0, maxPadding)
	} else {
		c.between("padding", slices.Max(edges), 0, maxPadding)
	}
	if p.Background != "" && !colour.MatchString(p.Background) {
		c.addf("background", `%s is not a colour: want "#rrggbb" in lower case, as in "#ffffff"`, quote(p.Background))
	}
	c.oneOf("format", p.Format, written...)
	c.between("quality.jpeg", p.JPEGQuality, 0, 100)
	c.between("quality.webp", p.WebPQuality, 0, 100)
	c.between("quality.avif", p.AVIFQuality, 0, 100)
	if p.MaxBytes != 0 && (p.MaxBytes < leastMaxBytes || p.MaxBytes > mostMaxBytes) {
		c.addf("max_bytes", "%d is neither 0 nor in the range 1KiB to 16MiB", p.MaxBytes)
	}
	c.oneOf("animated", p.Animated, "keep", animatedFirst)
	if w := p.Watermark; w != nil {
		c.oneOf("watermark.position", w.Position, gravities...)
		c.between("watermark.scale", w.Scale, 0, 100)
		c.between("watermark.opacity", w.Opacity, 0, 100)
		c.between("watermark.margin", w.Margin, 0, maxPadding)
	}
	p.contradictions(&c)
	return c
}

func (c *checks) sigma(key string, s, most float64) {
	if s != 0 && !(s >= leastSigma && s <= most) { // nor NaN
		c.addf(key, "%v is neither 0 nor in the range %v to %v", s, leastSigma, most)
	}
}

// contradictions are keys that are valid by themselves, but have no effect, or none that
// makes sense, beside the others.
func (p *Preset) contradictions(c *checks) {
	fit := p.fit()
	switch sides := min(p.Width, 1) + min(p.Height, 1); {
	case (fit == FitCover || fit == FitContain) && sides < 2:
		c.addf("fit", "%s needs both width and height", fit)
	case fit == FitCrop && sides < 1:
		c.addf("fit", "crop needs width or height")
	case fit == FitInside && sides < 1 && p.Enlarge:
		c.addf("enlarge", "it needs width or height")
	}
	if p.Enlarge && fit == FitCrop {
		c.addf("enlarge", "fit: crop does not change the scale; want cover")
	}
	switch {
	case p.Gravity != "" && fit == FitInside:
		c.addf("gravity", "it has no effect with fit: inside; want cover, contain or crop")
	case p.Gravity == gravitySmart && fit == FitContain:
		c.addf("gravity", "smart chooses what is cut off, and fit: contain cuts nothing off")
	}
	if p.Blur > 0 && p.Sharpen > 0 {
		c.addf("sharpen", "blur undoes it: want one of them")
	}
	if p.MaxBytes > 0 && !slices.Contains([]string{formatJPEG, formatWebP, formatAVIF}, p.Format) {
		c.addf("max_bytes", "it lowers the quality, so format must be jpeg, webp or avif")
	}
	if p.Progressive && slices.Contains([]string{formatGIF, formatWebP, formatAVIF}, p.Format) {
		c.addf("progressive", "%s knows no such thing; format must be jpeg, png or left out", p.Format)
	}
	if p.JPEGQuality > 0 && p.Format != "" && p.Format != formatJPEG {
		c.addf("quality.jpeg", "format is %s", p.Format)
	}
	if p.WebPQuality > 0 && p.Format != "" && p.Format != formatWebP {
		c.addf("quality.webp", "format is %s", p.Format)
	}
	if p.AVIFQuality > 0 && p.Format != "" && p.Format != formatAVIF {
		c.addf("quality.avif", "format is %s", p.Format)
	}
	if p.Animated == "keep" && p.Format != "" && !animates(p.Format) && slices.Contains(written, p.Format) {
		c.addf("animated", "%s holds no animation: want first, or format gif, webp or left out", p.Format)
	}
	if p.Animated == "keep" && p.Trim > 0 {
		c.addf("animated", "an animation is not trimmed: want first")
	}
	if w := p.Watermark; w != nil && w.Position == "centre" && w.Margin > 0 {
		c.addf("watermark.margin", "it has no effect in the centre")
	}
}

// check is Check for a preset that is about to be used, watermark included.
func (p *Preset) check() error {
	if errs := p.Check(); len(errs) > 0 {
		return errs[0]
	}
	if w := p.Watermark; w != nil {
		if !knownFormat(w.Format) {
			return fmt.Errorf("watermark of format %s", quote(w.Format))
		}
		if n := len(w.Picture); n < 1 || n > MaxWatermark {
			return fmt.Errorf("watermark of %d bytes; from 1 to %d are allowed", n, MaxWatermark)
		}
	}
	return nil
}

var presetName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

// CheckPresetName tells whether a preset can have this name: 1 to 23 of a-z, 0-9,
// "-" and "_", beginning with a letter, and not in the form of a size. It does not know
// which names links reserve: that is package sign.
func CheckPresetName(name string) error {
	if len(name) > presetNameLen || !presetName.MatchString(name) {
		return fmt.Errorf("%s is not the name of a preset: want 1 to %d of a-z, 0-9, - and _, a letter first", quote(name), presetNameLen)
	}
	if strings.Trim(name, "0123456789") == "x" {
		return errors.New(name + " has the form of a size")
	}
	return nil
}

// Digest is 8 characters (a-z, 2-7) that change with every setting of the preset and with
// the bytes of a watermark. It is part of the names of files made by the preset, so that
// files of an earlier definition are not taken for its own.
func (p *Preset) Digest() string {
	h := sha256.New()
	// Numbers and strings always marshal.
	_ = json.NewEncoder(h).Encode(p)
	fmt.Fprintln(h, presetGeneration)
	if p.Watermark != nil {
		h.Write(p.Watermark.Picture)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)[:5]))
}

// Plain tells whether the result looks like the picture itself if no side changes and the
// format stays, so that the picture itself can be served instead.
func (p *Preset) Plain() bool {
	q := *p
	q.Width, q.Height, q.Fit, q.Gravity, q.Enlarge = 0, 0, "", "", false
	q.Format, q.JPEGQuality, q.WebPQuality, q.AVIFQuality = "", 0, 0, 0
	if q.Animated == "keep" {
		q.Animated = ""
	}
	return q == Preset{}
}

// Animates tells whether an animation stays one in this format.
func (t Target) Animates(source string) bool {
	if t.Preset != nil && (t.Preset.Animated == animatedFirst || t.Preset.Trim > 0) {
		return false
	}
	switch source {
	case FormatAPNG:
		return t.FormatOf(formatPNG) == formatPNG || animates(t.FormatOf(formatPNG))
	case formatPNG:
		return animates(t.FormatOf(formatPNG))
	}
	return animates(source) && animates(t.FormatOf(source))
}

// FormatAPNG stands for an animated PNG in [Target.Animates]: it is an animation even if a
// PNG is wanted. A decoder writes no animated PNG, so it makes the first frame, as it does
// of one that is too large.
const FormatAPNG = "apng"

// FormatOf is the format of what is made of a source in this format.
func (t Target) FormatOf(source string) string {
	f := t.Format
	if t.Preset != nil {
		f = t.Preset.Format
	}
	if f != "" {
		return f
	}
	switch source {
	case formatJPEG, formatPNG, formatGIF, formatWebP:
		return source
	}
	return formatWebP
}

// QualityOf is the quality, 1 to 100, for a format that has one: where the target says
// none, 80, or [DefaultAVIFQuality].
func (t Target) QualityOf(format string) int {
	q := t.Quality
	if p := t.Preset; p != nil {
		q = map[string]int{formatJPEG: p.JPEGQuality, formatWebP: p.WebPQuality, formatAVIF: p.AVIFQuality}[format]
	}
	switch {
	case q > 0:
		return q
	case format == formatAVIF:
		return DefaultAVIFQuality
	}
	return 80
}

// As is the target in another format, for a source in this one: it looks the same, and
// settings that apply only to the old format are dropped. quality, 1 to 100, is that of the
// new format; a preset has its own, and ignores it.
func (t Target) As(format, source string, quality int) Target {
	if t.Preset == nil {
		t.Format, t.Quality = format, quality
		return t
	}
	p := *t.Preset
	if p.Background == "" && t.FormatOf(source) == formatJPEG {
		p.Background = "#ffffff" // like the white that replaces transparency
	}
	p.Format, p.Progressive, p.JPEGQuality = format, false, 0
	if format != formatWebP {
		p.WebPQuality = 0
	}
	if format != formatAVIF {
		p.AVIFQuality = 0
	}
	if p.Animated == "keep" && !animates(format) {
		p.Animated = ""
	}
	return Target{Preset: &p}
}

// BackgroundRGB is Background as three numbers; ok is false where there is none.
func (p *Preset) BackgroundRGB() (rgb [3]uint8, ok bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(p.Background, "#"), 16, 24)
	return [3]uint8{uint8(n >> 16), uint8(n >> 8), uint8(n)}, err == nil
}

func (p *Preset) fit() string {
	if p.Fit == "" {
		return FitInside
	}
	return p.Fit
}
