// Package server answers requests for links.
//
// It connects the packages below: sign reads and verifies a link, bucket looks up, fetches
// and keeps its image, resize makes sizes, and this package sends the file or hands it to
// nginx. It decides every request in this order, the cheapest and safest checks first:
// method, token if access needs one, form of the link, signature, bucket, size, and only
// then anything that costs work.
//
// The way of a request is a line through the files; Server.link shows it:
//
//	parse.go    what a request asks for
//	decide.go   the image that is meant, kept now if it was not; what of it is sent
//	ensure.go   sees to it that this is there (variant.go makes it, coalesce.go from one
//	            decoding with what others ask for)
//	observe.go  tells how it went, once
//	send.go     sends it, or has nginx send it; errors.go is what is sent of an error
//
// What it promises: each error has one status, one stable code and one line of text, all
// from one table (errors.go); nothing of an origin, its address or the image's URL reaches
// a viewer; the type of what is sent is recognised from its bytes, whatever anybody
// declared.
//
// What it does not do: it opens no socket and knows no configuration file; its handler
// needs an http.Server that bounds headers and idle connections.
package server

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
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
	// Tagged is told, before a kept image is sent, for which member its link was signed, if
	// the link says so. It must be quick. nil: no call.
	Tagged  func(by, bucket, url string)
	Resizer Resizer

	// Unwrap returns the URL that a canonical one stands for: another one if that is a link
	// of this server itself. Its error goes to the viewer. nil: each URL stands for itself.
	Unwrap func(url string) (string, error)
	// Key returns the URL under which the image of a canonical one is kept: another one if
	// several URLs name one image. nil: each is kept under itself.
	Key func(url string) string

	// BaseURL is the base of relative URLs in links, as imageurl.CanonicalAt reads it.
	// Empty: such links are refused.
	BaseURL string

	// Loop tells, from the CDN-Loop headers of a request, whether it is a fetch of this
	// server itself. nil: none is.
	Loop func(headers []string) bool

	Sizes   []int // lengths in pixels that a side of a size may have
	Quality int   // of sizes in lossy formats, 1 to 100
	// Presets are by their names, which are no sizes. They are not changed.
	Presets map[string]*resize.Preset
	// Negotiate are the formats in which sizes are also made, for viewers who accept them,
	// the preferred one first: by the names of presets, and by nginx.AnySize for all sizes.
	Negotiate map[string][]string
	// AVIFQuality is that of sizes in AVIF, 1 to 100. 0: resize.DefaultAVIFQuality.
	AVIFQuality int
	// Prerender are sizes and presets that are made in the background after an image was
	// kept for a viewer, at most resize.MaxTargets.
	Prerender []string
	// Stripped are the buckets whose full images are served without metadata too.
	Stripped []string
	// WholeAnimations serves an animation that is too large to be resized as it is, instead
	// of a size of its first frame.
	WholeAnimations bool

	// Handoff lets nginx send the files, when a request says that it came through nginx.
	// Hot then makes the next request bypass this server; nil: no hot links.
	Handoff bool
	Hot     Hot
	// HandoffValid is for how long nginx uses a file that it has opened without looking at
	// it again: for so long this server does not look again either at the file and the hot
	// link of a link that it handed over. 0: it looks for each request.
	HandoffValid time.Duration
	// Current tells whether this server is still the one that answers. One that another has
	// replaced makes no hot links for its remaining requests. nil: it is.
	Current func() bool

	// Placeholder is sent as the body of errors. nil: a line of text.
	Placeholder *Placeholder
	// Placeholders replace it, by the codes of errors.
	Placeholders map[string]*Placeholder

	// Page is what answers tell browsers about their use in pages.
	Page nginx.Page
	// Tokens are those of which a request for a link must have one, as nginx.Admits reads
	// it. Empty: no token is needed.
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
	constants   constants
	router      http.Handler
	coalescer   coalescer
	prerenderer prerenderer
	buffers     buffers
	given       given
	// of requests that nobody waits for
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
	s := &Server{opts: o, listed: listed, digests: map[string]string{}, constants: newConstants(o), begun: strconv.FormatInt(o.Now().UnixMilli(), 36)}
	s.given.seed, s.given.valid = maphash.MakeSeed(), o.HandoffValid
	if o.Store != nil && o.Store.Node() != nil {
		s.given.valid = 0 // a node's cache counts what is asked for
	}
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
	r.NotFound(s.link) // a path that is no route is no link either, and the answer says so
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

// readyz says whether new images can be kept. Kept images are served in any case.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if err := s.opts.Store.Ready(); err != nil {
		if errors.Is(err, bucket.ErrFull) { // probes ask for this all the time
			s.full.note(s.opts.Log, s.opts.Now(), err)
		} else {
			s.opts.Log.Warn("not ready", "error", err)
		}
		line := responseOf(err, s.opts.Now()).line
		if n := s.opts.Store.Node(); n != nil {
			line += fmt.Sprintf("; removals are known up to %.1f s ago", n.Lag().Seconds())
		}
		plain(w, http.StatusServiceUnavailable, "not ready: "+line)
		return
	}
	if n := s.opts.Store.Node(); n != nil {
		plain(w, http.StatusOK, fmt.Sprintf("ready: removals are known up to %.1f s ago", n.Lag().Seconds()))
		return
	}
	plain(w, http.StatusOK, "ready")
}

// link answers a link. This is the way of a request: each step has its own file and hands
// on one value.
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
	} else if q.by != "" && !d.uncached {
		s.opts.Tagged(q.by, q.link.Bucket, q.url)
	}
	s.observe(q, a) // observe.go
	a.send(w, r)    // send.go
	if q.fetched != nil {
		s.full.hasRoom(s.opts.Log)
		s.prerenderLater(*q.fetched)
	}
}
