package probe

import (
	"encoding/binary"
	"math"
	"slices"
)

// Of the meta box (ISO/IEC 14496-12, 8.11; ISO/IEC 23008-12, 6 to 9) is read what
// a decoder goes by: which item is the image (pitm), what kind of item it is
// (iinf), its properties (iprp), of which tiles it is made (iref), and where the
// bytes of all items are (iloc). Each box may be there once, so that no two
// readers can take different ones. Boxes of other kinds are passed over.
//
// The table has at most heifMaxMeta bytes, and everything here is bounded by
// them: each loop uses up some in every round.

// heifMeta is the table of contents.
type heifMeta struct {
	s     *Scanner
	items map[uint32]*heifItem
	// properties are those of all items, which refer to them by number.
	properties []heifProperty
	idat       []byte

	// What is found: where the items end, and how the tiles lie, if what says so
	// is outside.
	end  int64
	grid heifGrid
}

type heifItem struct {
	kind       string
	properties []heifProperty
	tiles      []uint32 // items that it is made of
	inside     bool     // its data is in the idat box, not in the file
	at, length int64    // where it begins, and how long it is in all
	extents    int      // pieces that it is in
}

type heifProperty struct {
	kind      string
	body      []byte
	essential bool
}

// A heifGrid is an image in tiles of one size, laid in rows (ISO/IEC 23008-12,
// 6.6.2.3). at is 0 where it needs no further look.
type heifGrid struct {
	at            int64 // where its arrangement is
	length        int
	tiles         int
	width, height int64 // of the image
	tileW, tileH  int64
}

// heifCoded are the kinds of items that are images by themselves.
var heifCoded = map[Format]string{AVIF: "av01", HEIC: "hvc1"}

// heifKnown are the properties that an image may have and that a reader must
// understand: it must not show an image with others that call themselves
// essential.
var heifKnown = []string{"a1op", "lsel", "ispe", "pixi", "colr", "pasp", "clli", "mdcv", "cclv", "amve", "irot", "imir", "clap", "av1C", "hvcC", "auxC"}

// heifLeastTile is the least side of a tile (ISO/IEC 23000-22, 7.3.11.4.2). Each
// costs a decoder more than its pixels do.
const heifLeastTile = 64

// A heifFields reads what is in memory. Behind its end it reads zeroes, and says
// so by short.
type heifFields struct {
	rest  []byte
	short bool
}

