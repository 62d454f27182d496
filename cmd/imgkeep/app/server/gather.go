package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"imgkeep/bucket"
	"imgkeep/resize"
)

// wishes are the sizes that requests wait for, by image. All that are there when
// a decoder is at hand for one of them are made from that one decoding. Nobody
// waits for others to come: a decoder that is idle begins at once.
type wishes struct {
	mu     sync.Mutex
	images map[wished]*gathering
}

// wished is an image that sizes are wanted of. It need not be kept yet: those who
// wait for the same fetch will all want their sizes at the same moment.
type wished struct{ bucket, url string }

type gathering struct {
	sizes  map[string]*wish
	queued bool // a job has no decoder yet, and will take along all wishes
}

// wish is a size of an image.
type wish struct {
	of     wished
	size   string
	people int  // who want it
	asked  bool // the image is there, and the size is to be made, whoever leaves
	taken  bool // by a job

	done chan struct{} // closed when it is made, or
	err  error         // why it is not; set before that
}

// join adds a request to those that want a size, until it leaves.
func (ws *wishes) join(of wished, size string) *wish {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.images == nil {
		ws.images = map[wished]*gathering{}
	}
	g := ws.images[of]
	if g == nil {
		g = &gathering{sizes: map[string]*wish{}}
		ws.images[of] = g
	}
	w := g.sizes[size]
	if w == nil {
		w = &wish{of: of, size: size, done: make(chan struct{})}
		g.sizes[size] = w
	}
	w.people++
	return w
}

// leave takes a request back. What has been asked for is made all the same.
func (ws *wishes) leave(w *wish) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.people--; w.people == 0 && !w.asked && !w.taken {
		ws.drop(w)
	}
}

// drop forgets a wish. The mutex is held.
func (ws *wishes) drop(w *wish) {
	g := ws.images[w.of]
	if delete(g.sizes, w.size); len(g.sizes) == 0 {
		delete(ws.images, w.of)
	}
}

// ask wants a wish made now. It tells whether a job has to be started for that.
func (ws *wishes) ask(w *wish) (start bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.asked = true
	if w.taken {
		return false
	}
	g := ws.images[w.of]
	start, g.queued = !g.queued, true
	return start
}

// take gives the job that is queued its wishes: n at most, and those that were
// asked for first. another tells that some of these are left, and a job is to be
// started for them.
func (ws *wishes) take(of wished, n int) (batch []*wish, another bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	g := ws.images[of]
	for _, asked := range []bool{true, false} {
		for _, w := range g.sizes {
			switch {
			case w.taken || w.asked != asked:
			case len(batch) < n:
				w.taken = true
				batch = append(batch, w)
			case asked:
				another = true
			}
		}
	}
	g.queued = another
	return batch, another
}

// finish tells those who wait what has become of their wishes.
func (ws *wishes) finish(batch []*wish, err error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range batch {
		ws.drop(w)
		w.err = err
		close(w.done)
	}
}

// makeMissing makes what a delivery lacks.
func (s *Server) makeMissing(ctx context.Context, v *visit, d delivery) error {
	v.temperature = Cold
	// All targets of a job share its budget for animations, so that one of several
	// could lose its frames.
	if d.name == bucket.Undecoded || d.image.Frames > 1 {
		return s.Store.EnsureMade(ctx, d.image, d.name, d.format, d.maker)
	}
	w := v.wish
	if w == nil {
		w = s.wishes.join(wished{d.image.Bucket, d.image.URL}, d.link.Size)
		defer s.wishes.leave(w)
	}
	// A job may have ended before this request joined.
	if err := s.Store.EnsureMade(ctx, d.image, d.name, d.format, nil); !errors.Is(err, bucket.ErrNotMade) {
		return err
	}
	if s.wishes.ask(w) {
		go s.makeWishes(w.of, d.image)
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// makeWishes makes the sizes that are wanted of an image, all of them from one
// decoding. Where that fails, each is made by itself: the fault may be that of one,
// or of their number, and only a job of one target is held against an image.
func (s *Server) makeWishes(of wished, image bucket.Image) {
	var batch []*wish
	gather := func() []*wish {
		if batch == nil {
			var another bool
			if batch, another = s.wishes.take(of, resize.MaxTargets); another {
				go s.makeWishes(of, image)
			}
		}
		return batch
	}
	err := s.Store.MakeSeveral(image, func(ctx context.Context, original io.Reader, n int64) ([]bucket.Made, error) {
		return s.makeBatch(ctx, image, original, n, gather)
	})
	switch {
	case batch == nil: // it did not get as far as that
		batch, _ = s.wishes.take(of, math.MaxInt)
	case err != nil && len(batch) > 1:
		for i, w := range batch {
			s.wishes.finish(batch[i:i+1], s.makeAlone(image, w.size))
		}
		return
	}
	s.wishes.finish(batch, err)
}

// makeBatch makes what gather returns once a decoder is at hand.
func (s *Server) makeBatch(ctx context.Context, image bucket.Image, original io.Reader, n int64, gather func() []*wish) ([]bucket.Made, error) {
	var made []bucket.Made
	var job resize.Job
	var wrong error
	job.Gather = func() []resize.Target {
		made, job.Targets, wrong = nil, nil, nil
		for _, w := range gather() {
			m, target, err := s.making(w.size, image)
			if err != nil {
				wrong = fmt.Errorf("size %s: %w", w.size, err)
			}
			made, job.Targets = append(made, bucket.Made{Making: m}), append(job.Targets, target)
		}
		return job.Targets
	}
	data, err := s.make(ctx, image, original, n, &job)
	if err == nil {
		err = wrong
	}
	if err != nil {
		return nil, err
	}
	for i := range made {
		made[i].Data = data[i]
	}
	return made, nil
}

// makeAlone makes one size from a decoding of its own.
func (s *Server) makeAlone(image bucket.Image, size string) error {
	m, target, err := s.making(size, image)
	if err != nil {
		return err
	}
	return s.Store.EnsureMade(context.Background(), image, m.Name, m.Format, s.maker(image, target))
}
