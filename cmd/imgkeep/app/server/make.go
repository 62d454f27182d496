package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
		if len(results) != 1 {
			return nil, fmt.Errorf("%w: %d results", errNonsense, len(results))
		}
		return accept(results[0], size, image)
	}
}

// accept returns the bytes that a decoder has made, or none where the original is
// as small as asked, and smaller.
func accept(r resize.Result, size resize.Size, image bucket.Image) ([]byte, error) {
	if err := check(r, size, image); err != nil {
		return nil, err
	}
	if fits(image, r) && int64(len(r.Data)) >= image.Bytes {
		return nil, nil
	}
	return r.Data, nil
}

// errNonsense is a decoder's answer that cannot be.
var errNonsense = errors.New("the decoder answered nonsense")

// check trusts no decoder: it has read an enemy's bytes, and may be the enemy
// by now. What it sends must at least be the image that was asked for.
func check(r resize.Result, size resize.Size, image bucket.Image) error {
	info, err := probe.Read(bytes.NewReader(r.Data), probe.Limits{Formats: []probe.Format{image.Format}})
	if err != nil {
		return fmt.Errorf("%w: %w", errNonsense, err)
	}
	if info.Width != r.Width || info.Height != r.Height || !expected(info.Width, info.Height, size, image) {
		return fmt.Errorf("%w: %d x %d", errNonsense, info.Width, info.Height)
	}
	return nil
}

// expected tells whether an image can have these sides at a size. A decoder may
// read an orientation that we call broken, and so turn the image; and libvips takes
// some GIFs to be as large as their first frame, not as their screen.
func expected(width, height int, size resize.Size, image bucket.Image) bool {
	w, h := image.Shown()
	if image.Format == probe.GIF {
		return width <= w && height <= h && (size.Width == 0 || width <= size.Width) && (size.Height == 0 || height <= size.Height)
	}
	for _, shown := range [][2]int{{w, h}, {h, w}} {
		if fw, fh := size.Fit(shown[0], shown[1]); width == fw && height == fh {
			return true
		}
	}
	return false
}

// fits tells whether the original is shown exactly as the result is.
func fits(image bucket.Image, r resize.Result) bool {
	return image.Orientation == 1 && image.Width == r.Width && image.Height == r.Height && image.Frames == r.Frames
}
