package app

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/sign"
)

// target is what an operator names: an image, or a host.
type target struct {
	url, digest, host string // one is set; the URL is that under which an image is kept
	source            string // the canonical URL that url was made of
	link              *sign.Link
}

// failed is what failures may stand against: where several URLs name an image, a failure
// to fetch it stands against the one that it was fetched from.
func (t target) failed() []string {
	if t.url != "" && t.source != t.url {
		return []string{t.url, t.source}
	}
	return []string{cmp.Or(t.digest, t.url)}
}

// named is what a request says of a link by which an image was named.
func (t target) named(unverified bool) control.Named {
	if t.link == nil {
		return control.Named{}
	}
	return control.Named{Link: t.link.String(), Unverified: unverified}
}

// targets reads what operators name.
type targets struct {
	self *engine.SelfLinks
}

func (a *app) targets(c config.Config) targets { return targets{engine.NewSelfLinks(c, nil, a.Now)} }

// parse reads a digest, a link of ours, whole or as a path, expired or not, in
// any size, or the URL of an image; and a host where hosts may be meant. What people
// paste around a link, from a page or a mail, is passed over. What begins as links of
// this server do and is none is refused: it would be taken for the URL of an image
// that there is not. Whether its signature fits is for whoever knows the secrets.
func (o targets) parse(arg string, hosts bool) (target, error) {
	text := bareName(arg)
	if _, err := record.ParseDigest(text); err == nil {
		return target{digest: text}, nil
	}
	link, err := o.findLink(arg)
	if err != nil {
		return target{}, err
	}
	if link != nil {
		url, err := o.self.ImageOf(*link)
		if err != nil {
			return target{}, fmt.Errorf("%q names no image: %w", arg, err)
		}
		return target{url: o.self.Key(url), source: url, link: link}, nil
	}
	if hosts && !strings.Contains(text, "/") {
		if !strings.ContainsAny(text, ".:") && len(text) > maxLabel {
			return target{}, fmt.Errorf("%q is no digest, which has %d characters of A-Z a-z 0-9 - _, and no host", arg, len(record.Digest{}.String()))
		}
		host, err := imageurl.ParsePattern(text)
		return target{host: host}, err
	}
	canonical, err := imageurl.Canonical(text)
	if err != nil {
		return target{}, fmt.Errorf("%q names no image: want a URL, a link or a digest: %w", arg, err)
	}
	if u, err := url.Parse(canonical); err == nil && o.self.Is(u) {
		return target{}, fmt.Errorf("%q is a URL of this server, and no whole link: want the link as it stands in the page, or the URL of the image", arg)
	}
	return target{url: o.self.Key(canonical), source: canonical}, nil
}

// maxLabel is how long a host without a dot may be: shorter than a digest of which a
// character is missing.
const maxLabel = 32

// findLink returns the one link that a text holds, or nil: also where it holds other
// addresses besides, as the URL of an image on a site with a link in it.
func (o targets) findLink(text string) (*sign.Link, error) {
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
func (o targets) parseLink(s string) (sign.Link, error) {
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
		if _, err := record.ParseDigest(bareName(arg)); err == nil && strings.HasPrefix(arg, "-") {
			args[i] = digestPrefix + arg
		}
	}
	return args
}

// asTyped is an argument as it was given.
func asTyped(arg string) string { return strings.TrimPrefix(arg, digestPrefix) }
