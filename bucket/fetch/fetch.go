package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"imgkeep/bucket/fetch/guard"
	"imgkeep/bucket/fetch/place"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
)

// DefaultUserAgent is sent if Options.UserAgent is empty. Many origins answer 403 to an
// empty one, or to that of a library.
const DefaultUserAgent = "Mozilla/5.0 (compatible; imgkeep)"

// Options are what an operator decides. The zero value of each field means its default. New
// refuses negative numbers.
type Options struct {
	// Timeout bounds a whole fetch, redirects and body included, and once more
	// the wait for a place before it. 0: 30 s.
	Timeout time.Duration
	// HeaderTimeout bounds the time until an origin's header is complete, including name
	// resolution, connecting and TLS; it starts again for each redirect. 0: 10 s.
	HeaderTimeout time.Duration
	// MaxRedirects is the number of redirects followed. 0: none.
	MaxRedirects int
	// MaxHeaderBytes bounds an answer's header, interim (1xx) ones included, in
	// bytes. 0: 64 KiB. HTTP/2 counts a little more for each field (RFC 9113,
	// section 6.5.2).
	MaxHeaderBytes int
	// Ports are the only ports that are connected to. Empty: 80 and 443.
	Ports []int
	// Networks are the private networks that may be fetched from. Each lies
	// within a range that private networks are made of: RFC 1918, shared address
	// space, loopback, unique local, benchmarking, documentation. Empty: none.
	Networks []netip.Prefix
	// DenyHosts are patterns of hosts that are never asked, see imageurl.Hosts.
	DenyHosts []string
	// UserAgent is the User-Agent sent. Empty: DefaultUserAgent.
	UserAgent string
	// Proxy is the outbound proxy: http://, https:// or socks5://, a host, and
	// where needed user:password and a port. Empty: none.
	Proxy string
	// Accept are the formats that requests name, of those that a request accepts; if it
	// accepts none of these, all that it accepts. Other formats are accepted too, but some
	// origins make WebP or AVIF of their JPEGs for clients that name those, and then do not
	// send the original. Empty: JPEG, PNG and GIF.
	Accept []probe.Format
	// Profiles say how to ask some hosts differently. The first that names a host applies.
	Profiles []Profile
	// Removed are marks of pictures that say that an image was removed. These are Gone, and
	// URLs among the marks are not even asked.
	Removed []Removed
	// Own tells whether a URL leads back to this server, which is Refused, also as the
	// target of a redirect: otherwise the server could be made to fetch from itself. nil: no
	// URL does.
	Own func(imageurl.URL) bool
	// Loop returns the CDN-Loop to send (RFC 8586), by which this server recognises its own
	// fetches; empty: none. nil: never any.
	Loop func() string
	// LocalRoot is the folder that local:///path URLs are read from. Empty: such
	// URLs are refused.
	LocalRoot string
	// S3 are the stores of objects that s3://bucket/key URLs are read from, each bucket in
	// one of them. Their endpoints are the operator's own: the guard, Ports and Proxy are not
	// asked. Empty: such URLs are refused.
	S3 []S3
	// Concurrency is the number of simultaneous fetches in all. 0: 64.
	Concurrency int
	// PerHost is the number of simultaneous fetches from one site: the hosts of a
	// registrable domain together. 0: 4. At most Concurrency.
	PerHost int
	// Queue is the number of fetches that may wait for a place, in all. 0: 1024.
	Queue int

	// RootCAs verify the certificates of origins. nil: the system's.
	RootCAs *x509.CertPool
	// Resolver finds the addresses of origins. nil: net.DefaultResolver.
	Resolver Resolver
	// Pauses are those that hosts have asked for. nil: a new set that is not shared.
	Pauses *Pauses
	// Now is the clock that dates in Retry-After are compared with. nil: time.Now.
	Now func() time.Time
	// Logger gets what an operator should see although nothing failed. nil: no log.
	Logger *slog.Logger

	interval time.Duration // a test's own place.RateInterval; 0: that
}

