package server

import (
	"context"
	"errors"
	"sync"

	"imgkeep/bucket/record"
	"imgkeep/bucket/variant"
)

// maxPrerender is how many images may wait to be prerendered. Sizes of further ones are
// made on request.
const maxPrerender = 256

// prerenderer has the images whose first viewer has been answered, and whose eager sizes
// are still to be made: one image at a time, so that viewers wait for at most one more
// image, and lose one decoder.
type prerenderer struct {
	mu      sync.Mutex
	waiting []record.Image
	working bool
}

// prerenderLater makes the eager sizes of an image that was fetched for a viewer, in the
// background, and its hash if no decoder has seen it yet, unless too many images wait for
// that. A server that stops forgets the waiting images.
func (s *Server) prerenderLater(image record.Image) {
	if len(s.opts.Prerender) == 0 && !s.opts.Store.Looks().Wants(image.Digest) {
		return
	}
	p := &s.prerenderer
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) >= maxPrerender {
		return
	}
	p.waiting = append(p.waiting, image)
	if !p.working {
		p.working = true
		go s.prerenderAll()
	}
}

// prerenderAll works until no image waits.
func (s *Server) prerenderAll() {
	for {
		image, ok := s.prerenderer.next()
		if !ok {
			return
		}
		if err := s.prerender(image); err != nil {
			s.opts.Log.Debug("eager sizes were not made", "bucket", image.Bucket, "digest", image.Digest, "error", err)
		}
		if looks := s.opts.Store.Looks(); looks.Wants(image.Digest) {
			if _, err := looks.PrintOf(context.Background(), image.Digest, true); err != nil {
				s.opts.Log.Debug("how an image looks is not known", "bucket", image.Bucket, "digest", image.Digest, "error", err)
			}
		}
	}
}

func (p *prerenderer) next() (image record.Image, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		p.working, p.waiting = false, nil
		return image, false
	}
	image, p.waiting = p.waiting[0], p.waiting[1:]
	return image, true
}

// prerender makes the eager sizes that an image lacks, as if a viewer had asked for all of
// them at once: requests that come meanwhile wait for the same job.
func (s *Server) prerender(image record.Image) error {
	type lack struct {
		request
		delivery
	}
	var lacking []*lack
	for _, size := range s.opts.Prerender {
		for _, accepted := range s.acceptSets(size) {
			d, err := s.delivery(image, size, accepted)
			if err != nil {
				return err
			}
			if d.converted != nil {
				_, err = s.opts.Store.HasVariant(image, d.name, d.converted.Format)
			} else {
				d.accepted = nil
				err = s.opts.Store.EnsureVariant(context.Background(), image, d.name, d.format, nil)
			}
			if errors.Is(err, variant.ErrNotMade) {
				p := s.coalescer.join(imageKey{image.Bucket, image.URL}, size, d.accepted)
				defer s.coalescer.leave(p)
				lacking = append(lacking, &lack{request{pending: p}, d})
			} else if err != nil {
				return err
			}
		}
	}
	var errs []error
	for _, l := range lacking {
		errs = append(errs, s.makeMissing(context.Background(), &l.request, l.delivery))
	}
	return errors.Join(errs...)
}
