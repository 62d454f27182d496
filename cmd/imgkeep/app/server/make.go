package server

import (
	"bytes"
	"context"
	"errors"
	"io"

	"imgkeep/bucket"
	"imgkeep/bucket/probe"
	"imgkeep/resize"
)

// maker makes a size of an image.
func (s *Server) maker(image bucket.Image, size resize.Size) bucket.Maker {
	return func(ctx context.Context, original io.Reader, n int64) ([]byte, error) {
		results, err := s.Resizer.Resize(ctx, original, n, resize.Job{
			Format:  image.Format.String(),
			Targets: []resize.Target{{Size: size, Quality: s.Quality}},
		})
		if err != nil {
			return nil, err
		}
		if err := check(results, size, image.Format); err != nil {
			return nil, err
		}
		if fits(image, results[0]) && int64(len(results[0].Data)) >= image.Bytes {
			return nil, nil // the original is as small as asked, and smaller
		}
		return results[0].Data, nil
	}
}

// errNonsense is a decoder's answer that cannot be.
var errNonsense = errors.New("the decoder answered nonsense")

// check trusts no decoder: it has read an enemy's bytes, and may be the enemy
// by now. What it sends must at least be the image that was asked for.
func check(results []resize.Result, size resize.Size, f probe.Format) error {
	if len(results) != 1 {
		return errNonsense
	}
	r := results[0]
	info, err := probe.Read(bytes.NewReader(r.Data), probe.Limits{Formats: []probe.Format{f}})
	switch {
	case err != nil:
		return errors.Join(errNonsense, err)
	case info.Width != r.Width || info.Height != r.Height,
		size.Width > 0 && info.Width > size.Width,
		size.Height > 0 && info.Height > size.Height:
		return errNonsense
	}
	return nil
}

// fits tells whether the original is shown exactly as the result is.
func fits(image bucket.Image, r resize.Result) bool {
	return image.Orientation == 1 && image.Width == r.Width && image.Height == r.Height && image.Frames == r.Frames
}
