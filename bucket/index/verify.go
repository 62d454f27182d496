package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"imgkeep/bucket/index/pages"
)

// bbolt trusts what a page says about itself. A flipped bit or a truncated file makes it
// panic, sometimes in a goroutine of its own where nobody can recover, or read outside of
// the file. So every page in use, and every record in it, is checked before bbolt gets the
// file, but for the large tables of a large file, which are checked soon after: see check.go.

// The file format of bbolt, version 2: two meta pages, then those that package pages reads.
const (
	metaMagic, metaVersion = 0xED0CDAED, 2
	metaSum                = 56 // offset of the checksum in a meta
	metaPage, freePage     = 4, 16
	tableFlag              = 1         // a leaf's element that is a table
	noFreelist             = 1<<64 - 1 // in place of the number of its page
)

// verifier goes through the pages of a file that are in use.
type verifier struct {
	file     io.ReaderAt
	pageSize int
	seen     []bool   // by page
	buffers  [][]byte // by depth
	partly   bool     // without the large tables
	stop     func() bool

	table  []byte            // that it is at; nil: the root
	found  map[string]totals // by table
	wanted map[string]totals
	schema []byte // nil: there is none
	broken error  // the first of records
}

// verify makes sure that the file of an index has the form that bbolt expects and contains
// what was written. It accepts an empty file, which bbolt initialises. With partly it leaves
// out the large tables. stop ends it early, with errStopped.
func verify(f *os.File, partly bool, stop func() bool) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	m, ok := newestMeta(f)
	if !ok {
		return fmt.Errorf("%w (it does not begin as an index)", ErrDamaged)
	}
	_, err = verifyAt(f, m, info.Size(), partly, stop)
	return err
}

var errStopped = errors.New("stopped")

