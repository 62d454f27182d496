package probetest

import (
	"bytes"
	"embed"

	"imgkeep/bucket/probe"
)

//go:embed testdata
var testdata embed.FS

func file(name string) []byte { return must(testdata.ReadFile("testdata/" + name)) }

// AVIF and HEIC (ISO/IEC 23008-12)

// box is a box with its length.
func box(kind string, data ...[]byte) []byte {
	d := join(data...)
	return join(be32(8+len(d)), []byte(kind), d)
}

// full is a box with a version.
func full(kind string, version byte, data ...[]byte) []byte {
	return box(kind, []byte{version, 0, 0, 0}, join(data...))
}

func ispe(width, height int) []byte { return full("ispe", 0, be32(width), be32(height)) }

// infe says of what kind an item is.
func infe(id int, kind string) []byte {
	return full("infe", 2, be16(id), be16(0), []byte(kind), []byte{0})
}

// A piece is where an item is: from an offset in the mdat box on.
type piece struct{ id, at, length int }

// heif is a file of which a case can get any part wrong. What is nil is right for
// one image, item 1, of which the whole mdat box is the data.
type heif struct {
	ftyp, hdlr, pitm, iinf, iprp []byte
	more                         []byte // boxes of meta
	iloc                         func(mdat int) []byte
	coded                        []byte // the mdat box, without header
	tail                         []byte
	metaLast                     bool
}

// coder is how a format is coded: its brand, the kind of its items, and what they
// need to be decoded.
type coder struct {
	brand, kind, config string
	width, height       int // of the good file
}

var (
	av1  = coder{"avif", "av01", "av1C", side, side * 3 / 4}
	hevc = coder{"heic", "hvc1", "hvcC", 64, 64}
)

// part is a box of a good file.
func part(file []byte, kind string) []byte {
	at := bytes.Index(file, []byte(kind)) - 4
	return file[at : at+int(file[at+2])<<8+int(file[at+3])]
}

// coded is the data of a good file.
func coded(file []byte) []byte { return file[bytes.Index(file, []byte("mdat"))+4:] }

// properties is an iprp box of which item 1 has all.
func properties(all ...[]byte) []byte {
	has := []byte{byte(len(all))}
	for i := range all {
		has = append(has, byte(i+1))
	}
	return box("iprp", box("ipco", all...), full("ipma", 0, be32(1), be16(1), has))
}

// located is an iloc box of version 0.
func located(mdat int, pieces ...piece) []byte {
	var b []byte
	for _, p := range pieces {
		b = join(b, be16(p.id), be16(0), be16(1), be32(mdat+p.at), be32(p.length))
	}
	return full("iloc", 0, []byte{0x44, 0}, be16(len(pieces)), b)
}

// file puts it together. The offset of the data is that of the last of two tries.
func (h heif) file(c coder, good []byte) []byte {
	or := func(b, otherwise []byte) []byte {
		if b != nil {
			return b
		}
		return otherwise
	}
	data := or(h.coded, coded(good))
	ftyp := or(h.ftyp, box("ftyp", []byte(c.brand), be32(0), []byte("mif1"+c.brand)))
	if h.iloc == nil {
		h.iloc = func(mdat int) []byte { return located(mdat, piece{1, 0, len(data)}) }
	}
	var all []byte
	for offset := 0; ; offset = len(all) - len(data) {
		last := offset > 0
		meta := full("meta", 0,
			or(h.hdlr, full("hdlr", 0, be32(0), []byte("pict"), make([]byte, 13))),
			or(h.pitm, full("pitm", 0, be16(1))),
			or(h.iinf, full("iinf", 0, be16(1), infe(1, c.kind))),
			or(h.iprp, properties(ispe(c.width, c.height), part(good, c.config))),
			h.more, h.iloc(offset))
		if h.metaLast {
			return join(ftyp, box("mdat", data), full("meta", 0, meta[12:len(meta)-len(h.iloc(offset))], h.iloc(len(ftyp)+8)), h.tail)
		}
		if all = join(ftyp, meta, box("mdat", data)); last {
			return join(all, h.tail)
		}
	}
}

