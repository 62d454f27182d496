package ledger

import (
	"bytes"
	"errors"
	"fmt"

	"imgkeep/bucket/record"
)

// ErrMisfit: a position is none of this ledger's.
var ErrMisfit = errors.New("the index does not fit the journal")

// ErrMonthMissing stands for a line, or many, in a file that is not there.
var ErrMonthMissing = errors.New("a file of the journal that the next one names is not there")

// ErrOperation: to pass over what a newer program has written, such as that an
// image was removed, would bring the image back.
var ErrOperation = errors.New("an operation that this version does not know")

// Entry is an event as it is read back: a line of a journal, or an object of its own.
type Entry struct {
	File   string // that it stands in, or its object's name; of a journal below the store's root
	Number int    // of the line, from 1, counted from where the reading began
	End    int64  // where the line ends in it, its newline counted
	Op     string
	Image  record.Image // of keep all, of forget URL, digest and format, of purge digest and format
	Block  record.Block // of block and unblock
	ID     string       // of an entry of a log that several nodes share
	At     uint64       // of a record that they share: see Event
	After  string       // of the first line of a file: the name of the file before; empty: it does not say
	Event  Event        // as it was written; what it says was not checked
	// Broken says why it cannot be read; Torn that it is the last one and has
	// no end, as a crash leaves it: it was never acknowledged.
	Broken error
	Torn   bool
}

// Place is what people are told of where the entry stands.
func (l Entry) Place() string {
	if errors.Is(l.Broken, ErrMonthMissing) {
		return l.File
	}
	return fmt.Sprintf("%s:%d", l.File, l.Number)
}

// Finding is what to report of a line that is broken.
func (l Entry) Finding() record.Finding {
	kind := record.BrokenLine
	if errors.Is(l.Broken, ErrMonthMissing) {
		kind = record.Missing
	}
	return record.Finding{Kind: kind, Path: l.Place(), Detail: l.Broken.Error()}
}

// Parse reads a line of the journal of a bucket; "" is the store's own.
func (l *Entry) Parse(bucket string, text []byte) {
	e, err := parseEvent(text)
	l.parse(bucket, text, e, err)
}

// ParseShared reads an object that several nodes share, which says itself which bucket it is
// of.
func (l *Entry) ParseShared(text []byte) {
	e, err := parseEvent(text)
	l.parse(e.Bucket, text, e, err)
	l.ID, l.At = e.ID, e.At
}

// parse takes over what an event says. err is that of reading it.
func (l *Entry) parse(bucket string, text []byte, e Event, err error) {
	l.Op, l.After, l.Image, l.Block, l.Event = "", "", record.Image{}, record.Block{}, Event{}
	if has, ok := checkSum(bytes.TrimSuffix(text, []byte("\n"))); err == nil && has && !ok {
		err = errors.New("its checksum is wrong: it is not what was written")
	}
	if err != nil {
		l.Broken = err
		return
	}
	l.After, l.Event = e.After, e
	switch l.Op = e.Op; {
	case bucket != "" && e.Op == OpKeep:
		l.Image, l.Broken = e.asKept(bucket)
	case bucket != "" && (e.Op == OpForget || e.Op == OpPurge):
		l.Image, l.Broken = e.asRemoved(bucket)
	case bucket == "" && (e.Op == OpBlock || e.Op == OpUnblock):
		l.Block, l.Broken = e.asBlock()
	default:
		l.Broken = fmt.Errorf("%w: %q", ErrOperation, e.Op)
	}
}

// UnreadableBlock is the error of a line of the journal of blocks: to pass over it
// might show what is blocked.
func UnreadableBlock(line Entry) error {
	if errors.Is(line.Broken, ErrMonthMissing) {
		return fmt.Errorf("%s: %w, and what it blocked is unknown: restore it from a backup, or create an empty file to accept the loss", line.File, line.Broken)
	}
	return fmt.Errorf("%s: it may be a block, and cannot be read (%w): restore the file from a backup, or delete the line if you know that it is not a block", line.Place(), line.Broken)
}
