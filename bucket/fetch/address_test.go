package fetch

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// registry is every entry of the IANA special-purpose address registries, and
// multicast, as the registries print them. It is written down here a second time
// on purpose: the table in address.go is shorter, and this one is what it must
// cover. below and above tell whether the neighbouring addresses are public.
var registry = []struct {
	prefix       string
	below, above bool
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

func edges(t testing.TB, prefix string) (first, last netip.Addr) {
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

// TestSpecialPurpose imitates what lists of peers forgot: 0.0.0.0
// (CVE-2025-24354), 127.0.0.2 (GHSA-qfrj-65mv-h75h), shared address space.
func TestSpecialPurpose(t *testing.T) {
	var g guard
	for _, r := range registry {
		first, last := edges(t, r.prefix)
		for _, a := range []netip.Addr{first, last} {
			// 64:ff9b::/96 lies within ::/3, but at neither edge.
			if err := g.check(a); err == nil {
				t.Errorf("%v, an edge of %s, is permitted", a, r.prefix)
			}
		}
		for _, n := range []struct {
			addr   netip.Addr
			public bool
		}{{first.Prev(), r.below}, {last.Next(), r.above}} {
			err := g.check(n.addr)
			if n.public && err != nil {
				t.Errorf("%v, beside %s, is refused: %v", n.addr, r.prefix, err)
			}
			if !n.public && err == nil {
				t.Errorf("%v, beside %s, is permitted", n.addr, r.prefix)
			}
		}
	}
}

func TestPublicAddresses(t *testing.T) {
	for _, s := range []string{
		"1.1.1.1", "8.8.8.8", "93.184.215.14", "151.101.1.1", "223.255.255.255",
		"2606:4700:4700::1111", "2a00:1450:4001:80e::200e", "2400:cb00:2048:1::c629:d7a2", "2001:4860:4860::8888",
		"::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2a00:1450::5efe:8.8.8.8",
	} {
		if err := (guard{}).check(netip.MustParseAddr(s)); err != nil {
			t.Errorf("%s is refused: %v", s, err)
		}
	}
}

// spellings returns every IPv6 address that stands for an IPv4 address in some
// mechanism.
func spellings(v4 netip.Addr) map[string]netip.Addr {
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

// TestEmbeddedAddresses imitates imgproxy before 4.0.12 and the bypasses of
// filters that look at the outer address only: no form of a special IPv4 address
// is permitted, not even where the operator has opened the network itself.
func TestEmbeddedAddresses(t *testing.T) {
	opened, err := newGuard([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/8")})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range registry {
		first, last := edges(t, r.prefix)
		if !first.Is4() {
			continue
		}
		for _, v4 := range []netip.Addr{first, last} {
			for form, a := range spellings(v4) {
				if err := (guard{}).check(a); err == nil {
					t.Errorf("%v as %s, %v, is permitted", v4, form, a)
				}
				if form == "IPv4-mapped (RFC 4291)" {
					continue // the same address, and open where it is
				}
				if v4 == netip.MustParseAddr("0.0.0.0") && a == netip.MustParseAddr("::") {
					continue
				}
				if err := opened.check(a); err == nil {
					t.Errorf("%v as %s, %v, is permitted where networks are open", v4, form, a)
				}
			}
		}
	}
}

func TestZoneIsRefused(t *testing.T) {
	for _, s := range []string{"fe80::1%eth0", "::1%lo", "2606:4700:4700::1111%1"} {
		if err := (guard{loopback}).check(netip.MustParseAddr(s)); err == nil {
			t.Errorf("%s is permitted", s)
		}
	}
	if err := (guard{}).check(netip.Addr{}); err == nil {
		t.Error("no address is permitted")
	}
}

func TestNetworks(t *testing.T) {
	for _, tt := range []struct{ networks, permitted, refused string }{
		{"", "8.8.8.8", "10.0.0.1 127.0.0.1 ::1 fd00::1"},
		{"10.1.0.0/16", "10.1.0.0 10.1.255.255 ::ffff:10.1.2.3", "10.0.255.255 10.2.0.0 ::10.1.2.3 64:ff9b::10.1.2.3 127.0.0.1"},
		{"10.1.2.3/16", "10.1.0.0 10.1.255.255", "10.0.255.255 10.2.0.0"}, // as people write it
		{"127.0.0.1/32", "127.0.0.1", "127.0.0.0 127.0.0.2 ::1"},
		{"::1/128", "::1", "127.0.0.1 ::2 ::"},
		{"fd12:3456::/32", "fd12:3456::1", "fd12:3457::1 fc00::1"},
		{"192.168.0.0/16 172.16.0.0/12", "192.168.1.1 172.31.255.255 192.167.255.255 172.32.0.0", "10.0.0.1 192.0.2.1"},
		// What opens a range does not open the credentials of the cloud in it.
		{"100.64.0.0/10", "100.100.100.199 100.100.100.201", "100.100.100.200"},
		{"fc00::/7", "fd00:ec1::254", "fd00:ec2::254 fd20:ce::254 fd00:42::42"},
		{"", "168.63.129.15", "168.63.129.16 169.254.169.254 169.254.170.2 192.0.0.192"},
	} {
		var networks []netip.Prefix
		for s := range strings.FieldsSeq(tt.networks) {
			networks = append(networks, netip.MustParsePrefix(s))
		}
		g, err := newGuard(networks)
		if err != nil {
			t.Errorf("%s: %v", tt.networks, err)
			continue
		}
		for s := range strings.FieldsSeq(tt.permitted) {
			if err := g.check(netip.MustParseAddr(s)); err != nil {
				t.Errorf("networks %q: %s is refused: %v", tt.networks, s, err)
			}
		}
		for s := range strings.FieldsSeq(tt.refused) {
			if g.check(netip.MustParseAddr(s)) == nil {
				t.Errorf("networks %q: %s is permitted", tt.networks, s)
			}
		}
	}
}

// TestNetworksOpenNothingElse: a network that is not private, or more than one,
// is an operator's mistake, and told at start.
func TestNetworksOpenNothingElse(t *testing.T) {
	for _, s := range []string{
		"0.0.0.0/0", "::/0", "10.0.0.0/7", "172.16.0.0/11", "192.168.0.0/15", "fc00::/6", "0.0.0.0/8", "0.0.0.0/32", "169.254.0.0/16",
		"169.254.169.254/32", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "8.8.8.8/32", "::/128", "::/96", "fe80::/10", "ff02::/16",
		"2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48", "::ffff:10.0.0.0/104", "192.0.0.0/24", "2000::/3",
	} {
		if _, err := newGuard([]netip.Prefix{netip.MustParsePrefix(s)}); err == nil {
			t.Errorf("%s may be opened", s)
		} else if !strings.Contains(err.Error(), s) {
			t.Errorf("%s: error does not name it: %v", s, err)
		}
	}
	if _, err := newGuard([]netip.Prefix{{}}); err == nil {
		t.Error("the zero Prefix may be opened")
	}
}

// FuzzAddress compares the guard with what package netip says of an address.
func FuzzAddress(f *testing.F) {
	for _, r := range registry {
		first, last := edges(f, r.prefix)
		f.Add(first.AsSlice())
		f.Add(last.AsSlice())
	}
	for _, a := range spellings(netip.MustParseAddr("127.0.0.1")) {
		f.Add(a.AsSlice())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok || (guard{}).check(a) != nil {
			return
		}
		a = a.Unmap()
		if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
			t.Errorf("%v is permitted", a)
		}
		if a.Is4() && a.As4()[0] == 0 {
			t.Errorf("%v is permitted", a)
		}
		if a.Is6() && a.As16()[0]>>5 != 1 && !strings.HasPrefix(a.StringExpanded(), "0064:ff9b:0000:") {
			t.Errorf("%v is permitted", a)
		}
		if err := (guard{}).check(netip.MustParseAddr(fmt.Sprint(a))); err != nil {
			t.Errorf("%v is permitted, and refused after it was printed: %v", a, err)
		}
	})
}
