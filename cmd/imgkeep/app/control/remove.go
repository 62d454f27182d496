package control

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"imgkeep/bucket"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/record"
)

// Remover removes: a *bucket.Store.
type Remover interface {
	Forget(ctx context.Context, url string, o bucket.RemoveOptions) (record.Removal, error)
	Purge(context.Context, bucket.Target, bucket.RemoveOptions) (record.Removal, error)
	Block(context.Context, bucket.Target, bucket.RemoveOptions) (record.Removal, error)
	Unblock(context.Context, bucket.Target, bucket.RemoveOptions) (record.Removal, error)
}

// VersionRemover is a Remover in an object store, which may keep versions of what was removed.
type VersionRemover interface {
	// AllVersions is the same Remover, of which Purge and Block delete all versions as well.
	AllVersions() Remover
}

var errOneMachine = errors.New("all versions can be removed from an object store that several nodes share: this is the store of one machine, which has none")

// HotLinks are those that nginx serves by: an *nginx.Hot.
type HotLinks interface {
	BeginRemoval() error
	EndRemoval(all bool, leads func(target string) bool) (int, error)
}

// Remove implements Service: it does what is asked for, takes the hot links of it away,
// and notes it in the audit log.
func (l *Local) Remove(ctx context.Context, q RemoveRequest) (done Removal, err error) {
	ctx = context.WithoutCancel(ctx) // a caller that leaves has asked for it all the same
	if l.opts.Removed != nil && !q.DryRun {
		defer func() { l.opts.Removed(q.Verb, err) }()
	}
	t, err := q.target()
	if err == nil {
		err = l.check(q.Named)
	}
	var remover Remover
	if err == nil {
		remover, err = l.remover(q)
	}
	if err != nil {
		return done, err
	}
	hot := l.opts.Hot
	if hot == nil || q.DryRun || q.Verb == Unblock {
		hot = noHotLinks{}
	}
	if l.opts.Outbox != nil && !q.DryRun && q.Verb != Unblock {
		end := l.opts.Outbox.Begin(q, l.by.Who)
		defer func() { end(done, err) }()
	}
	unnoted, ended := hot.BeginRemoval(), false
	defer func() {
		if !ended { // by a panic, of which nobody knows what it has left
			err = errors.New("the removal has panicked")
			hot.EndRemoval(true, nil)
		}
	}()
	done.Removal, err = removeAll(ctx, remover, q, t, l.by.Who)
	ended = true
	_, endErr := hot.EndRemoval(unnoted != nil || q.unknown(done.Removal, err), leadTo(done.Removal))
	err = errors.Join(err, endErr)
	if l.opts.Links != nil {
		var linksErr error
		done.Links, linksErr = l.opts.Links.Good(done.Removal)
		err = errors.Join(err, linksErr)
	}
	if q.DryRun {
		return done, err
	}
	return done, errors.Join(err, l.audit(Change{Op: q.Verb, What: q, Why: q.Why}, err))
}

// target is what is to be removed, or the error of a request that makes no sense.
func (q RemoveRequest) target() (t bucket.Target, err error) {
	t = bucket.Target{URL: q.URL, Host: q.Host}
	if q.Hash != "" {
		h, err := likeness.ParseHash(q.Hash)
		if err != nil {
			return t, err
		}
		t.Hash = &h
	}
	if q.Within < 0 || q.Within > likeness.MaxWithin {
		return t, fmt.Errorf("a distance of %d is not from 0 to %d", q.Within, likeness.MaxWithin)
	}
	if q.Digest != "" {
		if t.Digest, err = record.ParseDigest(q.Digest); err != nil {
			return t, err
		}
	}
	if !slices.Contains([]string{Forget, Purge, Block, Unblock}, q.Verb) {
		return t, fmt.Errorf("%q is no way to remove something: want forget, purge, block or unblock", q.Verb)
	}
	named := 0
	for _, name := range []string{q.URL, q.Digest, q.Host, q.Hash} {
		if name != "" {
			named++
		}
	}
	if named != 1 {
		return t, fmt.Errorf("%d things are named to %s: want one", named, q.Verb)
	}
	if q.Host+q.Hash != "" && q.Verb != Block && q.Verb != Unblock || q.URL == "" && q.Verb == Forget || q.Similar && (q.Verb != Block || q.Host != "") {
		return t, fmt.Errorf("%s does not go with this: want a URL or a digest to purge, a URL to forget", q.Verb)
	}
	if q.AllVersions && (q.Verb != Purge && q.Verb != Block || q.Host+q.Hash != "") {
		return t, errors.New("all versions are removed only where a URL or a digest is purged or blocked")
	}
	return t, nil
}

