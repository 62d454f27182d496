package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"imgkeep/bucket/index"
)

// Target is what a removal is about: one of its fields is set.
type Target struct {
	URL    string // canonical
	Digest Digest
	Host   string // a pattern, as CanonicalHost returns it; for blocks only
}

// RemoveOptions say how something is removed.
type RemoveOptions struct {
	Buckets []string // in which; empty: all
	Why, By string   // for the journal
	DryRun  bool     // only say what would be removed
	// KeepFiles lets a block leave what it blocks on disk, where nobody sees it
	// until it is unblocked.
	KeepFiles bool
}

// Removed is an image that was removed, from one bucket.
type Removed struct {
	Bucket string   `json:"bucket"`
	Digest string   `json:"digest"`
	URLs   []string `json:"urls"`  // that no longer have it
	Left   int      `json:"left"`  // URLs that still have it; its files are there then
	Files  []string `json:"files"` // that are gone, below the root; or are left on disk, where a block keeps them
	Sizes  []string `json:"sizes"` // made from it
	Bytes  int64    `json:"bytes"` // of the original

	image Image
}

// Removal is what was removed and blocked, or would be.
type Removal struct {
	Images    []Removed `json:"images"`
	Blocked   []Block   `json:"blocked"`
	Unblocked []Block   `json:"unblocked"`
}

