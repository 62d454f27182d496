package nodes

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/node"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
	"imgkeep/bucket/scrub/objects"
	"imgkeep/bucket/tags"
	"imgkeep/cmd/imgkeep/app/control"
)

var (
	errLooks = errors.New("blocks by likeness are of one machine: where several nodes share an object store, block the URL, the digest or the host")
	errKeep  = errors.New("files cannot be kept if several nodes share an object store: block without --keep")
)

// Store is a node's store, of which what removes is the log that all nodes share. It removes
// from all nodes: from this one before a call returns, from others once they have read the
// log. What an error leaves open may be asked for again.
type Store struct {
	control.OpenStore
	node *node.Node
	now  func() time.Time
}

// NewStore is a control.Store of a store that is one of several nodes.
func NewStore(s *bucket.Store, now func() time.Time) *Store {
	return &Store{control.OpenStore{Store: s}, s.Node(), now}
}

// Scrub compares records and originals in the object store, and the local files of this node, with
// each other.
func (s *Store) Scrub(ctx context.Context, o scrub.Options) (scrub.Report, error) {
	ctx, done, err := s.Maintenance().Begin(ctx)
	if err != nil {
		return scrub.Report{}, err
	}
	defer done()
	return objects.Run(ctx, objects.Node{
		Ledger: s.node.Ledger, Root: s.Root(), Buckets: s.Maintenance().Buckets(), Forget: s.node.Cache.Forget, Now: s.now,
	}, o)
}

// List is query.ListKnown.
func (s *Store) List(ctx context.Context, f query.Filter) iter.Seq2[query.Entry, error] {
	return query.ListKnown(ctx, s.Maintenance(), f)
}

// ListOf lists those of these images that this node knows.
func (s *Store) ListOf(ctx context.Context, f query.Filter, of map[tags.Image]bool) iter.Seq2[query.Entry, error] {
	urls := make([]query.Named, 0, len(of))
	for i := range of {
		urls = append(urls, query.Named(i))
	}
	return query.ListNamed(ctx, s.Maintenance(), f, urls)
}

// Stats are figures of what this node knows.
func (s *Store) Stats(ctx context.Context) (control.Stats, error) {
	all, err := s.OpenStore.Stats(ctx)
	all.Node = true
	return all, err
}

// buckets are those of these names, or all.
func (s *Store) buckets(o bucket.RemoveOptions) ([]string, error) {
	return s.Maintenance().In(o.Buckets)
}

// kept finds what is kept under a URL, on any node.
func (s *Store) kept(ctx context.Context, url string, buckets []string) (found []record.Image, err error) {
	if err := s.node.CatchUp(ctx); err != nil {
		return nil, err
	}
	for _, bucket := range buckets {
		image, err := s.node.Find(ctx, bucket, url)
		if errors.Is(err, ledger.ErrNotKept) || errors.Is(err, ledger.ErrRemoved) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, image)
	}
	return found, nil
}

// originals finds the originals of digests, on any node.
func (s *Store) originals(ctx context.Context, digests []record.Digest, buckets []string) (found []record.Image, err error) {
	if err := s.node.CatchUp(ctx); err != nil {
		return nil, err
	}
	for _, d := range digests {
		for _, bucket := range buckets {
			image, err := s.node.Locate(ctx, bucket, d)
			if errors.Is(err, ledger.ErrNotKept) {
				continue
			}
			if err != nil {
				return nil, err
			}
			found = append(found, image)
		}
	}
	return found, nil
}

func digestsOf(images []record.Image) (digests []record.Digest) {
	for _, i := range images {
		if !slices.Contains(digests, i.Digest) {
			digests = append(digests, i.Digest)
		}
	}
	return digests
}

// removed tells of images that are removed, or would be. Which other URLs have the bytes no
// node knows.
func (s *Store) removed(images []record.Image, url string, bytes bool) (all []record.Removed) {
	for _, i := range images {
		r := record.Removed{Bucket: i.Bucket, Digest: i.Digest.String(), URLs: []string{}, Files: []string{}, Sizes: []string{}, Bytes: i.Bytes, Image: i}
		if url != "" {
			r.URLs = append(r.URLs, url)
		}
		if bytes {
			r.Files = append(r.Files, s.local(i)...)
		}
		all = append(all, r)
	}
	return all
}

// local are the files that this node has of an image.
func (s *Store) local(i record.Image) (files []string) {
	paths, _ := filepath.Glob(filepath.Join(s.Root(), filepath.Dir(i.File()), i.Digest.String()+".*")) // the pattern is good
	for _, path := range paths {
		if rel, err := filepath.Rel(s.Root(), path); err == nil {
			files = append(files, rel)
		}
	}
	return files
}

// without takes out of what was removed the files that are still there.
func (s *Store) without(r record.Removal) record.Removal {
	for i := range r.Images {
		r.Images[i].Files = slices.DeleteFunc(r.Images[i].Files, func(file string) bool {
			_, err := os.Lstat(s.Path(file))
			return err == nil
		})
	}
	return r
}

func orNothing(r record.Removal) error {
	if len(r.Images)+len(r.Blocked) == 0 {
		return bucket.ErrNotKept
	}
	return nil
}

