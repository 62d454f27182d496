package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/flight"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/strip"
	"imgkeep/bucket/uncached"
)

// Fetch fetches an image under all the checks of Keep without keeping it. It is
// whole when Fetch returns, so a cut-off download is an error here as well. It is
// fetched once for all that ask meanwhile, and within a minute after that as long as
// there is room. Errors are those of Keep, and a failure that is remembered stands
// against it too. The end of ctx ends the waiting, not the fetch.
func (s *Store) Fetch(ctx context.Context, bucket, url string) (*uncached.File, error) {
	key := "pass\x00" + bucket + "\x00" + url
	for range 3 { // what has landed may have made room for others already
		i := s.passing.Lookup(key)
		if i != nil {
			if err := s.mayPass(i); err != nil {
				return nil, err
			}
			if p, err := s.passing.Open(i); err == nil {
				return p, nil
			}
		}
		i, err := flight.Do(ctx, s.flights, key, func(ctx context.Context) (*uncached.Image, error) {
			return s.fetchPassing(ctx, key, bucket, url)
		})
		if err != nil {
			return nil, err
		}
		if p, err := s.passing.Open(i); !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
	}
	return nil, &fetch.Error{Class: fetch.Busy, Host: imageurl.HostOf(url), Err: uncached.ErrNoRoom}
}

// Passed returns what is known of an image that Fetch has fetched within some
// minutes: ErrNotKept if that is nothing, and else the errors of Find.
func (s *Store) Passed(bucket, url string) (info probe.Info, bytes int64, err error) {
	i := s.passing.Lookup("pass\x00" + bucket + "\x00" + url)
	if i == nil {
		return info, 0, ErrNotKept
	}
	if err := s.mayPass(i); err != nil {
		return info, 0, err
	}
	return i.Image.Info, i.Image.Bytes, nil
}

// mayPass tells whether an image that was fetched may still be shown.
func (s *Store) mayPass(i *uncached.Image) error {
	if _, err := s.Find(i.Image.Bucket, i.Image.URL); err != nil && !errors.Is(err, ErrNotKept) {
		return err
	}
	return s.admit(i.Image.Bucket, i.Image.URL, i.Image.Digest, i.Final)
}

func (s *Store) fetchPassing(ctx context.Context, key, bucket, url string) (*uncached.Image, error) {
	if i := s.passing.Fresh(key); i != nil {
		return i, nil // since the caller looked
	}
	if _, err := s.Find(bucket, url); err != nil && !errors.Is(err, ErrNotKept) {
		return nil, err
	}
	if err := s.hasRoom(); err != nil {
		return nil, err
	}
	room := s.passing.Reserve() // before anybody is asked
	if room == nil {
		return nil, &fetch.Error{Class: fetch.Busy, Host: imageurl.HostOf(url), Err: uncached.ErrNoRoom}
	}
	d, err := s.downloadApproved(ctx, bucket, url, url, nil, room.Writer)
	if err != nil {
		room.Release()
		if errors.Is(err, uncached.ErrNoRoom) {
			err = s.fetchFailed(ctx, bucket, url, &fetch.Error{Class: fetch.Busy, Host: imageurl.HostOf(url), Err: uncached.ErrNoRoom, Asked: true})
		}
		return nil, err
	}
	i := &uncached.Image{Image: d.image, Final: d.final, Path: d.tmp.Name()}
	if err := s.admit(bucket, url, d.image.Digest, d.final); err != nil {
		s.discard(d.tmp)
		room.Release()
		return nil, err
	}
	if err := d.tmp.Close(); err != nil {
		s.disk.RemoveAll(i.Path)
		room.Release()
		return nil, fmt.Errorf("store the image: %w", local.AsFull(err))
	}
	s.passing.Add(key, i, room)
	return i, nil
}

// Strip returns an image that is not kept without its metadata, likewise in a file
// without a name. p stays its holder's.
func (s *Store) Strip(p *uncached.File) (*uncached.File, error) {
	if _, err := p.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	tmp, err := s.temp("stripped-*")
	if err != nil {
		return nil, err
	}
	s.disk.RemoveAll(tmp.Name())
	_, err = s.Variants.StripTo(tmp, p.File, p.Info)
	if errors.Is(err, strip.ErrBroken) {
		_, err = s.Variants.StripEnded(tmp, p.File, p.Info)
	}
	if err != nil {
		tmp.Close()
		return nil, err
	}
	size, err := tmp.Seek(0, io.SeekEnd)
	if err != nil {
		tmp.Close()
		return nil, err
	}
	return p.With(tmp, size), nil
}
