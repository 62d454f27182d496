package vips

import (
	"encoding/binary"

	"imgkeep/resize"
)

// checkBoxes refuses a HEIC or an AVIF (ISO/IEC 14496-12, 4.2) whose last box is cut
// off: some versions of libheif make a picture of what there is.
func checkBoxes(src []byte) error {
	for rest := src; len(rest) > 0; {
		if len(rest) < 8 {
			return &resize.ImageError{Detail: "heif: it ends in the header of a box"}
		}
		header, size := uint64(8), uint64(binary.BigEndian.Uint32(rest))
		switch {
		case size == 0: // up to the end
			return nil
		case size == 1 && len(rest) >= 16:
			header, size = 16, binary.BigEndian.Uint64(rest[8:])
		}
		if size < header || size > uint64(len(rest)) {
			return &resize.ImageError{Detail: "heif: a box is cut off, or has a wrong length"}
		}
		rest = rest[size:]
	}
	return nil
}
