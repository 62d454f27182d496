package bucket

import (
	"errors"
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"https://example.com/a.jpg", "https://example.com/a.jpg"},
		{"HTTPS://Example.COM/A.jpg", "https://example.com/A.jpg"},
		{"https://example.com", "https://example.com/"},
		{"https://example.com?q", "https://example.com/?q"},
		{"https://example.com/a.jpg#top", "https://example.com/a.jpg"},
		{"https://example.com/#/a.jpg", "https://example.com/"},
		{" https://example.com/a.jpg\n", "https://example.com/a.jpg"},
		{"https://example.com/a.jpg?x=1&amp;y=2", "https://example.com/a.jpg?x=1&y=2"},
		{"https://example.com/a.jpg?", "https://example.com/a.jpg?"},

		// Ports and dots.
		{"https://example.com:443/a", "https://example.com/a"},
		{"http://example.com:80/a", "http://example.com/a"},
		{"http://example.com:0080/a", "http://example.com/a"},
		{"http://example.com:443/a", "http://example.com:443/a"},
		{"https://example.com:8443/a", "https://example.com:8443/a"},
		{"https://example.com:/a", "https://example.com/a"},
		{"https://example.com./a", "https://example.com/a"},
		{"https://example.com/x/../a.jpg", "https://example.com/a.jpg"},
		{"https://example.com/./a//b.jpg", "https://example.com/a//b.jpg"},
		{"https://example.com/../../a", "https://example.com/a"},

		// Names beyond ASCII, and one with an underscore.
		{"https://BÜCHER.example/a", "https://xn--bcher-kva.example/a"},
		{"https://xn--bcher-kva.example/a", "https://xn--bcher-kva.example/a"},
		{"https://日本.example/ä.jpg", "https://xn--wgv71a.example/%C3%A4.jpg"},
		{"https://example_url/img.jpg", "https://example_url/img.jpg"},
		{"https://faß.example/", "https://xn--fa-hia.example/"},

		// What may not stand in a URL.
		{"https://example.com/a b.jpg", "https://example.com/a%20b.jpg"},
		{"https://example.com/a%20b.jpg", "https://example.com/a%20b.jpg"},
		{"https://example.com/a.jpg?q=ä b", "https://example.com/a.jpg?q=%C3%A4%20b"},
		{"https://example.com/100%.jpg", "https://example.com/100%25.jpg"},
		{"https://example.com/{a}|\"b\"", "https://example.com/%7Ba%7D%7C%22b%22"},
		{"https://example.com/\xff.jpg", "https://example.com/%FF.jpg"},

		// What an origin may tell apart stays as it is.
		{"https://example.com/%7eA/%2f?A=%c3", "https://example.com/%7eA/%2f?A=%c3"},
		{"https://example.com/a;b=1,c:d@e!$'()*+", "https://example.com/a;b=1,c:d@e!$'()*+"},

		// Addresses.
		{"http://192.0.2.1/a", "http://192.0.2.1/a"},
		{"http://[2001:DB8:0:0::1]:80/a", "http://[2001:db8::1]/a"},
		{"http://[2001:db8::1]:8080/a", "http://[2001:db8::1]:8080/a"},

		{"local:///a/b.jpg", "local:///a/b.jpg"},
		{"local:///a/../b c.jpg#x", "local:///b%20c.jpg"},
		{"LOCAL:///", "local:///"},
	} {
		got, err := Canonical(tt.raw)
		if err != nil || got != tt.want {
			t.Errorf("%q: got %q, %v; want %q", tt.raw, got, err, tt.want)
		}
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for _, raw := range []string{
		"", "a.jpg", "/a.jpg", "//example.com/a.jpg", "example.com/a.jpg", "example.com:80/a.jpg",
		"ftp://example.com/a", "file:///etc/passwd", "data:image/png;base64,AAAA", "javascript:alert(1)", "gopher://example.com/",
		"https:example.com/a", "https:/example.com/a", "https:///a.jpg", "https://",
		"https://user@example.com/a", "https://user:pass@example.com/a", "https://@example.com/a",
		"https://example.com\\@evil.example/a",
		"https://example.com:0/a", "https://example.com:65536/a", "https://example.com:x/a", "https://example.com:-1/a",
		"https://exa mple.com/a", "https://exa%2fmple.com/a", "https://.example.com/a", "https://a..b/c", "https://./a", "https://a../b", "http://\uff40a.example/",
		"http://[::1/a", "http://[fe80::1%25eth0]/a", "http://[1.2.3.4]/a", "http://[zz]/a",
		"https://example.com/a\r\nHost: evil", "https://example.com/\x00", "https://example.com/a\tb", "https://example.com/\x7f",
		"https://" + strings.Repeat("a", 254) + "/",
		"local://host/a", "local://a", "local:///a?b", "local:a",
		"https://example.com/" + strings.Repeat("a", maxURL),
		"https://example.com/" + strings.Repeat("ä", 1000), // too long once encoded
	} {
		if got, err := Canonical(raw); !errors.Is(err, ErrURL) {
			t.Errorf("%q: got %q, %v; want ErrURL", raw, got, err)
		}
	}
}

