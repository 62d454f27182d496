package bucket

import (
	"context"
	"errors"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/flight"
	"imgkeep/bucket/record"
)

// KeepBackground is KeepFrom for an image that nobody is looking at yet. If it has to be
// fetched, the fetch waits until there is a place that no viewer wants (see
// Options.Reserve). A viewer who asks for the image meanwhile ends that wait, so that no
// viewer is ever behind background work. Who expects that it is kept asks FindFrom first, which
// begins no flight.
//
// The end of ctx ends the waiting, not a fetch that has begun.
func (s *Store) KeepBackground(ctx context.Context, bucket, url, source string) (record.Image, error) {
	key := keepKey(bucket, url)
	image, err := flight.Do(ctx, s.flights, key, func(life context.Context) (record.Image, error) {
		if image, err := s.FindFrom(bucket, url, source); !errors.Is(err, ErrNotKept) {
			return image, err
		}
		if err := s.quotas.Within(record.Image{Bucket: bucket, URL: url}); err != nil {
			return record.Image{}, err // which is no reason to wait
		}
		place, err := flight.Await(ctx, life, &s.priorities, key, func(ctx context.Context) (*fetch.Place, error) {
			return s.settings.Load().reserve(ctx, source)
		})
		if err != nil && life.Err() != nil {
			err = ErrClosed
		}
		if err != nil {
			return record.Image{}, err
		}
		defer place.Release()
		return s.fetchAndKeep(life, bucket, url, source, place)
	})
	if errors.Is(err, flight.ErrGivenUp) && ctx.Err() == nil {
		// It was another's flight, who has left.
		return s.KeepBackground(ctx, bucket, url, source)
	}
	return image, err
}

// keepUrgent joins or begins the flight of an image that a viewer waits for.
func (s *Store) keepUrgent(ctx context.Context, bucket, url, source string) (record.Image, error) {
	key := keepKey(bucket, url)
	defer s.priorities.Urgent(key)()
	for {
		image, err := flight.Do(ctx, s.flights, key, func(ctx context.Context) (record.Image, error) {
			// An earlier flight may have landed since.
			if image, err := s.FindFrom(bucket, url, source); !errors.Is(err, ErrNotKept) {
				return image, err
			}
			return s.fetchAndKeep(ctx, bucket, url, source, nil)
		})
		if !errors.Is(err, flight.ErrGivenUp) {
			return image, err
		}
	}
}

func keepKey(bucket, url string) string { return "keep\x00" + bucket + "\x00" + url }
