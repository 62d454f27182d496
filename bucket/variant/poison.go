package variant

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/pace"
	"imgkeep/bucket/record"
)

var (
	// ErrPoison is for the errors of a Maker to wrap, if the original has crashed its
	// decoder. From OpenVariant it says that this was recently: nothing is made of the
	// image before a minute has passed.
	ErrPoison = errors.New("the image crashes the decoder")
	// ErrSlow is for the errors of a Maker to wrap, if a decoder took too long for the
	// original, whatever the cause. From OpenVariant it says that this was recently:
	// nothing is made of the image for a minute, and for twice as long each further time in
	// a row, an hour at most. It is then in a *PauseError.
	ErrSlow = errors.New("decoding the image took too long")
	// ErrUndecodable: the image has crashed decoders twice. Nothing is made of it until
	// Retry; its original is served.
	ErrUndecodable = errors.New("the image has crashed the decoder twice, and is not decoded any more: see `imgkeep retry`")
)

const (
	// MaxCrashes is how many crashes an image may cause before it is given up. A single one
	// may have another cause.
	MaxCrashes = 2
	// CrashPause is the pause between a first crash and the second attempt: a fault of the
	// machine, not of the image, has time to pass, and an image in demand does not crash
	// all decoders at once.
	CrashPause = time.Minute
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

// pause is the pause of an image. It is only in memory: a restart may have removed the
// cause.
type pause struct {
	times int // in a row
	until time.Time
}

// paused is the current pause of an image, as an error.
func (v *Variants) paused(image record.Image) error {
	v.crashing.Lock()
	defer v.crashing.Unlock()
	if p, ok := v.pauses[image.Digest]; ok && v.s.Now().Before(p.until) {
		return &PauseError{p.until}
	}
	return nil
}

// pause notes that decoding an image has taken too long. Several sizes may fail together;
// that counts once.
func (v *Variants) pause(image record.Image) {
	v.crashing.Lock()
	defer v.crashing.Unlock()
	now := v.s.Now()
	p := v.pauses[image.Digest]
	if now.Before(p.until) {
		return
	}
	if _, known := v.pauses[image.Digest]; !known && len(v.pauses) >= maxPauses {
		for digest := range v.pauses { // any will do
			delete(v.pauses, digest)
			break
		}
	}
	p.until = now.Add(pace.Backoff{First: CrashPause, Longest: slowPause}.Pause(p.times + 1))
	p.times++
	v.pauses[image.Digest] = p
}

// Resume forgets the pause of an image that was decoded in time.
func (v *Variants) Resume(image record.Image) {
	v.crashing.Lock()
	defer v.crashing.Unlock()
	delete(v.pauses, image.Digest)
}

// decodable tells whether something may be made of an image now. crashes is how many
// decoders it has crashed since it was last decoded.
func (v *Variants) decodable(image record.Image) (crashes int, err error) {
	if err := v.paused(image); err != nil {
		return 0, err
	}
	d, err := v.s.Index().Poison(image.Bucket, image.Digest)
	switch {
	case errors.Is(err, index.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case d.Crashes >= MaxCrashes:
		return d.Crashes, fmt.Errorf("%w: %s", ErrUndecodable, d.Detail)
	case v.s.Now().Before(d.Last.Add(CrashPause)):
		return d.Crashes, fmt.Errorf("%w: %s", ErrPoison, d.Detail)
	}
	return d.Crashes, nil
}

// recordCrash notes that an image has crashed a decoder, and returns the error to report.
// Several sizes may fail together; that counts once.
func (v *Variants) recordCrash(image record.Image, cause error) error {
	v.crashing.Lock()
	defer v.crashing.Unlock()
	now := v.s.Now().Truncate(time.Second)
	d, err := v.s.Index().Poison(image.Bucket, image.Digest)
	if err != nil && !errors.Is(err, index.ErrNotFound) {
		return errors.Join(cause, err)
	}
	if err == nil && now.Before(d.Last.Add(CrashPause)) {
		return cause
	}
	d = index.Poison{Digest: image.Digest, Crashes: d.Crashes + 1, Last: now, Detail: strings.TrimPrefix(cause.Error(), ErrPoison.Error()+": ")}
	if err := v.s.Commit(index.Change{Bucket: image.Bucket, Poison: &d}, nil); err != nil {
		return errors.Join(cause, err)
	}
	if d.Crashes < MaxCrashes {
		return cause
	}
	v.s.Log().Error("an image has crashed two decoders: no sizes are made of it until 'imgkeep retry'", "bucket", image.Bucket, "digest", image.Digest, "host", imageurl.HostOf(image.URL), "error", cause)
	return fmt.Errorf("%w: %w", ErrUndecodable, cause)
}

// clear clears the recorded crashes of an image, because it was decoded.
func (v *Variants) clear(image record.Image) {
	d := index.Poison{Digest: image.Digest}
	if err := v.s.Commit(index.Change{Bucket: image.Bucket, Poison: &d}, nil); err != nil {
		v.s.Log().Error("cannot clear the recorded crashes of an image that was decoded since", "digest", image.Digest, "error", err)
	}
}
