package vips

import (
	"bytes"
	"encoding/binary"

	"imgkeep/bucket/probe/marks"
	"imgkeep/resize"
)

// codestream returns that of a JPEG XL (ISO/IEC 18181-2), so that libvips and
// libjxl see nothing else: no EXIF, which they would unpack to any length, and no
// boxes in which a JPEG is hidden. It has its own beginning then, and needs no boxes.
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
		if len(rest) < 8 {
			return nil, blame("a box is cut off")
		}
		kind, header, size := string(rest[4:8]), uint64(8), uint64(binary.BigEndian.Uint32(rest))
		switch {
		case size == 0:
			size = uint64(len(rest))
		case size == 1 && len(rest) >= 16:
			header, size = 16, binary.BigEndian.Uint64(rest[8:])
		}
		if size < header || size > uint64(len(rest)) {
			return nil, blame("a box is cut off, or has a wrong length")
		}
		body := rest[header:size]
		rest = rest[size:]
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
