package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// ErrNotBlocked: there is no such block.
var ErrNotBlocked = errors.New("not blocked")

// Block sees to it that something is neither served nor kept any more, now and in
// future, in all buckets, whatever o.Buckets says:
//
//   - of a URL, also the bytes that are kept under it, under whatever URL they
//     come again;
//   - of a digest, the bytes;
//   - of a host, whatever its URLs begin with, and redirects to it.
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
	r.Images, err = s.searchAll(ctx, digests, nil, known)
	return r, err
}

// Unblock lifts the block of exactly this; of a URL also the blocks of bytes that
// were found under it then. What had failed since it was blocked is tried again.
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
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	var r record.Removal
	var found []record.Block
	for b, err := range s.index.Blocks() {
		if err != nil {
			return r, err
		}
		if b.Kind == want.Kind && b.Subject == want.Subject || want.Kind == record.BlockURL && b.For == want.Subject {
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
		if err := s.commit(index.Change{Unblock: &b, ClearClass: string(classRemoved)}, ledger.BlockEvent(ledger.OpUnblock, b)); err != nil {
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
	if host == "" {
		return nil
	}
	if err := s.blocked(record.BlockHost, host); err != nil {
		return err
	}
	for {
		_, parent, ok := strings.Cut(host, ".")
		if !ok {
			return nil
		}
		if err := s.blocked(record.BlockHost, "*."+parent); err != nil {
			return err
		}
		host = parent
	}
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
	if _, err := s.remember(bucket, url, &fetch.Error{Class: classRemoved, Host: imageurl.HostOf(url), Err: errors.New("its bytes, or where it redirects to, are blocked")}); err != nil {
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
	i, err := s.index.Image(image.Bucket, image.URL)
	if errors.Is(err, index.ErrNotFound) || err == nil && i.Digest != image.Digest {
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
