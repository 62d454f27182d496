package vips

import (
	"image"
	"testing"
)

// Nothing that chunks say makes it panic, and a frame lies on its canvas.
func FuzzAPNG(f *testing.F) {
	const head = "\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x00\x02\x00\x00\x00\x02\x08\x00\x00\x00\x00crc4"
	f.Add([]byte(head + "\x00\x00\x00\x08acTL\x00\x00\x00\x01\x00\x00\x00\x00crc4\x00\x00\x00\x01IDATxcrc4" +
		"\x00\x00\x00\x1afcTL\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x0a\x00\x64\x00\x00crc4" +
		"\x00\x00\x00\x06fdAT\x00\x00\x00\x01xycrc4\x00\x00\x00\x00IENDcrc4"))
	f.Fuzz(func(t *testing.T, src []byte) {
		a := readAPNG(src)
		if a == nil {
			return
		}
		for i, f := range a.frames {
			if !f.box.In(image.Rect(0, 0, a.width, a.height)) || len(a.picture(f, a.colours, a.palette)) > 2*len(src)+100 {
				t.Errorf("frame %d of %+v", i, a)
			}
		}
		if in, err := a.open(1<<16, true); err == nil {
			for i := range len(a.frames) {
				if in.raw == nil || a.compose(i) != nil {
					break
				}
			}
			in.close()
		}
	})
}

func TestAPNGFirst(t *testing.T) {
	const head = "\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x00\x02\x00\x00\x00\x02\x08\x00\x00\x00\x00crc4"
	src := head + "\x00\x00\x00\x08acTL\x00\x00\x00\x01\x00\x00\x00\x00crc4\x00\x00\x00\x01IDATxcrc4" +
		"\x00\x00\x00\x1afcTL\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x0a\x00\x64\x00\x00crc4" +
		"\x00\x00\x00\x06fdAT\x00\x00\x00\x01xycrc4\x00\x00\x00\x00IENDcrc4"
	if a := readAPNG([]byte(src)); a == nil || !a.outside || len(a.frames) != 1 || a.frames[0].box != image.Rect(1, 1, 2, 2) || a.frames[0].delay != 100 {
		t.Errorf("%+v", a)
	}
}
