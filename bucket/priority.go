package bucket

import (
	"context"
	"errors"
	"sync"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/flight"
	"imgkeep/bucket/record"
)

// errGivenUp ends a flight that waited for a quiet moment when the one who asked
// for it has left.
var errGivenUp = errors.New("nobody waits for this image any more")

// KeepBackground is Keep for an image that nobody is looking at yet. Where it has to be
// fetched, that waits until there is a place that no viewer wants (see
// Options.Reserve); a viewer who asks for the image meanwhile ends the
// wait, so that nobody is ever behind what is idle.
//
// The end of ctx ends the waiting, not a fetch that has begun.
func (s *Store) KeepBackground(ctx context.Context, bucket, url string) (record.Image, error) {
	return s.KeepBackgroundFrom(ctx, bucket, url, url)
}

// KeepBackgroundFrom is KeepBackground for an image that has several URLs, see KeepFrom.
func (s *Store) KeepBackgroundFrom(ctx context.Context, bucket, url, source string) (record.Image, error) {
	image, err := s.FindFrom(bucket, url, source)
	if !errors.Is(err, ErrNotKept) {
		return image, err
	}
	key := keepKey(bucket, url)
	image, err = flight.Do(ctx, s.flights, key, func(life context.Context) (record.Image, error) {
		if image, err := s.FindFrom(bucket, url, source); !errors.Is(err, ErrNotKept) {
			return image, err
		}
		if err := s.withinQuota(record.Image{Bucket: bucket, URL: url}); err != nil {
			return record.Image{}, err // which is no reason to wait
		}
		place, err := s.priorities.await(ctx, life, key, func(ctx context.Context) (*fetch.Place, error) {
			return s.settings.Load().reserve(ctx, source)
		})
		if err != nil {
			return record.Image{}, err
		}
		defer place.Release()
		return s.fetchAndKeep(life, bucket, url, source, place)
	})
	if errors.Is(err, errGivenUp) && ctx.Err() == nil {
		// It was another's flight, who has left.
		return s.KeepBackgroundFrom(ctx, bucket, url, source)
	}
	return image, err
}

// keepUrgent joins or begins the flight of an image that a viewer waits for.
func (s *Store) keepUrgent(ctx context.Context, bucket, url, source string) (record.Image, error) {
	key := keepKey(bucket, url)
	defer s.priorities.urgent(key)()
	for {
		image, err := flight.Do(ctx, s.flights, key, func(ctx context.Context) (record.Image, error) {
			// An earlier flight may have landed since.
			if image, err := s.FindFrom(bucket, url, source); !errors.Is(err, ErrNotKept) {
				return image, err
			}
			return s.fetchAndKeep(ctx, bucket, url, source, nil)
		})
		if !errors.Is(err, errGivenUp) {
			return image, err
		}
	}
}

func keepKey(bucket, url string) string { return "keep\x00" + bucket + "\x00" + url }

// priorities knows which flights a viewer waits for, and which wait themselves for
// a quiet moment. Its zero value is ready.
type priorities struct {
	mu      sync.Mutex
	viewers map[string]int
	waiting map[string]context.CancelFunc
}

// urgent says that a viewer waits for a flight, until the function that it
// returns is called.
func (h *priorities) urgent(key string) (left func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.viewers == nil {
		h.viewers = map[string]int{}
	}
	h.viewers[key]++
	if stop := h.waiting[key]; stop != nil {
		stop()
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.viewers[key]--; h.viewers[key] == 0 {
			delete(h.viewers, key)
		}
	}
}

// await waits for a place until there is one, a viewer is in a hurry (no place,
// and no error), asked ends (errNoHurry), or life does.
func (h *priorities) await(asked, life context.Context, key string, reserve func(context.Context) (*fetch.Place, error)) (*fetch.Place, error) {
	ctx, stop := context.WithCancel(life)
	defer stop()
	h.mu.Lock()
	if h.viewers[key] > 0 {
		h.mu.Unlock()
		return nil, nil
	}
	if h.waiting == nil {
		h.waiting = map[string]context.CancelFunc{}
	}
	h.waiting[key] = stop
	h.mu.Unlock()

	leave := context.AfterFunc(asked, stop)
	place, err := reserve(ctx)
	leave()

	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, key)
	switch {
	case err == nil:
		return place, nil
	case life.Err() != nil:
		return nil, ErrClosed
	case h.viewers[key] > 0:
		return nil, nil
	}
	return nil, errGivenUp
}
