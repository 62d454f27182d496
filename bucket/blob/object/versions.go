package object

import (
	"context"
	"errors"
	"fmt"
	"path"

	"imgkeep/bucket/record"
)

var (
	// ErrNoVersions: the store keeps no versions of objects, or cannot tell.
	ErrNoVersions = errors.New("the object store keeps no versions")
	// ErrHeld: the store does not delete this version, for the reason that goes with it.
	ErrHeld = errors.New("the object store refuses to delete it")
)

// Version is what a store keeps of an object that was replaced or removed, or has at the
// moment; or a delete marker, which says that it was removed.
type Version struct{ Key, ID string }

// Versioned is a [Store] that may keep versions of objects. What it deletes of them is gone
// for good.
type Versioned interface {
	// CheckVersions returns ErrNoVersions if none are kept.
	CheckVersions(ctx context.Context) error
	// Versions lists the versions of all objects whose names begin with prefix.
	Versions(ctx context.Context, prefix string) ([]Version, error)
	// RemoveVersion removes one. That there is none is no error. ErrHeld, ErrUnclear.
	RemoveVersion(ctx context.Context, v Version) error
}

// CheckVersions returns ErrNoVersions for a store that keeps none.
func CheckVersions(ctx context.Context, objects Store) error {
	s, ok := objects.(Versioned)
	if !ok {
		return ErrNoVersions
	}
	return s.CheckVersions(ctx)
}

// RemoveVersions removes all versions of the originals of a digest in a bucket whose generation
// is less than before, in all formats, and returns how many it removed. It continues after an
// error, and returns all errors: ErrHeld, ErrUnclear, ErrNoVersions.
func RemoveVersions(ctx context.Context, objects Store, bucket string, d record.Digest, before uint64) (removed int, err error) {
	s, ok := objects.(Versioned)
	if !ok {
		return 0, ErrNoVersions
	}
	folder := path.Dir(Key(record.Image{Bucket: bucket, Digest: d})) + "/"
	versions, err := s.Versions(ctx, folder+d.String()+".")
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, v := range versions {
		image, ok := parseName(bucket, path.Base(v.Key))
		if !ok || Key(image) != v.Key || image.Digest != d || image.Generation >= before {
			continue
		}
		if err := s.RemoveVersion(ctx, v); err != nil {
			errs = append(errs, fmt.Errorf("version %s of %s: %w", v.ID, v.Key, err))
			continue
		}
		removed++
	}
	return removed, errors.Join(errs...)
}
