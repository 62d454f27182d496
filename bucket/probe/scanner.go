package probe

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"imgkeep/bucket/probe/marks"
)

// A Scanner judges an image while its bytes arrive. Write takes the bytes, and reports a
// fault at the earliest byte that shows it; Close returns the verdict. A Scanner is for one
// image and one goroutine; create it with NewScanner.
//
// Inside, a small machine collects exactly as many bytes as the current step of a format
// wants, or skips as many as the step wants skipped, and then calls the step, which names
// the next one. Steps never see how the input was split, so the verdict cannot depend on
// it.
type Scanner struct {
	limits Limits
	info   Info
	err    error // the verdict, once it is not favourable
	closed bool

	op    op
	want  int64    // bytes that op still wants; for opTake, of all that it wants
	step  step     // called when op has what it wants
	buf   [32]byte // what opTake has so far, where the input was split inside it
	held  int      // bytes in buf
	whole []byte   // what opGather has so far
	off   int64    // bytes used up by finished and running operations, without buf
	start int64    // offset of the bytes that the current step was given
	end   int64    // offset behind the image, once it is complete
	sum   bool     // bytes used up go into crc
	crc   uint32

	colour Colour

	frames int   // frames begun
	work   int64 // their pixels together, as far as there is a limit

	magic [12]byte // the first bytes, until the format is recognised

	exifData exifState
	jpeg     jpegState
	png      pngState
	gif      gifState
	webp     webpState
	bmp      bmpState
	tiff     tiffState
	box      boxState
	heif     *heifState // nil for other formats
	jxl      *jxlState  // the same
}

// A step looks at the bytes it asked for and asks for the next step. The bytes
// are valid until it returns. It receives none after a skip or find.
type step func(s *Scanner, b []byte) error

// An op says how the machine gets to the next step.
type op uint8

const (
	opTake   op = iota // take want bytes, at most 32, in one piece
	opGather           // the same for more, which are then kept in memory
	opRest             // keep all that comes in memory, up to want bytes, until the end
	opSkip             // skip want bytes
	opFind             // skip all bytes up to and including the next 0xFF
	opDone             // the image is complete: skip the rest
)

// take makes next be called with the following n bytes, at most len(s.buf).
func (s *Scanner) take(n int, next step) error {
	s.op, s.want, s.step = opTake, int64(n), next
	return nil
}

// gather is take for many bytes. Memory for them is taken as they come, so that
// a length that is a lie costs nothing.
func (s *Scanner) gather(n int, next step) error {
	s.op, s.want, s.step = opGather, int64(n), next
	return nil
}

// rest makes next be called with all bytes up to the end of the input, if they are at
// most n.
func (s *Scanner) rest(n int, next step) error {
	s.op, s.want, s.step = opRest, int64(n), next
	return nil
}

// skip makes next be called after the following n bytes, at once if n is 0.
func (s *Scanner) skip(n int64, next step) error {
	s.op, s.want, s.step = opSkip, n, next
	return nil
}

// find makes next be called behind the next byte 0xFF.
func (s *Scanner) find(next step) error {
	s.op, s.step = opFind, next
	return nil
}

// done says that the image is complete.
func (s *Scanner) done() error {
	s.op, s.end = opDone, s.off
	return nil
}

// End returns how many bytes the image has, once it is complete and its format says
// where it ends: what follows them is no part of it. Of a TIFF that is never known,
// since its directories may name any place of the file, nor of a JPEG XL that is
// [Scanner.Endless].
func (s *Scanner) End() (n int64, known bool) {
	return s.end, s.err == nil && s.op == opDone && s.info.Format != TIFF && !s.Endless()
}

// NewScanner returns a Scanner that accepts what l allows.
func NewScanner(l Limits) *Scanner {
	s := &Scanner{limits: l, info: Info{Orientation: 1, Frames: 1}}
	s.take(1, sniff)
	return s
}

