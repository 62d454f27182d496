package main

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"imgkeep/resize"
)

// A trimmer takes out of a PNG what the pictures made from it do not need, before
// the library sees it.
//
// libpng keeps a thousand texts for its caller, each unpacked to 8 MB. A PNG of a
// megabyte that is all texts cost a decoder a gigabyte, and more time than it has
// (CVE-2010-0205 is of this kind). A chunk that says it has 2 GB was given as much
// memory, before the first byte of it was missed.
type trimmer struct{ resize.Decoder }

func (t trimmer) Resize(src []byte, r *resize.Request) ([]resize.Result, error) {
	if r.Format == "png" {
		var err error
		if src, err = trimPNG(src); err != nil {
			return nil, err
		}
	}
	return t.Decoder.Resize(src, r)
}

const pngSignature = "\x89PNG\r\n\x1a\n"

// trimPNG leaves of the chunks of a PNG (PNG, third edition, section 5.3) those
// without which no decoder can do, and those that say what its colours are,
// which way is up, and what its first frame is. It drops what is behind the last one. src is changed. What is
// no PNG is left as it is: the library says so better.
func trimPNG(src []byte) ([]byte, error) {
	if !bytes.HasPrefix(src, []byte(pngSignature)) {
		return src, nil
	}
	const around = 4 + 4 + 4 // length, type, CRC
	out, rest := src[:len(pngSignature)], src[len(pngSignature):]
	for len(rest) >= around {
		n := int64(binary.BigEndian.Uint32(rest)) + around
		if n > int64(len(rest)) {
			return nil, &resize.ImageError{Detail: fmt.Sprintf("png: a chunk of %d bytes where %d are left", n-around, len(rest))}
		}
		kind := string(rest[4:8])
		if needed(kind) {
			out = append(out, rest[:n]...) // to the left: out is never longer than what was read
		}
		rest = rest[n:]
		if kind == "IEND" {
			return out, nil
		}
	}
	return append(out, rest...), nil
}

// needed tells whether a chunk stays. A capital letter first means that no decoder
// may pass over it; of the others there is a list.
func needed(kind string) bool {
	switch kind {
	case "tRNS", "gAMA", "cHRM", "sRGB", "iCCP", "cICP", "cLLI", "mDCV", "sBIT", "eXIf", "acTL", "fcTL", "fdAT":
		return true
	}
	return kind[0]&0x20 == 0
}
