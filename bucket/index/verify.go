package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// errDamaged: bbolt trusts what a page says of itself. A flipped bit or a file
// that is cut off makes it panic, some of the time in a goroutine of its own
// where nobody can recover, or read outside of the file. So every page in use is
// looked at before bbolt is let near.
var errDamaged = errors.New("the index is damaged: 'imgkeep reindex' makes a new one")

// The file format of bbolt, version 2, in the byte order of the machine: two
// pages of meta, then pages of branches and leaves, each with its number, kind,
// count of elements and how many pages more it takes.
const (
	metaMagic, metaVersion = 0xED0CDAED, 2
	metaSum                = 56 // offset of the checksum in a meta
	headerSize             = 16 // of a page
	elementSize            = 16 // of a branch and of a leaf
	branchPage, leafPage   = 1, 2
	tableFlag              = 1 // a leaf's element that is a table
)

// verifier goes through the pages of a file that are in use.
type verifier struct {
	file     io.ReaderAt
	pageSize int
	seen     []bool   // by page
	buffers  [][]byte // by depth
}

// verify makes sure that the file of an index has the form that bbolt expects.
// An empty file is one that bbolt is to make, and one without a meta bbolt
// refuses itself.
func verify(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	root, v, ok := readMeta(f, os.Getpagesize())
	if !ok {
		return nil
	}
	if pages := info.Size() / int64(v.pageSize); int64(len(v.seen)) > pages {
		v.seen = v.seen[:pages] // what is behind the end is no page
	}
	if err := v.page(root, 0, nil, nil); err != nil {
		return fmt.Errorf("%w (%w)", errDamaged, err)
	}
	return nil
}

// readMeta reads the newer of the two metas that are whole.
func readMeta(f io.ReaderAt, pageSize int) (root uint64, v *verifier, ok bool) {
	var newest uint64
	for n := range 2 {
		m := make([]byte, metaSum+8)
		if _, err := f.ReadAt(m, int64(n*pageSize)+headerSize); err != nil {
			continue
		}
		sum := fnv.New64a()
		sum.Write(m[:metaSum])
		native := binary.NativeEndian
		if native.Uint32(m) != metaMagic || native.Uint32(m[4:]) != metaVersion || native.Uint64(m[metaSum:]) != sum.Sum64() {
			continue
		}
		if size := int(native.Uint32(m[8:])); n == 0 {
			pageSize = size // where the other meta lies
		} else if size != pageSize {
			continue
		}
		if tx := native.Uint64(m[48:]); !ok || tx > newest {
			root, newest, ok = native.Uint64(m[16:]), tx, true
			v = &verifier{file: f, pageSize: pageSize, seen: make([]bool, native.Uint64(m[40:]))}
		}
	}
	return root, v, ok
}

// page looks at a page and those below it, whose keys must be at least low and
// less than high, where these are not nil.
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

// elements looks at the elements of a page.
func (v *verifier) elements(page []byte, depth int, low, high []byte) error {
	native := binary.NativeEndian
	if len(page) < headerSize {
		return io.ErrUnexpectedEOF
	}
	kind, count := native.Uint16(page[8:]), int(native.Uint16(page[10:]))
	if kind != branchPage && kind != leafPage || kind == branchPage && count == 0 {
		return fmt.Errorf("kind %d with %d elements", kind, count)
	}
	if headerSize+count*elementSize > len(page) {
		return fmt.Errorf("%d elements do not fit", count)
	}
	// element returns the key of one, and what follows its key.
	element := func(n int) (key, value []byte, ok bool) {
		at := headerSize + n*elementSize
		e := page[at : at+elementSize]
		offset, keys, values := native.Uint32(e), native.Uint32(e[4:]), uint32(0)
		if kind == leafPage {
			offset, keys, values = native.Uint32(e[4:]), native.Uint32(e[8:]), native.Uint32(e[12:])
		}
		begin := uint64(at) + uint64(offset)
		middle := begin + uint64(keys)
		end := middle + uint64(values)
		if end > uint64(len(page)) {
			return nil, nil, false
		}
		return page[begin:middle], page[middle:end], true
	}
	last := low
	for n := range count {
		key, value, ok := element(n)
		if !ok {
			return fmt.Errorf("element %d ends outside of the page", n)
		}
		if order := bytes.Compare(last, key); order > 0 || order == 0 && n > 0 || high != nil && bytes.Compare(key, high) >= 0 {
			return fmt.Errorf("element %d is out of order", n)
		}
		last = key
		at := headerSize + n*elementSize
		if kind == branchPage {
			next := high
			if n+1 < count {
				if next, _, ok = element(n + 1); !ok {
					return fmt.Errorf("element %d ends outside of the page", n+1)
				}
			}
			if err := v.page(native.Uint64(page[at+8:]), depth+1, key, next); err != nil {
				return err
			}
		} else if native.Uint32(page[at:])&tableFlag != 0 {
			if err := v.table(value, depth); err != nil {
				return fmt.Errorf("table %q: %w", key, err)
			}
		}
	}
	return nil
}

// table looks at the pages of a table: at its root, or, where it is small, at the
// page that lies in its element.
func (v *verifier) table(value []byte, depth int) error {
	if len(value) < 16 {
		return io.ErrUnexpectedEOF
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return v.page(root, depth+1, nil, nil)
	}
	return v.elements(value[16:], depth, nil, nil)
}
