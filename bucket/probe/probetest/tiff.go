package probetest

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"imgkeep/bucket/probe"
)

// A tiffFile is a TIFF (TIFF 6.0) of which a case can get any part wrong.
type tiffFile struct {
	width, height int
	set           map[int][]int // values of fields that differ from the usual ones; nil: without the field
	kinds         map[int]int   // their types, where they are not the usual ones
	strips        [][]byte
	parts         string // in which order: directory, values beyond four bytes, pixels
	big           bool
	next          int // the link to the next directory
}

// file puts the file together, twice: offsets are known after the first time.
func (f tiffFile) file() []byte {
	var order binary.AppendByteOrder = binary.LittleEndian
	head := "II*\x00"
	if f.big {
		order, head = binary.BigEndian, "MM\x00*"
	}
	if f.parts == "" {
		f.parts = "dvp"
	}
	offsets, counts := 273, 279
	if f.set[322] != nil {
		offsets, counts = 324, 325
	}
	at := map[rune]int{}
	for {
		fields := map[int][]int{256: {f.width}, 257: {f.height}, 258: {8, 8, 8}, 259: {1}, 262: {2}, 277: {3}, 278: {f.height}}
		place := at['p']
		for _, s := range f.strips {
			fields[offsets], fields[counts] = append(fields[offsets], place), append(fields[counts], len(s))
			place += len(s)
		}
		maps.Copy(fields, f.set)
		maps.DeleteFunc(fields, func(_ int, values []int) bool { return values == nil })
		directory, values := order.AppendUint16(nil, uint16(len(fields))), []byte(nil)
		for _, tag := range slices.Sorted(maps.Keys(fields)) {
			kind := 3
			if slices.Contains([]int{256, 257, 273, 278, 279, 322, 323, 324, 325}, tag) {
				kind = 4
			}
			if k := f.kinds[tag]; k != 0 {
				kind = k
			}
			var all []byte
			for _, v := range fields[tag] {
				if kind == 3 {
					all = order.AppendUint16(all, uint16(v))
				} else {
					all = order.AppendUint32(all, uint32(v))
				}
			}
			directory = order.AppendUint16(order.AppendUint16(directory, uint16(tag)), uint16(kind))
			directory = order.AppendUint32(directory, uint32(len(fields[tag])))
			if len(all) > 4 {
				directory = order.AppendUint32(directory, uint32(at['v']+len(values)))
				values = append(values, all...)
			} else {
				directory = append(directory, append(all, 0, 0, 0, 0)[:4]...)
			}
		}
		directory = order.AppendUint32(directory, uint32(f.next))
		b := order.AppendUint32([]byte(head), uint32(at['d']))
		last := maps.Clone(at)
		for _, part := range f.parts {
			at[part] = len(b)
			b = append(b, map[rune][]byte{'d': directory, 'v': values, 'p': join(f.strips...)}[part]...)
		}
		if maps.Equal(at, last) {
			return b
		}
	}
}

// tiffDeflate, tiffPackBits and tiffLZW code data as the compressions do. The last two
// gain nothing.
func tiffDeflate(data []byte) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	must(w.Write(data))
	must(0, w.Close())
	return b.Bytes()
}

func tiffPackBits(data []byte) []byte {
	var b []byte
	for run := range slices.Chunk(data, 128) {
		b = append(append(b, byte(len(run)-1)), run...)
	}
	return b
}

func tiffLZW(data []byte) []byte {
	const reset, end = 256, 257
	b := &bitString{}
	for run := range slices.Chunk(data, 200) { // so that codes stay of 9 bits
		b.put(reset, 9)
		for _, v := range run {
			b.put(int(v), 9)
		}
	}
	b.put(end, 9)
	return b.padded()
}

const tiffHigh = side * 3 / 4

// goodTIFF is noise in three strips, compressed.
func goodTIFF() tiffFile {
	f := tiffFile{width: side, height: tiffHigh, set: map[int][]int{259: {8}, 278: {tiffHigh / 3}}}
	for rows := range slices.Chunk(noise(3*side*tiffHigh), side*tiffHigh) {
		f.strips = append(f.strips, tiffDeflate(rows))
	}
	return f
}

// tiffWith is a file of one strip in which some fields differ from the usual ones.
func tiffWith(strip []byte, set map[int][]int) tiffFile {
	return tiffFile{width: side, height: tiffHigh, set: set, strips: [][]byte{strip}}
}

