// Package guard decides which addresses may be connected to: global unicast
// addresses, and the private networks that an operator lists. Addresses that hide an
// IPv4 address (mapped, compatible, 6to4, NAT64, Teredo, ISATAP) are judged by that
// one too.
//
// It checks addresses and nothing else: it resolves no names and connects to nothing. So it
// protects only if each address is checked after resolution, and once more when connecting.
// It cannot recognise a global address that is in fact private.
package guard

import (
	"fmt"
	"net/netip"
	"slices"
)

// specialRange is a range of addresses that belongs to no image host.
type specialRange struct {
	prefix netip.Prefix
	name   string
	// open: New may open it, or a part of it. People build networks with these ranges. The
	// others are never a place to fetch from: they reach this host itself, many hosts, or
	// nobody.
	open bool
}

// special holds every range of the IANA special-purpose registries, those that
// are called globally reachable too, for no image lives there (relays, AS112
// name servers, identifiers); and multicast, which has registries of its own.
//
// Sources: IANA IPv4 Special-Purpose Address Registry and IANA IPv6
// Special-Purpose Address Registry (RFC 6890, updated by RFC 8190), IPv4 and
// IPv6 Multicast Address Space registries; RFC 3879 for site-local.
//
// It omits 64:ff9b::/96, the well-known NAT64 prefix (RFC 6052), through which hosts
// without IPv4 reach all of IPv4. That is checked by the IPv4 address inside. IPv4-mapped
// addresses, ::ffff:0:0/96, are unwrapped before.
var special = []specialRange{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network (RFC 791)", false},
	{netip.MustParsePrefix("10.0.0.0/8"), "private use (RFC 1918)", true},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared address space (RFC 6598)", true},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback (RFC 1122)", true},
	{netip.MustParsePrefix("169.254.0.0/16"), "link local (RFC 3927)", false},
	{netip.MustParsePrefix("172.16.0.0/12"), "private use (RFC 1918)", true},
	{netip.MustParsePrefix("192.0.0.0/24"), "IETF protocol assignments (RFC 6890)", false},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation (RFC 5737)", true},
	{netip.MustParsePrefix("192.31.196.0/24"), "AS112 (RFC 7535)", false},
	{netip.MustParsePrefix("192.52.193.0/24"), "AMT relay (RFC 7450)", false},
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relay (RFC 7526)", false},
	{netip.MustParsePrefix("192.168.0.0/16"), "private use (RFC 1918)", true},
	{netip.MustParsePrefix("192.175.48.0/24"), "AS112 (RFC 7534)", false},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking (RFC 2544)", true},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation (RFC 5737)", true},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation (RFC 5737)", true},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)", false},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved (RFC 1112)", false}, // and broadcast, 255.255.255.255

	{netip.MustParsePrefix("::1/128"), "loopback (RFC 4291)", true},
	{netip.MustParsePrefix("::/96"), "unspecified, or IPv4-compatible (RFC 4291)", false},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local-use NAT64 (RFC 8215)", false},
	{netip.MustParsePrefix("100::/64"), "discard only (RFC 6666)", false},
	{netip.MustParsePrefix("100:0:0:1::/64"), "dummy prefix (RFC 9780)", false},
	{netip.MustParsePrefix("2001::/32"), "Teredo (RFC 4380)", false},
	{netip.MustParsePrefix("2001::/23"), "IETF protocol assignments (RFC 2928)", false},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation (RFC 3849)", true},
	{netip.MustParsePrefix("2002::/16"), "6to4 (RFC 3056)", false},
	{netip.MustParsePrefix("2620:4f:8000::/48"), "AS112 (RFC 7534)", false},
	{netip.MustParsePrefix("3fff::/20"), "documentation (RFC 9637)", true},
	{netip.MustParsePrefix("5f00::/16"), "segment routing (RFC 9602)", false},
	{netip.MustParsePrefix("fc00::/7"), "unique local (RFC 4193)", true},
	{netip.MustParsePrefix("fe80::/10"), "link local (RFC 4291)", false},
	{netip.MustParsePrefix("fec0::/10"), "site local, deprecated (RFC 3879)", false},
	{netip.MustParsePrefix("ff00::/8"), "multicast (RFC 4291)", false},
}

