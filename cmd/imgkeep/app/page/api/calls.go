package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"imgkeep/bucket"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/target"
)

// Limits of calls.
const (
	maxOf  = 100 // things in a call
	maxWhy = 500 // bytes of a reason
)

// parameters are those of a query; one that a call does not know is an error.
func parameters(r *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, wrong("the query is not understood: %v", err)
	}
	for key, values := range q {
		if !slices.Contains(known, key) {
			return nil, wrong("%q is no parameter: want %s", key, strings.Join(known, ", "))
		}
		if len(values) > 1 {
			return nil, wrong("%s is given twice", key)
		}
	}
	return q, nil
}

func (a *api) named(text string, hosts bool) (target.Target, error) {
	t, err := a.opts.Read(text, hosts)
	if err != nil {
		return t, refusal{http.StatusUnprocessableEntity, "name", err.Error()}
	}
	return t, nil
}

// show tells all that is known of an image.
func (a *api) show(who asker, r *http.Request) (any, error) {
	q, err := parameters(r, "of", "unverified")
	if err != nil {
		return nil, err
	}
	t, err := a.named(q.Get("of"), false)
	if err != nil {
		return nil, err
	}
	return a.details(who, r, t, q.Get("unverified") == "true")
}

func (a *api) details(who asker, r *http.Request, t target.Target, unverified bool) (query.Details, error) {
	d, err := who.Show(r.Context(), control.ShowRequest{URL: t.URL, Source: t.Source, Digest: t.Digest, Named: control.Named{Link: t.Link, Unverified: unverified}})
	if err != nil && t.Link != "" && !unverified {
		return d, refusal{http.StatusUnprocessableEntity, "signature", err.Error()}
	}
	return d, err
}

// found is what a search has found: an image, or all whose URLs hold the text.
type found struct {
	Image  *query.Details `json:"image,omitempty"`
	Images *query.Recent  `json:"images,omitempty"`
}

func (a *api) search(who asker, r *http.Request) (any, error) {
	q, err := parameters(r, "q", "before", "limit")
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(q.Get("q"))
	if text == "" {
		return nil, wrong("q: want a link, a URL, a digest, a host or a part of a URL")
	}
	t, err := a.opts.Read(text, true)
	if err == nil && t.Host == "" {
		d, err := a.details(who, r, t, true)
		return found{Image: &d}, err
	}
	f, err := recentFilter(q)
	if err != nil {
		return nil, err
	}
	if t.Host != "" && strings.Contains(t.Host, ".") {
		byHost := f
		byHost.Hosts = []string{t.Host}
		page, err := who.Latest(r.Context(), byHost)
		if err != nil || len(page.Items) > 0 || page.Partial || f.Before != "" {
			return found{Images: &page}, err
		}
	}
	f.Text = text // "cat.jpg" may be a host as well
	page, err := who.Latest(r.Context(), f)
	return found{Images: &page}, err
}

// filters are the parameters of lists.
var filters = []string{"bucket", "host", "type", "text", "since", "until", "min_bytes", "max_bytes", "limit", "before"}

func recentFilter(q url.Values) (f query.RecentFilter, err error) {
	f.Text, f.Before = q.Get("text"), q.Get("before")
	if b := q.Get("bucket"); b != "" {
		f.Buckets = []string{b}
	}
	if h := q.Get("host"); h != "" {
		host, err := imageurl.ParsePattern(h)
		if err != nil {
			return f, wrong("host: %v", err)
		}
		f.Hosts = []string{host}
	}
	if t := q.Get("type"); t != "" {
		format, err := probe.ParseFormat(t)
		if err != nil {
			return f, wrong("type: %v", err)
		}
		f.Types = []string{format.String()}
	}
	for key, at := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if text := q.Get(key); text != "" {
			if *at, err = time.Parse(time.RFC3339, text); err != nil {
				return f, wrong("%s: %q is no time such as 2026-11-28T12:00:00Z", key, text)
			}
		}
	}
	number := func(key string, most int64) (n int64) {
		text := q.Get(key)
		if text == "" || err != nil {
			return 0
		}
		if n, err = strconv.ParseInt(text, 10, 64); err != nil || n < 0 || n > most {
			err = wrong("%s: %q is no number from 0 to %d", key, text, most)
		}
		return n
	}
	f.MinBytes, f.MaxBytes = number("min_bytes", 1<<50), number("max_bytes", 1<<50)
	f.Limit = int(number("limit", query.MaxRecent))
	return f, err
}

