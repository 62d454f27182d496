package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
)

// remover notes what it is asked to do.
type remover struct {
	asked  []string
	left   int
	none   bool // nothing is found
	alone  bool // it is of one machine
	err    error
	by     string
	option bucket.RemoveOptions
}

func (r *remover) do(what string, o bucket.RemoveOptions) (record.Removal, error) {
	r.asked, r.by, r.option = append(r.asked, what), o.By, o
	if r.none {
		return record.Removal{}, r.err
	}
	return record.Removal{Images: []record.Removed{{Bucket: "i", Digest: "theDigest", Left: r.left}}}, r.err
}

func (r *remover) Forget(_ context.Context, url string, o bucket.RemoveOptions) (record.Removal, error) {
	return r.do("forget "+url, o)
}

func (r *remover) Purge(_ context.Context, t bucket.Target, o bucket.RemoveOptions) (record.Removal, error) {
	return r.do("purge "+t.URL+t.Digest.String()[:2], o)
}

func (r *remover) Block(_ context.Context, t bucket.Target, o bucket.RemoveOptions) (record.Removal, error) {
	return r.do("block "+t.URL+t.Host, o)
}

func (r *remover) Unblock(_ context.Context, t bucket.Target, o bucket.RemoveOptions) (record.Removal, error) {
	return r.do("unblock "+t.URL+t.Host, o)
}

// versions is a store with a remover that notes which of its removals are of all versions.
type versions struct{ store }

func (v versions) AllVersions() Remover {
	return everyVersion{v.Remover.(*remover)}
}

type everyVersion struct{ *remover }

func (r everyVersion) Purge(_ context.Context, t bucket.Target, o bucket.RemoveOptions) (record.Removal, error) {
	return r.do("all versions of purge "+t.URL+t.Digest.String()[:2], o)
}

func (r everyVersion) Block(_ context.Context, t bucket.Target, o bucket.RemoveOptions) (record.Removal, error) {
	return r.do("all versions of block "+t.URL, o)
}

const url = "https://example.com/a.png"

// tree notes what becomes of hot links.
type tree struct {
	store     *remover
	begun     bool
	ended     bool
	all       bool
	leads     func(string) bool
	beginErr  error
	endErr    error
	outOfTurn bool
}

func (h *tree) BeginRemoval() error {
	h.begun, h.outOfTurn = true, len(h.store.asked) > 0
	return h.beginErr
}

func (h *tree) EndRemoval(all bool, leads func(string) bool) (int, error) {
	h.ended, h.all, h.leads = true, all, leads
	h.outOfTurn = h.outOfTurn || len(h.store.asked) == 0
	return 0, h.endErr
}

// book knows links: those that begin with /bad are of another image.
type book struct{}

func (book) Life(string) *query.LinkDetails { return &query.LinkDetails{Good: true} }

func (book) Check(path string) error {
	if strings.HasPrefix(path, "/bad") {
		return errors.New("another image")
	}
	return nil
}

func (book) Good(r record.Removal) ([]string, error) {
	return make([]string, len(r.Images)), nil
}

