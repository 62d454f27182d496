package app

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/sign"
)

// name is what an operator calls an image, or a host, by.
type name struct {
	url, digest, host string // one is set; the URL is that under which an image is kept
	source            string // the canonical URL that url was made of
	link              *sign.Link
}

// failed is what failures may stand against: where several URLs name an image, a failure
// to fetch it stands against the one that it was fetched from.
func (n name) failed() []string {
	if n.url != "" && n.source != n.url {
		return []string{n.url, n.source}
	}
	return []string{cmp.Or(n.digest, n.url)}
}

// named is what a request says of a link by which an image was named.
func (n name) named(unverified bool) control.Named {
	if n.link == nil {
		return control.Named{}
	}
	return control.Named{Link: n.link.String(), Unverified: unverified}
}

// parseName reads a digest, a link of ours, whole or as a path, expired or not, in
// any size, or the URL of an image; and a host where hosts may be meant. What people
// paste around a link, from a page or a mail, is passed over. What begins as links of
// this server do and is none is refused: it would be taken for the URL of an image
// that there is not. Whether its signature fits is for whoever knows the secrets.
func (o *own) parseName(arg string, hosts bool) (name, error) {
	text := bareName(arg)
	if _, err := bucket.ParseDigest(text); err == nil {
		return name{digest: text}, nil
	}
	link, err := o.findLink(arg)
	if err != nil {
		return name{}, err
	}
	if link != nil {
		url, err := o.imageOf(*link)
		if err != nil {
			return name{}, fmt.Errorf("%q names no image: %w", arg, err)
		}
		return name{url: o.same.key(url), source: url, link: link}, nil
	}
	if hosts && !strings.Contains(text, "/") {
		if !strings.ContainsAny(text, ".:") && len(text) > maxLabel {
			return name{}, fmt.Errorf("%q is no digest, which has %d characters of A-Z a-z 0-9 - _, and no host", arg, len(bucket.Digest{}.String()))
		}
		host, err := bucket.CanonicalHost(text)
		return name{host: host}, err
	}
	canonical, err := bucket.Canonical(text)
	if err != nil {
		return name{}, fmt.Errorf("%q names no image: want a URL, a link or a digest: %w", arg, err)
	}
	if u, err := url.Parse(canonical); err == nil && o.is(u) {
		return name{}, fmt.Errorf("%q is a URL of this server, and no whole link: want the link as it stands in the page, or the URL of the image", arg)
	}
	return name{url: o.same.key(canonical), source: canonical}, nil
}

// maxLabel is how long a host without a dot may be: shorter than a digest of which a
// character is missing.
const maxLabel = 32

// imageOf is the canonical URL of the image that a link shows, also of a link around
// another one.
func (o *own) imageOf(l sign.Link) (string, error) {
	for range maxNested + 1 {
		raw, err := l.URL()
		if err != nil {
			return "", err
		}
		canonical, err := bucket.CanonicalAt(o.relative, raw)
		if err != nil {
			return "", err
		}
		u, err := url.Parse(canonical)
		if err != nil {
			return "", err
		}
		if !o.is(u) {
			return canonical, nil
		}
		if l, err = sign.Parse(u.EscapedPath()); err != nil {
			return "", fmt.Errorf("it is around a URL of this server that is no link: %w", err)
		}
	}
	return "", errors.New("too many links of this server within one another")
}

// findLink returns the one link that a text holds, or nil: also where it holds other
// addresses besides, as the URL of an image on a site with a link in it.
func (o *own) findLink(text string) (*sign.Link, error) {
	var found *sign.Link
	for _, word := range words(text) {
		l, err := o.parseLink(word)
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

// parseLink reads a link, whole or as a path.
func (o *own) parseLink(s string) (sign.Link, error) {
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

// bareName strips from a name what neither a URL nor a digest can begin or end with.
func bareName(s string) string {
	for {
		was := s
		s = strings.TrimPrefix(s, digestPrefix)
		s = strings.TrimFunc(s, func(r rune) bool {
			return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune("\"<>\u201c\u201d\u00ab\u00bb", r)
		})
		if s = tag.ReplaceAllString(s, ""); s == was {
			return s
		}
	}
}

// digestPrefix stands before a digest that begins like a flag.
const digestPrefix = "digest:"

// plainArguments are arguments of which none is a digest that begins with "-", as one
// in 64 does: that would be read as a flag. Those get a prefix.
func plainArguments(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if _, err := bucket.ParseDigest(bareName(arg)); err == nil && strings.HasPrefix(arg, "-") {
			args[i] = digestPrefix + arg
		}
	}
	return args
}

// asTyped is an argument as it was given.
func asTyped(arg string) string { return strings.TrimPrefix(arg, digestPrefix) }
