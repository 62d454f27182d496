package imageurl

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	name253 := strings.Repeat(label63+".", 3) + strings.Repeat("b", 61)
	for _, tt := range []struct {
		in, want string // want "": refused
	}{
		{"example.com", "example.com"},
		{"EXAMPLE.com", "example.com"},
		{"example.com.", "example.com"},
		{"example_url", "example_url"},
		{"my_site.example.com", "my_site.example.com"},
		{"r3---sn-apo3.example.com", "r3---sn-apo3.example.com"},
		{"-odd-.example.com", "-odd-.example.com"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"BÜCHER.example", "xn--bcher-kva.example"},
		{"bu\u0308cher.example", "xn--bcher-kva.example"},
		{"XN--BCHER-KVA.example", "xn--bcher-kva.example"},
		{"ｅｘａｍｐｌｅ。com", "example.com"},
		{"faß.example", "xn--fa-hia.example"},
		{"localhost", "localhost"},
		{"0x7f.example", "0x7f.example"},
		{"1.2.3.example", "1.2.3.example"},
		{name253, name253},
		{label63 + ".com", label63 + ".com"},

		{"127.0.0.1", "127.0.0.1"},
		{"127.0.0.1.", "127.0.0.1"},
		{"１２７.0.0.1", "127.0.0.1"},
		{"127。0。0。1", "127.0.0.1"},
		{"[::1]", "::1"},
		{"::1", "::1"},
		{"[2001:DB8:0::1]", "2001:db8::1"},
		{"[::ffff:127.0.0.1]", "127.0.0.1"},
		{"[::ffff:7f00:1]", "127.0.0.1"},

		// Every spelling that inet_aton takes for 127.0.0.1, and its like.
		{"127.1", ""}, {"127.0.1", ""}, {"2130706433", ""}, {"0x7f000001", ""}, {"0x7f.1", ""}, {"0x7F.0.0.0x1", ""},
		{"0177.0.0.1", ""}, {"017700000001", ""}, {"127.0.0.01", ""}, {"127.0.0.0x1", ""}, {"00000000177.1", ""}, {"1.0x", ""},
		{"0", ""}, {"0x", ""}, {"0.0.0.0.0", ""}, {"256.0.0.1", ""}, {"127.0.0.1.5", ""}, {"example.1", ""}, {"example.0x1f", ""},
		{"０ｘ７ｆ.１", ""}, {"②①③⓪⑦⓪⑥④③③", ""}, {"127.1.", ""}, {"4294967297", ""}, {"127.0.0.1 ", ""},

		{"", ""}, {".", ""}, {"..", ""}, {".example.com", ""}, {"example..com", ""}, {"example.com..", ""},
		{name253 + "b", ""}, {"a" + label63 + ".com", ""}, {strings.Repeat("ü", 600), ""},
		{"exa mple.com", ""}, {"example.com\r\nX: y", ""}, {"example.com\x00.evil.example", ""}, {"example.com/", ""}, {"a@b.example", ""},
		{"example.com:80", ""}, {"example.com%00", ""}, {"%31%32%37.0.0.1", ""}, {"ex*mple.com", ""}, {"*.example.com", ""},
		{"[::1", ""}, {"::1]", ""}, {"[::1]]", ""}, {"[[::1]]", ""}, {"[127.0.0.1]", ""}, {"[example.com]", ""}, {"[::1%25lo]", ""}, {"fe80::1%eth0", ""}, {"[]", ""},
		// CVE-2019-9636: characters that become a delimiter when they are mapped.
		{"evil.example\u2100.example.com", ""}, {"evil.example\uff03.example.com", ""}, {"evil.example\uff1a80", ""}, {"evil.example\uff20example.com", ""},
		{"evil.example\u2048.example.com", ""}, {"\xff\xfe.example", ""},
	} {
		host, addr, err := ParseHost(tt.in)
		if tt.want == "" {
			if err == nil {
				t.Errorf("ParseHost(%q) = %q, want an error", tt.in, host)
			}
			continue
		}
		if err != nil || host != tt.want {
			t.Errorf("ParseHost(%q) = %q, %v, want %q", tt.in, host, err, tt.want)
		}
		if a, err := netip.ParseAddr(tt.want); (err == nil) != addr.IsValid() || addr.IsValid() && a != addr {
			t.Errorf("ParseHost(%q): address is %v", tt.in, addr)
		}
	}
}