// remover is what does a removal.
func (l *Local) remover(q RemoveRequest) (Remover, error) {
	if !q.AllVersions {
		return l.opts.Store, nil
	}
	if s, ok := l.opts.Store.(VersionRemover); ok {
		return s.AllVersions(), nil
	}
	return nil, errOneMachine
}

// removeAll also removes what was kept under Source itself, before it was one of several URLs of
// an image: viewers are shown that where nothing is kept under URL. It is blocked only if there
// is such an image.
func removeAll(ctx context.Context, remover Remover, q RemoveRequest, t bucket.Target, by string) (record.Removal, error) {
	done, err := remove(ctx, remover, q, t, by)
	if q.URL == "" || q.Source == "" || q.Source == q.URL {
		return done, err
	}
	t.URL = q.Source
	if q.Verb == Block {
		look := q
		look.DryRun = true
		if there, lookErr := remove(ctx, remover, look, t, by); lookErr != nil || len(there.Images) == 0 {
			return done, errors.Join(err, lookErr)
		}
	}
	q.URL = q.Source
	older, olderErr := remove(ctx, remover, q, t, by)
	done.Images, done.Blocked, done.Unblocked = append(done.Images, older.Images...), append(done.Blocked, older.Blocked...), append(done.Unblocked, older.Unblocked...)
	none := func(err error) bool { return errors.Is(err, bucket.ErrNotKept) || errors.Is(err, bucket.ErrNotBlocked) }
	switch { // there need be only one of them
	case none(olderErr):
		return done, err
	case none(err):
		return done, olderErr
	}
	return done, errors.Join(err, olderErr)
}

func remove(ctx context.Context, remover Remover, q RemoveRequest, t bucket.Target, by string) (record.Removal, error) {
	o := bucket.RemoveOptions{Buckets: q.Buckets, Why: q.Why, By: by, DryRun: q.DryRun, KeepFiles: q.Keep, Similar: q.Similar, Within: q.Within}
	switch q.Verb {
	case Forget:
		return remover.Forget(ctx, q.URL, o)
	case Purge:
		return remover.Purge(ctx, t, o)
	case Block:
		return remover.Block(ctx, t, o)
	}
	return remover.Unblock(ctx, t, o)
}

// unknown tells whether it is not known which files are out of reach now, so that all
// hot links must go: those of a host, of what an error has left, and of what was not
// found, which nginx may know all the same.
func (q RemoveRequest) unknown(r record.Removal, err error) bool {
	if errors.Is(err, bucket.ErrNoBucket) || q.Hash != "" { // which takes nothing away that is kept
		return false
	}
	return q.Host != "" || err != nil || len(r.Images) == 0
}

// leadTo tells which paths are files of what was removed, in any bucket. What is
// removed in one of them only has its links in others made again.
func leadTo(r record.Removal) func(target string) bool {
	digests := map[string]bool{}
	for _, i := range r.Images {
		digests[i.Digest] = true
	}
	for _, b := range r.Blocked {
		if b.Kind == record.BlockDigest {
			digests[b.Subject] = true
		}
	}
	return func(target string) bool {
		digest, _, _ := strings.Cut(filepath.Base(target), ".")
		return digests[digest]
	}
}

// dropHotLinks takes all hot links away.
func dropHotLinks(hot HotLinks) error {
	unnoted := hot.BeginRemoval()
	_, err := hot.EndRemoval(true, nil)
	if err == nil {
		return nil // it is done, noted or not
	}
	return errors.Join(unnoted, err)
}

// noHotLinks are the hot links of a server that has none.
type noHotLinks struct{}

func (noHotLinks) BeginRemoval() error                             { return nil }
func (noHotLinks) EndRemoval(bool, func(string) bool) (int, error) { return 0, nil }
