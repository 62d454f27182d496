package journal

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

var _ ledger.Backward = (*Journals)(nil)

// Before does what ledger.Backward says.
func (l *Journals) Before(bucket string, at record.Position, w ledger.Wanted) iter.Seq2[ledger.Earlier, error] {
	return readBack(l.root, bucket, at, w)
}

// backBlock is how much of a file is read at once. Larger ones leave the processor's
// cache.
const backBlock = 256 << 10

// readBack reads the lines of a bucket's journal before a position, the last first; see
// ledger.Backward.
func readBack(root, bucket string, at record.Position, w ledger.Wanted) iter.Seq2[ledger.Earlier, error] {
	return func(yield func(ledger.Earlier, error) bool) {
		files, err := Files(root, bucket)
		if err != nil {
			yield(ledger.Earlier{}, fmt.Errorf("read the journal: %w", err))
			return
		}
		for _, name := range slices.Backward(files) {
			base := filepath.Base(name)
			if at.File != "" && base > at.File {
				continue
			}
			end := int64(-1)
			if base == at.File {
				end = at.Length
			}
			r := backward{bucket: bucket, name: name, wanted: w, yield: yield}
			if !r.file(filepath.Join(root, name), end) {
				return
			}
		}
	}
}

// backward reads a file from its end.
type backward struct {
	bucket, name string
	wanted       ledger.Wanted
	yield        func(ledger.Earlier, error) bool

	// rest is the end of a line whose beginning is not read yet; long, that it has more
	// bytes than a line may have, and is not kept.
	rest []byte
	long bool
}

// file reads the lines before an offset; -1 is the end. It tells whether to go on.
func (r *backward) file(path string, end int64) bool {
	f, err := os.Open(path)
	if err != nil {
		return r.yield(ledger.Earlier{}, err) && false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return r.yield(ledger.Earlier{}, err) && false
	}
	if end < 0 || end > info.Size() {
		end = info.Size()
	}
	buffer := make([]byte, 0, backBlock+MaxLine)
	for pos := end; pos > 0; {
		n := min(pos, backBlock)
		buffer = append(buffer[:n], r.rest...)
		if _, err := f.ReadAt(buffer[:n], pos-n); err != nil && err != io.EOF {
			return r.yield(ledger.Earlier{}, fmt.Errorf("read %s: %w", r.name, err)) && false
		}
		pos -= n
		if !r.block(buffer, pos) {
			return false
		}
		mark := ledger.Earlier{At: r.at(pos + int64(len(r.rest)))}
		mark.Image.Stored = timeOf(buffer[len(r.rest):])
		if !r.yield(mark, nil) {
			return false
		}
	}
	return true
}

// timeOf is when the line was written with which a text begins, as far as the beginning of
// a line tells; zero: it does not.
func timeOf(text []byte) time.Time {
	const before, length = `{"time":"`, len("2026-11-28T12:00:00Z")
	if len(text) < len(before)+length || string(text[:len(before)]) != before {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, string(text[len(before):len(before)+length]))
	if err != nil {
		return time.Time{}
	}
	return at
}

func (r *backward) at(offset int64) record.Position {
	return record.Position{File: filepath.Base(r.name), Length: offset}
}

// block goes through the lines of what lies at an offset, but for the first one where the
// file does not begin with it: that is the rest.
func (r *backward) block(block []byte, offset int64) bool {
	first := 0
	if offset > 0 {
		if first = bytes.IndexByte(block, '\n') + 1; first == 0 {
			first = len(block)
		}
	}
	rest := slices.Clone(block[:first])
	lines := block[first:]
	ok := true
	if r.long && len(lines) > 0 { // its end was not kept, and it is the last one
		lines = lines[:bytes.LastIndexByte(lines, '\n')+1]
		r.long = false
	}
	if r.some(lines) {
		ok = r.lines(lines, offset+int64(first))
	}
	if r.long = r.long && len(lines) == 0 || len(rest) > MaxLine; r.long {
		rest = nil
	}
	r.rest = rest
	return ok
}

// some tells whether any line may be wanted.
func (r *backward) some(lines []byte) bool {
	return len(r.wanted.Any) == 0 || slices.ContainsFunc(r.wanted.Any, func(text []byte) bool { return bytes.Contains(lines, text) })
}

// lines goes through whole lines, the last first. One without an end is being written.
func (r *backward) lines(lines []byte, offset int64) bool {
	lines = lines[:bytes.LastIndexByte(lines, '\n')+1]
	for len(lines) > 0 {
		from := bytes.LastIndexByte(lines[:len(lines)-1], '\n') + 1
		line := lines[from:]
		if r.some(line) && (r.wanted.Line == nil || r.wanted.Line(line)) {
			e := ledger.Earlier{Entry: ledger.Entry{File: r.name, End: offset + int64(len(lines))}, At: r.at(offset + int64(from))}
			e.Parse(r.bucket, line)
			if e.Broken == nil && !r.yield(e, nil) {
				return false
			}
		}
		lines = lines[:from]
	}
	return true
}
