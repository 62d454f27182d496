// Package strip takes the metadata out of image files without decoding them: the
// pixels stay bit by bit what they were.
//
// It promises that of a JPEG, PNG, GIF or WebP only what is needed to show it is
// left, by allow-lists: pixels, colours with their profile, transparency, frames
// with their times, and the orientation, in an EXIF block of its own that holds
// nothing else. Gone are EXIF (and with it the place where a photo was taken), XMP,
// IPTC, comments, thumbnails, and whatever stands behind the image's end, such as a
// phone's video or further pictures.
//
// It does not look into pixels, nor into the profile. It expects a file that
// package probe has found whole, and refuses what it cannot follow.
package strip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"imgkeep/bucket/probe"
)

// ErrBroken is what every error of Metadata wraps.
var ErrBroken = errors.New("broken image")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBroken, fmt.Sprintf(format, args...))
}

// Metadata returns a copy of a file without its metadata. info is what probe says
// of it. The copy may be longer than the file by the few bytes of an orientation.
func Metadata(file []byte, info probe.Info) ([]byte, error) {
	file = probe.Ended(file)
	switch info.Format {
	case probe.JPEG:
		return jpeg(file, info.Orientation)
	case probe.PNG:
		return png(file, info.Orientation)
	case probe.GIF:
		return gif(file)
	case probe.WebP:
		return webp(file, info.Orientation)
	}
	return nil, broken("it is %s", info.Format)
}

// exif is a TIFF structure with nothing but an orientation (EXIF 2.32, 4.6.5).
func exif(orientation int) []byte {
	b := []byte("MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01")
	return append(b, 0, byte(orientation), 0, 0, 0, 0, 0, 0)
}

// jpeg walks the markers of ITU-T T.81, annex B, as package probe does: bytes
// between segments that are no marker belong to a scan, or are passed over.
func jpeg(file []byte, orientation int) ([]byte, error) {
	if !bytes.HasPrefix(file, []byte("\xff\xd8\xff")) {
		return nil, broken("it is no JPEG")
	}
	out := append(make([]byte, 0, len(file)+64), file[:2]...)
	turn := orientation > 1
	scanned := false
	for at := 2; ; {
		from := at
		at = bytes.IndexByte(file[at:], 0xff)
		if at < 0 || from+at+1 >= len(file) {
			return nil, broken("it ends before its end marker")
		}
		at += from
		marker := file[at+1]
		if scanned {
			out = append(out, file[from:at]...)
		}
		switch {
		case marker == 0xff: // a fill byte
			at++
			continue
		case marker == 0 || marker == 0x01 || marker >= 0xd0 && marker <= 0xd7:
			if scanned {
				out = append(out, file[at:at+2]...)
			}
			at += 2
			continue
		case marker == 0xd9:
			return append(out, 0xff, 0xd9), nil
		}
		if at+4 > len(file) {
			return nil, broken("a segment 0x%02x that hangs over", marker)
		}
		// A length of 0 or 1 counts as 2, as in package probe.
		end := at + 2 + max(2, int(binary.BigEndian.Uint16(file[at+2:])))
		if end > len(file) {
			return nil, broken("a segment 0x%02x that hangs over", marker)
		}
		segment := file[at:end]
		at = end
		keep, data := jpegKeeps(marker, segment[4:]), segment
		if keep && marker == 0xe0 { // JFIF, without its thumbnail
			data = append([]byte{0xff, 0xe0, 0, 16}, segment[4:16]...)
			data = append(data, 0, 0)
		}
		if turn && marker != 0xe0 {
			block := append([]byte("Exif\x00\x00"), exif(orientation)...)
			out = binary.BigEndian.AppendUint16(append(out, 0xff, 0xe1), uint16(len(block)+2))
			out = append(out, block...)
			turn = false
		}
		if keep {
			out = append(out, data...)
		}
		scanned = scanned || marker == 0xda
	}
}

// jpegKeeps tells whether a segment is needed to show the picture.
func jpegKeeps(marker byte, data []byte) bool {
	switch {
	case marker == 0xe0:
		return bytes.HasPrefix(data, []byte("JFIF\x00")) && len(data) >= 14
	case marker == 0xe2:
		return bytes.HasPrefix(data, []byte("ICC_PROFILE\x00"))
	case marker == 0xee: // which says how colours are stored
		return bytes.HasPrefix(data, []byte("Adobe"))
	}
	return marker < 0xe0 // frames, tables, scans; neither APP, JPG nor COM
}

// pngKeeps are the chunks that a PNG, an animated one too, is shown by (W3C PNG,
// third edition, 11.2 and 11.3).
var pngKeeps = map[string]bool{
	"IHDR": true, "PLTE": true, "IDAT": true, "IEND": true, "tRNS": true,
	"cHRM": true, "gAMA": true, "iCCP": true, "sBIT": true, "sRGB": true, "cICP": true, "mDCV": true, "cLLI": true,
	"bKGD": true, "pHYs": true, "acTL": true, "fcTL": true, "fdAT": true,
}

