package bucket

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/record"
)

var (
	// ErrDeadly is for the errors of a Maker to wrap, where the original has
	// ended what was to decode it. From OpenMade it says that this was not long
	// ago, and that nothing is made of the image before a minute has passed.
	ErrDeadly = errors.New("the image ends what decodes it")
	// ErrSlow is for the errors of a Maker to wrap, where a decoder took too long for
	// the original, whosever fault that is. From OpenMade it says that this was not
	// long ago: nothing is made of the image for a minute, and for twice as long with
	// each further time in a row, an hour at most. It says so in a *PauseError.
	ErrSlow = errors.New("decoding the image took too long")
	// ErrUndecodable: the image has done so twice. Nothing is made of it, until
	// Retry; its original is served.
	ErrUndecodable = errors.New("the image has ended what decodes it twice, and is not decoded any more")
)

const (
	// maxKills is what an image may do before it is given up. Once may be
	// anybody's fault.
	maxKills = 2
	// killPause is from a first attempt that has failed so to the second: what
	// is wrong with the machine rather than with the image has time to pass, and
	// an image that is asked for all the time does not end all decoders at once.
	killPause = time.Minute
	// slowPause is the longest pause of an image that takes too long.
	slowPause = time.Hour
	// maxPauses is how many such images are remembered.
	maxPauses = 4096
)

// A PauseError says until when nothing is made of an image. It wraps ErrSlow.
type PauseError struct{ Until time.Time }

func (e *PauseError) Error() string {
	return fmt.Sprintf("%v: nothing is made of it before %s", ErrSlow, e.Until.UTC().Format(time.RFC3339))
}
func (e *PauseError) Unwrap() error { return ErrSlow }

// pause is that of an image. It is in memory only: a restart may have been the cure.
type pause struct {
	times int // in a row
	until time.Time
}

// paused is the pause of an image now, as an error.
func (s *Store) paused(image record.Image) error {
	s.blaming.Lock()
	defer s.blaming.Unlock()
	if p, ok := s.pauses[image.Digest]; ok && s.now().Before(p.until) {
		return &PauseError{p.until}
	}
	return nil
}

// pause notes that decoding an image has taken too long. Several sizes may have been
// in the making; that counts once.
func (s *Store) pause(image record.Image) {
	s.blaming.Lock()
	defer s.blaming.Unlock()
	now := s.now()
	p := s.pauses[image.Digest]
	if now.Before(p.until) {
		return
	}
	if _, known := s.pauses[image.Digest]; !known && len(s.pauses) >= maxPauses {
		for digest := range s.pauses { // any will do
			delete(s.pauses, digest)
			break
		}
	}
	p.until = now.Add(backoff{killPause, slowPause}.pause(p.times + 1))
	p.times++
	s.pauses[image.Digest] = p
}

// resume forgets the pause of an image that was decoded in time.
func (s *Store) resume(image record.Image) {
	s.blaming.Lock()
	defer s.blaming.Unlock()
	delete(s.pauses, image.Digest)
}

// decodable tells whether something may be made of an image now. kills is how
// many decoders it has ended since it was last decoded.
func (s *Store) decodable(image record.Image) (kills int, err error) {
	if err := s.paused(image); err != nil {
		return 0, err
	}
	d, err := s.index.Deadly(image.Bucket, image.Digest)
	switch {
	case errors.Is(err, index.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case d.Kills >= maxKills:
		return d.Kills, fmt.Errorf("%w: %s", ErrUndecodable, d.Detail)
	case s.now().Before(d.Last.Add(killPause)):
		return d.Kills, fmt.Errorf("%w: %s", ErrDeadly, d.Detail)
	}
	return d.Kills, nil
}

// blame notes that an image has ended a decoder, and returns what to tell of it.
// Several sizes may have been in the making; that counts once.
func (s *Store) blame(image record.Image, cause error) error {
	s.blaming.Lock()
	defer s.blaming.Unlock()
	now := s.now().Truncate(time.Second)
	d, err := s.index.Deadly(image.Bucket, image.Digest)
	if err != nil && !errors.Is(err, index.ErrNotFound) {
		return errors.Join(cause, err)
	}
	if err == nil && now.Before(d.Last.Add(killPause)) {
		return cause
	}
	d = index.Deadly{Digest: image.Digest, Kills: d.Kills + 1, Last: now, Detail: strings.TrimPrefix(cause.Error(), ErrDeadly.Error()+": ")}
	if err := s.commit(index.Change{Bucket: image.Bucket, Deadly: &d}, nil); err != nil {
		return errors.Join(cause, err)
	}
	if d.Kills < maxKills {
		return cause
	}
	s.log.Error("an image has ended two decoders: no sizes are made of it until 'imgkeep retry'", "bucket", image.Bucket, "digest", image.Digest, "host", imageurl.HostOf(image.URL), "error", cause)
	return fmt.Errorf("%w: %w", ErrUndecodable, cause)
}

// acquit forgets what an image has done: it was decoded since.
func (s *Store) acquit(image record.Image) {
	d := index.Deadly{Digest: image.Digest}
	if err := s.commit(index.Change{Bucket: image.Bucket, Deadly: &d}, nil); err != nil {
		s.log.Error("an image that was decoded is remembered as one that ends decoders", "digest", image.Digest, "error", err)
	}
}

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
		if url, err = Canonical(what); err != nil {
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
		s.resume(record.Image{Digest: digest})
		_, err := s.index.Deadly(name, digest)
		if errors.Is(err, index.ErrNotFound) {
			continue
		}
		if err == nil {
			err = s.commit(index.Change{Bucket: name, Deadly: &index.Deadly{Digest: digest}}, nil)
		}
		if err != nil {
			return r, err
		}
		r.Undecodable++
	}
	return r, nil
}
