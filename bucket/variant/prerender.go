package variant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/flight"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Key names something that is made from an image: see OpenVariant.
type Key struct {
	Name   string
	Format probe.Format
}

// Variant is a thing that was made. No data mean that another is it: what was made
// under the same name in the format Like, or, where that is Unknown, the original.
type Variant struct {
	Key
	Data []byte
	Like probe.Format
}

// MakeVariants keeps what maker makes from one reading of an image. maker chooses
// which things those are, and may be called again, with an original that was
// repaired. Errors are those of OpenVariant; after one, none of the things is promised.
//
// It returns when all is done, when ctx ends before maker has begun to decode, or when
// the store closes. It is no flight: what is made
// twice at the same time is stored twice, and the second takes the place of the
// first.
func (v *Variants) MakeVariants(ctx context.Context, image record.Image, maker func(ctx context.Context, original io.Reader, n int64) ([]Variant, error)) error {
	ctx, done, err := v.s.Begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	_, err = v.makeAll(ctx, image, maker)
	return err
}

// Prerender makes from an image what is missing of the things named, from one
// reading of it, before somebody asks. maker gets those that are missing and
// returns what it has made of them. It returns how many that are; errors are those
// of OpenVariant. After an error none is promised.
//
// It does not wait for flights of OpenVariant, nor they for it: at worst a thing is
// made twice, and the second takes the place of the first.
func (v *Variants) Prerender(ctx context.Context, image record.Image, things []Key,
	maker func(ctx context.Context, original io.Reader, n int64, missing []Key) ([]Variant, error)) (made int, err error) {
	missing, err := v.missing(image, things)
	if err != nil || len(missing) == 0 {
		return 0, err
	}
	return flight.Do(ctx, v.flights, fmt.Sprintf("ahead\x00%s\x00%v", image.File(), missing), func(ctx context.Context) (int, error) {
		return v.makeAll(ctx, image, func(ctx context.Context, original io.Reader, n int64) ([]Variant, error) {
			return maker(ctx, original, n, missing)
		})
	})
}

// missing are those things that are not there. A link to an original that is
// gone is not enough.
func (v *Variants) missing(image record.Image, things []Key) ([]Key, error) {
	var missing []Key
	for _, m := range things {
		_, err := os.Stat(v.s.Path(image.VariantFile(m.Name, m.Format)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, m)
		case err != nil:
			return nil, err
		}
	}
	return missing, nil
}

// makeAll stores what maker makes, and tells how many things that were. A damaged
// original is repaired first.
func (v *Variants) makeAll(ctx context.Context, image record.Image, maker func(context.Context, io.Reader, int64) ([]Variant, error)) (int, error) {
	if err := v.s.Room(); err != nil {
		return 0, err
	}
	n, err := v.makeOf(ctx, image, maker)
	if errors.Is(err, blob.ErrDamaged) {
		if err = v.s.Repair(ctx, image); err == nil {
			n, err = v.makeOf(ctx, image, maker)
		}
	}
	return n, err
}

// makeOf is makeAll for an original as it is.
func (v *Variants) makeOf(ctx context.Context, image record.Image, maker func(context.Context, io.Reader, int64) ([]Variant, error)) (int, error) {
	ctx, done := hold(ctx)
	defer done()
	var all []Variant
	err := v.readWhole(ctx, image, true, func(original io.Reader) (err error) {
		all, err = maker(ctx, original, image.Bytes)
		return err
	})
	if err != nil {
		return 0, err
	}
	for i, m := range all {
		if err := v.store(image, m); err != nil {
			return i, err
		}
	}
	return len(all), nil
}