func png(file []byte, orientation int) ([]byte, error) {
	const head, around = 8, 12 // of the file; length, kind and check of a chunk
	if len(file) < head || string(file[:head]) != "\x89PNG\r\n\x1a\n" {
		return nil, broken("it is no PNG")
	}
	out := append(make([]byte, 0, len(file)+64), file[:head]...)
	for rest := file[head:]; len(rest) >= around; {
		n := around + int64(binary.BigEndian.Uint32(rest))
		if n > int64(len(rest)) {
			return nil, broken("a chunk that hangs over")
		}
		chunk := rest[:n]
		rest = rest[n:]
		kind := string(chunk[4:8])
		if pngKeeps[kind] {
			out = append(out, chunk...)
		}
		if kind == "IHDR" && orientation > 1 {
			out = append(out, pngChunk("eXIf", exif(orientation))...)
		}
		if kind == "IEND" {
			return out, nil
		}
	}
	return nil, broken("it ends before its last chunk")
}

func pngChunk(kind string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, kind...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// gif walks the blocks of GIF89a.
func gif(file []byte) ([]byte, error) {
	const extension, picture, trailer = 0x21, 0x2c, 0x3b
	if len(file) < 13 {
		return nil, broken("it is no GIF")
	}
	at := 13 + gifColours(file[10])
	if at > len(file) {
		return nil, broken("a colour table that hangs over")
	}
	out := append(make([]byte, 0, len(file)), file[:at]...)
	for at < len(file) {
		from, keep := at, true
		switch file[at] {
		case trailer:
			return append(out, trailer), nil
		case 0: // padding
			at++
			continue
		case extension:
			if at+2 >= len(file) {
				return nil, broken("it ends in an extension")
			}
			keep = gifKeeps(file[at+1], file[at+2:])
			at += 2
		case picture:
			if at+10 > len(file) {
				return nil, broken("it ends in a frame")
			}
			at += 11 + gifColours(file[at+9])
		default:
			return nil, broken("no block begins with 0x%02x", file[at])
		}
		for at < len(file) && file[at] != 0 { // sub-blocks, up to one of length 0
			at += 1 + int(file[at])
		}
		at++
		if at > len(file) {
			return nil, broken("it ends in a block")
		}
		if keep {
			out = append(out, file[from:at]...)
		}
	}
	return nil, broken("it ends before its trailer")
}

func gifColours(flags byte) int {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}

// gifKeeps tells whether an extension is needed: times and transparency, the
// number of loops, and the profile.
func gifKeeps(label byte, blocks []byte) bool {
	switch label {
	case 0xf9:
		return true
	case 0xff:
		for _, name := range []string{"NETSCAPE2.0", "ANIMEXTS1.0", "ICCRGBG1012"} {
			if bytes.HasPrefix(blocks, append([]byte{11}, name...)) {
				return true
			}
		}
	}
	return false
}

// webp walks the chunks of the WebP Container Specification.
func webp(file []byte, orientation int) ([]byte, error) {
	const head, around = 12, 8
	const flagEXIF, flagXMP = 0x08, 0x04
	if len(file) < head || string(file[:4]) != "RIFF" || string(file[8:12]) != "WEBP" {
		return nil, broken("it is no WebP")
	}
	size := int64(binary.LittleEndian.Uint32(file[4:])) + 8
	if size > int64(len(file)) || size < head {
		return nil, broken("it ends before its length")
	}
	out := append(make([]byte, 0, size+64), file[:head]...)
	extended := false
	for rest := file[head:size]; len(rest) >= around; {
		n := around + int64(binary.LittleEndian.Uint32(rest[4:]))
		if n > int64(len(rest)) {
			return nil, broken("a chunk that hangs over")
		}
		n = min(n+n%2, int64(len(rest)))
		chunk := rest[:n]
		rest = rest[n:]
		switch string(chunk[:4]) {
		case "VP8X":
			if n <= around {
				return nil, broken("an empty header")
			}
			extended = true
			at := len(out) + around
			out = append(out, chunk...)
			if out[at] &^= flagEXIF | flagXMP; orientation > 1 {
				out[at] |= flagEXIF
			}
		case "ICCP", "ANIM", "ANMF", "ALPH", "VP8 ", "VP8L":
			out = append(out, chunk...)
		}
	}
	if extended && orientation > 1 {
		block := exif(orientation)
		out = binary.LittleEndian.AppendUint32(append(out, "EXIF"...), uint32(len(block)))
		out = append(out, block...)
	}
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out, nil
}
