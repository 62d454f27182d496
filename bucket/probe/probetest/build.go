package probetest

import (
	"bytes"
	"compress/flate"
	"compress/lzw"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"slices"
	"sync"
)

// side is the width of the images that are no bombs; they are three quarters as
// high. Sizes of tests are smaller.
const side = 48

// must takes what writing to memory cannot fail to give.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Short names, for this package.
var (
	join                         = Join
	be16, be32, le16, le24, le32 = BE16, BE32, LE16, LE24, LE32
	segment, chunk, riff, vp8x   = Segment, Chunk, RIFF, VP8X
)

// picture is hard to compress.
func picture() *image.Paletted {
	m := image.NewPaletted(image.Rect(0, 0, side, side*3/4), palette.Plan9)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range m.Pix {
		m.Pix[i] = uint8(random.Uint32())
	}
	return m
}

func goodJPEG() []byte {
	var b bytes.Buffer
	must(0, jpeg.Encode(&b, picture(), &jpeg.Options{Quality: 50}))
	return b.Bytes()
}

func goodPNG() []byte {
	var b bytes.Buffer
	must(0, png.Encode(&b, picture()))
	return b.Bytes()
}

func goodGIF(frames int) []byte {
	var b bytes.Buffer
	must(0, gif.EncodeAll(&b, &gif.GIF{Image: slices.Repeat([]*image.Paletted{picture()}, frames), Delay: make([]int, frames)}))
	return b.Bytes()
}

// JPEG (ITU-T T.81)

// inJPEG puts segments behind the first marker of a good JPEG.
func inJPEG(segments ...[]byte) []byte {
	good := goodJPEG()
	return join(good[:2], join(segments...), good[2:])
}

// jpegOf is the good JPEG with another size in its frame header.
func jpegOf(width, height int) []byte {
	b := goodJPEG()
	at := bytes.Index(b, []byte{0xFF, 0xC0}) + 5
	copy(b[at:], join(be16(height), be16(width)))
	return b
}

// scans is a grey progressive JPEG of n scans, each without data: a decoder fills
// in what is missing, for the whole picture, each time.
func scans(width, height, n int) []byte {
	sos := segment(0xDA, []byte{1, 1, 0, 0, 0, 0})
	return join([]byte{0xFF, 0xD8},
		segment(0xDB, []byte{0}, bytes.Repeat([]byte{1}, 64)),
		segment(0xC2, []byte{8}, be16(height), be16(width), []byte{1, 1, 0x11, 0}),
		segment(0xC4, []byte{0, 1}, make([]byte, 15), []byte{0}),
		bytes.Repeat(join(sos, []byte{0}), n),
		[]byte{0xFF, 0xD9})
}

// Progressive is a lawful gray JPEG of so many scans, in few bytes, each of which makes a
// decoder go over all pixels.
func Progressive(width, height, scans int) []byte { return progressive(width, height, 1, scans-1) }

// progressive is a flat JPEG whose scans are all complete. The first gives each
// block a bit; each of the others says in a few bytes that no block has anything:
// for every coefficient, as many as successive approximation may have.
func progressive(width, height, components, more int) []byte {
	blocks := (width + 7) / 8 * ((height + 7) / 8)
	var frame, first []byte
	for i := range components {
		frame = append(frame, byte(i+1), 0x11, 0)
		first = append(first, byte(i+1), 0)
	}
	file := join([]byte{0xFF, 0xD8},
		segment(0xDB, []byte{0}, bytes.Repeat([]byte{1}, 64)),
		segment(0xC2, []byte{8}, be16(height), be16(width), []byte{byte(components)}, frame),
		segment(0xC4, []byte{0x00, 1}, make([]byte, 15), []byte{0x00}), // "0" is: no difference
		segment(0xC4, []byte{0x10, 1}, make([]byte, 15), []byte{0xE0}), // "0" is: so many blocks end, in 14 bits
		segment(0xDA, []byte{byte(components)}, first, []byte{0, 0, 0}), make([]byte, (blocks*components+7)/8))
	runs := &bitString{}
	for left := blocks; left > 0; left -= 1<<15 - 1 {
		runs.put(0, 1)
		runs.put(1<<14-1, 14)
	}
	data := bytes.ReplaceAll(runs.padded(), []byte{0xFF}, []byte{0xFF, 0})
	for i := range more {
		k, low := byte(1+i/14%63), byte(13-i%14)
		high := low + 1
		if low == 13 {
			high = 0
		}
		file = join(file, segment(0xDA, []byte{1, 1, 0, k, k, high<<4 | low}), data)
	}
	return join(file, []byte{0xFF, 0xD9})
}

// A bitString is written from the highest bit of each byte on, as JPEG has it.
type bitString struct {
	bytes []byte
	n     int
}

func (b *bitString) put(v, count int) {
	for i := count - 1; i >= 0; i-- {
		if b.n%8 == 0 {
			b.bytes = append(b.bytes, 0)
		}
		b.bytes[b.n/8] |= byte(v>>i&1) << (7 - b.n%8)
		b.n++
	}
}

// padded is filled up with ones.
func (b *bitString) padded() []byte {
	for b.n%8 > 0 {
		b.put(1, 1)
	}
	return b.bytes
}

// icc is the part at of n of an ICC profile.
func icc(at, n int, data []byte) []byte {
	return segment(0xE2, []byte("ICC_PROFILE\x00"), []byte{byte(at), byte(n)}, data)
}

// PNG (third edition)

const pngSignature = "\x89PNG\r\n\x1A\n"

func ihdr(width, height int, depth, color, interlace byte) []byte {
	return chunk("IHDR", be32(width), be32(height), []byte{depth, color, 0, 0, interlace})
}

