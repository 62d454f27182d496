package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"imgkeep/bucket/likeness"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/record"
)

// Comparer compares images by how they look.
type Comparer interface {
	// Looks are what is known of that; nil: nothing.
	Looks() *lookalike.Looks
	// DigestsOf are the digests of what is kept under a URL: one, unless buckets differ.
	DigestsOf(url string) []record.Digest
	// LookAt has a decoder look at the bytes of an image.
	LookAt(ctx context.Context, image io.Reader) (likeness.Print, error)
}

// SimilarRequest asks which images of the store look like one. At most one of URL, Digest
// and Hash is set; none of them: like the image whose bytes come along.
type SimilarRequest struct {
	URL    string `json:"url,omitempty"` // canonical
	Digest string `json:"digest,omitempty"`
	Hash   string `json:"hash,omitempty"`  // PDQ; of turned or mirrored images nothing is known then
	Within int    `json:"within"`          // bits, 0 to likeness.MaxWithin; see likeness.Within
	Limit  int    `json:"limit,omitempty"` // of images, 1 to MaxSimilar; 0: DefaultSimilar
	Named
}

// How many images Similar returns at most.
const (
	DefaultSimilar = 100
	MaxSimilar     = 1000
)

// Similar is what looks like an image.
type Similar struct {
	Hash    string            `json:"hash"`    // its own
	Quality int               `json:"quality"` // below likeness.MinQuality nothing looks like it
	Images  []lookalike.Found `json:"images"`  // the nearest first; an image that is kept is among them itself
	// Blocked is the blocked hash that it looks like, so that it would not be kept; empty:
	// there is none.
	Blocked  string `json:"blocked,omitempty"`
	Distance int    `json:"distance,omitempty"` // from that
}

// AllowRequest asks to let an image through for good, whatever it looks like: by its
// digest, or by the URL under which it was refused.
type AllowRequest struct {
	URL    string `json:"url,omitempty"` // canonical
	Digest string `json:"digest,omitempty"`
	Undo   bool   `json:"undo,omitempty"` // not any more
	Why    string `json:"why,omitempty"`
	Named
}

// Allowed are the digests of what was let through, or is not any more.
type Allowed struct {
	Digests []string `json:"digests"`
}

// BlockHashesRequest asks to keep out what looks like any of these, of a list that was
// imported.
type BlockHashesRequest struct {
	Hashes []likeness.Listed `json:"hashes"` // at most MaxListed
	From   string            `json:"from,omitempty"`
	Why    string            `json:"why,omitempty"`
}

// MaxListed is how many hashes of a list are blocked by one request.
const MaxListed = 500

// HashesBlocked tells how many of a list are blocked now, and were not before.
type HashesBlocked struct {
	Added int `json:"added"`
}

// IndexLooksRequest asks decoders to look at all images whose hashes are not known.
type IndexLooksRequest struct {
	Rate int64 `json:"rate"` // images a second; 0: as many as decoders can
}

// Similar implements Service.
func (l *Local) Similar(ctx context.Context, q SimilarRequest, image io.Reader) (found Similar, err error) {
	found.Images = []lookalike.Found{}
	if err := l.check(q.Named); err != nil {
		return found, err
	}
	limit := q.Limit
	if limit == 0 {
		limit = DefaultSimilar
	}
	if limit < 1 || limit > MaxSimilar {
		return found, fmt.Errorf("%d images: from 1 to %d can be asked for", limit, MaxSimilar)
	}
	if q.Within < 0 || q.Within > likeness.MaxWithin {
		return found, fmt.Errorf("a distance of %d is not from 0 to %d", q.Within, likeness.MaxWithin)
	}
	p, turned, err := l.printOf(ctx, q, image)
	if err != nil {
		return found, err
	}
	found.Hash, found.Quality = p.Hash().String(), p.Quality
	looks := l.opts.Store.Looks()
	if like, ok := looks.Blocked.Match(p); ok && turned {
		found.Blocked, found.Distance = like.Hash.String(), like.Distance
	}
	images, err := looks.Similar(p, q.Within, limit, turned)
	if err == nil {
		found.Images = images
	}
	return found, err
}

