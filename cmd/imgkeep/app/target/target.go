// Package target reads what people name: an image, by its URL, by any link of it, or by
// its digest; or a host.
//
// It promises to ignore what was pasted with a link, from a page or a mail, and that what
// looks like a link of this server and is not one is an error. It knows no secret, and
// verifies no signature.
package target

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/record"
	"imgkeep/sign"
)

// Target is what somebody names: an image, or a host.
type Target struct {
	URL, Digest, Host string // one is set; the URL is that under which an image is kept
	Source            string // the canonical URL that URL was made of
	Link              string // the path of the link that it was named by; empty: by none
}

// Older is the URL under which the image may have been kept before several URLs named it; empty:
// there is no other than URL.
func (t Target) Older() string {
	if t.Source == t.URL {
		return ""
	}
	return t.Source
}

// Self knows the links of this server.
type Self interface {
	// ImageOf is the canonical URL of the image that a link shows, Key that under which it
	// is kept.
	ImageOf(sign.Link) (string, error)
	Key(canonical string) string
	// Is tells whether a URL leads back to this server.
	Is(imageurl.URL) bool
}

// Reader reads what is named. It may be used concurrently, if its Self may.
type Reader struct{ Self Self }

// Read reads a digest, a link of ours, whole or as a path, expired or not, in
// any size, or the URL of an image; and a host where hosts may be meant. What people
// paste around a link, from a page or a mail, is ignored. What begins like a link of this
// server and is not one is refused: it would pass for the URL of an image that does not
// exist. It does not verify signatures: it knows no secret.
func (o Reader) Read(arg string, hosts bool) (Target, error) {
	text := Bare(arg)
	if _, err := record.ParseDigest(text); err == nil {
		return Target{Digest: text}, nil
	}
	link, err := o.findLink(arg)
	if err != nil {
		return Target{}, err
	}
	if link != nil {
		url, err := o.Self.ImageOf(*link)
		if err != nil {
			return Target{}, fmt.Errorf("%q names no image: %w", arg, err)
		}
		return Target{URL: o.Self.Key(url), Source: url, Link: link.String()}, nil
	}
	if hosts && !strings.Contains(text, "/") {
		if !strings.ContainsAny(text, ".:") && len(text) > maxLabel {
			return Target{}, fmt.Errorf("%q is no digest, which has %d characters of A-Z a-z 0-9 - _, and no host", arg, len(record.Digest{}.String()))
		}
		host, err := imageurl.ParsePattern(text)
		return Target{Host: host}, err
	}
	canonical, err := imageurl.Canonical(text)
	if err != nil {
		return Target{}, fmt.Errorf("%q names no image: want a URL, a link or a digest: %w", arg, err)
	}
	if o.Self.Is(imageurl.URL(canonical)) {
		return Target{}, fmt.Errorf("%q is a URL of this server, but not a complete link: want the link as it is in the page, or the URL of the image", arg)
	}
	return Target{URL: o.Self.Key(canonical), Source: canonical}, nil
}

// maxLabel is how long a host without a dot may be: shorter than a digest of which a
// character is missing.
const maxLabel = 32

// findLink returns the one link that a text holds, or nil: also where it holds other
// addresses besides, as the URL of an image on a site with a link in it.
func (o Reader) findLink(text string) (*sign.Link, error) {
	var found *sign.Link
	for _, word := range words(text) {
		l, err := ParseLink(word)
		switch {
		case err != nil && strings.Contains(word, "://"):
			return nil, nil
		case err != nil:
		case found != nil && *found != l:
			return nil, fmt.Errorf("%q holds several links: name them one by one", text)
		default:
			found = &l
		}
	}
	return found, nil
}

// ParseLink reads a link, whole or as a path.
func ParseLink(s string) (sign.Link, error) {
	path := s
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		path = u.EscapedPath()
	}
	return sign.Parse(path)
}

// entities are the characters of HTML that may follow a link, and cannot be in one.
var entities = strings.NewReplacer("&quot;", " ", "&#34;", " ", "&#39;", " ", "&apos;", " ", "&lt;", " ", "&gt;", " ", "&nbsp;", " ")

// attribute is what comes before an address in HTML and BBCode, and ends in a
// character that links may have.
var attribute = regexp.MustCompile(`(?i)\b(?:src|href|url|img)=`)

// words are the parts of a text that may be links: between all that links cannot
// have, and without punctuation behind them.
func words(text string) (all []string) {
	text = attribute.ReplaceAllString(entities.Replace(text), " ")
	for _, word := range strings.FieldsFunc(text, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'`<>[](){}|\\^", r)
	}) {
		if word = strings.TrimRight(word, ".,;:!?*~/"); word != "" {
			all = append(all, word)
		}
	}
	return all
}

// tag is BBCode around an address.
var tag = regexp.MustCompile(`(?i)^\[(?:img|url)\]|\[/(?:img|url)\]$`)

// Bare strips from a name what neither a URL nor a digest can begin or end with.
func Bare(s string) string {
	for {
		was := s
		s = strings.TrimPrefix(s, Prefix)
		s = strings.TrimFunc(s, func(r rune) bool {
			return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune("\"<>\u201c\u201d\u00ab\u00bb", r)
		})
		if s = tag.ReplaceAllString(s, ""); s == was {
			return s
		}
	}
}

// Prefix stands before a digest that begins like a flag.
const Prefix = "digest:"
