package nodes

import (
	"context"
	"errors"
	"fmt"

	"imgkeep/bucket"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/control"
)

var errNoVersions = errors.New("nothing was removed: leave --all-versions out, since a deletion leaves nothing here")

// AllVersions implements control.VersionRemover.
func (s *Store) AllVersions() control.Remover { return allVersions{s} }

// allVersions is a store of which Purge and Block delete from the object store, once they are
// decided, also all versions of originals whose names are dead: of those that this removal has
// found, and of what was removed before of a digest that is named.
type allVersions struct{ *Store }

func (s allVersions) check(ctx context.Context) error {
	err := s.node.CheckVersions(ctx)
	if errors.Is(err, object.ErrNoVersions) {
		return fmt.Errorf("%w: %w", err, errNoVersions)
	}
	return err
}

func (s allVersions) Purge(ctx context.Context, t bucket.Target, o bucket.RemoveOptions) (r record.Removal, err error) {
	if err := s.check(ctx); err != nil {
		return r, err
	}
	r, err = s.Store.Purge(ctx, t, o)
	return s.removeVersions(ctx, t, o, r, err)
}

func (s allVersions) Block(ctx context.Context, t bucket.Target, o bucket.RemoveOptions) (r record.Removal, err error) {
	if err := s.check(ctx); err != nil {
		return r, err
	}
	r, err = s.Store.Block(ctx, t, o)
	return s.removeVersions(ctx, t, o, r, err)
}

// removeVersions goes on after a removal that has ended with r and err. A removal that finds only
// versions is one.
func (s allVersions) removeVersions(ctx context.Context, t bucket.Target, o bucket.RemoveOptions, r record.Removal, err error) (record.Removal, error) {
	if o.DryRun || err != nil && !errors.Is(err, bucket.ErrNotKept) && !isDecided(err) {
		return r, err
	}
	buckets, bucketsErr := s.buckets(o)
	digests, digestsErr := digestsIn(t, r)
	errs := []error{bucketsErr, digestsErr}
	found := false
	for _, d := range digests {
		for _, b := range buckets {
			n, err := s.node.RemoveVersions(ctx, b, d)
			if n > 0 {
				found = true
				note(&r, b, d, n)
			}
			errs = append(errs, err)
		}
	}
	if errors.Is(err, bucket.ErrNotKept) && found {
		err = nil
	}
	if left := errors.Join(errs...); left != nil {
		if errors.Is(err, bucket.ErrNotKept) {
			err = nil // what is left was found
		}
		err = errors.Join(err, fmt.Errorf("it is not served any more, but versions of it are still in the object store; name the digest to try again: %w", left))
	}
	return r, err
}

// digestsIn are the digests that a removal is about.
func digestsIn(t bucket.Target, r record.Removal) ([]record.Digest, error) {
	images := []record.Image{}
	if t.Digest != (record.Digest{}) {
		images = append(images, record.Image{Digest: t.Digest})
	}
	for _, i := range r.Images {
		images = append(images, i.Image)
	}
	for _, b := range r.Blocked {
		if b.Kind != record.BlockDigest {
			continue
		}
		d, err := record.ParseDigest(b.Subject)
		if err != nil {
			return nil, err
		}
		images = append(images, record.Image{Digest: d})
	}
	return digestsOf(images), nil
}

// note adds deleted versions to what was removed.
func note(r *record.Removal, bucket string, d record.Digest, n int) {
	for i := range r.Images {
		if r.Images[i].Bucket == bucket && r.Images[i].Digest == d.String() {
			r.Images[i].Versions += n
			return
		}
	}
	r.Images = append(r.Images, record.Removed{Bucket: bucket, Digest: d.String(), URLs: []string{}, Files: []string{}, Sizes: []string{}, Versions: n, Image: record.Image{Bucket: bucket, Digest: d}})
}
