package bucket

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const journalExt = ".ndjson"

// Operations of events.
const (
	opKeep   = "keep"   // URL has these bytes
	opForget = "forget" // URL has them no more
	opPurge  = "purge"  // no URL has these bytes any more

	// In the journal of the store, which is of all buckets: URL, Digest or Host
	// is neither served nor kept, or is again.
	opBlock   = "block"
	opUnblock = "unblock"
)

// event is a line of a journal: JSON, one object a line (NDJSON).
type event struct {
	Time   time.Time `json:"time"`
	Op     string    `json:"op"`
	URL    string    `json:"url,omitempty"`
	Digest string    `json:"digest,omitempty"`
	Type   string    `json:"type,omitempty"`
	Bytes  int64     `json:"bytes,omitempty"`
	// Width and Height are as shown, after the orientation.
	Width       int `json:"width,omitempty"`
	Height      int `json:"height,omitempty"`
	Orientation int `json:"orientation,omitempty"` // EXIF, where not 1
	Frames      int `json:"frames,omitempty"`      // where not 1
	// From is where the bytes came from, where that is not URL: a fallback. It is
	// for the operator; no index holds it, and no viewer sees it.
	From string `json:"from,omitempty"`

	Host string `json:"host,omitempty"` // a pattern
	For  string `json:"for,omitempty"`  // the URL that was to be blocked, of the block of its bytes
	Why  string `json:"why,omitempty"`
	By   string `json:"by,omitempty"`
}

func keepEvent(i Image) *event {
	e := &event{
		Time: i.Stored, Op: opKeep, URL: i.URL, Digest: i.Digest.String(),
		Type: i.Format.String(), Bytes: i.Bytes,
	}
	e.Width, e.Height = i.Shown()
	if i.Orientation > 1 {
		e.Orientation = i.Orientation
	}
	if i.Frames > 1 {
		e.Frames = i.Frames
	}
	return e
}

// journal appends to the files of one bucket, one a month. It is not for
// concurrent use.
type journal struct {
	disk disk
	log  *slog.Logger
	dir  string

	month string
	file  *os.File // nil: to be opened
	// whole is the length of the month's file up to which it holds whole lines
	// that are flushed; what is behind, after an error, was never acknowledged.
	// unknown before the file is opened for the first time.
	whole int64
}

const unknown = -1

// recover opens the newest file and mends it, so that a line that a crash tore
// does not stay torn until the next image comes. Where that fails the next
// append tries again: a store on a full disk has still much to serve.
func (j *journal) recover() {
	files, err := os.ReadDir(j.dir)
	newest := ""
	for _, f := range files {
		if month, ok := strings.CutSuffix(f.Name(), journalExt); ok {
			newest = max(newest, month)
		}
	}
	if err == nil && newest != "" {
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
func (j *journal) append(events []*event) error {
	var b bytes.Buffer
	month := ""
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // URLs have &, and people grep
	for _, e := range events {
		// Never in an earlier file than the last line: what it says would come
		// before what it is to undo, whatever the clock did.
		if m := max(e.Time.UTC().Format("2006-01"), j.month); m != month {
			if err := j.write(month, b.Bytes()); err != nil {
				return err
			}
			b.Reset()
			month = m
		}
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	return j.write(month, b.Bytes())
}

func (j *journal) write(month string, lines []byte) (err error) {
	if len(lines) == 0 {
		return nil
	}
	// What a failed write or flush left is not known to be on disk, whatever a
	// second flush says. So the file is opened anew, and cut to what is known.
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
	if _, err := j.disk.Write(j.file, lines); err != nil {
		return err
	}
	if err := j.disk.Sync(j.file); err != nil {
		return err
	}
	j.whole += int64(len(lines))
	return nil
}

// open opens a month's file so that it ends with a whole line.
func (j *journal) open(month string) error {
	j.close()
	if j.month != month {
		j.month, j.whole = month, unknown
	}
	f, err := j.disk.OpenAppend(filepath.Join(j.dir, month+journalExt), privateFile)
	if err != nil {
		return err
	}
	j.file = f
	// Also where the file was there: whoever made it may not have come to this
	// line, and lines in a file without a name are lost.
	if err := j.disk.SyncDir(j.dir); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if j.whole == unknown || j.whole > info.Size() {
		return j.mend(info.Size())
	}
	if j.whole < info.Size() {
		return j.disk.Truncate(f, j.whole)
	}
	return nil
}

// mend finds where the whole lines of a file that an earlier process wrote end,
// and cuts off a last line that a crash has torn. That was never acknowledged;
// left there it would look like damage for ever.
func (j *journal) mend(size int64) error {
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
