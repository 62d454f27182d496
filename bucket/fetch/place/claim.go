package place

import (
	"net/netip"

	"golang.org/x/net/publicsuffix"

	"imgkeep/bucket/imageurl"
)

// Claim says for whom a fetch counts when places are shared out.
type Claim struct {
	Site    string
	PerSite int    // places of the site; 0: as usual
	Domain  string // empty: it is the site
	Network string // empty: not known yet, or not counted
}

// ClaimOn is the claim on a host, in its one spelling, whose network is not known yet.
// addr is valid if the host is an address.
func ClaimOn(host string, addr netip.Addr, perSite int) Claim {
	c := Claim{Site: siteOf(host, addr), PerSite: perSite}
	if !addr.IsValid() {
		if domain := imageurl.Domain(host); domain != c.Site {
			c.Domain = "domain " + domain
		}
	}
	return c
}

func (c Claim) groups() (all []string) {
	for _, key := range []string{c.Domain, c.Network} {
		if key != "" {
			all = append(all, key)
		}
	}
	return all
}

// siteOf returns the key for which hosts count when places are shared out: the registrable
// domain (Public Suffix List), or the /64 network of an IPv6 address. The owner of a domain
// has any number of host names in it, and could take every place with one wildcard record.
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
