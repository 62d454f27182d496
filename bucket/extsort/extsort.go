// Package extsort sorts more records than fit into memory: an external merge sort.
//
// It promises that memory does not depend on the number of records, and that nothing of it
// stays on the disk, whatever ends the process: its one file has no name. It does not flush
// that file, and does not check what it reads back: it is for work that is repeated after a
// failure.
package extsort

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"slices"
)

// DefaultMemory is what a Sorter takes of memory, in bytes, unless it is told otherwise.
const DefaultMemory = 16 << 20

// Sorter sorts records of one length by their bytes. Equal records all stay. It is for one
// goroutine.
type Sorter struct {
	dir    string
	size   int
	memory int

	buffer []byte // records that are in no run yet
	order  []entry
	file   *os.File // of the runs; nil: there is none
	end    int64    // of the file
	runs   []run    // each in order
	n      int
}

// entry stands for a record of the buffer.
type entry struct {
	head uint64 // what it begins with
	at   uint32 // where it begins
}

// run is a part of the file.
type run struct{ from, to int64 }

// New returns a sorter of records of so many bytes, at least 8. What does not fit into memory
// bytes, 0: DefaultMemory, it writes to a nameless file in dir. Close frees both.
func New(dir string, size, memory int) *Sorter {
	if memory == 0 {
		memory = DefaultMemory
	}
	return &Sorter{dir: dir, size: size, memory: max(memory, 64*size)}
}

// Add takes a copy of a record.
func (s *Sorter) Add(record []byte) error {
	const perEntry = 16
	if (len(s.order)+1)*(s.size+perEntry) > s.memory {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.order = append(s.order, entry{binary.BigEndian.Uint64(record), uint32(len(s.buffer))})
	s.buffer = append(s.buffer, record[:s.size]...)
	s.n++
	return nil
}

// Len is the number of records.
func (s *Sorter) Len() int { return s.n }

func (s *Sorter) record(e entry) []byte { return s.buffer[e.at:][:s.size] }

func (s *Sorter) sort() {
	slices.SortFunc(s.order, func(a, b entry) int {
		if a.head != b.head {
			if a.head < b.head {
				return -1
			}
			return 1
		}
		return bytes.Compare(s.record(a), s.record(b))
	})
}

// spill writes the buffer to the file, in order.
func (s *Sorter) spill() error {
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, "sort-*")
		if err != nil {
			return err
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
	}
	s.sort()
	w := bufio.NewWriterSize(s.file, 256<<10)
	for _, e := range s.order {
		if _, err := w.Write(s.record(e)); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	from := s.end
	s.end += int64(len(s.buffer))
	s.runs = append(s.runs, run{from, s.end})
	s.buffer, s.order = s.buffer[:0], s.order[:0]
	return nil
}

// Sorted returns the records in order. It may be called again, after more of Add too, but a
// Reader ends with the next call of either.
func (s *Sorter) Sorted() *Reader {
	r := &Reader{s: s, merges: len(s.runs) > 0}
	if !r.merges {
		s.sort()
		return r
	}
	if len(s.order) > 0 {
		if r.err = s.spill(); r.err != nil {
			return r
		}
	}
	s.buffer, s.order = nil, nil // the readers of the runs take their place
	size := min(max(s.memory/len(s.runs), 4<<10), 256<<10)
	for _, part := range s.runs {
		in := io.NewSectionReader(s.file, part.from, part.to-part.from)
		c := &cursor{in: bufio.NewReaderSize(in, size), left: in.Size(), record: make([]byte, s.size)}
		if r.advance(c) {
			r.heap = append(r.heap, c)
		}
	}
	for i := len(r.heap)/2 - 1; i >= 0; i-- {
		r.down(i)
	}
	return r
}

// Close frees the memory and the file. It may be called again.
func (s *Sorter) Close() error {
	s.buffer, s.order, s.runs = nil, nil, nil
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

// Reader goes through the records of a Sorter: call Next before each.
type Reader struct {
	s      *Sorter
	record []byte
	at     int       // of the buffer, what comes next
	merges bool      // there are runs
	heap   []*cursor // of them, the one with the least record first
	err    error
}

// cursor is how far a run has been read.
type cursor struct {
	in     *bufio.Reader
	left   int64 // bytes that are to come
	record []byte
}

// Next goes to the next record. It returns false at the end and after an error.
func (r *Reader) Next() bool {
	switch {
	case r.err != nil:
	case !r.merges && r.at < len(r.s.order):
		r.record = r.s.record(r.s.order[r.at])
		r.at++
		return true
	case r.merges:
		if r.record != nil {
			r.pop()
		}
		if r.err == nil && len(r.heap) > 0 {
			r.record = r.heap[0].record
			return true
		}
	}
	r.record = nil
	return false
}

// Record is the record that Next went to, until its next call; nil: it went to the end.
func (r *Reader) Record() []byte { return r.record }

// Err is the error that ended it; nil: all records were read.
func (r *Reader) Err() error { return r.err }

// pop goes on in the run that has the least record.
func (r *Reader) pop() {
	if !r.advance(r.heap[0]) {
		last := len(r.heap) - 1
		r.heap[0] = r.heap[last]
		r.heap = r.heap[:last]
	}
	r.down(0)
}

// advance reads the next record of a run, and tells whether there is one.
func (r *Reader) advance(c *cursor) bool {
	if c.left == 0 {
		return false
	}
	if _, err := io.ReadFull(c.in, c.record); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		r.err = err
		return false
	}
	c.left -= int64(len(c.record))
	return true
}

// down moves a cursor of the heap to its place.
func (r *Reader) down(i int) {
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(r.heap) && bytes.Compare(r.heap[child].record, r.heap[least].record) < 0 {
				least = child
			}
		}
		if least == i {
			return
		}
		r.heap[i], r.heap[least] = r.heap[least], r.heap[i]
		i = least
	}
}
