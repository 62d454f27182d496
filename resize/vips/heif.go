package vips

import (
	"encoding/binary"

	"imgkeep/resize"
)

// box takes the first box (ISO/IEC 14496-12, 4.2) from the start of src. It is not whole if
// it exceeds src, has a wrong length, or if there is none.
func box(src []byte) (kind string, body, rest []byte, whole bool) {
	if len(src) < 8 {
		return "", nil, nil, false
	}
	kind, header, size := string(src[4:8]), uint64(8), uint64(binary.BigEndian.Uint32(src))
	switch {
	case size == 0:
		size = uint64(len(src))
	case size == 1 && len(src) >= 16:
		header, size = 16, binary.BigEndian.Uint64(src[8:])
	}
	if size < header || size > uint64(len(src)) {
		return kind, nil, nil, false
	}
	return kind, src[header:size], src[size:], true
}

// checkBoxes refuses a HEIC or an AVIF that is truncated in the box of its items or of
// their data: some versions of libheif make a picture of the rest. It ignores what follows
// these two.
func checkBoxes(src []byte) error {
	items, data := false, false
	for rest := src; !items || !data; {
		kind, _, next, whole := box(rest)
		if !whole {
			if kind == "meta" || kind == "mdat" {
				return &resize.ImageError{Detail: "heif: it is cut off"}
			}
			break
		}
		items, data, rest = items || kind == "meta", data || kind == "mdat", next
	}
	if !items {
		return &resize.ImageError{Detail: "heif: it has no items, or is cut off before them"}
	}
	return nil
}
