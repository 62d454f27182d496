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
	key := passingKey(bucket, url)
	for range 3 { // what has landed may have made room for others already
		if i := s.uncached.Lookup(key); i != nil {
			if err := s.mayShow(i); err != nil {
				return nil, err
			}
			if p, err := s.uncached.Open(i); err == nil {
				return p, nil
			}
		}
		i, err := flight.Do(ctx, s.flights, key, func(ctx context.Context) (*uncached.Image, error) {
			return s.fetchUncached(ctx, key, bucket, url)
		})
		if err != nil {
			return nil, err
		}
		if p, err := s.uncached.Open(i); !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
	}
	return nil, noRoom(url)
}

// FetchStripped is Fetch without the metadata of the image. It is made once for all who
// ask while its bytes are there, and takes of the same room.
func (s *Store) FetchStripped(ctx context.Context, bucket, url string) (*uncached.File, error) {
	for range 3 {
		p, err := s.Fetch(ctx, bucket, url)
		if err != nil {
			return nil, err
		}
		stripped, err := s.stripPassing(ctx, p)
		p.Close() // a slow viewer holds one file
		if !errors.Is(err, fs.ErrNotExist) {
			return stripped, err
		}
	}
	return nil, noRoom(url)
}

func passingKey(bucket, url string) string { return "pass\x00" + bucket + "\x00" + url }

// strippedKey is by the bytes: what is made of them is the same for all who have them.
func strippedKey(i *uncached.Image) string { return "strip\x00" + i.Image.File() }

func noRoom(url string) *fetch.Error {
	return &fetch.Error{Kind: fetch.Busy, Host: imageurl.HostOf(url), Err: uncached.ErrNoRoom}
}

// Uncached returns what is known of an image that Fetch has fetched within some
// minutes, or of its form without metadata, if that was made: ErrNotKept if that is
// nothing, and else the errors of Find.
func (s *Store) Uncached(bucket, url string, stripped bool) (info probe.Info, bytes int64, err error) {
	i := s.uncached.Lookup(passingKey(bucket, url))
	if i == nil {
		return info, 0, ErrNotKept
	}
	if err := s.mayShow(i); err != nil {
		return info, 0, err
	}
	if stripped {
		if i = s.uncached.Lookup(strippedKey(i)); i == nil {
			return info, 0, ErrNotKept
		}
	}
	return i.Image.Info, i.Image.Bytes, nil
}

// mayShow tells whether an image that was fetched may still be shown.
func (s *Store) mayShow(i *uncached.Image) error {
	done, err := s.begin()
	if err != nil {
		return err
	}
	defer done()
	if _, err := s.Find(i.Image.Bucket, i.Image.URL); err != nil && !errors.Is(err, ErrNotKept) {
		return err
	}
	if err := s.admit(i.Image.Bucket, i.Image.URL, i.Image.Digest, i.Final); err != nil {
		return err
	}
	return s.lookUncached(s.life, i)
}

func (s *Store) fetchUncached(ctx context.Context, key, bucket, url string) (*uncached.Image, error) {
	if i := s.uncached.Fresh(key); i != nil {
		return i, nil // since the caller looked
	}
	if _, err := s.Find(bucket, url); err != nil && !errors.Is(err, ErrNotKept) {
		return nil, err
	}
	if err := s.hasRoom(); err != nil {
		return nil, err
	}
	room := s.uncached.Reserve(1) // before anybody is asked
	if room == nil {
		return nil, noRoom(url)
	}
	d, err := s.downloadApproved(ctx, bucket, url, url, nil, room.Writer)
	if err != nil {
		room.Release()
		if errors.Is(err, uncached.ErrNoRoom) {
			err = s.fetchFailed(ctx, bucket, url, &fetch.Error{Kind: fetch.Busy, Host: imageurl.HostOf(url), Err: uncached.ErrNoRoom, Asked: true})
		}
		return nil, err
	}
	i := &uncached.Image{Image: d.image, Final: d.final, Path: d.tmp.Name()}
	err = s.admit(bucket, url, d.image.Digest, d.final)
	if err == nil {
		if err = s.lookUncached(ctx, i); err != nil {
			err = s.lookFailed(ctx, bucket, url, err)
		}
	}
	if err != nil {
		s.discard(d.tmp)
		room.Release()
		return nil, err
	}
	if err := d.tmp.Close(); err != nil {
		s.disk.RemoveAll(i.Path)
		room.Release()
		return nil, fmt.Errorf("store the image: %w", local.AsFull(err))
	}
	s.uncached.Add(key, i, room)
	return i, nil
}

// stripSlack is how many bytes an image may gain by losing its metadata: the end that it
// lacked.
const stripSlack = 1 << 10

// stripPassing returns an image that is not kept without its metadata. p stays its
// holder's. fs.ErrNotExist: it had to make room meanwhile.
func (s *Store) stripPassing(ctx context.Context, p *uncached.File) (*uncached.File, error) {
	source := p.Source()
	key := strippedKey(source)
	i := s.uncached.Fresh(key)
	if i == nil {
		var err error
		i, err = flight.Do(ctx, s.flights, key, func(context.Context) (*uncached.Image, error) {
			if i := s.uncached.Fresh(key); i != nil {
				return i, nil
			}
			// The flight may go on when who has begun it has left with p.
			original, err := s.uncached.Open(source)
			if err != nil {
				return nil, err
			}
			defer original.Close()
			return s.strip(key, original)
		})
		if err != nil {
			return nil, err
		}
	}
	stripped, err := s.uncached.Open(i)
	if err != nil {
		return nil, err
	}
	return stripped.As(p), nil
}

// strip makes an image without the metadata of an original.
func (s *Store) strip(key string, original *uncached.File) (_ *uncached.Image, err error) {
	source := original.Source()
	room := s.uncached.Reserve(original.Bytes + stripSlack)
	if room == nil {
		return nil, noRoom(source.Image.URL)
	}
	tmp, err := s.temp("stripped-*")
	if err != nil {
		room.Release()
		return nil, err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			s.disk.RemoveAll(tmp.Name())
			room.Release()
		}
	}()
	_, err = s.Variants.StripTo(tmp, original.File, original.Info)
	if errors.Is(err, strip.ErrBroken) {
		_, err = s.Variants.StripEnded(tmp, original.File, original.Info)
	}
	if err != nil {
		if s.uncached.Dropped(source) { // in the middle of being read
			err = fs.ErrNotExist
		}
		return nil, err
	}
	made := &uncached.Image{Image: source.Image, Final: source.Final, Path: tmp.Name()}
	if made.Image.Bytes, err = tmp.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	room.Trim(made.Image.Bytes)
	s.uncached.Add(key, made, room)
	return made, nil
}
