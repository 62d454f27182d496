package lookalike

import (
	"encoding/binary"
	"iter"

	"imgkeep/bucket/record"
)

// table finds pages by tags of digests: a hash table with open addressing, of 8 bytes an
// entry, at most three quarters full. Its zero value is empty.
type table struct {
	// entries have the tag in the upper half, and the page, plus one, in the lower; zero is
	// a free one. Where an entry belongs is in the upper bits of its tag.
	entries []uint64
	n       int
	shift   uint // of a tag
}

// tagOf is what a table knows of a digest. Digests are hashes, so any part of one will do.
func tagOf(d record.Digest) uint32 { return binary.BigEndian.Uint32(d[len(d)-4:]) }

func (t *table) home(tag uint32) int { return int(tag >> t.shift) }

func (t *table) next(i int) int { return (i + 1) & (len(t.entries) - 1) }

// all goes through the pages that may be that of a tag.
func (t *table) all(tag uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		if len(t.entries) == 0 {
			return
		}
		for i := t.home(tag); t.entries[i] != 0; i = t.next(i) {
			if uint32(t.entries[i]>>32) == tag && !yield(uint32(t.entries[i])-1) {
				return
			}
		}
	}
}

func (t *table) put(tag, page uint32) {
	if 4*(t.n+1) > 3*len(t.entries) {
		t.grow()
	}
	i := t.home(tag)
	for t.entries[i] != 0 {
		i = t.next(i)
	}
	t.entries[i] = uint64(tag)<<32 | uint64(page+1)
	t.n++
}

func (t *table) grow() {
	old := t.entries
	size := max(2*len(old), 1<<10)
	t.entries, t.n, t.shift = make([]uint64, size), 0, 32
	for size > 1 {
		size >>= 1
		t.shift--
	}
	for _, e := range old {
		if e != 0 {
			t.put(uint32(e>>32), uint32(e)-1)
		}
	}
}

// remove takes an entry out, and moves up what it has kept from its place.
func (t *table) remove(tag, page uint32) {
	if len(t.entries) == 0 {
		return
	}
	i := t.home(tag)
	for t.entries[i] != uint64(tag)<<32|uint64(page+1) {
		if t.entries[i] == 0 {
			return
		}
		i = t.next(i)
	}
	t.n--
	mask := len(t.entries) - 1
	for j := t.next(i); t.entries[j] != 0; j = t.next(j) {
		// It may go to i unless its place lies behind that.
		if (j-t.home(uint32(t.entries[j]>>32)))&mask >= (j-i)&mask {
			t.entries[i] = t.entries[j]
			i = j
		}
	}
	t.entries[i] = 0
}