// verifyAt is verify of the state to which a meta leads. It returns how many pages that does
// not use.
func verifyAt(f io.ReaderAt, m meta, size int64, partly bool, stop func() bool) (unused int, _ error) {
	v := &verifier{
		file: f, pageSize: m.pageSize, partly: partly, stop: stop,
		found: map[string]totals{}, wanted: map[string]totals{},
		// Beyond the end there are no pages.
		seen: make([]bool, min(m.pages, uint64(size)/uint64(m.pageSize))),
	}
	err := v.page(m.root, 0, nil, nil)
	if err == nil && m.freelist != noFreelist {
		err = v.freelist(m.freelist)
	}
	if errors.Is(err, errStopped) {
		return 0, err
	}
	if err != nil {
		return 0, fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	if v.schema == nil {
		return 0, fmt.Errorf("%w (it is not empty, and holds no schema)", ErrDamaged)
	}
	if err := checkSchema(v.schema); err != nil {
		return 0, err
	}
	if v.broken != nil {
		return 0, v.broken
	}
	for name, found := range v.found {
		if partly && isLarge([]byte(name)) {
			continue
		}
		if wanted, ok := v.wanted[name]; !ok || wanted != found {
			return 0, fmt.Errorf("%w (table %s has %d records, which are not those that were written: %d)", ErrDamaged, name, found.records, wanted.records)
		}
	}
	for name := range v.wanted {
		if _, ok := v.found[name]; !ok {
			return 0, fmt.Errorf("%w (table %s is missing)", ErrDamaged, name)
		}
	}
	for _, used := range v.seen[2:] {
		if !used {
			unused++
		}
	}
	return unused, nil
}

// meta is the content of one of the first two pages. A transaction uses the page of its
// number modulo 2.
type meta struct {
	pageSize    int
	root, pages uint64
	freelist    uint64 // its page, or noFreelist
	tx          uint64
	bytes       [metaSum + 8]byte
}

// readMeta reads a meta at an offset; it is not ok if it is not intact.
func readMeta(f io.ReaderAt, offset int64) (m meta, ok bool) {
	if _, err := f.ReadAt(m.bytes[:], offset+pages.HeaderSize); err != nil {
		return m, false
	}
	native := binary.NativeEndian
	if native.Uint32(m.bytes[:]) != metaMagic || native.Uint32(m.bytes[4:]) != metaVersion || native.Uint64(m.bytes[metaSum:]) != m.sum() {
		return m, false
	}
	m.pageSize = int(native.Uint32(m.bytes[8:]))
	m.root, m.freelist = native.Uint64(m.bytes[16:]), native.Uint64(m.bytes[32:])
	m.pages, m.tx = native.Uint64(m.bytes[40:]), native.Uint64(m.bytes[48:])
	return m, m.pageSize >= 1024 && m.pageSize <= 64<<10
}

func (m *meta) sum() uint64 {
	sum := fnv.New64a()
	sum.Write(m.bytes[:metaSum])
	return sum.Sum64()
}

// metas reads the two metas; damaged ones are missing.
func metas(f io.ReaderAt) (all []meta) {
	pageSize := os.Getpagesize()
	if m, ok := readMeta(f, 0); ok {
		all, pageSize = append(all, m), m.pageSize // where the other one lies
	}
	if m, ok := readMeta(f, int64(pageSize)); ok && m.pageSize == pageSize {
		all = append(all, m)
	}
	return all
}

// newestMeta is the meta that bbolt uses.
func newestMeta(f io.ReaderAt) (newest meta, ok bool) {
	for _, m := range metas(f) {
		if !ok || m.tx > newest.tx {
			newest, ok = m, true
		}
	}
	return newest, ok
}

// page checks a page and those below it, whose keys must be at least low and less than
// high, unless these are nil.
func (v *verifier) page(id uint64, depth int, low, high []byte) error {
	if len(v.buffers) == depth {
		v.buffers = append(v.buffers, make([]byte, v.pageSize))
	}
	buffer := v.buffers[depth]
	size, err := v.read(id, buffer[:v.pageSize])
	if err != nil {
		return err
	}
	if size > len(buffer) {
		buffer = append(buffer, make([]byte, size-len(buffer))...)
		v.buffers[depth] = buffer
	}
	if size > v.pageSize {
		if _, err := v.file.ReadAt(buffer[:size], int64(id)*int64(v.pageSize)); err != nil {
			return fmt.Errorf("read page %d: %w", id, err)
		}
	}
	if err := v.elements(buffer[:size], depth, low, high); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// read reads the first part of a page and returns how many bytes it has.
func (v *verifier) read(id uint64, buffer []byte) (int, error) {
	if v.stop() {
		return 0, errStopped
	}
	if id < 2 || id >= uint64(len(v.seen)) {
		return 0, fmt.Errorf("page %d is outside of the file", id)
	}
	if _, err := v.file.ReadAt(buffer, int64(id)*int64(v.pageSize)); err != nil {
		return 0, fmt.Errorf("read page %d: %w", id, err)
	}
	if got := binary.NativeEndian.Uint64(buffer); got != id {
		return 0, fmt.Errorf("page %d says that it is page %d", id, got)
	}
	pages := uint64(binary.NativeEndian.Uint32(buffer[12:])) + 1
	if id+pages > uint64(len(v.seen)) {
		return 0, fmt.Errorf("page %d ends outside of the file", id)
	}
	for n := id; n < id+pages; n++ {
		if v.seen[n] {
			return 0, fmt.Errorf("page %d is in use twice", n)
		}
		v.seen[n] = true
	}
	return int(pages) * v.pageSize, nil
}

// freelist checks the list of free pages: of two that bbolt would write to, or one that is in
// use, it would make one. It comes last, when all pages in use were seen.
func (v *verifier) freelist(id uint64) error {
	page := make([]byte, v.pageSize)
	size, err := v.read(id, page)
	if err != nil {
		return err
	}
	page = make([]byte, size)
	if _, err := v.file.ReadAt(page, int64(id)*int64(v.pageSize)); err != nil {
		return fmt.Errorf("read page %d: %w", id, err)
	}
	native := binary.NativeEndian
	kind, count := native.Uint16(page[8:]), uint64(native.Uint16(page[10:]))
	ids := page[pages.HeaderSize:]
	if count == 0xffff { // it stands in the place of the first one
		count, ids = native.Uint64(ids), ids[8:]
	}
	if kind != freePage || count > uint64(len(ids)/8) {
		return fmt.Errorf("page %d is no list of free pages", id)
	}
	for n := range count {
		free := native.Uint64(ids[8*n:])
		if free < 2 || free >= uint64(len(v.seen)) || v.seen[free] {
			return fmt.Errorf("page %d is free, and in use or outside of the file", free)
		}
		v.seen[free] = true // so that it does not come again
	}
	return nil
}

// elements checks the elements of a page.
func (v *verifier) elements(page []byte, depth int, low, high []byte) error {
	native := binary.NativeEndian
	if len(page) < pages.HeaderSize {
		return io.ErrUnexpectedEOF
	}
	kind, count := native.Uint16(page[8:]), int(native.Uint16(page[10:]))
	if kind != pages.Branch && kind != pages.Leaf || kind == pages.Branch && count == 0 {
		return fmt.Errorf("kind %d with %d elements", kind, count)
	}
	if pages.HeaderSize+count*pages.ElementSize > len(page) {
		return fmt.Errorf("%d elements do not fit", count)
	}
	last, next := low, uint64(pages.HeaderSize+count*pages.ElementSize)
	for n := range count {
		key, value, ok := pages.Element(page, kind, n)
		if !ok {
			return fmt.Errorf("element %d ends outside of the page", n)
		}
		// One follows the other: with another count the first would not.
		if at := pages.HeaderSize + n*pages.ElementSize; pages.Begin(page, at, kind) != next {
			return fmt.Errorf("element %d does not follow the one before", n)
		}
		next += uint64(len(key) + len(value))
		if len(key) == 0 {
			return fmt.Errorf("element %d has no key", n)
		}
		if order := bytes.Compare(last, key); order > 0 || order == 0 && n > 0 || high != nil && bytes.Compare(key, high) >= 0 {
			return fmt.Errorf("element %d is out of order", n)
		}
		last = key
		at := pages.HeaderSize + n*pages.ElementSize
		if kind == pages.Branch {
			below := high
			if n+1 < count {
				if below, _, ok = pages.Element(page, kind, n+1); !ok {
					return fmt.Errorf("element %d ends outside of the page", n+1)
				}
			}
			if err := v.page(native.Uint64(page[at+8:]), depth+1, key, below); err != nil {
				return err
			}
			continue
		}
		switch flags := native.Uint32(page[at:]); {
		case flags == tableFlag && v.table == nil:
			if err := v.whole(bytes.Clone(key), value, depth); err != nil {
				return fmt.Errorf("table %q: %w", key, err)
			}
		case flags == 0 && v.table != nil:
			if err := v.record(key, value); err != nil && v.broken == nil {
				v.broken = err // which is reported once the schema is known
			}
		default:
			return fmt.Errorf("element %d is neither a table nor a record of one", n)
		}
	}
	return nil
}

// record checks a record. Those of an older layout have no checksums.
func (v *verifier) record(key, value []byte) error {
	isMeta := bytes.Equal(v.table, metaTable)
	if isMeta && bytes.Equal(key, schemaKey) {
		v.schema = bytes.Clone(value)
		return nil
	}
	value, sum, err := unseal(v.table, key, value)
	if err != nil {
		return err
	}
	if !isMeta {
		t := v.found[string(v.table)]
		t.add(sum)
		v.found[string(v.table)] = t
		return nil
	}
	if name, ok := bytes.CutPrefix(key, totalsPrefix); ok {
		v.wanted[string(name)], err = decodeTotals(value)
	}
	return err
}

// whole checks the pages of a table: from its root or, if it is small, the page inside its
// element.
func (v *verifier) whole(name, value []byte, depth int) error {
	if len(value) < pages.TableSize {
		return io.ErrUnexpectedEOF
	}
	v.table = name
	defer func() { v.table = nil }()
	if !bytes.Equal(name, metaTable) {
		v.found[string(name)] = totals{}
	}
	if v.partly && isLarge(name) {
		return nil
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return v.page(root, depth+1, nil, nil)
	}
	return v.elements(value[pages.TableSize:], depth, nil, nil)
}
