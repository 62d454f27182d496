package nginx

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Page is what answers tell browsers and search engines about the use of images in pages.
// Its zero value lets pages of all sites show images, and lets no script read them.
type Page struct {
	// ResourcePolicy is the Cross-Origin-Resource-Policy: "cross-origin", "same-site"
	// or "same-origin". Empty: "cross-origin", without which pages that isolate
	// themselves (COEP) show no image.
	ResourcePolicy string
	// Robots is the X-Robots-Tag, such as "noindex". Empty: the header is not sent.
	Robots string
	// Origins are those whose scripts may read images, such as "https://example.com";
	// "*" stands for all. Empty: none.
	Origins []string
}

// ResourcePolicies are the values that Page.ResourcePolicy may have.
var ResourcePolicies = []string{"cross-origin", "same-site", "same-origin"}

var (
	origin = regexp.MustCompile(`^https?://([a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?$`)
	robots = regexp.MustCompile(`^[A-Za-z0-9_-]+([ ,:]+[A-Za-z0-9_-]+)*$`)
)

// CheckOrigin says what is wrong with an item of Page.Origins.
func CheckOrigin(s string) error {
	if s != "*" && !origin.MatchString(s) {
		return fmt.Errorf("%q is no origin: want scheme, host in lower case and port if it is not the usual one, as in https://example.com, or *", s)
	}
	return nil
}

// CheckRobots says what is wrong with Page.Robots.
func CheckRobots(s string) error {
	if s != "" && (!robots.MatchString(s) || len(s) > 256) {
		return fmt.Errorf("%q is no X-Robots-Tag: want words, as in noindex, noimageindex", s)
	}
	return nil
}

func (p Page) validate(refuse func(field, value, want string)) {
	if p.ResourcePolicy != "" && !slices.Contains(ResourcePolicies, p.ResourcePolicy) {
		refuse("Page.ResourcePolicy", p.ResourcePolicy, "one of "+strings.Join(ResourcePolicies, ", "))
	}
	if CheckRobots(p.Robots) != nil {
		refuse("Page.Robots", p.Robots, "words with commas")
	}
	for _, o := range p.Origins {
		if CheckOrigin(o) != nil {
			refuse("Page.Origins", o, `an origin, or "*"`)
		}
	}
}

// Policy is the Cross-Origin-Resource-Policy.
func (p Page) Policy() string {
	if p.ResourcePolicy == "" {
		return ResourcePolicies[0]
	}
	return p.ResourcePolicy
}

// AllowOrigin is the Access-Control-Allow-Origin for a request with this Origin
// header. Empty: there is none.
func (p Page) AllowOrigin(header string) string {
	if p.AnyOrigin() {
		return "*"
	}
	for _, o := range p.Origins {
		if strings.EqualFold(o, header) {
			return o
		}
	}
	return ""
}

// AnyOrigin tells whether scripts of all origins may read images.
func (p Page) AnyOrigin() bool { return slices.Contains(p.Origins, "*") }

// VariesByOrigin tells whether answers depend on the Origin header.
func (p Page) VariesByOrigin() bool { return len(p.Origins) > 0 && !p.AnyOrigin() }

// Vary is the Vary header of an answer; accept tells whether it depends on the viewer's
// Accept header. Empty: the header is not sent.
func (p Page) Vary(accept bool) string {
	var names []string
	if accept {
		names = append(names, "Accept")
	}
	if p.VariesByOrigin() {
		names = append(names, "Origin")
	}
	return strings.Join(names, ", ")
}

// answerHeaders are the directives for the headers of all answers: of those with an image,
// or with always of errors too.
func answerHeaders(s Site, always bool) string {
	var b strings.Builder
	end := ";"
	if always {
		end = " always;"
	}
	add := func(name, value string) { fmt.Fprintf(&b, "add_header %s %s%s\n", name, value, end) }
	add("X-Content-Type-Options", `"nosniff"`)
	add("Content-Security-Policy", `"default-src 'none'; sandbox"`)
	add("Cross-Origin-Resource-Policy", `"`+s.Page.Policy()+`"`)
	if s.Page.Robots != "" {
		add("X-Robots-Tag", `"`+s.Page.Robots+`"`)
	}
	switch {
	case s.Page.AnyOrigin():
		add("Access-Control-Allow-Origin", `"*"`)
	case s.Page.VariesByOrigin():
		add("Access-Control-Allow-Origin", "$"+s.ID()+"_origin")
	}
	if len(s.Offers) > 0 && !always {
		add("Vary", "$"+s.ID()+"_vary")
	} else if vary := s.Page.Vary(false); vary != "" {
		add("Vary", `"`+vary+`"`)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// exactly is an expression of nginx, in quotes, that matches this text only, ignoring case.
// (Without an expression nginx' tables could be too small for a long name.)
func exactly(s string) string {
	return `"~*^` + strings.NewReplacer(".", "[.]", "[", `\[`, "]", `\]`).Replace(s) + `$"`
}
