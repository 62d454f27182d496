package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"imgkeep/bucket"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/control"
)

// pick is something that was selected: "url …", "digest …" or "host …".
type pick string

func (p pick) kind() string    { k, _, _ := strings.Cut(string(p), " "); return k }
func (p pick) Subject() string { _, s, _ := strings.Cut(string(p), " "); return s }

// Kind is for templates.
func (p pick) Kind() string { return p.kind() }

// maxPicks is how many may be selected at once.
const maxPicks = 500

// Verbs that moderators may use, with what they are called.
var verbs = []struct{ Name, Title, Does string }{
	{control.Block, "Block for good", "Its files are removed, its links answer 451, and it cannot come back under any URL."},
	{control.Purge, "Remove, may come back", "Its files are removed. The next request for it fetches it again."},
	{control.Forget, "Forget these URLs", "Only the URLs are removed; the files stay while others have them."},
}

// order is what somebody wants done.
type order struct {
	Verb  string
	Picks []pick
	Why   string
	Keep  bool // the files of what is blocked
	Like  bool // what looks like it is kept out as well
}

// requests are what the service is asked for.
func (o order) requests() (all []control.RemoveRequest) {
	for _, p := range o.Picks {
		q := control.RemoveRequest{Verb: o.Verb, Why: o.Why, Keep: o.Keep && o.Verb == control.Block}
		if o.Like && o.Verb == control.Block && (p.kind() == record.BlockURL || p.kind() == record.BlockDigest) {
			q.Similar, q.Within = true, likeness.Within
		}
		switch p.kind() {
		case record.BlockURL:
			q.URL = p.Subject()
		case record.BlockDigest:
			q.Digest = p.Subject()
		case record.BlockHost:
			q.Host = p.Subject()
		case record.BlockSimilar:
			q.Hash = p.Subject()
		}
		all = append(all, q)
	}
	return all
}

// maxWhy is the longest reason, in bytes.
const maxWhy = 500

// orderOf reads the form of a removal.
func (s *Server) orderOf(r *http.Request) (o order, err error) {
	if err := r.ParseForm(); err != nil {
		return o, err
	}
	for _, text := range r.Form["pick"] {
		p := pick(text)
		if slices.Contains(o.Picks, p) {
			continue
		}
		if err := p.check(); err != nil {
			return o, asked{err}
		}
		if len(o.Picks) == maxPicks {
			return o, asked{fmt.Errorf("too many are selected: at most %d at once", maxPicks)}
		}
		o.Picks = append(o.Picks, p)
	}
	if len(o.Picks) == 0 {
		return o, errNothing
	}
	o.Verb, o.Keep, o.Like = r.Form.Get("verb"), r.Form.Get("keep") != "", r.Form.Get("like") != ""
	if o.Verb == "" {
		o.Verb = control.Block
	}
	if !slices.Contains([]string{control.Block, control.Purge, control.Forget, control.Unblock}, o.Verb) {
		return o, asked{fmt.Errorf("%q is no way to remove something", o.Verb)}
	}
	o.Why = strings.TrimSpace(r.Form.Get("why"))
	if text := strings.TrimSpace(r.Form.Get("text")); text != "" {
		if o.Why != "" {
			o.Why += ": "
		}
		o.Why += text
	}
	if o.Why = control.Printable(o.Why); len(o.Why) > maxWhy || !utf8.ValidString(o.Why) {
		return o, asked{fmt.Errorf("the reason has more than %d bytes", maxWhy)}
	}
	return o, nil
}

func (p pick) check() error {
	var err error
	switch p.kind() {
	case record.BlockURL:
		var canonical string
		if canonical, err = imageurl.Canonical(p.Subject()); err == nil && canonical != p.Subject() {
			err = fmt.Errorf("%q is not as URLs are kept", p.Subject())
		}
	case record.BlockDigest:
		_, err = record.ParseDigest(p.Subject())
	case record.BlockHost:
		_, err = imageurl.ParsePattern(p.Subject())
	case record.BlockSimilar:
		_, err = likeness.ParseHash(p.Subject())
	default:
		err = errors.New("what was selected is neither a URL, a digest nor a host")
	}
	return err
}

// planned is what would happen to something that was selected.
type planned struct {
	Pick    pick
	Removal control.Removal
	Images  []record.Removed
	URLs    int
	Sizes   int
	Bytes   int64
	Problem string
	Hidden  bool // no picture of it is shown
	// Digest of what was looked up look-alikes of; empty: of nothing. Alike is how many there
	// are, at most maxAlike.
	Digest string
	Alike  int
}