func (a *api) images(who asker, r *http.Request) (any, error) {
	q, err := parameters(r, filters...)
	if err != nil {
		return nil, err
	}
	f, err := recentFilter(q)
	if err != nil {
		return nil, err
	}
	return who.Latest(r.Context(), f)
}

func (a *api) failures(who asker, r *http.Request) (any, error) {
	q, err := parameters(r, "bucket", "host", "class", "since", "until", "limit", "before")
	if err != nil {
		return nil, err
	}
	f, err := recentFilter(q)
	if err != nil {
		return nil, err
	}
	fq := control.FailedRequest{RecentFilter: f}
	if class := q.Get("class"); class != "" {
		fq.Classes = []string{class}
	}
	return who.Failed(r.Context(), fq)
}

// similarRequest reads how far look-alikes may be.
func similarRequest(q url.Values) (r control.SimilarRequest, err error) {
	r.Within = likeness.Within
	for key, n := range map[string]*int{"within": &r.Within, "limit": &r.Limit} {
		if text := q.Get(key); text != "" {
			if *n, err = strconv.Atoi(text); err != nil {
				return r, wrong("%s: %q is no number", key, text)
			}
		}
	}
	if r.Within < 0 || r.Within > likeness.MaxWithin || r.Limit < 0 || r.Limit > control.MaxSimilar {
		return r, wrong("want within from 0 to %d, and limit from 1 to %d", likeness.MaxWithin, control.MaxSimilar)
	}
	return r, nil
}

// similar lists what looks like an image.
func (a *api) similar(who asker, r *http.Request) (any, error) {
	q, err := parameters(r, "of", "within", "limit")
	if err != nil {
		return nil, err
	}
	s, err := similarRequest(q)
	if err != nil {
		return nil, err
	}
	t, err := a.named(q.Get("of"), false)
	if err != nil {
		return nil, err
	}
	s.URL, s.Digest, s.Named = t.URL, t.Digest, control.Named{Link: t.Link}
	return a.looked(who.Similar(r.Context(), s, nil))
}

// compare lists what looks like the picture that is the body.
func (a *api) compare(who asker, r *http.Request) (any, error) {
	q, err := parameters(r, "within", "limit")
	if err != nil {
		return nil, err
	}
	s, err := similarRequest(q)
	if err != nil {
		return nil, err
	}
	if kind := r.Header.Get("Content-Type"); !strings.HasPrefix(kind, "image/") && kind != "application/octet-stream" {
		return nil, refusal{http.StatusUnsupportedMediaType, "media-type", "want the bytes of an image, with Content-Type: image/*"}
	}
	return a.looked(who.Similar(r.Context(), s, http.MaxBytesReader(nil, r.Body, a.opts.MaxUpload)))
}

// looked is what was found, or that an image cannot be compared.
func (a *api) looked(found control.Similar, err error) (any, error) {
	var large *http.MaxBytesError
	if err == nil || errors.Is(err, lookalike.ErrOff) || errors.As(err, &large) {
		return found, err
	}
	return found, refusal{http.StatusUnprocessableEntity, "image", err.Error()}
}

// blocked are all blocks.
type blocked struct {
	Blocks []record.Block `json:"blocks"`
}

func (a *api) blocks(who asker, r *http.Request) (any, error) {
	if _, err := parameters(r); err != nil {
		return nil, err
	}
	all := blocked{Blocks: []record.Block{}}
	_, err := who.List(r.Context(), control.ListRequest{What: "blocks"}, func(e control.Event) error {
		all.Blocks = append(all.Blocks, *e.Item.Block)
		return nil
	})
	return all, err
}

// order is the body of a removal.
type order struct {
	Of         []string `json:"of"`
	Why        string   `json:"why"`
	Keep       bool     `json:"keep,omitempty"`
	Similar    bool     `json:"similar,omitempty"`
	DryRun     bool     `json:"dry_run,omitempty"`
	Unverified bool     `json:"unverified,omitempty"`
}

// done is what a removal has done, thing by thing.
type done struct {
	Results []result `json:"results"`
	Failed  int      `json:"failed"`
}

