package pages

import (
	"bytes"
	"encoding/binary"
)

// bbolt finds a key by halving each page: of seventy elements it compares six or seven, each
// in a line of memory of its own, and in an index that is larger than the processor's caches
// it waits for each of them. But keys are hashes, which are spread evenly, so that proportion
// tells about where in a page a key is: two or three comparisons find it.

const (
	// maxDepth bounds the levels of a table: one of ten million records has four.
	maxDepth = 16
	// maxGuesses bounds the comparisons in a page before it is halved: whoever makes hashes that
	// are not spread evenly gains nothing.
	maxGuesses = 6
)

// Mapping is the part of a file that a transaction sees, from its beginning.
type Mapping struct {
	Pages []byte
	Size  int // of a page, in bytes
}

// Search returns a record of a table whose key begins with key; nil if it does not find one.
// Root is the number of the page that names the tables.
//
// It only finds. What it does not find may be there all the same, in a damaged page or one of
// another form: bbolt is to be asked. It may be called concurrently, with nil and damaged
// pages, and does not check a record's value.
func (m Mapping) Search(root uint64, table, key []byte) (k, value []byte) {
	name, begin := m.search(m.page(root), table)
	if !bytes.Equal(name, table) || len(begin) < TableSize {
		return nil, nil
	}
	if id := binary.NativeEndian.Uint64(begin); id != 0 {
		return m.search(m.page(id), key)
	}
	return m.search(begin[TableSize:], key) // a small table's only page is in its element
}

// page returns a page and all that follow it; nil if there is none of that number.
func (m Mapping) page(id uint64) []byte {
	size := uint64(m.Size)
	if id < 2 || id >= uint64(len(m.Pages))/size {
		return nil
	}
	return m.Pages[id*size:]
}

// search finds a record in a page or those below it.
func (m Mapping) search(page, key []byte) (k, value []byte) {
	want := leading(key)
	low, high := uint64(0), ^uint64(0) // the keys of the page are between them
	for range maxDepth {
		if len(page) < HeaderSize {
			return nil, nil
		}
		kind, count := binary.NativeEndian.Uint16(page[8:]), int(binary.NativeEndian.Uint16(page[10:]))
		if HeaderSize+count*ElementSize > len(page) {
			return nil, nil
		}
		before, behind := -1, count // what is looked for is at the first, or between them
		for guesses := 0; behind-before > 1; guesses++ {
			at := before + (behind-before)/2
			if guesses < maxGuesses && low < want && want < high {
				at = before + int(float64(behind-before)*(float64(want-low)/float64(high-low)))
				at = min(max(at, before+1), behind-1)
			}
			k, value, ok := Element(page, kind, at)
			if !ok {
				return nil, nil
			}
			order := bytes.Compare(k[:min(len(k), len(key))], key)
			switch {
			case order == 0 && kind == Leaf:
				return k, value
			case order == 0:
				before, behind, low = at, at+1, leading(k)
			case order < 0:
				before, low = at, leading(k)
			default:
				behind, high = at, leading(k)
			}
		}
		if kind != Branch || before < 0 {
			return nil, nil
		}
		page = m.page(binary.NativeEndian.Uint64(page[HeaderSize+before*ElementSize+8:]))
	}
	return nil, nil
}

// leading is the number that a key begins with.
func leading(key []byte) uint64 {
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}