// Request is one image to fetch.
type Request struct {
	// URL is an absolute http, https, local or s3 URL. A fragment is ignored.
	URL string
	// Hosts are patterns, see imageurl.Hosts; every host on the way must match one.
	// Empty: any host but those of objects. A local URL has no host and matches none.
	Hosts []string
	// Denied tells whether a host, in its one spelling, must not be asked, as
	// Options.DenyHosts does. nil: none.
	Denied func(host string) bool
	// MaxBytes is the size of the largest image accepted, in bytes. At least 1.
	MaxBytes int64
	// Kept is how many bytes of the image were kept before, if it is fetched again: it then
	// takes as many, whatever follows the image's end. 0: the image is new, and is cut at
	// its end if more than maxTail bytes follow.
	Kept int64
	// Limits are what the image must keep to. See also Options.Accept.
	Limits probe.Limits
	// Digest returns the SHA-256 of the bytes that dst got, for Options.Removed. nil:
	// digests are not compared.
	Digest func() [32]byte
	// Again reads the bytes that dst got, so that an image without its end can be examined
	// again: see package whole. nil: it is refused as truncated.
	Again io.ReaderAt
	// Place was taken for URL by Reserve. nil: Fetch waits for one.
	Place *Place
}

// Result is what was fetched.
type Result struct {
	Info     probe.Info
	Bytes    int64
	FinalURL string // after redirects; without a fragment
}

// Fetcher downloads images. Its methods may be called concurrently.
type Fetcher struct {
	o        Options
	guard    guard.Guard
	denied   *imageurl.Hosts
	removed  *removals
	limit    *place.Limiter
	networks networks
	routes   map[way]*route
	usual    profile // of the hosts that no other profile names
	profiles []profile
	root     *os.Root // nil: no local URLs
	objects  objects
}

// New returns a Fetcher. Its errors name the field that is wrong.
func New(o Options) (*Fetcher, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	judge, err := guard.New(o.Networks)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	removed, err := newRemovals(o.Removed)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	f := &Fetcher{
		o: o, guard: judge, denied: imageurl.NewHosts(o.DenyHosts), removed: removed,
		limit: place.New(o.Concurrency, o.PerHost, o.Queue), routes: map[way]*route{},
	}
	usual, err := f.route(way{proxy: o.Proxy, tlsMin: tls.VersionTLS12})
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	f.usual = profile{userAgent: o.UserAgent, route: usual}
	for i, p := range o.Profiles {
		if err := f.addProfile(p); err != nil {
			return nil, fmt.Errorf("fetch: profiles[%d]: %w", i, err)
		}
	}
	if err := f.addObjects(o.S3); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	if o.LocalRoot != "" {
		if f.root, err = os.OpenRoot(o.LocalRoot); err != nil {
			return nil, fmt.Errorf("fetch: local_root: %w", err)
		}
	}
	return f, nil
}

// complete checks o and sets defaults.
func (o *Options) complete() error {
	for name, n := range map[string]int64{
		"timeout": int64(o.Timeout), "header_timeout": int64(o.HeaderTimeout), "max_redirects": int64(o.MaxRedirects),
		"max_header_bytes": int64(o.MaxHeaderBytes), "concurrency": int64(o.Concurrency), "per_host": int64(o.PerHost), "queue": int64(o.Queue),
	} {
		if n < 0 {
			return fmt.Errorf("%s: must not be negative", name)
		}
	}
	for _, p := range o.Ports {
		if p < 1 || p > 65535 {
			return fmt.Errorf("ports: %d is not a port", p)
		}
	}
	for _, p := range o.DenyHosts {
		if _, err := imageurl.ParsePattern(p); err != nil {
			return fmt.Errorf("deny_hosts: %w", err)
		}
	}
	orDefault(&o.Timeout, 30*time.Second)
	orDefault(&o.HeaderTimeout, 10*time.Second)
	orDefault(&o.MaxHeaderBytes, 64<<10)
	orDefault(&o.UserAgent, DefaultUserAgent)
	if len(o.Accept) == 0 {
		o.Accept = []probe.Format{probe.JPEG, probe.PNG, probe.GIF}
	}
	orDefault(&o.Concurrency, 64)
	orDefault(&o.PerHost, 4)
	orDefault(&o.Queue, 1024)
	orDefault(&o.interval, place.RateInterval)
	if o.Ports = slices.Clone(o.Ports); len(o.Ports) == 0 {
		o.Ports = []int{80, 443}
	}
	if !validFieldValue(o.UserAgent) {
		return errors.New("user_agent: has characters that a header field may not have")
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Pauses == nil {
		o.Pauses = NewPauses()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func orDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// validFieldValue permits printable ASCII, and spaces inside (RFC 9110, section 5.5).
func validFieldValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s[0] != ' ' && s[len(s)-1] != ' '
}

// idleConnTimeout is how long a connection is kept that nobody uses.
const idleConnTimeout = 30 * time.Second

func (f *Fetcher) transport(dial func(context.Context, string, string) (net.Conn, error), config *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                  nil, // never the environment's
		DialContext:            dial,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    f.o.HeaderTimeout,
		DisableCompression:     true, // or the transport would inflate, and count after us
		ForceAttemptHTTP2:      true, // which a DialContext switches off otherwise
		MaxIdleConns:           f.o.Concurrency,
		MaxIdleConnsPerHost:    f.o.PerHost,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: int64(f.o.MaxHeaderBytes),
		ReadBufferSize:         16 << 10, // most small images come with their header, by one read
		// An origin may send this much ahead of our reading into our memory. The default is
		// 4 MiB for each stream.
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream:     256 << 10,
			MaxReceiveBufferPerConnection: 1 << 20,
			SendPingTimeout:               15 * time.Second, // finds dead connections
			PingTimeout:                   5 * time.Second,
		},
	}
}

