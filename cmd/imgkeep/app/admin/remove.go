package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

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
}

// Remover removes: a *bucket.Store.
type Remover interface {
	Forget(ctx context.Context, url string, o bucket.RemoveOptions) (bucket.Removal, error)
	Purge(context.Context, bucket.Target, bucket.RemoveOptions) (bucket.Removal, error)
	Block(context.Context, bucket.Target, bucket.RemoveOptions) (bucket.Removal, error)
	Unblock(context.Context, bucket.Target, bucket.RemoveOptions) (bucket.Removal, error)
}

// Do does what is asked for, and notes it in the audit log. by is who asks, as Who
// returns it. dropHot takes away the hot links that files which are left would keep
// alive; nil: there are none.
func (q RemoveRequest) Do(ctx context.Context, s Remover, by string, audit *Audit, dropHot func() error) (bucket.Removal, error) {
	t := bucket.Target{URL: q.URL, Host: q.Host}
	if q.Digest != "" {
		var err error
		if t.Digest, err = bucket.ParseDigest(q.Digest); err != nil {
			return bucket.Removal{}, err
		}
	}
	if named := count(q.URL != "", q.Digest != "", q.Host != ""); named != 1 {
		return bucket.Removal{}, fmt.Errorf("%d things are named to %s: want one", named, q.Verb)
	}
	if q.Host != "" && q.Verb != Block && q.Verb != Unblock || q.URL == "" && q.Verb == Forget {
		return bucket.Removal{}, fmt.Errorf("%s does not go with this: want a URL or a digest to purge, a URL to forget", q.Verb)
	}
	o := bucket.RemoveOptions{Buckets: q.Buckets, Why: q.Why, By: by, DryRun: q.DryRun, KeepFiles: q.Keep}
	var r bucket.Removal
	var err error
	switch q.Verb {
	case Forget:
		r, err = s.Forget(ctx, q.URL, o)
	case Purge:
		r, err = s.Purge(ctx, t, o)
	case Block:
		r, err = s.Block(ctx, t, o)
	case Unblock:
		r, err = s.Unblock(ctx, t, o)
	default:
		return r, fmt.Errorf("%q is no way to remove something: want forget, purge, block or unblock", q.Verb)
	}
	if q.DryRun {
		return r, err
	}
	if dropHot != nil && outlives(r, q, err) {
		err = errors.Join(err, dropHot())
	}
	q.DryRun = false
	return r, errors.Join(err, audit.Write(Change{By: by, Op: q.Verb, What: q, Why: q.Why}, err))
}

// outlives tells whether files are left that a hot link may point at. A link to a
// file that is gone serves nobody.
func outlives(r bucket.Removal, q RemoveRequest, err error) bool {
	for _, i := range r.Images {
		if i.Left > 0 {
			return true
		}
	}
	return q.Verb == Block && (q.Keep || q.Host != "") || err != nil && q.Verb != Unblock && (len(r.Images) > 0 || len(r.Blocked) > 0)
}

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
	removal, err := q.Do(context.WithoutCancel(r.Context()), s.Store, whoAsks(r), s.Audit, s.DropHot)
	if s.Removed != nil && !q.DryRun {
		s.Removed(q.Verb, err)
	}
	a := newAnswers(w)
	a.end(message{Removal: &removal}, err)
}

// Remove has something removed. What was removed before an error is returned with
// it.
func (c *Client) Remove(ctx context.Context, q RemoveRequest) (bucket.Removal, error) {
	m, err := c.ask(ctx, http.MethodPost, "/remove", q, nil)
	if m.Removal == nil {
		return bucket.Removal{}, cutOff(err)
	}
	return *m.Removal, err
}
