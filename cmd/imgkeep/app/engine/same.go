package engine

import (
	"strings"

	"imgkeep/bucket/imageurl"
	"imgkeep/cmd/imgkeep/app/config"
)

// sameImage knows which URLs name one image. The store keeps that under its key: this is
// the one place where keys are made, for links, for lists and for commands.
type sameImage struct {
	scheme bool
	rules  []sameRule
}

type sameRule struct {
	hosts  func(host string) bool
	params []string
}

func newSameImage(c config.Config) sameImage {
	s := sameImage{scheme: c.Fetch.SameScheme}
	for _, r := range c.Fetch.SameImage {
		s.rules = append(s.rules, sameRule{imageurl.NewHosts(r.Hosts).Match, r.Params})
	}
	return s
}

// key is the URL under which the image of a canonical URL is kept: by https if the
// scheme does not matter, and without the parameters of the query that name no image. It
// is its own key.
func (s sameImage) key(canonical string) string {
	if rest, ok := strings.CutPrefix(canonical, "http://"); ok && s.scheme && !hasPort(rest) {
		canonical = "https://" + rest
	}
	before, query, ok := strings.Cut(canonical, "?")
	if !ok {
		return canonical
	}
	r := s.rule(canonical)
	if r == nil {
		return canonical
	}
	var left []string
	for param := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(param, "="); !r.ignores(name) {
			left = append(left, param)
		}
	}
	if query = strings.Join(left, "&"); query == "" {
		return before
	}
	return before + "?" + query
}

// ignores tells whether the host of a URL has parameters that its key lacks: of such a
// key nobody knows whether its origin would still send the image.
func (s sameImage) ignores(canonical string) bool { return s.rule(canonical) != nil }

// rule is the first that names the host of a URL; nil: none does.
func (s sameImage) rule(canonical string) *sameRule {
	if len(s.rules) == 0 {
		return nil
	}
	host := imageurl.URL(canonical).Host()
	for i := range s.rules {
		if s.rules[i].hosts(host) {
			return &s.rules[i]
		}
	}
	return nil
}

func (r *sameRule) ignores(name string) bool {
	for _, p := range r.params {
		if prefix, ok := strings.CutSuffix(p, "*"); p == name || ok && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// hasPort tells whether what follows the scheme of a canonical URL begins with a host
// and a port, which no default port is.
func hasPort(rest string) bool {
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		rest = rest[:end]
	}
	return strings.LastIndexByte(rest, ':') > strings.LastIndexByte(rest, ']')
}
