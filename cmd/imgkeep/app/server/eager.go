package server

import (
	"context"
	"errors"
	"sync"

	"imgkeep/bucket"
	"imgkeep/sign"
)

// maxEager is how many images may wait for their eager sizes. Those of more are
// made when somebody asks.
const maxEager = 256

// eager are images whose first viewer has been answered, and whose eager sizes are
// still to be made: one image at a time, so that viewers wait for one image more at
// most, and one decoder less is theirs.
type eager struct {
	mu      sync.Mutex
	waiting []bucket.Image
	working bool
}

// beEager has the eager sizes of an image made in the background, unless too many
// images wait for that. A server that stops forgets those that wait.
func (s *Server) beEager(image bucket.Image) {
	s.eager.mu.Lock()
	defer s.eager.mu.Unlock()
	if len(s.Eager) == 0 || len(s.eager.waiting) >= maxEager {
		return
	}
	s.eager.waiting = append(s.eager.waiting, image)
	if !s.eager.working {
		s.eager.working = true
		go s.workEagerly()
	}
}

func (s *Server) workEagerly() {
	for {
		s.eager.mu.Lock()
		if s.eager.working = len(s.eager.waiting) > 0; !s.eager.working {
			s.eager.waiting = nil
			s.eager.mu.Unlock()
			return
		}
		image := s.eager.waiting[0]
		s.eager.waiting = s.eager.waiting[1:]
		s.eager.mu.Unlock()
		if err := s.makeEager(image); err != nil {
			s.Log.Debug("eager sizes were not made", "bucket", image.Bucket, "digest", image.Digest, "error", err)
		}
	}
}

// makeEager makes the eager sizes that an image lacks, as if a viewer had asked for
// all of them at once: those who ask meanwhile wait for the same job.
func (s *Server) makeEager(image bucket.Image) error {
	type lack struct {
		visit
		delivery
	}
	var lacking []*lack
	for _, size := range s.Eager {
		for _, accepted := range s.classes(size) {
			d, err := s.delivery(sign.Link{Bucket: image.Bucket, Size: size}, image)
			if err != nil {
				return err
			}
			_, converted, err := s.variants(size, image, accepted)
			if err != nil {
				return err
			}
			if converted != nil {
				d.accepted, d.converted = accepted, converted.Format
				_, err = s.Store.HasMade(image, d.name, d.converted)
			} else {
				err = s.Store.EnsureMade(context.Background(), image, d.name, d.format, nil)
			}
			if errors.Is(err, bucket.ErrNotMade) {
				w := s.wishes.join(wished{image.Bucket, image.URL}, size, d.accepted)
				defer s.wishes.leave(w)
				lacking = append(lacking, &lack{visit{wish: w}, d})
			} else if err != nil {
				return err
			}
		}
	}
	var errs []error
	for _, l := range lacking {
		errs = append(errs, s.makeMissing(context.Background(), &l.visit, l.delivery))
	}
	return errors.Join(errs...)
}
