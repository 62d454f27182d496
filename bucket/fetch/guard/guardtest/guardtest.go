// Package guardtest holds the addresses that tests of the guard, and of code that relies
// on it, try: every special range, and every form in which an address hides.
package guardtest

import (
	"net/netip"
	"testing"
)

// Registry is every entry of the IANA special-purpose address registries, and
// multicast, as the registries print them. It is written down here a second time
// on purpose: the table in guard.go is shorter, and this one is what it must
// cover. Below and Above tell whether the neighbouring addresses are public.
var Registry = []struct {
	Prefix       string
	Below, Above bool
}{
	// IANA IPv4 Special-Purpose Address Registry.
	{"0.0.0.0/8", false, true}, {"0.0.0.0/32", false, false}, {"10.0.0.0/8", true, true}, {"100.64.0.0/10", true, true},
	{"127.0.0.0/8", true, true}, {"169.254.0.0/16", true, true}, {"172.16.0.0/12", true, true}, {"192.0.0.0/24", true, true},
	{"192.0.0.0/29", true, false}, {"192.0.0.8/32", false, false}, {"192.0.0.9/32", false, false}, {"192.0.0.10/32", false, false},
	{"192.0.0.170/32", false, false}, {"192.0.0.171/32", false, false}, {"192.0.2.0/24", true, true}, {"192.31.196.0/24", true, true},
	{"192.52.193.0/24", true, true}, {"192.88.99.0/24", true, true}, {"192.88.99.2/32", false, false}, {"192.168.0.0/16", true, true},
	{"192.175.48.0/24", true, true}, {"198.18.0.0/15", true, true}, {"198.51.100.0/24", true, true}, {"203.0.113.0/24", true, true},
	{"240.0.0.0/4", false, false}, {"255.255.255.255/32", false, false},
	{"224.0.0.0/4", true, false}, // multicast

	// IANA IPv6 Special-Purpose Address Registry.
	{"::1/128", false, false}, {"::/128", false, false}, {"64:ff9b:1::/48", false, false},
	{"100::/64", false, false}, {"100:0:0:1::/64", false, false}, {"2001::/23", true, true}, {"2001::/32", true, false},
	{"2001:1::1/128", false, false}, {"2001:1::2/128", false, false}, {"2001:1::3/128", false, false}, {"2001:2::/48", false, false},
	{"2001:3::/32", false, false}, {"2001:4:112::/48", false, false}, {"2001:10::/28", false, false}, {"2001:20::/28", false, false},
	{"2001:30::/28", false, false}, {"2001:db8::/32", true, true}, {"2002::/16", true, true}, {"2620:4f:8000::/48", true, true},
	{"3fff::/20", true, true}, {"5f00::/16", false, false}, {"fc00::/7", false, false}, {"fe80::/10", false, false},
	// Elsewhere: IPv4-compatible, site-local, multicast, and what is not assigned.
	{"::/96", false, false}, {"fec0::/10", false, false}, {"ff00::/8", false, false},
	{"::/3", false, true}, {"4000::/2", true, false}, {"8000::/1", false, false},
}

// Edges returns the first and the last address of a range.
func Edges(t testing.TB, prefix string) (first, last netip.Addr) {
	t.Helper()
	p := netip.MustParsePrefix(prefix)
	if p != p.Masked() {
		t.Fatalf("%s has host bits", prefix)
	}
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ = netip.AddrFromSlice(b)
	return p.Addr(), last
}

// Spellings returns every IPv6 address that stands for an IPv4 address in some
// mechanism.
func Spellings(v4 netip.Addr) map[string]netip.Addr {
	a := v4.As4()
	at := func(prefix string, places ...int) netip.Addr {
		b := netip.MustParseAddr(prefix).As16()
		for i, p := range places {
			b[p] = a[i]
		}
		return netip.AddrFrom16(b)
	}
	inverted := netip.MustParseAddr("2001:0:0808:0808:8000:63bf::").As16()
	for i := range a {
		inverted[12+i] = ^a[i]
	}
	return map[string]netip.Addr{
		"IPv4-mapped (RFC 4291)":                    at("::ffff:0:0", 12, 13, 14, 15),
		"IPv4-compatible (RFC 4291)":                at("::", 12, 13, 14, 15),
		"IPv4-translated (RFC 2765)":                at("::ffff:0:0:0", 12, 13, 14, 15),
		"6to4 (RFC 3056)":                           at("2002::1", 2, 3, 4, 5),
		"NAT64 (RFC 6052)":                          at("64:ff9b::", 12, 13, 14, 15),
		"local NAT64 /48 (RFC 8215)":                at("64:ff9b:1::", 6, 7, 9, 10),
		"local NAT64 /56 (RFC 8215)":                at("64:ff9b:1:100::", 7, 9, 10, 11),
		"local NAT64 /64 (RFC 8215)":                at("64:ff9b:1:101::", 9, 10, 11, 12),
		"local NAT64 /96 (RFC 8215)":                at("64:ff9b:1::", 12, 13, 14, 15),
		"Teredo client (RFC 4380)":                  netip.AddrFrom16(inverted),
		"Teredo server (RFC 4380)":                  at("2001::", 4, 5, 6, 7),
		"ISATAP, local bit unset (RFC 5214)":        at("2a00:1450::5efe:0:0", 12, 13, 14, 15),
		"ISATAP, local bit set (RFC 5214)":          at("2a00:1450::200:5efe:0:0", 12, 13, 14, 15),
		"ISATAP within a private network":           at("fd00::5efe:0:0", 12, 13, 14, 15),
		"ISATAP within 6to4 (RFC 5214 in RFC 3056)": at("2002:808:808::5efe:0:0", 12, 13, 14, 15),
	}
}
