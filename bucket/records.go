package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

var _ ledger.Records = ownRecords{}

// ownRecords are the records of a store that is the only node: the bytes, a line of the
// journal, and then the index, which is looked up.
type ownRecords struct{ s *Store }

func (r ownRecords) Keep(ctx context.Context, image record.Image, from io.ReaderAt, event ledger.Event) (record.Image, error) {
	stands, err := r.Find(ctx, image.Bucket, image.URL)
	if !errors.Is(err, ledger.ErrNotKept) {
		return stands, err
	}
	if err := r.s.files.Put(ctx, image, from); err != nil {
		return record.Image{}, fmt.Errorf("store the image: %w", local.AsFull(err))
	}
	return image, r.s.commit(index.Change{Bucket: image.Bucket, URL: image.URL, Keep: index.ImageOf(image)}, &event)
}

func (r ownRecords) Find(_ context.Context, bucket, url string) (record.Image, error) {
	i, err := r.s.index.Image(bucket, url)
	if errors.Is(err, index.ErrNotFound) {
		return record.Image{}, ledger.ErrNotKept
	}
	if err != nil {
		return record.Image{}, err
	}
	return index.RecordOf(bucket, url, i), nil
}
