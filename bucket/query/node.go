package query

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"

	"imgkeep/bucket/index"
	"imgkeep/bucket/record"
)

// NodeDetails mark what one of several nodes knows, which is a part of what they keep.
type NodeDetails struct {
	URLs uint64 `json:"urls"` // that have the bytes, in this bucket, as far as the node knows
}

// ErrNoHosts: the index of a node has no URLs that a host could be compared with.
var ErrNoHosts = errors.New("the index of a node has digests and no hosts: leave out --host, or run 'imgkeep pull' and list the store that it makes")

// ListKnown is List for one of several nodes, which has no journal: it goes through the images
// in its index, bucket by bucket, in the order of their digests, each once, without URLs. A
// filter with hosts is ErrNoHosts. Memory does not grow with the store, and no transaction of the
// index stays open.
func ListKnown(ctx context.Context, s Store, f Filter) iter.Seq2[Entry, error] {
	return entries(ctx, s, f, func(ctx context.Context, names []string, yield func(Entry, error) bool) {
		if len(f.Hosts) > 0 {
			yield(Entry{}, ErrNoHosts)
			return
		}
		chooses := f.chooser()
		for _, name := range names {
			for e, err := range s.Index().Images(name) {
				if err == nil && ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				image := index.RecordOf(name, "", e.Image)
				if err == nil && !chooses(image) {
					continue
				}
				known := entryOf(image)
				known.Node = &NodeDetails{URLs: e.Refs}
				if !yield(known, err) || err != nil {
					return
				}
			}
		}
	})
}

// Named is a URL of a bucket.
type Named struct{ Bucket, URL string }

// ListNamed lists those of some URLs of which a node knows that they are kept, with their
// URLs, by bucket and URL. It asks the index about each.
func ListNamed(ctx context.Context, s Store, f Filter, urls []Named) iter.Seq2[Entry, error] {
	return entries(ctx, s, f, func(ctx context.Context, names []string, yield func(Entry, error) bool) {
		slices.SortFunc(urls, func(a, b Named) int { return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.URL, b.URL)) })
		chooses := f.chooser()
		for _, u := range urls {
			if !slices.Contains(names, u.Bucket) {
				continue
			}
			known, ok, err := named(ctx, s, u, chooses)
			if !ok && err == nil {
				continue
			}
			if !yield(known, err) || err != nil {
				return
			}
		}
	})
}

// named looks up a URL, and tells whether it is kept and chosen.
func named(ctx context.Context, s Store, u Named, chooses func(record.Image) bool) (known Entry, ok bool, err error) {
	if ctx.Err() != nil {
		return known, false, context.Cause(ctx)
	}
	i, err := s.Index().Image(u.Bucket, u.URL)
	if errors.Is(err, index.ErrNotFound) {
		return known, false, nil
	}
	image := index.RecordOf(u.Bucket, u.URL, i)
	if err != nil || !chooses(image) {
		return known, false, err
	}
	e, err := s.Index().Entry(u.Bucket, i.Digest)
	if errors.Is(err, index.ErrNotFound) { // removed just now
		return known, false, nil
	}
	known = entryOf(image)
	known.Node = &NodeDetails{URLs: e.Refs}
	return known, err == nil, err
}
