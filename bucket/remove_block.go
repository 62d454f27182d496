package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/record"
	"imgkeep/bucket/uncached"
)

// ErrNotBlocked: there is no such block.
var ErrNotBlocked = errors.New("not blocked")

// Block sees to it that something is neither served nor kept any more, now and in
// future, in all buckets, whatever o.Buckets says:
//
//   - of a URL, also the bytes that are kept under it, under whatever URL they
//     come again;
//   - of a digest, the bytes;
//   - of a host, whatever its URLs begin with, and redirects to it;
//   - of a hash, or with o.Similar: whatever comes from now on and looks like it. What is
//     kept already stays, and is shown: a likeness is a guess.
//
// It also removes the files, as Purge does, unless o.KeepFiles is set. Those of a
// host it leaves where they are.
func (s *Store) Block(ctx context.Context, t Target, o RemoveOptions) (record.Removal, error) {
	o.Buckets = nil
	return s.remove(o, func(known urlLists) (record.Removal, error) { return s.blocking(ctx, t, o, known) }, func(want record.Removal) (r record.Removal, err error) {
		for _, b := range want.Blocked {
			if err := s.commitRemoval(index.Change{Block: &b}, ledger.BlockEvent(ledger.OpBlock, b)); err != nil {
				return r, err
			}
			r.Blocked = append(r.Blocked, b)
			s.log.Info("blocked", "kind", b.Kind, "digest", digestOf(b), "host", hostOfBlock(b), "why", b.Why, "by", b.By)
		}
		if o.KeepFiles {
			r.Images = want.Images
			return r, nil
		}
		r.Images, err = s.purge(want.Images, o)
		return r, err
	})
}

// blocking finds what a block blocks, and what it removes.
func (s *Store) blocking(ctx context.Context, t Target, o RemoveOptions, known urlLists) (r record.Removal, err error) {
	add := func(kind, subject, why string) {
		r.Blocked = append(r.Blocked, record.Block{Kind: kind, Subject: subject, For: why, Since: s.now().UTC().Truncate(time.Second), Why: o.Why, By: o.By})
	}
	digests := []record.Digest{t.Digest}
	switch {
	case t.Hash != nil:
		return s.blockingLooks(ctx, r, t, nil, o)
	case t.Host != "":
		add(record.BlockHost, t.Host, "")
		return r, nil
	case t.URL != "":
		add(record.BlockURL, t.URL, "")
		if digests, err = s.digestsOf(t.URL, nil); err != nil {
			return r, err
		}
		for _, d := range digests {
			if _, err := s.index.Block(record.BlockDigest, d.String()); errors.Is(err, index.ErrNotFound) {
				add(record.BlockDigest, d.String(), t.URL) // else it is blocked for a reason of its own
			} else if err != nil {
				return r, s.unlessClosed(err)
			}
		}
	default:
		add(record.BlockDigest, t.Digest.String(), "")
	}
	if o.Similar {
		if r, err = s.blockingLooks(ctx, r, t, digests, o); err != nil {
			return r, err
		}
	}
	known.name(t.URL, digests, s.bucketNames())
	r.Images, err = s.searchAll(ctx, digests, nil, known)
	return r, err
}

