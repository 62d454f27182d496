package extsort

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// records are random ones, of which some are the same and some begin alike.
func records(n, size int) [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	all := make([][]byte, n)
	for i := range all {
		all[i] = make([]byte, size)
		for j := range all[i] {
			all[i][j] = byte(random.IntN(3))
		}
		binary.BigEndian.PutUint32(all[i][size-4:], random.Uint32N(uint32(n)))
		if i%7 == 3 {
			copy(all[i], all[i/2])
		}
	}
	return all
}

func sorted(t *testing.T, s *Sorter) (all [][]byte) {
	t.Helper()
	r := s.Sorted()
	for r.Next() {
		all = append(all, bytes.Clone(r.Record()))
	}
	if r.Err() != nil || r.Next() {
		t.Fatalf("%v, or it does not end", r.Err())
	}
	return all
}

// In memory, at the limit, and in one run and many, the order is that of the bytes, and
// every record comes as often as it was added.
func TestSorted(t *testing.T) {
	const size, memory = 20, 36 * 100
	for _, n := range []int{0, 1, 2, 99, 100, 101, 200, 201, 5000} {
		dir := t.TempDir()
		s := New(dir, size, memory)
		all := records(n, size)
		for _, r := range all {
			if err := s.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		slices.SortFunc(all, bytes.Compare)
		for range 2 {
			if got := sorted(t, s); !slices.EqualFunc(got, all, bytes.Equal) || s.Len() != n {
				t.Errorf("%d records: they come out otherwise", n)
			}
		}
		if spilled := s.file != nil; spilled != (n > 100) {
			t.Errorf("%d records: written to a file: %v", n, spilled)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
			t.Errorf("%d records: it leaves %v, %v", n, names, err)
		}
		more := bytes.Repeat([]byte{1}, size)
		if err := s.Add(more); err != nil {
			t.Fatal(err)
		}
		all = append(all, more)
		slices.SortFunc(all, bytes.Compare)
		if got := sorted(t, s); !slices.EqualFunc(got, all, bytes.Equal) {
			t.Errorf("%d records: one more, and they come out otherwise", n)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A disk that fails, and a file that is cut off, are errors, never fewer records.
func TestErrors(t *testing.T) {
	s := New(t.TempDir()+"/missing", 8, 1)
	var err error
	for n := 0; n < 1000 && err == nil; n++ {
		err = s.Add(make([]byte, 8))
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a folder: %v", err)
	}
	for _, cut := range []int64{1, 8} {
		s = New(t.TempDir(), 8, 1)
		defer s.Close()
		for range 1000 {
			if err := s.Add(make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
		}
		sorted(t, s)
		if err := s.file.Truncate(s.end - cut); err != nil {
			t.Fatal(err)
		}
		r := s.Sorted()
		for r.Next() {
		}
		if !errors.Is(r.Err(), io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes are missing: %v", cut, r.Err())
		}
	}
}

func BenchmarkSort(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		s, random, record := New(b.TempDir(), 64, 0), rand.NewChaCha8([32]byte{}), make([]byte, 64)
		for range n {
			random.Read(record)
			if err := s.Add(record); err != nil {
				b.Fatal(err)
			}
		}
		r := s.Sorted()
		for r.Next() {
		}
		s.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
}