// A removal is done, noted with who asked for it and why, and takes its hot links
// along: all where it is not known which they are.
func TestRemove(t *testing.T) {
	failed := errors.New("failed")
	const all, some = "all", "some"
	for name, tt := range map[string]struct {
		q     RemoveRequest
		r     remover
		asked string
		hot   string // links that went
		noted string // in the audit log; "": nothing
		err   string
	}{
		"forget":               {q: RemoveRequest{Verb: Forget, URL: url, Why: "w"}, asked: "forget " + url, hot: some, noted: `"op":"forget"`},
		"forget one of two":    {q: RemoveRequest{Verb: Forget, URL: url}, r: remover{left: 1}, asked: "forget " + url, hot: some, noted: `"op":"forget"`},
		"purge":                {q: RemoveRequest{Verb: Purge, Digest: record.Digest{}.String()}, asked: "purge AA", hot: some, noted: `"op":"purge"`},
		"purge fails":          {q: RemoveRequest{Verb: Purge, URL: url}, r: remover{err: failed}, asked: "purge " + url + "AA", hot: all, noted: `"error":"failed"`, err: "failed"},
		"dry run":              {q: RemoveRequest{Verb: Block, URL: url, DryRun: true}, asked: "block " + url},
		"block":                {q: RemoveRequest{Verb: Block, URL: url}, asked: "block " + url, hot: some, noted: `"op":"block"`},
		"block, keep":          {q: RemoveRequest{Verb: Block, URL: url, Keep: true}, asked: "block " + url, hot: some, noted: `"op":"block"`},
		"block a host":         {q: RemoveRequest{Verb: Block, Host: "a.example"}, asked: "block a.example", hot: all, noted: `"host":"a.example"`},
		"unblock":              {q: RemoveRequest{Verb: Unblock, Host: "a.example"}, asked: "unblock a.example", noted: `"op":"unblock"`},
		"nothing named":        {q: RemoveRequest{Verb: Purge}, err: "0 things are named to purge: want one"},
		"two things named":     {q: RemoveRequest{Verb: Block, URL: url, Host: "a"}, err: "2 things"},
		"a host to purge":      {q: RemoveRequest{Verb: Purge, Host: "a"}, err: "does not go with this"},
		"a digest to forget":   {q: RemoveRequest{Verb: Forget, Digest: record.Digest{}.String()}, err: "does not go with this"},
		"a digest that is not": {q: RemoveRequest{Verb: Purge, Digest: "x"}, err: "is no digest"},
		"nothing found":        {q: RemoveRequest{Verb: Purge, URL: url}, r: remover{none: true, err: bucket.ErrNotKept}, asked: "purge " + url + "AA", hot: all, noted: `"error":"not kept"`, err: "not kept"},
		"block what is not":    {q: RemoveRequest{Verb: Block, URL: url}, r: remover{none: true}, asked: "block " + url, hot: all, noted: `"op":"block"`},
		"no such bucket":       {q: RemoveRequest{Verb: Purge, URL: url}, r: remover{none: true, err: bucket.ErrNoBucket}, asked: "purge " + url + "AA", hot: some, noted: "no such bucket", err: "no such bucket"},
		"another's link":       {q: RemoveRequest{Verb: Block, URL: url, Named: Named{Link: "/bad/link"}}, err: "another image"},
		"its link":             {q: RemoveRequest{Verb: Block, URL: url, Named: Named{Link: "/good/link"}}, asked: "block " + url, hot: some, noted: `"link":"/good/link"`},
		"told to":              {q: RemoveRequest{Verb: Block, URL: url, Named: Named{Link: "/bad/link", Unverified: true}}, asked: "block " + url, hot: some, noted: `"unverified":true`},
		"all versions":         {q: RemoveRequest{Verb: Purge, URL: url, AllVersions: true}, asked: "all versions of purge " + url + "AA", hot: some, noted: `"all_versions":true`},
		"all versions, block":  {q: RemoveRequest{Verb: Block, URL: url, AllVersions: true}, asked: "all versions of block " + url, hot: some, noted: `"all_versions":true`},
		"one machine":          {q: RemoveRequest{Verb: Purge, URL: url, AllVersions: true}, r: remover{alone: true}, err: "this is the store of one machine"},
		"versions of a URL":    {q: RemoveRequest{Verb: Forget, URL: url, AllVersions: true}, err: "where a URL or a digest is purged or blocked"},
		"versions of a host":   {q: RemoveRequest{Verb: Block, Host: "a.example", AllVersions: true}, err: "where a URL or a digest is purged or blocked"},
		"no verb":              {q: RemoveRequest{Verb: "burn", URL: url}, err: `"burn" is no way`},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
			audit := &Audit{Path: filepath.Join(t.TempDir(), "audit.ndjson"), Now: func() time.Time { return now }}
			hot := &tree{store: &tt.r}
			var from Store = versions{store{Remover: &tt.r}}
			if tt.r.alone {
				from = store{Remover: &tt.r}
			}
			r, err := New(Options{Store: from, Hot: hot, Links: book{}, Audit: audit}).As(Caller{"uid 7", Claims{SudoUser: "alice"}}).Remove(t.Context(), tt.q)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			if got := strings.Join(tt.r.asked, ","); got != tt.asked || got != "" && tt.r.by != "uid 7" {
				t.Errorf("asked %q by %q, want %q", got, tt.r.by, tt.asked)
			}
			if hot.begun != hot.ended || hot.begun != (tt.hot != "") || hot.all != (tt.hot == all) || hot.outOfTurn {
				t.Errorf("hot links: %+v; want %q", hot, tt.hot)
			}
			if len(r.Links) != len(r.Images) {
				t.Errorf("links %q of %+v", r.Links, r)
			}
			text, err := os.ReadFile(audit.Path)
			if tt.noted == "" {
				if !errors.Is(err, os.ErrNotExist) {
					t.Errorf("noted %s, %v", text, err)
				}
				return
			}
			if !strings.Contains(string(text), tt.noted) || !strings.HasPrefix(string(text), `{"time":"2026-11-22T12:00:00Z","by":"uid 7","claims":{"sudo_user":"alice"},"op"`) || strings.Count(string(text), "\n") != 1 {
				t.Errorf("noted %s", text)
			}
		})
	}
}