type result struct {
	Of string `json:"of"`
	record.Removal
	Links []string `json:"links"`
	Error *refusal `json:"error,omitempty"`
}

// remove blocks or unblocks. What was done is told beside what was not.
func (a *api) remove(verb string) func(asker, *http.Request) (any, error) {
	return func(who asker, r *http.Request) (any, error) {
		var o order
		if _, err := parameters(r); err != nil {
			return nil, err
		}
		if err := decode(r, &o); err != nil {
			return nil, err
		}
		if len(o.Of) == 0 || len(o.Of) > maxOf {
			return nil, wrong("of: want 1 to %d links, URLs, digests or hosts, not %d", maxOf, len(o.Of))
		}
		if o.Why = control.Printable(o.Why); len(o.Why) > maxWhy || !utf8.ValidString(o.Why) {
			return nil, wrong("why: want at most %d bytes", maxWhy)
		}
		if o.Why == "" && verb == control.Block {
			return nil, wrong("why: the reason is missing")
		}
		if a.opts.TwoPersons && !o.DryRun {
			return nil, refusal{http.StatusForbidden, "two-persons", "another moderator has to agree to each removal (page.two_persons): do it on the page"}
		}
		all := done{Results: []result{}}
		for _, of := range o.Of {
			one := a.removeOne(who, r, verb, of, o)
			if one.Error != nil {
				all.Failed++
			}
			all.Results = append(all.Results, one)
		}
		return all, nil
	}
}

func (a *api) removeOne(who asker, r *http.Request, verb, of string, o order) result {
	one := result{Of: of, Links: []string{}}
	t, err := a.named(of, true)
	var removal control.Removal
	stands := false
	if err == nil && verb == control.Block && !o.DryRun && !o.Similar {
		removal, stands, err = already(who, r, t)
	}
	if err == nil && !stands {
		removal, err = who.Remove(r.Context(), control.RemoveRequest{
			Verb: verb, URL: t.URL, Source: t.Older(), Digest: t.Digest, Host: t.Host, Why: o.Why, DryRun: o.DryRun, Keep: o.Keep && verb == control.Block,
			Similar: o.Similar && verb == control.Block && t.Host == "", Within: distance(o.Similar && verb == control.Block && t.Host == ""),
			Named: control.Named{Link: t.Link, Unverified: o.Unverified},
		})
		if errors.Is(err, bucket.ErrNotBlocked) { // as is wanted
			err = nil
		}
	}
	one.Removal = removal.Removal
	one.Images, one.Blocked, one.Unblocked = append([]record.Removed{}, one.Images...), append([]record.Block{}, one.Blocked...), append([]record.Block{}, one.Unblocked...)
	one.Links = append(one.Links, removal.Links...)
	if err != nil {
		problem := a.refusalOf(r, err)
		if t.Link != "" && problem.Code == "failed" && len(one.Images)+len(one.Blocked) == 0 {
			problem = refusal{http.StatusUnprocessableEntity, "signature", fmt.Sprint(err)}
		}
		one.Error = &problem
	}
	return one
}

// distance is how far off something may be that is kept out for what it looks like.
func distance(similar bool) int {
	if similar {
		return likeness.Within
	}
	return 0
}

// already is the block of something that is blocked, and of which nothing is kept: to block
// it again would put another reason in the place of the first one.
func already(who asker, r *http.Request, t target.Target) (b control.Removal, stands bool, err error) {
	if t.Host != "" {
		_, err = who.List(r.Context(), control.ListRequest{What: "blocks"}, func(e control.Event) error {
			if x := e.Item.Block; x.Kind == record.BlockHost && x.Subject == t.Host {
				b.Blocked = append(b.Blocked, *x)
			}
			return nil
		})
		return b, len(b.Blocked) > 0, err
	}
	d, err := who.Show(r.Context(), control.ShowRequest{URL: t.URL, Source: t.Older(), Digest: t.Digest})
	for _, x := range d.Blocks {
		if x.Kind == record.BlockURL && x.Subject == t.URL || x.Kind == record.BlockDigest && x.Subject == t.Digest {
			b.Blocked = append(b.Blocked, x)
		}
	}
	return b, err == nil && len(b.Blocked) > 0 && len(d.Images) == 0, err
}