// printOf is the print of what a request names. turned tells whether it says how the image
// looks turned and mirrored.
func (l *Local) printOf(ctx context.Context, q SimilarRequest, image io.Reader) (p likeness.Print, turned bool, err error) {
	looks := l.opts.Store.Looks()
	named := 0
	for _, name := range []string{q.URL, q.Digest, q.Hash} {
		if name != "" {
			named++
		}
	}
	switch {
	case looks == nil:
		return p, false, lookalike.ErrOff
	case named > 1:
		return p, false, errors.New("want one of URL, digest and hash")
	case q.Hash != "":
		h, err := likeness.ParseHash(q.Hash)
		return likeness.Print{Hashes: [8]likeness.Hash{h}, Quality: 100}, false, err
	case q.URL != "":
		for _, d := range l.opts.Store.DigestsOf(q.URL) {
			p, err := looks.PrintOf(ctx, d, false)
			return p, true, err
		}
		return p, false, lookalike.ErrUnknown
	case q.Digest != "":
		d, err := record.ParseDigest(q.Digest)
		if err == nil {
			p, err = looks.PrintOf(ctx, d, false)
		}
		return p, true, err
	case image == nil:
		image = strings.NewReader("") // which is no image
	}
	p, err = l.opts.Store.LookAt(ctx, image)
	return p, true, err
}

// Allow implements Service.
func (l *Local) Allow(ctx context.Context, q AllowRequest) (done Allowed, err error) {
	ctx = context.WithoutCancel(ctx) // a caller that leaves has asked for it all the same
	done.Digests = []string{}
	if err := l.check(q.Named); err != nil {
		return done, err
	}
	looks := l.opts.Store.Looks()
	if looks == nil {
		return done, lookalike.ErrOff
	}
	var digests []record.Digest
	switch {
	case (q.URL == "") == (q.Digest == ""):
		return done, errors.New("want a URL or a digest to let through")
	case q.URL != "":
		if digests = looks.Refusals.Under(q.URL); len(digests) == 0 {
			return done, errors.New("nothing was refused under this URL lately: name the image by its digest")
		}
	default:
		d, err := record.ParseDigest(q.Digest)
		if err != nil {
			return done, err
		}
		digests = append(digests, d)
	}
	for _, d := range digests {
		if err = looks.Allow(ctx, d, q.Undo, lookalike.By{Who: l.by.Who, Why: q.Why}); err != nil {
			break
		}
		done.Digests = append(done.Digests, d.String())
	}
	l.log(err, "let through", "images", len(done.Digests), "undo", q.Undo)
	return done, errors.Join(err, l.audit(Change{Op: "allow", What: q, Why: q.Why}, err))
}

// BlockHashes implements Service.
func (l *Local) BlockHashes(ctx context.Context, q BlockHashesRequest) (done HashesBlocked, err error) {
	if len(q.Hashes) < 1 || len(q.Hashes) > MaxListed {
		return done, fmt.Errorf("%d hashes: from 1 to %d can be blocked at once", len(q.Hashes), MaxListed)
	}
	ctx = context.WithoutCancel(ctx)
	done.Added, err = l.opts.Store.Looks().Block(ctx, q.Hashes, lookalike.By{Who: l.by.Who, Why: q.Why})
	l.log(err, "hashes blocked", "listed", len(q.Hashes), "added", done.Added)
	return done, errors.Join(err, l.audit(Change{Op: "block-hashes", What: struct {
		From   string `json:"from,omitempty"`
		Listed int    `json:"listed"`
		Added  int    `json:"added"`
	}{q.From, len(q.Hashes), done.Added}, Why: q.Why}, err))
}

// IndexLooks implements Service.
func (l *Local) IndexLooks(ctx context.Context, q IndexLooksRequest, each Each) (r lookalike.IndexReport, err error) {
	if q.Rate < 0 {
		return r, fmt.Errorf("a rate of %d is below 0", q.Rate)
	}
	if !l.jobs.looking.TryLock() {
		return r, errors.New("images are being looked at already: try again later")
	}
	defer l.jobs.looking.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o := lookalike.IndexOptions{Rate: q.Rate}
	if each != nil {
		o.Progress = func(p record.Progress) {
			if err := each(Event{Progress: &p}); err != nil {
				cancel(err)
			}
		}
	}
	r, err = l.opts.Store.Looks().Index(ctx, o)
	l.log(err, "images looked at", "images", r.Images, "added", r.Added, "failed", r.Failed, "dropped", r.Dropped, "seconds", r.Seconds)
	return r, err
}