// tiles is an image of rows times columns tiles of 64 x 64, all of which are item
// 2, in a canvas of this size.
func tiles(c coder, good []byte, rows, columns, width, height, count int) []byte {
	arrangement := join([]byte{0, 1, byte(rows - 1), byte(columns - 1)}, be32(width), be32(height))
	return heif{
		iinf: full("iinf", 0, be16(2), infe(1, "grid"), infe(2, c.kind)),
		iprp: box("iprp", box("ipco", ispe(width, height), ispe(64, 64), part(good, c.config)),
			full("ipma", 0, be32(2), be16(1), []byte{1, 1}, be16(2), []byte{2, 2, 3})),
		more:  full("iref", 0, box("dimg", be16(1), be16(count), bytes.Repeat(be16(2), count))),
		coded: join(arrangement, coded(good)),
		iloc: func(mdat int) []byte {
			return located(mdat, piece{1, 0, len(arrangement)}, piece{2, len(arrangement), len(coded(good))})
		},
	}.file(c, good)
}

// heifs are what can be wrong with a table of contents. format is that of the
// coder, good a file, tile one of 64 x 64.
func heifs(format probe.Format, c coder, good, tile []byte) []Case {
	var all []Case
	add := func(name, imitates string, data []byte, want error, size Outcome) {
		all = append(all, Case{format.String() + "-" + name, imitates, format, data, want, size})
	}
	config := part(good, c.config)
	n := len(coded(good))
	with := func(width, height int) heif { return heif{iprp: properties(ispe(width, height), config)} }
	extents := func(count int, each []byte) func(int) []byte {
		return func(int) []byte {
			return full("iloc", 0, []byte{0x44, 0}, be16(1), be16(1), be16(0), be16(count), bytes.Repeat(each, count))
		}
	}
	const libheif = "libheif, May 2026"

	add("put-together", "", heif{}.file(c, good), nil, Made)
	add("table-behind-its-data", "", heif{metaLast: true}.file(c, good), nil, Made)
	add("and-another", "", join(good, good), nil, Made)
	// A table that reaches to the end of the file says so by a length of 0.
	endless := heif{metaLast: true}.file(c, good)
	copy(endless[bytes.Index(endless, []byte("meta"))-4:], be32(0))
	add("table-of-length-0", "", endless, nil, Either)
	add("table-of-length-0-and-64-kb", "", join(endless, box("free", make([]byte, 64<<10))), probe.ErrType, Either)
	add("table-of-length-0-cut-off", "", endless[:len(endless)-1], probe.ErrTruncated, Either)
	add("table-of-length-0-before-its-data", "", heif{metaLast: true, iloc: func(mdat int) []byte { return located(mdat+1000, piece{1, 0, n}) }}.file(c, good), probe.ErrTruncated, Refused)
	layers := func(kind string, body ...byte) []byte {
		return heif{iprp: box("iprp", box("ipco", ispe(c.width, c.height), config, box(kind, body)),
			full("ipma", 0, be32(1), be16(1), []byte{3, 1, 2, 0x83}))}.file(c, good)
	}
	add("layers-all", "", layers("a1op", 0), nil, Either)
	add("layers-up-to-the-last", "", layers("lsel", 0xFF, 0xFF), nil, Either)
	add("layers-the-second", "", layers("lsel", 0, 1), probe.ErrType, Either)
	add("layers-of-another-point", "", layers("a1op", 1), probe.ErrType, Either)

	// Sizes
	add("50000x50000", "CVE-2021-29453", with(50000, 50000).file(c, good), probe.ErrPixels, Refused)
	add("sides-of-32-bits", "CVE-2021-29453", with(1<<32-1, 1<<32-1).file(c, good), probe.ErrBroken, Refused)
	add("a-side-of-16385", "", with(16385, 1).file(c, good), probe.ErrPixels, Either)
	add("a-side-of-16384", "", with(16384, 1).file(c, good), nil, Either)
	add("51008164-pixels", "", with(7142, 7142).file(c, good), probe.ErrPixels, Either)
	add("width-0", "", with(0, 9).file(c, good), probe.ErrBroken, Refused)
	add("two-sizes", libheif, heif{iprp: properties(ispe(c.width, c.height), ispe(9, 9), config)}.file(c, good), probe.ErrBroken, Either)
	add("no-size", libheif, heif{iprp: properties(config)}.file(c, good), probe.ErrBroken, Either)
	add("thumbnail-of-50000x50000", "", heif{iprp: box("iprp", box("ipco", ispe(c.width, c.height), config, ispe(50000, 50000)),
		full("ipma", 0, be32(1), be16(1), []byte{2, 1, 2}))}.file(c, good), probe.ErrPixels, Either)

	// Tiles
	add("tiles", "", tiles(c, tile, 2, 3, 190, 100, 6), nil, Made)
	add("tiles-65536-for-a-small-image", libheif, tiles(c, tile, 256, 256, 64, 64, 1000), probe.ErrBroken, Either)
	add("tiles-of-49-megapixels-by-one", "", tiles(c, tile, 109, 109, 6976, 6976, 109*109), nil, Either)
	add("tiles-beyond-the-limit", "", tiles(c, tile, 112, 112, 112*64, 112*64, 112*112), probe.ErrPixels, Either)
	add("tiles-fewer-than-said", libheif, tiles(c, tile, 2, 3, 190, 100, 5), probe.ErrBroken, Either)
	add("tiles-more-than-said", libheif, tiles(c, tile, 2, 3, 190, 100, 7), probe.ErrBroken, Either)
	add("tiles-that-leave-a-gap", "", tiles(c, tile, 2, 3, 193, 100, 6), probe.ErrBroken, Either)
	add("tiles-outside", "", tiles(c, tile, 2, 3, 128, 100, 6), probe.ErrBroken, Either)
	add("tiles-of-themselves", libheif, heif{iinf: full("iinf", 0, be16(1), infe(1, "grid")),
		more: full("iref", 0, box("dimg", be16(1), be16(1), be16(1)))}.file(c, good), probe.ErrBroken, Refused)
	add("made-of-itself", libheif, heif{iinf: full("iinf", 0, be16(1), infe(1, "iden")),
		more: full("iref", 0, box("dimg", be16(1), be16(1), be16(1)))}.file(c, good), probe.ErrType, Refused)

	// Tables that say more than there is
	add("65535-items-announced", libheif, heif{iinf: full("iinf", 0, be16(65535), infe(1, c.kind))}.file(c, good), probe.ErrBroken, Either)
	add("4-billion-items-announced", libheif, heif{iinf: full("iinf", 1, be32(1<<32-1), infe(1, c.kind))}.file(c, good), probe.ErrBroken, Either)
	add("an-item-twice", "", heif{iinf: full("iinf", 0, be16(2), infe(1, c.kind), infe(1, c.kind))}.file(c, good), probe.ErrBroken, Either)
	add("image-is-no-item", "", heif{pitm: full("pitm", 0, be16(9))}.file(c, good), probe.ErrBroken, Refused)
	add("image-is-exif", "", heif{iinf: full("iinf", 0, be16(1), infe(1, "Exif"))}.file(c, good), probe.ErrType, Refused)
	add("protected", "", heif{iinf: full("iinf", 0, be16(1), full("infe", 2, be16(1), be16(1), []byte(c.kind), []byte{0}))}.file(c, good), probe.ErrType, Either)
	add("a-property-that-must-be-understood", "", heif{iprp: box("iprp", box("ipco", ispe(c.width, c.height), config, box("evil")),
		full("ipma", 0, be32(1), be16(1), []byte{3, 1, 2, 0x83}))}.file(c, good), probe.ErrType, Either)
	add("a-property-that-need-not-be", "", heif{iprp: properties(ispe(c.width, c.height), config, box("evil"))}.file(c, good), nil, Made)
	add("a-property-that-is-not-there", libheif, heif{iprp: box("iprp", box("ipco", ispe(c.width, c.height), config),
		full("ipma", 0, be32(1), be16(1), []byte{3, 1, 2, 9}))}.file(c, good), probe.ErrBroken, Either)
	add("4-billion-associations", libheif, heif{iprp: box("iprp", box("ipco", ispe(c.width, c.height), config),
		full("ipma", 0, be32(1<<32-1), be16(1), []byte{2, 1, 2}))}.file(c, good), probe.ErrBroken, Either)
	add("two-tables-of-items", "", heif{more: full("iinf", 0, be16(1), infe(1, c.kind))}.file(c, good), probe.ErrBroken, Either)
	add("two-images", "", heif{more: full("pitm", 0, be16(2))}.file(c, good), probe.ErrBroken, Either)
	add("a-box-over-its-parent", libheif, heif{more: join(be32(5000), []byte("free"))}.file(c, good), probe.ErrBroken, Either)
	add("a-box-of-7-bytes", libheif, heif{more: join(be32(7), []byte("free"))}.file(c, good), probe.ErrBroken, Either)
	add("a-table-of-64-kb", "", heif{more: box("free", make([]byte, 60<<10))}.file(c, good), nil, Either)
	add("a-table-of-more", "", heif{more: box("free", make([]byte, 64<<10))}.file(c, good), probe.ErrType, Either)
	add("a-table-of-4-gb", libheif, join(box("ftyp", []byte(c.brand), be32(0), []byte("mif1")), be32(1<<32-1), []byte("meta"), noise(400)), probe.ErrType, Refused)
	add("a-box-of-2-to-the-63", libheif, join(box("ftyp", []byte(c.brand), be32(0), []byte("mif1")), be32(1), []byte("mdat"), be32(1<<31), be32(0), noise(400)), probe.ErrBroken, Refused)
	add("a-box-to-the-end", "", join(box("ftyp", []byte(c.brand), be32(0), []byte("mif1")), be32(0), []byte("mdat"), noise(400)), probe.ErrBroken, Refused)
	add("not-pictures", "", heif{hdlr: full("hdlr", 0, be32(0), []byte("vide"), make([]byte, 13))}.file(c, good), probe.ErrType, Refused)
	add("a-sequence", "", heif{ftyp: box("ftyp", []byte(c.brand), be32(0), []byte("mif1msf1"))}.file(c, good), probe.ErrType, Either)

	// Places
	add("data-behind-the-end", "", heif{iloc: func(mdat int) []byte { return located(mdat, piece{1, 0, n + 1}) }}.file(c, good), probe.ErrTruncated, Refused)
	add("data-at-4-gb", "", heif{iloc: func(int) []byte { return located(0, piece{1, 1<<32 - 1, 1<<32 - 1}) }}.file(c, good), probe.ErrTruncated, Refused)
	add("data-nowhere", "", heif{iloc: func(int) []byte { return located(0) }}.file(c, good), probe.ErrBroken, Refused)
	add("data-in-another-file", "", heif{iloc: func(mdat int) []byte {
		return full("iloc", 0, []byte{0x44, 0}, be16(1), be16(1), be16(1), be16(1), be32(mdat), be32(n))
	}}.file(c, good), probe.ErrType, Either)
	add("data-in-items", libheif, heif{iloc: func(mdat int) []byte {
		return full("iloc", 1, []byte{0x44, 0}, be16(1), be16(1), be16(2), be16(0), be16(1), be32(0), be32(n))
	}}.file(c, good), probe.ErrType, Refused)
	add("data-outside-of-idat", libheif, heif{more: box("idat", make([]byte, 9)), iloc: func(mdat int) []byte {
		return full("iloc", 1, []byte{0x44, 0}, be16(1), be16(1), be16(1), be16(0), be16(1), be32(0), be32(10))
	}}.file(c, good), probe.ErrBroken, Refused)
	add("data-in-4000-overlapping-pieces", libheif, heif{iloc: extents(4000, join(be32(0), be32(n)))}.file(c, good), probe.ErrBroken, Either)
	add("data-in-65535-pieces-of-nothing", libheif, heif{iloc: func(int) []byte {
		return full("iloc", 0, []byte{0, 0}, be16(1), be16(1), be16(0), be16(65535))
	}}.file(c, good), probe.ErrType, Refused)
	add("numbers-of-3-bytes", "", heif{iloc: func(int) []byte { return full("iloc", 0, []byte{0x33, 0}, be16(1), make([]byte, 30)) }}.file(c, good), probe.ErrBroken, Refused)
	add("data-of-noise", libheif, heif{coded: noise(n)}.file(c, good), nil, Either)

	// Turned
	turn := func(all ...[]byte) []byte {
		return heif{iprp: properties(append([][]byte{ispe(c.width, c.height), config}, all...)...)}.file(c, good)
	}
	clap := func(w, h, x, y int) []byte {
		return box("clap", be32(w), be32(1), be32(h), be32(1), be32(x), be32(1), be32(y), be32(1))
	}
	add("turned-and-mirrored", "", turn(box("irot", []byte{1}), box("imir", []byte{1})), nil, Made)
	add("turned-twice", "", turn(box("irot", []byte{1}), box("irot", []byte{1})), probe.ErrType, Either)
	add("turned-by-nothing", "", turn(box("irot")), probe.ErrBroken, Either)
	add("cut", "", turn(clap(c.width-28, c.height-6, 14, -3)), nil, Made)
	add("cut-outside", libheif, turn(clap(c.width-28, 30, 15, 0)), probe.ErrType, Either)
	add("cut-larger", libheif, turn(clap(c.width+1, 30, 0, 0)), probe.ErrType, Either)
	add("cut-to-nothing", libheif, turn(clap(0, 30, 0, 0)), probe.ErrType, Either)
	add("cut-divided-by-0", libheif, turn(box("clap", make([]byte, 32))), probe.ErrType, Either)
	add("cut-after-turning", "", turn(box("irot", []byte{1}), clap(20, 30, 0, 0)), probe.ErrType, Either)
	return all
}
