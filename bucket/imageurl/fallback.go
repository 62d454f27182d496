package imageurl

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// placeholder is where a fallback has the requested URL.
const placeholder = "{url}"

// Fallback is another place where an image may be found: a URL around the one that is gone
// at its origin.
type Fallback struct {
	before, after string
	host          string
	escape        bool // the URL stands in the query
}

// ParseFallback reads a fallback: an http or https URL with {url} in its path or
// query, once.
func ParseFallback(template string) (Fallback, error) {
	wrong := fmt.Errorf("%q: want an http or https URL with {url} in its path or query, as in https://web.archive.org/web/0im_/{url}", template)
	before, after, ok := strings.Cut(template, placeholder)
	if !ok || strings.ContainsAny(before+after, "{}#") {
		return Fallback{}, wrong
	}
	u, err := url.Parse(before)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Path == "" && u.RawQuery == "" {
		return Fallback{}, wrong
	}
	if _, err := ParsePattern(u.Hostname()); err != nil || strings.HasPrefix(u.Host, "*") {
		return Fallback{}, wrong
	}
	if strings.ContainsFunc(template, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Fallback{}, errors.New("it has a character that no URL has")
	}
	return Fallback{before: before, after: after, host: u.Hostname(), escape: strings.Contains(before, "?")}, nil
}

// Host is the host of the fallback.
func (f Fallback) Host() string { return f.host }

// Around is the URL at which to look for the image of a canonical URL. A path contains that
// URL unchanged, as web archives want it; a query contains it escaped.
func (f Fallback) Around(canonical string) string {
	if f.escape {
		canonical = url.QueryEscape(canonical)
	}
	return f.before + canonical + f.after
}