// pngOf is a PNG with the given zlib stream for pixels.
func pngOf(ihdr, stream []byte) []byte {
	return join([]byte(pngSignature), ihdr, chunk("IDAT", stream), chunk("IEND"))
}

const pngHead = 8 + 12 + 13

// inPNG puts chunks behind IHDR of the good PNG.
func inPNG(chunks ...[]byte) []byte {
	good := goodPNG()
	return join(good[:pngHead], join(chunks...), good[pngHead:])
}

// fixCRCs gives every chunk of a PNG its CRC, as far as the lengths lead.
func fixCRCs(data []byte) {
	if !bytes.HasPrefix(data, []byte(pngSignature)) {
		return
	}
	for b := data[len(pngSignature):]; len(b) >= 12; {
		n := int64(binary.BigEndian.Uint32(b))
		if n+12 > int64(len(b)) {
			return
		}
		binary.BigEndian.PutUint32(b[8+n:], crc32.ChecksumIEEE(b[4:8+n]))
		b = b[n+12:]
	}
}

// zeros is a zlib stream (RFC 1950) of n zero bytes, a thousandth as long: the
// same compressed megabyte over and over, so that it costs nothing to make.
func zeros(n int) []byte {
	const piece = 1 << 20
	// Of Adler-32 the low half stays 1, and the high half counts the bytes.
	return join([]byte{0x78, 0xDA}, bytes.Repeat(deflatedMega(), n/piece), deflated(make([]byte, n%piece)),
		[]byte{3, 0}, be32(n%65521<<16|1))
}

var deflatedMega = sync.OnceValue(func() []byte { return deflated(make([]byte, 1<<20)) })

// deflated is a part of a stream (RFC 1951) that others can follow.
func deflated(data []byte) []byte {
	var b bytes.Buffer
	w := must(flate.NewWriter(&b, flate.BestCompression))
	must(w.Write(data))
	must(0, w.Flush())
	return b.Bytes()
}

// GIF (89a)

func screen(width, height int) []byte {
	return join([]byte("GIF89a"), le16(width), le16(height), []byte{0x80, 0, 0}, make([]byte, 6))
}

// gifFrame is a whole frame of one colour.
func gifFrame(left, top, width, height int) []byte {
	var b bytes.Buffer
	w := lzw.NewWriter(&b, lzw.LSB, 2)
	must(w.Write(make([]byte, width*height)))
	must(0, w.Close())
	return join(gifImage(left, top, width, height), []byte{2}, subBlocks(b.Bytes()))
}

func gifImage(left, top, width, height int) []byte {
	return join([]byte{0x2C}, le16(left), le16(top), le16(width), le16(height), []byte{0})
}

func subBlocks(data []byte) []byte {
	var b []byte
	for piece := range slices.Chunk(data, 255) {
		b = append(append(b, byte(len(piece))), piece...)
	}
	return append(b, 0)
}

// gifOf is a GIF of n frames, each a pixel on a canvas of its own size.
func gifOf(width, height, n int) []byte {
	return join(screen(width, height), bytes.Repeat(gifFrame(0, 0, 1, 1), n), []byte(";"))
}

// WebP (RFC 9649)

func webpFile(chunks ...[]byte) []byte { return riff("RIFF", []byte("WEBP"), join(chunks...)) }

const (
	flagAnim = 0x02
	flagExif = 0x08
	flagICC  = 0x20
)

// vp8l is a lossless image (RFC 9649, 3): of one colour, which takes no bit for
// any number of pixels, or of two in disorder, which take one each.
func vp8l(width, height int, disorder bool) []byte {
	var bits []byte
	n := 0
	put := func(v uint64, count int) {
		for i := range count {
			if n%8 == 0 {
				bits = append(bits, 0)
			}
			bits[n/8] |= byte(v>>i&1) << (n % 8)
			n++
		}
	}
	put(0x2F, 8)
	put(uint64(width-1), 14)
	put(uint64(height-1), 14)
	put(0, 1+3)   // no alpha, version 0
	put(0, 1+1+1) // no transform, no colour cache, one group of codes
	for _, two := range []bool{disorder, false, false, false, false} {
		if two {
			put(0b111, 3) // simple, two symbols, of 8 bits
			put(20, 8)
			put(200, 8)
		} else {
			put(0b001, 3) // simple, one symbol, of 1 bit
			put(0, 1)
		}
	}
	if disorder {
		random := rand.New(rand.NewPCG(3, 4))
		for range width * height {
			put(random.Uint64(), 1)
		}
	}
	return riff("VP8L", bits)
}

// webpAnimation has n times the frame, which fills the canvas.
func webpAnimation(width, height, n int, frame []byte) []byte {
	anmf := riff("ANMF", le24(0), le24(0), le24(width-1), le24(height-1), le24(100), []byte{0}, frame)
	return webpFile(vp8x(flagAnim, width, height), riff("ANIM", make([]byte, 6)), bytes.Repeat(anmf, n))
}

// TIFF (6.0), for EXIF and for itself

type field struct{ tag, kind, count, value int }

// directory is a TIFF directory and the offset of the next one. A SHORT stands
// in the first two bytes of its value.
func directory(next int, fields ...field) []byte {
	b := le16(len(fields))
	for _, f := range fields {
		b = join(b, le16(f.tag), le16(f.kind), le32(f.count), le32(f.value))
	}
	return join(b, le32(next))
}

// tiff has its first directory at offset 8.
func tiff(directories ...[]byte) []byte {
	return join([]byte("II*\x00"), le32(8), join(directories...))
}
