package bucket

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/flight"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/record"
)

// repair fetches a damaged original again, unless a failure stands against that. now, for
// an operator who has asked for it: whatever has failed before.
func (s *Store) repair(ctx context.Context, image record.Image, now bool) error {
	_, err := flight.Do(ctx, s.flights, fmt.Sprint("repair\x00", now, image.File()), func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.fetchAndRepair(ctx, image, now)
	})
	return err
}

func (s *Store) fetchAndRepair(ctx context.Context, image record.Image, now bool) (err error) {
	if s.intact(image) {
		return nil // an earlier flight may have landed since
	}
	if s.node != nil { // it may have been removed, and this node not have heard of it
		if err := s.node.CatchUp(ctx); err != nil {
			return err
		}
	}
	s.log.Error("an original is damaged: fetching it again", "bucket", image.Bucket, "digest", image.Digest, "host", imageurl.HostOf(image.URL))
	if err := s.stillUnder(image); err != nil {
		return err
	}
	defer func() {
		// Wrong bytes that are known to be wrong are served to nobody.
		if err != nil {
			err = errors.Join(err, s.quarantineWrong(image))
		}
	}()
	if f, err := s.recall(image.Bucket, image.URL); err != nil || f != nil && !now {
		return errors.Join(ErrLost, err, orNil(f))
	}
	if err := s.hasRoom(); err != nil {
		return err
	}
	// Without a question: these bytes have been approved of, or are thrown away.
	d, err := s.download(ctx, image.Bucket, image.URL, image.URL, image.Bytes, nil, nil)
	var f *Failure
	if errors.As(err, &f) {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	if err != nil {
		return err
	}
	defer d.tmp.Close()
	if d.image.Digest != image.Digest {
		s.discard(d.tmp)
		cause := &fetch.Error{Kind: kindLost, Host: imageurl.HostOf(image.URL), Err: fmt.Errorf("the origin has other bytes now: %s", d.image.Digest)}
		f, err := s.remember(image.Bucket, image.URL, cause)
		return errors.Join(ErrLost, err, orNil(f))
	}
	s.removing.RLock()
	defer s.removing.RUnlock()
	if err := s.stillUnder(image); err != nil {
		s.disk.RemoveAll(d.tmp.Name())
		return err
	}
	err = s.files.Put(ctx, image, d.tmp)
	s.disk.RemoveAll(d.tmp.Name())
	if err != nil {
		return fmt.Errorf("store the image: %w", local.AsFull(err))
	}
	return s.commit(index.Change{Bucket: image.Bucket, URL: image.URL, Keep: index.ImageOf(image)}, nil)
}

// intact tells whether an original has the bytes that it is named by.
func (s *Store) intact(image record.Image) bool {
	digest, _, err := local.HashFile(s.Path(image.File()), false)
	return err == nil && digest == image.Digest
}

// orNil keeps a nil *Failure from becoming an error that is not nil.
func orNil(f *Failure) error {
	if f == nil {
		return nil
	}
	return f
}

// quarantineWrong takes an original out of the store if its bytes are not those
// of its name: from then on they are served to nobody, also not by a web server
// that has them under another name.
func (s *Store) quarantineWrong(image record.Image) error {
	wrong := func(path string) bool {
		digest, _, err := local.HashFile(s.Path(path), false)
		return err == nil && digest != image.Digest // an error says nothing about the bytes
	}
	// What comes back below must not be what a purge has passed over meanwhile.
	s.removing.RLock()
	defer s.removing.RUnlock()
	if !wrong(image.File()) {
		return nil
	}
	folder := record.QuarantineFolder(s.now())
	if err := local.Quarantine(s.disk, s.root, folder, image.File()); err != nil {
		return err
	}
	// The right bytes may have come under another URL just before.
	if moved := filepath.Join(folder, image.File()); !wrong(moved) {
		return s.disk.Rename(s.Path(moved), s.Path(image.File()))
	}
	return nil
}
