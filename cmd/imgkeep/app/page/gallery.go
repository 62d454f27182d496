package page

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/control"
)

// filter is what a gallery is asked for, as the form has it.
type filter struct {
	State, Bucket, Host, Type, Class string
	Text                             string
	MinKB, MaxKB, MinSide, MaxSide   string
	Since, Until                     string
	Before                           string
}

// state is a list of the gallery.
type state struct{ Name, Title string }

var states = []state{{"kept", "Kept"}, {"failed", "Failed"}, {"blocked", "Blocked"}, {"quarantined", "Hosts in quarantine"}}

// similarState is there where images are compared.
var similarState = state{"similar", "Refused look-alikes"}

func filterOf(q url.Values) filter {
	return filter{
		State: q.Get("state"), Bucket: q.Get("bucket"), Host: strings.TrimSpace(q.Get("host")), Type: q.Get("type"), Class: q.Get("class"),
		Text: strings.TrimSpace(q.Get("text")), MinKB: q.Get("min_kb"), MaxKB: q.Get("max_kb"), MinSide: q.Get("min_side"), MaxSide: q.Get("max_side"),
		Since: q.Get("since"), Until: q.Get("until"), Before: q.Get("before"),
	}
}

// values are the query of a page with this filter.
func (f filter) values() url.Values {
	q := url.Values{}
	for key, v := range map[string]string{
		"state": f.State, "bucket": f.Bucket, "host": f.Host, "type": f.Type, "class": f.Class, "text": f.Text,
		"min_kb": f.MinKB, "max_kb": f.MaxKB, "min_side": f.MinSide, "max_side": f.MaxSide, "since": f.Since, "until": f.Until, "before": f.Before,
	} {
		if v != "" {
			q.Set(key, v)
		}
	}
	return q
}

// With is the address of the gallery with another state.
func (f filter) With(state string) string {
	f.State, f.Before, f.Class = state, "", ""
	return "/?" + f.values().Encode()
}

// At is the address of another page of it; "" is the first.
func (f filter) At(before string) string {
	f.Before = before
	return "/?" + f.values().Encode()
}

// Chosen counts what the filter chooses by, but for state and page.
func (f filter) Chosen() int {
	f.State, f.Before = "", ""
	return len(f.values())
}

// request is what the service is asked for, or what is wrong with the form.
func (f filter) request() (q query.RecentFilter, err error) {
	q.Before, q.Text, q.Limit = f.Before, f.Text, query.DefaultRecent
	if f.Bucket != "" {
		q.Buckets = []string{f.Bucket}
	}
	if f.Host != "" {
		host, err := imageurl.ParsePattern(f.Host)
		if err != nil {
			return q, asked{fmt.Errorf("host: %w", err)}
		}
		q.Hosts = []string{host}
	}
	if f.Type != "" {
		t, err := probe.ParseFormat(f.Type)
		if err != nil {
			return q, asked{fmt.Errorf("type: %w", err)}
		}
		q.Types = []string{t.String()}
	}
	number := func(name, text string, most int64) (n int64) {
		if text == "" || err != nil {
			return 0
		}
		if n, err = strconv.ParseInt(text, 10, 64); err != nil || n < 0 || n > most {
			err = asked{fmt.Errorf("%s: %q is no number from 0 to %d", name, text, most)}
		}
		return n
	}
	q.MinBytes, q.MaxBytes = 1024*number("bytes", f.MinKB, 1<<40), 1024*number("bytes", f.MaxKB, 1<<40)
	q.MinSide, q.MaxSide = int(number("pixels", f.MinSide, 1<<20)), int(number("pixels", f.MaxSide, 1<<20))
	day := func(name, text string, more time.Duration) (at time.Time) {
		if text == "" || err != nil {
			return at
		}
		if at, err = time.Parse(time.DateOnly, text); err != nil {
			err = asked{fmt.Errorf("%s: %q is no day such as 2026-11-28", name, text)}
		}
		return at.Add(more)
	}
	q.Since, q.Until = day("from", f.Since, 0), day("to", f.Until, 24*time.Hour)
	return q, err
}

