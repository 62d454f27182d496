package nginx

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// An Offer is a format in which some sizes are also made, besides their own format.
type Offer struct {
	// Format is "avif" or "webp".
	Format string
	// Sizes are names of presets. AnySize stands for all that are height x width.
	Sizes []string
}

// AnySize stands for all sizes that are height x width.
const AnySize = "x"

// offered are the formats that can be offered, in the order that they have in the name of
// an accept set.
var offered = []string{"avif", "webp"}

const (
	// maxAccept is the longest Accept header that is read, in bytes. Browsers send less
	// than 200.
	maxAccept = 1024
	// maxOffers keeps the expression that lists sizes within nginx' limit.
	maxOffers = 3600
	// weight is a qvalue (RFC 9110, section 12.4.2) that is not 0.
	weight = `q=(?:1(?:\.0{0,3})?|0\.(?:[1-9][0-9]{0,2}|0[1-9][0-9]?|00[1-9]))`
)

var weighted = regexp.MustCompile(`^(?i:[ \t]*` + weight + `[ \t]*)$`)

// Accepts tells whether an Accept header names a media type, such as "image/avif", with a
// weight above 0. Ranges such as image/* do not count, because browsers send them for
// formats that they do not know. Types with parameters other than a weight do not count. A
// header that contains quotes or has more than 1,024 bytes names nothing.
//
// The site applies the same rule: nginx comes to the same answer for every value.
func Accepts(accept, mediaType string) bool {
	if len(accept) > maxAccept || strings.Contains(accept, `"`) {
		return false
	}
	for element := range strings.SplitSeq(accept, ",") {
		name, parameter, any := strings.Cut(element, ";")
		if strings.EqualFold(strings.Trim(name, " \t"), mediaType) && (!any || weighted.MatchString(parameter)) {
			return true
		}
	}
	return false
}

// accepts is Accepts as an expression for a map of nginx. It matches a text that begins
// with "1 " if the format is offered. It looks for quotes once, and leaves each element at
// its first wrong character, so its time is linear in the length.
func accepts(format string) string {
	return fmt.Sprintf(`~*^1 (?=[^\x22]{0,%d}$)(?:.*,)?[ \t]*image/%s[ \t]*(?:;[ \t]*%s[ \t]*)?(?:,|$)`, maxAccept, format, weight)
}

// VariantDir is the folder of the hot links of a size for viewers who get it in one of
// these formats, as Hot.Add takes it. Viewers who accept other formats have other folders.
// Without formats it is the size itself. The order of formats does not matter.
func VariantDir(size string, formats []string) string {
	for _, f := range offered {
		if slices.Contains(formats, f) {
			size += "+" + f
		}
	}
	return size
}

// isVariantDir tells whether s is what VariantDir returns for the name of a size.
func isVariantDir(s string) bool {
	size, rest, _ := strings.Cut(s, "+")
	var formats []string
	if rest != "" {
		formats = strings.Split(rest, "+")
	}
	return isName(size) && size != "info" && VariantDir(size, formats) == s
}

// acceptSet is the set of offered formats that a viewer accepts.
type acceptSet struct {
	Name   string // as VariantDir adds it to a size
	Accept string // the header that means the same
	First  string // the extension that these viewers get most often
}

// acceptSets are all but the empty one.
func acceptSets(s Site) []acceptSet {
	var all []acceptSet
	for set := 1; set < 1<<len(offered); set++ {
		var c acceptSet
		var types, formats []string
		for i, f := range offered {
			if set&(1<<i) != 0 {
				types, formats = append(types, "image/"+f), append(formats, f)
			}
		}
		for _, o := range s.Offers {
			if c.First == "" && slices.Contains(formats, o.Format) {
				c.First = "." + o.Format
			}
		}
		c.Name, c.Accept = VariantDir("", formats), strings.Join(types, ", ")
		if !slices.ContainsFunc(formats, func(f string) bool { return !s.offers(f) }) {
			all = append(all, c)
		}
	}
	return all
}

func (s Site) offers(format string) bool {
	return slices.ContainsFunc(s.Offers, func(o Offer) bool { return o.Format == format })
}

// each is a text of nginx with a variable for each format that the site offers. "takes"
// gives the name of the viewer's accept set.
func each(what string, s Site) string {
	var b strings.Builder
	for _, f := range offered {
		if s.offers(f) {
			b.WriteString("$" + s.ID() + "_" + what + "_" + f)
		}
	}
	return b.String()
}

// places is an expression for the part of a link before the signature.
func places(sizes []string) string {
	sizes = slices.Compact(slices.Sorted(slices.Values(sizes)))
	for i, size := range sizes {
		if size == AnySize {
			sizes[i] = "[0-9]*x[0-9]*"
		}
	}
	return "~^/[^/]+/(?:" + strings.Join(sizes, "|") + ")$"
}

func (s Site) validateOffers(refuse func(field, value, want string)) {
	for i, o := range s.Offers {
		switch {
		case !slices.Contains(offered, o.Format):
			refuse("Offers", o.Format, "each of "+strings.Join(offered, ", ")+" at most once")
		case slices.ContainsFunc(s.Offers[:i], func(p Offer) bool { return p.Format == o.Format }):
			refuse("Offers", o.Format, "each format once")
		case !slices.Contains(s.Extensions, "."+o.Format):
			refuse("Offers", o.Format, "a format whose extension is among Extensions")
		}
		if n := len(places(o.Sizes)); n > maxOffers {
			refuse("Offers", fmt.Sprintf("of %d bytes", n), fmt.Sprintf("fewer presets, of at most %d bytes together: nginx reads no longer words", maxOffers))
		}
		if len(o.Sizes) == 0 {
			refuse("Offers", o.Format, "at least one size")
		}
		for _, size := range o.Sizes {
			if !isName(size) {
				refuse("Offers", size, "1 to 32 of a-z, 0-9, - and _")
			}
		}
	}
}
