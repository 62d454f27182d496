package place

import (
	"testing"

	"imgkeep/bucket/imageurl"
)

// TestSite: one domain is one site, whatever is put before it; people who share a
// suffix are not.
func TestSite(t *testing.T) {
	for _, tt := range []struct{ host, want string }{
		{"example.com", "example.com"}, {"a.b.example.com", "example.com"}, {"a.b.example.co.uk", "example.co.uk"},
		{"me.github.io", "me.github.io"}, {"a.me.github.io", "me.github.io"}, {"com", "com"}, {"github.io", "github.io"},
		{"localhost", "localhost"}, {"x.unknown-suffix", "x.unknown-suffix"}, {"192.0.2.1", "192.0.2.1"},
		{"2001:db8:1:2:3::4", "2001:db8:1:2::/64"}, {"2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"},
	} {
		host, addr, err := imageurl.ParseHost(tt.host)
		if err != nil {
			t.Fatal(err)
		}
		if got := siteOf(host, addr); got != tt.want {
			t.Errorf("siteOf(%q) = %q, want %q", tt.host, got, tt.want)
		}
	}
}
