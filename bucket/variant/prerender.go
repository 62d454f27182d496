package variant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"imgkeep/bucket/flight"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Key names a variant of an image: see OpenVariant.
type Key struct {
	Name   string
	Format probe.Format
}

// Variant is a variant that was made. Without Data another file stands for it: the variant
// of the same name in the format Like or, if that is Unknown, the original.
type Variant struct {
	Key
	Data []byte
	Like probe.Format
}

// MakeVariants keeps what maker makes from one reading of an image. maker decides which
// variants those are, and may be called again, with an original that was repaired. Errors
// are those of OpenVariant; after one, no variant is guaranteed.
//
// It returns when all is done, when ctx ends before maker has begun to decode, or when the
// store closes. It is not a flight: if a variant is made twice at the same time, it is
// stored twice, and the second replaces the first.
func (v *Variants) MakeVariants(ctx context.Context, image record.Image, maker func(ctx context.Context, original io.Reader, n int64) ([]Variant, error)) error {
	ctx, done, err := v.s.Begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	_, err = v.makeAll(ctx, image, maker)
	return err
}

// Prerender makes the missing ones of the named variants of an image, from one reading,
// before anybody asks. maker gets the missing ones and returns what it has made of them.
// Prerender returns how many those are; errors are those of OpenVariant. After an error no
// variant is guaranteed.
//
// It does not wait for flights of OpenVariant, nor they for it: at worst a variant is made
// twice, and the second replaces the first.
func (v *Variants) Prerender(ctx context.Context, image record.Image, keys []Key,
	maker func(ctx context.Context, original io.Reader, n int64, missing []Key) ([]Variant, error)) (made int, err error) {
	missing, err := v.missing(image, keys)
	if err != nil || len(missing) == 0 {
		return 0, err
	}
	return flight.Do(ctx, v.flights, fmt.Sprintf("ahead\x00%s\x00%v", image.File(), missing), func(ctx context.Context) (int, error) {
		return v.makeAll(ctx, image, func(ctx context.Context, original io.Reader, n int64) ([]Variant, error) {
			return maker(ctx, original, n, missing)
		})
	})
}

// missing are the variants that do not exist. A link to an original that is gone does not
// count.
func (v *Variants) missing(image record.Image, keys []Key) ([]Key, error) {
	var missing []Key
	for _, m := range keys {
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

// makeAll is make, after repairing the original if it is damaged.
func (v *Variants) makeAll(ctx context.Context, image record.Image, maker func(context.Context, io.Reader, int64) ([]Variant, error)) (n int, err error) {
	err = v.withRepair(ctx, image, func(ctx context.Context) (err error) {
		n, err = v.make(ctx, image, maker)
		return err
	})
	return n, err
}
