package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"imgkeep/bucket"
	"imgkeep/bucket/probe"
	"imgkeep/nginx"
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
	sizes map[string]*wish // by their classes
	// queued ends the wait of the job that has no decoder yet, and will take along all
	// wishes. nil: there is none.
	queued context.CancelFunc
}

// wish is a size of an image, for those who accept it in these formats too.
type wish struct {
	of       wished
	size     string
	accepted []string
	people   int  // who want it
	asked    bool // the image is there, and the size is to be made
	taken    bool // by a job
	plain    bool // where it is converted: it is there already in its own format

	done chan struct{} // closed when it is made, or
	err  error         // why it is not; set before that
}

// join adds a request to those that want a size, until it leaves.
func (ws *wishes) join(of wished, size string, accepted []string) *wish {
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
	class := nginx.Class(size, accepted)
	w := g.sizes[class]
	if w == nil {
		w = &wish{of: of, size: size, accepted: accepted, done: make(chan struct{})}
		g.sizes[class] = w
	}
	w.people++
	return w
}

// leave takes a request back. What a decoder works on is made all the same; what nobody
// wants any more before that is not, and the job leaves its place in the queue to others.
func (ws *wishes) leave(w *wish) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.people--; w.people > 0 || w.taken {
		return
	}
	g := ws.images[w.of]
	ws.drop(w)
	if g.queued != nil && !g.wants() {
		g.queued()
		g.queued = nil
	}
}

// wants tells whether a wish waits for a job.
func (g *gathering) wants() bool {
	for _, w := range g.sizes {
		if w.asked && !w.taken {
			return true
		}
	}
	return false
}

// wanted tells whether somebody waits for a wish that is taken.
func (ws *wishes) wanted(w *wish) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return w.people > 0
}

// drop forgets a wish. The mutex is held.
func (ws *wishes) drop(w *wish) {
	g := ws.images[w.of]
	if delete(g.sizes, nginx.Class(w.size, w.accepted)); len(g.sizes) == 0 {
		delete(ws.images, w.of)
	}
}

// ask wants a wish made now; plain tells what of it is there. Where a job has to be
// started for that, it returns the context that ends when nobody wants the job.
func (ws *wishes) ask(w *wish, plain bool) (job context.Context) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.asked = true
	if w.taken {
		return nil
	}
	w.plain = plain
	if g := ws.images[w.of]; g.queued == nil {
		job, g.queued = context.WithCancel(context.Background())
	}
	return job
}

// take gives the job that is queued its wishes: n at most, and those that were
// asked for first. another is not nil where some of these are left, and is the context
// of a job that is to be started for them.
func (ws *wishes) take(of wished, n int) (batch []*wish, another context.Context) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	g := ws.images[of]
	if g == nil {
		return nil, nil // all have left
	}
	left := false
	for _, asked := range []bool{true, false} {
		for _, w := range g.sizes {
			switch {
			case w.taken || w.asked != asked:
			case len(batch) < n:
				w.taken = true
				batch = append(batch, w)
			case asked:
				left = true
			}
		}
	}
	if g.queued = nil; left {
		another, g.queued = context.WithCancel(context.Background())
	}
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
	converts := d.converted != probe.Unknown
	if d.image.Frames > 1 && !converts {
		return s.Store.EnsureMade(ctx, d.image, d.name, d.format, d.maker)
	}
	w := v.wish
	if w == nil {
		var accepted []string // all classes that get the same are one
		if converts {
			accepted = []string{d.converted.String()}
		}
		w = s.wishes.join(wished{d.image.Bucket, d.image.URL}, d.link.Size, accepted)
		defer s.wishes.leave(w)
	}
	// A job may have ended before this request joined.
	plain := s.Store.EnsureMade(ctx, d.image, d.name, d.format, nil)
	err := plain
	if converts {
		_, err = s.Store.HasMade(d.image, d.name, d.converted)
	}
	if !errors.Is(err, bucket.ErrNotMade) {
		return err
	}
	if job := s.wishes.ask(w, converts && plain == nil); job != nil {
		go s.makeWishes(job, w.of, d.image)
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
// or of their number, and only a job of one target is held against an image. job ends
// when nobody wants it any more, before it has a decoder.
func (s *Server) makeWishes(job context.Context, of wished, image bucket.Image) {
	var batch []*wish
	var things []thing
	var wrong error
	gathered := false
	gather := func() []thing {
		if !gathered {
			gathered = true
			var another context.Context
			if batch, another = s.wishes.take(of, s.atOnce(image)); another != nil {
				go s.makeWishes(another, of, image)
			}
			things, wrong = s.things(image, batch)
		}
		return things
	}
	err := s.Store.MakeSeveral(job, image, func(ctx context.Context, original io.Reader, n int64) ([]bucket.Made, error) {
		made, err := s.make(ctx, image, original, n, gather)
		return made, cmp.Or(wrong, err)
	})
	switch {
	case gathered && err != nil && len(things) > 1:
		s.makeEach(image, batch)
		return
	case gathered:
	case job.Err() != nil:
		return // whoever wants something now has another job
	default: // it did not get as far as that
		batch, _ = s.wishes.take(of, math.MaxInt)
	}
	s.wishes.finish(batch, err)
}

// makeEach makes wishes one by one, as long as somebody wants them. All decoders being
// busy for as long as one of them waits, the others do not wait as well.
func (s *Server) makeEach(image bucket.Image, batch []*wish) {
	var busy error
	for i, w := range batch {
		err := busy
		switch {
		case err != nil:
		case !s.wishes.wanted(w):
			err = resize.ErrBusy // for who may come this moment
		default:
			if err = s.makeAlone(image, w); errors.Is(err, resize.ErrBusy) {
				busy = err
			}
		}
		s.wishes.finish(batch[i:i+1], err)
	}
}

// atOnce is how many wishes of an image fit into a job.
func (s *Server) atOnce(image bucket.Image) int {
	switch {
	case image.Frames > 1:
		return 1
	case len(s.Negotiate) > 0:
		return resize.MaxTargets / 2 // each may be two things
	}
	return resize.MaxTargets
}

// things are what is to be made for wishes, each once.
func (s *Server) things(image bucket.Image, batch []*wish) ([]thing, error) {
	var all []thing
	add := func(t thing) {
		if !slices.ContainsFunc(all, func(u thing) bool { return u.Making == t.Making }) {
			all = append(all, t)
		}
	}
	var errs []error
	for _, w := range batch {
		plain, converted, err := s.variants(w.size, image, w.accepted)
		if err != nil {
			errs = append(errs, fmt.Errorf("size %s: %w", w.size, err))
		}
		if converted == nil || !w.plain {
			add(plain)
		}
		if converted != nil {
			add(*converted)
		}
	}
	return all, errors.Join(errs...)
}

// makeAlone makes what one wish asks for, each thing from a decoding of its own.
func (s *Server) makeAlone(image bucket.Image, w *wish) error {
	plain, converted, err := s.variants(w.size, image, w.accepted)
	if err != nil {
		return err
	}
	err = s.Store.EnsureMade(context.Background(), image, plain.Name, plain.Format, s.maker(image, plain.target))
	if err != nil || converted == nil {
		return err
	}
	return s.Store.MakeSeveral(context.Background(), image, func(ctx context.Context, original io.Reader, n int64) ([]bucket.Made, error) {
		return s.make(ctx, image, original, n, func() []thing { return []thing{*converted} })
	})
}
