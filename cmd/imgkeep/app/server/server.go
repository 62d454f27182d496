// Package server answers requests for links.
//
// It ties the packages below together: a link is read and verified by sign,
// looked up, fetched and kept by bucket, resized by resize, and sent from here or
// handed to nginx. Every request is decided in this order, the cheapest and
// surest first: method, form of the link, signature, bucket, size, and only then
// anything that costs work.
//
// What it promises: each error has one status, one stable code and one line of
// text, all from one table (errors.go); nothing of an origin, its address or the
// image's URL reaches a viewer; what is sent has the type that its bytes were
// recognised as, whatever anybody called it.
//
// What it does not do: it opens no socket and knows no configuration file; its
// handler is for an http.Server that bounds headers and idle connections.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"imgkeep/bucket"
	"imgkeep/nginx"
	"imgkeep/resize"
	"imgkeep/sign"
)

// Resizer makes sizes: a *resize.Pool.
type Resizer interface {
	Resize(ctx context.Context, src io.Reader, n int64, j resize.Job) ([]resize.Result, error)
}

// Hot keeps hot links: a *nginx.Hot.
type Hot interface {
	AddWhile(bucket, size, signature, ext, target string, expires time.Time, still func() bool) error
}

// Options say what New serves.
type Options struct {
	Store   *bucket.Store
	Signer  *sign.Signer
	Resizer Resizer

	// Unwrap returns the URL that is meant by a canonical one: another one where
	// that is a link of this server itself. Its error is the viewer's. nil: each URL
	// means itself.
	Unwrap func(url string) (string, error)
	// Key returns the URL under which the image of a canonical one is kept: another one
	// where several URLs name one image. nil: each is kept under itself.
	Key func(url string) string

	// BaseURL is what a URL in a link is relative to, as bucket.CanonicalAt reads it.
	// Empty: such links are refused.
	BaseURL string

	// Loop tells, of the CDN-Loop headers of a request, whether it is a fetch of this
	// server's own. nil: none is.
	Loop func(headers []string) bool

	Sizes   []int // lengths in pixels that a side of a size may have
	Quality int   // of sizes in lossy formats, 1 to 100
	// Presets are by their names, which are no sizes. They are not changed.
	Presets map[string]*resize.Preset
	// Negotiate are the formats in which sizes are made besides their own, for viewers
	// who accept them, the one that is wanted most first: by the names of presets, and
	// by nginx.AnySize for all sizes.
	Negotiate map[string][]string
	// AVIFQuality is that of sizes in AVIF, 1 to 100. 0: resize.DefaultAVIFQuality.
	AVIFQuality int
	// Eager are sizes and presets that are made in the background once an image was
	// kept for a viewer, at most resize.MaxTargets.
	Eager []string
	// Stripped are the buckets whose images are served without metadata in full
	// too.
	Stripped []string
	// WholeAnimations serves an animation as it is where it is too large to be
	// resized, in the place of a size of its first frame.
	WholeAnimations bool

	// Handoff lets nginx send the files, when a request says that it came
	// through nginx. Hot then makes the next request bypass us; nil: none is made.
	Handoff bool
	Hot     Hot
	// Current tells whether this server is still the one that answers. One that
	// another has replaced makes no hot links for the requests which it still has.
	// nil: it is.
	Current func() bool

	// Placeholder is sent as the body of errors. nil: a line of text.
	Placeholder *Placeholder
	// Placeholders are sent in its place, by the codes of errors.
	Placeholders map[string]*Placeholder

	// Page is what answers tell browsers about their use in pages.
	Page nginx.Page
	// Tokens are those of which a request for a link must have one, as nginx.Admits
	// reads it. Empty: none is needed.
	Tokens []string

	Observer Observer // nil: nobody

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: none
}

// Server is the handler. It may be used concurrently.
type Server struct {
	Options
	listed  resize.Listed
	digests map[string]string // of the presets
	router  http.Handler
	wishes  wishes
	eager   eager
	// background: nobody waits for what it makes.
	background bool

	begun    string        // when, in base 36
	requests atomic.Uint64 // of links, so far
}

