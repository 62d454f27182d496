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

// maker makes a target of an image.
func (s *Server) maker(image bucket.Image, target resize.Target) bucket.Maker {
	return func(ctx context.Context, original io.Reader, n int64) ([]byte, error) {
		data, err := s.make(ctx, image, original, n, &resize.Job{Targets: []resize.Target{target}})
		if err != nil {
			return nil, err
		}
		return data[0], nil
	}
}

// make has the targets of a job made, and returns what is to be kept of each: see
// accept. Only a job of one target is held against an image that ends its decoders:
// the fault of several may be that of their number.
func (s *Server) make(ctx context.Context, image bucket.Image, original io.Reader, n int64, job *resize.Job) ([][]byte, error) {
	job.Format = image.Format.String()
	job.Check = func(r []resize.Result) error { return check(r, job.Targets, image) }
	results, err := s.Resizer.Resize(ctx, original, n, *job)
	if errors.Is(err, resize.ErrDeadly) && len(job.Targets) == 1 {
		return nil, fmt.Errorf("%w: %w", bucket.ErrDeadly, err)
	}
	if err != nil {
		return nil, err
	}
	data := make([][]byte, len(results))
	for i, r := range results {
		data[i] = s.accept(image, job.Targets[i], r)
	}
	return data, nil
}

// accept returns the bytes of a result, or none where the original is to be served
// for it: because it looks the same, and has no more bytes; or because it is an
// animation, is wanted as one, and the result is not.
func (s *Server) accept(image bucket.Image, target resize.Target, r resize.Result) []byte {
	format := image.Format.String()
	switch {
	case s.strips(image.Bucket), r.Format != format, target.Preset != nil && !target.Preset.Plain():
		return r.Data
	case s.WholeAnimations && target.Animates(format) && image.Frames > 1 && r.Frames == 1:
		return nil
	case fits(image, r) && int64(len(r.Data)) >= image.Bytes:
		return nil
	}
	return r.Data
}

// check trusts no decoder: it has read an enemy's bytes, and may be the enemy
// by now. What it sends must at least be the images that were asked for.
func check(results []resize.Result, targets []resize.Target, image bucket.Image) error {
	if len(results) != len(targets) {
		return fmt.Errorf("%d results, and %d were asked for", len(results), len(targets))
	}
	for i, r := range results {
		if err := checkOne(r, targets[i], image); err != nil {
			return err
		}
	}
	return nil
}

func checkOne(r resize.Result, target resize.Target, image bucket.Image) error {
	format, err := probe.ParseFormat(target.FormatOf(image.Format.String()))
	if err != nil {
		return err
	}
	info, err := probe.Read(bytes.NewReader(r.Data), probe.Limits{Formats: []probe.Format{format}})
	if err != nil {
		return err
	}
	if r.Format != format.String() || info.Width != r.Width || info.Height != r.Height || !expected(info.Width, info.Height, target, image) {
		return fmt.Errorf("%s of %d x %d", r.Format, info.Width, info.Height)
	}
	return nil
}

// expected tells whether an image can have these sides at a target. A decoder may
// read an orientation that we call broken, and so turn the image; libvips takes
// some GIFs to be as large as their first frame, not as their screen; and what is
// left when borders are cut off, only a decoder knows.
func expected(width, height int, target resize.Target, image bucket.Image) bool {
	w, h := image.Shown()
	if trims := target.Preset != nil && target.Preset.Trim > 0; trims || image.Format == probe.GIF {
		limit := target.Limit()
		if target.Preset == nil && (width > w || height > h) {
			return false
		}
		return (limit.Width == 0 || width <= limit.Width) && (limit.Height == 0 || height <= limit.Height)
	}
	for _, shown := range [][2]int{{w, h}, {h, w}} {
		if l := target.Layout(shown[0], shown[1]); width == l.CanvasW && height == l.CanvasH {
			return true
		}
	}
	return false
}

// fits tells whether the original is shown exactly as the result is.
func fits(image bucket.Image, r resize.Result) bool {
	return image.Orientation == 1 && image.Width == r.Width && image.Height == r.Height && image.Frames == r.Frames
}
