package vips

/*
#include <stdlib.h>
#include "thumb.h"
*/
import "C"

import (
	"bytes"
	"fmt"
	"image"
	"runtime"
	"runtime/debug"
	"unsafe"

	"golang.org/x/image/bmp"

	"imgkeep/resize"
)

const formatBMP = "bmp"

// largeBMP is how many pixels are so many that their memory is given back at once.
const largeBMP = 4 << 20

// openBMP decodes a BMP. libvips reads it through ImageMagick alone, which reads
// a hundred formats more.
func openBMP(src []byte, maxPixels int64) (source, error) {
	blame := func(err error) error { return &resize.ImageError{Detail: err.Error()} }
	c, err := bmp.DecodeConfig(bytes.NewReader(src))
	if err != nil {
		return source{}, blame(err)
	}
	if c.Width < 1 || c.Height < 1 {
		return source{}, blame(fmt.Errorf("bmp: %d by %d pixels", c.Width, c.Height))
	}
	if int64(c.Width) > maxPixels/int64(c.Height) || max(c.Width, c.Height) > maxSide {
		return source{}, tooLarge("%d by %d pixels are over %d, or a side over %d", c.Width, c.Height, maxPixels, maxSide)
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
	pixels := rgba(m)
	var pin runtime.Pinner
	pin.Pin(unsafe.SliceData(pixels))
	raw := (*C.thumb_raw)(C.malloc(C.sizeof_thumb_raw))
	*raw = C.thumb_raw{unsafe.Pointer(unsafe.SliceData(pixels)), C.int(c.Width), C.int(c.Height)}
	return source{unsafe.Pointer(raw), C.sizeof_thumb_raw, C.THUMB_RAW, func() {
		C.free(unsafe.Pointer(raw))
		pin.Unpin()
		if pixels = nil; c.Width*c.Height > largeBMP {
			debug.FreeOSMemory()
		}
	}}, nil
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
