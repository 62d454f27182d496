// Package heif reads the table of contents of an HEIF file (ISO/IEC 23008-12), which is
// what AVIF and HEIC are: its meta box, as one piece of memory.
//
// It reads what a decoder depends on (ISO/IEC 14496-12, 8.11; ISO/IEC 23008-12, 6 to 9):
// which item is the image (pitm), the kind of each item (iinf), its properties (iprp), its
// tiles (iref), and where the bytes of all items are (iloc). Each box may occur once, so
// that no two readers can use different ones. It skips boxes of other kinds.
//
// It promises that time and memory are bounded by the length of the table, since each loop
// consumes some of it in every round, and that no table makes it panic. The caller bounds
// that length, and checks sizes against its own limits.
//
// It does not search for the box in the file, and decodes nothing. The caller checks that
// the items are where the table says.
package heif

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// The kinds of items that are images by themselves.
const (
	AV1  = "av01" // of an AVIF
	HEVC = "hvc1" // of a HEIC
)

// A Fault is what is wrong with a table.
type Fault struct {
	// Unsupported: it is of a kind that is not read. Otherwise it contradicts itself or
	// the standard.
	Unsupported bool
	Detail      string // one line, whatever the table has
}

func (f *Fault) Error() string { return f.Detail }

func broken(format string, args ...any) error {
	return &Fault{Detail: fmt.Sprintf(format, args...)}
}

func unsupported(format string, args ...any) error {
	return &Fault{Unsupported: true, Detail: fmt.Sprintf(format, args...)}
}

// An Image is what a table says.
type Image struct {
	// Orientation is what turning and mirroring come to, as one of EXIF: 1 to 8. 0: that
	// was not read.
	Orientation int
	Colours     Colours
	// First is the offset in the file of the data of the image, or of its first tile; 0:
	// not known, or inside of the table.
	First int64
	// End is the offset behind the last byte of all items that are outside of the table.
	End int64
	// Grid is how tiles lie, where what says so is outside of the table.
	Grid Grid
}

// Limits say what is wrong with a size, of sides from 1 to 2^31-1. Their errors are
// passed on as they are.
type Limits struct {
	Shown func(width, height int64) error // of the image as it is shown; called once
	Each  func(width, height int64) error // of any image that the table has
}

// Read reads the body of a meta box, in which images are items of the kind coded. The
// error is a *Fault, or one of limits; the image has then what was found before. It keeps
// nothing of b.
func Read(b []byte, coded string, limits Limits) (Image, error) {
	t := table{coded: coded, limits: limits}
	err := t.read(b)
	return t.image, err
}

// table is the table of contents.
type table struct {
	coded  string
	limits Limits
	image  Image
	items  map[uint32]*item
	// properties are those of all items, which refer to them by number.
	properties []property
	idat       []byte
}

type item struct {
	kind       string
	properties []property
	tiles      []uint32 // items that it is made of
	inside     bool     // its data is in the idat box, not in the file
	at, length int64    // where it begins, and how long it is in all
	extents    int      // pieces that it is in
}

type property struct {
	kind      string
	body      []byte
	essential bool
}

// A Grid is an image in tiles of one size, laid in rows (ISO/IEC 23008-12,
// 6.6.2.3).
type Grid struct {
	At            int64 // offset of its arrangement in the file; 0: it needs no further look
	Length        int   // of the arrangement, in bytes
	tiles         int
	width, height int64 // of the image
	tileW, tileH  int64
}

// known are the properties that an image may have and that a reader must
// understand: it must not show an image with others that call themselves
// essential.
var known = []string{"a1op", "lsel", "ispe", "pixi", "colr", "pasp", "clli", "mdcv", "cclv", "amve", "irot", "imir", "clap", "av1C", "hvcC", "auxC"}

// leastTile is the least side of a tile (ISO/IEC 23000-22, 7.3.11.4.2). Each
// costs a decoder more than its pixels do.
const leastTile = 64

// A fields reads what is in memory. Behind its end it reads zeroes, and says
// so by short.
type fields struct {
	rest  []byte
	short bool
}

