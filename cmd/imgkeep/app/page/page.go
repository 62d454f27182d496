// Package page is the moderators' page: what came in lately as a gallery, search, one image
// with all that is known of it, removing and undoing, hosts, figures, the audit log. It is a
// client of control.Service, as the commands are, for people without a shell.
//
// What it promises: it works without JavaScript, loads nothing from elsewhere, and answers
// under its own host alone. Without signing in, nothing of the store is seen. Nothing
// changes without a token that only the page's own forms have. Whatever strangers have
// written, in URLs, hosts or errors, is text and never markup. Each change is in the audit
// log under the name of the moderator before it is answered.
//
// What it does not do: it keeps no passwords (see account), speaks no TLS (a proxy does),
// and decides nothing of the store. [imgkeep/cmd/imgkeep/app/page/api] is the same for
// programs.
package page

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/page/account"
	"imgkeep/cmd/imgkeep/app/page/api"
	"imgkeep/cmd/imgkeep/app/page/trend"
	"imgkeep/cmd/imgkeep/app/target"
)

//go:embed assets
var assets embed.FS

// Options say what a page works on.
type Options struct {
	// URL is scheme and host of the page, as browsers see it.
	URL      string
	Accounts *account.Book
	// As is the service for somebody: who they are stands in the audit log.
	As func(control.Caller) control.Service
	// Audit notes what changes nothing of the store, such as who signs in.
	Audit func(control.Change, error) error
	// Picture opens an image that is kept, in a listed size or in full, with its media
	// type. The page closes the file.
	Picture func(ctx context.Context, bucket, url, size string) (f *os.File, mediaType string, err error)
	// Read reads what somebody has pasted; hosts, if it may be one.
	Read func(text string, hosts bool) (target.Target, error)
	// Code is the stable code of an error of Picture.
	Code func(error) string

	// Likeness: images are compared by how they look.
	Likeness bool
	// MaxUpload bounds a picture that is uploaded to be compared, in bytes.
	MaxUpload int64

	Buckets []string
	Sizes   func() []int    // that are listed
	Reasons func() []string // that are offered
	// AddressHeader and UserHeader are headers of a proxy; empty: it sends none.
	AddressHeader, UserHeader string
	// Trend is how the server did lately; nil: nobody knows.
	Trend func() []trend.Sample
	// TwoPersons has another moderator agree to each removal.
	TwoPersons bool

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: none
}

// Server is the handler. It may be used concurrently.
type Server struct {
	opts      Options
	host      string // of URL, with its port where it has one
	secure    bool   // over TLS
	sessions  *account.Sessions
	templates map[string]*template.Template
	static    map[string]static
	router    http.Handler
	jobs      *jobs
	proposals *proposals
	stats     *cached[control.Stats]
	hosts     *cached[hostsOf]
}

// New returns a page, or an error that says what is missing.
func New(o Options) (*Server, error) {
	if o.Accounts == nil || o.As == nil || o.Audit == nil || o.Picture == nil || o.Read == nil {
		return nil, errors.New("a page needs accounts, a service, an audit log, pictures and a reader")
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("the page needs its own scheme and host")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		opts: o, host: strings.ToLower(u.Host), secure: u.Scheme == "https",
		sessions: account.NewSessions(o.Accounts), jobs: newJobs(o.Now, o.Log), proposals: newProposals(o.Now),
	}
	own := o.As(control.Caller{Who: "page"})
	s.stats = newCached(own.Stats, o.Now, o.Log)
	s.hosts = newCached(func(ctx context.Context) (hostsOf, error) {
		h, err := own.Hosts(ctx)
		return hostsOf{h}, err
	}, o.Now, o.Log)
	if err := s.loadAssets(); err != nil {
		return nil, err
	}
	s.router = s.routes()
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.router.ServeHTTP(w, r) }

// Close ends what goes on in the background.
func (s *Server) Close() {
	s.jobs.close()
	s.stats.close()
	s.hosts.close()
}

