package control

import (
	"context"
	"iter"

	"imgkeep/bucket"
	"imgkeep/bucket/linkrot"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
	"imgkeep/bucket/tags"
)

// OpenStore is a store with what asks and maintains it: the Store of a Local.
type OpenStore struct{ *bucket.Store }

// Stats are the figures of a store, and of the origins of what it keeps.
type Stats struct {
	query.Stats
	LinkRot *linkrot.Report `json:"link_rot,omitempty"` // nil: no origin was ever asked
	// Node says that these are the figures of what one of several nodes knows, which is a part
	// of what they keep. It knows no hosts.
	Node bool `json:"node,omitempty"`
}

// Scrub is scrub.Run.
func (s OpenStore) Scrub(ctx context.Context, o scrub.Options) (scrub.Report, error) {
	return scrub.Run(ctx, s.Maintenance(), o)
}

// Show is query.Show.
func (s OpenStore) Show(ctx context.Context, t bucket.Target) (query.Details, error) {
	return query.Show(ctx, s.Maintenance(), t.URL, t.Digest)
}

// List is query.List.
func (s OpenStore) List(ctx context.Context, f query.Filter) iter.Seq2[query.Entry, error] {
	return query.List(ctx, s.Maintenance(), f)
}

// ListOf is List of these images.
func (s OpenStore) ListOf(ctx context.Context, f query.Filter, of map[tags.Image]bool) iter.Seq2[query.Entry, error] {
	return func(yield func(query.Entry, error) bool) {
		for e, err := range s.List(ctx, f) {
			if err != nil || of[tags.Image{Bucket: e.Bucket, URL: e.URL}] {
				if !yield(e, err) {
					return
				}
			}
		}
	}
}

// ListFailures is query.Failures.
func (s OpenStore) ListFailures(ctx context.Context, f query.Filter, classes []bucket.ErrorKind) iter.Seq2[query.FailureDetails, error] {
	return query.Failures(ctx, s.Maintenance(), f, classes)
}

// Latest is query.LatestKept.
func (s OpenStore) Latest(ctx context.Context, f query.RecentFilter) (query.Recent, error) {
	return query.LatestKept(ctx, s.Maintenance(), f)
}

// LatestFailed is query.LatestFailures.
func (s OpenStore) LatestFailed(ctx context.Context, f query.RecentFilter, classes []bucket.ErrorKind) (query.RecentFailures, error) {
	return query.LatestFailures(ctx, s.Maintenance(), f, classes)
}

// Hosts is query.CountHosts.
func (s OpenStore) Hosts(ctx context.Context) (query.Hosts, error) {
	return query.CountHosts(ctx, s.Maintenance(), s.Maintenance().Now())
}

// DigestsOf are the digests of what is kept under a URL.
func (s OpenStore) DigestsOf(url string) []record.Digest {
	all, _ := s.Maintenance().DigestsOf(url) // what cannot be read is not known
	return all
}

// Stats asks for both.
func (s OpenStore) Stats(ctx context.Context) (all Stats, err error) {
	if all.Stats, err = query.CountAll(ctx, s.Maintenance()); err != nil {
		return all, err
	}
	all.LinkRot, err = linkrot.Read(s.Root(), s.Maintenance().Log())
	return all, err
}
