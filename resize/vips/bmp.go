package vips

import (
	"bytes"
	"fmt"
	"image"

	"golang.org/x/image/bmp"

	"imgkeep/resize"
)

const (
	formatBMP = "bmp"
	formatGIF = "gif"
)

// openBMP decodes a BMP. libvips reads it through ImageMagick alone, which reads
// a hundred formats more.
func openBMP(src []byte, maxPixels int64) (source, error) {
	blame := func(err error) error { return &resize.ImageError{Detail: err.Error()} }
	c, err := bmp.DecodeConfig(bytes.NewReader(src))
	if err != nil {
		return source{}, blame(err)
	}
	if err := roomFor(c.Width, c.Height, maxPixels); err != nil {
		return source{}, err
	}
	// Memory is taken for all pixels before they are read: so let them be there.
	// There is a bit of each at least.
	if int64(c.Width)*int64(c.Height) > 8*int64(len(src)) {
		return source{}, blame(fmt.Errorf("bmp: %d by %d pixels in %d bytes", c.Width, c.Height, len(src)))
	}
	if err := resize.Room(4 * int64(c.Width) * int64(c.Height)); err != nil {
		return source{}, err
	}
	m, err := bmp.Decode(bytes.NewReader(src))
	if err != nil {
		return source{}, blame(err)
	}
	return (&raw{pixels: rgba(m), width: c.Width, height: c.Height}).open()
}

// rgba returns pixels that are not weighted by their alpha. A picture that is
// wholly transparent is one whose writer left the fourth byte at 0, and is opaque,
// as browsers have it.
func rgba(m image.Image) []byte {
	switch m := m.(type) {
	case *image.NRGBA:
		for i := 3; i < len(m.Pix); i += 4 {
			if m.Pix[i] != 0 {
				return m.Pix
			}
		}
		for i := 3; i < len(m.Pix); i += 4 {
			m.Pix[i] = 255
		}
		return m.Pix
	case *image.RGBA: // of which none is transparent
		return m.Pix
	case *image.Paletted:
		var colours [256][4]byte
		for i, c := range m.Palette {
			r, g, b, _ := c.RGBA()
			colours[i] = [4]byte{byte(r >> 8), byte(g >> 8), byte(b >> 8), 255}
		}
		pixels := make([]byte, 0, 4*len(m.Pix))
		for _, i := range m.Pix {
			pixels = append(pixels, colours[i][:]...)
		}
		return pixels
	}
	panic("vips: the BMP decoder has got another kind of picture")
}
