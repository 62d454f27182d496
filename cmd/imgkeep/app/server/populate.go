package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/record"
	"imgkeep/bucket/variant"
	"imgkeep/resize"
)

// Populator keeps images, and makes sizes of them, before viewers ask. Viewers come first:
// see bucket.Store.KeepBackground; it uses at most half of the decoders. It may be used
// concurrently.
type Populator struct {
	s        *Server
	decoders chan struct{}
}

// Populated is the result of a URL.
type Populated struct {
	Fetched bool  // by this call; otherwise it was kept before
	Bytes   int64 // of the original
	Made    int   // sizes, by this call
}

// NewPopulator returns a Populator with the Store, the Resizer, and the options of sizes in
// o. The Resizer has this many decoders; nil: no sizes are made.
func NewPopulator(o Options, decoders int) (*Populator, error) {
	if o.Store == nil {
		return nil, errors.New("a populator needs a store")
	}
	s := newServer(o)
	s.background = true
	return &Populator{s: s, decoders: make(chan struct{}, max(1, decoders/2))}, nil
}

// Populate keeps the image of a URL, as it was written, in a bucket, and makes its missing
// sizes from one decoding. The end of ctx ends the wait, not work that has begun.
func (p *Populator) Populate(ctx context.Context, name, raw string, sizes []string) (Populated, error) {
	var done Populated
	if err := p.check(sizes); err != nil {
		return done, err
	}
	source, err := imageurl.CanonicalAt(p.s.opts.BaseURL, raw)
	if err != nil {
		return done, err
	}
	url := p.s.key(source)
	image, err := p.s.opts.Store.FindFrom(name, url, source)
	if errors.Is(err, bucket.ErrNotKept) {
		done.Fetched = true
		image, err = p.s.opts.Store.KeepBackground(ctx, name, url, source)
	}
	if err != nil {
		return Populated{}, err
	}
	done.Bytes = image.Bytes
	var variants []variant.Key
	wanted := map[variant.Key]rendition{}
	for _, size := range sizes {
		for _, accepted := range p.s.acceptSets(size) {
			t, converted, err := p.s.variants(size, image, accepted)
			if err != nil {
				return done, err
			}
			if converted != nil {
				t = *converted
			}
			if _, twice := wanted[t.Key]; !twice {
				variants, wanted[t.Key] = append(variants, t.Key), t
			}
		}
	}
	atOnce := resize.MaxTargets
	if image.Frames > 1 {
		atOnce = 1 // see makeMissing
	}
	maker := func(ctx context.Context, original io.Reader, n int64, missing []variant.Key) ([]variant.Variant, error) {
		var some []rendition
		for _, m := range missing {
			some = append(some, wanted[m])
		}
		return p.make(ctx, image, original, n, some)
	}
	makeChunks := func(atOnce int) error {
		for some := range slices.Chunk(variants, atOnce) {
			made, err := p.s.opts.Store.Prerender(ctx, image, some, maker)
			if done.Made += made; err != nil {
				return err
			}
		}
		return nil
	}
	err = makeChunks(atOnce)
	if apart(err, slices.Collect(maps.Values(wanted))) {
		err = makeChunks(1) // to find the size that fails, and whether the image is at fault
	}
	return done, err
}

// check tells whether sizes can be made at all.
func (p *Populator) check(sizes []string) error {
	if p.s.opts.Resizer == nil && len(sizes) > 0 {
		return errors.New("there is no decoder to make sizes with")
	}
	return p.s.checkMade(sizes)
}

// checkMade tells whether sizes can be made from one decoding of any image.
func (s *Server) checkMade(sizes []string) error {
	if len(sizes) > resize.MaxTargets {
		return fmt.Errorf("%w: at most %d at once", errSize, resize.MaxTargets)
	}
	for _, name := range sizes {
		if err := s.listed.Check(name); err != nil {
			return fmt.Errorf("%w: %w", errSize, err)
		}
	}
	return nil
}

func (p *Populator) make(ctx context.Context, image record.Image, original io.Reader, n int64, variants []rendition) ([]variant.Variant, error) {
	select {
	case p.decoders <- struct{}{}:
		defer func() { <-p.decoders }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return p.s.make(ctx, image, original, n, func() []rendition { return variants })
}

// Code is the stable code of an error of Populate, as in X-Imgkeep-Error.
func Code(err error) string { return responseOf(err, time.Time{}).code }

// Stops tells whether an error of Populate would affect every other URL too, so that going
// on is useless: the disk is full, or the store is closing.
func Stops(err error) bool {
	return errors.Is(err, bucket.ErrFull) || errors.Is(err, bucket.ErrClosed) || errors.Is(err, resize.ErrClosed) ||
		errors.Is(err, bucket.ErrNoBucket) || errors.Is(err, errSize)
}
