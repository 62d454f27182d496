package main

import (
	"bytes"
	"encoding/binary"
	"testing"

	"imgkeep/resize"
)

// A file without its end gives the same sizes as with it; without some of its picture,
// none.
func TestWithoutItsEnd(t *testing.T) {
	p := newPool(t, resize.Options{})
	all := sources(t, p)
	announcing := bytes.Clone(all["webp"])
	binary.LittleEndian.PutUint32(announcing[4:], uint32(len(announcing)-8+2))
	gif := all["gif animated"]
	for name, c := range map[string]struct {
		format      string
		whole, less []byte
	}{
		"jpeg":             {"jpeg", all["jpeg"], all["jpeg"][:len(all["jpeg"])-2]},
		"jpeg progressive": {"jpeg", all["jpeg progressive"], all["jpeg progressive"][:len(all["jpeg progressive"])-2]},
		"jpeg, half EOI":   {"jpeg", all["jpeg"], all["jpeg"][:len(all["jpeg"])-1]},
		"jpeg, short APP0": {"jpeg", all["jpeg"], append([]byte{0xFF, 0xD8, 0xFF, 0xEC, 0, 0, 0xFF, 0xFE, 0, 1}, all["jpeg"][2:]...)},
		"png":              {"png", all["png"], all["png"][:len(all["png"])-12]},
		"png, half IEND":   {"png", all["png interlaced"], all["png interlaced"][:len(all["png interlaced"])-5]},
		"webp":             {"webp", all["webp"], announcing},
		"gif":              {"gif", gif, gif[:len(gif)-1]},
		"gif and zeros":    {"gif", gif, append(bytes.Clone(gif[:len(gif)-1]), 0, 0, 0)},
	} {
		for _, z := range []resize.Size{{Height: 33}, huge} {
			want, got := one(t, p, c.format, c.whole, resize.Target{Size: z}), one(t, p, c.format, c.less, resize.Target{Size: z})
			if !bytes.Equal(got.Data, want.Data) || got.Frames != want.Frames {
				t.Errorf("%s, %v: %d frames in %d bytes, want %d in %d", name, z, got.Frames, len(got.Data), want.Frames, len(want.Data))
			}
		}
	}
	for _, format := range []string{"jpeg", "png", "gif", "webp"} {
		mustRefuse(t, p, format, all[format][:len(all[format])-40])
	}
}
