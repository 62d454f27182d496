package fetch

import (
	"net/netip"

	"golang.org/x/net/publicsuffix"
)

// siteOf returns the key that hosts are counted by when places are shared out:
// the registrable domain (Public Suffix List), or the /64 network of an IPv6
// address. Whoever has a domain has as many host names in it as he likes, and
// could take every place with one wildcard record.
func siteOf(host string, addr netip.Addr) string {
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	if addr.IsValid() {
		return host
	}
	if site, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return site
	}
	return host // a single label, or a public suffix itself
}
