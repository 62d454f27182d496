// Package shared is the ledger of several nodes: records of URLs and a log of removals, in the
// object store that they share.
//
// It promises one digest a URL on all nodes, that what Keep has answered is not lost with a
// node, and that what Remove has appended to the log is decided for all, whichever node crashes. An
// entry of the log hits the records that were written when it was not yet applied; a record
// that was hit is dead for good, and no live record ever uses the name of an original that was
// deleted. The store's conditional writes are all that holds it together: see
// [imgkeep/bucket/blob/object.Probe]. The folder model has each step of it for spin; a change
// of a step is a change of the model first.
//
// It does not fetch, and serves nobody: it says what may be served.
package shared

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

var (
	// ErrBlocked: the URL, its host or the bytes are blocked.
	ErrBlocked = fmt.Errorf("%w: it is blocked", ledger.ErrRemoved)
	// ErrBusy: others kept and removed the same image again and again. Try again later.
	ErrBusy = errors.New("others keep and remove the same image at the same time")
	// ErrUnfinished: a removal is decided, and no node serves the image once it has read of
	// it; but not all bytes could be deleted. The node tries that again.
	ErrUnfinished = errors.New("the removal is decided, and some bytes are still to be deleted")
)

const (
	// maxLine is how long a record or an entry of the log may be, in bytes.
	maxLine = 32 << 10
	// maxAgain is how often Keep and Remove begin again, or ask again what was not answered.
	maxAgain = 50
)

var _ ledger.Records = (*Ledger)(nil)

// Options say what a Ledger consists of.
type Options struct {
	Objects object.Store
	// Files is where originals are put and removed: object.Blobs, or a cache before it.
	Files   blob.Store
	State   State
	Buckets []string // that there are on all nodes
	// Removing is called before an entry of the log takes effect, and what it returns after
	// it, whether it did or not: they drop what shows images without asking, such as hot
	// links. It may be called for one entry several times at once. nil: there is nothing of
	// that kind.
	Removing func(ledger.Entry) (end func())
	Now      func() time.Time // nil: time.Now
	Log      *slog.Logger     // nil: none
}

// Ledger is what a node knows of the ledger that all share. It may be used concurrently.
type Ledger struct {
	Options
	heard atomic.Int64 // when the head of the log was last read, as Unix nanoseconds; 0: never
}

// New returns a node's view of a ledger. Start comes next.
func New(o Options) *Ledger {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Removing == nil {
		o.Removing = func(ledger.Entry) func() { return func() {} }
	}
	o.Buckets = slices.Clone(o.Buckets)
	return &Ledger{Options: o}
}

// Start reads the log to its head, and finishes what an earlier process has begun to remove.
// Nothing may be served before. A log that is shorter than what this node has applied, or is
// another, is ledger.ErrMisfit: some of it was lost, or this is another store.
func (l *Ledger) Start(ctx context.Context) error {
	mark, err := l.applied()
	if err != nil {
		return err
	}
	if mark.Number > 0 {
		entry, err := l.entry(ctx, mark.Number)
		switch {
		case errors.Is(err, object.ErrAbsent):
			return fmt.Errorf("%w: this node has applied %d entries of the log of removals, and the object store has fewer: restore it, or begin with an empty root if this is another store", ledger.ErrMisfit, mark.Number)
		case err != nil:
			return err
		case entry.ID != mark.ID:
			return fmt.Errorf("%w: entry %d of the log of removals differs from the one that this node has applied: begin with an empty root if this is another store", ledger.ErrMisfit, mark.Number)
		}
	}
	if err := l.CatchUp(ctx); err != nil {
		return err
	}
	if err := l.Finish(ctx); err != nil {
		l.Log.Error("originals that were removed are still in the object store, and are not served", "error", err)
	}
	return nil
}

// CatchUp reads the log to its head, and applies what it reads. A removal at another node may
// remain unknown for as long as the time between two calls.
func (l *Ledger) CatchUp(ctx context.Context) error {
	for {
		asked := l.Now()
		more, err := l.next(ctx)
		if err != nil {
			return err
		}
		if !more {
			l.heard.Store(asked.UnixNano())
			return nil
		}
	}
}

// Heard is when the head of the log was last read; zero: never.
func (l *Ledger) Heard() time.Time {
	n := l.heard.Load()
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// Applied is the number of the last entry of the log that this node has applied.
func (l *Ledger) Applied() (uint64, error) {
	mark, err := l.applied()
	return mark.Number, err
}

func (l *Ledger) applied() (mark record.Mark, err error) {
	err = l.State.View(func(tx Tx) (err error) {
		mark, err = tx.Applied()
		return err
	})
	return mark, err
}

// recordFolder is where the records of a bucket are.
func recordFolder(bucket string) string { return bucket + "/u/" }

// recordKey is the name of the record of a URL.
func recordKey(bucket, url string) string {
	sum := sha256.Sum256([]byte(url))
	name := base64.RawURLEncoding.EncodeToString(sum[:])
	return recordFolder(bucket) + name[:1] + "/" + name[1:2] + "/" + name
}

// logKey is the name of an entry of the log.
func logKey(n uint64) string { return fmt.Sprintf("log/%010d", n) }

func content(e *ledger.Event) (object.Content, error) {
	line, err := e.Line()
	if err == nil && len(line) > maxLine {
		err = fmt.Errorf("a line of %d bytes is longer than %d", len(line), maxLine)
	}
	if err == nil { // what no node can read would stop all of them
		var back ledger.Entry
		back.ParseShared(line)
		err = back.Broken
	}
	return object.Text(line, "application/json"), err
}

// readRecord reads the record of a URL, with its tag.
func (l *Ledger) readRecord(ctx context.Context, bucket, url string) (image record.Image, at uint64, tag string, err error) {
	key := recordKey(bucket, url)
	text, tag, err := l.Objects.Read(ctx, key, maxLine)
	if err != nil {
		return record.Image{}, 0, "", err
	}
	var e ledger.Entry
	e.ParseShared(text)
	if e.Broken == nil && (e.Op != ledger.OpKeep || e.Image.Bucket != bucket || e.Image.URL != url) {
		e.Broken = errors.New("it is the record of something else")
	}
	if e.Broken != nil {
		return record.Image{}, 0, "", fmt.Errorf("read %s: %w", key, e.Broken)
	}
	return e.Image, e.At, tag, nil
}

// entry reads an entry of the log.
func (l *Ledger) entry(ctx context.Context, n uint64) (ledger.Entry, error) {
	key := logKey(n)
	text, _, err := l.Objects.Read(ctx, key, maxLine)
	if err != nil {
		return ledger.Entry{}, err
	}
	e := ledger.Entry{File: key, Number: 1}
	e.ParseShared(text)
	switch {
	case e.Broken != nil:
		return e, fmt.Errorf("read %s: %w", key, e.Broken)
	case e.ID == "" || e.Op == ledger.OpKeep:
		return e, fmt.Errorf("read %s: it is no entry of a log of removals", key)
	}
	return e, nil
}

func newID() string { return rand.Text() }

// original is an image with the generation that its name had when its record was written.
func original(tx Tx, image record.Image) (record.Image, error) {
	gen, err := generation(tx, image.Bucket, image.Digest)
	image.Generation = gen // of a live record it is that of its at: nothing has hit it since
	return image, err
}
