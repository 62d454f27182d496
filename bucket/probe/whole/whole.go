// Package whole tells whether an image without its last bytes is complete except for its
// end, and adds that end: the EOI marker of a JPEG, the IEND chunk of a PNG, the trailer of
// a GIF, the length of a WebP.
//
// A file that was truncated in transit must not pass, however it was cut. So the picture
// data itself decides: the entropy-coded data of a JPEG must give every block its last bit,
// the data of a PNG and of the last frame of a GIF every pixel, and a WebP its whole last
// chunk. A file that was cut and then padded with zero bytes fails too. The caller must
// still make sure that size is the length that the origin announced.
//
// It makes no pictures, and expects a file that package probe has found sound as far as it
// goes: for any other, its result is meaningless.
package whole

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/marks"
)

// Check tells whether an image that [probe.Scanner] calls truncated lacks only what follows
// its picture: the EOI marker of a JPEG, the IEND chunk of a PNG, the trailer of a GIF,
// bytes that only the RIFF header of a WebP announces. Every browser shows such a file as
// if it were complete, and some writers produce them. file is all of it, size bytes; info
// is what Close returned with the error. The error is nil, one of file, or wraps
// [probe.ErrTruncated].
//
// It reads the file a second time, and takes up to 1 byte of memory for each 2 pixels
// of a progressive JPEG, 64 KiB for others. One image is looked at at a time: further
// calls wait.
func Check(file io.ReaderAt, size int64, info probe.Info) error {
	looking <- struct{}{}
	defer func() { <-looking }()
	var err error
	switch info.Format {
	case probe.JPEG:
		err = checkJPEG(file, size)
	case probe.PNG:
		err = checkPNG(file, size)
	case probe.GIF:
		err = checkGIF(file, size)
	case probe.WebP:
		err = checkWebP(file, size)
	default:
		err = errCut
	}
	if err == errCut {
		return fmt.Errorf("%w: %s of %d bytes, whose picture is not all there", probe.ErrTruncated, info.Format, size)
	}
	return err
}

// Ended returns a file with its end: a file that lacks only what [Check] allows gets it,
// and any other is returned unchanged. Decoders that demand an end then find one. The
// result may be file itself.
func Ended(file []byte) []byte {
	s := probe.NewScanner(probe.Limits{})
	_, _ = s.Write(file)
	info, err := s.Close()
	if !errors.Is(err, probe.ErrTruncated) || Check(bytes.NewReader(file), int64(len(file)), info) != nil {
		return file
	}
	switch info.Format {
	case probe.JPEG:
		return append(slices.Clip(bytes.TrimRight(file, "\xFF")), 0xFF, marks.EOI)
	case probe.PNG:
		const end = "\x00\x00\x00\x00IEND\xAE\x42\x60\x82"
		p := pngWalk{file: bytes.NewReader(file), size: int64(len(file)), at: 8}
		for _, n, ok := p.chunk(); ok; _, n, ok = p.chunk() {
			p.at += 12 + n
		}
		return append(slices.Clip(file[:p.at]), end...)
	case probe.GIF:
		// Zeros fill up a sub-block, end it, and are padding between blocks.
		return append(append(slices.Clip(file), make([]byte, 256)...), marks.Trailer)
	case probe.WebP:
		end, _ := webpEnd(bytes.NewReader(file), int64(len(file)))
		file = append(bytes.Clone(file[:end]), make([]byte, end%2)...)
		binary.LittleEndian.PutUint32(file[4:], uint32(len(file)-8))
	}
	return file
}

// looking has room for one.
var looking = make(chan struct{}, 1)

// errCut: the picture data is not complete.
var errCut = fmt.Errorf("%w: picture data", probe.ErrTruncated)

// cut makes the end of a file a verdict on it.
func cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errCut
	}
	return err
}

// readAt reads all of b at an offset.
func readAt(file io.ReaderAt, b []byte, at int64) error {
	n, err := file.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	return cut(err)
}

// checkWebP walks over the chunks (RFC 9649). A still image is complete if the chunk of its
// pixels is. An animation may lack less than a chunk, since nothing tells how many frames
// it has.
func checkWebP(file io.ReaderAt, size int64) error {
	_, err := webpEnd(file, size)
	return err
}

// webpMost is more than any writer counts for 16383 x 16383 pixels of 4 bytes and what it
// meant to put behind them. A size beyond it tells nothing of the file's end.
const webpMost = 1<<31 - 1

// webpEnd returns the offset behind the last whole chunk.
func webpEnd(file io.ReaderAt, size int64) (int64, error) {
	var head [12]byte
	if err := readAt(file, head[:], 0); err != nil {
		return 0, err
	}
	stated := int64(binary.LittleEndian.Uint32(head[4:]))
	if stated > webpMost {
		return 0, errCut
	}
	missing := 8 + stated - size
	image, moving, at := false, false, int64(len(head))
	for at+8 <= size {
		if err := readAt(file, head[:8], at); err != nil {
			return 0, err
		}
		n := int64(binary.LittleEndian.Uint32(head[4:]))
		if at+8+n > size {
			break
		}
		switch string(head[:4]) {
		case "VP8 ", "VP8L":
			image = true
		case "ANMF":
			image, moving = true, true
		}
		at += 8 + n + n%2
	}
	if !image || moving && (missing >= 8 || at < size) {
		return 0, errCut
	}
	return min(at, size), nil
}
