package vips

import (
	"bytes"
	"encoding/binary"

	"imgkeep/bucket/probe/marks"
	"imgkeep/resize"
)

// codestream returns the codestream of a JPEG XL (ISO/IEC 18181-2), so that libvips and
// libjxl see nothing else: no EXIF, which they would unpack to any length, and no boxes
// that hide a JPEG. A codestream has its own signature and needs no boxes.
func codestream(src []byte) ([]byte, error) {
	if bytes.HasPrefix(src, []byte(marks.JXLCodestream)) {
		return src, nil
	}
	blame := func(detail string) error { return &resize.ImageError{Detail: "jxl: " + detail} }
	if !bytes.HasPrefix(src, []byte(marks.JXLBoxes)) {
		return nil, blame("neither a codestream nor boxes")
	}
	var parts []byte
	for rest, next := src, uint32(0); len(rest) > 0; {
		kind, body, behind, whole := box(rest)
		if !whole {
			return nil, blame("a box is cut off, or has a wrong length")
		}
		rest = behind
		switch {
		case kind == "jxlc" && next == 0:
			return begins(body)
		case kind == "jxlp" && len(body) >= 4:
			const last = 1 << 31
			index := binary.BigEndian.Uint32(body)
			if index&^last != next {
				return nil, blame("parts of the codestream in the wrong order")
			}
			next++
			parts = append(parts, body[4:]...)
			if index&last != 0 {
				return begins(parts)
			}
		case kind == "jxlc", kind == "jxlp":
			return nil, blame("two codestreams, or half of one")
		}
	}
	return nil, blame("no whole codestream")
}

// begins refuses what libvips would take for boxes again.
func begins(codestream []byte) ([]byte, error) {
	if !bytes.HasPrefix(codestream, []byte(marks.JXLCodestream)) {
		return nil, &resize.ImageError{Detail: "jxl: no codestream in its boxes"}
	}
	return codestream, nil
}
