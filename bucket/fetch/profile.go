package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"imgkeep/bucket/fetch/outbound"
	"imgkeep/bucket/imageurl"
)

// Profile has settings for requests to some hosts. It applies to the hosts that it names,
// chosen again at each redirect: no other host gets its settings.
type Profile struct {
	// Hosts are patterns, see imageurl.Hosts; at least one.
	Hosts []string
	// UserAgent replaces Options.UserAgent. Empty: Options.UserAgent.
	UserAgent string
	// Referer is sent as such: an http or https URL. Empty: none is sent.
	Referer string
	// Proxy replaces Options.Proxy; NoProxy: no proxy. Empty: Options.Proxy.
	Proxy string
	// PerHost replaces Options.PerHost, for the whole site of the host. 0:
	// Options.PerHost. At most Concurrency.
	PerHost int
	// Headers are additional fields, each as "Name: value": any except those with a field
	// of their own here, and those that this package needs itself, see CheckHeader.
	Headers []string
	// Insecure accepts any certificate: anybody may have sent what comes.
	Insecure bool
	// TLSMin is the oldest version of TLS that is accepted: "1.0", "1.1", "1.2" or "1.3".
	// Below 1.2 the ciphers of that time are accepted too. Empty: 1.2.
	TLSMin string
}

// NoProxy is the Proxy of a Profile whose hosts are asked directly.
const NoProxy = "direct"

// profile is a Profile in use, and so are the Options for all other hosts.
type profile struct {
	hosts     *imageurl.Hosts
	userAgent string
	referer   string // empty: none
	headers   http.Header
	perHost   int // 0: as usual
	*route
}

// profileOf returns the first profile that names a host.
func (f *Fetcher) profileOf(host string) *profile {
	for i := range f.profiles {
		if f.profiles[i].hosts.Has(host) {
			return &f.profiles[i]
		}
	}
	return &f.usual
}

// addProfile adds the profile that p describes. Profiles with the same proxy share its
// connections.
func (f *Fetcher) addProfile(p Profile) error {
	if len(p.Hosts) == 0 {
		return errors.New("hosts: at least one is needed")
	}
	for _, h := range p.Hosts {
		if _, err := imageurl.ParsePattern(h); err != nil {
			return fmt.Errorf("hosts: %w", err)
		}
	}
	if p.UserAgent != "" && !validFieldValue(p.UserAgent) {
		return errors.New("user_agent: has characters that a header field may not have")
	}
	if err := CheckReferer(p.Referer); err != nil {
		return fmt.Errorf("referer: %w", err)
	}
	if p.PerHost < 0 {
		return errors.New("per_host: must not be negative")
	}
	headers := http.Header{}
	for _, h := range p.Headers {
		name, value, err := parseHeader(h)
		if err != nil {
			return fmt.Errorf("headers: %w", err)
		}
		headers.Add(name, value)
	}
	version, ok := tlsVersions[p.TLSMin]
	if !ok {
		return fmt.Errorf("tls_min: %q is not one of 1.0, 1.1, 1.2, 1.3", p.TLSMin)
	}
	orDefault(&p.UserAgent, f.o.UserAgent)
	orDefault(&p.Proxy, f.o.Proxy)
	if p.Proxy == NoProxy {
		p.Proxy = ""
	}
	r, err := f.route(way{proxy: p.Proxy, insecure: p.Insecure, tlsMin: version})
	if err != nil {
		return err
	}
	f.profiles = append(f.profiles, profile{
		hosts: imageurl.NewHosts(p.Hosts), userAgent: p.UserAgent, referer: p.Referer, headers: headers,
		perHost: min(p.PerHost, f.o.Concurrency), route: r,
	})
	return nil
}

