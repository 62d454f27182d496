// Package probetest is a corpus of hostile images, made by code: bombs, lies,
// chunks of impossible length, files that are two things at once, and types that
// must never reach a decoder. It is for tests. Package probe, the decoder process
// and the whole server are put through the same cases, so that each can be seen
// to hold where the one before it is wrong.
//
// Everything is the same in every run: what looks random comes from a fixed seed.
package probetest

import (
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"imgkeep/bucket/probe"
)

// Limits are those of the server's default configuration. The cases are made
// for them.
var Limits = probe.Limits{MaxPixels: 51_000_000, MaxSide: 16384, MaxFrames: 10_000, MaxAnimationPixels: 500_000_000}

// Payload is in every file that is also a program or a page. Nothing that is
// made from such a file has it.
const Payload = "alert('payload')"

// A Case is one hostile file.
type Case struct {
	// Name says what it is; it is unique, and fit for a URL.
	Name string
	// Imitates is the CVE or the peer's issue that the file is like. Empty: none
	// that we know.
	Imitates string
	// Format is the one that a decoder is told. Unknown: the file begins like
	// none, so that no decoder should ever see it.
	Format probe.Format
	Data   []byte
	// Want is the verdict of package probe, under Limits: nil, or one of its errors.
	Want error
	// Size is what becomes of a smaller size of it, in a decoder that gets the
	// file whatever the verdict is.
	Size Outcome
}

// Slow says that a decoder takes seconds for it.
func (c Case) Slow() bool { return strings.HasSuffix(c.Name, "tiles-of-49-megapixels-by-one") }

// An Outcome is what a decoder may do.
type Outcome uint8

// The outcomes.
const (
	Refused Outcome = iota // it refuses the image
	Made                   // it makes the size
	Either                 // the one or the other, as its libraries are
)

// Corpus returns all cases. Their bytes belong to all callers, who do not change them.
func Corpus() []Case { return slices.Clone(corpus()) }

// corpus takes seconds to make.
var corpus = sync.OnceValue(func() []Case {
	return slices.Concat(bombs(), lies(), lengths(), exifs(), polyglots(), trailers(), strangers(),
		heifs(probe.AVIF, av1, file("good.avif"), file("tile.avif")), bmps(),
		heifs(probe.HEIC, hevc, file("tile.heic"), file("tile.heic")), tiffs(), jxls())
})

// Good returns a small image of each kind, complete and with content to its last
// byte, to be damaged by Cuts and Flips.
func Good() []Case {
	all := []Case{
		{Name: "jpeg", Format: probe.JPEG, Data: goodJPEG()},
		{Name: "png", Format: probe.PNG, Data: goodPNG()},
		{Name: "gif", Format: probe.GIF, Data: goodGIF(1)},
		{Name: "gif-animated", Format: probe.GIF, Data: goodGIF(4)},
		{Name: "webp", Format: probe.WebP, Data: webpFile(vp8l(side, side*3/4, true))},
		{Name: "webp-animated", Format: probe.WebP, Data: webpAnimation(side, side*3/4, 4, vp8l(side, side*3/4, true))},
		{Name: "avif", Format: probe.AVIF, Data: file("good.avif")},
		{Name: "bmp", Format: probe.BMP, Data: goodBMP()},
		{Name: "heic", Format: probe.HEIC, Data: file("tile.heic")},
		{Name: "tiff", Format: probe.TIFF, Data: goodTIFF().file()},
		{Name: "jxl", Format: probe.JXL, Data: goodJXL()},
	}
	for i := range all {
		all[i].Size = Made
	}
	return all
}

// Cuts returns the beginnings of data, each with its length: those of up to 32
// bytes, and about n more, spread over the rest. The last lacks one byte.
func Cuts(data []byte, n int) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for at := 0; at < len(data); {
			if !yield(at, data[:at:at]) {
				return
			}
			switch step := max(1, len(data)/n); {
			case at < 32:
				at++
			case at+step < len(data):
				at += step
			case at < len(data)-1:
				at = len(data) - 1
			default:
				return
			}
		}
	}
}

// Flips returns n copies of data in which one to four bits differ, mostly in the
// first bytes, where headers are. The seed decides which. Every second copy of a
// PNG gets the right CRCs, or they would be all that is ever found wrong. A copy is
// valid until the next.
func Flips(data []byte, n int, seed uint64) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		random := rand.New(rand.NewPCG(seed, uint64(len(data))))
		flipped := make([]byte, len(data))
		for i := range n {
			copy(flipped, data)
			for range 1 + random.IntN(4) {
				reach := len(data)
				if random.IntN(3) > 0 {
					reach = min(reach, 600)
				}
				flipped[random.IntN(reach)] ^= 1 << random.IntN(8)
			}
			if i%2 == 1 {
				fixCRCs(flipped)
			}
			if !yield(i, flipped) {
				return
			}
		}
	}
}
