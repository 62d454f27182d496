package imageurl

import "testing"

func TestDomainOf(t *testing.T) {
	for host, want := range map[string]string{
		"example.com": "example.com", "a.b.example.com": "example.com", "a.example.co.uk": "example.co.uk",
		"me.dyndns.org": "dyndns.org", "a.me.dyndns.org": "dyndns.org", "me.blogspot.com": "blogspot.com", "me.github.io": "github.io",
		"x.s3.dualstack.us-east-1.amazonaws.com": "amazonaws.com", "dyndns.org": "dyndns.org",
		"com": "com", "localhost": "localhost", "a.b.unlisted": "b.unlisted", "a.unlisted": "a.unlisted",
	} {
		if got := Domain(host); got != want {
			t.Errorf("%s is in %s, want %s", host, got, want)
		}
	}
}

// A sender of work counts as one: many names below a domain for dynamic names, or many
// addresses of a network.
func TestSiteOfWork(t *testing.T) {
	for host, want := range map[string]string{
		"a.b.example.co.uk": "example.co.uk", "one.dyndns.org": "dyndns.org", "two.dyndns.org": "dyndns.org",
		"192.0.2.1": "network 192.0.2.0/24", "192.0.2.99": "network 192.0.2.0/24", "2001:db8:0:1::1": "network 2001:db8::/56",
		"localhost": "localhost", "": "", "no host": "no host",
	} {
		if got := Site(host); got != want {
			t.Errorf("%q is of %q, want %q", host, got, want)
		}
	}
}
