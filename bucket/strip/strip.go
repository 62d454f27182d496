// Package strip removes the metadata from image files without decoding them: the pixels
// stay the same bit by bit.
//
// It promises that it leaves of a JPEG, PNG, GIF or WebP only what is needed to show it, by
// allow-lists: pixels, colours with their profile, transparency, frames with their times,
// and the orientation, in a new EXIF block that contains nothing else. It removes EXIF (and
// with it the place where a photo was taken), XMP, IPTC, comments, thumbnails, and
// everything after the image's end, such as a phone's video or further pictures.
//
// It does not examine pixels, nor the profile. It expects a file that package probe has
// found complete, and refuses what it cannot follow.
//
// It copies while it reads: its memory is the same 200 KB for every image, so that many
// large ones at once are no problem. Calls may run concurrently.
package strip

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/marks"
)

// ErrBroken: the file cannot be followed, or is of a format that Metadata does not know.
var ErrBroken = errors.New("broken image")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBroken, fmt.Sprintf(format, args...))
}

// Output is where a file is written: an *os.File.
type Output interface {
	io.Writer
	io.WriterAt
}

// Metadata copies a file without its metadata from src to dst, which must be empty. info is
// the result of probe. It refuses a file that lacks its end, see
// [imgkeep/bucket/probe/whole.Ended]. The copy may be longer than the file by the few bytes
// of an orientation. An error that does not wrap ErrBroken is one of src or dst; after any
// error, discard dst.
func Metadata(dst Output, src io.Reader, info probe.Info) error {
	c := &copier{src: bufio.NewReaderSize(src, bufferBytes), dst: bufio.NewWriterSize(dst, bufferBytes)}
	var err error
	switch info.Format {
	case probe.JPEG:
		err = c.jpeg(info.Orientation)
	case probe.PNG:
		err = c.png(info.Orientation)
	case probe.GIF:
		err = c.gif()
	case probe.WebP:
		err = c.webp(info.Orientation)
	default:
		return broken("it is %s", info.Format)
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return broken("it ends before its end")
	}
	if err == nil {
		err = c.dst.Flush()
	}
	if err == nil && info.Format == probe.WebP {
		_, err = dst.WriteAt(binary.LittleEndian.AppendUint32(nil, uint32(c.written-8)), 4)
	}
	return err
}

const bufferBytes = 64 << 10

// copier reads from src, and writes to dst what stays.
type copier struct {
	src     *bufio.Reader
	dst     *bufio.Writer
	written int64
	buf     [1 << 16]byte
}

// take reads n bytes, at most 64 KiB, which are valid until it is called again.
func (c *copier) take(n int) ([]byte, error) {
	_, err := io.ReadFull(c.src, c.buf[:n])
	return c.buf[:n], err
}

func (c *copier) put(b ...byte) error {
	c.written += int64(len(b))
	_, err := c.dst.Write(b)
	return err
}

// pass copies the next n bytes, or skips them.
func (c *copier) pass(n int64, keep bool) error {
	dst := io.Discard
	if keep {
		dst = c.dst
		c.written += n
	}
	_, err := io.CopyN(dst, c.src, n)
	return err
}

// exif is a TIFF structure with nothing but an orientation (EXIF 2.32, 4.6.5).
func exif(orientation int) []byte {
	b := []byte("MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01")
	return append(b, 0, byte(orientation), 0, 0, 0, 0, 0, 0)
}

// jpeg walks the markers of ITU-T T.81, annex B, as package probe does: bytes
// between segments that are no marker belong to a scan, or are passed over.
func (c *copier) jpeg(orientation int) error {
	start, err := c.take(2)
	if err != nil {
		return err
	}
	if string(start) != "\xff\xd8" {
		return broken("it is no JPEG")
	}
	if err := c.put(start...); err != nil {
		return err
	}
	turn, scanned := orientation > 1, false
	for {
		marker, err := c.marker(scanned)
		if err != nil {
			return err
		}
		switch {
		case marks.Alone(marker):
			if scanned {
				err = c.put(0xff, marker)
			}
		case marker == marks.EOI:
			return c.put(0xff, marks.EOI)
		default:
			if turn && marker != marks.APP0 {
				block := append([]byte(marks.EXIF), exif(orientation)...)
				if err := c.put(append(binary.BigEndian.AppendUint16([]byte{0xff, marks.APP1}, uint16(len(block)+2)), block...)...); err != nil {
					return err
				}
				turn = false
			}
			err = c.segment(marker)
			scanned = scanned || marker == marks.SOS
		}
		if err != nil {
			return err
		}
	}
}

