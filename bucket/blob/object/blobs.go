package object

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

var _ blob.Store = (*Blobs)(nil)

// Blobs is a [blob.Store] in a store of objects.
type Blobs struct {
	objects Store
	dir     string
}

// NewBlobs returns the originals in a store. What is opened is brought to files without a
// name in dir.
func NewBlobs(objects Store, dir string) *Blobs { return &Blobs{objects, dir} }

// Originals is the folder of a bucket's originals, for Shards.
func Originals(bucket string) string { return bucket + "/o/" }

// Key is the name of an original. One that was removed and kept again has another.
func Key(image record.Image) string {
	name := image.Digest.String()
	key := Originals(image.Bucket) + name[:1] + "/" + name[1:2] + "/" + name
	if image.Generation > 0 {
		key += "." + strconv.FormatUint(image.Generation, 10)
	}
	return key + image.Format.Ext()
}

// parseName reads the last part of what Key makes.
func parseName(bucket, name string) (record.Image, bool) {
	stem, ext := strings.TrimSuffix(name, filepath.Ext(name)), filepath.Ext(name)
	text, generation, has := strings.Cut(stem, ".")
	digest, err := record.ParseDigest(text)
	if err != nil {
		return record.Image{}, false
	}
	image := record.Image{Bucket: bucket, Digest: digest}
	if has {
		if image.Generation, err = strconv.ParseUint(generation, 10, 64); err != nil {
			return record.Image{}, false
		}
	}
	for _, f := range probe.Formats() {
		if image.Format = f; f.Ext() == ext {
			return image, strings.HasSuffix(Key(image), "/"+name) // and in no other spelling
		}
	}
	return record.Image{}, false
}

// Put does what blob.Store says, with one request if the store has nothing under the name
// and answers. If no answer comes, it looks, and asks once more.
func (b *Blobs) Put(ctx context.Context, image record.Image, from io.ReaderAt) error {
	key, c := Key(image), Content{From: from, Bytes: image.Bytes, Digest: image.Digest, Type: image.Format.ContentType()}
	for again := false; ; again = true {
		err := b.objects.Create(ctx, key, c)
		if err == nil || !errors.Is(err, ErrExists) && !errors.Is(err, ErrUnclear) {
			return err
		}
		info, statErr := b.objects.Stat(ctx, key)
		switch {
		case errors.Is(statErr, ErrAbsent) && !again:
			continue
		case statErr != nil:
			return errors.Join(err, statErr)
		}
		whole, readErr := b.isWhole(ctx, image, info)
		if readErr != nil || whole {
			return readErr
		}
		return b.objects.Replace(ctx, key, c, info.Tag)
	}
}

// isWhole tells whether the object of an original is what its name says, by reading it if the
// store does not know.
func (b *Blobs) isWhole(ctx context.Context, image record.Image, info Info) (bool, error) {
	if info.Bytes != image.Bytes {
		return false, nil
	}
	if info.Digest != (record.Digest{}) {
		return info.Digest == image.Digest, nil
	}
	err := b.FetchTo(ctx, image, io.Discard)
	if errors.Is(err, blob.ErrDamaged) {
		return false, nil
	}
	return err == nil, err
}

// Stat does what blob.Store says.
func (b *Blobs) Stat(ctx context.Context, image record.Image) error {
	info, err := b.objects.Stat(ctx, Key(image))
	switch {
	case errors.Is(err, ErrAbsent):
		return fmt.Errorf("%w: %s: %w", blob.ErrDamaged, Key(image), err)
	case err != nil:
		return err
	case info.Bytes != image.Bytes:
		return fmt.Errorf("%w: %s has %d bytes, and had %d", blob.ErrDamaged, Key(image), info.Bytes, image.Bytes)
	case info.Digest != (record.Digest{}) && info.Digest != image.Digest:
		return fmt.Errorf("%w: the digest of %s is %s", blob.ErrDamaged, Key(image), info.Digest)
	}
	return nil
}

// FetchTo writes an original to dst, and compares the bytes with their digest. An object that
// is missing or wrong is ErrDamaged; then dst has bytes that are to be thrown away.
func (b *Blobs) FetchTo(ctx context.Context, image record.Image, dst io.Writer) error {
	body, info, err := b.objects.Fetch(ctx, Key(image))
	if errors.Is(err, ErrAbsent) {
		return fmt.Errorf("%w: %s: %w", blob.ErrDamaged, Key(image), err)
	}
	if err != nil {
		return err
	}
	defer body.Close()
	if info.Bytes != image.Bytes {
		return fmt.Errorf("%w: %s has %d bytes, and had %d", blob.ErrDamaged, Key(image), info.Bytes, image.Bytes)
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(dst, hash), io.LimitReader(body, image.Bytes))
	switch {
	case err != nil:
		return fmt.Errorf("fetch %s: %w", Key(image), err)
	case n < image.Bytes:
		return fmt.Errorf("fetch %s: it ended after %d of %d bytes: %w", Key(image), n, image.Bytes, io.ErrUnexpectedEOF)
	}
	if got := record.Digest(hash.Sum(nil)); got != image.Digest {
		return fmt.Errorf("%w: the digest of %s is %s", blob.ErrDamaged, Key(image), got)
	}
	return nil
}

// Open does what blob.Store says. It compares the bytes with their digest on the way.
func (b *Blobs) Open(ctx context.Context, image record.Image) (_ *os.File, err error) {
	fd, err := unix.Open(b.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open a nameless file in", Path: b.dir, Err: err}
	}
	file := os.NewFile(uintptr(fd), filepath.Join(b.dir, Key(image)))
	err = b.FetchTo(ctx, image, file)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// Remove does what blob.Store says, of this generation.
func (b *Blobs) Remove(ctx context.Context, image record.Image) error {
	err := b.objects.Remove(ctx, Key(image))
	if errors.Is(err, ErrUnclear) {
		err = b.objects.Remove(ctx, Key(image)) // which is as if it came once
	}
	return err
}

// List does what blob.Store says. The generations of a digest come one after the other.
func (b *Blobs) List(ctx context.Context, bucket string) iter.Seq2[record.Image, error] {
	return func(yield func(record.Image, error) bool) {
		for folder, err := range Shards(ctx, b.objects, Originals(bucket)) {
			var images []record.Image
			if err == nil {
				images, err = b.ListShard(ctx, bucket, folder)
			}
			if err != nil {
				yield(record.Image{}, err)
				return
			}
			for _, image := range images {
				if !yield(image, nil) {
					return
				}
			}
		}
	}
}

// ListShard is List for a folder that Shards has named.
func (b *Blobs) ListShard(ctx context.Context, bucket, folder string) (images []record.Image, err error) {
	for name, err := range b.objects.List(ctx, folder) {
		if err != nil {
			return nil, err
		}
		if i, ok := parseName(bucket, strings.TrimPrefix(name, folder)); ok && Key(i) == name {
			images = append(images, i)
		}
	}
	slices.SortFunc(images, func(x, y record.Image) int { return bytes.Compare(x.Digest[:], y.Digest[:]) })
	return images, nil
}
