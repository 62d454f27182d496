package bucket

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/index"
	"imgkeep/bucket/probe"
)

// Keep returns the image that is kept under a canonical URL. Where there is none
// it is fetched, once for all that ask meanwhile, and kept before Keep returns.
// The end of ctx ends the waiting, not the fetch.
//
// Errors are ErrNoBucket, ErrDenied, ErrFull, ErrClosed, a *Failure that is
// remembered, a *fetch.Error that is not (refused, denied, busy), the end of
// ctx, or an error of the disk.
func (s *Store) Keep(ctx context.Context, bucket, url string) (Image, error) {
	image, err := s.Find(bucket, url)
	if !errors.Is(err, ErrNotKept) {
		return image, err
	}
	return s.keepHurried(ctx, bucket, url)
}

func (s *Store) fetchAndKeep(ctx context.Context, bucket, url string, at *fetch.Place) (Image, error) {
	if err := s.hasRoom(); err != nil {
		return Image{}, err
	}
	tmp, image, err := s.download(ctx, bucket, url, at)
	if err != nil {
		return Image{}, err
	}
	defer tmp.Close()
	if err := place(s.disk, tmp, s.Path(image.File())); err != nil {
		return Image{}, fmt.Errorf("store the image: %w", full(err))
	}
	if err := s.commit(index.Change{Bucket: bucket, URL: url, Keep: image.entry()}, keepEvent(image)); err != nil {
		return Image{}, err
	}
	return image, nil
}

// download fetches an image to a file in tmp, which is the caller's to close and
// remove. A failure that says something about the image is remembered.
func (s *Store) download(ctx context.Context, bucket, url string, at *fetch.Place) (_ *os.File, _ Image, err error) {
	tmp, err := s.temp("image-*")
	if err != nil {
		return nil, Image{}, err
	}
	defer func() {
		if err != nil {
			s.discard(tmp)
		}
	}()
	b := s.buckets[bucket]
	hash := sha256.New()
	result, err := s.origin.Fetch(ctx, fetch.Request{
		URL: url, Hosts: b.Hosts, MaxBytes: b.MaxBytes, Limits: s.limits, Place: at,
	}, io.MultiWriter(diskWriter{s.disk, tmp}, hash))
	if err != nil {
		return nil, Image{}, s.fetchFailed(ctx, bucket, url, err)
	}
	return tmp, Image{
		Bucket: bucket, URL: url, Digest: Digest(hash.Sum(nil)), Info: result.Info,
		Bytes: result.Bytes, Stored: s.now().UTC().Truncate(time.Second),
	}, nil
}

// fetchFailed decides what a failed fetch is to the caller.
func (s *Store) fetchFailed(ctx context.Context, bucket, url string, err error) error {
	var e *fetch.Error
	switch {
	case ctx.Err() != nil:
		return ErrClosed // ours, not the origin's
	case !errors.As(err, &e):
		return fmt.Errorf("store the image: %w", full(err)) // ours too
	case e.Class == fetch.Denied:
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case transient(e.Class):
		return err
	}
	s.log.Info("fetch failed", "bucket", bucket, "host", hostOf(url), "class", e.Class, "status", e.Status, "error", e)
	f, err := s.remember(bucket, url, e)
	if err != nil {
		return err
	}
	return f
}

// Open opens the original of an image. One that has vanished, or has another
// length than it had, is fetched again, once for all that ask meanwhile, and
// kept only if its origin still gives the same bytes; if not, the error is
// ErrLost.
func (s *Store) Open(ctx context.Context, image Image) (*os.File, error) {
	f, err := s.openOriginal(image)
	if err == nil || !errors.Is(err, errDamaged) {
		return f, err
	}
	if err := s.heal(ctx, image); err != nil {
		return nil, err
	}
	return s.openOriginal(image)
}

// Ensure is Open for whoever has the original sent by somebody else: it sees to
// it that the file is there, and does not open it.
func (s *Store) Ensure(ctx context.Context, image Image) error {
	info, err := os.Stat(s.Path(image.File()))
	if err = damage(image, info, err); errors.Is(err, errDamaged) {
		return s.heal(ctx, image)
	}
	return err
}

