package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Operations of events.
const (
	OpKeep   = "keep"   // URL has these bytes
	OpForget = "forget" // URL has them no more
	OpPurge  = "purge"  // no URL has these bytes any more

	// In the journal of the store, which is of all buckets: URL, Digest or Host
	// is neither served nor kept, or is again.
	OpBlock   = "block"
	OpUnblock = "unblock"
)

// Event is something that happened: a JSON object, in journals one a line (NDJSON).
type Event struct {
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

	// After is the name of the file before, on the first line of a file: a month
	// that is lost is missed.
	After string `json:"after,omitempty"`

	Host string `json:"host,omitempty"` // a pattern
	// Similar is a PDQ hash: what is within so many bits of it is not kept, but for bytes
	// that an Except names by their digest.
	Similar string `json:"similar,omitempty"`
	Within  int    `json:"within,omitempty"`
	Except  string `json:"except,omitempty"`
	For     string `json:"for,omitempty"` // the URL or digest that was to be blocked, of the block of its bytes or hash
	Why     string `json:"why,omitempty"`
	By      string `json:"by,omitempty"`

	// Of objects that several nodes share, which stand in no bucket's journal: the bucket, a
	// unique name of an entry of their log, and the number of the log that the writer of a
	// record had applied.
	Bucket string `json:"bucket,omitempty"`
	ID     string `json:"id,omitempty"`
	At     uint64 `json:"at,omitempty"`
}

// KeepEvent says that an image is kept under its URL.
func KeepEvent(i record.Image) *Event {
	e := &Event{
		Time: i.Stored, Op: OpKeep, URL: i.URL, Digest: i.Digest.String(),
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

// sumFormat ends a line, with a checksum of what is before. Lines of an earlier
// version have none.
const sumFormat = `,"sum":"%08x"}`

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Line is the event's line, with its newline.
func (e *Event) Line() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // URLs have &, and people grep
	if err := enc.Encode(e); err != nil {
		return nil, err
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("}\n"))
	return append(EndLine(text), '\n'), nil
}

// EndLine ends a line, of which only the last brace is missing, with its checksum.
func EndLine(text []byte) []byte {
	return fmt.Appendf(text, sumFormat, crc32.Checksum(text, castagnoli))
}

// checkSum tells whether a line, without its newline, has a checksum, and whether
// that is its own.
func checkSum(line []byte) (has, ok bool) {
	n := len(line) - len(`,"sum":"00000000"}`)
	if n < 0 || !bytes.HasPrefix(line[n:], []byte(`,"sum":"`)) {
		return false, false
	}
	return true, string(line[n:]) == fmt.Sprintf(sumFormat, crc32.Checksum(line[:n], castagnoli))
}

// EndDamaged tells whether what follows the last newline is a complete line with another
// byte instead of its newline. A crash does not tear a line so: it may have been
// acknowledged.
func EndDamaged(tail []byte) bool {
	if len(tail) == 0 {
		return false
	}
	_, ok := checkSum(tail[:len(tail)-1])
	return ok
}

func parseEvent(text []byte) (Event, error) {
	var e Event
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&e); err != nil {
		return e, errors.New("it is not JSON")
	}
	if rest, _ := io.ReadAll(dec.Buffered()); len(bytes.TrimSpace(rest)) > 0 {
		return e, errors.New("there is more than one value on it")
	}
	return e, nil
}

// asRemoved reads what RemoveEvent has made.
func (e Event) asRemoved(bucket string) (record.Image, error) {
	image := record.Image{Bucket: bucket, URL: e.URL}
	var err error
	if image.Digest, err = record.ParseDigest(e.Digest); err != nil {
		return record.Image{}, err
	}
	if image.Format, err = probe.ParseFormat(e.Type); err != nil {
		return record.Image{}, err
	}
	if len(e.URL) > imageurl.MaxLength || (e.URL == "") != (e.Op == OpPurge) {
		return record.Image{}, fmt.Errorf("its URL has %d bytes", len(e.URL))
	}
	return image, nil
}

// asBlock reads what BlockEvent has made.
func (e Event) asBlock() (record.Block, error) {
	b := record.Block{For: e.For, Since: e.Time.UTC().Truncate(time.Second), Why: e.Why, By: e.By}
	for kind, subject := range map[string]string{
		record.BlockURL: e.URL, record.BlockDigest: e.Digest, record.BlockHost: e.Host,
		record.BlockSimilar: e.Similar, record.BlockExcept: e.Except,
	} {
		if subject == "" {
			continue
		}
		if b.Kind != "" {
			return record.Block{}, errors.New("it names more than one thing to block")
		}
		b.Kind, b.Subject = kind, subject
	}
	switch b.Kind {
	case "":
		return record.Block{}, errors.New("it names nothing to block")
	case record.BlockSimilar:
		if _, err := likeness.ParseHash(b.Subject); err != nil {
			return record.Block{}, err
		}
		if b.Within = e.Within; b.Within < 0 || b.Within > likeness.MaxWithin {
			return record.Block{}, fmt.Errorf("its distance is %d", b.Within)
		}
	}
	return b, nil
}

// asKept reads what KeepEvent has made.
func (e Event) asKept(bucket string) (record.Image, error) {
	digest, err := record.ParseDigest(e.Digest)
	if err != nil {
		return record.Image{}, err
	}
	format, err := probe.ParseFormat(e.Type)
	if err != nil {
		return record.Image{}, err
	}
	image := record.Image{Bucket: bucket, URL: e.URL, Digest: digest, Bytes: e.Bytes, Stored: e.Time.UTC()}
	image.Info = probe.Info{
		Format: format, Width: e.Width, Height: e.Height,
		Orientation: max(e.Orientation, 1), Frames: max(e.Frames, 1),
	}
	// The journal has them as shown; turned again they are as stored.
	image.Width, image.Height = image.Shown()
	switch {
	case e.URL == "" || len(e.URL) > imageurl.MaxLength:
		return record.Image{}, fmt.Errorf("its URL has %d bytes", len(e.URL))
	case e.Bytes <= 0 || e.Width <= 0 || e.Height <= 0 || e.Orientation < 0 || e.Orientation > 8 || e.Frames < 0:
		return record.Image{}, errors.New("its numbers are not those of an image")
	case e.Time.IsZero():
		return record.Image{}, errors.New("it has no time")
	}
	return image, nil
}

// RemoveEvent says that an image was removed from under its URL, or, where op is OpPurge,
// from under all that it was kept under: then it has none.
func RemoveEvent(op string, i record.Image, at time.Time, why, by string) *Event {
	return &Event{
		Time: at.UTC().Truncate(time.Second), Op: op, URL: i.URL,
		Digest: i.Digest.String(), Type: i.Format.String(), Why: why, By: by,
	}
}

// BlockEvent says that something is blocked, or is no more.
func BlockEvent(op string, b record.Block) *Event {
	e := &Event{Time: b.Since, Op: op, For: b.For, Why: b.Why, By: b.By}
	switch b.Kind {
	case record.BlockURL:
		e.URL = b.Subject
	case record.BlockDigest:
		e.Digest = b.Subject
	case record.BlockHost:
		e.Host = b.Subject
	case record.BlockSimilar:
		e.Similar, e.Within = b.Subject, b.Within
	case record.BlockExcept:
		e.Except = b.Subject
	}
	return e
}
