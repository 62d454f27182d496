package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"imgkeep/bucket/imageurl"
)

// Profile is how some hosts are asked. It holds for the hosts that it names, at
// each redirect anew: what is set here is sent to no other host.
type Profile struct {
	// Hosts are patterns, see MatchHost; at least one.
	Hosts []string
	// UserAgent is sent in the place of Options.UserAgent. Empty: that one.
	UserAgent string
	// Referer is sent as such: an http or https URL. Empty: none is sent.
	Referer string
	// Proxy is asked in the place of Options.Proxy; NoProxy asks none. Empty:
	// Options.Proxy.
	Proxy string
	// PerHost is used in the place of Options.PerHost, for the whole site of the
	// host. 0: Options.PerHost. At most Concurrency.
	PerHost int
}

// NoProxy is the Proxy of a Profile whose hosts are asked directly.
const NoProxy = "direct"

// profile is a Profile in use, and so are the Options for all other hosts.
type profile struct {
	hosts     *imageurl.Hosts
	userAgent string
	referer   string // empty: none
	perHost   int    // 0: as usual
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

// addProfile makes the profile that p describes. Profiles that ask the same proxy
// share its connections.
func (f *Fetcher) addProfile(p Profile) error {
	if len(p.Hosts) == 0 {
		return errors.New("hosts: at least one is needed")
	}
	for _, h := range p.Hosts {
		if err := CheckPattern(h); err != nil {
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
	orDefault(&p.UserAgent, f.o.UserAgent)
	orDefault(&p.Proxy, f.o.Proxy)
	if p.Proxy == NoProxy {
		p.Proxy = ""
	}
	r, err := f.route(p.Proxy)
	if err != nil {
		return err
	}
	f.profiles = append(f.profiles, profile{
		hosts: imageurl.NewHosts(p.Hosts), userAgent: p.UserAgent, referer: p.Referer,
		perHost: min(p.PerHost, f.o.Concurrency), route: r,
	})
	return nil
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

// route is a way to origins: directly, or through one proxy.
type route struct {
	dialer *dialer
	direct *http.Transport // connects by dialer: to the origin, or through a tunnel to it
	plain  *http.Transport // asks an HTTP proxy for http URLs; nil: direct does those too
}

// route returns the way through a proxy, or the direct one where it is empty.
func (f *Fetcher) route(proxyURL string) (*route, error) {
	if r := f.routes[proxyURL]; r != nil {
		return r, nil
	}
	config := f.tlsConfig.Clone()
	proxy, err := parseProxy(proxyURL, config.Clone())
	if err != nil {
		return nil, err
	}
	r := &route{dialer: &dialer{guard: f.guard, resolver: f.o.Resolver, timeout: f.o.HeaderTimeout, log: f.o.Logger, connect: f.guard.direct()}}
	if proxy != nil {
		if r.dialer.connect, err = proxy.tunnel(); err != nil {
			return nil, err
		}
	}
	r.direct = f.transport(r.dialer, config)
	if proxy != nil && proxy.url.Scheme != "socks5" {
		r.plain = proxy.plain(r.direct, f.o.HeaderTimeout)
	}
	f.routes[proxyURL] = r
	return r, nil
}

func (r *route) closeIdle() {
	r.direct.CloseIdleConnections()
	if r.plain != nil {
		r.plain.CloseIdleConnections()
	}
}
