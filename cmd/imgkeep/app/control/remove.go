package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"imgkeep/bucket"
)

// Verbs of a RemoveRequest.
const (
	Forget  = "forget"
	Purge   = "purge"
	Block   = "block"
	Unblock = "unblock"
)

// RemoveRequest asks for a removal. One of URL, Digest and Host is set.
type RemoveRequest struct {
	Verb    string   `json:"verb"`
	URL     string   `json:"url,omitempty"` // canonical
	Digest  string   `json:"digest,omitempty"`
	Host    string   `json:"host,omitempty"`
	Buckets []string `json:"buckets,omitempty"`
	Why     string   `json:"why,omitempty"`
	DryRun  bool     `json:"dry_run,omitempty"`
	Keep    bool     `json:"keep,omitempty"` // the files of what is blocked
	Named
}

// Named tells that a URL was read from a link.
type Named struct {
	Link       string `json:"link,omitempty"`       // its path; empty: from none
	Unverified bool   `json:"unverified,omitempty"` // whatever its signature stands for
}

// Links know links of a server.
type Links interface {
	// Check tells whether a link, by its path, is of the image that its URL says. The
	// error names both.
	Check(path string) error
	// Good are the paths of the links that are good now for what was removed.
	Good(bucket.Removal) ([]string, error)
}

// check is the error of a link whose signature stands for something else than its
// URL. links may be nil: then nothing is known.
func (n Named) check(links Links) error {
	if n.Link == "" || n.Unverified || links == nil {
		return nil
	}
	return links.Check(n.Link)
}

// HotLinks are those that nginx serves by: an *nginx.Hot.
type HotLinks interface {
	BeginRemoval() error
	EndRemoval(all bool, leads func(target string) bool) (int, error)
}

// Removal is what was done.
type Removal struct {
	bucket.Removal
	Links []string // the paths of those that were good
}

// Remover removes: a *bucket.Store.
type Remover interface {
	Forget(ctx context.Context, url string, o bucket.RemoveOptions) (bucket.Removal, error)
	Purge(context.Context, bucket.Target, bucket.RemoveOptions) (bucket.Removal, error)
	Block(context.Context, bucket.Target, bucket.RemoveOptions) (bucket.Removal, error)
	Unblock(context.Context, bucket.Target, bucket.RemoveOptions) (bucket.Removal, error)
}

// Removing is what a removal is done with.
type Removing struct {
	Store Remover
	Hot   HotLinks // nil: there are none
	Links Links    // nil: none are known
	Audit *Audit
	By    Caller // who asks
}

// Do does what is asked for, takes the hot links of it away, and notes it in the
// audit log. What it returns has happened, also beside an error.
func (q RemoveRequest) Do(ctx context.Context, x Removing) (Removal, error) {
	t := bucket.Target{URL: q.URL, Host: q.Host}
	if q.Digest != "" {
		var err error
		if t.Digest, err = bucket.ParseDigest(q.Digest); err != nil {
			return Removal{}, err
		}
	}
	if !slices.Contains([]string{Forget, Purge, Block, Unblock}, q.Verb) {
		return Removal{}, fmt.Errorf("%q is no way to remove something: want forget, purge, block or unblock", q.Verb)
	}
	if named := count(q.URL != "", q.Digest != "", q.Host != ""); named != 1 {
		return Removal{}, fmt.Errorf("%d things are named to %s: want one", named, q.Verb)
	}
	if q.Host != "" && q.Verb != Block && q.Verb != Unblock || q.URL == "" && q.Verb == Forget {
		return Removal{}, fmt.Errorf("%s does not go with this: want a URL or a digest to purge, a URL to forget", q.Verb)
	}
	if err := q.check(x.Links); err != nil {
		return Removal{}, err
	}
	hot := x.Hot
	if hot == nil || q.DryRun || q.Verb == Unblock {
		hot = noHotLinks{}
	}
	unnoted := hot.BeginRemoval()
	r, err := q.do(ctx, t, x)
	_, endErr := hot.EndRemoval(unnoted != nil || q.unknown(r, err), leadTo(r))
	err = errors.Join(err, endErr)
	done := Removal{Removal: r}
	if x.Links != nil {
		var linksErr error
		done.Links, linksErr = x.Links.Good(r)
		err = errors.Join(err, linksErr)
	}
	if q.DryRun {
		return done, err
	}
	return done, errors.Join(err, x.Audit.Write(x.By.change(Change{Op: q.Verb, What: q, Why: q.Why}), err))
}

func (q RemoveRequest) do(ctx context.Context, t bucket.Target, x Removing) (bucket.Removal, error) {
	o := bucket.RemoveOptions{Buckets: q.Buckets, Why: q.Why, By: x.By.Who, DryRun: q.DryRun, KeepFiles: q.Keep}
	switch q.Verb {
	case Forget:
		return x.Store.Forget(ctx, q.URL, o)
	case Purge:
		return x.Store.Purge(ctx, t, o)
	case Block:
		return x.Store.Block(ctx, t, o)
	}
	return x.Store.Unblock(ctx, t, o)
}

// unknown tells whether it is not known which files are out of reach now, so that all
// hot links must go: those of a host, of what an error has left, and of what was not
// found, which nginx may know all the same.
func (q RemoveRequest) unknown(r bucket.Removal, err error) bool {
	if errors.Is(err, bucket.ErrNoBucket) {
		return false
	}
	return q.Host != "" || err != nil || len(r.Images) == 0
}

// leadTo tells which paths are files of what was removed, in any bucket. What is
// removed in one of them only has its links in others made again.
func leadTo(r bucket.Removal) func(target string) bool {
	digests := map[string]bool{}
	for _, i := range r.Images {
		digests[i.Digest] = true
	}
	for _, b := range r.Blocked {
		if b.Kind == bucket.BlockDigest {
			digests[b.Subject] = true
		}
	}
	return func(target string) bool {
		digest, _, _ := strings.Cut(filepath.Base(target), ".")
		return digests[digest]
	}
}

// noHotLinks are the hot links of a server that has none.
type noHotLinks struct{}

func (noHotLinks) BeginRemoval() error                             { return nil }
func (noHotLinks) EndRemoval(bool, func(string) bool) (int, error) { return 0, nil }

func count(all ...bool) (n int) {
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) {
	var q RemoveRequest
	if err := decode(r, &q); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	// Whoever leaves has asked for it all the same.
	removal, err := q.Do(context.WithoutCancel(r.Context()), Removing{
		Store: s.Store, Hot: s.Hot, Links: s.Links, Audit: s.Audit, By: callerOf(r),
	})
	if s.Removed != nil && !q.DryRun {
		s.Removed(q.Verb, err)
	}
	a := newAnswers(w)
	a.end(message{Removal: &removal.Removal, Links: removal.Links}, err)
}

// Remove has something removed. What was removed before an error is returned with
// it.
func (c *Client) Remove(ctx context.Context, q RemoveRequest) (Removal, error) {
	m, err := c.ask(ctx, http.MethodPost, "/remove", q, nil)
	if m.Removal == nil {
		return Removal{}, cutOff(err)
	}
	return Removal{*m.Removal, m.Links}, err
}
