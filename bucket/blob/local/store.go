package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

var _ blob.Store = (*Store)(nil)

// Store is a [blob.Store] in the root of a store, on one file system with it. Its buckets
// must be there, see MakeBucket.
type Store struct {
	disk Disk
	root string
	now  func() time.Time
}

// New returns the store of the originals below root.
func New(d Disk, root string, now func() time.Time) *Store { return &Store{d, root, now} }

func (s *Store) path(image record.Image) string { return filepath.Join(s.root, image.File()) }

// Put does what blob.Store says. A file (*os.File), which must be on the file system of the
// store, gets another name; what else it is given is copied. A folder in the place of the
// original, which no file can take the name of, is put aside.
func (s *Store) Put(_ context.Context, image record.Image, from io.ReaderAt) error {
	if info, err := os.Lstat(s.path(image)); err == nil && info.IsDir() {
		if err := Quarantine(s.disk, s.root, record.QuarantineFolder(s.now()), image.File()); err != nil {
			return err
		}
	}
	if file, ok := from.(*os.File); ok {
		return place(s.disk, file, s.path(image))
	}
	tmp, err := s.copy(image, from)
	if tmp != nil {
		defer tmp.Close()
		defer s.disk.RemoveAll(tmp.Name())
	}
	if err != nil {
		return err
	}
	return place(s.disk, tmp, s.path(image))
}

// copy writes an original to a file in tmp, which is the caller's to close and remove, also
// after an error; nil: there is none.
func (s *Store) copy(image record.Image, from io.ReaderAt) (*os.File, error) {
	tmp, err := s.disk.CreateTemp(filepath.Join(s.root, record.TmpDir), "image-*")
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(Writer{s.disk, tmp}, io.NewSectionReader(from, 0, image.Bytes))
	if err == nil && n < image.Bytes {
		err = fmt.Errorf("%s has %d bytes, and ended after %d: %w", image.File(), image.Bytes, n, io.ErrUnexpectedEOF)
	}
	return tmp, err
}

// Open does what blob.Store says.
func (s *Store) Open(_ context.Context, image record.Image) (*os.File, error) {
	path := s.path(image)
	f, err := OpenFile(path)
	if err != nil {
		return nil, damage(image, nil, err)
	}
	info, err := f.Stat()
	if err = damage(image, info, err); err != nil {
		f.Close()
		return nil, err
	}
	Stamp(path, info)
	return f, nil
}

// Stat does what blob.Store says.
func (s *Store) Stat(_ context.Context, image record.Image) error {
	path := s.path(image)
	info, err := os.Stat(path)
	if err = damage(image, info, err); err == nil {
		Stamp(path, info)
	}
	return err
}

// damage tells what is wrong with an original of which this is known.
func damage(image record.Image, info fs.FileInfo, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", blob.ErrDamaged, err)
	case err == nil && info != nil && !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is no file", blob.ErrDamaged, image.File())
	case err == nil && info.Size() != image.Bytes:
		return fmt.Errorf("%w: %s has %d bytes, and had %d", blob.ErrDamaged, image.File(), info.Size(), image.Bytes)
	}
	return err
}

// Remove does what blob.Store says.
func (s *Store) Remove(_ context.Context, image record.Image) error {
	files, err := FilesOf(s.root, image.Bucket, image.Digest)
	if err != nil {
		return err
	}
	folders := []string{filepath.Dir(s.path(image))}
	for _, file := range files {
		path := filepath.Join(s.root, file)
		if err := s.disk.RemoveAll(path); err != nil {
			return err
		}
		if folder := filepath.Dir(path); !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	for _, folder := range folders {
		if err := s.disk.SyncDir(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// FilesOf lists the files of a digest in a bucket, below the root: the original, what was
// made from it, and what scrubbing has put aside of them.
func FilesOf(root, bucket string, d record.Digest) ([]string, error) {
	name := d.String()
	shard := filepath.Join(bucket, name[:1], name[1:2])
	folders := []string{shard}
	aside, err := filepath.Glob(filepath.Join(root, record.QuarantineDir, "*", shard))
	if err != nil {
		return nil, err
	}
	for _, folder := range aside {
		rel, err := filepath.Rel(root, folder)
		if err != nil {
			return nil, err
		}
		folders = append(folders, rel)
	}
	var files []string
	for _, folder := range folders {
		entries, err := os.ReadDir(filepath.Join(root, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), name+".") {
				files = append(files, filepath.Join(folder, e.Name()))
			}
		}
	}
	return files, nil
}

// List does what blob.Store says. Only regular files are originals.
func (s *Store) List(ctx context.Context, bucket string) iter.Seq2[record.Image, error] {
	return func(yield func(record.Image, error) bool) {
		missing := "" // a folder that holds none of the next ones
		for a, b := range record.Shards {
			if a == missing {
				continue
			}
			err := ctx.Err()
			var entries []os.DirEntry
			if err == nil {
				entries, err = os.ReadDir(filepath.Join(s.root, bucket, a, b))
			}
			if errors.Is(err, fs.ErrNotExist) {
				if _, err := os.Lstat(filepath.Join(s.root, bucket, a)); errors.Is(err, fs.ErrNotExist) {
					missing = a
				}
				continue
			}
			if err != nil {
				yield(record.Image{}, err)
				return
			}
			var images []record.Image
			for _, e := range entries {
				if f, ok := record.ParseFile(a, b, e.Name()); ok && f.Variant == "" && e.Type().IsRegular() {
					images = append(images, record.Image{Bucket: bucket, Digest: f.Digest, Info: probe.Info{Format: f.Format}})
				}
			}
			slices.SortFunc(images, func(x, y record.Image) int { return bytes.Compare(x.Digest[:], y.Digest[:]) })
			for _, image := range images {
				if !yield(image, nil) {
					return
				}
			}
		}
	}
}