// newServer is a server without a handler.
func newServer(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Sizes, o.Presets, o.Eager = slices.Clone(o.Sizes), maps.Clone(o.Presets), slices.Clone(o.Eager)
	listed := resize.Listed{Sides: o.Sizes, Presets: slices.Sorted(maps.Keys(o.Presets))}
	s := &Server{Options: o, listed: listed, digests: map[string]string{}, begun: strconv.FormatInt(o.Now().UnixMilli(), 36)}
	for name, p := range o.Presets {
		s.digests[name] = p.Digest()
	}
	return s
}

// New returns a handler, or an error that says which option is wrong.
func New(o Options) (*Server, error) {
	if o.Store == nil || o.Signer == nil || o.Resizer == nil {
		return nil, errors.New("a server needs a store, a signer and a resizer")
	}
	if o.Current == nil {
		o.Current = func() bool { return true }
	}
	s := newServer(o)
	if err := s.checkMade(o.Eager); err != nil {
		return nil, fmt.Errorf("eager: %w", err)
	}

	r := chi.NewRouter()
	r.Use(s.harden, middleware.GetHead)
	r.NotFound(s.link) // whatever is no route is no link either, and told so
	r.MethodNotAllowed(s.link)
	r.Get("/{bucket}/{size}/{signature}/{ext_url}", s.link)
	r.Get("/{bucket}/{size}/{signature}/{ext_url}/proxy", s.link)
	r.Get("/healthz", s.healthz)
	r.Get("/readyz", s.readyz)
	r.Get("/robots.txt", robots)
	r.Get("/favicon.ico", favicon)
	s.router = r
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.router.ServeHTTP(w, r)
}

// healthz says that the process lives.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	plain(w, http.StatusOK, "ok")
}

// robots asks crawlers to stay away: a link that they remember has expired when somebody
// follows it.
func robots(w http.ResponseWriter, r *http.Request) {
	plain(w, http.StatusOK, "User-agent: *\nDisallow: /")
}

// favicon answers browsers that show an image by itself: there is no icon.
func favicon(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=86400")
	w.WriteHeader(http.StatusNoContent)
}

// readyz says whether new images can be kept. What is kept is served either way.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if err := s.Store.Ready(); err != nil {
		s.Log.Warn("not ready", "error", err)
		plain(w, http.StatusServiceUnavailable, "not ready: "+verdictOf(err, s.Now()).line)
		return
	}
	plain(w, http.StatusOK, "ready")
}

// link answers a link.
func (s *Server) link(w http.ResponseWriter, r *http.Request) {
	v := visit{began: time.Now(), id: s.requests.Add(1)}
	if err := s.serveLink(w, r, &v); err != nil {
		s.answered(&v, s.fail(w, r, &v, err))
	}
}

