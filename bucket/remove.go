package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/record"
	"imgkeep/bucket/uncached"
)

// Target is what a removal is about: one of its fields is set.
type Target struct {
	URL    string // canonical
	Digest record.Digest
	Host   string         // a pattern, as imageurl.ParsePattern returns it; for blocks only
	Hash   *likeness.Hash // of what looks alike; for blocks only
}

// RemoveOptions say how something is removed.
type RemoveOptions struct {
	Buckets []string // in which; empty: all
	Why, By string   // for the journal
	DryRun  bool     // only say what would be removed
	// KeepFiles lets a block leave what it blocks on disk, where nobody sees it
	// until it is unblocked.
	KeepFiles bool
	// Similar lets a block of a URL or digest also keep out, from now on, what looks like it
	// within so many bits, see likeness.Within; a block of a hash does nothing else.
	Similar bool
	Within  int
}

// Forget takes a URL out of the store. The bytes go with it when no other URL of
// the bucket has them. Asked for again, the URL is fetched again. ErrNotKept where
// nothing is kept under it.
//
// Forget, Purge, Block and Unblock have been flushed to disk when they return. A
// crash, or an error, leaves things as they were, or out of reach of everybody
// with the rest to be done by the next Open or Scrub: the order is journal, index,
// files. What they return has happened, also where they return an error besides. A
// fetch that was under way does not bring back what was removed meanwhile: it keeps
// nothing, and is ErrRemoved to those who wait for it.
func (s *Store) Forget(ctx context.Context, url string, o RemoveOptions) (record.Removal, error) {
	look := func(known urlLists) (record.Removal, error) {
		found, err := s.search(ctx, Target{URL: url}, o.Buckets, known)
		return record.Removal{Images: found}, err
	}
	return s.remove(o, look, func(want record.Removal) (r record.Removal, err error) {
		s.fetches.Forget(o.Buckets, url)
		for _, f := range want.Images {
			change := index.Change{Bucket: f.Bucket, URL: url, Forget: true}
			if err := s.removeOne(f, change, ledger.RemoveEvent(ledger.OpForget, f.Image, s.now(), o.Why, o.By)); err != nil {
				return r, err
			}
			r.Images = append(r.Images, f)
		}
		return r, nil
	})
}

// Purge takes an image out of the store: the bytes that are kept under a URL, or
// have a digest, with all URLs that have them and all that was made from them.
// Asked for again they are fetched again. ErrNotKept where there is no such image.
// It goes through the journal: seconds for some millions of URLs, of which keeping
// waits for a part.
func (s *Store) Purge(ctx context.Context, t Target, o RemoveOptions) (record.Removal, error) {
	look := func(known urlLists) (r record.Removal, err error) {
		digests := []record.Digest{t.Digest}
		if t.URL != "" { // more than one where buckets differ
			if digests, err = s.digestsOf(t.URL, o.Buckets); err != nil {
				return r, err
			}
		}
		known.name(t.URL, digests, s.bucketNames())
		r.Images, err = s.searchAll(ctx, digests, o.Buckets, known)
		return r, err
	}
	return s.remove(o, look, func(want record.Removal) (record.Removal, error) {
		if t.URL != "" {
			s.fetches.Forget(o.Buckets, t.URL)
		} else {
			s.fetches.Purge(o.Buckets, t.Digest)
		}
		images, err := s.purge(want.Images, o)
		return record.Removal{Images: images}, err
	})
}

