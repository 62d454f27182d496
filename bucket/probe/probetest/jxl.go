package probetest

import (
	"bytes"
	"encoding/binary"

	"imgkeep/bucket/probe"
)

// JPEG XL (ISO/IEC 18181)

// A bitsOf is a header: numbers, each with how many bits it has, the lowest first.
type bitsOf [][2]int

// bytes ends with the last bit that is set, and zeroes up to a whole byte.
func (b bitsOf) bytes() []byte {
	var out []byte
	at := 0
	for _, f := range b {
		for i := range f[1] {
			if at%8 == 0 {
				out = append(out, 0)
			}
			out[at/8] |= byte(f[0]>>i&1) << (at % 8)
			at++
		}
	}
	return out
}

// jxlSize is signature and size of a codestream, in fields of 30 bits.
func jxlSize(width, height int) bitsOf {
	return bitsOf{{0x0AFF, 16}, {0, 1}, {3, 2}, {height - 1, 30}, {0, 3}, {3, 2}, {width - 1, 30}}
}

// jxlUsual says that what follows the size is as usual.
var jxlUsual = bitsOf{{1, 1}, {1, 1}}

// with appends fields.
func (b bitsOf) with(more ...bitsOf) bitsOf {
	all := append(bitsOf{}, b...)
	for _, m := range more {
		all = append(all, m...)
	}
	return all
}

// jxlFrame is the frame of good.jxl, which begins at a whole byte.
func jxlFrame() []byte { return file("good.jxl")[8:] }

// jxlOf is a codestream with the frame of the good one.
func jxlOf(header bitsOf) []byte { return join(header.bytes(), jxlFrame()) }

func goodStream() []byte { return jxlOf(jxlSize(side, side*3/4).with(jxlUsual)) }

// jxlFile puts boxes behind those that every file begins with.
func jxlFile(boxes ...[]byte) []byte {
	return join([]byte("\x00\x00\x00\x0CJXL \x0D\x0A\x87\x0A"), box("ftyp", []byte("jxl "), be32(0), []byte("jxl ")), join(boxes...))
}

func goodJXL() []byte { return jxlFile(box("jxll", []byte{5}), box("jxlc", goodStream())) }

// jxlPart is a jxlp box.
func jxlPart(index int, last bool, data []byte) []byte {
	if last {
		index |= 1 << 31
	}
	return box("jxlp", be32(index), data)
}

// jxlParts splits a codestream into boxes of n bytes, with one of metadata before each.
func jxlParts(stream []byte, n int) []byte {
	var all []byte
	for i := 0; len(stream) > 0; i++ {
		k := min(n, len(stream))
		all = join(all, box("xml ", []byte("<x/>")), jxlPart(i, k == len(stream), stream[:k]))
		stream = stream[k:]
	}
	return jxlFile(all)
}