// tiffKinds are files of one strip of each kind that is accepted, with how long the
// strip is without compression.
func tiffKinds() map[string]tiffFile {
	type fields = map[int][]int
	const n = side * tiffHigh
	all := map[string]tiffFile{
		"rgb":            tiffWith(noise(3*n), nil),
		"rgba":           tiffWith(noise(4*n), fields{258: {8, 8, 8, 8}, 277: {4}, 338: {2}}),
		"rgba-weighted":  tiffWith(noise(4*n), fields{258: {8, 8, 8, 8}, 277: {4}, 338: {1}}),
		"rgba-of-16":     tiffWith(noise(8*n), fields{258: {16, 16, 16, 16}, 277: {4}, 338: {2}}),
		"rgb-of-formats": tiffWith(noise(3*n), fields{339: {1, 1, 1}}),
		"cmyk":           tiffWith(noise(4*n), fields{258: {8, 8, 8, 8}, 262: {5}, 277: {4}}),
		"gray-alpha":     tiffWith(noise(2*n), fields{258: {8, 8}, 262: {1}, 277: {2}, 338: {2}}),
		"gray-of-16":     tiffWith(noise(2*n), fields{258: {16}, 262: {1}, 277: {1}}),
	}
	for _, bits := range []int{1, 2, 4, 8} {
		rows := (side*bits + 7) / 8 * tiffHigh
		all[fmt.Sprintf("gray-of-%d", bits)] = tiffWith(noise(rows), fields{258: {bits}, 262: {1}, 277: {1}})
		all[fmt.Sprintf("ink-of-%d", bits)] = tiffWith(noise(rows), fields{258: {bits}, 262: {0}, 277: {1}})
		all[fmt.Sprintf("palette-of-%d", bits)] = tiffWith(noise(rows), fields{258: {bits}, 262: {3}, 277: {1}, 320: make([]int, 3<<bits)})
	}
	return all
}

