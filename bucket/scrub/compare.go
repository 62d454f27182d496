package scrub

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"imgkeep/bucket/extsort"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// Index and journal may have tens of millions of URLs, and are in different orders. So both
// are sorted by the keys of URLs, on disk, and then read in parallel.

// comparison is what a run compares of a bucket. Records begin with what they are sorted by;
// numbers are big-endian.
type comparison struct {
	links  *extsort.Sorter // of the index: key, image
	counts *extsort.Sorter // of the index: image, once for each URL
	lines  *extsort.Sorter // of the journal: key, number, operation, image, place
	files  []string        // of the journal
	purged map[index.Ref]mark
}

const (
	keySize, refSize = len(index.Key{}), len(index.Ref{})
	placeSize        = 2 + 8 + 4
	lineRecord       = keySize + 4 + 1 + refSize + placeSize
)

// mark is a line of the journal.
type mark struct {
	number uint32 // in all of it, from 1
	file   uint16 // of files
	start  int64  // where it begins
	inFile uint32 // its number in the file
}

func (c *run) newComparison() *comparison {
	sorter := func(size int) *extsort.Sorter { return extsort.New(c.s.Path(record.TmpDir), size, c.Memory) }
	return &comparison{links: sorter(keySize + refSize), counts: sorter(refSize), lines: sorter(lineRecord), purged: map[index.Ref]mark{}}
}

func (x *comparison) close() {
	for _, s := range []*extsort.Sorter{x.links, x.counts, x.lines} {
		s.Close()
	}
}

