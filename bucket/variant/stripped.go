package variant

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/whole"
	"imgkeep/bucket/record"
	"imgkeep/bucket/strip"
)

// Stripped is the name of the variant without metadata. It is made without decoding, in a
// few hundred KB of memory for any image: many or slow viewers cost one file on disk for
// each image, and no memory.
const Stripped = "full"

// OpenStripped opens an image without its metadata, as OpenVariant opens other variants.
// Errors are those of OpenVariant, and of package strip. It does not matter whether the
// image crashes decoders.
func (v *Variants) OpenStripped(ctx context.Context, image record.Image) (*os.File, error) {
	path := v.s.Path(image.VariantFile(Stripped, image.Format))
	file, err := local.OpenStamped(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	if err := v.stripOnce(ctx, image, path); err != nil {
		return nil, err
	}
	return local.OpenStamped(path)
}

// EnsureStripped creates the file without opening it, for hand-off to nginx.
func (v *Variants) EnsureStripped(ctx context.Context, image record.Image) error {
	v.s.Sends(image.VariantFile(Stripped, image.Format))
	path := v.s.Path(image.VariantFile(Stripped, image.Format))
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return v.stripOnce(ctx, image, path)
	}
	if err == nil {
		local.Stamp(path, info)
	}
	return err
}

func (v *Variants) stripOnce(ctx context.Context, image record.Image, path string) error {
	return v.makeOnce(ctx, image, path, func(ctx context.Context) error {
		tmp, err := v.s.Temp("stripped-*")
		if err != nil {
			return err
		}
		defer func() {
			tmp.Close()
			v.s.Disk().RemoveAll(tmp.Name())
		}()
		var digest record.Digest
		err = v.readWhole(ctx, image, false, func(original io.Reader) (err error) {
			digest, err = v.StripTo(tmp, original, image.Info)
			return err
		})
		if errors.Is(err, strip.ErrBroken) {
			var original *os.File
			if original, err = v.s.Open(ctx, image); err != nil {
				return err
			}
			digest, err = v.StripEnded(tmp, original, image.Info)
			original.Close()
		}
		if err != nil {
			return err
		}
		v.s.Removing().RLock()
		defer v.s.Removing().RUnlock()
		if err := v.s.StillKept(image); err != nil {
			return err
		}
		if digest == image.Digest { // there was no metadata
			return v.link(image.File(), path)
		}
		if err := local.Replace(v.s.Disk(), tmp, path); err != nil {
			return fmt.Errorf("store what was made: %w", local.AsFull(err))
		}
		v.s.Stored(image.VariantFile(Stripped, image.Format))
		return nil
	})
}

// StripTo writes an image to dst without its metadata, and checks that it is still the same
// image. It returns the digest of what it has written.
func (v *Variants) StripTo(dst *os.File, original io.Reader, info probe.Info) (record.Digest, error) {
	if info.Format == probe.WebP {
		info.Orientation = 1 // older stores have an orientation from EXIF
	}
	err := strip.Metadata(struct {
		io.Writer
		io.WriterAt
	}{local.Writer{Disk: v.s.Disk(), File: dst}, dst}, original, info)
	if err != nil {
		return record.Digest{}, err
	}
	if _, err := dst.Seek(0, io.SeekStart); err != nil {
		return record.Digest{}, err
	}
	hash := sha256.New()
	if got, err := probe.Read(io.TeeReader(dst, hash), probe.Limits{}); err != nil || got != info {
		return record.Digest{}, fmt.Errorf("%w: without metadata it is %+v, and was %+v (%v)", strip.ErrBroken, got, info, err)
	}
	return record.Digest(hash.Sum(nil)), nil
}

// StripEnded is StripTo for an image that lacks its end, which is rare: it gets one in
// memory, one image at a time.
func (v *Variants) StripEnded(dst *os.File, original io.ReaderAt, info probe.Info) (record.Digest, error) {
	v.ending.Lock()
	defer v.ending.Unlock()
	file, err := io.ReadAll(io.NewSectionReader(original, 0, math.MaxInt64))
	if err == nil {
		err = v.s.Disk().Truncate(dst, 0)
	}
	if err == nil {
		_, err = dst.Seek(0, io.SeekStart)
	}
	if err != nil {
		return record.Digest{}, err
	}
	return v.StripTo(dst, bytes.NewReader(whole.Ended(file)), info)
}
