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
			Check:   func(r []resize.Result) error { return check(r, []resize.Size{size}, image) },
		})
		if errors.Is(err, resize.ErrDeadly) {
			return nil, fmt.Errorf("%w: %w", bucket.ErrDeadly, err)
		}
		if err != nil {
			return nil, err
		}
		return accept(image, results[0]), nil
	}
}

// accept returns the bytes that a decoder has made, or none where the original is
// as small as asked, and smaller.
func accept(image bucket.Image, r resize.Result) []byte {
	if fits(image, r) && int64(len(r.Data)) >= image.Bytes {
		return nil
	}
	return r.Data
}

// check trusts no decoder: it has read an enemy's bytes, and may be the enemy
// by now. What it sends must at least be the images that were asked for.
func check(results []resize.Result, sizes []resize.Size, image bucket.Image) error {
	if len(results) != len(sizes) {
		return fmt.Errorf("%d results, and %d were asked for", len(results), len(sizes))
	}
	for i, r := range results {
		if err := checkOne(r, sizes[i], image); err != nil {
			return err
		}
	}
	return nil
}

func checkOne(r resize.Result, size resize.Size, image bucket.Image) error {
	info, err := probe.Read(bytes.NewReader(r.Data), probe.Limits{Formats: []probe.Format{image.Format}})
	if err != nil {
		return err
	}
	if info.Width != r.Width || info.Height != r.Height || !expected(info.Width, info.Height, size, image) {
		return fmt.Errorf("%d x %d", info.Width, info.Height)
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