// Hot links of what was removed are those that lead to its files, whatever was made of
// it, in whatever bucket. Without a note that a removal has begun all go, and what
// could not be taken away is no success.
func TestRemoveHotLinks(t *testing.T) {
	do := func(hot *tree) error {
		hot.store = &remover{}
		_, err := New(Options{Store: store{Remover: hot.store}, Hot: hot}).Remove(t.Context(), RemoveRequest{Verb: Purge, URL: url})
		return err
	}
	hot := &tree{}
	if err := do(hot); err != nil || hot.all {
		t.Fatalf("%+v, %v", hot, err)
	}
	for target, want := range map[string]bool{
		"/r/i/t/h/theDigest.jpg": true, "/r/f/t/h/theDigest.250x250.webp": true, "/r/i/t/h/theDigestX.jpg": false, "/r/i/theDigest.d/other.jpg": false, "": false,
	} {
		if hot.leads(target) != want {
			t.Errorf("%q is of what was removed: %v", target, !want)
		}
	}
	hot = &tree{beginErr: errors.New("no room")}
	if err := do(hot); err != nil || !hot.all {
		t.Errorf("%+v, %v", hot, err)
	}
	hot = &tree{endErr: errors.New("they stay")}
	if err := do(hot); err == nil || err.Error() != "they stay" {
		t.Errorf("%+v, %v", hot, err)
	}
}

// Over the socket: who asks is who the kernel says, and errors that callers tell
// apart are themselves.
func TestRemoveOverSocket(t *testing.T) {
	r := &remover{}
	audit := &Audit{Path: filepath.Join(t.TempDir(), "audit.ndjson")}
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- NewServer(New(Options{Store: store{Remover: r}, Audit: audit}), nil).Serve(ctx, l) }()
	defer func() { cancel(); <-done }()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	removal, err := c.Remove(t.Context(), RemoveRequest{Verb: Forget, URL: url, Buckets: []string{"i"}, Why: "w"})
	if err != nil || len(removal.Images) != 1 || r.by != Who(os.Getuid()) || r.option.Why != "w" || len(r.option.Buckets) != 1 {
		t.Errorf("got %+v, %v; asked by %q, %+v", removal, err, r.by, r.option)
	}
	r.err = bucket.ErrNotKept
	if removal, err = c.Remove(t.Context(), RemoveRequest{Verb: Purge, URL: url}); !errors.Is(err, bucket.ErrNotKept) || len(removal.Images) != 1 {
		t.Errorf("got %+v, %v", removal, err)
	}
	if _, err := c.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot reload") {
		t.Errorf("reload: %v", err)
	}
	f, err := os.Open(audit.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		var c Change
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil || c.By != Who(os.Getuid()) || time.Since(c.Time) > time.Minute {
			t.Errorf("%s: %v", lines.Bytes(), err)
		}
	}
	if n != 2 {
		t.Errorf("%d lines", n)
	}
}

// panickingRemover is a remover that breaks off somewhere.
type panickingRemover struct{ *remover }

func (r panickingRemover) Purge(context.Context, bucket.Target, bucket.RemoveOptions) (record.Removal, error) {
	r.do("purge", bucket.RemoveOptions{})
	panic("too much")
}

// failures notes with which errors removals have ended.
type failures []error

func (f *failures) Begin(RemoveRequest, string) func(Removal, error) {
	return func(_ Removal, err error) { *f = append(*f, err) }
}

// Nobody knows how far a removal came that panics: no hot link stays, and who is told of removals
// hears that it has failed.
func TestRemovePanics(t *testing.T) {
	r := &remover{}
	hot := &tree{store: r}
	var told failures
	func() {
		defer func() {
			if recover() == nil {
				t.Error("nobody hears of it")
			}
		}()
		New(Options{Store: store{Remover: panickingRemover{r}}, Hot: hot, Outbox: &told}).Remove(t.Context(), RemoveRequest{Verb: Purge, URL: url})
	}()
	if !hot.ended || !hot.all {
		t.Errorf("hot links: %+v", hot)
	}
	if len(told) != 1 || told[0] == nil {
		t.Errorf("who is told of removals hears %v", told)
	}
}