// ours are the header fields that no profile may set: those with a field of their own in
// Profile, those that this package sets, and those about the connection.
var ours = []string{
	"User-Agent", "Referer", "Accept-Encoding", "Range", "Cdn-Loop", "Host", "Connection", "Content-Length", "Content-Type",
	"Expect", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// CheckHeader returns an error, without the value, if s cannot be one of the Headers of
// a Profile.
func CheckHeader(s string) error {
	_, _, err := parseHeader(s)
	return err
}

func parseHeader(s string) (name, value string, err error) {
	name, value, ok := strings.Cut(s, ":")
	value = strings.TrimSpace(value)
	if !ok || name == "" || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" || value == "" || !validFieldValue(value) {
		return "", "", errors.New(`want "Name: value" in ASCII, as in "Accept-Language: de"`)
	}
	name = http.CanonicalHeaderKey(name)
	if slices.Contains(ours, name) || strings.HasPrefix(name, "If-") {
		return "", "", fmt.Errorf("%s is set by imgkeep itself, or by another key", name)
	}
	return name, value, nil
}

// CheckReferer returns an error if s cannot be the Referer of a Profile. Empty is
// none, and right.
func CheckReferer(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || !validFieldValue(s) {
		return errors.New("want an http or https URL without a user name, as in https://www.example.com/")
	}
	return nil
}

// tlsVersions are the values of Profile.TLSMin.
var tlsVersions = map[string]uint16{
	"": tls.VersionTLS12, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13,
}

// way identifies a route.
type way struct {
	proxy    string // a URL; empty: none
	insecure bool
	tlsMin   uint16
}

// tls is the configuration of TLS with origins.
func (w way) tls(roots *x509.CertPool) *tls.Config {
	c := &tls.Config{RootCAs: roots, MinVersion: w.tlsMin, InsecureSkipVerify: w.insecure}
	if w.tlsMin < tls.VersionTLS12 {
		for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
			c.CipherSuites = append(c.CipherSuites, s.ID)
		}
	}
	return c
}

// route is a way to origins: directly, or through one proxy.
type route struct {
	dialer *dialer
	direct *http.Transport // connects by dialer: to the origin, or through a tunnel to it
	http1  *http.Transport // as direct, for origins that have offered HTTP/2 and do not want it
	plain  *http.Transport // asks an HTTP proxy for http URLs; nil: direct does those too
}

// route returns the route that goes a way.
func (f *Fetcher) route(w way) (*route, error) {
	if r := f.routes[w]; r != nil {
		return r, nil
	}
	config := w.tls(f.o.RootCAs)
	proxy, err := outbound.Parse(w.proxy, way{tlsMin: tls.VersionTLS12}.tls(f.o.RootCAs))
	if err != nil {
		return nil, err
	}
	r := &route{dialer: &dialer{guard: f.guard, resolver: f.o.Resolver, timeout: f.o.HeaderTimeout, log: f.o.Logger, connect: direct(f.guard)}}
	if proxy != nil {
		if r.dialer.connect, err = proxy.Tunnel(); err != nil {
			return nil, err
		}
	}
	r.direct = f.transport(r.dialer.DialContext, config)
	r.http1 = f.transport(r.dialer.DialContext, config.Clone())
	r.http1.ForceAttemptHTTP2, r.http1.Protocols = false, new(http.Protocols)
	r.http1.Protocols.SetHTTP1(true)
	if proxy != nil {
		if r.plain = proxy.Plain(r.direct); r.plain != nil {
			r.plain.DialContext = bounded(r.plain.DialContext, f.o.HeaderTimeout)
		}
	}
	f.routes[w] = r
	return r, nil
}

// ask sends a request to its origin. If the origin rejects HTTP/2, it asks once more by
// HTTP/1.1 (RFC 9113, section 7).
func (r *route) ask(req *http.Request) (*http.Response, error) {
	resp, err := r.direct.RoundTrip(req)
	if err != nil && strings.Contains(err.Error(), "HTTP_1_1_REQUIRED") {
		return r.http1.RoundTrip(req)
	}
	return resp, err
}

func (r *route) closeIdle() {
	r.direct.CloseIdleConnections()
	r.http1.CloseIdleConnections()
	if r.plain != nil {
		r.plain.CloseIdleConnections()
	}
}