// Forget takes a URL out of the store. The bytes go with it when no other URL of
// the bucket has them. Asked for again, the URL is fetched anew. ErrNotKept where
// nothing is kept under it.
//
// Forget, Purge, Block and Unblock have been flushed to disk when they return. A
// crash, or an error, leaves things as they were, or out of reach of everybody
// with the rest to be done by the next Open or Scrub: the order is journal, index,
// files. Fetches under way do not bring back what was removed meanwhile.
func (s *Store) Forget(ctx context.Context, url string, o RemoveOptions) (Removal, error) {
	return s.remove(ctx, Target{URL: url}, o, func(found []Removed) error {
		for _, f := range found {
			change := index.Change{Bucket: f.Bucket, URL: url, Forget: true}
			if err := s.removeOne(f, change, s.removeEvent(opForget, f.image, o)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Purge takes an image out of the store: the bytes that are kept under a URL, or
// have a digest, with all URLs that have them and all that was made from them.
// Asked for again they are fetched anew. ErrNotKept where there is no such image.
// It goes through the journal and through all URLs in the index: seconds for some
// millions, of which keeping waits for a part.
func (s *Store) Purge(ctx context.Context, t Target, o RemoveOptions) (Removal, error) {
	if t.URL != "" {
		digests, err := s.digestsOf(t.URL, o.Buckets)
		if err != nil {
			return Removal{}, err
		}
		if len(digests) == 0 {
			return Removal{}, s.nothingKept(o)
		}
		var all Removal
		for _, d := range digests { // more than one where buckets differ
			r, err := s.Purge(ctx, Target{Digest: d}, o)
			all.Images = append(all.Images, r.Images...)
			if err != nil {
				return all, err
			}
		}
		return all, nil
	}
	return s.remove(ctx, t, o, func(found []Removed) error { return s.purge(found, o) })
}

// remove finds images, and has them removed while nothing is kept.
func (s *Store) remove(ctx context.Context, t Target, o RemoveOptions, do func([]Removed) error) (Removal, error) {
	done, err := s.begin()
	if err != nil {
		return Removal{}, err
	}
	defer done()
	found, err := s.search(ctx, t, o.Buckets)
	if err != nil {
		return Removal{}, err
	}
	if len(found) == 0 {
		return Removal{}, s.nothingKept(o)
	}
	r := Removal{Images: found}
	if o.DryRun {
		return r, nil
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	if err := do(found); err != nil {
		return r, err
	}
	return r, s.finish()
}

// nothingKept returns ErrNotKept, once nothing is left of what an earlier attempt
// could not finish.
func (s *Store) nothingKept(o RemoveOptions) error {
	if !o.DryRun {
		s.removing.Lock()
		defer s.removing.Unlock()
		if err := s.finish(); err != nil {
			return err
		}
	}
	return ErrNotKept
}

func (s *Store) purge(found []Removed, o RemoveOptions) error {
	for _, f := range found {
		change := index.Change{Bucket: f.Bucket, Purge: &index.Removing{Digest: f.image.Digest, Format: f.image.Format}}
		image := f.image
		image.URL = ""
		if err := s.removeOne(f, change, s.removeEvent(opPurge, image, o)); err != nil {
			return err
		}
	}
	return nil
}

// removeOne takes an image out of reach; finish has its files removed. Nothing is
// kept meanwhile.
func (s *Store) removeOne(f Removed, change index.Change, e *event) error {
	if err := s.commit(change, e); err != nil {
		return err
	}
	s.removals.Add(1)
	s.log.Info("removed", "op", e.Op, "bucket", f.Bucket, "digest", f.Digest, "urls", len(f.URLs), "why", e.Why, "by", e.By)
	return nil
}

// finish removes the files of all images that are being removed. Nothing is kept
// meanwhile.
func (s *Store) finish() error {
	var errs []error
	for _, name := range s.bucketNames() {
		errs = append(errs, s.finishBucket(name))
	}
	return errors.Join(errs...)
}

func (s *Store) finishBucket(bucket string) error {
	all, err := s.index.Removing(bucket)
	if err != nil {
		return err
	}
	for _, gone := range all {
		image := Image{Bucket: bucket, Digest: gone.Digest}
		image.Format = gone.Format
		if err := s.unlink(image); err != nil {
			return fmt.Errorf("remove the files of %s, which nobody sees any more: %w", image.File(), full(err))
		}
		if err := s.commit(index.Change{Bucket: bucket, Removed: &gone.Digest}, nil); err != nil {
			return err
		}
	}
	return nil
}

// unlink removes all files that have an image's digest in their names, and flushes
// that.
func (s *Store) unlink(image Image) error {
	files, err := s.filesOf(image.Bucket, image.Digest)
	if err != nil {
		return err
	}
	folders := []string{s.Path(filepath.Dir(image.File()))}
	for _, file := range files {
		path := s.Path(file)
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

// filesOf lists the files of an image below the root: the original, what was made
// from it, and what scrubbing has put aside of them.
func (s *Store) filesOf(bucket string, d Digest) ([]string, error) {
	name := d.String()
	shard := filepath.Join(bucket, name[:1], name[1:2])
	folders := []string{shard}
	aside, err := filepath.Glob(filepath.Join(s.root, quarantineDir, "*", shard))
	if err != nil {
		return nil, err
	}
	for _, folder := range aside {
		rel, err := filepath.Rel(s.root, folder)
		if err != nil {
			return nil, err
		}
		folders = append(folders, rel)
	}
	var files []string
	for _, folder := range folders {
		entries, err := os.ReadDir(s.Path(folder))
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

// removeLeft finishes what an earlier process had begun to remove. Where that
// fails, nobody sees what is left, and it is tried again.
func (s *Store) removeLeft() {
	s.removing.Lock()
	defer s.removing.Unlock()
	if err := s.finish(); err != nil {
		s.log.Error("files that were to be removed are still there", "error", err)
	}
}

func (s *Store) removeEvent(op string, i Image, o RemoveOptions) *event {
	return &event{
		Time: s.now().UTC().Truncate(time.Second), Op: op, URL: i.URL,
		Digest: i.Digest.String(), Type: i.Format.String(), Why: o.Why, By: o.By,
	}
}

// Removals counts what was removed, blocked or configured anew since Open. Whoever makes something
// of an image that outlives his look at the store, such as a link past it, undoes
// that if the number has changed since before his look.
func (s *Store) Removals() uint64 { return s.removals.Load() }