// remove looks for what a removal takes away and has it done, of which do returns
// what it has done. While it does nothing is kept, made or repaired.
//
// It looks twice: what was kept after the first look is not passed over, and what
// takes long, to read the journals, is done before keeping has to wait.
func (s *Store) remove(o RemoveOptions, look func(urlLists) (record.Removal, error), do func(record.Removal) (record.Removal, error)) (record.Removal, error) {
	if s.node != nil {
		return record.Removal{}, errors.New("what several nodes share is removed by the log that they share")
	}
	done, err := s.begin()
	if err != nil {
		return record.Removal{}, err
	}
	defer done()
	known := urlLists{}
	want, err := look(known)
	if err != nil {
		return record.Removal{}, err
	}
	if o.DryRun {
		return want, orNothing(want)
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	if want, err = look(known); err != nil {
		return record.Removal{}, err
	}
	if _, err := s.reserve.Spend(false); err != nil {
		s.log.Error("the disk space reserved for removals cannot be restored", "folder", filepath.Join(s.root, local.ReserveDir), "error", err)
	}
	r, err := do(want)
	if err != nil {
		r.Images = s.gone(r.Images)
		return r, err
	}
	if o.KeepFiles {
		return r, orNothing(r)
	}
	// Also where there is nothing: something may be left of an earlier attempt.
	if err := s.finish(); err != nil {
		r.Images = s.gone(r.Images)
		return r, err
	}
	return r, orNothing(r)
}

// orNothing is ErrNotKept where a removal has nothing to do.
func orNothing(r record.Removal) error {
	if len(r.Images)+len(r.Blocked) == 0 {
		return ErrNotKept
	}
	return nil
}

// gone are images whose files could not all be removed, with those that were. No
// viewer can reach the others.
func (s *Store) gone(images []record.Removed) []record.Removed {
	for i, r := range images {
		images[i].Files = slices.DeleteFunc(slices.Clone(r.Files), func(file string) bool {
			_, err := os.Lstat(s.Path(file))
			return !errors.Is(err, fs.ErrNotExist)
		})
	}
	return images
}

// purge returns those images that it has taken out of reach.
func (s *Store) purge(found []record.Removed, o RemoveOptions) (done []record.Removed, err error) {
	for _, f := range found {
		s.fetches.Purge([]string{f.Bucket}, f.Image.Digest)
		change := index.Change{Bucket: f.Bucket, Purge: &index.Removing{Digest: f.Image.Digest, Format: f.Image.Format}}
		image := f.Image
		image.URL = ""
		if err := s.removeOne(f, change, ledger.RemoveEvent(ledger.OpPurge, image, s.now(), o.Why, o.By)); err != nil {
			return done, err
		}
		done = append(done, f)
	}
	return done, nil
}

// removeOne takes an image out of reach; finish has its files removed. Nothing is
// kept meanwhile.
func (s *Store) removeOne(f record.Removed, change index.Change, e *ledger.Event) error {
	if err := s.commitRemoval(change, e); err != nil {
		return err
	}
	s.log.Info("removed", "op", e.Op, "bucket", f.Bucket, "digest", f.Digest, "urls", len(f.URLs), "why", e.Why, "by", e.By)
	return nil
}

// commitRemoval is commit for what takes something out of reach. It is counted
// before, and again after: also an error may have left it done.
func (s *Store) commitRemoval(change index.Change, e *ledger.Event) error {
	s.ledger.CountRemoval()
	defer s.ledger.CountRemoval()
	return s.commitWithReserve(change, e)
}

// commitWithReserve is commit that may use the room of removals.
func (s *Store) commitWithReserve(change index.Change, e *ledger.Event) error {
	err := s.commit(change, e)
	if errors.Is(err, ErrFull) {
		// A quota, say, which nobody can be asked about.
		spent, spendErr := s.reserve.Spend(true)
		if err = errors.Join(err, spendErr); spent {
			err = s.commit(change, e)
		}
	}
	return err
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
		image := record.Image{Bucket: bucket, Digest: gone.Digest}
		image.Format = gone.Format
		if err := s.files.Remove(s.life, image); err != nil {
			return fmt.Errorf("remove the files of %s, which is not served any more: %w", image.File(), local.AsFull(err))
		}
		if err := s.looks.Forget(bucket, gone.Digest); err != nil {
			return err
		}
		if err := s.commitWithReserve(index.Change{Bucket: bucket, Removed: &gone.Digest}, nil); err != nil {
			return err
		}
	}
	return nil
}

// removeLeft finishes what an earlier process had begun to remove. Where that
// fails, nobody sees what is left, and it is tried again.
func (s *Store) removeLeft() {
	if s.node != nil {
		return
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	if err := s.finish(); err != nil {
		s.log.Error("files that were to be removed are still there", "error", err)
	}
}

// Removals counts removals, blocks and changes of configuration since Open. A caller that
// has found an image, and shows it later or lets others show it, asks Stands if the
// number has changed since before it was found. The number changes before a removal
// returns.
func (s *Store) Removals() uint64 { return s.ledger.Removals() }

// Stands tells whether an image that was found or kept may still be shown: ErrDenied
// or ErrRemoved where it may not.
func (s *Store) Stands(image record.Image) error {
	if denied := s.settings.Load().denied; denied != nil && denied(imageurl.HostOf(image.URL)) {
		return ErrDenied
	}
	return s.stillUnder(image)
}

// UncachedStands is Stands for an image that is not kept.
func (s *Store) UncachedStands(p *uncached.File) error { return s.mayShow(p.Source()) }
