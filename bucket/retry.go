package bucket

import (
	"errors"

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/record"
)

// Retried says what Retry has forgotten.
type Retried struct {
	Failures    int `json:"failures"`    // of fetching
	Undecodable int `json:"undecodable"` // images that have ended decoders
}

// Retry forgets, in all buckets, what stands against an image that is named by
// its digest or by a URL: that it has ended decoders, and that fetching it has
// failed. The next request tries again. It tries nothing itself. An error that
// wraps ErrURL says that what is neither.
func (s *Store) Retry(what string) (Retried, error) {
	var r Retried
	done, err := s.begin()
	if err != nil {
		return r, err
	}
	defer done()
	digest, digestErr := record.ParseDigest(what)
	var url string
	if digestErr != nil {
		if url, err = imageurl.Canonical(what); err != nil {
			return r, err
		}
	}
	for name := range s.buckets {
		if digestErr != nil {
			if _, err := s.index.Failure(name, url); err == nil {
				if err := s.commit(index.Change{Bucket: name, URL: url, Fail: &record.Failure{}}, nil); err != nil {
					return r, err
				}
				r.Failures++
			} else if !errors.Is(err, index.ErrNotFound) {
				return r, err
			}
			image, err := s.index.Image(name, url)
			if errors.Is(err, index.ErrNotFound) {
				continue
			}
			if err != nil {
				return r, err
			}
			digest = image.Digest
		}
		s.Variants.Resume(record.Image{Digest: digest})
		_, err := s.index.Poison(name, digest)
		if errors.Is(err, index.ErrNotFound) {
			continue
		}
		if err == nil {
			err = s.commit(index.Change{Bucket: name, Poison: &index.Poison{Digest: digest}}, nil)
		}
		if err != nil {
			return r, err
		}
		r.Undecodable++
	}
	return r, nil
}
