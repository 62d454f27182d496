package imageurl

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxHost      = 253  // octets of a DNS name as text (RFC 1035, section 2.3.4)
	maxLabel     = 63   // octets of one label
	maxHostInput = 1024 // what is looked at before it is mapped to ASCII
)

// hostProfile maps names to ASCII as browsers do for name resolution (UTS 46). It allows
// underscores and odd hyphens: such hosts serve images.
var hostProfile = idna.New(
	idna.MapForLookup(),
	idna.Transitional(false),
	idna.BidiRule(),
	idna.CheckHyphens(false),
	idna.StrictDomainName(false),
)

// ParseHost returns the one spelling of a host: a DNS name in lower-case ASCII
// (punycode) without a trailing dot; or an address as netip prints it, IPv4-mapped
// ones as IPv4, and then addr is valid too. s is a host without a port; brackets
// around an IPv6 address may be there or not.
func ParseHost(s string) (host string, addr netip.Addr, err error) {
	if s == "" {
		return "", addr, errors.New("no host")
	}
	if len(s) > maxHostInput || !utf8.ValidString(s) {
		return "", addr, errors.New("host is too long, or not UTF-8")
	}
	if strings.ContainsAny(s, ":[]") {
		if inner, ok := strings.CutPrefix(s, "["); ok {
			if s, ok = strings.CutSuffix(inner, "]"); !ok {
				return "", addr, errors.New("host has a bracket without its other")
			}
		}
		addr, err = netip.ParseAddr(s)
		if err != nil || addr.Is4() {
			return "", netip.Addr{}, errors.New("host is not an IPv6 address")
		}
		if addr.Zone() != "" {
			return "", netip.Addr{}, errors.New("host is an IPv6 address with a zone, which names one of our own interfaces")
		}
		addr = addr.Unmap()
		return addr.String(), addr, nil
	}
	// Mapping comes first, the checks after: full-width digits become digits,
	// an ideographic full stop a dot, and U+2100 "a/c".
	host = strings.ToLower(s)
	if !isASCII(s) {
		if host, err = hostProfile.ToASCII(s); err != nil {
			return "", addr, errors.New("host is not a valid internationalised name")
		}
	}
	host = strings.TrimSuffix(host, ".")
	if addr, err = checkHost(host); err != nil {
		return "", netip.Addr{}, err
	}
	return host, addr, nil
}

// checkHost checks a host that is not an IPv6 address, in lower-case ASCII and without a
// final dot. The address is valid if the host is one.
func checkHost(host string) (addr netip.Addr, err error) {
	if host == "" || len(host) > maxHost {
		return addr, errors.New("host is empty or too long")
	}
	var last string
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > maxLabel {
			return addr, errors.New("host has an empty or too long label")
		}
		for i := range len(label) {
			if !hostByte(label[i]) {
				return addr, fmt.Errorf("host has a character that no host name has: %q", label[i])
			}
		}
		last = label
	}
	// A name that ends in a number is an IPv4 address to browsers and to the C library:
	// 127.1, 2130706433, 0x7f.1 and 0177.0.0.1 are all 127.0.0.1 (WHATWG URL, "ends in a
	// number checker"). Only one spelling is accepted, four decimal parts without leading
	// zeros; the others serve only to hide an address.
	if numeric(last) {
		if addr, err = netip.ParseAddr(host); err != nil {
			return netip.Addr{}, errors.New("host is an odd spelling of an IPv4 address")
		}
	}
	return addr, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func hostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// numeric reports whether a label is a number: decimal, or 0x and any hexadecimal digits,
// also none.
func numeric(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// Hosts is a list of host patterns, prepared so that a look-up in a long list is as fast as
// in a short one. A pattern is a host name, which matches only that host; an IP address; or
// "*." and a name, which matches every host below that name, at any depth, but not the name
// itself: *.example.com matches a.example.com and a.b.example.com, neither example.com nor
// evilexample.com.
//
// Case, a trailing dot, and Unicode or punycode make no difference on either side. The
// zero value matches nothing.
type Hosts struct {
	names map[string]bool // these hosts
	below map[string]bool // the hosts below these
}

// NewHosts returns the list of these patterns. It ignores those that ParsePattern refuses.
func NewHosts(patterns []string) *Hosts {
	h := &Hosts{map[string]bool{}, map[string]bool{}}
	for _, p := range patterns {
		p, err := ParsePattern(p)
		if err != nil {
			continue
		}
		if name, below := strings.CutPrefix(p, "*."); below {
			h.below[name] = true
		} else {
			h.names[name] = true
		}
	}
	return h
}

// Match tells whether a pattern matches a host without a port, in any spelling. It returns
// false for text that is no host.
func (h *Hosts) Match(host string) bool {
	host, _, err := ParseHost(host)
	return err == nil && h.Has(host)
}

// Has is Match for a host in its one spelling, as URL.Host and ParseHost return it.
func (h *Hosts) Has(host string) bool {
	if h.names[host] {
		return true
	}
	for {
		_, parent, ok := strings.Cut(host, ".")
		if !ok {
			return false
		}
		if h.below[parent] {
			return true
		}
		host = parent
	}
}

// PatternsOf goes through the patterns that match a host in its one spelling, itself first.
func PatternsOf(host string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if host == "" || !yield(host) {
			return
		}
		for _, parent, ok := strings.Cut(host, "."); ok; _, parent, ok = strings.Cut(parent, ".") {
			if !yield("*." + parent) {
				return
			}
		}
	}
}

// ParsePattern returns the one spelling of a pattern, see Hosts.
func ParsePattern(pattern string) (string, error) {
	rest, below := strings.CutPrefix(pattern, "*.")
	name, addr, err := ParseHost(rest)
	if err == nil && below && addr.IsValid() {
		err = errors.New("an address has no hosts below it")
	}
	if err != nil {
		return "", fmt.Errorf("host pattern %q: %w; use example.com, *.example.com or an IP address", pattern, err)
	}
	if below {
		name = "*." + name
	}
	return name, nil
}
