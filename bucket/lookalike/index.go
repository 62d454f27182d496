package lookalike

import (
	"context"
	"errors"
	"time"

	"imgkeep/bucket/index"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/pace"
	"imgkeep/bucket/record"
)

// IndexOptions say what Index does.
type IndexOptions struct {
	Rate     int64                 // images that are looked at in a second, at most; 0: as many as decoders can
	Progress func(record.Progress) // told of each image; nil: nobody
}

// IndexReport says what Index has done.
type IndexReport struct {
	Images  int     `json:"images"`  // that are kept
	Known   int     `json:"known"`   // of those, that were known before
	Added   int     `json:"added"`   // that are known now
	Faint   int     `json:"faint"`   // of those added, that match nothing
	Failed  int     `json:"failed"`  // that could not be looked at
	Dropped int     `json:"dropped"` // hashes of images that are not kept any more
	Seconds float64 `json:"seconds"`
}

// Index has decoders look at all images whose hashes are not known, and drops the hashes of
// images that are not kept. The store may be in use meanwhile. One that was broken off goes
// on where it was when it is begun again, since what it has found is kept.
//
// An image that crashes decoders, or that none can read, is known from then on to have no
// hash; one that was not looked at for another reason, such as busy decoders, is counted as
// failed, and is tried by the next run.
func (l *Looks) Index(ctx context.Context, o IndexOptions) (r IndexReport, err error) {
	if l == nil {
		return r, ErrOff
	}
	ctx, done, err := l.s.Begin(ctx)
	if err != nil {
		return r, err
	}
	defer done()
	start := time.Now()
	defer func() { r.Seconds = time.Since(start).Seconds() }()
	if r.Dropped, err = l.dropStale(ctx); err != nil {
		return r, err
	}
	p := pace.Pace{Rate: o.Rate}
	for _, name := range l.s.Buckets() {
		for e, err := range l.s.Index().Images(name) {
			if err == nil && e.Refs == 0 {
				continue // it is about to go
			}
			if err == nil {
				err = ctx.Err()
			}
			if errors.Is(err, index.ErrDamaged) {
				r.Failed++
				continue // scrub tells of it
			}
			if err != nil {
				return r, errors.Join(err, context.Cause(ctx))
			}
			r.Images++
			if l.Book.Has(e.Digest) {
				r.Known++
				continue
			}
			l.indexOne(ctx, index.RecordOf(name, "", e.Image), &r)
			if o.Progress != nil {
				o.Progress(record.Progress{Stage: "images", Done: int64(r.Images)})
			}
			if err := p.Took(ctx, 1); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

// indexOne has a decoder look at an image.
func (l *Looks) indexOne(ctx context.Context, image record.Image, r *IndexReport) {
	f, err := l.s.OpenFile(ctx, image)
	var p likeness.Print
	if err == nil {
		p, err = l.Print(ctx, image, f, true)
		f.Close()
	}
	if errors.Is(err, ErrPoison) {
		l.s.Log().Warn("an image has no hash", "bucket", image.Bucket, "digest", image.Digest, "error", err)
		p, err = likeness.Print{}, nil
	}
	if err != nil {
		if ctx.Err() == nil {
			l.s.Log().Warn("an image was not looked at", "bucket", image.Bucket, "digest", image.Digest, "error", err)
		}
		r.Failed++
		return
	}
	l.s.Removing().RLock()
	defer l.s.Removing().RUnlock()
	if _, err := l.s.Index().Entry(image.Bucket, image.Digest); err != nil {
		return // removed meanwhile
	}
	if err := l.Book.Put(image.Digest, p); err != nil {
		l.s.Log().Error("the hash of an image is not kept", "bucket", image.Bucket, "digest", image.Digest, "error", err)
		r.Failed++
		return
	}
	r.Added++
	if !p.Matches() {
		r.Faint++
	}
}

// dropStale drops hashes of what no bucket has, as after an older index was put in place.
func (l *Looks) dropStale(ctx context.Context) (dropped int, err error) {
	l.Book.Digests(func(d record.Digest) bool {
		if err = ctx.Err(); err != nil {
			return false
		}
		if l.kept(d) {
			return true
		}
		l.s.Removing().Lock() // so that it is not just being kept
		defer l.s.Removing().Unlock()
		if !l.kept(d) {
			if err = l.Book.Remove(d); err == nil {
				dropped++
			}
		}
		return err == nil
	})
	return dropped, err
}

// kept tells whether a bucket has an image, or cannot tell.
func (l *Looks) kept(d record.Digest) bool { return len(l.In(d)) > 0 }

// In are the buckets that have an image, or cannot tell.
func (l *Looks) In(d record.Digest) (buckets []string) {
	for _, name := range l.s.Buckets() {
		if _, err := l.s.Index().Entry(name, d); !errors.Is(err, index.ErrNotFound) {
			buckets = append(buckets, name)
		}
	}
	return buckets
}

// Found is an image of the store that looks like a picture.
type Found struct {
	Digest   string   `json:"digest"`
	Distance int      `json:"distance"`         // in bits
	Turned   bool     `json:"turned,omitempty"` // or mirrored
	Buckets  []string `json:"buckets"`          // that have it
}

// Similar returns the images of the store that look like a picture, with turned also turned or
// mirrored, the nearest first, and at most so many. ErrFaint where the picture matches nothing.
func (l *Looks) Similar(p likeness.Print, within, most int, turned bool) ([]Found, error) {
	if l == nil {
		return nil, ErrOff
	}
	if !p.Matches() {
		return nil, ErrFaint
	}
	all := []Found{}
	for _, m := range l.Book.Search(p, within, most, turned) {
		if in := l.In(m.Digest); len(in) > 0 {
			all = append(all, Found{m.Digest.String(), m.Distance, m.Turned, in})
		}
	}
	return all, nil
}
