package lookalike

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"sync"

	"imgkeep/bucket/likeness"
	"imgkeep/bucket/record"
)

const (
	// File is the book's, in the root of the store.
	File = "likeness.pdq"
	// MaxHashes is how many hashes a book has at most; it takes about 40 bytes of memory
	// for each, and 80 on disk.
	MaxHashes = 1 << 25

	bookHead = "imgkeep likeness 1\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	pageSize = 80
	// chunk is how many hashes are searched before writers have their turn.
	chunk = 1 << 16
)

// A page of the file is that of one image: its digest, its hash, the quality, a byte that
// says that it is used, and a checksum. One of zeros is free. What has been torn or damaged
// is free as well.
const (
	atHash    = len(record.Digest{})
	atQuality = atHash + len(likeness.Hash{})
	atUsed    = atQuality + 1
	atSum     = pageSize - 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodePage(d record.Digest, h likeness.Hash, quality int) []byte {
	p := make([]byte, pageSize)
	copy(p, d[:])
	copy(p[atHash:], h[:])
	p[atQuality], p[atUsed] = byte(quality), 1
	binary.BigEndian.PutUint32(p[atSum:], crc32.Checksum(p[:atSum], castagnoli))
	return p
}

// known is what a page says.
type known struct {
	digest  record.Digest
	hash    likeness.Hash
	quality int
}

func decodePage(p []byte) (k known, ok bool) {
	if p[atUsed] != 1 || binary.BigEndian.Uint32(p[atSum:]) != crc32.Checksum(p[:atSum], castagnoli) {
		return k, false
	}
	return known{record.Digest(p[:atHash]), likeness.Hash(p[atHash:atQuality]), int(p[atQuality])}, true
}

var (
	// ErrFull: the book has as many hashes as it may have.
	ErrFull = fmt.Errorf("the book of hashes is full: it has %d", MaxHashes)
	// ErrForeign: the file is none of ours, or of another version.
	ErrForeign = errors.New("it is no book of hashes: remove it, and let 'imgkeep likeness index' make a new one")
)

// head is the first half of a hash.
type head [2]uint64

func headOf(h likeness.Hash) head {
	return head{binary.BigEndian.Uint64(h[:]), binary.BigEndian.Uint64(h[8:])}
}

// Book has the hash of each image that is kept, by its digest. It may be used concurrently.
type Book struct {
	max  int
	mu   sync.RWMutex
	file *os.File
	// pages are how many the file has, free those of them that are.
	pages int
	free  []uint32
	at    table
	// heads are the first halves of the hashes that can match, in an array of their own,
	// so that a search reads little; of is the page of each.
	heads []head
	of    []uint32

	searching sync.Mutex // one search at a time: each takes a core for itself
}

// openBook opens the book of the store in a root, and makes it where there is none. It
// reads all of it: about a second for ten million hashes.
func openBook(root string) (*Book, error) {
	path := filepath.Join(root, File)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	b := &Book{max: MaxHashes, file: f}
	if err := b.load(); err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return b, nil
}

// load reads the file.
func (b *Book) load() error {
	info, err := b.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < int64(len(bookHead)) { // new, or torn when it was
		if err := b.file.Truncate(0); err != nil {
			return err
		}
		_, err := b.file.WriteAt([]byte(bookHead), 0)
		return err
	}
	n := (info.Size() - int64(len(bookHead))) / pageSize
	if n > int64(b.max) {
		n = int64(b.max)
	}
	r := io.NewSectionReader(b.file, 0, int64(len(bookHead))+n*pageSize)
	first := make([]byte, len(bookHead))
	if _, err := io.ReadFull(r, first); err != nil || string(first) != bookHead {
		return errors.Join(ErrForeign, err)
	}
	buffer := make([]byte, 1<<12*pageSize)
	for n > 0 {
		some := buffer[:min(n, 1<<12)*pageSize]
		if _, err := io.ReadFull(r, some); err != nil {
			return err
		}
		for ; len(some) > 0; some = some[pageSize:] {
			b.enter(uint32(b.pages), some[:pageSize])
			b.pages++
			n--
		}
	}
	return nil
}

// enter takes a page in that was read.
func (b *Book) enter(page uint32, text []byte) {
	k, ok := decodePage(text)
	if ok {
		_, twice := b.find(k.digest)
		ok = !twice
	}
	if !ok {
		b.free = append(b.free, page)
		return
	}
	b.add(page, k)
}

// add enters what a page says.
func (b *Book) add(page uint32, k known) {
	b.at.put(tagOf(k.digest), page)
	if k.quality >= likeness.MinQuality {
		b.heads, b.of = append(b.heads, headOf(k.hash)), append(b.of, page)
	}
}

// offset is where a page lies.
func offset(page uint32) int64 { return int64(len(bookHead)) + int64(page)*pageSize }

func (b *Book) read(page uint32) (known, bool) {
	var text [pageSize]byte
	if _, err := b.file.ReadAt(text[:], offset(page)); err != nil {
		return known{}, false
	}
	return decodePage(text[:])
}

// find returns the page of a digest.
func (b *Book) find(d record.Digest) (page uint32, ok bool) {
	for page := range b.at.all(tagOf(d)) {
		if k, ok := b.read(page); ok && k.digest == d {
			return page, true
		}
	}
	return 0, false
}

// Has tells whether the hash of an image is known, or that it has none.
func (b *Book) Has(d record.Digest) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, ok := b.find(d)
	return ok
}

