package probe

import (
	"encoding/binary"

	"imgkeep/bucket/probe/marks"
)

// GIF (GIF89a Specification) is a logical screen and a chain of blocks up to a
// trailer. What a block carries comes in sub-blocks: a length byte, data, and a
// length of 0 at the end.
//
// The image is as large as the screen, grown by the first frame where that
// exceeds it: encoders that write too small a screen are common, and browsers
// grow it so. A screen of no pixels is one of them. Later frames are clipped. But the
// reach of every frame is held against the limits, since decoders buffer whole frames.

type gifState struct {
	screenW, screenH int64
	frames           int
}

func gifStart(s *Scanner, _ []byte) error {
	return s.take(7, gifScreen)
}

// gifScreen receives the logical screen descriptor.
func gifScreen(s *Scanner, b []byte) error {
	g := &s.gif
	g.screenW = int64(binary.LittleEndian.Uint16(b))
	g.screenH = int64(binary.LittleEndian.Uint16(b[2:]))
	if err := s.within(g.screenW, g.screenH); err != nil {
		return err
	}
	return s.skip(marks.Colours(b[4]), gifNext)
}

func gifNext(s *Scanner, _ []byte) error {
	return s.take(1, gifBlock)
}

// gifBlock receives the first byte of a block.
func gifBlock(s *Scanner, b []byte) error {
	switch b[0] {
	case marks.Padding: // some writers leave zeros between blocks; Chromium shows what comes before them
		return gifNext(s, nil)
	case marks.Extension:
		return s.skip(1, gifSubBlocks)
	case marks.Picture:
		return s.take(9, gifFrame)
	case marks.Trailer:
		if s.gif.frames == 0 {
			return s.broken("it ends without a frame")
		}
		return s.done()
	}
	return s.broken("no block begins with 0x%02X", b[0])
}

// gifFrame receives left, top, width, height and flags of an image.
func gifFrame(s *Scanner, b []byte) error {
	g := &s.gif
	le := binary.LittleEndian
	width := max(g.screenW, int64(le.Uint16(b))+int64(le.Uint16(b[4:])))
	height := max(g.screenH, int64(le.Uint16(b[2:]))+int64(le.Uint16(b[6:])))
	check := s.within
	if g.frames == 0 {
		check = s.size
	}
	if err := check(width, height); err != nil {
		return err
	}
	if err := s.frame(max(s.canvas(), width*height)); err != nil {
		return err
	}
	g.frames++
	s.info.Frames = g.frames
	return s.skip(marks.Colours(b[8]), gifPixels)
}

func gifPixels(s *Scanner, _ []byte) error {
	return s.take(1, gifCodeSize)
}

// gifCodeSize receives the bits of the first LZW codes. The standard says 2 to
// 8; decoders accept what leaves room in codes of at most 12 bits.
func gifCodeSize(s *Scanner, b []byte) error {
	if b[0] < 1 || b[0] > 11 {
		return s.broken("LZW codes of %d bits", b[0])
	}
	return gifSubBlocks(s, nil)
}

func gifSubBlocks(s *Scanner, _ []byte) error {
	return s.take(1, gifSubBlock)
}

// gifSubBlock receives the length of a sub-block.
func gifSubBlock(s *Scanner, b []byte) error {
	if b[0] == 0 {
		return gifNext(s, nil)
	}
	return s.skip(int64(b[0]), gifSubBlocks)
}
