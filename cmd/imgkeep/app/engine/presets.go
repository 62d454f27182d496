package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"os"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/resize"
)

// Presets are the presets of a configuration, with the pictures of their
// watermarks. Decoders open no file and have no fonts, so a picture is read here,
// once, and a text is drawn here.
func Presets(c config.Config) (map[string]*resize.Preset, error) {
	all := map[string]*resize.Preset{}
	for i, p := range c.Presets {
		d := p.Definition(c.Resize.Quality, c.Resize.AVIFQuality)
		if d.Watermark != nil {
			if err := setWatermark(d.Watermark, p.Watermark); err != nil {
				return nil, config.Errorf("presets[%d].watermark: preset %q: %w", i, p.Name, err)
			}
		}
		all[p.Name] = &d
	}
	return all, nil
}

func setWatermark(w *resize.Watermark, c config.Watermark) error {
	if c.Text != "" {
		picture, err := drawText(c.Text, c.Colour)
		if err != nil {
			return fmt.Errorf("text %q: %w", c.Text, err)
		}
		w.Format, w.Picture = probe.PNG.String(), picture
		return nil
	}
	f, err := os.Open(c.Picture)
	if err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	defer f.Close()
	if w.Picture, err = io.ReadAll(io.LimitReader(f, resize.MaxWatermark+1)); err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	if len(w.Picture) > resize.MaxWatermark {
		return fmt.Errorf("picture: %s has more than %d bytes", c.Picture, resize.MaxWatermark)
	}
	info, err := probe.Read(bytes.NewReader(w.Picture), probe.Limits{Formats: probe.Web(), MaxPixels: maxMarkPixels})
	if errors.Is(err, probe.ErrPixels) {
		return fmt.Errorf("picture: %s has more than %d pixels", c.Picture, maxMarkPixels)
	}
	if err != nil {
		return fmt.Errorf("picture: %s: %w", c.Picture, err)
	}
	w.Format = info.Format.String()
	return nil
}

// tryMarks has the decoders put each watermark onto a picture that is sound: one
// that they cannot read would fail every image later, as if that were at fault.
func tryMarks(ctx context.Context, pool *resize.Pool, c config.Config, presets map[string]*resize.Preset) error {
	for i, p := range c.Presets {
		preset := presets[p.Name]
		if preset.Watermark == nil {
			continue
		}
		var sound bytes.Buffer
		if err := png.Encode(&sound, image.NewGray(image.Rect(0, 0, 64, 64))); err != nil {
			return err
		}
		_, err := pool.Resize(ctx, &sound, int64(sound.Len()), resize.Job{
			Format: probe.PNG.String(), Targets: []resize.Target{{Preset: preset}},
		})
		if err != nil {
			return config.Errorf("presets[%d].watermark: preset %q: it cannot be drawn: %w", i, p.Name, err)
		}
	}
	return nil
}

// maxMarkPixels bounds a watermark, since it is decoded again with every picture.
const maxMarkPixels = 4_000_000

const (
	// textSize is the height of a watermark's letters, in pixels: it is scaled
	// down to what a preset asks for.
	textSize = 96
	// shadowShift is how far the shadow lies to the lower right, in pixels.
	shadowShift = textSize / 24
)

// drawText draws a line of text on nothing, as a PNG, with a soft shadow of black
// or white, so that it can be read on any picture. hex is "#rrggbb"; empty: white.
func drawText(text, hex string) ([]byte, error) {
	ink := color.NRGBA{255, 255, 255, 255}
	if hex != "" {
		if _, err := fmt.Sscanf(hex, "#%02x%02x%02x", &ink.R, &ink.G, &ink.B); err != nil {
			return nil, fmt.Errorf("colour %q: %w", hex, err)
		}
	}
	parsed, err := opentype.Parse(gobold.TTF)
	if err != nil {
		return nil, err
	}
	face, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: textSize, DPI: 72, Hinting: font.HintingNone})
	if err != nil {
		return nil, err
	}
	defer face.Close()
	for _, r := range text {
		if i, err := parsed.GlyphIndex(nil, r); err != nil || i == 0 {
			return nil, fmt.Errorf("the built-in font has no %q: use a picture", r)
		}
	}
	bounds, _ := font.BoundString(face, text)
	left, top := bounds.Min.X.Floor(), bounds.Min.Y.Floor()
	box := image.Rect(0, 0, bounds.Max.X.Ceil()-left+shadowShift, bounds.Max.Y.Ceil()-top+shadowShift)
	shadow := color.NRGBA{0, 0, 0, 140}
	if luma := 299*int(ink.R) + 587*int(ink.G) + 114*int(ink.B); luma < 128_000 {
		shadow = color.NRGBA{255, 255, 255, 140}
	}
	m := image.NewNRGBA(box)
	for _, layer := range []struct {
		colour color.NRGBA
		shift  int
	}{{shadow, shadowShift}, {ink, 0}} {
		d := font.Drawer{Dst: draw.Image(m), Src: image.NewUniform(layer.colour), Face: face, Dot: fixed.P(layer.shift-left, layer.shift-top)}
		d.DrawString(text)
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, m); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