// Write takes the next bytes of the image. It returns an error as soon as the verdict is
// known to be negative, with the number of bytes up to the one that decided it; every later
// call returns the same error. It never fails after the end of a complete image.
func (s *Scanner) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.closed {
		return 0, errors.New("write to a closed image scanner")
	}
	total := len(p)
	for {
		var b []byte
		switch s.op {
		case opTake:
			want := int(s.want)
			if s.held == 0 && len(p) >= want {
				b, p = p[:want], p[want:]
				break
			}
			n := copy(s.buf[s.held:want], p)
			s.held += n
			p = p[n:]
			if s.held < want {
				return total, nil
			}
			b, s.held = s.buf[:want], 0
		case opGather:
			n := min(int(s.want)-len(s.whole), len(p))
			s.whole = append(s.whole, p[:n]...)
			p = p[n:]
			if len(s.whole) < int(s.want) {
				return total, nil
			}
			b, s.whole = s.whole, nil
		case opRest:
			if n := int64(len(s.whole) + len(p)); n > s.want {
				over := min(len(p), int(s.want)-len(s.whole)+1)
				s.start = s.off
				s.err = s.unsupported("its last box has more than %d bytes", s.want)
				return total - len(p) + over, s.err
			}
			s.whole = append(s.whole, p...)
			return total, nil
		case opSkip:
			n := min(s.want, int64(len(p)))
			s.use(p[:n])
			p = p[n:]
			s.want -= n
			if s.want > 0 {
				return total, nil
			}
		case opFind:
			i := bytes.IndexByte(p, 0xFF)
			if i < 0 {
				s.use(p)
				return total, nil
			}
			s.use(p[:i+1])
			p = p[i+1:]
		case opDone:
			s.use(p)
			return total, nil
		}
		s.start = s.off
		s.use(b)
		if err := s.step(s, b); err != nil {
			s.err = err
			return total - len(p), err
		}
	}
}

// use counts bytes that an operation is finished with.
func (s *Scanner) use(b []byte) {
	s.off += int64(len(b))
	if s.sum {
		s.crc = crc32.Update(s.crc, crc32.IEEETable, b)
	}
}

// Close says that the input has ended, and returns the verdict on it: nil for a
// complete image within the limits. Info holds what was found before an error,
// too. One that is truncated may lack no more than its end marker: see package whole.
// Close may be called again, and says the same.
func (s *Scanner) Close() (Info, error) {
	if s.err == nil && s.op == opRest && !s.closed {
		b := s.whole
		s.whole, s.start = nil, s.off
		s.use(b)
		for s.err = s.step(s, b); s.err == nil && s.op == opSkip && s.want == 0; {
			s.err = s.step(s, nil)
		}
		if errors.Is(s.err, ErrBroken) {
			// Of what reaches to the end nothing tells a fault from the want of the rest.
			s.err = fmt.Errorf("%w: or broken: %v", ErrTruncated, s.err)
		}
	}
	if s.err == nil && s.op != opDone {
		s.err = s.cutOff(s.off + int64(s.held+len(s.whole)))
	}
	s.closed, s.whole = true, nil
	return s.info, s.err
}

// Endless reports whether nothing in the bytes says where the image ends, as in a JPEG XL
// without boxes: its verdict is valid only if the transport guarantees that all bytes
// arrived. It is final after Close.
func (s *Scanner) Endless() bool { return s.jxl != nil && s.jxl.left == boxEndless }

// cutOff is the verdict on an image that ended after n bytes.
func (s *Scanner) cutOff(n int64) error {
	switch s.info.Format {
	case JPEG:
		return fmt.Errorf("%w: jpeg ends after %d bytes, without an EOI marker", ErrTruncated, n)
	case PNG:
		return fmt.Errorf("%w: png ends after %d bytes, without an IEND chunk", ErrTruncated, n)
	case GIF:
		return fmt.Errorf("%w: gif ends after %d bytes, without a trailer", ErrTruncated, n)
	case WebP:
		return fmt.Errorf("%w: webp ends after %d of the %d bytes that its RIFF header announces", ErrTruncated, n, s.webp.end)
	case AVIF, HEIC:
		return s.heifCutOff(n)
	case JXL:
		return s.jxlCutOff(n)
	case BMP:
		return s.bmpCutOff(n)
	case TIFF:
		return s.tiffCutOff(n)
	}
	if n == 0 {
		return fmt.Errorf("%w: it is empty", ErrType)
	}
	return fmt.Errorf("%w: it ends after %d bytes, too few to tell its type", ErrTruncated, n)
}

// Info returns what is known so far, and whether the dimensions are. They are
// final then; Orientation and Frames may still change until Close, because
// formats put them anywhere.
func (s *Scanner) Info() (Info, bool) {
	return s.info, s.info.Width > 0
}

