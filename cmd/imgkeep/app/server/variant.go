package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"imgkeep/bucket/likeness"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/variant"
	"imgkeep/resize"
)

// rendition is a variant to make of an image.
type rendition struct {
	variant.Key
	target resize.Target
	// plain is the format of the variant for viewers who accept no other; this variant is
	// then kept only if it has fewer bytes. Unknown: this is the plain variant itself.
	plain probe.Format
}

// variant is what a checked size stands for: how it is made, and under which name. A
// preset's name holds its digest, so that variants by an earlier definition are not taken
// for it.
func (s *Server) variant(size string, image record.Image) (m variant.Key, target resize.Target, err error) {
	m.Name = size
	if target.Preset = s.opts.Presets[size]; target.Preset != nil {
		m.Name = size + "-" + s.digests[size]
	} else {
		target.Quality = s.opts.Quality
		if target.Size, err = resize.ParseSize(size); err != nil {
			return m, target, err
		}
	}
	m.Format, err = formatOf(target, image)
	return m, target, err
}

// variants are what a size stands for: the plain variant, and the one for viewers who
// accept these formats. That is nil if it is the same. An animation stays one.
func (s *Server) variants(size string, image record.Image, accepted []string) (plain rendition, converted *rendition, err error) {
	plain.Key, plain.target, err = s.variant(size, image)
	if err != nil {
		return plain, nil, err
	}
	source := image.Format.String()
	moves := image.Frames > 1 && plain.target.Animates(moving(image))
	for _, format := range accepted {
		if format == plain.Format.String() {
			break
		}
		quality := s.opts.Quality
		if format == probe.AVIF.String() {
			quality = cmp.Or(s.opts.AVIFQuality, resize.DefaultAVIFQuality)
		}
		c := rendition{target: plain.target.As(format, source, quality), plain: plain.Format}
		if moves && !c.target.Animates(moving(image)) {
			continue
		}
		c.Name = plain.Name
		if c.Format, err = formatOf(c.target, image); err != nil {
			return plain, nil, err
		}
		return plain, &c, nil
	}
	return plain, nil, nil
}

// acceptSets are the sets of formats of a size that decide what is made for any viewer:
// none, and each format alone.
func (s *Server) acceptSets(size string) [][]string {
	all := [][]string{nil}
	for _, f := range s.offered(size) {
		all = append(all, []string{f})
	}
	return all
}

// maker makes a target of an image.
func (s *Server) maker(image record.Image, target resize.Target) variant.Maker {
	return func(ctx context.Context, original io.Reader, n int64) ([]byte, error) {
		made, err := s.make(ctx, image, original, n, func() []rendition { return []rendition{{target: target}} })
		if err != nil {
			return nil, err
		}
		return made[0].Data, nil
	}
}

// make makes variants, which are asked for once a decoder is free, and returns what is to
// be kept of each. Only a single variant counts against an image that crashes its decoders:
// with several, their number may be the cause. A conversion never counts. If an image
// cannot be converted, the plain variant replaces the conversion.
func (s *Server) make(ctx context.Context, image record.Image, original io.Reader, n int64, late func() []rendition) ([]variant.Variant, error) {
	var variants []rendition
	looks := s.opts.Store.Looks()
	job := resize.Job{Format: image.Format.String(), Site: image.Site(), Image: image.Digest.String(), Background: s.background, Held: variant.Held(ctx)}
	job.LateTargets = func() []resize.Target {
		variants, job.Targets = late(), nil
		for _, t := range variants {
			job.Targets = append(job.Targets, t.target)
		}
		if n := len(job.Targets); n > 0 && n < resize.MaxTargets && looks.Wants(image.Digest) {
			job.Targets = append(job.Targets, resize.PrintTarget())
		}
		return job.Targets
	}
	var print *likeness.Print
	job.Check = func(r []resize.Result) (err error) {
		if print, r, err = takePrint(r, len(variants)); err != nil {
			return err
		}
		return check(r, job.Targets[:len(variants)], image)
	}
	results, err := s.opts.Resizer.Resize(ctx, original, n, job)
	if err == nil && print != nil {
		looks.NoteFound(image, *print)
		results = results[:len(variants)]
	}
	alone := len(variants) == 1
	switch {
	case err == nil && !alone && losesFrames(image, variants, results):
		return nil, errTogether
	case err == nil:
		return s.keep(image, variants, results), nil
	case alone && variants[0].plain != probe.Unknown && atFault(err):
		s.opts.Log.Debug("an image was not converted", "bucket", image.Bucket, "digest", image.Digest, "format", variants[0].Format, "error", err)
		return []variant.Variant{{Key: variants[0].Key, Like: variants[0].plain}}, nil
	case alone && errors.Is(err, resize.ErrPoison):
		return nil, fmt.Errorf("%w: %w", variant.ErrPoison, err)
	case alone && errors.Is(err, resize.ErrTimeout):
		return nil, fmt.Errorf("%w: %w", variant.ErrSlow, err)
	}
	return nil, err
}