func tiffs() []Case {
	type fields = map[int][]int
	const n = side * tiffHigh
	var all []Case
	add := func(name string, data []byte, want error, size Outcome) {
		all = append(all, Case{"tiff-" + name, "", probe.TIFF, data, want, size})
	}
	good := goodTIFF()
	with := func(change func(f *tiffFile)) []byte {
		f := goodTIFF()
		change(&f)
		return f.file()
	}
	set := func(tag int, values ...int) []byte {
		return with(func(f *tiffFile) { f.set[tag] = values })
	}

	kinds := tiffKinds()
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		add(name, kinds[name].file(), nil, Made)
	}
	for _, parts := range []string{"dvp", "dpv", "vdp", "vpd", "pdv", "pvd"} {
		add("in-order-"+parts, with(func(f *tiffFile) { f.parts = parts }), nil, Made)
		add("in-order-"+parts+"-big-endian", with(func(f *tiffFile) { f.parts, f.big = parts, true }), nil, Made)
	}
	rows := noise(3 * n)
	for name, c := range map[string]struct {
		number int
		code   func([]byte) []byte
	}{"deflate": {8, tiffDeflate}, "old-deflate": {32946, tiffDeflate}, "packbits": {32773, tiffPackBits}, "lzw": {5, tiffLZW}, "plain": {1, slices.Clone[[]byte]}} {
		coded := c.code(rows)
		add(name, tiffWith(coded, fields{259: {c.number}}).file(), nil, Made)
		for _, parts := range []string{"dvp", "pdv"} {
			f := tiffWith(coded[:len(coded)/2], fields{259: {c.number}})
			f.parts = parts
			add(name+"-of-half-its-data-"+parts, f.file(), nil, Refused)
			f = tiffFile{width: side, height: tiffHigh, parts: parts, set: fields{259: {c.number}, 278: {tiffHigh / 2}}, strips: [][]byte{c.code(rows[:len(rows)/2]), nil}}
			second := c.code(rows[len(rows)/2:])
			f.strips[1] = second[:len(second)-9]
			add(name+"-of-a-strip-short-of-9-bytes-"+parts, f.file(), nil, Refused)
		}
	}
	add("noise-for-deflate", tiffWith(noise(3*n), fields{259: {8}}).file(), nil, Refused)
	add("noise-for-lzw", tiffWith(noise(3*n), fields{259: {5}}).file(), nil, Refused)
	add("lengths-in-16-bits", with(func(f *tiffFile) { f.kinds = map[int]int{279: 3, 256: 3} }), nil, Made)
	planes := with(func(f *tiffFile) {
		f.set[284], f.set[278] = []int{2}, []int{tiffHigh}
	})
	add("planes", planes, nil, Made)
	add("strips-of-a-row", with(func(f *tiffFile) {
		f.set[278], f.set[259], f.strips = []int{1}, []int{1}, slices.Collect(slices.Chunk(rows, 3*side))
	}), nil, Made)
	add("strip-of-4-billion-rows", tiffWith(rows, fields{278: {1<<32 - 1}}).file(), nil, Made)
	add("one-depth-for-all", tiffWith(rows, fields{258: {8}}).file(), nil, Either)

	// Tiles.
	tiled := func(w, h, count, size int) []byte {
		f := tiffFile{width: side, height: tiffHigh, set: fields{322: {w}, 323: {h}, 278: nil}}
		for range count {
			f.strips = append(f.strips, noise(size))
		}
		return f.file()
	}
	add("tiles", tiled(16, 16, 9, 3*16*16), nil, Made)
	add("tiles-of-planes", func() []byte {
		f := tiffFile{width: side, height: tiffHigh, set: fields{322: {64}, 323: {64}, 278: nil, 284: {2}}}
		f.strips = [][]byte{noise(64 * 64), noise(64 * 64), noise(64 * 64)}
		return f.file()
	}(), probe.ErrType, Refused)
	add("tile-larger-than-the-image", tiled(64, 64, 1, 3*64*64), nil, Made)
	add("tile-of-4-megapixels", tiled(1<<11, 1<<11, 1, 3<<22), nil, Either) // libvips 8.16 takes no tile larger than the image
	add("tile-over-4-megapixels", tiled(1<<11+16, 1<<11, 1, 100), probe.ErrType, Refused)
	add("tile-of-2-gigapixels-square", tiled(1<<31, 1<<31, 1, 100), probe.ErrType, Refused)
	add("tile-of-width-0", tiled(0, 16, 3, 100), probe.ErrBroken, Refused)
	add("tile-of-height-0", tiled(16, 0, 3, 100), probe.ErrBroken, Refused)
	add("tile-of-17", tiled(17, 16, 9, 17*16*3), probe.ErrBroken, Either)
	add("too-few-tiles", tiled(16, 16, 8, 3*16*16), probe.ErrBroken, Refused)
	add("tiles-cut-short", tiled(16, 16, 9, 16*16), nil, Refused)
	add("tiles-and-strips", with(func(f *tiffFile) {
		f.set[322], f.set[323], f.set[273], f.set[279] = []int{16}, []int{16}, []int{8}, []int{9}
	}), probe.ErrType, Either)
	add("tile-without-strips", with(func(f *tiffFile) { f.set[322], f.set[324], f.set[325] = []int{16}, nil, nil }), probe.ErrBroken, Refused)

	// Dimensions that are lies.
	bomb := func(width, height, length int) []byte {
		f := goodTIFF()
		f.width, f.height, f.set[278], f.set[279], f.set[273], f.strips = width, height, []int{height}, []int{length}, []int{300}, [][]byte{noise(400)}
		return f.file()
	}
	add("50000x50000", bomb(50000, 50000, 400), probe.ErrPixels, Refused)
	add("sides-of-32-bits", bomb(1<<32-1, 1<<32-1, 400), probe.ErrBroken, Refused)
	add("sides-of-31-bits", bomb(1<<31-1, 1<<31-1, 400), probe.ErrPixels, Refused)
	add("width-0", bomb(0, 9, 400), probe.ErrBroken, Refused)
	add("height-0", bomb(9, 0, 400), probe.ErrBroken, Refused)
	add("49-megapixels-in-400-bytes", bomb(7000, 7000, 200), nil, Refused)
	add("49-megapixels-of-4-gb", bomb(7000, 7000, 1<<32-1), probe.ErrTruncated, Refused)
	add("49-megapixels-in-150-kb", tiffFile{width: 7000, height: 7000, set: fields{259: {8}}, strips: [][]byte{zeros(3 * 7000 * 7000)}}.file(), nil, Made)
	add("a-side-of-16384", tiffFile{width: 16384, height: 1, strips: [][]byte{noise(3 * 16384)}}.file(), nil, Made)
	add("a-side-of-16385", tiffFile{width: 16385, height: 1, strips: [][]byte{noise(3 * 16385)}}.file(), probe.ErrPixels, Made)
	many := func(strips int) []byte {
		f := tiffFile{width: 1, height: 16384, set: fields{258: {8, 8, 8, 8}, 277: {4}, 284: {2}, 278: {1}, 273: make([]int, strips), 279: make([]int, strips)}, strips: [][]byte{noise(100)}}
		for i := range strips {
			f.set[273][i], f.set[279][i] = 8, 1
		}
		return f.file()
	}
	add("65536-strips", many(65536), nil, Made)
	add("65537-strips", many(65537), probe.ErrType, Either)

	// Directories.
	add("in-a-circle-of-one", with(func(f *tiffFile) { f.next = 8 }), nil, Made)
	add("next-at-byte-1", with(func(f *tiffFile) { f.next = 1 }), nil, Made)
	add("next-at-4-gb", with(func(f *tiffFile) { f.next = 1<<32 - 1 }), nil, Made)
	add("60000-pages", func() []byte {
		f := good
		f.next = len(f.file())
		b, page := f.file(), directory(0, field{256, 3, 1, 9})
		for range 60_000 {
			b = append(b, directory(len(b)+len(page), field{256, 3, 1, 9})...)
		}
		return b
	}(), nil, Made)
	add("directory-at-byte-0", join([]byte("II*\x00"), le32(0), make([]byte, 100)), probe.ErrBroken, Refused)
	add("directory-at-4-gb", join([]byte("II*\x00"), le32(1<<32-1), make([]byte, 100)), probe.ErrTruncated, Refused)
	add("directory-of-nothing", tiff(directory(0)), probe.ErrBroken, Refused)
	add("directory-of-65535-fields", join([]byte("II*\x00"), le32(8), le16(65535), make([]byte, 100)), probe.ErrType, Refused)
	for _, fields := range []int{256, 257} {
		f := goodTIFF()
		for i := range fields - 9 {
			f.set[60_000+i] = []int{i}
		}
		want := error(nil)
		if fields > 256 {
			want = probe.ErrType
		}
		add(fmt.Sprintf("%d-fields", fields), f.file(), want, Made)
	}
	add("width-twice", tiff(directory(0, field{256, 3, 1, 9}, field{256, 3, 1, 60000})), probe.ErrBroken, Refused)
	add("fields-out-of-order", tiff(directory(0, field{257, 3, 1, 9}, field{256, 3, 1, 9})), probe.ErrBroken, Refused)
	add("two-widths", set(256, side, side), probe.ErrBroken, Either)
	add("width-as-text", with(func(f *tiffFile) { f.kinds = map[int]int{256: 2} }), probe.ErrBroken, Either)
	add("unknown-type-of-a-field", with(func(f *tiffFile) { f.set[60000], f.kinds = []int{1, 2, 3}, map[int]int{60000: 99} }), nil, Made)
	add("profile-of-4-gb", func() []byte {
		b := tiffWith(rows, fields{34675: {9}}).file()
		at := bytes.Index(b, le16(34675))
		copy(b[at+2:], join(le16(7), le32(1<<32-1), le32(1<<32-1)))
		return b
	}(), probe.ErrTruncated, Either)

	// Strips.
	add("no-strips", with(func(f *tiffFile) { f.set[273] = nil }), probe.ErrBroken, Refused)
	add("no-lengths", with(func(f *tiffFile) { f.set[279] = nil }), probe.ErrBroken, Either)
	add("no-dimensions", with(func(f *tiffFile) { f.set[256], f.set[257] = nil, nil }), probe.ErrBroken, Refused)
	add("no-width", with(func(f *tiffFile) { f.set[256] = nil }), probe.ErrBroken, Refused)
	add("no-colours", with(func(f *tiffFile) { f.set[262] = nil }), probe.ErrBroken, Either)
	add("strips-of-no-rows", set(278, 0), probe.ErrBroken, Refused)
	add("too-few-strips", with(func(f *tiffFile) { f.strips = f.strips[:2] }), probe.ErrBroken, Refused)
	add("too-many-strips", with(func(f *tiffFile) { f.strips = append(f.strips, f.strips...) }), probe.ErrBroken, Either)
	add("4-billion-strips", func() []byte {
		b := good.file()
		at := bytes.Index(b, join(le16(273), le16(4)))
		copy(b[at+4:], le32(1<<32-1))
		return b
	}(), probe.ErrType, Either)
	add("strips-of-0-bytes", set(279, 0, 0, 0), probe.ErrBroken, Refused)
	add("a-strip-of-0-bytes", set(279, 900, 0, 900), probe.ErrBroken, Refused)
	add("strips-at-byte-0", set(273, 0, 0, 0), probe.ErrBroken, Refused)
	add("strips-at-4-gb", set(273, 1<<32-1, 1<<32-1, 1<<32-1), probe.ErrTruncated, Refused)
	add("strips-of-4-gb", set(279, 1<<32-1, 1<<32-1, 1<<32-1), probe.ErrTruncated, Either)
	add("places-as-fractions", with(func(f *tiffFile) { f.kinds = map[int]int{273: 5} }), probe.ErrBroken, Either)
	add("table-at-4-gb", func() []byte {
		b := good.file()
		at := bytes.Index(b, join(le16(273), le16(4)))
		copy(b[at+8:], le32(1<<32-1))
		return b
	}(), probe.ErrTruncated, Either)

	// Kinds that are refused.
	for _, code := range []int{0, 2, 3, 4, 6, 7, 9, 10, 32809, 34661, 34676, 34712, 34887, 34925, 50000, 50001, 65535} {
		add(fmt.Sprintf("compression-%d", code), set(259, code), probe.ErrType, Refused)
	}
	add("jpeg-inside-of-other-dimensions", tiffWith(jpegOf(9, 9), fields{259: {7}}).file(), probe.ErrType, Refused)
	add("jpeg-inside-of-50000x50000", tiffWith(jpegOf(50000, 50000), fields{259: {7}}).file(), probe.ErrType, Refused)
	for _, colours := range []int{4, 6, 8, 9, 10, 32803, 32844, 32845, 65535} {
		add(fmt.Sprintf("colours-%d", colours), set(262, colours), probe.ErrType, Either)
	}
	add("depths-that-differ", set(258, 8, 8, 16), probe.ErrType, Either)
	add("depths-for-two", set(258, 8, 8), probe.ErrBroken, Either)
	for _, bits := range []int{0, 3, 12, 24, 32, 64, 65535} {
		add(fmt.Sprintf("%d-bits", bits), tiffWith(noise(8*n), fields{258: {bits}, 262: {1}, 277: {1}}).file(), probe.ErrType, Either)
	}
	add("rgb-of-4-bits", tiffWith(rows, fields{258: {4, 4, 4}}).file(), probe.ErrType, Either)
	add("palette-of-16-bits", tiffWith(rows, fields{258: {16}, 262: {3}, 277: {1}, 320: make([]int, 3<<16)}).file(), probe.ErrType, Either)
	add("palette-without-colours", tiffWith(rows, fields{258: {8}, 262: {3}, 277: {1}}).file(), probe.ErrBroken, Either)
	add("palette-of-few-colours", tiffWith(rows, fields{258: {8}, 262: {3}, 277: {1}, 320: {1, 2, 3}}).file(), probe.ErrBroken, Either)
	add("samples-with-a-sign", tiffWith(rows, fields{339: {2, 2, 2}}).file(), probe.ErrType, Either)
	add("fractions", tiffWith(rows, fields{339: {3, 3, 3}}).file(), probe.ErrType, Either)
	add("0-samples", set(277, 0), probe.ErrType, Either)
	add("5-samples", tiffWith(noise(5*n), fields{258: {8, 8, 8, 8, 8}, 277: {5}, 338: {2, 0}}).file(), probe.ErrType, Either)
	add("65535-samples", set(277, 65535), probe.ErrType, Either)
	add("planes-3", set(284, 3), probe.ErrBroken, Either)
	add("orientation-9", set(274, 9), nil, Made)
	add("predictor-of-fractions", set(317, 3), nil, Either)
	add("predictor-99", set(317, 99), nil, Either)
	add("rows-of-a-kb-that-bits-run-on", set(266, 2), nil, Either)
	slices.SortStableFunc(all, func(a, b Case) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return all
}
