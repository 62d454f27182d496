package vips

import (
	"encoding/binary"

	"imgkeep/resize"
)

// checkBoxes refuses a HEIC or an AVIF (ISO/IEC 14496-12, 4.2) that is cut off in the
// box of its items or of their data: some versions of libheif make a picture of what
// there is. What follows these two is nobody's business.
func checkBoxes(src []byte) error {
	items, data := false, false
	for rest := src; !items || !data; {
		if len(rest) < 8 {
			break
		}
		kind, header, size := string(rest[4:8]), uint64(8), uint64(binary.BigEndian.Uint32(rest))
		switch {
		case size == 0:
			size = uint64(len(rest))
		case size == 1 && len(rest) >= 16:
			header, size = 16, binary.BigEndian.Uint64(rest[8:])
		}
		if size < header || size > uint64(len(rest)) {
			if kind == "meta" || kind == "mdat" {
				return &resize.ImageError{Detail: "heif: it is cut off"}
			}
			break
		}
		items, data = items || kind == "meta", data || kind == "mdat"
		rest = rest[size:]
	}
	if !items {
		return &resize.ImageError{Detail: "heif: it has no items, or is cut off before them"}
	}
	return nil
}
