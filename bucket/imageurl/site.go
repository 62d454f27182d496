package imageurl

import (
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Site returns whom a host is counted for where something other than places is shared
// out by who sends work: its domain below an ICANN suffix, or the network of an address.
// It never fails: what is no host is a site of its own, as is one without a domain.
func Site(host string) string {
	h, addr, err := ParseHost(host)
	switch {
	case err != nil:
		return host
	case addr.IsValid():
		return Network(addr)
	}
	return Domain(h)
}

// Domain returns the domain below an ICANN suffix that a host is in: that of the
// Public Suffix List without its private part, in which anybody may have a site, as
// with dynamic names, and as many as they like.
func Domain(host string) string {
	for suffix := host; ; {
		suffix, _ = publicsuffix.PublicSuffix(suffix)
		// Asked of the suffix itself: of a name below it, what is said of it is wrong
		// where a private rule lies within another.
		if _, icann := publicsuffix.PublicSuffix(suffix); icann || !strings.Contains(suffix, ".") {
			rest, ok := strings.CutSuffix(host, "."+suffix)
			if !ok {
				return host
			}
			return rest[strings.LastIndexByte(rest, '.')+1:] + "." + suffix
		}
		_, suffix, _ = strings.Cut(suffix, ".")
	}
}

// Network returns the network that an address is counted by: what one who hires a
// server has of them.
func Network(a netip.Addr) string {
	a = a.Unmap()
	bits := 56
	if a.Is4() {
		bits = 24
	}
	n, err := a.Prefix(bits)
	if err != nil {
		return ""
	}
	return "network " + n.String()
}
