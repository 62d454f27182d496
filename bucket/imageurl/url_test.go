package imageurl

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		raw  string
		want URL
	}{
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

		// Hosts that serve images, whatever IDNA thinks of their hyphens.
		{"https://r6---sn-xyz.example.com/a", "https://r6---sn-xyz.example.com/a"},
		{"https://ab--cd.example.com/a?ä", "https://ab--cd.example.com/a?%C3%A4"},
		{"https://-a-.example/#", "https://-a-.example/"},
		{"https://ex%61mple.com/a", "https://example.com/a"},

		// What browsers forgive.
		{"https:example.com/a", "https://example.com/a"},
		{"https:/example.com/a", "https://example.com/a"},
		{"https:////example.com/a", "https://example.com/a"},
		{`https:\\example.com\a\..\b?c\d`, `https://example.com/b?c%5Cd`},
		{`https://example.com\@evil.example/a`, "https://example.com/@evil.example/a"},
		{"ht\ntps://exam\tple.com/a\r\nb.jpg", "https://example.com/ab.jpg"},
		{"https://example.com/%2e%2E/a/%2e/.%2e/b", "https://example.com/b"},
		{"https://example.com/a/b/..", "https://example.com/a/"},
		{"https://example.com/a/.", "https://example.com/a/"},
		{"https://example.com/%2e%2e%2e/%2f..", "https://example.com/%2e%2e%2e/%2f.."},

		// An ampersand, in all spellings that HTML has for it.
		{"https://example.com/?x&#038;y", "https://example.com/?x&y"},
		{"https://example.com/?x&#38;y&#0038;z#top", "https://example.com/?x&y&z"},
		{"https://example.com/?x&#x26;y&#X0026;z", "https://example.com/?x&y&z"},
		{"https://example.com/?x&AMP;y", "https://example.com/?x&y"},
		{"https://example.com/?x&amp;amp;#038;#x26;y", "https://example.com/?x&y"},
		{"https://example.com/?x&amp=1", "https://example.com/?x&amp=1"},
		{"https://example.com/?x&ampere;", "https://example.com/?x&ampere;"},
		{"https://example.com/?x&#380;y", "https://example.com/?x&"},
		{"https://example.com/?x&#xx26;y", "https://example.com/?x&"},
		{"https://example.com/?x&#26;y", "https://example.com/?x&"},

		{"local:///a/b.jpg", "local:///a/b.jpg"},
		{"local:///a/../b c.jpg#x", "local:///b%20c.jpg"},
		{"LOCAL:///", "local:///"},
	} {
		got, err := Parse(tt.raw)
		if err != nil || got != tt.want {
			t.Errorf("%q: got %q, %v; want %q", tt.raw, got, err, tt.want)
		}
	}
}