// platform holds the addresses behind which clouds keep credentials, unless a range that is
// never opened covers them. Some look global, others lie in ranges that an operator may
// open for good reasons.
var platform = []specialRange{
	{netip.MustParsePrefix("168.63.129.16/32"), "the platform address of Azure", false},
	{netip.MustParsePrefix("100.100.100.200/32"), "the metadata service of Alibaba Cloud", false},
	{netip.MustParsePrefix("fd00:ec2::/32"), "the metadata services of AWS", false},
	{netip.MustParsePrefix("fd20:ce::254/128"), "the metadata service of Google Cloud", false},
	{netip.MustParsePrefix("fd00:42::42/128"), "the metadata service of Scaleway", false},
}

var (
	globalUnicast6 = netip.MustParsePrefix("2000::/3") // all that IANA has opened for global unicast (RFC 4291)
	nat64          = netip.MustParsePrefix("64:ff9b::/96")
)

func within(ranges []specialRange, a netip.Addr) *specialRange {
	for i := range ranges {
		if ranges[i].prefix.Contains(a) {
			return &ranges[i]
		}
	}
	return nil
}

// Guard is immutable, and may be used concurrently. The zero Guard permits global
// unicast addresses only.
type Guard struct {
	networks []netip.Prefix
}

// New returns a Guard that permits global unicast addresses and networks, each of
// which must lie within a range that may be opened.
func New(networks []netip.Prefix) (Guard, error) {
	var g Guard
	for _, n := range networks {
		if !n.IsValid() {
			return Guard{}, fmt.Errorf("networks: not a network: %v", n)
		}
		if !opens(n.Masked()) {
			return Guard{}, fmt.Errorf("networks: %v does not lie within one private network, such as 10.0.0.0/8, 192.168.0.0/16, 127.0.0.0/8, ::1/128 or fc00::/7", n)
		}
		g.networks = append(g.networks, n.Masked())
	}
	return g, nil
}

func opens(n netip.Prefix) bool {
	for _, s := range special {
		if s.open && s.prefix.Bits() <= n.Bits() && s.prefix.Contains(n.Addr()) {
			return true
		}
	}
	return false
}

// Check returns nil if a may be connected to, otherwise the reason why not.
//
// It is an allow-list: it refuses what is neither known as global unicast nor listed by the
// operator, so that a range that is missing above costs an image and not a network.
func (g Guard) Check(a netip.Addr) error {
	if !a.IsValid() {
		return fmt.Errorf("no address")
	}
	if a.Zone() != "" {
		// fe80::1%eth0 names one of our own interfaces.
		return fmt.Errorf("%v names a network interface", a)
	}
	a = a.Unmap()
	if s := within(platform, a); s != nil {
		return fmt.Errorf("%v is %s", a, s.name)
	}
	// The address inside must be global even if networks lists it, or the outer one: people
	// name a private host in this way only to get past a filter.
	if inner, ok := embedded(a); ok {
		if err := public(inner); err != nil {
			return fmt.Errorf("%v carries an IPv4 address: %w", a, err)
		}
	}
	if g.Listed(a) {
		return nil
	}
	return public(a)
}

// Listed tells whether a lies in one of the operator's own networks. That alone does
// not permit it: see Check.
func (g Guard) Listed(a netip.Addr) bool {
	return slices.ContainsFunc(g.networks, func(n netip.Prefix) bool { return n.Contains(a.Unmap()) })
}

// public returns nil if a is a global unicast address, else what it is.
func public(a netip.Addr) error {
	for _, table := range [][]specialRange{platform, special} {
		if s := within(table, a); s != nil {
			return fmt.Errorf("%v is %s", a, s.name)
		}
	}
	if a.Is4() || globalUnicast6.Contains(a) || nat64.Contains(a) {
		return nil
	}
	return fmt.Errorf("%v is not global unicast", a)
}

// embedded returns the IPv4 address that packets to an IPv6 address end at, for those forms
// that are not refused as a whole: the table above has Teredo, 6to4, IPv4-compatible and
// local-use NAT64 addresses, and no part of those ranges can be opened.
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	inner := netip.AddrFrom4([4]byte(b[12:]))
	// ISATAP (RFC 5214, section 6.1) works within any prefix: the interface
	// identifier is 0000:5efe or 0200:5efe and the address.
	isatap := (b[8] == 0 || b[8] == 2) && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
	return inner, isatap || nat64.Contains(a)
}