func (f *fields) bytes(n int) []byte {
	if n > len(f.rest) {
		f.short, f.rest = true, nil
		return make([]byte, n)
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

// uint reads n bytes, 0 to 8, as a number.
func (f *fields) uint(n int) uint64 {
	var v uint64
	for _, b := range f.bytes(n) {
		v = v<<8 | uint64(b)
	}
	return v
}

// full reads version and flags.
func (f *fields) full() (version, flags int) {
	v := f.uint(4)
	return int(v >> 24), int(v & 0xFFFFFF)
}

// id reads the number of an item, which is wide from some version on.
func (f *fields) id(wide bool) uint32 {
	if wide {
		return uint32(f.uint(4))
	}
	return uint32(f.uint(2))
}

// boxes splits the boxes of a box, in their order.
func (t *table) boxes(in string, b []byte, each func(kind string, body []byte) error) error {
	for len(b) > 0 {
		if len(b) < 8 {
			return broken("%d bytes behind the last box in %s", len(b), in)
		}
		size, kind := int64(binary.BigEndian.Uint32(b)), string(b[4:8])
		if size < 8 || size > int64(len(b)) {
			return broken("%q box of %d bytes in %s, with %d left", kind, size, in, len(b))
		}
		if err := each(kind, b[8:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// read finds out all about the image, and holds it against the limits.
func (t *table) read(b []byte) error {
	if len(b) < 4 {
		return broken("a meta box of %d bytes", len(b)+8)
	}
	found := map[string][]byte{}
	err := t.boxes("meta", b[4:], func(kind string, body []byte) error {
		switch kind {
		case "hdlr", "pitm", "iinf", "iprp", "iref", "iloc", "idat":
			if found[kind] != nil {
				return broken("two %s boxes", kind)
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
			return broken("no %s box", kind)
		}
	}
	if h := found["hdlr"]; len(h) < 12 || string(h[8:12]) != "pict" {
		return unsupported("its meta box is not that of pictures")
	}
	f := fields{rest: found["pitm"]}
	version, _ := f.full()
	primary := f.id(version > 0)
	if f.short {
		return broken("a pitm box of %d bytes", len(found["pitm"]))
	}
	t.idat = found["idat"]
	for _, step := range []struct {
		body []byte
		read func([]byte) error
	}{
		{found["iinf"], t.readItems},
		{found["iprp"], t.readProperties},
		{found["iref"], func(b []byte) error { return t.readReferences(b, primary) }},
		{found["iloc"], t.readLocations},
	} {
		if err := step.read(step.body); err != nil {
			return err
		}
	}
	return t.judge(primary)
}

// readItems reads the iinf box: number and kind of each item.
func (t *table) readItems(b []byte) error {
	t.items = map[uint32]*item{}
	f := fields{rest: b}
	version, _ := f.full()
	count := f.id(version > 0)
	err := t.boxes("iinf", f.rest, func(kind string, body []byte) error {
		f := fields{rest: body}
		version, _ := f.full()
		if kind != "infe" || version < 2 || version > 3 {
			return broken("%q box of version %d in iinf", kind, version)
		}
		id, protection, found := f.id(version > 2), f.uint(2), &item{kind: string(f.bytes(4))}
		switch {
		case f.short:
			return broken("an infe box of %d bytes", len(body)+8)
		case protection != 0:
			return unsupported("item %d is protected", id)
		case t.items[id] != nil:
			return broken("two items %d", id)
		}
		t.items[id] = found
		return nil
	})
	if err == nil && int64(count) != int64(len(t.items)) {
		err = broken("%d items, and %d are announced", len(t.items), count)
	}
	return err
}

// readProperties reads the iprp box: a list of properties, and which item has
// which.
func (t *table) readProperties(b []byte) error {
	var lists [][]byte
	err := t.boxes("iprp", b, func(kind string, body []byte) error {
		switch {
		case kind == "ipco" && t.properties != nil:
			return broken("two ipco boxes")
		case kind == "ipco":
			t.properties = []property{}
			return t.boxes("ipco", body, func(kind string, body []byte) error {
				t.properties = append(t.properties, property{kind: kind, body: body})
				return nil
			})
		case kind == "ipma":
			lists = append(lists, body)
		}
		return nil
	})
	for _, list := range lists {
		if err == nil {
			err = t.readAssociations(list)
		}
	}
	return err
}

func (t *table) readAssociations(b []byte) error {
	f := fields{rest: b}
	version, flags := f.full()
	wide := 1 + flags&1
	for count := f.uint(4); count > 0 && !f.short; count-- {
		id, n := f.id(version > 0), f.uint(1)
		item := t.items[id]
		if !f.short && (item == nil || item.properties != nil) {
			return broken("properties for item %d, which does not exist, or which has some", id)
		}
		for ; n > 0 && !f.short; n-- {
			v := f.uint(wide)
			top := uint64(1) << (8*wide - 1)
			index := v &^ top
			if index > uint64(len(t.properties)) {
				return broken("property %d of %d", index, len(t.properties))
			}
			if index > 0 && !f.short {
				p := t.properties[index-1]
				p.essential = v&top != 0
				item.properties = append(item.properties, p)
			}
		}
	}
	if f.short {
		return broken("an ipma box that is too short for what it holds")
	}
	return nil
}

// readReferences reads of the iref box of which tiles the image is made.
func (t *table) readReferences(b []byte, primary uint32) error {
	if b == nil {
		return nil
	}
	f := fields{rest: b}
	version, _ := f.full()
	return t.boxes("iref", f.rest, func(kind string, body []byte) error {
		f := fields{rest: body}
		from, count := f.id(version > 0), f.uint(2)
		item := t.items[from]
		if kind != "dimg" || from != primary || item == nil {
			return nil
		}
		if item.tiles != nil {
			return broken("two lists of tiles")
		}
		for ; count > 0 && !f.short; count-- {
			item.tiles = append(item.tiles, f.id(version > 0))
		}
		if f.short {
			return broken("a list of tiles that is too short for what it holds")
		}
		return nil
	})
}

// readLocations reads the iloc box: where the bytes of each item are. An extent
// is a piece of an item; all of them must be there, of every item.
func (t *table) readLocations(b []byte) error {
	l := locations{fields: fields{rest: b}}
	l.version, _ = l.full()
	sizes := l.uint(2)
	l.offset, l.length, l.base, l.index = int(sizes>>12), int(sizes>>8&15), int(sizes>>4&15), int(sizes&15)
	if l.version == 0 {
		l.index = 0
	}
	for _, n := range []int{l.offset, l.length, l.base, l.index} {
		if n != 0 && n != 4 && n != 8 || l.version > 2 {
			return broken("an iloc box of version %d with numbers of %d bytes", l.version, n)
		}
	}
	if l.length == 0 {
		// Each item would be a whole file, and 65,535 pieces of one take no bytes here.
		return unsupported("items without lengths")
	}
	located := map[uint32]bool{}
	var lengths []int64
	for count := l.id(l.version > 1); count > 0 && !l.short; count-- {
		item, err := t.readLocation(&l, located)
		if err != nil {
			return err
		}
		if item != nil {
			lengths = append(lengths, item.length)
		}
	}
	if l.short {
		return broken("an iloc box that is too short for what it holds")
	}
	// Pieces may overlap, and a few could make an item of gigabytes.
	for _, n := range lengths {
		if n > max(t.image.End, int64(len(t.idat))) {
			return broken("an item of %d bytes in a file of %d", n, t.image.End)
		}
	}
	return nil
}

// locations are the fields of an iloc box, and how many bytes its numbers have.
type locations struct {
	fields
	version                     int
	offset, length, base, index int
}

// readLocation reads where an item is. nil: the box is too short for that.
func (t *table) readLocation(l *locations, located map[uint32]bool) (*item, error) {
	id, method := l.id(l.version > 1), uint64(0)
	if l.version > 0 {
		method = l.uint(2) & 15
	}
	elsewhere := l.uint(2)
	base, n := l.uint(l.base), l.uint(2)
	item := t.items[id]
	switch {
	case l.short:
		return nil, nil
	case item == nil || located[id]:
		return nil, broken("a place for item %d, which does not exist, or which has one", id)
	case elsewhere != 0 || method > 1:
		return nil, unsupported("item %d is in another file or item", id)
	}
	located[id] = true
	item.inside, item.extents = method == 1, int(n)
	for i := range n {
		l.uint(l.index)
		offset, length := l.uint(l.offset), l.uint(l.length)
		if l.short {
			break
		}
		if err := t.extend(item, id, i == 0, base, offset, length); err != nil {
			return nil, err
		}
	}
	return item, nil
}

// extend adds a piece to an item.
func (t *table) extend(item *item, id uint32, first bool, base, offset, length uint64) error {
	const most = math.MaxInt64 / 8
	if base > most || offset > most || length > most {
		return broken("item %d is at %d + %d, with %d bytes", id, base, offset, length)
	}
	at, n := int64(base+offset), int64(length)
	if item.inside && at+n > int64(len(t.idat)) {
		return broken("item %d ends behind the idat box that holds it", id)
	}
	if !item.inside {
		t.image.End = max(t.image.End, at+n)
	}
	if first {
		item.at = at
	}
	if item.length += n; item.length > most {
		return broken("item %d has over %d bytes", id, int64(most))
	}
	return nil
}

// judge holds the image, and all that belongs to it, against the limits.
func (t *table) judge(primary uint32) error {
	item := t.items[primary]
	switch {
	case item == nil:
		return broken("its image is item %d, which does not exist", primary)
	case item.kind != t.coded && item.kind != "grid":
		return unsupported("its image is an item of kind %q", item.kind)
	}
	width, height, err := t.size(primary, item)
	if err != nil {
		return err
	}
	shownW, shownH, orientation, err := t.transform(item, width, height)
	if err != nil {
		return err
	}
	t.image.Orientation = orientation
	t.colours(item)
	if err := t.limits.Shown(shownW, shownH); err != nil {
		return err
	}
	if err := t.sizes(); err != nil {
		return err
	}
	if item.kind == "grid" {
		return t.arrange(item, width, height)
	}
	if item.length == 0 {
		return broken("its image has no data")
	}
	return nil
}

// sizes holds all sizes against the limits: of thumbnails, alpha and tiles too,
// since a decoder may look at any.
func (t *table) sizes() error {
	for _, p := range t.properties {
		if p.kind != "ispe" {
			continue
		}
		width, height, err := t.extent(p)
		if err != nil {
			return err
		}
		if err := t.limits.Each(width, height); err != nil {
			return err
		}
	}
	return nil
}

// extent reads an ispe property: a size.
func (t *table) extent(p property) (width, height int64, err error) {
	f := fields{rest: p.body}
	f.full()
	width, height = int64(f.uint(4)), int64(f.uint(4))
	if f.short || width == 0 || height == 0 || width > math.MaxInt32 || height > math.MaxInt32 {
		err = broken("an image of %d x %d pixels", width, height)
	}
	return width, height, err
}

// size is that of an item, which must have just one, and no property that must
// be understood and is not.
func (t *table) size(id uint32, item *item) (width, height int64, err error) {
	for _, p := range item.properties {
		switch {
		case p.kind == "ispe" && width > 0:
			return 0, 0, broken("item %d has two sizes", id)
		case p.kind == "ispe":
			if width, height, err = t.extent(p); err != nil {
				return 0, 0, err
			}
		case p.kind == "a1op" && !slices.Equal(p.body, []byte{0}), p.kind == "lsel" && !slices.Equal(p.body, []byte{0xFF, 0xFF}):
			// Of layers all are decoded, and the last one is shown.
			return 0, 0, unsupported("item %d asks for one of its layers: %s %x", id, p.kind, p.body)
		case p.essential && !slices.Contains(known, p.kind):
			return 0, 0, unsupported("item %d has the property %q", id, p.kind)
		}
	}
	if width == 0 {
		err = broken("item %d has no size", id)
	}
	return width, height, err
}

// arrange looks at the tiles of an image: each coded by itself, and all of one
// size. The arrangement itself may still have to come.
func (t *table) arrange(item *item, width, height int64) error {
	g := Grid{tiles: len(item.tiles), width: width, height: height}
	checked := map[uint32]bool{} // or the same tile, a thousand times, costs as much
	for i, id := range item.tiles {
		if checked[id] {
			continue
		}
		checked[id] = true
		tile := t.items[id]
		if tile == nil || tile.kind != t.coded || tile.length == 0 {
			return broken("tile %d is item %d, which is no image", i, id)
		}
		w, h, err := t.size(id, tile)
		if err != nil {
			return err
		}
		if i == 0 {
			g.tileW, g.tileH = w, h
		}
		turned := slices.ContainsFunc(tile.properties, func(p property) bool {
			return p.kind == "irot" || p.kind == "imir" || p.kind == "clap"
		})
		if w != g.tileW || h != g.tileH || turned {
			return broken("tile %d of %d x %d among others of %d x %d, or turned", i, w, h, g.tileW, g.tileH)
		}
	}
	const least, most = 8, 12
	if item.extents != 1 || item.length < least || item.length > most {
		return broken("an arrangement of tiles of %d bytes in %d pieces", item.length, item.extents)
	}
	if item.inside {
		return g.Check(t.idat[item.at : item.at+item.length])
	}
	g.At, g.Length = item.at, int(item.length)
	t.image.Grid = g
	return nil
}

// Check holds an arrangement, as read from the file, against the tiles that there are:
// they cover the image, and none lies outside. The error is a *Fault.
func (g *Grid) Check(b []byte) error {
	f := fields{rest: b}
	version, flags := int(f.uint(1)), int(f.uint(1))
	rows, columns := int64(f.uint(1))+1, int64(f.uint(1))+1
	wide := 2 + 2*(flags&1)
	width, height := int64(f.uint(wide)), int64(f.uint(wide))
	switch {
	case f.short || version != 0:
		return broken("an arrangement of tiles of version %d, in %d bytes", version, len(b))
	case rows*columns != int64(g.tiles):
		return broken("%d rows of %d tiles, and %d tiles", rows, columns, g.tiles)
	case width != g.width || height != g.height:
		return broken("tiles for %d x %d pixels in an image of %d x %d", width, height, g.width, g.height)
	case g.tiles > 1 && min(g.tileW, g.tileH) < leastTile:
		return broken("tiles of %d x %d pixels", g.tileW, g.tileH)
	case columns*g.tileW < width || rows*g.tileH < height || (columns-1)*g.tileW >= width || (rows-1)*g.tileH >= height:
		return broken("%d rows of %d tiles of %d x %d for %d x %d pixels", rows, columns, g.tileW, g.tileH, width, height)
	}
	return nil
}