// Get returns the hash of an image, and its quality.
func (b *Book) Get(d record.Digest) (h likeness.Hash, quality int, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	page, ok := b.find(d)
	if !ok {
		return h, 0, false
	}
	k, ok := b.read(page)
	return k.hash, k.quality, ok
}

// Len is how many images the book knows, and Matching of how many a hash can match.
func (b *Book) Len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.pages - len(b.free)
}

// Matching is how many images the book knows that can match.
func (b *Book) Matching() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.heads)
}

// Put notes the hash of an image, unless it is known. It is not flushed: what a crash
// loses, Index finds again. ErrFull where there is no room.
func (b *Book) Put(d record.Digest, p likeness.Print) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.find(d); ok {
		return nil
	}
	page := uint32(b.pages)
	if n := len(b.free); n > 0 {
		page = b.free[n-1]
	} else if b.pages >= b.max {
		return ErrFull
	}
	if _, err := b.file.WriteAt(encodePage(d, p.Hash(), p.Quality), offset(page)); err != nil {
		return fmt.Errorf("write %s: %w", b.file.Name(), err)
	}
	if int(page) == b.pages {
		b.pages++
	} else {
		b.free = b.free[:len(b.free)-1]
	}
	b.add(page, known{d, p.Hash(), p.Quality})
	return nil
}

// Remove takes the hash of an image out, also of the file, which is flushed. Where there
// is none, nothing is done. After an error the hash is found no more, and may be in the
// file.
func (b *Book) Remove(d record.Digest) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	page, ok := b.find(d)
	if !ok {
		return nil
	}
	for i, of := range b.of {
		if of == page {
			last := len(b.of) - 1
			b.heads[i], b.of[i] = b.heads[last], b.of[last]
			b.heads, b.of = b.heads[:last], b.of[:last]
			break
		}
	}
	if _, err := b.file.WriteAt(make([]byte, pageSize), offset(page)); err != nil {
		return fmt.Errorf("write %s: %w", b.file.Name(), err)
	}
	b.at.remove(tagOf(d), page)
	b.free = append(b.free, page)
	if err := b.file.Sync(); err != nil {
		return fmt.Errorf("flush %s: %w", b.file.Name(), err)
	}
	return nil
}

// Digests calls each with the images that the book knows, until it returns false. What
// changes meanwhile may show or not.
func (b *Book) Digests(each func(record.Digest) bool) {
	for page := uint32(0); ; page++ {
		b.mu.RLock()
		done := int(page) >= b.pages
		k, ok := known{}, false
		if !done {
			k, ok = b.read(page)
		}
		b.mu.RUnlock()
		if done || ok && !each(k.digest) {
			return
		}
	}
}

// Close closes the file.
func (b *Book) Close() error { return b.file.Close() }

// Match is an image that looks like another.
type Match struct {
	Digest   record.Digest
	Distance int  // in bits, 0 to 256
	Turned   bool // or mirrored
}

// Search returns the images that look like a picture, within a distance, the nearest
// first, and at most so many: where there are more, the nearest. With turned, also those
// that look like it turned or mirrored. A print that matches nothing finds nothing.
func (b *Book) Search(p likeness.Print, within, most int, turned bool) []Match {
	if !p.Matches() || most < 1 {
		return nil
	}
	b.searching.Lock()
	defer b.searching.Unlock()
	found := nearest{most: most, within: min(within, likeness.MaxWithin)}
	hashes := p.Hashes[:1]
	if turned {
		hashes = p.Hashes[:]
	}
	for from := 0; ; from += chunk {
		b.mu.RLock()
		if from >= len(b.heads) {
			b.mu.RUnlock()
			return found.all
		}
		to := min(from+chunk, len(b.heads))
		candidates(b.heads[from:to], hashes, found.within, func(i int) {
			if k, ok := b.read(b.of[from+i]); ok {
				found.add(k, hashes)
			}
		})
		b.mu.RUnlock()
	}
}

// candidates calls each with the hashes whose first halves are near enough.
func candidates(heads []head, hashes []likeness.Hash, within int, each func(i int)) {
	if len(hashes) == 1 {
		want := headOf(hashes[0])
		for i := range heads {
			if bits.OnesCount64(heads[i][0]^want[0])+bits.OnesCount64(heads[i][1]^want[1]) <= within {
				each(i)
			}
		}
		return
	}
	var want [len(likeness.Print{}.Hashes)]head
	for i := range want {
		want[i] = headOf(hashes[min(i, len(hashes)-1)])
	}
	for i := range heads {
		a, b := heads[i][0], heads[i][1]
		for k := range want {
			if bits.OnesCount64(a^want[k][0])+bits.OnesCount64(b^want[k][1]) <= within {
				each(i)
				break
			}
		}
	}
}

// nearest are the best matches found so far, the best first.
type nearest struct {
	most, within int
	all          []Match
}

func (n *nearest) add(k known, hashes []likeness.Hash) {
	best, turned := n.within+1, false
	for i, h := range hashes {
		if d := h.Distance(k.hash); d < best {
			best, turned = d, i > 0
		}
	}
	if best > n.within || k.quality < likeness.MinQuality {
		return
	}
	at := len(n.all)
	for at > 0 && n.all[at-1].Distance > best {
		at--
	}
	n.all = append(n.all, Match{})
	copy(n.all[at+1:], n.all[at:])
	n.all[at] = Match{k.digest, best, turned}
	if len(n.all) > n.most {
		n.all = n.all[:n.most]
	}
	if len(n.all) == n.most {
		n.within = min(n.within, n.all[n.most-1].Distance-1) // others must be better
	}
}