// takePrint takes the print off results, which follows so many others; nil: there is none.
func takePrint(r []resize.Result, others int) (*likeness.Print, []resize.Result, error) {
	if len(r) != others+1 {
		return nil, r, nil
	}
	p, err := likeness.ParsePrint(r[others].Data)
	return &p, r[:others], err
}

// errTogether: variants have to be made one by one.
var errTogether = errors.New("an animation is too large to be made several times at once")

// losesFrames tells whether an animation has become a still picture, because the budget of
// the job, which all its targets share, was too small.
func losesFrames(image record.Image, variants []rendition, results []resize.Result) bool {
	for i, r := range results {
		// Of an animated PNG, a PNG is still in any case.
		if image.Frames > 1 && r.Frames == 1 && variants[i].target.Animates(image.Format.String()) {
			return true
		}
	}
	return false
}

// atFault tells whether the image is the cause of an error, as far as is known; and not,
// say, a full queue.
func atFault(err error) bool {
	_, refused := errors.AsType[*resize.ImageError](err)
	return refused || errors.Is(err, resize.ErrPoison)
}

// apart tells whether variants that could not be made together may be made one by one. What
// is refused as an image may be refused only for a conversion.
func apart(err error, variants []rendition) bool {
	if _, refused := errors.AsType[*resize.ImageError](err); refused {
		return slices.ContainsFunc(variants, func(t rendition) bool { return t.plain != probe.Unknown })
	}
	return errors.Is(err, errTogether) || errors.Is(err, resize.ErrPoison) && !errors.Is(err, variant.ErrPoison)
}

// keep decides which results are kept.
func (s *Server) keep(image record.Image, variants []rendition, results []resize.Result) []variant.Variant {
	made := make([]variant.Variant, len(variants))
	sizes := map[variant.Key]int64{}
	for i, t := range variants {
		made[i].Key = t.Key
		if t.plain == probe.Unknown {
			made[i].Data = s.accept(image, t.target, results[i])
			if sizes[t.Key] = int64(len(made[i].Data)); made[i].Data == nil {
				sizes[t.Key] = image.Bytes
			}
		}
	}
	for i, t := range variants {
		if t.plain == probe.Unknown {
			continue
		}
		plain, ok := sizes[variant.Key{Name: t.Name, Format: t.plain}]
		if !ok { // it existed already
			var err error
			if plain, err = s.opts.Store.VariantBytes(image, t.Name, t.plain); err != nil {
				plain = math.MaxInt64
			}
		}
		if moving(image) == resize.FormatAPNG && results[i].Frames > 1 {
			plain = max(plain, image.Bytes) // the plain one is still, so its size is no measure
		}
		if r := results[i]; int64(len(r.Data)) < plain && !s.excess(image, t.target, r) {
			made[i].Data = r.Data
		} else {
			made[i].Like = t.plain
		}
	}
	return made
}

// moving is the format of an image, as [resize.Target.Animates] takes it.
func moving(image record.Image) string {
	if image.Format == probe.PNG && image.Frames > 1 {
		return resize.FormatAPNG
	}
	return image.Format.String()
}

// excess tells whether an animation is served as it is instead of this result.
func (s *Server) excess(image record.Image, target resize.Target, r resize.Result) bool {
	return s.opts.WholeAnimations && target.Animates(moving(image)) && image.Frames > 1 && r.Frames == 1
}

// accept returns the bytes of a result, or none if the original is to be served instead:
// because it looks the same, and has no more bytes; or because it is an animation, is
// wanted as one, and the result is not.
func (s *Server) accept(image record.Image, target resize.Target, r resize.Result) []byte {
	format := image.Format.String()
	switch {
	case s.strips(image.Bucket), r.Format != format, target.Preset != nil && !target.Preset.Plain():
		return r.Data
	case s.excess(image, target, r):
		return nil
	case moving(image) == resize.FormatAPNG && image.Width == r.Width && image.Height == r.Height && image.Orientation == 1 && target.Animates(resize.FormatAPNG):
		return nil // it moves, and fits
	case fits(image, r) && int64(len(r.Data)) >= image.Bytes:
		return nil
	}
	return r.Data
}

// formatOf is the format of what is made of an image.
func formatOf(target resize.Target, image record.Image) (probe.Format, error) {
	return probe.ParseFormat(target.FormatOf(image.Format.String()))
}

// check trusts no decoder: it has read hostile bytes, and may have been taken over. Its
// results must at least be images of the kind that was asked for.
func check(results []resize.Result, targets []resize.Target, image record.Image) error {
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

func checkOne(r resize.Result, target resize.Target, image record.Image) error {
	format, err := formatOf(target, image)
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

// expected tells whether an image can have these sides at a target. A decoder may read an
// orientation that we call broken, and so turn the image; libvips takes some GIFs to be as
// large as their first frame, not as their screen; and only a decoder knows what is left
// after borders are cut off.
func expected(width, height int, target resize.Target, image record.Image) bool {
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

// fits tells whether the original looks exactly like the result.
func fits(image record.Image, r resize.Result) bool {
	return image.Orientation == 1 && image.Width == r.Width && image.Height == r.Height && image.Frames == r.Frames
}