func (f *heifFields) bytes(n int) []byte {
	if n > len(f.rest) {
		f.short, f.rest = true, nil
		return make([]byte, n)
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

// uint reads n bytes, 0 to 8, as a number.
func (f *heifFields) uint(n int) uint64 {
	var v uint64
	for _, b := range f.bytes(n) {
		v = v<<8 | uint64(b)
	}
	return v
}

// full reads version and flags.
func (f *heifFields) full() (version, flags int) {
	v := f.uint(4)
	return int(v >> 24), int(v & 0xFFFFFF)
}

// id reads the number of an item, which is wide from some version on.
func (f *heifFields) id(wide bool) uint32 {
	if wide {
		return uint32(f.uint(4))
	}
	return uint32(f.uint(2))
}

// boxes splits the boxes of a box, in their order.
func (m *heifMeta) boxes(in string, b []byte, each func(kind string, body []byte) error) error {
	for len(b) > 0 {
		if len(b) < 8 {
			return m.s.broken("%d bytes behind the last box in %s", len(b), in)
		}
		size, kind := int64(binary.BigEndian.Uint32(b)), string(b[4:8])
		if size < 8 || size > int64(len(b)) {
			return m.s.broken("%q box of %d bytes in %s, with %d left", kind, size, in, len(b))
		}
		if err := each(kind, b[8:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// read finds out all about the image, and holds it against the limits.
func (m *heifMeta) read(b []byte) error {
	if len(b) < 4 {
		return m.s.broken("a meta box of %d bytes", len(b)+8)
	}
	found := map[string][]byte{}
	err := m.boxes("meta", b[4:], func(kind string, body []byte) error {
		switch kind {
		case "hdlr", "pitm", "iinf", "iprp", "iref", "iloc", "idat":
			if found[kind] != nil {
				return m.s.broken("two %s boxes", kind)
			}
			found[kind] = body
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, kind := range []string{"hdlr", "pitm", "iinf", "iprp", "iloc"} {
		if found[kind] == nil {
			return m.s.broken("no %s box", kind)
		}
	}
	if h := found["hdlr"]; len(h) < 12 || string(h[8:12]) != "pict" {
		return m.s.unsupported("its meta box is not that of pictures")
	}
	f := heifFields{rest: found["pitm"]}
	version, _ := f.full()
	primary := f.id(version > 0)
	if f.short {
		return m.s.broken("a pitm box of %d bytes", len(found["pitm"]))
	}
	m.idat = found["idat"]
	for _, step := range []struct {
		body []byte
		read func([]byte) error
	}{
		{found["iinf"], m.readItems},
		{found["iprp"], m.readProperties},
		{found["iref"], func(b []byte) error { return m.readReferences(b, primary) }},
		{found["iloc"], m.readLocations},
	} {
		if err := step.read(step.body); err != nil {
			return err
		}
	}
	return m.judge(primary)
}

// readItems reads the iinf box: number and kind of each item.
func (m *heifMeta) readItems(b []byte) error {
	m.items = map[uint32]*heifItem{}
	f := heifFields{rest: b}
	version, _ := f.full()
	count := f.id(version > 0)
	err := m.boxes("iinf", f.rest, func(kind string, body []byte) error {
		f := heifFields{rest: body}
		version, _ := f.full()
		if kind != "infe" || version < 2 || version > 3 {
			return m.s.broken("%q box of version %d in iinf", kind, version)
		}
		id, protection, item := f.id(version > 2), f.uint(2), &heifItem{kind: string(f.bytes(4))}
		switch {
		case f.short:
			return m.s.broken("an infe box of %d bytes", len(body)+8)
		case protection != 0:
			return m.s.unsupported("item %d is protected", id)
		case m.items[id] != nil:
			return m.s.broken("two items %d", id)
		}
		m.items[id] = item
		return nil
	})
	if err == nil && int64(count) != int64(len(m.items)) {
		err = m.s.broken("%d items, and %d are announced", len(m.items), count)
	}
	return err
}

// readProperties reads the iprp box: a list of properties, and which item has
// which.
func (m *heifMeta) readProperties(b []byte) error {
	var lists [][]byte
	err := m.boxes("iprp", b, func(kind string, body []byte) error {
		switch {
		case kind == "ipco" && m.properties != nil:
			return m.s.broken("two ipco boxes")
		case kind == "ipco":
			m.properties = []heifProperty{}
			return m.boxes("ipco", body, func(kind string, body []byte) error {
				m.properties = append(m.properties, heifProperty{kind: kind, body: body})
				return nil
			})
		case kind == "ipma":
			lists = append(lists, body)
		}
		return nil
	})
	for _, list := range lists {
		if err == nil {
			err = m.readAssociations(list)
		}
	}
	return err
}

func (m *heifMeta) readAssociations(b []byte) error {
	f := heifFields{rest: b}
	version, flags := f.full()
	wide := 1 + flags&1
	for count := f.uint(4); count > 0 && !f.short; count-- {
		id, n := f.id(version > 0), f.uint(1)
		item := m.items[id]
		if !f.short && (item == nil || item.properties != nil) {
			return m.s.broken("properties for item %d, which there is not, or which has some", id)
		}
		for ; n > 0 && !f.short; n-- {
			v := f.uint(wide)
			top := uint64(1) << (8*wide - 1)
			index := v &^ top
			if index > uint64(len(m.properties)) {
				return m.s.broken("property %d of %d", index, len(m.properties))
			}
			if index > 0 && !f.short {
				p := m.properties[index-1]
				p.essential = v&top != 0
				item.properties = append(item.properties, p)
			}
		}
	}
	if f.short {
		return m.s.broken("an ipma box that is too short for what it holds")
	}
	return nil
}

// readReferences reads of the iref box of which tiles the image is made.
func (m *heifMeta) readReferences(b []byte, primary uint32) error {
	if b == nil {
		return nil
	}
	f := heifFields{rest: b}
	version, _ := f.full()
	return m.boxes("iref", f.rest, func(kind string, body []byte) error {
		f := heifFields{rest: body}
		from, count := f.id(version > 0), f.uint(2)
		item := m.items[from]
		if kind != "dimg" || from != primary || item == nil {
			return nil
		}
		if item.tiles != nil {
			return m.s.broken("two lists of tiles")
		}
		for ; count > 0 && !f.short; count-- {
			item.tiles = append(item.tiles, f.id(version > 0))
		}
		if f.short {
			return m.s.broken("a list of tiles that is too short for what it holds")
		}
		return nil
	})
}

// readLocations reads the iloc box: where the bytes of each item are. An extent
// is a piece of an item; all of them must be there, of every item.
func (m *heifMeta) readLocations(b []byte) error {
	f := heifFields{rest: b}
	version, _ := f.full()
	sizes := f.uint(2)
	offsetSize, lengthSize, baseSize, indexSize := int(sizes>>12), int(sizes>>8&15), int(sizes>>4&15), int(sizes&15)
	if version == 0 {
		indexSize = 0
	}
	for _, n := range []int{offsetSize, lengthSize, baseSize, indexSize} {
		if n != 0 && n != 4 && n != 8 || version > 2 {
			return m.s.broken("an iloc box of version %d with numbers of %d bytes", version, n)
		}
	}
	if lengthSize == 0 {
		// Each item would be a whole file, and 65,535 pieces of one take no bytes here.
		return m.s.unsupported("items without lengths")
	}
	located := map[uint32]bool{}
	var lengths []int64
	for count := f.id(version > 1); count > 0 && !f.short; count-- {
		id, method := f.id(version > 1), uint64(0)
		if version > 0 {
			method = f.uint(2) & 15
		}
		elsewhere := f.uint(2)
		base, n := f.uint(baseSize), f.uint(2)
		item := m.items[id]
		switch {
		case f.short:
			continue
		case item == nil || located[id]:
			return m.s.broken("a place for item %d, which there is not, or which has one", id)
		case elsewhere != 0 || method > 1:
			return m.s.unsupported("item %d is in another file or item", id)
		}
		located[id] = true
		item.inside, item.extents = method == 1, int(n)
		for i := range n {
			f.uint(indexSize)
			offset, length := f.uint(offsetSize), f.uint(lengthSize)
			if f.short {
				break
			}
			const most = math.MaxInt64 / 8
			if base > most || offset > most || length > most {
				return m.s.broken("item %d is at %d + %d, with %d bytes", id, base, offset, length)
			}
			at, length64 := int64(base+offset), int64(length)
			if item.inside && at+length64 > int64(len(m.idat)) {
				return m.s.broken("item %d ends behind the idat box that holds it", id)
			}
			if !item.inside {
				m.end = max(m.end, at+length64)
			}
			if i == 0 {
				item.at = at
			}
			if item.length += length64; item.length > most {
				return m.s.broken("item %d has over %d bytes", id, int64(most))
			}
		}
		lengths = append(lengths, item.length)
	}
	if f.short {
		return m.s.broken("an iloc box that is too short for what it holds")
	}
	// Pieces may overlap, and a few could make an item of gigabytes.
	for _, n := range lengths {
		if n > max(m.end, int64(len(m.idat))) {
			return m.s.broken("an item of %d bytes in a file of %d", n, m.end)
		}
	}
	return nil
}

// judge holds the image, and all that belongs to it, against the limits.
func (m *heifMeta) judge(primary uint32) error {
	item, coded := m.items[primary], heifCoded[m.s.info.Format]
	switch {
	case item == nil:
		return m.s.broken("its image is item %d, which there is not", primary)
	case item.kind != coded && item.kind != "grid":
		return m.s.unsupported("its image is an item of kind %q", item.kind)
	}
	width, height, err := m.size(primary, item)
	if err != nil {
		return err
	}
	shownW, shownH, orientation, err := m.transform(item, width, height)
	if err != nil {
		return err
	}
	m.s.info.Orientation = orientation
	m.colours(item)
	if err := m.s.size(shownW, shownH); err != nil {
		return err
	}
	if err := m.sizes(); err != nil {
		return err
	}
	if item.kind == "grid" {
		return m.arrange(item, width, height)
	}
	if item.length == 0 {
		return m.s.broken("its image has no data")
	}
	return nil
}

// sizes holds all sizes against the limits: of thumbnails, alpha and tiles too,
// since a decoder may look at any.
func (m *heifMeta) sizes() error {
	for _, p := range m.properties {
		if p.kind != "ispe" {
			continue
		}
		width, height, err := m.extent(p)
		if err != nil {
			return err
		}
		if err := m.s.within(width, height); err != nil {
			return err
		}
	}
	return nil
}

// extent reads an ispe property: a size.
func (m *heifMeta) extent(p heifProperty) (width, height int64, err error) {
	f := heifFields{rest: p.body}
	f.full()
	width, height = int64(f.uint(4)), int64(f.uint(4))
	if f.short || width == 0 || height == 0 || width > math.MaxInt32 || height > math.MaxInt32 {
		err = m.s.broken("an image of %d x %d pixels", width, height)
	}
	return width, height, err
}

// size is that of an item, which must have just one, and no property that must
// be understood and is not.
func (m *heifMeta) size(id uint32, item *heifItem) (width, height int64, err error) {
	for _, p := range item.properties {
		switch {
		case p.kind == "ispe" && width > 0:
			return 0, 0, m.s.broken("item %d has two sizes", id)
		case p.kind == "ispe":
			if width, height, err = m.extent(p); err != nil {
				return 0, 0, err
			}
		case p.kind == "a1op" && !slices.Equal(p.body, []byte{0}), p.kind == "lsel" && !slices.Equal(p.body, []byte{0xFF, 0xFF}):
			// Of layers all are decoded, and the last one is shown.
			return 0, 0, m.s.unsupported("item %d asks for one of its layers: %s %x", id, p.kind, p.body)
		case p.essential && !slices.Contains(heifKnown, p.kind):
			return 0, 0, m.s.unsupported("item %d has the property %q", id, p.kind)
		}
	}
	if width == 0 {
		err = m.s.broken("item %d has no size", id)
	}
	return width, height, err
}

// arrange looks at the tiles of an image: each coded by itself, and all of one
// size. The arrangement itself may still have to come.
func (m *heifMeta) arrange(item *heifItem, width, height int64) error {
	g := heifGrid{tiles: len(item.tiles), width: width, height: height}
	checked := map[uint32]bool{} // or the same tile, a thousand times, costs as much
	for i, id := range item.tiles {
		if checked[id] {
			continue
		}
		checked[id] = true
		tile := m.items[id]
		if tile == nil || tile.kind != heifCoded[m.s.info.Format] || tile.length == 0 {
			return m.s.broken("tile %d is item %d, which is no image", i, id)
		}
		w, h, err := m.size(id, tile)
		if err != nil {
			return err
		}
		if i == 0 {
			g.tileW, g.tileH = w, h
		}
		turned := slices.ContainsFunc(tile.properties, func(p heifProperty) bool {
			return p.kind == "irot" || p.kind == "imir" || p.kind == "clap"
		})
		if w != g.tileW || h != g.tileH || turned {
			return m.s.broken("tile %d of %d x %d among others of %d x %d, or turned", i, w, h, g.tileW, g.tileH)
		}
	}
	const least, most = 8, 12
	if item.extents != 1 || item.length < least || item.length > most {
		return m.s.broken("an arrangement of tiles of %d bytes in %d pieces", item.length, item.extents)
	}
	if item.inside {
		return g.check(m.s, m.idat[item.at:item.at+item.length])
	}
	g.at, g.length = item.at, int(item.length)
	m.grid = g
	return nil
}

// check holds an arrangement against the tiles that there are: they cover the
// image, and none lies outside.
func (g *heifGrid) check(s *Scanner, b []byte) error {
	f := heifFields{rest: b}
	version, flags := int(f.uint(1)), int(f.uint(1))
	rows, columns := int64(f.uint(1))+1, int64(f.uint(1))+1
	wide := 2 + 2*(flags&1)
	width, height := int64(f.uint(wide)), int64(f.uint(wide))
	switch {
	case f.short || version != 0:
		return s.broken("an arrangement of tiles of version %d, in %d bytes", version, len(b))
	case rows*columns != int64(g.tiles):
		return s.broken("%d rows of %d tiles, and %d tiles", rows, columns, g.tiles)
	case width != g.width || height != g.height:
		return s.broken("tiles for %d x %d pixels in an image of %d x %d", width, height, g.width, g.height)
	case g.tiles > 1 && min(g.tileW, g.tileH) < heifLeastTile:
		return s.broken("tiles of %d x %d pixels", g.tileW, g.tileH)
	case columns*g.tileW < width || rows*g.tileH < height || (columns-1)*g.tileW >= width || (rows-1)*g.tileH >= height:
		return s.broken("%d rows of %d tiles of %d x %d for %d x %d pixels", rows, columns, g.tileW, g.tileH, width, height)
	}
	return nil
}
