package lookalike

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"imgkeep/bucket/likeness"
	"imgkeep/bucket/record"
)

// random is a picture that looks like no other.
func random(r *rand.Rand) likeness.Print {
	p := likeness.Print{Quality: 100}
	for i := range p.Hashes {
		for j := range p.Hashes[i] {
			p.Hashes[i][j] = byte(r.Uint32())
		}
	}
	return p
}

// near is a hash at a distance from another: the first bits of those in a shuffled order
// are other ones, so that they lie in both halves.
func near(r *rand.Rand, h likeness.Hash, distance int) likeness.Print {
	for _, bit := range r.Perm(likeness.Bits)[:distance] {
		h[bit/8] ^= 1 << (bit % 8)
	}
	return likeness.Print{Quality: 100, Hashes: [8]likeness.Hash{h}}
}

func digest(n int) (d record.Digest) {
	binary.BigEndian.PutUint32(d[:], uint32(n))
	binary.BigEndian.PutUint32(d[28:], uint32(n)*2654435761)
	return d
}

func open(t testing.TB, root string) *Book {
	t.Helper()
	b, err := openBook(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func put(t testing.TB, b *Book, d record.Digest, p likeness.Print) {
	t.Helper()
	if err := b.Put(d, p); err != nil {
		t.Fatal(err)
	}
}

func TestBook(t *testing.T) {
	root := t.TempDir()
	r := rand.New(rand.NewPCG(1, 1))
	b := open(t, root)
	var prints []likeness.Print
	for i := range 3000 {
		prints = append(prints, random(r))
		put(t, b, digest(i), prints[i])
	}
	put(t, b, digest(7), random(r)) // which is known, and stays
	flat := likeness.Print{Quality: likeness.MinQuality - 1}
	put(t, b, digest(5000), flat)
	for i := 0; i < 3000; i += 3 {
		if err := b.Remove(digest(i)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, b, digest(3), prints[3]) // again, in the place of another
	for range 2 {
		if got := b.Len(); got != 2002 {
			t.Errorf("%d are known", got)
		}
		if got := b.Matching(); got != 2001 {
			t.Errorf("%d can match", got)
		}
		for i := range 3000 {
			h, quality, ok := b.Get(digest(i))
			want := i%3 != 0 || i == 3
			if ok != want || b.Has(digest(i)) != want || ok && (h != prints[i].Hash() || quality != 100) {
				t.Fatalf("%d: %v, quality %d", i, ok, quality)
			}
		}
		if !b.Has(digest(5000)) || b.Has(digest(5001)) {
			t.Error("what matches nothing is not known")
		}
		seen := 0
		b.Digests(func(record.Digest) bool { seen++; return true })
		if seen != 2002 {
			t.Errorf("%d digests", seen)
		}
		b.Close()
		b = open(t, root) // and all is as it was
	}
}

// Nothing of an image that is removed is left in the file.
func TestRemoveErases(t *testing.T) {
	root := t.TempDir()
	b := open(t, root)
	p := random(rand.New(rand.NewPCG(2, 2)))
	put(t, b, digest(1), p)
	if err := b.Remove(digest(1)); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(digest(1)); err != nil {
		t.Errorf("again: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(root, File))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range text[len(bookHead):] {
		if c != 0 {
			t.Fatalf("%x is left", text[len(bookHead):])
		}
	}
}

// A page that is torn or damaged is none; what is no book is not taken for one.
func TestDamagedBook(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	p := random(r)
	for name, c := range map[string]struct {
		damage func([]byte) []byte
		known  int
		err    error
	}{
		"whole":            {func(b []byte) []byte { return b }, 3, nil},
		"a bit flipped":    {func(b []byte) []byte { b[len(bookHead)+pageSize+40] ^= 4; return b }, 2, nil},
		"a page torn":      {func(b []byte) []byte { return b[:len(b)-1] }, 2, nil},
		"a page twice":     {func(b []byte) []byte { return append(b, b[len(b)-pageSize:]...) }, 3, nil},
		"its first page":   {func(b []byte) []byte { clear(b[len(bookHead):][:pageSize]); return b }, 2, nil},
		"empty":            {func([]byte) []byte { return nil }, 0, nil},
		"a head torn":      {func(b []byte) []byte { return b[:len(bookHead)-1] }, 0, nil},
		"a head alone":     {func(b []byte) []byte { return b[:len(bookHead)] }, 0, nil},
		"of another day":   {func(b []byte) []byte { b[17]++; return b }, 0, ErrForeign},
		"something else's": {func(b []byte) []byte { return make([]byte, 4096) }, 0, ErrForeign},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			b := open(t, root)
			for i := range 3 {
				put(t, b, digest(i), p)
			}
			b.Close()
			path := filepath.Join(root, File)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, c.damage(text), 0o600); err != nil {
				t.Fatal(err)
			}
			b, err = openBook(root)
			if !errors.Is(err, c.err) {
				t.Fatalf("%v", err)
			}
			if err != nil {
				return
			}
			defer b.Close()
			if b.Len() != c.known {
				t.Errorf("%d are known, want %d", b.Len(), c.known)
			}
			for i := range 3 { // and what was lost can be put again
				put(t, b, digest(i), p)
			}
			if got := b.Search(p, 0, 10, false); len(got) != 3 {
				t.Errorf("found %v", got)
			}
		})
	}
}

// A book has no more hashes than it may have; room that a removal leaves is used again.
func TestFullBook(t *testing.T) {
	b := open(t, t.TempDir())
	b.max = 3
	p := random(rand.New(rand.NewPCG(4, 4)))
	for i := range 3 {
		put(t, b, digest(i), p)
	}
	if err := b.Put(digest(3), p); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	put(t, b, digest(2), p)
	if err := b.Remove(digest(1)); err != nil {
		t.Fatal(err)
	}
	put(t, b, digest(3), p)
	if b.pages != 3 {
		t.Errorf("%d pages", b.pages)
	}
}

func TestSearch(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	b := open(t, t.TempDir())
	want := random(r)
	for i := range 2000 {
		put(t, b, digest(i), random(r))
	}
	for i, distance := range []int{48, 0, 31, 32, 20, 49} {
		put(t, b, digest(10000+i), near(r, want.Hash(), distance))
	}
	mirrored := near(r, want.Hashes[3], 5)
	put(t, b, digest(10010), mirrored)
	blurred := near(r, want.Hash(), 1)
	blurred.Quality = likeness.MinQuality - 1
	put(t, b, digest(10011), blurred)
	good := want
	good.Quality = likeness.MinQuality
	bad := want
	bad.Quality--
	bad.Quality = likeness.MinQuality - 1
	for name, c := range map[string]struct {
		p            likeness.Print
		within, most int
		turned       bool
		want         []int // distances
	}{
		"the default":          {want, likeness.Within, 10, false, []int{0, 20, 31}},
		"just beyond":          {want, 32, 10, false, []int{0, 20, 31, 32}},
		"just short":           {want, 30, 10, false, []int{0, 20}},
		"the same":             {want, 0, 10, false, []int{0}},
		"as far as it goes":    {want, 200, 10, false, []int{0, 20, 31, 32, 48}},
		"turned":               {want, likeness.Within, 10, true, []int{0, 5, 20, 31}},
		"the nearest":          {want, likeness.Within, 2, true, []int{0, 5}},
		"no room":              {want, likeness.Within, 0, true, nil},
		"negative":             {want, -1, 10, true, nil},
		"a print good enough":  {good, 20, 10, false, []int{0, 20}},
		"a print of no use":    {bad, 20, 10, true, nil},
		"looks like no other":  {random(r), likeness.Within, 10, true, nil},
		"what matches nothing": {likeness.Print{}, likeness.MaxWithin, 10, true, nil},
	} {
		var got []int
		for _, m := range b.Search(c.p, c.within, c.most, c.turned) {
			got = append(got, m.Distance)
			if m.Turned != (m.Distance == 5) {
				t.Errorf("%s: %+v", name, m)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: distances %v, want %v", name, got, c.want)
		}
	}
}

// The table finds what was put into it and was not removed, whatever the tags.
func FuzzTable(f *testing.F) {
	f.Add([]byte{1, 2, 3, 1, 129, 1, 2, 255, 254})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var x table
		want := map[uint32]uint32{} // tags of pages
		for page, op := range ops {
			tag := uint32(op&7) << 29 // few, at the end of the table too
			if op < 128 {
				x.put(tag, uint32(page))
				want[uint32(page)] = tag
				continue
			}
			for old, of := range want {
				if of == tag {
					x.remove(tag, old)
					delete(want, old)
					break
				}
			}
			x.remove(tag, 1<<30) // which is not there
		}
		if x.n != len(want) {
			t.Errorf("%d entries, want %d", x.n, len(want))
		}
		for page, tag := range want {
			if !slices.Contains(slices.Collect(x.all(tag)), page) {
				t.Errorf("page %d of tag %x is lost", page, tag)
			}
		}
		for tag := range uint32(8) {
			for page := range x.all(tag << 29) {
				if want[page] != tag<<29 {
					t.Errorf("page %d is found", page)
				}
			}
		}
	})
}

