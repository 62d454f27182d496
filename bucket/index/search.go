package index

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"go.etcd.io/bbolt"
)

// bbolt finds a key by halving each page: of seventy elements it compares six or seven, each
// in a line of memory of its own, and in an index that is larger than the processor's caches
// it waits for each of them. But keys are hashes, which are spread evenly, so that proportion
// tells about where in a page a key is: two or three comparisons find it.
//
// search only finds. What it does not find may be in the index all the same, and bbolt is
// asked, which tells what is missing from what is damaged: see table.seek.

const (
	// maxDepth bounds the levels of a table: one of ten million records has four.
	maxDepth = 16
	// maxGuesses bounds the comparisons in a page before it is halved: whoever makes hashes that
	// are not spread evenly gains nothing.
	maxGuesses = 6
)

// search returns a record whose key begins with key; nil if it does not find one. The
// transaction must only read: one that writes has pages that are not in the file yet.
func search(tx *bbolt.Tx, table, key []byte) (k, stored []byte) {
	// While a transaction is open, bbolt leaves mapped what belongs to it.
	info := tx.DB().Info()
	m := mapping{unsafe.Slice((*byte)(unsafe.Add(nil, info.Data)), tx.Size()), uint64(info.PageSize)}
	name, root := m.search(m.page(uint64(tx.Cursor().Bucket().Root())), table)
	if !bytes.Equal(name, table) || len(root) < 16 {
		return nil, nil
	}
	if id := binary.NativeEndian.Uint64(root); id != 0 {
		return m.search(m.page(id), key)
	}
	return m.search(root[16:], key) // a small table's only page is in its element
}

// mapping is the part of the file that a transaction sees.
type mapping struct {
	pages    []byte
	pageSize uint64
}

// page returns a page and all that follow it; nil if there is none of that number.
func (m mapping) page(id uint64) []byte {
	if id < 2 || id >= uint64(len(m.pages))/m.pageSize {
		return nil
	}
	return m.pages[id*m.pageSize:]
}

// search is search in a page and those below it.
func (m mapping) search(page, key []byte) (k, stored []byte) {
	want := leading(key)
	low, high := uint64(0), ^uint64(0) // the keys of the page are between them
	for range maxDepth {
		if len(page) < headerSize {
			return nil, nil
		}
		kind, count := binary.NativeEndian.Uint16(page[8:]), int(binary.NativeEndian.Uint16(page[10:]))
		if headerSize+count*elementSize > len(page) {
			return nil, nil
		}
		before, behind := -1, count // what is looked for is at the first, or between them
		for guesses := 0; behind-before > 1; guesses++ {
			at := before + (behind-before)/2
			if guesses < maxGuesses && low < want && want < high {
				at = before + int(float64(behind-before)*(float64(want-low)/float64(high-low)))
				at = min(max(at, before+1), behind-1)
			}
			k, v, ok := element(page, kind, at)
			if !ok {
				return nil, nil
			}
			n := leading(k)
			order := bytes.Compare(k[:min(len(k), len(key))], key)
			switch {
			case order == 0 && kind == leafPage:
				return k, v
			case order == 0:
				before, behind = at, at+1
				low = n
			case order < 0:
				before, low = at, n
			default:
				behind, high = at, n
			}
		}
		if kind != branchPage || before < 0 {
			return nil, nil
		}
		page = m.page(binary.NativeEndian.Uint64(page[headerSize+before*elementSize+8:]))
	}
	return nil, nil
}

// leading is the number that a key begins with.
func leading(key []byte) uint64 {
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}
