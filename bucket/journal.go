package bucket

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// event is a line of a bucket's journal: JSON, one object a line (NDJSON).
type event struct {
	Time   time.Time `json:"time"`
	Op     string    `json:"op"` // "keep"
	URL    string    `json:"url"`
	Digest string    `json:"digest"`
	Type   string    `json:"type"`
	Bytes  int64     `json:"bytes"`
	// Width and Height are as shown, after the orientation.
	Width       int `json:"width"`
	Height      int `json:"height"`
	Orientation int `json:"orientation,omitempty"` // EXIF, where not 1
	Frames      int `json:"frames,omitempty"`      // where not 1
}

func keepEvent(i Image) *event {
	e := &event{
		Time: i.Stored, Op: "keep", URL: i.URL, Digest: i.Digest.String(),
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
	dir   string
	month string
	file  *os.File
}

// append writes the events and flushes them. After an error the file is closed
// and opened anew by the next call: what a failed flush left in memory is not
// known to be on disk, whatever a second flush says.
func (j *journal) append(events []*event) error {
	var b bytes.Buffer
	month := ""
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // URLs have &, and people grep
	for _, e := range events {
		if m := e.Time.UTC().Format("2006-01"); m != month {
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
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	if j.file == nil || j.month != month {
		j.close()
		if err := j.open(month); err != nil {
			return err
		}
	}
	if _, err := j.file.Write(lines); err != nil {
		return err
	}
	return j.file.Sync()
}

// open opens a month's file. A crash may have torn its last line: that line was
// never acknowledged, and is closed so that it spoils none of ours.
func (j *journal) open(month string) error {
	path := filepath.Join(j.dir, month+".ndjson")
	_, err := os.Stat(path)
	isNew := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, privateFile)
	if err != nil {
		return err
	}
	j.file, j.month = f, month
	if isNew {
		return syncDir(j.dir)
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, end-1); err != nil {
		return fmt.Errorf("read the end of %s: %w", path, err)
	}
	if last[0] != '\n' {
		_, err = f.Write([]byte("\n"))
	}
	return err
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
