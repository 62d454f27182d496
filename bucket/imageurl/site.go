package imageurl

import (
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Site returns the key for which a host counts where work is shared out by sender: its
// domain below an ICANN suffix, or the network of an address. It never fails: text that is
// no host, and a host without a domain, are sites of their own.
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

// Domain returns the domain below an ICANN suffix that a host is in: by the Public Suffix
// List without its private part, where anybody may have any number of sites, as with
// dynamic names.
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

// Network returns the network for which an address counts: about what one hired server has.
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