// magics are the first bytes of the formats, where ? stands for any byte. None
// is the beginning of another.
var magics = [...]struct {
	format Format
	magic  string
	first  step
}{
	{JPEG, "\xFF\xD8\xFF", jpegStart},
	{PNG, marks.PNG, pngStart},
	{GIF, "GIF87a", gifStart},
	{GIF, "GIF89a", gifStart},
	{WebP, "RIFF????WEBP", webpStart},
	{BMP, "BM", bmpStart},
	{TIFF, "II*\x00", tiffStart},
	{TIFF, "MM\x00*", tiffStart},
	{JXL, marks.JXLCodestream, jxlBare},
	{JXL, marks.JXLBoxes, jxlBoxes},
	{Unknown, "\x00\x00\x00?ftyp", heifStart}, // which one, it says next
}

// sniff receives the first bytes one by one, so that what is no image is
// refused at the first byte that says so, often the first of all.
func sniff(s *Scanner, b []byte) error {
	s.magic[s.start] = b[0]
	seen := s.magic[:s.off]
	for _, m := range magics {
		if !fits(m.magic, seen) {
			continue
		}
		if len(seen) < len(m.magic) {
			return s.take(1, sniff)
		}
		if m.format != Unknown {
			if err := s.accept(m.format); err != nil {
				return err
			}
		}
		return m.first(s, nil)
	}
	return fmt.Errorf("%w: no image begins with %q", ErrType, seen)
}

// accept says which format it is, and refuses one that is not allowed.
func (s *Scanner) accept(f Format) error {
	s.info.Format = f
	if len(s.limits.Formats) > 0 && !slices.Contains(s.limits.Formats, f) {
		return fmt.Errorf("%w: it is %s, which is not allowed here", ErrType, f)
	}
	return nil
}

// fits reports whether b is a beginning of magic.
func fits(magic string, b []byte) bool {
	for i, c := range b {
		if magic[i] != '?' && magic[i] != c {
			return false
		}
	}
	return true
}

// size records the dimensions of the image and holds them against the limits.
func (s *Scanner) size(width, height int64) error {
	if width <= 0 || height <= 0 {
		return s.broken("an image of %d x %d pixels", width, height)
	}
	s.info.Width, s.info.Height = int(width), int(height)
	return s.within(width, height)
}

// within checks dimensions under 2^31 against the limits. A negative limit refuses
// everything, so that a mistaken configuration does not accept all.
func (s *Scanner) within(width, height int64) error {
	if m := s.limits.MaxPixels; m != 0 && width*height > m {
		return fmt.Errorf("%w: %s of %d x %d has %d pixels, %d are allowed", ErrPixels, s.info.Format, width, height, width*height, m)
	}
	if m := int64(s.limits.MaxSide); m != 0 && max(width, height) > m {
		return fmt.Errorf("%w: %s of %d x %d has a side over %d, the longest allowed", ErrPixels, s.info.Format, width, height, m)
	}
	return nil
}

// frame counts a frame that begins here, of so many pixels, and holds the
// animation against the limits. It is called at the header of the frame, before
// its data: what is too much is not downloaded to its end.
func (s *Scanner) frame(pixels int64) error {
	s.frames++
	if s.frames == 1 {
		s.work = pixels
		return nil
	}
	if m := s.limits.MaxFrames; m != 0 && s.frames > m {
		return fmt.Errorf("%w: %s has more than %d, the most that are allowed", ErrFrames, s.info.Format, m)
	}
	// The sum never exceeds the limit, so it does not wrap around.
	if m := s.limits.MaxAnimationPixels; m < 0 || m > 0 && pixels > m-s.work {
		return fmt.Errorf("%w: %s of %d x %d has over %d pixels in %d frames, the most that are allowed",
			ErrFrames, s.info.Format, s.info.Width, s.info.Height, m, s.frames)
	} else if m > 0 {
		s.work += pixels
	}
	return nil
}

// canvas is the number of pixels of the image, once its size is known.
func (s *Scanner) canvas() int64 { return int64(s.info.Width) * int64(s.info.Height) }

// broken is the verdict that the bytes given to the current step contradict
// the format.
func (s *Scanner) broken(format string, args ...any) error {
	return s.fault(ErrBroken, format, args...)
}

// unsupported is the verdict that the image is of a kind that is not accepted.
func (s *Scanner) unsupported(format string, args ...any) error {
	return s.fault(ErrType, format, args...)
}

func (s *Scanner) fault(verdict error, format string, args ...any) error {
	return fmt.Errorf("%w: %s, byte %d: %s", verdict, s.info.Format, s.start, fmt.Sprintf(format, args...))
}
