// Package pages reads pages of a bbolt file (version 2 of its format), in the byte order of the
// machine: branches and leaves, each with its number, its kind, its count of elements and its
// number of further pages, and then the elements.
//
// It promises to read nothing outside of what it is given, whatever a page says about itself.
// It does not check that a page is intact: package index does, and it is the one that uses
// bbolt.
package pages

import "encoding/binary"

const (
	HeaderSize  = 16 // of a page, in bytes
	ElementSize = 16 // of an element of a branch or a leaf, without its key and value
	TableSize   = 16 // of the value of a table before its own page, which is there if the first 8 bytes, a page's number, are zero
	Branch      = 1  // kind of a page whose elements name the pages below it
	Leaf        = 2  // kind of a page whose elements are records or tables
)

// Element returns the key of an element of a page of a kind, and its value; a branch has none. It
// is not ok if they end outside of the page, which must have room for n+1 elements.
func Element(page []byte, kind uint16, n int) (key, value []byte, ok bool) {
	native := binary.NativeEndian
	at := HeaderSize + n*ElementSize
	e := page[at : at+ElementSize]
	keys, values := native.Uint32(e[4:]), uint32(0)
	if kind == Leaf {
		keys, values = native.Uint32(e[8:]), native.Uint32(e[12:])
	}
	from := Begin(page, at, kind)
	middle := from + uint64(keys)
	end := middle + uint64(values)
	if end > uint64(len(page)) {
		return nil, nil, false
	}
	return page[from:middle], page[middle:end], true
}

// Begin is where the key of the element at an offset begins.
func Begin(page []byte, at int, kind uint16) uint64 {
	offset := binary.NativeEndian.Uint32(page[at:])
	if kind == Leaf {
		offset = binary.NativeEndian.Uint32(page[at+4:])
	}
	return uint64(at) + uint64(offset)
}