func (s *Server) serveLink(w http.ResponseWriter, r *http.Request, v *visit) error {
	if len(s.Tokens) > 0 && !nginx.Admits(r.Header.Get("Authorization"), s.Tokens) {
		return errToken
	}
	l, err := sign.Parse(r.URL.EscapedPath())
	if err != nil {
		return err
	}
	expires, err := s.Signer.Verify(l, s.Now())
	if err != nil {
		return err
	}
	if s.Loop != nil && s.Loop(r.Header["Cdn-Loop"]) {
		s.Log.Warn("this server was asked by itself, and refused: add the name that a link has for it to fetch.own_hosts", s.request(v), "host", r.Host)
		return errLoop
	}
	if !s.Store.Has(l.Bucket) {
		return bucket.ErrNoBucket
	}
	if err := CheckSize(l, s.listed); err != nil {
		return err
	}
	raw, err := l.URL()
	if err != nil {
		return err
	}
	source, err := bucket.CanonicalAt(s.BaseURL, raw)
	if err != nil {
		return err
	}
	if s.Unwrap != nil {
		if source, err = s.Unwrap(source); err != nil {
			return err
		}
	}
	url := s.key(source)
	v.removals = s.Store.Removals()
	if l.Proxy {
		return s.pass(w, r, v, l.Bucket, url, source)
	}
	image, err := s.Store.FindFrom(l.Bucket, url, source)
	if errors.Is(err, bucket.ErrNotKept) {
		v.temperature = Cold
		if l.Size != sign.SizeFull && l.Size != sign.SizeInfo {
			v.wish = s.wishes.join(wished{l.Bucket, url}, l.Size, s.accepted(r, l.Size))
			defer s.wishes.leave(v.wish)
		}
		if image, err = s.Store.KeepFrom(r.Context(), l.Bucket, url, source); err == nil {
			defer s.beEager(image)
		}
	}
	if err != nil {
		return err
	}
	if l.Size == sign.SizeInfo {
		return s.info(w, v, image)
	}
	d, err := s.delivery(l, image)
	if err != nil {
		return err
	}
	d.expires = expires
	if err := s.negotiate(r, v, &d); err != nil {
		return err
	}
	return s.deliver(w, r, v, d)
}

// key is the URL under which the image of a canonical one is kept.
func (s *Server) key(url string) string {
	if s.Key == nil {
		return url
	}
	return s.Key(url)
}

// stands looks again at an image that is about to be shown, if something was removed
// since it was found: to fetch it and to make a size of it takes a while. What is
// shown has thus been decided before a removal was acknowledged, or after it.
func (s *Server) stands(v *visit, image bucket.Image) error {
	now := s.Store.Removals()
	if now == v.removals {
		return nil
	}
	if err := s.Store.Stands(image); err != nil {
		return err
	}
	v.removals = now
	return nil
}

// Errors of links that are signed well and still ask for what is not there.
var (
	errSize      = errors.New("no such size")
	errProxySize = errors.New("/proxy goes with the size full only")
	errToken     = errors.New("no token")
	errLoop      = errors.New("this server does not fetch from itself")
)

// strips tells whether images of a bucket are served without metadata.
func (s *Server) strips(bucket string) bool { return slices.Contains(s.Stripped, bucket) }

// CheckSize tells whether a link may have its size: full, info, or one that is
// listed; and full alone with /proxy. It is the rule of all that take or make links.
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

// pass serves an image that is not to be kept: from the store where it is there
// already, through all the same checks and then thrown away where it is not.
func (s *Server) pass(w http.ResponseWriter, r *http.Request, v *visit, name, url, source string) error {
	image, err := s.Store.FindFrom(name, url, source)
	if errors.Is(err, bucket.ErrNotKept) {
		if r.Method == http.MethodHead && !s.strips(name) {
			info, bytes, err := s.Store.Passed(name, source)
			if err == nil {
				s.answered(v, CodeOK)
				s.headPassing(w, r, info.Format, bytes)
				return nil
			}
			if !errors.Is(err, bucket.ErrNotKept) {
				return err
			}
		}
		v.temperature = Cold
		passing, err := s.Store.Fetch(r.Context(), name, source)
		if err != nil {
			return err
		}
		if s.strips(name) {
			stripped, err := s.Store.Strip(passing)
			passing.Close() // a slow viewer holds one file
			if err != nil {
				return err
			}
			passing = stripped
		}
		defer passing.Close()
		if s.Store.Removals() != v.removals {
			if err := s.Store.Passes(passing); err != nil {
				return err
			}
		}
		s.answered(v, CodeOK)
		s.sendPassing(w, r, v, passing.File, passing.Format)
		return nil
	}
	if err != nil {
		return err
	}
	open := s.Store.Open
	if s.strips(name) {
		open = s.Store.OpenStripped
	}
	f, err := open(r.Context(), image)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.stands(v, image); err != nil {
		return err
	}
	s.answered(v, CodeOK)
	s.sendPassing(w, r, v, f, image.Format)
	return nil
}