func (s *Server) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(s.harden)
	r.NotFound(func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, errNotFound) })
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, errMethod) })
	r.Get("/static/{file}", s.serveStatic)
	r.Get("/robots.txt", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("User-agent: *\nDisallow: /\n")) })
	r.Get("/sign-in", s.signInForm)
	r.Post("/sign-in", s.signIn)
	r.Get("/join/{secret}", s.joinForm)
	r.Post("/join/{secret}", s.join)
	r.Handle("/api/v1/*", api.New(api.Options{
		Accounts: s.opts.Accounts, As: s.opts.As, Read: s.opts.Read, Address: s.address, TwoPersons: s.opts.TwoPersons, MaxUpload: s.opts.MaxUpload, Now: s.opts.Now, Log: s.opts.Log,
	}))
	r.Group(func(r chi.Router) {
		r.Use(s.signedIn)
		s.looking(r)
		r.With(s.may(account.Remove)).Group(s.removing)
		r.With(s.may(account.Admin)).Group(func(r chi.Router) {
			r.Get("/audit.csv", s.exportAudit)
			r.Get("/audit.json", s.exportAudit)
			r.Get("/accounts", s.accounts)
		})
	})
	return r
}

// looking are the pages of all who have signed in.
func (s *Server) looking(r chi.Router) {
	r.Get("/", s.gallery)
	r.Get("/search", s.search)
	r.Get("/image", s.image)
	r.Get("/picture/{bucket}/{size}/{url}", s.picture)
	r.Get("/hosts", s.hostsPage)
	r.Get("/figures", s.figures)
	r.Get("/similar", s.similar)
	r.Post("/similar", s.compare)
	r.Post("/preferences", s.preferences)
	r.Post("/sign-out", s.signOut)
}

// removing are those of all who may remove.
func (s *Server) removing(r chi.Router) {
	r.Get("/remove", s.preview)
	r.Post("/remove", s.preview)
	r.Post("/remove/do", s.remove)
	r.Post("/allow", s.allow)
	r.Get("/jobs/{id}", s.job)
	r.Get("/waiting", s.waiting)
	r.Post("/waiting/{id}", s.decide)
	r.Get("/audit", s.audit)
}

// maxBody bounds forms: a page of the gallery, selected as a whole, with the longest URLs.
const maxBody = 2 << 20

// policy lets pages show what this server serves, and nothing else: no script within a
// page, none of another host, no frame around it.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// harden sets what all answers have, and refuses requests for other hosts: the name of
// another one that leads here, by a rebinding of DNS say, must not open the page.
func (s *Server) harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()")
		h.Set("X-Robots-Tag", "noindex, nofollow")
		h.Set("Cache-Control", "no-store")
		if s.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if !s.isHost(r.Host) {
			http.Error(w, "this is not the page of that host", http.StatusMisdirectedRequest)
			return
		}
		most := int64(maxBody)
		if isUpload(r) || r.URL.Path == "/api/v1/compare" {
			most += s.opts.MaxUpload
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		next.ServeHTTP(w, r)
	})
}

// isHost tells whether a Host header is the page's. Browsers leave the port out where it is
// the scheme's own.
func (s *Server) isHost(host string) bool {
	port := ":80"
	if s.secure {
		port = ":443"
	}
	return strings.TrimSuffix(strings.ToLower(host), port) == strings.TrimSuffix(s.host, port)
}

// address is where a request comes from, as far as it can be known: invalid where it comes
// from a socket and no proxy says more.
func (s *Server) address(r *http.Request) netip.Addr {
	if s.opts.AddressHeader != "" && s.isProxy(r) {
		all := strings.Split(lastValue(r, s.opts.AddressHeader), ",")
		if a, err := netip.ParseAddr(strings.TrimSpace(all[len(all)-1])); err == nil { // what the nearest one has added
			return a.Unmap()
		}
	}
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return at.Addr().Unmap()
	}
	return netip.Addr{}
}

// lastValue is what the nearest proxy says in a header: it comes after what clients have sent.
func lastValue(r *http.Request, header string) string {
	all := append([]string{""}, r.Header.Values(header)...)
	return all[len(all)-1]
}

// isProxy tells whether a request comes from this machine, as those of a proxy do.
func (s *Server) isProxy(r *http.Request) bool {
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return at.Addr().Unmap().IsLoopback()
	}
	l, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && l.Network() == "unix"
}