func TestHosts(t *testing.T) {
	for _, tt := range []struct {
		patterns, host string
		want           bool
	}{
		{"example.com", "example.com", true},
		{"example.com", "EXAMPLE.com.", true},
		{"Example.COM.", "example.com", true},
		{"example.com", "www.example.com", false},
		{"example.com", "evilexample.com", false},
		{"example.com", "example.com.evil.example", false},
		{"example.com", "example.co", false},
		{"*.example.com", "a.example.com", true},
		{"*.example.com", "a.b.EXAMPLE.com.", true},
		{"*.example.com", "example.com", false},
		{"*.example.com", "evilexample.com", false},
		{"*.example.com", "a.example.com.evil.example", false},
		{"*.example.com", ".example.com", false},
		{"*.example.com", "*.example.com", false},
		{"a.example b.example *.c.example", "b.example", true},
		{"a.example b.example *.c.example", "x.c.example", true},
		{"a.example b.example *.c.example", "c.example", false},
		{"", "example.com", false},
		{"bücher.example", "xn--bcher-kva.example", true},
		{"xn--bcher-kva.example", "BÜCHER.example", true},
		{"*.bücher.example", "i.xn--bcher-kva.example", true},
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "[::ffff:192.0.2.1]", true},
		{"::ffff:192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.10", false},
		{"[2001:db8::1]", "[2001:DB8:0:0::1]", true},
		{"2001:db8::1", "2001:db8::2", false},
		{"*.0.2.1", "192.0.2.1", false},
		{"example.com", "example.com:80", false},
		{"*", "example.com", false},
		{"*. example.com", "example.com", true}, // the bad pattern is passed over
		{"exam*le.com", "example.com", false},
		{"", "", false},
	} {
		if got := NewHosts(strings.Fields(tt.patterns)).Match(tt.host); got != tt.want {
			t.Errorf("NewHosts(%q).Match(%q) = %v", tt.patterns, tt.host, got)
		}
	}
}

func TestParsePattern(t *testing.T) {
	for _, p := range []string{"example.com", "*.example.com", "*.bücher.example", "192.0.2.1", "2001:db8::1", "[2001:db8::1]", "localhost", "Example.com."} {
		if _, err := ParsePattern(p); err != nil {
			t.Errorf("ParsePattern(%q): %v", p, err)
		}
	}
	for _, p := range []string{
		"", "*", "*.", "*.*.example.com", "**.example.com", "ex*.com", "*example.com", "https://example.com", "example.com/", "example.com:80",
		"*.192.0.2.1", "*.2001:db8::1", "127.1", "192.0.2.0/24", "a b", ".example.com",
	} {
		if _, err := ParsePattern(p); err == nil {
			t.Errorf("ParsePattern(%q) is nil", p)
		}
	}
}

// A pattern has one spelling, and is a host or *. before one.
func TestPatternHasOneSpelling(t *testing.T) {
	for pattern, want := range map[string]string{
		"Example.COM": "example.com", "*.Example.com.": "*.example.com", "bücher.example": "xn--bcher-kva.example",
		"1.2.3.4": "1.2.3.4", "2001:DB8::1": "2001:db8::1", "[2001:db8::1]": "2001:db8::1",
		"": "", "*": "", "a/b": "", "https://a.example": "", "a b": "",
	} {
		got, err := ParsePattern(pattern)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", pattern, got, err, want)
		}
	}
}

// FuzzHost: whatever parses is one of two things, a name that no C library takes
// for an address, or an address; and it is its own only spelling.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"example.com", "BÜCHER.example.", "127.0.0.1", "0x7f.1", "[::ffff:127.0.0.1]", "127。0。0。1", "[fe80::1%25eth0]", "a\u2100b", "xn--a", "1.0x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, addr, err := ParseHost(s)
		if err != nil {
			return
		}
		again, addr2, err := ParseHost(host)
		if err != nil || again != host || addr != addr2 {
			t.Fatalf("%q gives %q, and that gives %q, %v", s, host, again, err)
		}
		if addr.IsValid() {
			if addr.String() != host || addr.Zone() != "" || addr.Is4In6() {
				t.Fatalf("%q gives %q and %v", s, host, addr)
			}
			return
		}
		last := host[strings.LastIndexByte(host, '.')+1:]
		if strings.Trim(last, "0123456789") == "" || len(host) > maxHost || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			t.Fatalf("%q gives %q", s, host)
		}
	})
}

// FuzzHosts compares with the rule in its simplest words.
func FuzzHosts(f *testing.F) {
	f.Add("*.example.com", "a.example.com")
	f.Add("example.com", "evilexample.com")
	f.Add("*.Bücher.example.", "I.xn--bcher-kva.example")
	f.Add("192.0.2.1", "[::ffff:192.0.2.1]")
	f.Fuzz(func(t *testing.T, pattern, host string) {
		if !NewHosts([]string{pattern}).Match(host) {
			return
		}
		if _, err := ParsePattern(pattern); err != nil {
			t.Fatalf("a bad pattern, %q, matches %q", pattern, host)
		}
		h, _, err := ParseHost(host)
		if err != nil {
			t.Fatalf("%q matches %q, which is no host", pattern, host)
		}
		rest, below := strings.CutPrefix(pattern, "*.")
		name, _, _ := ParseHost(rest)
		if below != (h != name) || below && !strings.HasSuffix(h, "."+name) {
			t.Fatalf("%q matches %q", pattern, host)
		}
	})
}
