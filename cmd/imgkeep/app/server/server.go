// Package server answers requests for links.
//
// It ties the packages below together: a link is read and verified by sign,
// looked up, fetched and kept by bucket, resized by resize, and sent from here or
// handed to nginx. Every request is decided in this order, the cheapest and
// surest first: method, form of the link, signature, bucket, size, and only then
// anything that costs work.
//
// The way of a request is a line through the files, which Server.link writes down:
//
//	parse.go    what a request asks for
//	decide.go   the image that is meant, kept now if it was not; what of it is sent
//	ensure.go   sees to it that this is there (variant.go makes it, coalesce.go from one
//	            decoding with what others ask for)
//	observe.go  tells how it went, once
//	send.go     sends it, or has nginx send it; errors.go is what is sent of an error
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
	Store  *bucket.Store
	Signer *sign.Signer
	// Tagged is told, before an image that is kept is sent, for which member its link was
	// signed, if it says so. It must be quick. nil: nobody is told.
	Tagged  func(by, bucket, url string)
	Resizer Resizer

	// Unwrap returns the URL that is meant by a canonical one: another one where
	// that is a link of this server itself. Its error is the viewer's. nil: each URL
	// means itself.
	Unwrap func(url string) (string, error)
	// Key returns the URL under which the image of a canonical one is kept: another one
	// where several URLs name one image. nil: each is kept under itself.
	Key func(url string) string

	// BaseURL is what a URL in a link is relative to, as imageurl.CanonicalAt reads it.
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
	// Prerender are sizes and presets that are made in the background once an image was
	// kept for a viewer, at most resize.MaxTargets.
	Prerender []string
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
	opts        Options
	listed      resize.Listed
	digests     map[string]string // of the presets
	router      http.Handler
	coalescer   coalescer
	prerenderer prerenderer
	// background: nobody waits for what it makes.
	background bool

	full     fullDisk
	hotFails rare // lines about hot links that could not be made

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
	o.Sizes, o.Presets, o.Prerender = slices.Clone(o.Sizes), maps.Clone(o.Presets), slices.Clone(o.Prerender)
	listed := resize.Listed{Sides: o.Sizes, Presets: slices.Sorted(maps.Keys(o.Presets))}
	s := &Server{opts: o, listed: listed, digests: map[string]string{}, begun: strconv.FormatInt(o.Now().UnixMilli(), 36)}
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
	if err := s.checkMade(o.Prerender); err != nil {
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
	if err := s.opts.Store.Ready(); err != nil {
		if errors.Is(err, bucket.ErrFull) { // which probes ask for all the time
			s.full.note(s.opts.Log, s.opts.Now(), err)
		} else {
			s.opts.Log.Warn("not ready", "error", err)
		}
		plain(w, http.StatusServiceUnavailable, "not ready: "+responseOf(err, s.opts.Now()).line)
		return
	}
	plain(w, http.StatusOK, "ready")
}

// link answers a link. This is the way of a request: each step has a file of its own
// and hands on one value.
func (s *Server) link(w http.ResponseWriter, r *http.Request) {
	q, err := s.parse(r) // parse.go
	var d delivery
	if err == nil {
		d, err = s.decide(r.Context(), q) // decide.go
	}
	var a answer
	if err == nil {
		a, err = s.ensure(r.Context(), q, d) // ensure.go
	}
	if q.pending != nil {
		s.coalescer.leave(q.pending)
	}
	if err != nil {
		a = s.refuse(q, err) // errors.go
	} else if q.by != "" && !d.passing {
		s.opts.Tagged(q.by, q.link.Bucket, q.url)
	}
	s.observe(q, a) // observe.go
	a.send(w, r)    // send.go
	if q.fetched != nil {
		s.full.hasRoom(s.opts.Log)
		s.prerenderLater(*q.fetched)
	}
}