// marker finds the next one, and keeps what stands before it, but for fill bytes.
func (c *copier) marker(keep bool) (byte, error) {
	for {
		piece, err := c.src.ReadSlice(0xff)
		found := err == nil
		if err == bufio.ErrBufferFull {
			err = nil
		}
		if found {
			piece = piece[:len(piece)-1]
		}
		if err == nil && keep {
			err = c.put(piece...)
		}
		if err != nil {
			return 0, err
		}
		for found {
			if m, err := c.src.ReadByte(); err != nil || m != 0xff {
				return m, err
			}
		}
	}
}

// segment passes over the rest of a segment of a JPEG, or keeps it.
func (c *copier) segment(marker byte) error {
	length, err := c.take(2)
	if err != nil {
		return err
	}
	// A length of 0 or 1 counts as 2, as in package probe.
	n := max(0, int(binary.BigEndian.Uint16(length))-2)
	data, err := c.take(n)
	if err != nil || !jpegKeeps(marker, data) {
		return err
	}
	if marker == marks.APP0 { // JFIF, without its thumbnail
		data = append(data[:12:12], 0, 0)
	}
	if err := c.put(0xff, marker, byte((len(data)+2)>>8), byte(len(data)+2)); err != nil {
		return err
	}
	return c.put(data...)
}

// jpegKeeps tells whether a segment is needed to show the picture.
func jpegKeeps(marker byte, data []byte) bool {
	switch {
	case marker == marks.APP0:
		return bytes.HasPrefix(data, []byte("JFIF\x00")) && len(data) >= 14
	case marker == 0xe2:
		return bytes.HasPrefix(data, []byte("ICC_PROFILE\x00"))
	case marker == 0xee: // which says how colours are stored
		return bytes.HasPrefix(data, []byte("Adobe"))
	}
	return marker < marks.APP0 // frames, tables, scans; neither APP, JPG nor COM
}

// pngKeeps are the chunks that a PNG, an animated one too, is shown by (W3C PNG,
// third edition, 11.2 and 11.3).
var pngKeeps = map[string]bool{
	"IHDR": true, "PLTE": true, "IDAT": true, "IEND": true, "tRNS": true,
	"cHRM": true, "gAMA": true, "iCCP": true, "sBIT": true, "sRGB": true, "cICP": true, "mDCV": true, "cLLI": true,
	"bKGD": true, "pHYs": true, "acTL": true, "fcTL": true, "fdAT": true,
}

func (c *copier) png(orientation int) error {
	const head, around = 8, 12 // of the file; length, kind and check of a chunk
	start, err := c.take(head)
	if err != nil {
		return err
	}
	if string(start) != marks.PNG {
		return broken("it is no PNG")
	}
	if err := c.put(start...); err != nil {
		return err
	}
	for {
		b, err := c.take(8)
		if err != nil {
			return err
		}
		n, kind := int64(binary.BigEndian.Uint32(b)), string(b[4:])
		keep := pngKeeps[kind]
		if keep {
			err = c.put(b...)
		}
		if err == nil {
			err = c.pass(n+around-8, keep)
		}
		if err == nil && kind == "IHDR" && orientation > 1 {
			err = c.put(pngChunk("eXIf", exif(orientation))...)
		}
		if err != nil || kind == "IEND" {
			return err
		}
	}
}

