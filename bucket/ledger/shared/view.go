package shared

import (
	"context"
	"errors"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// Find returns the image that is kept under a URL: ledger.ErrNotKept, ErrBlocked, or an error of the
// store. What this node knows costs no request, what another has kept one.
func (l *Ledger) Find(ctx context.Context, bucket, url string) (record.Image, error) {
	image, err := l.Known(bucket, url)
	if !errors.Is(err, ledger.ErrNotKept) {
		return image, err
	}
	image, at, _, err := l.readRecord(ctx, bucket, url)
	if errors.Is(err, object.ErrAbsent) {
		return record.Image{}, ledger.ErrNotKept
	}
	if err != nil {
		return record.Image{}, err
	}
	if err := l.catchUpTo(ctx, at); err != nil {
		return record.Image{}, err
	}
	k := &keeper{Ledger: l, ctx: ctx}
	if image, err = k.enter(standing{image, at}); errors.Is(err, errAgain) {
		return record.Image{}, ledger.ErrNotKept
	}
	return image, err
}

// Known is Find in what this node knows, without a request.
func (l *Ledger) Known(bucket, url string) (image record.Image, err error) {
	err = l.State.View(func(tx Tx) error {
		is, err := blockedURL(tx, url)
		if err != nil {
			return err
		}
		if is {
			return ErrBlocked
		}
		found, at, ok, err := tx.Record(bucket, url)
		if err != nil {
			return err
		}
		if !ok {
			return ledger.ErrNotKept
		}
		image = found
		if is, err = tx.Blocked(record.BlockDigest, image.Digest.String()); is {
			return ErrBlocked
		}
		if err != nil {
			return err
		}
		last, err := hit(tx, image)
		if err != nil {
			return err
		}
		if last > at {
			return ledger.ErrNotKept
		}
		image, err = original(tx, image)
		return err
	})
	if err != nil {
		return record.Image{}, err
	}
	return image, nil
}
