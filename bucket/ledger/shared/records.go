package shared

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// This file is for what maintains a shared store. Nothing that serves lists.

// Record is the record of a URL as it stands in the object store.
type Record struct {
	Key   string // its object's name
	Tag   string // of the object
	Entry ledger.Entry
}

// Records goes through the records of a bucket, dead ones as well, in no order, by so many
// requests at once. One that cannot be read is an Entry that says so. What is written meanwhile
// may show or not.
func (l *Ledger) Records(ctx context.Context, bucket string, workers int) iter.Seq2[Record, error] {
	return object.InShards(ctx, l.Objects, recordFolder(bucket), workers, func(ctx context.Context, folder string) (records []Record, err error) {
		for key, err := range l.Objects.List(ctx, folder) {
			if err != nil {
				return nil, fmt.Errorf("list the records of %s: %w", bucket, err)
			}
			if strings.HasSuffix(key, "/") {
				continue
			}
			text, tag, err := l.Objects.Read(ctx, key, maxLine)
			if errors.Is(err, object.ErrAbsent) {
				continue
			}
			if err != nil && !errors.Is(err, object.ErrTooLong) {
				return nil, fmt.Errorf("read %s: %w", key, err)
			}
			r := Record{Key: key, Tag: tag, Entry: ledger.Entry{File: key, Number: 1, Broken: err}}
			if err == nil {
				r.Entry.ParseShared(text)
			}
			if e := &r.Entry; e.Broken == nil && (e.Op != ledger.OpKeep || e.Image.Bucket != bucket || recordKey(bucket, e.Image.URL) != key) {
				e.Broken = errors.New("it is the record of something else")
			}
			records = append(records, r)
		}
		return records, nil
	})
}

// Standing returns the image of a record, with the generation of its name, and tells whether the
// record is live, as far as the log was read, which is first read up to what the record knows. A
// live one may be blocked.
func (l *Ledger) Standing(ctx context.Context, r Record) (image record.Image, live bool, err error) {
	if err := l.catchUpTo(ctx, r.Entry.At); err != nil {
		return record.Image{}, false, err
	}
	err = l.State.View(func(tx Tx) error {
		last, err := hit(tx, r.Entry.Image)
		if err != nil {
			return err
		}
		live = last <= r.Entry.At
		image, err = original(tx, r.Entry.Image)
		return err
	})
	return image, live, err
}

// Current reads the record of a URL, and tells whether it is live, as Standing does.
// ledger.ErrNotKept: there is none.
func (l *Ledger) Current(ctx context.Context, bucket, url string) (image record.Image, live bool, err error) {
	image, at, tag, err := l.readRecord(ctx, bucket, url)
	if errors.Is(err, object.ErrAbsent) {
		return record.Image{}, false, ledger.ErrNotKept
	}
	if err != nil {
		return record.Image{}, false, err
	}
	return l.Standing(ctx, Record{Tag: tag, Entry: ledger.Entry{Image: image, At: at}})
}

// Event reads an entry of the log: ledger.ErrNotKept where the log has no such number.
func (l *Ledger) Event(ctx context.Context, n uint64) (ledger.Entry, error) {
	e, err := l.entry(ctx, n)
	if errors.Is(err, object.ErrAbsent) {
		err = ledger.ErrNotKept
	}
	return e, err
}

// Generation is the number of the last entry, as far as the log was read, that has removed a
// digest from a bucket; 0: none has. Originals of an earlier generation are garbage.
func (l *Ledger) Generation(bucket string, d record.Digest) (gen uint64, err error) {
	err = l.State.View(func(tx Tx) (err error) {
		gen, err = generation(tx, bucket, d)
		return err
	})
	return gen, err
}

// Import is Keep for an image that a single machine kept before: it keeps the image even if its
// URL, host or bytes are blocked. No node serves it until the block is lifted.
func (l *Ledger) Import(ctx context.Context, image record.Image, from io.ReaderAt, event ledger.Event) (record.Image, error) {
	return l.keep(ctx, keeper{image: image, from: from, event: event, imported: true})
}
