package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// journal appends to the files of one bucket, one a month. It is not for
// concurrent use.
type journal struct {
	disk local.Disk
	log  *slog.Logger
	dir  string

	month  string
	before string   // the month of the file before; empty: there is none
	file   *os.File // nil: to be opened
	// whole is the length of the month's file up to which it holds whole lines
	// that are flushed; what is behind, after an error, was never acknowledged.
	// unknown before the file is opened for the first time.
	whole int64
	last  uint64 // lineSum of the line that was appended last
}

// position is where the journal ends, after append.
func (j *journal) position() record.Position {
	return record.Position{File: j.month + record.JournalExt, Length: j.whole, Line: j.last}
}

const unknown = -1

// recover opens the newest file and repairs it, so that a line that a crash tore
// does not stay torn until the next image comes. Where that fails the next
// append tries again: a store on a full disk has still much to serve.
func (j *journal) recover() {
	files, err := os.ReadDir(j.dir)
	newest := ""
	for _, f := range files { // in their order
		if month, ok := strings.CutSuffix(f.Name(), record.JournalExt); ok {
			j.before, newest = newest, month
		}
	}
	if err == nil && newest != "" {
		j.month, j.whole = newest, unknown
		err = j.open(newest)
	}
	if err != nil {
		j.close()
		j.log.Error("the journal cannot be opened", "folder", j.dir, "error", err)
	}
}

// append writes the events and flushes them: when it returns without an error
// all are on disk. After an error none counts, and what was written of them is
// cut off again before anything is appended.
func (j *journal) append(events []*ledger.Event) error {
	month := func(e *ledger.Event) string {
		// Never in an earlier file than the last line: what it says would come
		// before what it is to undo, whatever the clock did.
		return max(e.Time.UTC().Format("2006-01"), j.month)
	}
	for len(events) > 0 {
		m, n := month(events[0]), 1
		for n < len(events) && month(events[n]) <= m {
			n++
		}
		if err := j.write(m, events[:n]); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

func (j *journal) write(month string, events []*ledger.Event) (err error) {
	// What a failed write or flush left is not known to be on disk, whatever a
	// second flush says. So the file is opened again, and cut to what is known.
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	if j.file == nil || j.month != month {
		if err := j.open(month); err != nil {
			return err
		}
	}
	var lines, line []byte
	for i, e := range events {
		if e.After = ""; i == 0 && j.whole == 0 && j.before != "" {
			e.After = j.before + record.JournalExt
		}
		if line, err = e.Line(); err != nil {
			return err
		}
		lines = append(lines, line...)
	}
	if _, err := j.disk.Write(j.file, lines); err != nil {
		return err
	}
	if err := j.disk.Sync(j.file); err != nil {
		return err
	}
	j.whole, j.last = j.whole+int64(len(lines)), lineSum(line)
	return nil
}

// tidy cuts off what a failed append has left, so that readers of the journal find nothing
// that does not count.
func (j *journal) tidy() error {
	if j.file != nil || j.month == "" || j.whole == unknown {
		return nil // nothing was appended
	}
	err := j.open(j.month)
	if err != nil {
		j.close()
	}
	return err
}

// open opens a month's file so that it ends with a whole line.
func (j *journal) open(month string) error {
	j.close()
	if j.month != month {
		j.before, j.month, j.whole = j.month, month, unknown
	}
	f, err := j.disk.OpenAppend(filepath.Join(j.dir, month+record.JournalExt), local.PrivateFile)
	if err != nil {
		return err
	}
	j.file = f
	// Also where the file was there: the process that made it may not have come to this
	// line, and lines in a file without a name are lost.
	if err := j.disk.SyncDir(j.dir); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if j.whole == unknown || j.whole > info.Size() {
		return j.repair(info.Size())
	}
	if j.whole < info.Size() {
		return j.disk.Truncate(f, j.whole)
	}
	return nil
}

// repair finds where the whole lines of a file that an earlier process wrote end,
// and cuts off a last line that a crash has torn. That was never acknowledged;
// left there it would look like damage for ever.
func (j *journal) repair(size int64) error {
	tail, err := lastLine(j.file, size)
	if err != nil {
		return fmt.Errorf("read the end of %s: %w", j.file.Name(), err)
	}
	j.whole = size
	switch {
	case len(tail) == 0:
		return nil
	case json.Valid(tail): // only its end is missing: an editor does that
		if _, err := j.disk.Write(j.file, []byte("\n")); err != nil {
			j.whole = unknown
			return err
		}
		j.whole++
		return nil
	case ledger.EndDamaged(tail):
		j.log.Warn("the end of the journal's last line was damaged, and is repaired", "file", j.file.Name())
		if err = j.disk.Truncate(j.file, size-1); err == nil {
			_, err = j.disk.Write(j.file, []byte("\n"))
		}
		if err != nil {
			j.whole = unknown
		}
		return err
	}
	j.log.Warn("the journal's last line was torn by a crash, and is cut off", "file", j.file.Name(), "line", string(tail[:min(len(tail), 200)]))
	j.whole -= int64(len(tail))
	return j.disk.Truncate(j.file, j.whole)
}

// lastLine returns what follows the last newline of a file of that size.
func lastLine(f io.ReaderAt, size int64) ([]byte, error) {
	const step = 8 << 10
	for n := int64(step); ; n *= 2 {
		n = min(n, size)
		tail := make([]byte, n)
		if _, err := f.ReadAt(tail, size-n); err != nil {
			return nil, err
		}
		if i := bytes.LastIndexByte(tail, '\n'); i >= 0 || n == size {
			return tail[i+1:], nil
		}
	}
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
