package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"imgkeep/bucket/record"
	"imgkeep/bucket/variant"
	"imgkeep/nginx"
	"imgkeep/resize"
)

// coalescer lets requests for sizes of one image share a decode: all sizes that are
// pending when a decoder is free for one of them are made together. A lone request is
// never delayed: a decoder that is idle begins at once.
type coalescer struct {
	mu     sync.Mutex
	images map[imageKey]*batch
}

// imageKey identifies an image of which sizes are wanted. It need not be kept yet.
type imageKey struct{ bucket, url string }

// batch is what is pending for an image.
type batch struct {
	sizes map[string]*pending // by the folder of their hot links, see nginx.VariantDir
	// cancel ends the job that waits for a decoder and will make what is pending. nil: no
	// job waits.
	cancel context.CancelFunc
}

// pending is a size that requests wait for, with the variants in the formats that their
// viewers accept.
type pending struct {
	of       imageKey
	size     string
	accepted []string
	waiting  int  // requests
	asked    bool // the image is there, and the size is to be made
	taken    bool // by a job
	plain    bool // of a converted one: the variant in its own format exists already

	done chan struct{} // closed when it is made, or
	err  error         // why it is not; set before that
}

// join adds a request to those that wait for a size, until it leaves.
func (c *coalescer) join(of imageKey, size string, accepted []string) *pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.images == nil {
		c.images = map[imageKey]*batch{}
	}
	b := c.images[of]
	if b == nil {
		b = &batch{sizes: map[string]*pending{}}
		c.images[of] = b
	}
	key := nginx.VariantDir(size, accepted)
	p := b.sizes[key]
	if p == nil {
		p = &pending{of: of, size: size, accepted: accepted, done: make(chan struct{})}
		b.sizes[key] = p
	}
	p.waiting++
	return p
}

// leave removes a request. A decoder that works on its size finishes; a size that no
// request waits for any more is not made, and its job leaves the queue.
func (c *coalescer) leave(p *pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.waiting--; p.waiting > 0 || p.taken {
		return
	}
	b := c.images[p.of]
	c.drop(p)
	if b.cancel != nil && !b.needsJob() {
		b.cancel()
		b.cancel = nil
	}
}

// needsJob tells whether a size is to be made that no job has taken.
func (b *batch) needsJob() bool {
	for _, p := range b.sizes {
		if p.asked && !p.taken {
			return true
		}
	}
	return false
}

// wanted tells whether a request waits for what a job has taken.
func (c *coalescer) wanted(p *pending) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.waiting > 0
}

// drop forgets pending sizes. The caller holds the mutex.
func (c *coalescer) drop(p *pending) {
	b := c.images[p.of]
	delete(b.sizes, nginx.VariantDir(p.size, p.accepted))
	if len(b.sizes) == 0 {
		delete(c.images, p.of)
	}
}

// ask starts making a size; plain tells which of its variants exist. If that takes a new
// job, it returns the context that ends when nobody wants the job.
func (c *coalescer) ask(p *pending, plain bool) (job context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.asked = true
	if p.taken {
		return nil
	}
	p.plain = plain
	b := c.images[p.of]
	if b.cancel != nil {
		return nil
	}
	job, b.cancel = context.WithCancel(context.Background())
	return job
}

// take gives the waiting job its work: at most n sizes, the oldest first. another is not
// nil if some are left, and is the context of a job to start for them.
func (c *coalescer) take(of imageKey, n int) (taken []*pending, another context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.images[of]
	if b == nil {
		return nil, nil // all have left
	}
	left := false
	for _, asked := range []bool{true, false} {
		for _, p := range b.sizes {
			switch {
			case p.taken || p.asked != asked:
			case len(taken) < n:
				p.taken = true
				taken = append(taken, p)
			case asked:
				left = true
			}
		}
	}
	b.cancel = nil
	if left {
		another, b.cancel = context.WithCancel(context.Background())
	}
	return taken, another
}

// finish tells the waiting requests the result of their sizes.
func (c *coalescer) finish(taken []*pending, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range taken {
		c.drop(p)
		p.err = err
		close(p.done)
	}
}