// galleryView is what the gallery shows: one of its lists.
type galleryView struct {
	Filter   filter
	States   []state
	Buckets  []string
	Types    []string
	Classes  []bucket.ErrorKind
	Kept     query.Recent
	Failed   query.RecentFailures
	Blocks   []record.Block
	Refusals []lookalike.Refusal
	Next     string // where the next page begins; empty: there is none
	Searched string
}

func (v galleryView) pasted() string { return v.Searched }

func (s *Server) gallery(w http.ResponseWriter, r *http.Request) {
	f := filterOf(r.URL.Query())
	if f.State == "" {
		f.State = "kept"
	}
	s.showGallery(w, r, f, "")
}

func (s *Server) showGallery(w http.ResponseWriter, r *http.Request, f filter, searched string) {
	v := galleryView{Filter: f, States: states, Buckets: s.opts.Buckets, Classes: fetch.ErrorKinds(), Searched: searched}
	if s.opts.Likeness {
		v.States = append(slices.Clone(states), similarState)
	}
	for _, t := range probe.Formats() {
		v.Types = append(v.Types, t.String())
	}
	q, err := f.request()
	if err == nil {
		err = s.list(r, &v, q)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.show(w, r, "gallery", "Gallery", v)
}

// list fills the list of a state.
func (s *Server) list(r *http.Request, v *galleryView, q query.RecentFilter) (err error) {
	service := s.service(r)
	switch v.Filter.State {
	case "kept":
		v.Kept, err = service.Latest(r.Context(), q)
		v.Next = v.Kept.Next
	case "failed":
		fq := control.FailedRequest{RecentFilter: q}
		if v.Filter.Class != "" {
			fq.Classes = []string{v.Filter.Class}
		}
		v.Failed, err = service.Failed(r.Context(), fq)
		v.Next = v.Failed.Next
	case "blocked", "quarantined":
		err = s.listBlocks(r, v)
	case similarState.Name:
		err = s.listRefusals(r, v)
	default:
		err = errNotFound
	}
	return err
}

// listBlocks fills the list of blocks: of images, or of hosts.
func (s *Server) listBlocks(r *http.Request, v *galleryView) error {
	var all []record.Block
	f := v.Filter
	_, err := s.service(r).List(r.Context(), control.ListRequest{What: "blocks"}, func(e control.Event) error {
		b := e.Item.Block
		if b == nil || (b.Kind == record.BlockHost) != (f.State == "quarantined") ||
			f.Text != "" && !strings.Contains(b.Subject+" "+b.For+" "+b.Why+" "+b.By, f.Text) ||
			f.Host != "" && b.Kind == record.BlockURL && !imageurl.NewHosts([]string{f.Host}).Match(imageurl.HostOf(b.Subject)) {
			return nil
		}
		all = append(all, *b)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b record.Block) int {
		if c := b.Since.Compare(a.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Kind+a.Subject, b.Kind+b.Subject)
	})
	v.Blocks, v.Next = slice(all, f.Before)
	return nil
}

// slice is a page of a list that is in memory, and where the next one begins.
func slice[T any](all []T, before string) (page []T, next string) {
	from, _ := strconv.Atoi(before)
	from = min(max(from, 0), len(all))
	to := min(from+query.DefaultRecent, len(all))
	if to < len(all) {
		next = strconv.Itoa(to)
	}
	return all[from:to], next
}

func sortRefusals(all []lookalike.Refusal) {
	slices.SortFunc(all, func(a, b lookalike.Refusal) int {
		return cmp.Or(b.Time.Compare(a.Time), strings.Compare(a.Bucket+a.URL, b.Bucket+b.URL))
	})
}
