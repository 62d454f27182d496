package bucket

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// maxURL is the longest URL that Canonical reads, in bytes: what a link of 4 KB
// can hold.
const maxURL = 3072

// ErrURL is what every error of Canonical wraps.
var ErrURL = errors.New("not the URL of an image")

// Canonical returns the one spelling of an image's URL under which it is kept,
// and by which it is fetched. Spellings that every origin treats alike become
// one (RFC 3986, section 6.2.2 and 6.2.3):
//
//   - the fragment, spaces around the URL, a default port and the final dot of
//     a host are dropped, and dot segments of the path resolved;
//   - scheme and host are in lower case, the host in punycode (UTS 46);
//   - what may not stand in a URL is percent-encoded, as a browser would do;
//   - "&amp;", which forums sign where their HTML said so, is "&".
//
// It leaves alone what an origin may tell apart: the case and the percent
// encoding of path and query. Only http, https and local (with no host) pass;
// user names and passwords do not, since a link would publish them.
//
// Canonical(Canonical(x)) is Canonical(x).
func Canonical(raw string) (string, error) {
	if len(raw) > maxURL {
		return "", urlError("longer than %d bytes", maxURL)
	}
	if isPlain(raw) {
		return raw, nil
	}
	return canonicalize(raw)
}

// canonicalize is Canonical of what is not too long.
func canonicalize(raw string) (string, error) {
	clean, err := encode(strings.Trim(raw, " \t\r\n"))
	if err != nil {
		return "", err
	}
	for strings.Contains(clean, "&amp;") { // again for what was escaped twice
		clean = strings.ReplaceAll(clean, "&amp;", "&")
	}
	u, err := url.Parse(clean)
	if err != nil {
		// The error of net/url quotes the whole URL; its cause is enough.
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return "", urlError("%v", err)
	}
	if u.Opaque != "" || u.User != nil {
		return "", urlError("want scheme://host/path, without a user name")
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host, err = canonicalHost(u); err != nil {
			return "", err
		}
	case "local":
		if u.Host != "" || u.RawQuery != "" || u.ForceQuery {
			return "", urlError("want local:///path, with neither host nor query")
		}
	default:
		return "", urlError("the scheme is %q: want http, https or local", u.Scheme)
	}
	u.Fragment, u.RawFragment = "", ""
	u = u.ResolveReference(u) // resolves dot segments
	if u.Path == "" {
		u.Path = "/"
	}
	s := u.String()
	if u.Scheme == "local" {
		s = "local://" + u.EscapedPath() // url.String leaves an empty host's slashes out
	}
	if len(s) > maxURL {
		return "", urlError("longer than %d bytes", maxURL)
	}
	return s, nil
}

// encode percent-encodes the bytes that may not stand in a URL. Control
// characters are an attack on the request line or a mistake, never an image.
func encode(s string) (string, error) {
	var b strings.Builder
	hostEnd := endOfHost(s)
	for i := range len(s) {
		c := s[i]
		switch {
		case c < 0x20 || c == 0x7f:
			return "", urlError("it contains the control character %#02x", c)
		case c >= 0x80 && i < hostEnd:
			b.WriteByte(c) // for punycode
		case c >= 0x80, strings.IndexByte(" \"<>\\^`{|}", c) >= 0, c == '%' && !isEscape(s[i:]):
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// endOfHost is where the host of a URL ends, or 0.
func endOfHost(s string) int {
	_, rest, ok := strings.Cut(s, "://")
	if !ok {
		return 0
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[i:]
		return len(s) - len(rest)
	}
	return len(s)
}

func isEscape(s string) bool {
	return len(s) >= 3 && isHex(s[1]) && isHex(s[2])
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// punycode maps as browsers do. Underscores pass: they are in use.
var punycode = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false))

func canonicalHost(u *url.URL) (string, error) {
	host, port := u.Hostname(), u.Port()
	if strings.Contains(host, ":") {
		a, err := netip.ParseAddr(host)
		if err != nil || a.Zone() != "" {
			return "", urlError("the host %q is no IPv6 address", host)
		}
		host = "[" + a.String() + "]"
	} else {
		var err error
		if host, err = punycode.ToASCII(host); err != nil {
			return "", urlError("the host %q is no name: %v", u.Hostname(), err)
		}
		// What the mapping makes of a name that is not UTF-8 does not map back.
		if again, err := punycode.ToASCII(host); err != nil || again != host {
			return "", urlError("the host %q is no name", u.Hostname())
		}
		if host = strings.TrimSuffix(host, "."); !isHostName(host) {
			return "", urlError("the host %q is no name", u.Hostname())
		}
	}
	if port == "" {
		return host, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", urlError("%q is no port", port)
	}
	if u.Scheme == "http" && n == 80 || u.Scheme == "https" && n == 443 {
		return host, nil
	}
	return host + ":" + strconv.FormatUint(n, 10), nil
}

func isHostName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return len(s) <= 253
}

// hostOf is the host of a canonical URL, without port; "" for local files.
func hostOf(canonical string) string {
	_, rest, _ := strings.Cut(canonical, "://")
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		rest = rest[:i]
	}
	if strings.HasPrefix(rest, "[") {
		host, _, _ := strings.Cut(rest[1:], "]")
		return host
	}
	host, _, _ := strings.Cut(rest, ":")
	return host
}

func urlError(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrURL}, args...)...)
}