func jxls() []Case {
	const half = side * 3 / 4
	var all []Case
	add := func(name string, data []byte, want error, size Outcome) {
		all = append(all, Case{"jxl-" + name, "", probe.JXL, data, want, size})
	}
	good := goodStream()
	endless := func(kind string, data ...[]byte) []byte { return join(be32(0), []byte(kind), join(data...)) }
	wide := func(kind string, data []byte) []byte {
		return join(be32(1), []byte(kind), binary.BigEndian.AppendUint64(nil, uint64(16+len(data))), data)
	}

	// Boxes
	add("put-together", good, nil, Made)
	add("in-parts", jxlParts(good, 100), nil, Made)
	add("in-parts-of-a-byte", jxlParts(good, 1), nil, Made)
	add("in-parts-of-which-some-are-empty", jxlFile(jxlPart(0, false, nil), jxlPart(1, false, good), jxlPart(2, true, nil)), nil, Made)
	add("in-large-boxes", jxlFile(wide("xml ", nil), wide("jxlc", good)), nil, Made)
	add("to-the-end", jxlFile(endless("jxlc", good)), nil, Made)
	add("last-part-to-the-end", jxlFile(jxlPart(0, false, good[:50]), endless("jxlp", be32(1<<31|1), good[50:])), nil, Made)
	add("a-part-to-the-end-and-not-the-last", jxlFile(endless("jxlp", be32(0), good)), probe.ErrBroken, Refused)
	add("metadata-to-the-end", jxlFile(endless("Exif", good)), probe.ErrBroken, Refused)
	add("no-last-part", jxlFile(jxlPart(0, false, good)), probe.ErrTruncated, Refused)
	add("parts-in-the-wrong-order", jxlFile(jxlPart(1, false, good[:50]), jxlPart(0, true, good[50:])), probe.ErrBroken, Refused)
	add("a-part-twice", jxlFile(jxlPart(0, false, good[:50]), jxlPart(0, true, good[50:])), probe.ErrBroken, Refused)
	add("a-part-missing", jxlFile(jxlPart(0, false, good[:50]), jxlPart(2, true, good[50:])), probe.ErrBroken, Refused)
	add("whole-behind-a-part", jxlFile(jxlPart(0, false, good[:50]), box("jxlc", good)), probe.ErrBroken, Refused)
	add("a-part-without-number", jxlFile(box("jxlp", []byte{0, 0, 0})), probe.ErrBroken, Refused)
	add("no-codestream", jxlFile(box("jxlc")), probe.ErrBroken, Refused)
	add("half-a-header", jxlFile(box("jxlc", good[:5])), probe.ErrBroken, Refused)
	add("boxes-in-its-codestream", jxlFile(box("jxlc", goodJXL())), probe.ErrBroken, Refused)
	add("jpeg-in-its-codestream", jxlFile(box("jxlc", goodJPEG())), probe.ErrBroken, Refused)
	add("two-codestreams", jxlFile(box("jxlc", good), box("jxlc", jxlOf(jxlSize(1<<20, 1<<20).with(jxlUsual)))), nil, Made)
	add("a-box-of-7-bytes", jxlFile(join(be32(7), []byte("jxlc"))), probe.ErrBroken, Refused)
	add("a-large-box-of-15-bytes", jxlFile(join(be32(1), []byte("jxlc"), be32(0), be32(15), good)), probe.ErrBroken, Refused)
	add("a-box-of-4-gb", jxlFile(join(be32(1<<32-1), []byte("jxlc"), good)), probe.ErrTruncated, Refused)
	add("a-box-of-2-to-the-63", jxlFile(join(be32(1), []byte("xml "), be32(1<<31), be32(0), good)), probe.ErrBroken, Refused)
	add("10000-boxes", jxlFile(bytes.Repeat(box("xml "), 10_000), box("jxlc", good)), nil, Made)
	add("exif-that-is-not-what-it-says", jxlFile(box("Exif", be32(1<<32-1), noise(300)), box("jxlc", good)), nil, Made)
	// A decoder that unpacked it would stumble.
	add("packed-exif-of-noise", jxlFile(box("brob", []byte("Exif"), noise(300)), box("jxlc", good)), nil, Made)
	add("packed-jpeg-of-noise", jxlFile(box("jbrd", noise(300)), box("jxlc", good)), nil, Made)
	add("html-in-a-box", jxlFile(box("xml ", []byte("<script>"+Payload+"</script>")), box("jxlc", good)), nil, Made)
	add("level-10", jxlFile(box("jxll", []byte{10}), box("jxlc", good)), nil, Made)
	add("level-11", jxlFile(box("jxll", []byte{11}), box("jxlc", good)), probe.ErrType, Either)
	add("of-another-brand", join([]byte("\x00\x00\x00\x0CJXL \x0D\x0A\x87\x0A"), box("ftyp", []byte("jxs "), be32(0), []byte("jxs ")), box("jxlc", good)), probe.ErrBroken, Either)
	add("of-no-brand", join([]byte("\x00\x00\x00\x0CJXL \x0D\x0A\x87\x0A"), box("jxlc", good)), probe.ErrBroken, Either)
	add("of-a-thousand-brands", join([]byte("\x00\x00\x00\x0CJXL \x0D\x0A\x87\x0A"), box("ftyp", []byte("jxl "), be32(0), bytes.Repeat([]byte("jxl "), 1000)), box("jxlc", good)), probe.ErrBroken, Either)
	add("two-signatures", jxlFile([]byte("\x00\x00\x00\x0CJXL \x0D\x0A\x87\x0A"), box("jxlc", good)), probe.ErrBroken, Either)

	// Sizes
	add("49-megapixels-in-2-kb", file("flat.jxl"), nil, Made)
	for _, c := range []struct {
		name          string
		width, height int
		want          error
		size          Outcome
	}{
		{"50000x50000", 50000, 50000, probe.ErrPixels, Refused},
		{"sides-of-30-bits", 1 << 30, 1 << 30, probe.ErrPixels, Refused},
		{"a-side-of-16384", 16384, 1, nil, Refused},
		{"a-side-of-16385", 16385, 1, probe.ErrPixels, Refused},
		{"50000000-pixels", 6250, 8000, nil, Refused},
		{"51008164-pixels", 7142, 7142, probe.ErrPixels, Refused},
		{"1x1", 1, 1, nil, Refused},
	} {
		add(c.name, jxlOf(jxlSize(c.width, c.height).with(jxlUsual)), c.want, c.size)
		add(c.name+"-in-a-box", jxlFile(box("jxlc", jxlOf(jxlSize(c.width, c.height).with(jxlUsual)))), c.want, c.size)
	}
	add("twice-as-wide-as-30-bits", jxlOf(bitsOf{{0x0AFF, 16}, {0, 1}, {3, 2}, {1<<30 - 1, 30}, {7, 3}}.with(jxlUsual)), probe.ErrBroken, Refused)

	// What its header says besides. The frame is not what it announces, mostly.
	head := func(more ...bitsOf) []byte {
		return jxlOf(jxlSize(side, half).with(bitsOf{{0, 1}}).with(more...))
	}
	deep, sparse := bitsOf{{0, 3}}, bitsOf{{1, 1}} // integers of 8 bits; 16 are enough
	// Colours, extensions and transforms are as usual; so is tone mapping where there
	// are extra fields.
	rest, toned := bitsOf{{1, 1}, {1, 1}, {0, 2}, {1, 1}}, bitsOf{{1, 1}, {1, 1}, {1, 1}, {0, 2}, {1, 1}}
	for o := range 8 {
		add("orientation-"+string(rune('1'+o)), head(bitsOf{{1, 1}, {o, 3}, {0, 3}}, deep, sparse, bitsOf{{0, 2}}, toned), nil, Made)
	}
	add("another-size-to-be-shown-in", head(bitsOf{{1, 1}, {0, 3}, {1, 1}, {1, 1}, {3, 5}, {1, 3}, {0, 2}}, deep, sparse, bitsOf{{0, 2}}, toned), nil, Made)
	add("a-preview", head(bitsOf{{1, 1}, {0, 3}, {0, 1}, {1, 1}}), probe.ErrType, Refused)
	add("an-animation", head(bitsOf{{1, 1}, {0, 3}, {0, 1}, {0, 1}, {1, 1}}), probe.ErrType, Refused)
	channels := func(n bitsOf, one ...bitsOf) []byte {
		return head(bitsOf{{0, 1}}.with(deep, sparse, n).with(one...), rest)
	}
	single := bitsOf{{1, 2}}
	kind := func(of bitsOf, name int) bitsOf {
		b := bitsOf{{0, 1}}.with(of, bitsOf{{0, 3}, {0, 2}})
		if name == 0 {
			return b.with(bitsOf{{0, 2}})
		}
		b = b.with(bitsOf{{3, 2}, {name - 48, 10}})
		for range name {
			b = append(b, [2]int{'a', 8})
		}
		return b
	}
	alpha, usual := bitsOf{{0, 2}}, bitsOf{{1, 1}}
	add("alpha-that-is-not-there", channels(single, usual), nil, Refused)
	add("2-channels-besides", channels(bitsOf{{2, 2}, {0, 4}}, usual, usual), probe.ErrType, Refused)
	add("4096-channels-besides", channels(bitsOf{{3, 2}, {4095, 12}}), probe.ErrType, Refused)
	add("depth", channels(single, kind(bitsOf{{1, 2}}, 0)), probe.ErrType, Refused)
	add("ink", channels(single, kind(bitsOf{{2, 2}, {0, 4}}, 0)), probe.ErrType, Refused)
	add("black", channels(single, kind(bitsOf{{2, 2}, {2, 4}}, 0)), probe.ErrType, Refused)
	add("weighted-by-alpha", channels(single, kind(alpha, 0), bitsOf{{1, 1}}), probe.ErrType, Refused)
	add("not-weighted-by-alpha", channels(single, kind(alpha, 0), bitsOf{{0, 1}}), nil, Refused)
	add("a-name-of-200-bytes", channels(single, kind(alpha, 200), bitsOf{{0, 1}}), nil, Refused)
	add("a-name-of-1071-bytes", channels(single, kind(alpha, 1071), bitsOf{{0, 1}}), probe.ErrType, Refused)

	// Frames
	add("no-frame", jxlSize(side, half).with(jxlUsual).bytes(), nil, Refused)
	add("half-a-frame", good[:len(good)/2], nil, Refused)
	add("half-a-frame-in-a-box", jxlFile(box("jxlc", good[:len(good)/2])), nil, Refused)
	add("a-frame-of-noise", join(jxlSize(side, half).with(jxlUsual).bytes(), noise(500)), nil, Either)
	return all
}