// A redirect leads where a browser would go.
func TestResolve(t *testing.T) {
	const base = URL("https://h.example/a/b?c")
	for _, tt := range []struct {
		location string
		want     URL // empty: refused
	}{
		{"d", "https://h.example/a/d"}, {"/d", "https://h.example/d"}, {"?d", "https://h.example/a/b?d"}, {"", base}, {"#d", base},
		{"../../../d", "https://h.example/d"}, {"..", "https://h.example/"}, {".", "https://h.example/a/"}, {"%2e%2e/d", "https://h.example/d"},
		{"//other.example/d", "https://other.example/d"}, {`\\other.example\d`, "https://other.example/d"}, {"///other.example?d", "https://other.example/?d"},
		{"http://other.example/d", "http://other.example/d"}, {"https:d", "https://h.example/a/d"}, {"https:/d", "https://d/"}, {"http:d", "http://d/"},
		{"/100%.jpg", "https://h.example/100%25.jpg"}, {"/d e?f g\xe4", "https://h.example/d%20e?f%20g%E4"}, {"d:e", ""}, {"./d:e", "https://h.example/a/d:e"},
		{"/?a&amp;b", "https://h.example/?a&amp;b"},    // no header has HTML's escapes
		{"local:///etc/passwd", "local:///etc/passwd"}, // which fetching refuses
		{"file:///etc/passwd", ""}, {"//u@other.example/", ""}, {"//127.1/", ""}, {"/\x00", ""}, {"//", ""},
	} {
		got, err := Resolve(base, tt.location)
		if got != tt.want || (tt.want == "") != errors.Is(err, ErrURL) {
			t.Errorf("%q: got %q, %v; want %q", tt.location, got, err, tt.want)
		}
	}
	if got, err := Resolve("local:///a", "b"); err == nil {
		t.Errorf("relative to a local file: %q", got)
	}
	longest := "/" + strings.Repeat("a", MaxRedirect-len("https://h.example/"))
	if got, err := Resolve(base, longest); err != nil || len(got) != MaxRedirect {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	if _, err := Resolve(base, longest+"a"); !errors.Is(err, ErrURL) {
		t.Errorf("a byte more: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, raw := range []string{
		"", "a.jpg", "/a.jpg", "//example.com/a.jpg", "example.com/a.jpg", "example.com:80/a.jpg",
		"ftp://example.com/a", "file:///etc/passwd", "data:image/png;base64,AAAA", "javascript:alert(1)", "gopher://example.com/",
		"https://", "https:", "https:///", "1http://example.com/a", ":", "://example.com/a",
		"https://user@example.com/a", "https://user:pass@example.com/a", "https://@example.com/a",
		"https://127.1/", "https://0x7f.1/", "https://2130706433/", "https://example.1/",
		"https://example.com:0/a", "https://example.com:65536/a", "https://example.com:x/a", "https://example.com:-1/a",
		"https://exa mple.com/a", "https://exa%2fmple.com/a", "https://.example.com/a", "https://a..b/c", "https://./a", "https://a../b", "http://\uff40a.example/",
		"http://[::1/a", "http://[fe80::1%25eth0]/a", "http://[1.2.3.4]/a", "http://[zz]/a",
		"https://example.com/\x00", "https://example.com/a\vb", "https://example.com/\x7f",
		"https://" + strings.Repeat("a", 254) + "/",
		"local://host/a", "local://a", "local:///a?b", "local:a",
		"https://example.com/" + strings.Repeat("a", MaxLength),
		"https://example.com/" + strings.Repeat("ä", 1000), // too long once encoded
	} {
		if got, err := Parse(raw); !errors.Is(err, ErrURL) {
			t.Errorf("%q: got %q, %v; want ErrURL", raw, got, err)
		}
	}
}

func TestParseLength(t *testing.T) {
	head := "https://example.com/"
	longest := head + strings.Repeat("a", MaxLength-len(head))
	if _, err := Parse(longest); err != nil {
		t.Errorf("%d bytes: %v", len(longest), err)
	}
	if _, err := Parse(longest + "a"); !errors.Is(err, ErrURL) {
		t.Errorf("%d bytes: %v", len(longest)+1, err)
	}
}

func TestHostAndPath(t *testing.T) {
	for url, want := range map[string][2]string{
		"https://example.com/a":           {"example.com", "/a"},
		"https://example.com:8443/a?b=/c": {"example.com", "/a"},
		"http://[2001:db8::1]:8080/a%2Fb": {"2001:db8::1", "/a%2Fb"},
		"http://192.0.2.1/":               {"192.0.2.1", "/"},
		"local:///a":                      {"", "/a"},
		"s3://attachments/a%20b":          {"attachments.s3", "/a%20b"},
	} {
		if got := [2]string{URL(url).Host(), URL(url).Path()}; got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

// Object URLs have one spelling each, which is what stands in a signed request.
func TestParseObject(t *testing.T) {
	longest := strings.Repeat("k", maxKey)
	for raw, want := range map[string]string{
		"s3://attachments/2026/11/a.png":   "s3://attachments/2026/11/a.png",
		"S3://attachments/a.png":           "s3://attachments/a.png",
		" s3://att\nachments/a.png\t":      "s3://attachments/a.png",
		"s3://my.files-2/a":                "s3://my.files-2/a",
		"s3://attachments/a b+c.png":       "s3://attachments/a%20b%2Bc.png",
		"s3://attachments/a%20b%2bc.png":   "s3://attachments/a%20b%2Bc.png",
		"s3://attachments/%61%2F%7Eb":      "s3://attachments/a/~b",
		"s3://attachments/ü.png":           "s3://attachments/%C3%BC.png",
		"s3://attachments/%c3%bc.png":      "s3://attachments/%C3%BC.png",
		"s3://attachments/u\u0308":         "s3://attachments/u%CC%88", // another key than ü
		"s3://attachments/a&amp;b":         "s3://attachments/a%26b",
		"s3://attachments/a%26amp;b":       "s3://attachments/a%26amp%3Bb",
		"s3://attachments/%3Fx%23y%25z%5C": "s3://attachments/%3Fx%23y%25z%5C",
		"s3://attachments/%2520":           "s3://attachments/%2520",
		"s3://attachments/A/..a/.b/c..":    "s3://attachments/A/..a/.b/c..",
		"s3://attachments/https://x":       "", // an empty part
		"s3://attachments/" + longest:      "s3://attachments/" + longest,

		"s3://attachments/" + longest + "k":                 "",
		"s3://attachments/" + strings.Repeat("ü", maxKey/2): "", // 3 times as long once encoded
		"s3://attachments/":                                 "", "s3://attachments": "", "s3:///a": "", "s3://": "", "s3:": "", "s3:attachments/a": "", "s3:/attachments/a": "", `s3:\\attachments\a`: "",
		"s3://attachments//a": "", "s3://attachments/a//b": "", "s3://attachments/a/": "", "s3://attachments/%2Fa": "",
		"s3://attachments/../a": "", "s3://attachments/a/..": "", "s3://attachments/./a": "", "s3://attachments/%2e%2E/other/a": "", "s3://attachments/a/%2e": "",
		"s3://attachments/a?versionId=1": "", "s3://attachments/a#b": "", `s3://attachments/a\b`: "",
		"s3://attachments/100%": "", "s3://attachments/%zz": "", "s3://attachments/%u00fc": "",
		"s3://attachments/%00": "", "s3://attachments/a%0Ab": "", "s3://attachments/%7F": "", "s3://attachments/%C2%85": "", "s3://attachments/a\x00b": "",
		"s3://attachments/%FF": "", "s3://attachments/\xff": "", "s3://attachments/%C3": "", "s3://attachments/%ED%A0%80": "", "s3://attachments/%C0%AE%C0%AE/a": "",
		"s3://Attachments/a": "", "s3://at_tachments/a": "", "s3://ab/a": "", "s3://-abc/a": "", "s3://abc-/a": "", "s3://a..b/a": "", "s3://.abc/a": "", "s3://192.0.2.1/a": "",
		"s3://u:p@attachments/a": "", "s3://attachments:80/a": "", "s3://attachm%65nts/a": "", "s3://ätt/a": "", "s3://" + strings.Repeat("b", 64) + "/a": "",
	} {
		got, err := Parse(raw)
		if got.String() != want || (want == "") != errors.Is(err, ErrURL) {
			t.Errorf("%q: got %q, %v; want %q", raw, got, err, want)
		}
		if again, err := Resolve("", want); want != "" && (err != nil || again != got) {
			t.Errorf("%q: once more %q, %v", want, again, err)
		}
	}
	for _, location := range []string{"b.png", "/b", "//h.example/b", "?x", "#x"} {
		if got, err := Resolve("s3://attachments/a", location); err == nil && location != "//h.example/b" {
			t.Errorf("relative to an object, %q is %q", location, got)
		}
	}
	if err := CheckBase("s3://attachments/a"); err == nil {
		t.Error("an object is what others can be relative to")
	}
}

// An object has the host of its bucket, which all lists of hosts can name.
func TestObjectHost(t *testing.T) {
	for url, want := range map[string][3]string{
		"s3://attachments/a%20b": {"attachments.s3", "attachments", "/a%20b"},
		"s3://my.files/a/b":      {"my.files.s3", "my.files", "/a/b"},
		"https://attachments/a":  {"attachments", "", ""},
	} {
		bucket, path := URL(url).Object()
		if got := [3]string{URL(url).Host(), bucket, path}; got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
		if host, _, err := ParseHost(want[0]); err != nil || host != want[0] {
			t.Errorf("%s: the host's one spelling is %q, %v", url, host, err)
		}
	}
	if !NewHosts([]string{"*.s3"}).Has("attachments.s3") || NewHosts([]string{"attachments"}).Has("attachments.s3") {
		t.Error("patterns of hosts do not name buckets by their hosts")
	}
	if Site("attachments.s3") == Site("avatars.s3") {
		t.Error("two buckets are one site")
	}
}

// slow is Parse without its short cut.
func slow(raw string) (URL, error) { return parse(unescapeAmpersands(raw), "", MaxLength) }

// The short cut takes what most links hold, and nothing that the long way would
// change or refuse.
func TestPlain(t *testing.T) {
	for _, url := range []string{
		"http://a/", "https://images.example.com/2026/11/a-picture.jpg?w=100&h=5", "https://my_cdn.example/a", "http://192.0.2.1/a",
		"http://example.com:8080/a", "https://example.com:80/a", "http://example.com:443/a", "http://a:65535/", "https://example.com/a?",
		"https://example.com/~a/b;c=(1),d!$'*+@:?q=/?", "https://a/b.c/.d/..e/f.", "https://a/x//y",
	} {
		if got, err := slow(url); !isPlain(url) || err != nil || got != URL(url) {
			t.Errorf("%q: plain %v; the long way %q, %v", url, isPlain(url), got, err)
		}
	}
	for _, url := range []string{
		"", "http://", "http:///a", "ftp://a/", "HTTP://a/", "http://a", "http://a?b", "http://A/", "http://a./", "http://.a/", "http://a..b/",
		"http://127.1/", "http://a.0x1/", "http://*.a/", "http://ä/", "http://[::1]/", "http://u@a/",
		"http://" + strings.Repeat("a", 64) + "/", "http://" + strings.Repeat("a.", 127) + "a/",
		"http://a:/", "http://a:80/", "https://a:443/", "http://a:0/", "http://a:08/", "http://a:65536/", "http://a:123456/", "http://a:x/",
		"http://a/b#c", "http://a/./b", "http://a/../b", "http://a/.", "http://a/b/..", "http://a/?b&amp;c", "http://a/?b&AMP;c",
		"http://a/b c", "http://a/%41", "http://a/\"", "http://a/<", "http://a/[", "http://a/ä", "http://a/\x00", "http://a/b\n",
	} {
		if isPlain(url) {
			t.Errorf("%q is taken as plain", url)
		}
	}
}

// FuzzResolve: where a redirect leads is absolute, and its own only spelling.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"../a?b#c", "//x/..", `\\x\y`, "https:a", "?", "%2e%2e", "http:/x", "a:b", "//[::1]:80/", "s3://abc/%2e/x"} {
		f.Add("https://h.example/a/b?c", s)
	}
	f.Fuzz(func(t *testing.T, base, location string) {
		from, err := Parse(base)
		if err != nil {
			return
		}
		to, err := Resolve(from, location)
		if err != nil {
			return
		}
		again, err := Resolve("", to.String())
		if err != nil || again != to {
			t.Fatalf("from %q, %q leads to %q, and that is %q, %v", from, location, to, again, err)
		}
		u, err := url.Parse(to.String())
		if to.IsObject() {
			if bucket, path := to.Object(); err != nil || u.Host != bucket || u.EscapedPath() != path || to.Host() != ObjectHost(bucket) {
				t.Fatalf("net/url reads %q as %v, %v", to, u, err)
			}
			return
		}
		if err != nil || u.Hostname() != to.Host() || u.EscapedPath() != to.Path() || u.String() != to.String() && !to.IsLocal() {
			t.Fatalf("net/url reads %q as %v, %v", to, u, err)
		}
	})
}

// A canonical URL is its own canonical spelling, or one image would be kept
// under two keys.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"https://Example.com:443/a b?c=ä&amp;amp;d#e", "http://[::FFFF:1.2.3.4]:80/", "local:///../x", "https://bücher.example./%zz",
		"https://a/%2e%2e/b", "http://０.example/", "https://example.com//..//x", "https://a?/#", "http://a-b.example:8080/c?d=/../e",
		"s3://attachments/a%20b+ü&amp;c", "S3://my.files/%2e%2E/x", "s3://abc/a#b?c", "s3://abc/%C2%85//", "s3://abc/%25%41",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		once, err := Parse(raw)
		if err != nil {
			return
		}
		twice, err := Parse(once.String())
		if err != nil || twice != once {
			t.Fatalf("%q: once %q, twice %q, %v", raw, once, twice, err)
		}
		if slow, err := slow(raw); err != nil || slow != once {
			t.Fatalf("%q: %q, and the long way %q, %v", raw, once, slow, err)
		}
		if bucket, path := once.Object(); once.IsObject() {
			key, err := url.PathUnescape(path[1:])
			if err != nil || CheckObjectBucket(bucket) != nil || checkKey(key) != nil || "/"+encodeKey(key) != path {
				t.Fatalf("%q: %q is not the spelling of a key", raw, once)
			}
		}
		for i := range len(once) {
			if once[i] <= ' ' || once[i] >= 0x7f {
				t.Fatalf("%q: %q holds %#02x", raw, once, once[i])
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("https://images.example.com/2026/11/18/a-picture.jpg?w=100"); err != nil {
			b.Fatal(err)
		}
	}
}