// Look-alikes are counted, up to maxAlike, of an order of at most maxCompared: looking
// through ten million hashes takes 70 ms.
const (
	maxCompared = 3
	maxAlike    = 100
)

// previewView is what would happen.
type previewView struct {
	Order   order
	Verbs   any
	Reasons []string
	Planned []planned
	URLs    int
	Images  int
	Sizes   int
	Bytes   int64
	More    int // of which it was not looked at what would happen
	Hosts   bool
}

// maxPreview is of how many it is shown what will happen.
const maxPreview = 100

// preview shows what a removal will do, and asks for the reason.
func (s *Server) preview(w http.ResponseWriter, r *http.Request) {
	o, err := s.orderOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	v := previewView{Order: o, Verbs: verbs, Reasons: s.opts.Reasons(), More: max(0, len(o.Picks)-maxPreview)}
	for _, q := range o.requests()[:min(len(o.Picks), maxPreview)] {
		q.DryRun = true
		p := s.plan(r.Context(), s.service(r), q, o.Picks[len(v.Planned)])
		if s.opts.Likeness && o.Verb != control.Unblock && len(o.Picks) <= maxCompared && len(p.Images) > 0 {
			p.Digest = p.Images[0].Digest
			p.Alike = s.alike(r.Context(), s.service(r), p.Digest)
		}
		v.Planned = append(v.Planned, p)
		v.URLs, v.Sizes, v.Images, v.Bytes = v.URLs+p.URLs, v.Sizes+p.Sizes, v.Images+len(p.Images), v.Bytes+p.Bytes
	}
	v.Hosts = slices.ContainsFunc(o.Picks, func(p pick) bool { return p.kind() == record.BlockHost })
	s.show(w, r, "remove", "Remove", v)
}

func (s *Server) plan(ctx context.Context, service control.Service, q control.RemoveRequest, p pick) planned {
	done, err := service.Remove(ctx, q)
	plan := planned{Pick: p, Removal: done, Images: done.Images, Hidden: p.kind() != record.BlockURL || q.Verb == control.Unblock}
	for _, i := range done.Images {
		plan.URLs, plan.Sizes, plan.Bytes = plan.URLs+len(i.URLs), plan.Sizes+len(i.Sizes), plan.Bytes+i.Bytes
	}
	switch {
	case errors.Is(err, bucket.ErrNotKept):
		plan.Problem = "Nothing of it is kept."
	case errors.Is(err, bucket.ErrNotBlocked):
		plan.Problem = "It is not blocked any more."
	case err != nil:
		plan.Problem = sentence(err.Error())
	}
	return plan
}

// alike is how many others look like an image: 0 also where its hash is not known.
func (s *Server) alike(ctx context.Context, service control.Service, digest string) (n int) {
	found, err := service.Similar(ctx, control.SimilarRequest{Digest: digest, Within: likeness.Within, Limit: maxAlike + 1}, nil)
	if err != nil {
		return 0
	}
	for _, x := range found.Images {
		if x.Digest != digest {
			n++
		}
	}
	return min(n, maxAlike)
}

// remove does it, or has another moderator asked first.
func (s *Server) remove(w http.ResponseWriter, r *http.Request) {
	o, err := s.orderOf(r)
	if err == nil && o.Why == "" {
		err = asked{errors.New("the reason is missing: choose one, or write why")}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	u := userOf(r)
	if s.opts.TwoPersons {
		if err := s.proposals.add(u.Name, o); err != nil {
			s.fail(w, r, err)
			return
		}
		if err := s.note(r, u.Name, "propose "+o.Verb, nil); err != nil {
			s.fail(w, r, err)
			return
		}
		http.Redirect(w, r, "/waiting", http.StatusSeeOther)
		return
	}
	s.start(w, r, o, u.caller())
}

// start begins a job, and shows it: what it did if that is quick, and else how far it is.
func (s *Server) start(w http.ResponseWriter, r *http.Request, o order, by control.Caller) {
	j, err := s.jobs.start(s.opts.As(by), userOf(r).Name, o)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	j.wait(r.Context(), jobWait)
	http.Redirect(w, r, "/jobs/"+j.ID, http.StatusSeeOther)
}

// job shows a job.
func (s *Server) job(w http.ResponseWriter, r *http.Request) {
	j, ok := s.jobs.find(lastPart(r))
	if !ok {
		s.fail(w, r, errNotFound)
		return
	}
	v := j.view()
	if !v.Ended {
		w.Header().Set("Refresh", "1")
	}
	s.show(w, r, "job", "Remove", v)
}

func lastPart(r *http.Request) string {
	return r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
}
