package imageurl

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// MaxLength is the longest URL that Parse accepts and returns, in bytes: it fits into a
	// link of 4 KB.
	MaxLength = 3072
	// MaxRedirect is the longest URL that Resolve accepts and returns, in bytes. Most
	// servers refuse longer ones.
	MaxRedirect = 8 << 10

	localScheme = "local"
)

// Every error of Parse and Resolve wraps ErrURL.
var ErrURL = errors.New("not the URL of an image")

// URL is the URL of an image in its one spelling, as Parse or Resolve returns it. A
// conversion from a string claims that the string has this spelling. The zero value is no
// URL.
type URL string

// Parse returns the one spelling of an image's URL, under which it is kept and by
// which it is fetched. Spellings that every origin treats alike become one:
//
//   - the fragment, spaces around the URL, tabs and line breaks inside, a default
//     port and the final dot of a host are dropped, and dot segments resolved;
//   - scheme and host are in lower case, the host in punycode (UTS 46);
//   - in http and https URLs \ is /, and any number of slashes may follow the scheme;
//   - what may not stand in a URL is percent-encoded;
//   - an ampersand that HTML has escaped ("&amp;", "&#038;", "&#x26;" …) is "&", since
//     forums sign what stands in their HTML.
//
// It leaves alone what an origin may tell apart: the case and the percent-encoding of
// path and query. Only http, https, local (with no host) and s3 pass.
//
// In an s3 URL, s3://bucket/key, all that is percent-encoded is decoded, and then all but
// letters, digits and - . _ ~ / encoded: it has no query and no fragment. A key that is not
// UTF-8, has a control character, an empty part, . or .. is refused.
func Parse(raw string) (URL, error) {
	return parseAt("", raw)
}

// parseAt is Parse, except that raw may be relative to base, which Parse must have
// returned.
func parseAt(base URL, raw string) (URL, error) {
	if len(raw) > MaxLength {
		return "", urlError("longer than %d bytes", MaxLength)
	}
	if isPlain(raw) {
		return URL(raw), nil
	}
	return parse(unescapeAmpersands(raw), base, MaxLength)
}

// Resolve returns where a redirect leads from base, which may be empty: then location must
// be absolute. It reads location as Parse does, except that it leaves HTML's escapes alone,
// since headers have none, and accepts MaxRedirect bytes.
func Resolve(base URL, location string) (URL, error) {
	if len(location) > MaxRedirect {
		return "", urlError("longer than %d bytes", MaxRedirect)
	}
	return parse(location, base, MaxRedirect)
}

// String is the URL as text.
func (u URL) String() string { return string(u) }

// IsLocal tells whether the URL is that of an operator's file.
func (u URL) IsLocal() bool { return strings.HasPrefix(string(u), localScheme+":") }

// Host is the host without its port and without brackets; "" for local files. That of an
// object is its bucket's, see ObjectDomain.
func (u URL) Host() string {
	if u.IsObject() {
		bucket, _ := u.Object()
		return ObjectHost(bucket)
	}
	_, rest, _ := strings.Cut(string(u), "://")
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

// Path is the path, percent-encoded, without the query. That of an object is a slash and
// its key.
func (u URL) Path() string {
	_, path, _ := u.split()
	return path
}

// split splits a URL before its path and its query, which begin with / and ?. All but the
// path may be missing.
func (u URL) split() (origin, path, query string) {
	s := string(u)
	start := strings.Index(s, "://") + len("://")
	if i := strings.IndexByte(s[start:], '/'); i >= 0 {
		start += i
	}
	origin, path = s[:start], s[start:]
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path, query = path[:i], path[i:]
	}
	return origin, path, query
}

func urlError(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrURL}, args...)...)
}

// HostOf is URL.Host of a canonical URL.
func HostOf(canonical string) string { return URL(canonical).Host() }