func TestCanonicalLength(t *testing.T) {
	head := "https://example.com/"
	longest := head + strings.Repeat("a", maxURL-len(head))
	if _, err := Canonical(longest); err != nil {
		t.Errorf("%d bytes: %v", len(longest), err)
	}
	if _, err := Canonical(longest + "a"); !errors.Is(err, ErrURL) {
		t.Errorf("%d bytes: %v", len(longest)+1, err)
	}
}

func TestHostOf(t *testing.T) {
	for url, want := range map[string]string{
		"https://example.com/a":       "example.com",
		"https://example.com:8443/a":  "example.com",
		"http://[2001:db8::1]:8080/a": "2001:db8::1",
		"http://192.0.2.1/":           "192.0.2.1",
		"local:///a":                  "",
	} {
		if got := hostOf(url); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

// The short cut takes what most links hold, and nothing that the long way would
// change or refuse.
func TestPlain(t *testing.T) {
	for _, url := range []string{
		"http://a/", "https://images.example.com/2026/11/a-picture.jpg?w=100&h=5", "https://my_cdn.example/a", "http://192.0.2.1/a",
		"http://example.com:8080/a", "https://example.com:80/a", "http://example.com:443/a", "http://a:65535/", "https://example.com/a?",
		"https://example.com/~a/b;c=(1),d!$'*+@:?q=/?", "https://a/b.c/.d/..e/f.", "https://a/x//y",
	} {
		if got, err := canonicalize(url); !isPlain(url) || err != nil || got != url {
			t.Errorf("%q: plain %v; the long way %q, %v", url, isPlain(url), got, err)
		}
	}
	for _, url := range []string{
		"", "http://", "http:///a", "ftp://a/", "HTTP://a/", "http://a", "http://a?b", "http://A/", "http://a./", "http://.a/", "http://a..b/",
		"http://xn--bcher-kva.example/", "http://-a/", "http://a-/", "http://a--b/", "http://ä/", "http://[::1]/", "http://u@a/",
		"http://" + strings.Repeat("a", 64) + "/", "http://" + strings.Repeat("a.", 127) + "a/",
		"http://a:/", "http://a:80/", "https://a:443/", "http://a:0/", "http://a:08/", "http://a:65536/", "http://a:123456/", "http://a:x/",
		"http://a/b#c", "http://a/./b", "http://a/../b", "http://a/.", "http://a/b/..", "http://a/?b&amp;c",
		"http://a/b c", "http://a/%41", "http://a/\"", "http://a/<", "http://a/[", "http://a/ä", "http://a/\x00", "http://a/b\n",
	} {
		if isPlain(url) {
			t.Errorf("%q is taken as plain", url)
		}
	}
}

// A canonical URL is its own canonical spelling, or one image would be kept
// under two keys.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{
		"https://Example.com:443/a b?c=ä&amp;amp;d#e", "http://[::FFFF:1.2.3.4]:80/", "local:///../x", "https://bücher.example./%zz",
		"https://a/%2e%2e/b", "http://０.example/", "https://example.com//..//x", "https://a?/#", "http://a-b.example:8080/c?d=/../e",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		once, err := Canonical(raw)
		if err != nil {
			return
		}
		twice, err := Canonical(once)
		if err != nil || twice != once {
			t.Fatalf("%q: once %q, twice %q, %v", raw, once, twice, err)
		}
		if slow, err := canonicalize(raw); err != nil || slow != once {
			t.Fatalf("%q: %q, and the long way %q, %v", raw, once, slow, err)
		}
		for i := range len(once) {
			if once[i] <= ' ' || once[i] >= 0x7f {
				t.Fatalf("%q: %q holds %#02x", raw, once, once[i])
			}
		}
	})
}

func BenchmarkCanonical(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Canonical("https://images.example.com/2026/11/18/a-picture.jpg?w=100"); err != nil {
			b.Fatal(err)
		}
	}
}
