package fetch

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxURL bounds a URL in bytes, ours and those of redirects. Servers refuse
// longer ones in the main.
const maxURL = 8 << 10

// target is a URL that has passed every check that does not need a name server.
type target struct {
	url  *url.URL   // http or https; host in its one spelling; no userinfo, no fragment
	host string     // without port and brackets
	addr netip.Addr // valid if host is an address
}

// target judges a URL: the first one and each one that a redirect leads to. raw
// is resolved against base, if there is one. hosts are those allowed; nil: any.
func (f *Fetcher) target(base *url.URL, raw string, hosts *hostSet) (target, error) {
	var t target
	if len(raw) > maxURL {
		return t, errorf(Refused, "", "URL is longer than %d bytes", maxURL)
	}
	u, err := url.Parse(raw)
	if err != nil {
		// The text of url.Error repeats the URL, whose path may be private.
		return t, errorf(Refused, "", "not a valid URL")
	}
	if base != nil {
		u = base.ResolveReference(u)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return t, errorf(Refused, "", "scheme %q: only http and https are fetched", printable(u.Scheme, 20))
	}
	if u.Opaque != "" {
		return t, errorf(Refused, "", "URL has no // before its host")
	}
	if t.host, t.addr, err = parseHost(u.Hostname()); err != nil {
		return t, errorf(Refused, "", "%w", err)
	}
	if u.User != nil {
		// http://trusted.example@evil.example/ is made to be misread.
		return t, errorf(Refused, t.host, "URL has a user name or password")
	}
	port, err := portOf(u)
	if err != nil || !slices.Contains(f.o.Ports, port) {
		return t, errorf(Refused, t.host, "port %s is not on the list of ports", printable(u.Port(), 20))
	}
	if f.denied.has(t.host) {
		return t, errorf(Denied, t.host, "host is denied by the operator")
	}
	if hosts != nil && !hosts.has(t.host) {
		return t, errorf(Refused, t.host, "host is not on the bucket's list of hosts")
	}
	t.url = &url.URL{
		Scheme: u.Scheme, Host: hostPort(t.host, t.addr, u.Scheme, port),
		Path: u.Path, RawPath: u.RawPath, ForceQuery: u.ForceQuery, RawQuery: escapeQuery(u.RawQuery),
	}
	if f.o.Own != nil && f.o.Own(t.url) {
		return t, errorf(Refused, t.host, "URL leads back to this server: its host is one of this server's own names")
	}
	if f.removed.isURL(t.url) {
		return t, errorf(Gone, t.host, "URL is that of a picture that says that it was removed")
	}
	return t, nil
}

func defaultPort(scheme string) int {
	if scheme == "https" {
		return 443
	}
	return 80
}

func portOf(u *url.URL) (int, error) {
	if u.Port() == "" {
		return defaultPort(u.Scheme), nil
	}
	return strconv.Atoi(u.Port())
}

func hostPort(host string, addr netip.Addr, scheme string, port int) string {
	if addr.Is6() {
		host = "[" + host + "]"
	}
	if port == defaultPort(scheme) {
		return host
	}
	return host + ":" + strconv.Itoa(port)
}

// escapeQuery escapes what may not stand in a request line. net/url leaves a
// query as it finds it, spaces and all, and an origin chooses what stands in a
// redirect: "GET /?x HTTP/1.1" with a space too many is read differently by
// different servers on the way. Browsers escape the same bytes.
func escapeQuery(q string) string {
	bad := func(c byte) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' }
	clean := true
	for i := range len(q) {
		clean = clean && !bad(q[i])
	}
	if clean {
		return q
	}
	var b strings.Builder
	const hex = "0123456789ABCDEF"
	for i := range len(q) {
		if c := q[i]; bad(c) {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
