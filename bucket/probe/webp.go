package probe

import "encoding/binary"

// WebP (RFC 9649) is a RIFF file: a size for the whole and a chain of chunks,
// each at an even offset. Its first chunk is the image itself, lossy (VP8, RFC
// 6386) or lossless (VP8L), or VP8X, which announces a canvas and what lies on
// it: one image, or frames (ANMF) that hold chunks of their own.
//
// An image whose own header differs from what the canvas or the frame says is
// broken, as in libwebp: else a small canvas would hide a bomb.
//
// EXIF is ignored: Chromium does not turn a WebP by it, and sizes must look like the
// original.

type webpState struct {
	end      int64 // offset behind the file, as the RIFF header says
	frameEnd int64 // offset behind the current frame; 0 outside
	chunkEnd int64 // offset behind the current chunk
	kind     [4]byte
	extended bool // VP8X has been seen
	anim     bool // it says that there are frames
	image    bool // an image has been seen: of the file, or of the current frame
	frames   int
	lossy    bool  // some image is
	frameW   int64 // size of the current frame
	frameH   int64
}

const (
	webpMinEnd = 12 + 8 // the RIFF header and the header of a chunk

	webpFlagAnim = 0x02
)

// webpStart is called after the RIFF header.
func webpStart(s *Scanner, _ []byte) error {
	w := &s.webp
	size := binary.LittleEndian.Uint32(s.magic[4:])
	w.end = 8 + int64(size)
	if w.end < webpMinEnd || size >= 1<<32-10 {
		return s.broken("a RIFF size of %d bytes", size)
	}
	return s.take(8, webpChunk)
}

// webpNext is called after a chunk, except for its padding.
func webpNext(s *Scanner, _ []byte) error {
	w := &s.webp
	if s.off == w.frameEnd {
		if !w.image {
			return s.broken("a frame without an image")
		}
		w.frameEnd = 0
		w.frames++
		s.info.Frames = w.frames
	}
	end := w.end
	if w.frameEnd > 0 {
		end = w.frameEnd
	}
	switch left := end - s.off; {
	case left == 0:
		if !w.image {
			return s.broken("it ends without an image")
		}
		return s.done()
	case s.off%2 == 1:
		return s.skip(1, webpNext)
	case left < 8: // too little for a chunk: padding
		return s.skip(left, webpNext)
	}
	return s.take(8, webpChunk)
}

// webpChunk receives type and length of a chunk.
func webpChunk(s *Scanner, b []byte) error {
	w := &s.webp
	n := int64(binary.LittleEndian.Uint32(b[4:]))
	w.kind, w.chunkEnd = [4]byte(b), s.off+n
	inFrame := w.frameEnd > 0
	if w.chunkEnd > w.end {
		return s.broken("%q chunk of %d bytes in a file of %d", w.kind[:], n, w.end)
	}
	if inFrame && w.chunkEnd > w.frameEnd {
		return s.broken("%q chunk of %d bytes in a frame with %d left", w.kind[:], n, w.frameEnd-s.off)
	}
	first := s.start == 12
	switch kind := string(b[:4]); {
	case kind == "VP8 " && (first || w.extended):
		return s.webpTake(10, webpVP8)
	case kind == "VP8L" && (first || w.extended):
		return s.webpTake(5, webpVP8L)
	case kind == "VP8X" && first:
		return s.webpTake(10, webpCanvas)
	case first:
		return s.broken("the first chunk is %q, not VP8, VP8L or VP8X", w.kind[:])
	case kind == "ANMF" && w.anim && !inFrame:
		return s.webpTake(16, webpFrame)
	}
	return s.webpLeave()
}

// webpTake is take, for a chunk that is broken if it has less.
func (s *Scanner) webpTake(n int, next step) error {
	if s.off+int64(n) > s.webp.chunkEnd {
		return s.broken("%q chunk of %d bytes, too few for its header", s.webp.kind[:], s.webp.chunkEnd-s.off)
	}
	return s.take(n, next)
}

// webpLeave skips the rest of the chunk.
func (s *Scanner) webpLeave() error {
	return s.skip(s.webp.chunkEnd-s.off, webpNext)
}

// webpCanvas receives flags, width and height of the canvas.
func webpCanvas(s *Scanner, b []byte) error {
	w := &s.webp
	w.extended, w.anim = true, b[0]&webpFlagAnim != 0
	width, height := uint24(b[4:])+1, uint24(b[7:])+1
	if width*height > 1<<32-1 {
		return s.broken("a canvas of %d x %d pixels", width, height)
	}
	if err := s.size(width, height); err != nil {
		return err
	}
	return s.webpLeave()
}

// webpFrame receives left, top, width, height, duration and flags of a frame.
// The chunks that follow are its own until frameEnd.
func webpFrame(s *Scanner, b []byte) error {
	w := &s.webp
	left, top := 2*uint24(b), 2*uint24(b[3:])
	w.frameW, w.frameH = uint24(b[6:])+1, uint24(b[9:])+1
	if left+w.frameW > int64(s.info.Width) || top+w.frameH > int64(s.info.Height) {
		return s.broken("a frame of %d x %d at %d,%d on a canvas of %d x %d", w.frameW, w.frameH, left, top, s.info.Width, s.info.Height)
	}
	if err := s.frame(s.canvas()); err != nil {
		return err
	}
	w.frameEnd, w.image = w.chunkEnd, false
	return webpNext(s, nil)
}

// webpVP8 receives the header of a lossy image: RFC 6386, 9.1.
func webpVP8(s *Scanner, b []byte) error {
	s.webp.lossy = true
	tag := uint24(b)
	if tag&1 != 0 || tag>>1&7 > 3 || tag>>4&1 == 0 || string(b[3:6]) != "\x9D\x01\x2A" {
		return s.broken("no header of a VP8 key frame: %x", b)
	}
	if partition := tag >> 5; partition >= s.webp.chunkEnd-s.start {
		return s.broken("a VP8 partition of %d bytes in a chunk of %d", partition, s.webp.chunkEnd-s.start)
	}
	return s.webpImage(int64(binary.LittleEndian.Uint16(b[6:])&0x3FFF), int64(binary.LittleEndian.Uint16(b[8:])&0x3FFF))
}

// webpVP8L receives the header of a lossless image: RFC 9649, 3.4.
func webpVP8L(s *Scanner, b []byte) error {
	bits := binary.LittleEndian.Uint32(b[1:])
	if b[0] != 0x2F || bits>>29 != 0 {
		return s.broken("no header of a VP8L image: %x", b)
	}
	return s.webpImage(int64(bits&0x3FFF)+1, int64(bits>>14&0x3FFF)+1)
}

// webpImage is called with the size that an image states of itself.
func (s *Scanner) webpImage(width, height int64) error {
	w := &s.webp
	switch {
	case w.frameEnd > 0:
		if width != w.frameW || height != w.frameH {
			return s.broken("an image of %d x %d in a frame of %d x %d", width, height, w.frameW, w.frameH)
		}
	case w.anim:
		return s.broken("an image outside the frames of an animation")
	case w.extended:
		if width != int64(s.info.Width) || height != int64(s.info.Height) {
			return s.broken("an image of %d x %d on a canvas of %d x %d", width, height, s.info.Width, s.info.Height)
		}
	default:
		if err := s.size(width, height); err != nil {
			return err
		}
	}
	w.image = true
	s.colour.Lossless = !w.lossy
	return s.webpLeave()
}

func uint24(b []byte) int64 {
	return int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16
}
