package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/record"
	"imgkeep/nginx"
	"imgkeep/resize"
	"imgkeep/sign"
)

// request is a request of a link: what it asks for, and what its steps note.
type request struct {
	http  *http.Request
	began time.Time
	id    uint64 // for the log

	link     sign.Link
	expires  time.Time // the link
	source   string    // the canonical URL of the image
	url      string    // under which it is kept
	by       string    // the member for whom the link was signed; empty: it does not say
	accepted []string  // formats that the viewer accepts, of those in which the size is offered
	varies   bool      // the answer, with the Accept header
	handoff  bool      // nginx sends the answer

	cacheStatus CacheStatus
	removals    uint64        // of the store, before the image was looked up
	pending     *pending      // its size, joined before the image was there; or nil
	fetched     *record.Image // for this request; or nil
}

// newRequest begins a request.
func (s *Server) newRequest(r *http.Request) *request {
	return &request{http: r, began: time.Now(), id: s.requests.Add(1)}
}

// attr identifies a request in all log lines about it: the start time of this server, and a
// number.
func (s *Server) attr(q *request) slog.Attr {
	return slog.String("request", s.begun+"-"+strconv.FormatUint(q.id, 36))
}

// Errors of correctly signed links that ask for something that does not exist.
var (
	errSize      = errors.New("no such size")
	errProxySize = errors.New("/proxy goes with the size full only")
	errToken     = errors.New("no token")
	errLoop      = errors.New("this server does not fetch from itself")
)

// parse reads what a request asks for; it returns the request also with an error. It looks
// nothing up.
func (s *Server) parse(r *http.Request) (*request, error) {
	q := s.newRequest(r)
	return q, s.parseLink(q)
}

func (s *Server) parseLink(q *request) (err error) {
	r := q.http
	if len(s.opts.Tokens) > 0 && !nginx.Admits(r.Header.Get("Authorization"), s.opts.Tokens) {
		return errToken
	}
	if q.link, err = sign.Parse(r.URL.EscapedPath()); err != nil {
		return err
	}
	if q.expires, err = s.opts.Signer.Verify(q.link, s.opts.Now()); err != nil {
		return err
	}
	if s.opts.Loop != nil && s.opts.Loop(r.Header["Cdn-Loop"]) {
		s.opts.Log.Warn("refused a request of this server to itself: add the host name that links use for it to fetch.own_hosts", s.attr(q), "host", r.Host)
		return errLoop
	}
	if !s.opts.Store.Has(q.link.Bucket) {
		return bucket.ErrNoBucket
	}
	if err := CheckSize(q.link, s.listed); err != nil {
		return err
	}
	raw, err := q.link.URL()
	if err != nil {
		return err
	}
	if q.source, err = imageurl.CanonicalAt(s.opts.BaseURL, raw); err != nil {
		return err
	}
	if s.opts.Tagged != nil {
		q.by = s.opts.Signer.TagOf(raw)
	}
	if s.opts.Unwrap != nil {
		if q.source, err = s.opts.Unwrap(q.source); err != nil {
			return err
		}
	}
	q.url = s.key(q.source)
	offered := s.offered(q.link.Size)
	q.varies, q.accepted = len(offered) > 0, accepted(r, offered)
	q.handoff = s.opts.Handoff && r.Header.Get(nginx.HeaderHandoff) == nginx.HandoffNginx
	return nil
}

// key is the URL under which the image of a canonical one is kept.
func (s *Server) key(url string) string {
	if s.opts.Key == nil {
		return url
	}
	return s.opts.Key(url)
}

// CheckSize tells whether a link may have its size: full, info, or a listed one; with
// /proxy only full. All code that accepts or makes links uses this rule.
func CheckSize(l sign.Link, listed resize.Listed) error {
	if l.Proxy && l.Size != sign.SizeFull {
		return errProxySize
	}
	if l.Size == sign.SizeFull || l.Size == sign.SizeInfo {
		return nil
	}
	if err := listed.Check(l.Size); err != nil {
		return fmt.Errorf("%w: %w", errSize, err)
	}
	return nil
}

// offered are the formats in which a size is made besides its own.
func (s *Server) offered(size string) []string {
	if len(s.opts.Negotiate) == 0 {
		return nil
	}
	if s.opts.Presets[size] == nil {
		if _, err := resize.ParseSize(size); err != nil {
			return nil
		}
		size = nginx.AnySize
	}
	return s.opts.Negotiate[size]
}

// accepted are those of them that a viewer accepts. Behind nginx, nginx has read the Accept
// header, and passes its result in r: so both look for hot links at the same place.
func accepted(r *http.Request, offered []string) []string {
	return slices.DeleteFunc(slices.Clone(offered), func(f string) bool {
		return !nginx.Accepts(r.Header.Get("Accept"), "image/"+f)
	})
}