var errDamaged = errors.New("the original is damaged")

// damage tells what is wrong with an original of which this is known.
func damage(image Image, info fs.FileInfo, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", errDamaged, err)
	case err == nil && info.Size() != image.Bytes:
		return fmt.Errorf("%w: %s has %d bytes, and had %d", errDamaged, image.File(), info.Size(), image.Bytes)
	}
	return err
}

func (s *Store) openOriginal(image Image) (*os.File, error) {
	f, err := openFile(s.Path(image.File()))
	if err != nil {
		return nil, damage(image, nil, err)
	}
	info, err := f.Stat()
	if err = damage(image, info, err); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// heal fetches a damaged original again.
func (s *Store) heal(ctx context.Context, image Image) error {
	_, err := fly(ctx, s, "heal\x00"+image.File(), func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.fetchAndHeal(ctx, image)
	})
	return err
}

func (s *Store) fetchAndHeal(ctx context.Context, image Image) error {
	if s.intact(image) {
		return nil // an earlier flight may have landed since
	}
	s.log.Error("an original is damaged: fetching it again", "bucket", image.Bucket, "digest", image.Digest, "host", hostOf(image.URL))
	if f, err := s.recall(image.Bucket, image.URL); err != nil || f != nil {
		return errors.Join(ErrLost, err, orNil(f))
	}
	if err := s.hasRoom(); err != nil {
		return err
	}
	tmp, got, err := s.download(ctx, image.Bucket, image.URL, nil)
	var f *Failure
	if errors.As(err, &f) {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	if err != nil {
		return err
	}
	defer tmp.Close()
	if got.Digest != image.Digest {
		s.discard(tmp)
		cause := &fetch.Error{Class: classLost, Host: hostOf(image.URL), Err: fmt.Errorf("the origin has other bytes now: %s", got.Digest)}
		f, err := s.remember(image.Bucket, image.URL, cause)
		return errors.Join(ErrLost, err, orNil(f))
	}
	if err := place(s.disk, tmp, s.Path(image.File())); err != nil {
		return fmt.Errorf("store the image: %w", full(err))
	}
	return s.commit(index.Change{Bucket: image.Bucket, URL: image.URL, Keep: image.entry()}, nil)
}

// intact tells whether an original has the bytes that it is named by.
func (s *Store) intact(image Image) bool {
	f, err := s.openOriginal(image)
	if err != nil {
		return false
	}
	defer f.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	return err == nil && Digest(hash.Sum(nil)) == image.Digest
}

// orNil keeps a nil *Failure from becoming an error that is not nil.
func orNil(f *Failure) error {
	if f == nil {
		return nil
	}
	return f
}

// Passing is an image that is not kept: a file without a name, which is gone
// when it is closed.
type Passing struct {
	*os.File
	probe.Info
	Bytes int64
}

// Fetch fetches an image under all the checks of Keep without keeping it. It is
// whole when Fetch returns, so a cut-off download is an error here as well.
// Errors are those of Keep, and a failure that is remembered stands against it
// too. Unlike Keep it ends with ctx, since nobody else waits for it.
func (s *Store) Fetch(ctx context.Context, bucket, url string) (*Passing, error) {
	done, err := s.begin()
	if err != nil {
		return nil, err
	}
	defer done()
	if _, err := s.Find(bucket, url); err != nil && !errors.Is(err, ErrNotKept) {
		return nil, err
	}
	if err := s.hasRoom(); err != nil {
		return nil, err
	}
	tmp, image, err := s.download(ctx, bucket, url, nil)
	if err != nil {
		return nil, err
	}
	s.disk.RemoveAll(tmp.Name())
	return &Passing{File: tmp, Info: image.Info, Bytes: image.Bytes}, nil
}

func (s *Store) temp(pattern string) (*os.File, error) {
	f, err := s.disk.CreateTemp(filepath.Join(s.root, tmpDir), pattern)
	if err != nil {
		return nil, fmt.Errorf("store the image: %w", full(err))
	}
	return f, nil
}

func (s *Store) discard(tmp *os.File) {
	tmp.Close()
	s.disk.RemoveAll(tmp.Name())
}
