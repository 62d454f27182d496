// Package single has the records of a store that is the only node: the bytes first, then a
// line of the journal, then the index, which is what answers.
//
// It promises that it does not replace what is kept under a URL, and that it writes down
// nothing whose bytes are not durable. Its Commit function writes the line and the index.
package single

import (
	"context"
	"errors"
	"fmt"
	"io"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

var _ ledger.Records = Records{}

// Records are a [ledger.Records]. Every field must be set.
type Records struct {
	Files  blob.Store
	Index  func() *index.DB                        // the current one
	Commit func(index.Change, *ledger.Event) error // makes both durable, or neither
}

// Keep does what ledger.Records says.
func (r Records) Keep(ctx context.Context, image record.Image, from io.ReaderAt, event ledger.Event) (record.Image, error) {
	stands, err := r.Find(ctx, image.Bucket, image.URL)
	if !errors.Is(err, ledger.ErrNotKept) {
		return stands, err
	}
	if err := r.Files.Put(ctx, image, from); err != nil {
		return record.Image{}, fmt.Errorf("store the image: %w", local.AsFull(err))
	}
	return image, r.Commit(index.Change{Bucket: image.Bucket, URL: image.URL, Keep: index.ImageOf(image)}, &event)
}

// Find does what ledger.Records says.
func (r Records) Find(_ context.Context, bucket, url string) (record.Image, error) {
	i, err := r.Index().Image(bucket, url)
	if errors.Is(err, index.ErrNotFound) {
		return record.Image{}, ledger.ErrNotKept
	}
	if err != nil {
		return record.Image{}, err
	}
	return index.RecordOf(bucket, url, i), nil
}