// Unblock lifts the block of exactly this; of a URL or digest also the blocks of what was
// found of it then: of bytes, and of hashes. What had failed since it was blocked is tried again.
// ErrNotBlocked where there is none.
func (s *Store) Unblock(ctx context.Context, t Target, o RemoveOptions) (record.Removal, error) {
	done, err := s.begin()
	if err != nil {
		return record.Removal{}, err
	}
	defer done()
	want := record.Block{Kind: record.BlockDigest, Subject: t.Digest.String()}
	switch {
	case t.Host != "":
		want.Kind, want.Subject = record.BlockHost, t.Host
	case t.URL != "":
		want.Kind, want.Subject = record.BlockURL, t.URL
	case t.Hash != nil:
		want.Kind, want.Subject = record.BlockSimilar, t.Hash.String()
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	var r record.Removal
	var found []record.Block
	for b, err := range s.index.Blocks() {
		if err != nil {
			return r, err
		}
		if b.Kind == want.Kind && b.Subject == want.Subject || b.For == want.Subject && want.Kind != record.BlockHost {
			found = append(found, b)
		}
	}
	if len(found) == 0 {
		return r, ErrNotBlocked
	}
	if o.DryRun {
		return record.Removal{Unblocked: found}, nil
	}
	for _, was := range found {
		b := was
		b.Why, b.By, b.Since = o.Why, o.By, s.now().UTC().Truncate(time.Second)
		if err := s.commit(index.Change{Unblock: &b, ClearClass: unblockClears(b)}, ledger.BlockEvent(ledger.OpUnblock, b)); err != nil {
			return r, err
		}
		r.Unblocked = append(r.Unblocked, was)
		s.log.Info("unblocked", "kind", b.Kind, "digest", digestOf(b), "host", hostOfBlock(b), "why", b.Why, "by", b.By)
	}
	return r, nil
}

// Blocks goes through all blocks, in no particular order. What changes meanwhile
// may show or not.
func (s *Store) Blocks() iter.Seq2[record.Block, error] { return s.index.Blocks() }

func digestOf(b record.Block) string {
	if b.Kind == record.BlockDigest {
		return b.Subject
	}
	return ""
}

func hostOfBlock(b record.Block) string {
	switch b.Kind {
	case record.BlockHost:
		return b.Subject
	case record.BlockURL:
		return imageurl.HostOf(b.Subject)
	}
	return ""
}

// blockedURL returns ErrRemoved where a URL or its host is blocked.
func (s *Store) blockedURL(url string) error {
	if err := s.blocked(record.BlockURL, url); err != nil {
		return err
	}
	return s.blockedHost(imageurl.HostOf(url))
}

func (s *Store) blockedHost(host string) error {
	for pattern := range imageurl.PatternsOf(host) {
		if err := s.blocked(record.BlockHost, pattern); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) blockedDigest(d record.Digest) error {
	if !s.index.HasBlocks() {
		return nil // without making text of it
	}
	return s.blocked(record.BlockDigest, d.String())
}

func (s *Store) blocked(kind, subject string) error {
	_, err := s.index.Block(kind, subject)
	switch {
	case errors.Is(err, index.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return ErrRemoved
}

// unblocked tells whether bytes may be shown, or kept, that were found under a URL
// and where redirects led to from there.
func (s *Store) unblocked(url string, d record.Digest, final string) error {
	if err := s.blockedURL(url); err != nil {
		return err
	}
	err := s.blockedDigest(d)
	if led, bad := imageurl.Canonical(final); err == nil && bad == nil && led != url {
		err = s.blockedURL(led)
	}
	return err
}

// admit tells whether what was fetched may be kept, and remembers where it may
// not, so that it is not fetched again for each viewer.
func (s *Store) admit(bucket, url string, d record.Digest, final string) error {
	if err := s.blockedURL(url); err != nil {
		return err
	}
	err := s.unblocked(url, d, final)
	if !errors.Is(err, ErrRemoved) {
		return err
	}
	if _, err := s.remember(bucket, url, &fetch.Error{Kind: kindRemoved, Host: imageurl.HostOf(url), Err: errors.New("its bytes, or where it redirects to, are blocked")}); err != nil {
		return err
	}
	return ErrRemoved
}

// errJustRemoved: what was on its way to a viewer, or about to be kept, was removed
// meanwhile.
var errJustRemoved = fmt.Errorf("%w just now", ErrRemoved)

// stillUnder tells whether an image is still what is kept under its URL:
// ErrRemoved. What repairs it must not bring back what was removed meanwhile.
func (s *Store) stillUnder(image record.Image) error {
	i, err := s.known(image.Bucket, image.URL)
	if errors.Is(err, ErrNotKept) || err == nil && i.Digest != image.Digest {
		return errJustRemoved
	}
	if err != nil {
		return s.unlessClosed(err)
	}
	if err := s.blockedURL(image.URL); err != nil {
		return err
	}
	return s.blockedDigest(image.Digest)
}

// stillKept tells whether an image that was found is still to be had: ErrRemoved.
func (s *Store) stillKept(image record.Image) error {
	_, err := s.index.Entry(image.Bucket, image.Digest)
	switch {
	case errors.Is(err, index.ErrNotFound):
		return errJustRemoved
	case err != nil:
		return s.unlessClosed(err)
	}
	if image.URL != "" {
		if err := s.blockedURL(image.URL); err != nil {
			return err
		}
	}
	return s.blockedDigest(image.Digest)
}

// What looks like a blocked image is kept out by its hash, which a decoder makes before
// anybody is shown the image, as soon as anything is blocked so. See package lookalike.

// Looks are what the store knows of how its images look; nil: nothing.
func (s *Store) Looks() *lookalike.Looks { return s.looks }

// openLooks opens what is known of how images look, and tells it of all blocks, now and
// whenever the index has taken one in.
func (s *Store) openLooks(read lookalike.Reader) (err error) {
	if s.looks, err = lookalike.Open(s.Maintenance(), read); err != nil || s.looks == nil {
		return err
	}
	apply := s.apply
	s.apply = func(db *index.DB, changes []index.Change) error {
		err := apply(db, changes)
		for _, c := range changes {
			if err == nil {
				s.looks.Changed(c.Block, c.Unblock)
			}
		}
		return err
	}
	return nil
}

// blockingLooks adds to a removal the blocks of a hash, or of how these bytes look.
func (s *Store) blockingLooks(ctx context.Context, r record.Removal, t Target, digests []record.Digest, o RemoveOptions) (record.Removal, error) {
	hashes, of := []likeness.Hash{}, t.URL
	if t.Hash != nil {
		hashes = append(hashes, *t.Hash)
	} else if of == "" {
		of = t.Digest.String()
	}
	hashes, err := s.looks.ToBlock(ctx, hashes, digests)
	for _, h := range hashes {
		r.Blocked = append(r.Blocked, record.Block{
			Kind: record.BlockSimilar, Subject: h.String(), Within: o.Within, For: of,
			Since: s.now().UTC().Truncate(time.Second), Why: o.Why, By: o.By,
		})
	}
	return r, err
}

// lookFailed is the error of an image that is not kept because no decoder has looked at it. If
// the image crashes decoders, the failure is recorded, so that not each viewer crashes one.
func (s *Store) lookFailed(ctx context.Context, bucket, url string, err error) error {
	if !errors.Is(err, lookalike.ErrPoison) {
		return err
	}
	return s.fetchFailed(ctx, bucket, url, &fetch.Error{Kind: Unchecked, Host: imageurl.HostOf(url), Err: fmt.Errorf("it cannot be compared with what is blocked: %w", err)})
}

// admitLook tells whether an image may be kept that looks so, and remembers where it may
// not. nil: nothing is blocked by how it looks.
func (s *Store) admitLook(image record.Image, p *likeness.Print) error {
	cause, err := s.looks.Refuses(image, p)
	if cause == nil || err != nil {
		return err
	}
	f, err := s.remember(image.Bucket, image.URL, &fetch.Error{Kind: Similar, Host: imageurl.HostOf(image.URL), Err: cause})
	if err != nil {
		return err
	}
	return f
}

// lookUncached is admitLook for an image that is not kept.
func (s *Store) lookUncached(ctx context.Context, i *uncached.Image) error {
	if i.Print.Load() == nil && s.looks.Blocks() {
		f, err := os.Open(i.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // nobody can be shown it
		}
		if err != nil {
			return err
		}
		defer f.Close()
		p, err := s.looks.Print(ctx, i.Image, f, false)
		if err != nil {
			return err
		}
		i.Print.Store(&p)
	}
	return s.admitLook(i.Image, i.Print.Load())
}

// blockClears is the kind of failures that a block clears, and unblockClears of those that
// lifting one clears. Empty: none.
func blockClears(b record.Block) string {
	if b.Kind == record.BlockExcept {
		return string(Similar)
	}
	return ""
}

func unblockClears(b record.Block) string {
	switch b.Kind {
	case record.BlockSimilar:
		return string(Similar)
	case record.BlockExcept:
		return ""
	}
	return string(kindRemoved)
}
