package guard

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"imgkeep/bucket/fetch/guard/guardtest"
)

// TestSpecialPurpose imitates what lists of peers forgot: 0.0.0.0
// (CVE-2025-24354), 127.0.0.2 (GHSA-qfrj-65mv-h75h), shared address space.
func TestSpecialPurpose(t *testing.T) {
	var g Guard
	for _, r := range guardtest.Registry {
		first, last := guardtest.Edges(t, r.Prefix)
		for _, a := range []netip.Addr{first, last} {
			// 64:ff9b::/96 lies within ::/3, but at neither edge.
			if err := g.Check(a); err == nil {
				t.Errorf("%v, an edge of %s, is permitted", a, r.Prefix)
			}
		}
		for _, n := range []struct {
			addr   netip.Addr
			public bool
		}{{first.Prev(), r.Below}, {last.Next(), r.Above}} {
			err := g.Check(n.addr)
			if n.public && err != nil {
				t.Errorf("%v, beside %s, is refused: %v", n.addr, r.Prefix, err)
			}
			if !n.public && err == nil {
				t.Errorf("%v, beside %s, is permitted", n.addr, r.Prefix)
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
		if err := (Guard{}).Check(netip.MustParseAddr(s)); err != nil {
			t.Errorf("%s is refused: %v", s, err)
		}
	}
}

// TestEmbeddedAddresses imitates imgproxy before 4.0.12 and the bypasses of
// filters that look at the outer address only: no form of a special IPv4 address
// is permitted, not even where the operator has opened the network itself.
func TestEmbeddedAddresses(t *testing.T) {
	opened, err := New([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/8")})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range guardtest.Registry {
		first, last := guardtest.Edges(t, r.Prefix)
		if !first.Is4() {
			continue
		}
		for _, v4 := range []netip.Addr{first, last} {
			for form, a := range guardtest.Spellings(v4) {
				if err := (Guard{}).Check(a); err == nil {
					t.Errorf("%v as %s, %v, is permitted", v4, form, a)
				}
				if form == "IPv4-mapped (RFC 4291)" {
					continue // the same address, and open where it is
				}
				if v4 == netip.MustParseAddr("0.0.0.0") && a == netip.MustParseAddr("::") {
					continue
				}
				if err := opened.Check(a); err == nil {
					t.Errorf("%v as %s, %v, is permitted where networks are open", v4, form, a)
				}
			}
		}
	}
}

func TestZoneIsRefused(t *testing.T) {
	loopback, err := New([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"fe80::1%eth0", "::1%lo", "2606:4700:4700::1111%1"} {
		if err := loopback.Check(netip.MustParseAddr(s)); err == nil {
			t.Errorf("%s is permitted", s)
		}
	}
	if err := (Guard{}).Check(netip.Addr{}); err == nil {
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
		g, err := New(networks)
		if err != nil {
			t.Errorf("%s: %v", tt.networks, err)
			continue
		}
		for s := range strings.FieldsSeq(tt.permitted) {
			if err := g.Check(netip.MustParseAddr(s)); err != nil {
				t.Errorf("networks %q: %s is refused: %v", tt.networks, s, err)
			}
		}
		for s := range strings.FieldsSeq(tt.refused) {
			if g.Check(netip.MustParseAddr(s)) == nil {
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
		if _, err := New([]netip.Prefix{netip.MustParsePrefix(s)}); err == nil {
			t.Errorf("%s may be opened", s)
		} else if !strings.Contains(err.Error(), s) {
			t.Errorf("%s: error does not name it: %v", s, err)
		}
	}
	if _, err := New([]netip.Prefix{{}}); err == nil {
		t.Error("the zero Prefix may be opened")
	}
}

// FuzzAddress compares the guard with what package netip says of an address.
func FuzzAddress(f *testing.F) {
	for _, r := range guardtest.Registry {
		first, last := guardtest.Edges(f, r.Prefix)
		f.Add(first.AsSlice())
		f.Add(last.AsSlice())
	}
	for _, a := range guardtest.Spellings(netip.MustParseAddr("127.0.0.1")) {
		f.Add(a.AsSlice())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok || (Guard{}).Check(a) != nil {
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
		if err := (Guard{}).Check(netip.MustParseAddr(fmt.Sprint(a))); err != nil {
			t.Errorf("%v is permitted, and refused after it was printed: %v", a, err)
		}
	})
}

func BenchmarkGuard(b *testing.B) {
	addrs := []netip.Addr{netip.MustParseAddr("93.184.215.14"), netip.MustParseAddr("2606:2800:21f:cb07::1")}
	b.ReportAllocs()
	for b.Loop() {
		for _, a := range addrs {
			if err := (Guard{}).Check(a); err != nil {
				b.Fatal(err)
			}
		}
	}
}
