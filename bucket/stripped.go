package bucket

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
	"imgkeep/bucket/record"
	"imgkeep/bucket/strip"
)

// Stripped is the name of what is made of an image by taking out its metadata. It is
// made without decoding, in a few hundred KB of memory, whatever the image has: viewers
// who are many, or slow, cost a file on disk each image, and no memory.
const Stripped = "full"

// OpenStripped opens an image without its metadata, as OpenMade opens what else is made
// of one. Errors are those of OpenMade, and of package strip. That the image ends
// decoders does not matter.
func (s *Store) OpenStripped(ctx context.Context, image record.Image) (*os.File, error) {
	path := s.Path(image.MadeFile(Stripped, image.Format))
	file, err := local.OpenStamped(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	if err := s.stripOnce(ctx, image, path); err != nil {
		return nil, err
	}
	return local.OpenStamped(path)
}

// EnsureStripped is OpenStripped for whoever has the file sent by somebody else.
func (s *Store) EnsureStripped(ctx context.Context, image record.Image) error {
	path := s.Path(image.MadeFile(Stripped, image.Format))
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.stripOnce(ctx, image, path)
	}
	if err == nil {
		local.Stamp(path, info)
	}
	return err
}

func (s *Store) stripOnce(ctx context.Context, image record.Image, path string) error {
	return s.makeOnce(ctx, image, path, func(ctx context.Context) error {
		tmp, err := s.temp("stripped-*")
		if err != nil {
			return err
		}
		defer s.discard(tmp)
		var digest record.Digest
		err = s.readWhole(ctx, image, false, func(original io.Reader) (err error) {
			digest, err = s.stripTo(tmp, original, image.Info)
			return err
		})
		if errors.Is(err, strip.ErrBroken) {
			var original *os.File
			if original, err = s.Open(ctx, image); err != nil {
				return err
			}
			digest, err = s.stripEnded(tmp, original, image.Info)
			original.Close()
		}
		if err != nil {
			return err
		}
		s.removing.RLock()
		defer s.removing.RUnlock()
		if err := s.stillKept(image); err != nil {
			return err
		}
		if digest == image.Digest { // there was nothing to take out
			return s.linkMade(image.File(), path)
		}
		if err := local.Replace(s.disk, tmp, path); err != nil {
			return fmt.Errorf("store what was made: %w", local.AsFull(err))
		}
		return nil
	})
}

// stripTo writes an image to dst without its metadata, and sees that it is still the
// same image. It returns the digest of what it has written.
func (s *Store) stripTo(dst *os.File, original io.Reader, info probe.Info) (record.Digest, error) {
	if info.Format == probe.WebP {
		info.Orientation = 1 // stores of before have one that EXIF said
	}
	err := strip.Metadata(struct {
		io.Writer
		io.WriterAt
	}{local.Writer{Disk: s.disk, File: dst}, dst}, original, info)
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

// stripEnded is stripTo for an image that lacks its end, which is few: it gets one in
// memory, one image at a time.
func (s *Store) stripEnded(dst *os.File, original io.ReaderAt, info probe.Info) (record.Digest, error) {
	s.ending.Lock()
	defer s.ending.Unlock()
	file, err := io.ReadAll(io.NewSectionReader(original, 0, math.MaxInt64))
	if err == nil {
		err = s.disk.Truncate(dst, 0)
	}
	if err == nil {
		_, err = dst.Seek(0, io.SeekStart)
	}
	if err != nil {
		return record.Digest{}, err
	}
	return s.stripTo(dst, bytes.NewReader(probe.Ended(file)), info)
}

// Strip returns an image that is not kept without its metadata, likewise in a file
// without a name. p stays its holder's.
func (s *Store) Strip(p *Passing) (*Passing, error) {
	if _, err := p.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	tmp, err := s.temp("stripped-*")
	if err != nil {
		return nil, err
	}
	s.disk.RemoveAll(tmp.Name())
	_, err = s.stripTo(tmp, p.File, p.Info)
	if errors.Is(err, strip.ErrBroken) {
		_, err = s.stripEnded(tmp, p.File, p.Info)
	}
	if err != nil {
		tmp.Close()
		return nil, err
	}
	size, err := tmp.Seek(0, io.SeekEnd)
	if err != nil {
		tmp.Close()
		return nil, err
	}
	return &Passing{File: tmp, Info: p.Info, Bytes: size, of: p.of, close: func() {}}, nil
}