// compare compares the index of a bucket with its journal. It reads the index first: every
// entry then has its line, since lines are written before entries.
func (c *run) compare(ctx context.Context, b *scrubbed) error {
	x := b.compared
	if err := c.readIndex(b.name, x); err != nil {
		return err
	}
	if err := c.readJournal(ctx, b, x); err != nil {
		return err
	}
	links := x.links.Sorted()
	links.Next()
	for lines := x.lines.Sorted(); ; {
		key, last, op, ref, err := nextURL(lines)
		if err != nil {
			return err
		}
		for l := links.Record(); l != nil && (last.number == 0 || bytes.Compare(l[:keySize], key[:]) < 0); l = links.Record() {
			c.found(record.Finding{Kind: record.Unjournaled, Path: fmt.Sprintf("%s:%x", record.IndexFile, l[:keySize]), Detail: "no line of the journal has this URL: 'imgkeep reindex' would forget it"})
			links.Next()
		}
		if links.Err() != nil || last.number == 0 {
			return links.Err()
		}
		var has *index.Ref // what the index has
		if l := links.Record(); l != nil && index.Key(l) == key {
			has = new(index.Ref(l[keySize:]))
			links.Next()
		}
		if err := c.compareURL(ctx, b, key, last, op, ref, has); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// nextURL returns what the last line about the next URL says; its number is 0 at the end.
func nextURL(lines *extsort.Reader) (key index.Key, last mark, op byte, ref index.Ref, err error) {
	if lines.Record() == nil && !lines.Next() {
		return key, last, 0, ref, lines.Err()
	}
	key = index.Key(lines.Record())
	for r := lines.Record(); r != nil && index.Key(r) == key; r = lines.Record() {
		last.number, op = binary.BigEndian.Uint32(r[keySize:]), r[keySize+4]
		ref = index.Ref(r[keySize+5:])
		last.setPlace(r[keySize+5+refSize:])
		lines.Next()
	}
	return key, last, op, ref, lines.Err()
}

func (m *mark) setPlace(b []byte) {
	m.file, m.start, m.inFile = binary.BigEndian.Uint16(b), int64(binary.BigEndian.Uint64(b[2:])), binary.BigEndian.Uint32(b[10:])
}

func (m mark) appendPlace(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, m.file)
	b = binary.BigEndian.AppendUint64(b, uint64(m.start))
	return binary.BigEndian.AppendUint32(b, m.inFile)
}

// Operations of lines about URLs.
const (
	opKeep = iota
	opForget
)

// compareURL compares what the last line about a URL says with what the index has; nil:
// nothing.
func (c *run) compareURL(ctx context.Context, b *scrubbed, key index.Key, last mark, op byte, ref index.Ref, has *index.Ref) error {
	purged := b.compared.purged
	if has != nil && purged[*has].number > last.number {
		line, err := c.line(b, purged[*has])
		if err == nil {
			err = c.halfRemoved(b, key, line)
		}
		if err != nil {
			return err
		}
	}
	same := has == nil
	if op == opKeep {
		same = has != nil && *has == ref
	}
	// If it was purged, the index does not have it, as it should be, or it was just looked at.
	if same || purged[ref].number > last.number {
		return nil
	}
	line, err := c.line(b, last)
	switch {
	case err != nil:
		return err
	case op == opForget:
		return c.halfRemoved(b, key, line)
	}
	return c.differs(ctx, b, key, line)
}

// line reads a line of the journal again.
func (c *run) line(b *scrubbed, at mark) (ledger.Entry, error) {
	file := b.compared.files[at.file]
	for line, err := range c.s.Ledger().Since(b.name, record.Position{File: filepath.Base(file), Length: at.start}) {
		if err == nil && errors.Is(line.Broken, ledger.ErrMonthMissing) {
			continue
		}
		if err == nil && (line.Broken != nil || line.File != file) {
			err = fmt.Errorf("%s:%d: the line is not there any more", file, at.inFile)
		}
		line.Number = int(at.inFile)
		return line, err
	}
	return ledger.Entry{}, fmt.Errorf("%s:%d: the line is not there any more", file, at.inFile)
}

// readIndex reads the URLs in the index.
func (c *run) readIndex(bucket string, x *comparison) error {
	b := make([]byte, keySize+refSize)
	for l, err := range c.s.Index().URLs(bucket) {
		if err != nil && l.Key == (index.Key{}) {
			return fmt.Errorf("read the index: %w", err)
		}
		if err != nil {
			c.found(record.Finding{Kind: record.Disagreement, Path: fmt.Sprintf("%s:%x", record.IndexFile, l.Key), Detail: err.Error()})
			continue
		}
		copy(b, l.Key[:])
		copy(b[keySize:], l.Ref[:])
		if err := errors.Join(x.links.Add(b), x.counts.Add(l.Ref[:])); err != nil {
			return err
		}
	}
	return nil
}

// readJournal reads the journal.
func (c *run) readJournal(ctx context.Context, b *scrubbed, x *comparison) error {
	var at mark
	end, of := int64(0), ""
	for line, err := range c.s.Ledger().Since(b.name, record.Position{}) {
		if err != nil {
			return err
		}
		if at.number++; at.number%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if at.number%8192 == 0 && c.Progress != nil {
			c.Progress(record.Progress{Stage: "journals", Done: int64(at.number)})
		}
		if line.Torn {
			continue
		}
		if !errors.Is(line.Broken, ledger.ErrMonthMissing) {
			if line.File != of {
				end, of = 0, line.File
				x.files = append(x.files, of)
			}
			at.file, at.start, at.inFile, end = uint16(len(x.files)-1), end, uint32(line.Number), line.End
			b.end = record.Position{File: filepath.Base(line.File), Length: line.End}
		}
		switch {
		case line.Broken != nil:
			c.found(line.Finding())
		case line.Op == ledger.OpPurge:
			x.purged[index.RefTo(line.Image.Digest)] = at
		default:
			if err := x.lines.Add(lineOf(line, at)); err != nil {
				return err
			}
		}
	}
	return nil
}

func lineOf(line ledger.Entry, at mark) []byte {
	key, op := index.KeyOf(line.Image.URL), byte(opKeep)
	if line.Op == ledger.OpForget {
		op = opForget
	}
	r := make([]byte, 0, lineRecord)
	r = append(r, key[:]...)
	r = binary.BigEndian.AppendUint32(r, at.number)
	r = append(r, op)
	r = append(r, line.Image.Digest[:refSize]...)
	return at.appendPlace(r)
}