// Close closes idle connections and the local folder. It does not end running fetches;
// their contexts do. Afterwards f must not be used.
func (f *Fetcher) Close() error {
	for _, r := range f.routes {
		r.closeIdle()
	}
	for _, o := range f.objects.all {
		o.transport.CloseIdleConnections()
	}
	if f.root != nil {
		return f.root.Close()
	}
	return nil
}

// Fetch downloads the image at r.URL to dst and judges it on the way. dst has the whole
// image if and only if the error is nil; otherwise discard what dst got.
//
// Errors about the URL or its origin are of type *Error. Other errors come from the caller,
// and say nothing about the origin: dst's error, wrapped; that of ctx, wrapped, once ctx
// has ended; a request without MaxBytes.
//
// Fetch returns soon after ctx ends, unless dst blocks.
func (f *Fetcher) Fetch(ctx context.Context, r Request, dst io.Writer) (Result, error) {
	if r.MaxBytes < 1 {
		return Result{}, errors.New("fetch: request without MaxBytes")
	}
	var res Result
	var err error
	switch {
	case isLocal(r.URL):
		res, err = f.fetchLocal(ctx, r, dst)
	case isObject(r.URL):
		res, err = f.fetchObject(ctx, r, dst)
	default:
		res, err = f.fetchRemote(ctx, r, dst)
	}
	if err == nil {
		return res, nil
	}
	if ctx.Err() != nil {
		return Result{}, fmt.Errorf("fetch: %w", context.Cause(ctx))
	}
	return Result{}, err
}

// fetchRemote fetches what a URL leads to.
func (f *Fetcher) fetchRemote(ctx context.Context, r Request, dst io.Writer) (res Result, err error) {
	err = f.follow(ctx, r, func(ctx context.Context, to target) (location string, err error) {
		res, location, err = f.visit(ctx, to, r, dst)
		return location, err
	})
	return res, err
}

// Place is a place among the simultaneous fetches that Reserve has taken. It is
// handed to one Fetch, and released afterwards.
type Place = place.Place

// Reserve waits for a place for a fetch that nobody waits for, see [place.Limiter.Reserve].
// For a URL that Fetch will refuse the place is nil.
func (f *Fetcher) Reserve(ctx context.Context, url string) (*Place, error) {
	c := f.claimOnLocal()
	switch {
	case isLocal(url):
	case isObject(url):
		u, _, err := f.object(url)
		if err != nil {
			return nil, nil
		}
		c = f.claimOnObject(u)
	default:
		to, err := f.target("", url, nil)
		if err != nil {
			return nil, nil
		}
		c = f.claimOn(to)
	}
	return f.limit.Reserve(ctx, c)
}

// placeFor is the place that a request brings, or one yet to be waited for.
func (f *Fetcher) placeFor(r Request) *Place {
	if r.Place != nil {
		return r.Place
	}
	return f.limit.None()
}

// Stats are the state of a Fetcher's places at one moment.
type Stats = place.Stats

// Stats may be called at any time.
func (f *Fetcher) Stats() Stats { return f.limit.Stats() }
