package main

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"imgkeep/resize"
)

// A trimmer removes the chunks of a PNG that the results do not need, before libvips sees
// the image.
//
// libpng keeps a thousand text chunks for its caller and unpacks each to up to 8 MB. A PNG
// of one megabyte full of texts cost a decoder a gigabyte, and more time than it may take
// (compare CVE-2010-0205). For a chunk that claims 2 GB, libpng allocated that much before
// it noticed that the bytes are missing.
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

// trimPNG keeps the chunks of a PNG (PNG, third edition, section 5.3) that every decoder
// needs, and those that describe its colours, its orientation and its first frame. It drops
// what follows the last chunk. It overwrites src. It returns src unchanged if that is not a
// PNG: libvips reports this better.
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
			out = append(out, rest[:n]...) // in place: out is never longer than what was read
		}
		rest = rest[n:]
		if kind == "IEND" {
			return out, nil
		}
	}
	return append(out, rest...), nil
}

// needed tells whether a chunk stays. Chunks whose name begins with a capital letter are
// critical: decoders may not skip them. Of the others, a list stays.
func needed(kind string) bool {
	switch kind {
	case "tRNS", "gAMA", "cHRM", "sRGB", "iCCP", "cICP", "cLLI", "mDCV", "sBIT", "eXIf", "acTL", "fcTL", "fdAT":
		return true
	}
	return kind[0]&0x20 == 0
}