// Searching so many on one core: ten million where IMGKEEP_BENCH_HASHES says so.
func BenchmarkSearch(b *testing.B) {
	n := 1_000_000
	if text := os.Getenv("IMGKEEP_BENCH_HASHES"); text != "" {
		if _, err := fmt.Sscan(text, &n); err != nil {
			b.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(6, 6))
	book := open(b, b.TempDir())
	for range n {
		book.heads, book.of = append(book.heads, head{r.Uint64(), r.Uint64()}), append(book.of, 0)
	}
	p := random(r)
	for _, turned := range []bool{false, true} {
		b.Run(fmt.Sprintf("hashes=%d/turned=%v", n, turned), func(b *testing.B) {
			for b.Loop() {
				book.Search(p, likeness.Within, 100, turned)
			}
		})
	}
}

// Searches go on while images come and go; what is there all the time is always found.
func TestBookConcurrently(t *testing.T) {
	b := open(t, t.TempDir())
	r := rand.New(rand.NewPCG(8, 8))
	stays := random(r)
	put(t, b, digest(1), stays)
	var comes []likeness.Print
	for range 50 {
		comes = append(comes, random(r))
	}
	var wg sync.WaitGroup
	for worker := range 3 {
		wg.Go(func() {
			for i, p := range comes {
				d := digest(1000*(worker+1) + i)
				if err := b.Put(d, p); err != nil || !b.Has(d) {
					t.Errorf("put: %v", err)
				}
				if err := b.Remove(d); err != nil || b.Has(d) {
					t.Errorf("remove: %v", err)
				}
			}
		})
		wg.Go(func() {
			for range 50 {
				if got := b.Search(stays, 0, 10, true); len(got) != 1 || got[0].Digest != digest(1) {
					t.Errorf("found %v", got)
				}
				b.Digests(func(record.Digest) bool { return true })
			}
		})
	}
	wg.Wait()
	if b.Len() != 1 || b.Matching() != 1 {
		t.Errorf("%d are left, of which %d can match", b.Len(), b.Matching())
	}
}