func pngChunk(kind string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, kind...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// gif walks the blocks of GIF89a.
func (c *copier) gif() error {
	head, err := c.take(13)
	if err == nil {
		err = c.put(head...)
	}
	if err == nil {
		err = c.pass(marks.Colours(c.buf[10]), true)
	}
	for err == nil {
		var kind byte
		if kind, err = c.src.ReadByte(); err != nil {
			return err
		}
		switch kind {
		case marks.Trailer:
			return c.put(marks.Trailer)
		case marks.Padding:
		case marks.Extension:
			err = c.gifExtension()
		case marks.Picture:
			var b []byte
			if b, err = c.take(9); err == nil {
				err = c.put(append([]byte{marks.Picture}, b...)...)
			}
			if err == nil {
				err = c.pass(marks.Colours(c.buf[8])+1, true)
			}
			if err == nil {
				err = c.gifSubBlocks(true)
			}
		default:
			return broken("no block begins with 0x%02x", kind)
		}
	}
	return err
}

func (c *copier) gifExtension() error {
	label, err := c.src.ReadByte()
	if err != nil {
		return err
	}
	name, err := c.src.Peek(12)
	if err != nil && err != io.EOF {
		return err
	}
	keep := gifKeeps(label, name)
	if keep {
		if err := c.put(marks.Extension, label); err != nil {
			return err
		}
	}
	return c.gifSubBlocks(keep)
}

// gifSubBlocks goes up to one of length 0.
func (c *copier) gifSubBlocks(keep bool) error {
	for {
		n, err := c.src.ReadByte()
		if err == nil && keep {
			err = c.put(n)
		}
		if err == nil {
			err = c.pass(int64(n), keep)
		}
		if err != nil || n == 0 {
			return err
		}
	}
}

// gifKeeps tells whether an extension is needed: times and transparency, the
// number of loops, and the profile.
func gifKeeps(label byte, blocks []byte) bool {
	switch label {
	case marks.Control:
		return true
	case marks.Application:
		for _, name := range []string{"NETSCAPE2.0", "ANIMEXTS1.0", "ICCRGBG1012"} {
			if bytes.HasPrefix(blocks, append([]byte{11}, name...)) {
				return true
			}
		}
	}
	return false
}

// webp walks the chunks of the WebP Container Specification. The length of the file,
// which stands at its beginning, is set when all is written.
func (c *copier) webp(orientation int) error {
	const head, around = 12, 8
	const flagEXIF, flagXMP = 0x08, 0x04
	start, err := c.take(head)
	if err != nil {
		return err
	}
	rest := int64(binary.LittleEndian.Uint32(start[4:])) + 8 - head
	if string(start[:4]) != "RIFF" || string(start[8:]) != "WEBP" || rest < 0 {
		return broken("it is no WebP")
	}
	err = c.put(start...)
	extended := false
	for err == nil && rest >= around {
		var b []byte
		if b, err = c.take(around); err != nil {
			return err
		}
		n := int64(binary.LittleEndian.Uint32(b[4:]))
		if rest -= around; n > rest {
			return broken("a chunk that hangs over")
		}
		body := min(n+n%2, rest)
		rest -= body
		switch kind := string(b[:4]); kind {
		case "VP8X":
			if n == 0 {
				return broken("an empty header")
			}
			extended = true
			if err = c.put(b...); err != nil {
				return err
			}
			if b, err = c.take(1); err != nil {
				return err
			}
			flags := b[0] &^ (flagEXIF | flagXMP)
			if orientation > 1 {
				flags |= flagEXIF
			}
			if err = c.put(flags); err == nil {
				err = c.pass(body-1, true)
			}
		case "ICCP", "ANIM", "ANMF", "ALPH", "VP8 ", "VP8L":
			if err = c.put(b...); err == nil {
				err = c.pass(body, true)
			}
		default:
			err = c.pass(body, false)
		}
	}
	if err == nil {
		err = c.pass(rest, false)
	}
	if err == nil && extended && orientation > 1 {
		block := exif(orientation)
		err = c.put(append(binary.LittleEndian.AppendUint32([]byte("EXIF"), uint32(len(block))), block...)...)
	}
	return err
}