// Forget takes a URL out of the store. The bytes stay, since nobody knows which other URLs
// have them; no link leads to them then.
func (s *Store) Forget(ctx context.Context, url string, o bucket.RemoveOptions) (r record.Removal, err error) {
	buckets, err := s.buckets(o)
	if err != nil {
		return r, err
	}
	found, err := s.kept(ctx, url, buckets)
	if err != nil {
		return r, err
	}
	for _, image := range found {
		if !o.DryRun {
			if _, err := s.node.Remove(ctx, image.Bucket, *ledger.RemoveEvent(ledger.OpForget, image, s.now(), o.Why, o.By)); err != nil {
				return r, err
			}
		}
		r.Images = append(r.Images, s.removed([]record.Image{image}, url, false)...)
	}
	return r, orNothing(r)
}

// Purge takes an image out of the store: the bytes that are kept under a URL, or have a digest,
// with all URLs that have them.
func (s *Store) Purge(ctx context.Context, t bucket.Target, o bucket.RemoveOptions) (r record.Removal, err error) {
	buckets, err := s.buckets(o)
	if err != nil {
		return r, err
	}
	digests := []record.Digest{t.Digest}
	if t.URL != "" {
		found, err := s.kept(ctx, t.URL, buckets)
		if err != nil {
			return r, err
		}
		digests = digestsOf(found)
	}
	found, err := s.originals(ctx, digests, buckets)
	if err != nil {
		return r, err
	}
	told := s.removed(found, t.URL, true)
	for i, image := range found {
		if !o.DryRun {
			image.URL = ""
			_, err = s.node.Remove(ctx, image.Bucket, *ledger.RemoveEvent(ledger.OpPurge, image, s.now(), o.Why, o.By))
		}
		if err == nil || isDecided(err) {
			r.Images = append(r.Images, told[i])
		}
		if err != nil {
			return s.without(r), err
		}
	}
	return r, orNothing(r)
}

// Block sees to it that something is neither shown nor kept any more, on any node. Of a URL
// also the bytes that are kept under it are blocked; the bytes are deleted.
func (s *Store) Block(ctx context.Context, t bucket.Target, o bucket.RemoveOptions) (r record.Removal, err error) {
	switch {
	case t.Hash != nil || o.Similar:
		return r, errLooks
	case o.KeepFiles:
		return r, errKeep
	}
	blocks, images, err := s.blocking(ctx, t, o)
	if err != nil {
		return r, err
	}
	if o.DryRun {
		return record.Removal{Blocked: blocks, Images: images}, nil
	}
	for _, b := range blocks {
		if _, err = s.node.Remove(ctx, "", *ledger.BlockEvent(ledger.OpBlock, b)); err != nil && !isDecided(err) {
			return r, err
		}
		r.Blocked = append(r.Blocked, b)
		if b.Kind == record.BlockDigest {
			for _, i := range images {
				if i.Digest == b.Subject {
					r.Images = append(r.Images, i)
				}
			}
		}
		if err != nil {
			return s.without(r), err
		}
	}
	return r, nil
}

// blocking finds what a block blocks, and what it removes.
func (s *Store) blocking(ctx context.Context, t bucket.Target, o bucket.RemoveOptions) (blocks []record.Block, images []record.Removed, err error) {
	add := func(kind, subject, of string) {
		blocks = append(blocks, record.Block{Kind: kind, Subject: subject, For: of, Since: s.now().UTC().Truncate(time.Second), Why: o.Why, By: o.By})
	}
	if t.Host != "" {
		add(record.BlockHost, t.Host, "")
		return blocks, nil, nil
	}
	buckets := s.Maintenance().Buckets()
	digests := []record.Digest{t.Digest}
	if t.URL == "" {
		add(record.BlockDigest, t.Digest.String(), "")
	} else {
		add(record.BlockURL, t.URL, "")
		found, err := s.kept(ctx, t.URL, buckets)
		if err != nil {
			return nil, nil, err
		}
		digests = digestsOf(found)
		for _, d := range digests {
			add(record.BlockDigest, d.String(), t.URL)
		}
	}
	found, err := s.originals(ctx, digests, buckets)
	return blocks, s.removed(found, t.URL, true), err
}

// Unblock lifts a block, and those of what was found of its subject then. It brings nothing
// back: what was kept is fetched again when it is asked for.
func (s *Store) Unblock(ctx context.Context, t bucket.Target, o bucket.RemoveOptions) (r record.Removal, err error) {
	want := record.Block{Kind: record.BlockDigest, Subject: t.Digest.String()}
	switch {
	case t.Hash != nil:
		return r, errLooks
	case t.Host != "":
		want.Kind, want.Subject = record.BlockHost, t.Host
	case t.URL != "":
		want.Kind, want.Subject = record.BlockURL, t.URL
	}
	if err := s.node.CatchUp(ctx); err != nil {
		return r, err
	}
	var found []record.Block
	for b, err := range s.Blocks() {
		if err != nil {
			return r, err
		}
		if b.Kind == want.Kind && b.Subject == want.Subject || b.For == want.Subject && want.Kind != record.BlockHost {
			found = append(found, b)
		}
	}
	if len(found) == 0 {
		return r, bucket.ErrNotBlocked
	}
	for _, was := range found {
		if !o.DryRun {
			b := was
			b.Why, b.By, b.Since = o.Why, o.By, s.now().UTC().Truncate(time.Second)
			if _, err := s.node.Remove(ctx, "", *ledger.BlockEvent(ledger.OpUnblock, b)); err != nil {
				return r, err
			}
		}
		r.Unblocked = append(r.Unblocked, was)
	}
	return r, nil
}

// isDecided tells whether a removal is done but for bytes that are still to be deleted.
func isDecided(err error) bool { return errors.Is(err, node.ErrUnfinished) }
