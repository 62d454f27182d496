package app

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

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
