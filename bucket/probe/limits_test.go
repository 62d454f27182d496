package probe_test

import (
	"bytes"
	"errors"
	"testing"

	"imgkeep/bucket/probe"
)

// animations make files of n frames on a canvas of width x height, each frame a
// single pixel where the format lets it be.
var animations = map[string]func(width, height, n int) []byte{
	"gif": func(w, h, n int) []byte {
		return join(screen(w, h), bytes.Repeat(gifImage(0, 0, 1, 1), n), []byte(gifTrailer))
	},
	"gif whose frames reach beyond the screen": func(w, h, n int) []byte {
		return join(screen(1, 1), bytes.Repeat(gifImage(w-1, h-1, 1, 1), n), []byte(gifTrailer))
	},
	"apng": func(w, h, n int) []byte {
		fcTL := chunk("fcTL", make([]byte, 26))
		return join([]byte(pngSignature), ihdr(w, h, 8, 2), chunk("acTL", be32(1), be32(0)),
			fcTL, idat, bytes.Repeat(fcTL, n-1), iend)
	},
	"webp": func(w, h, n int) []byte {
		return webp(vp8x(flagAnim, w, h), bytes.Repeat(anmf(0, 0, 1, 1, vp8(1, 1, nil)), n))
	},
}

func TestAnimationLimits(t *testing.T) {
	for _, c := range []struct {
		name             string
		width, height, n int
		limits           probe.Limits
		want             error
	}{
		{"none", 4000, 4000, 300, probe.Limits{}, nil},
		{"frames, exact", 10, 10, 50, probe.Limits{MaxFrames: 50}, nil},
		{"frames, one more", 10, 10, 51, probe.Limits{MaxFrames: 50}, probe.ErrFrames},
		{"100,000 frames", 10, 10, 100_000, probe.Limits{MaxFrames: 10_000}, probe.ErrFrames},
		{"pixels, exact", 100, 50, 20, probe.Limits{MaxAnimationPixels: 100_000}, nil},
		{"pixels, one less allowed", 100, 50, 20, probe.Limits{MaxAnimationPixels: 99_999}, probe.ErrFrames},
		{"pixels, a frame more", 100, 50, 21, probe.Limits{MaxAnimationPixels: 100_000}, probe.ErrFrames},
		{"both, exact", 100, 50, 20, probe.Limits{MaxFrames: 20, MaxAnimationPixels: 100_000}, nil},
		{"a single frame is no animation", 100, 50, 1, probe.Limits{MaxFrames: 1, MaxAnimationPixels: 1}, nil},
		{"two frames are one", 100, 50, 2, probe.Limits{MaxFrames: 1}, probe.ErrFrames},
		{"a negative number lets no animation in", 1, 1, 2, probe.Limits{MaxFrames: -1}, probe.ErrFrames},
		{"negative pixels let no animation in", 1, 1, 2, probe.Limits{MaxAnimationPixels: -1 << 63}, probe.ErrFrames},
		{"the frame's own limit comes first", 100, 50, 20, probe.Limits{MaxPixels: 4999, MaxFrames: 1}, probe.ErrPixels},
	} {
		for name, file := range animations {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				check(t, file(c.width, c.height, c.n), c.limits, c.want)
			})
		}
	}
}

// A frame counts for as much as it makes a decoder buffer: a canvas of one
// pixel does not hide large frames.
func TestAnimationLimitsLargerFrames(t *testing.T) {
	file := join(screen(1, 1), gifImage(0, 0, 1, 1), bytes.Repeat(gifImage(0, 0, 100, 50), 10), []byte(gifTrailer))
	check(t, file, probe.Limits{MaxAnimationPixels: 50_001}, nil)
	check(t, file, probe.Limits{MaxAnimationPixels: 50_000}, probe.ErrFrames)
}

// Sums of more than 63 bits do not wrap around.
func TestAnimationLimitsOverflow(t *testing.T) {
	const side = 1<<31 - 1
	file := animations["apng"](side, side, 8)
	check(t, file, probe.Limits{}, nil)
	check(t, file, probe.Limits{MaxAnimationPixels: 1<<63 - 1}, probe.ErrFrames)
	check(t, animations["apng"](side, side, 2), probe.Limits{MaxAnimationPixels: 2 * side * side}, nil)
	check(t, animations["apng"](side, side, 2), probe.Limits{MaxAnimationPixels: 2*side*side - 1}, probe.ErrFrames)
}

// What is too much is refused at the header of the frame that makes it so: the
// rest of the animation is not waited for.
func TestAnimationLimitsEarly(t *testing.T) {
	for name, file := range animations {
		t.Run(name, func(t *testing.T) {
			const allowed = 10
			whole, frame := file(20, 20, 1000), len(file(20, 20, 12))-len(file(20, 20, 11))
			head := len(file(20, 20, 1)) - frame
			s := probe.NewScanner(probe.Limits{MaxFrames: allowed})
			n, err := s.Write(whole)
			if !errors.Is(err, probe.ErrFrames) || n > head+(allowed+1)*frame {
				t.Errorf("refused after %d bytes of %d with %v; a frame has %d", n, len(whole), err, frame)
			}
			splits(t, whole[:2000], probe.Limits{MaxFrames: allowed})
		})
	}
}

func TestScanLimit(t *testing.T) {
	scans := func(n int) []byte { return join(soi, sof(0xC2, 17, 11, 3), bytes.Repeat(sos(1, 3), n), eoi) }
	check(t, scans(100), probe.Limits{}, nil)
	check(t, scans(101), probe.Limits{}, probe.ErrPixels)
	// Sixteen of as many pixels as are allowed, or more of fewer.
	check(t, scans(16), probe.Limits{MaxPixels: 17 * 11}, nil)
	check(t, scans(17), probe.Limits{MaxPixels: 17 * 11}, probe.ErrPixels)
	check(t, scans(32), probe.Limits{MaxPixels: 2 * 17 * 11}, nil)
	check(t, scans(33), probe.Limits{MaxPixels: 2 * 17 * 11}, probe.ErrPixels)
}