// makeMissing makes the variants that a delivery lacks.
func (s *Server) makeMissing(ctx context.Context, q *request, d delivery) error {
	q.cacheStatus = Cold
	// All targets of a job share its budget for animations, so one of several could lose
	// its frames.
	if d.image.Frames > 1 && d.converted == nil {
		return s.opts.Store.EnsureVariant(ctx, d.image, d.name, d.format, s.maker(d.image, d.target))
	}
	p := q.pending
	if p == nil {
		var accepted []string // requests that get the same variant share one entry
		if d.converted != nil {
			accepted = []string{d.converted.Format.String()}
		}
		p = s.coalescer.join(imageKey{d.image.Bucket, d.image.URL}, d.size, accepted)
		defer s.coalescer.leave(p)
	}
	// A job may have ended before this request joined.
	plain := s.opts.Store.EnsureVariant(ctx, d.image, d.name, d.format, nil)
	err := plain
	if d.converted != nil {
		_, err = s.opts.Store.HasVariant(d.image, d.name, d.converted.Format)
	}
	if !errors.Is(err, variant.ErrNotMade) {
		return err
	}
	if job := s.coalescer.ask(p, d.converted != nil && plain == nil); job != nil {
		go s.makePending(job, p.of, d.image)
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// makePending makes the pending sizes of an image, all from one decoding. If that fails, it
// makes each separately: a single target, or their number, may be the cause, and only a job
// of one target counts against an image. job ends when nobody wants it any more, before it
// has a decoder.
func (s *Server) makePending(job context.Context, of imageKey, image record.Image) {
	var taken []*pending
	var variants []rendition
	var wrong error
	begun := false
	late := func() []rendition {
		if begun {
			return variants
		}
		begun = true
		var another context.Context
		taken, another = s.coalescer.take(of, s.atOnce(image))
		if another != nil {
			go s.makePending(another, of, image)
		}
		variants, wrong = s.variantsOf(image, taken)
		return variants
	}
	err := s.opts.Store.MakeVariants(job, image, func(ctx context.Context, original io.Reader, n int64) ([]variant.Variant, error) {
		made, err := s.make(ctx, image, original, n, late)
		if wrong != nil {
			return made, wrong
		}
		return made, err
	})
	switch {
	case begun && err != nil && len(variants) > 1:
		s.makeEach(image, taken)
		return
	case begun:
	case job.Err() != nil:
		return // requests that come now have another job
	default: // it did not get as far as a decoder
		taken, _ = s.coalescer.take(of, math.MaxInt)
	}
	s.coalescer.finish(taken, err)
}

// makeEach makes sizes one by one, as long as requests wait for them. If all decoders are
// busy for as long as one of them waits, the others do not wait as well.
func (s *Server) makeEach(image record.Image, taken []*pending) {
	var busy error
	for i, p := range taken {
		err := busy
		switch {
		case err != nil:
		case !s.coalescer.wanted(p):
			err = resize.ErrBusy // for a request that came just now
		default:
			err = s.makeAlone(image, p)
			if errors.Is(err, resize.ErrBusy) {
				busy = err
			}
		}
		s.coalescer.finish(taken[i:i+1], err)
	}
}

// makeAlone makes one size, each variant of it from a decoding of its own.
func (s *Server) makeAlone(image record.Image, p *pending) error {
	plain, converted, err := s.variants(p.size, image, p.accepted)
	if err != nil {
		return err
	}
	err = s.opts.Store.EnsureVariant(context.Background(), image, plain.Name, plain.Format, s.maker(image, plain.target))
	if err != nil || converted == nil {
		return err
	}
	return s.opts.Store.MakeVariants(context.Background(), image, func(ctx context.Context, original io.Reader, n int64) ([]variant.Variant, error) {
		return s.make(ctx, image, original, n, func() []rendition { return []rendition{*converted} })
	})
}

// atOnce is how many sizes of an image fit into a job.
func (s *Server) atOnce(image record.Image) int {
	switch {
	case image.Frames > 1:
		return 1
	case len(s.opts.Negotiate) > 0:
		return resize.MaxTargets / 2 // each may be two variants
	}
	return resize.MaxTargets
}

// variantsOf are the variants to make for sizes, each once.
func (s *Server) variantsOf(image record.Image, taken []*pending) ([]rendition, error) {
	var all []rendition
	add := func(v rendition) {
		if !slices.ContainsFunc(all, func(other rendition) bool { return other.Key == v.Key }) {
			all = append(all, v)
		}
	}
	var errs []error
	for _, p := range taken {
		plain, converted, err := s.variants(p.size, image, p.accepted)
		if err != nil {
			errs = append(errs, fmt.Errorf("size %s: %w", p.size, err))
		}
		if converted == nil || !p.plain {
			add(plain)
		}
		if converted != nil {
			add(*converted)
		}
	}
	return all, errors.Join(errs...)
}
