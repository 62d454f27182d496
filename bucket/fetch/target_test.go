package fetch

import (
	"net/url"
	"strings"
	"testing"

	"imgkeep/bucket/imageurl"
)

func allow(patterns []string) *imageurl.Hosts {
	if len(patterns) == 0 {
		return nil
	}
	return imageurl.NewHosts(patterns)
}

func TestTarget(t *testing.T) {
	f := newFetcher(t, Options{Ports: []int{80, 443, 8080}, DenyHosts: []string{"denied.example", "*.denied.example", "192.0.2.7"}})
	long := "http://h.example/" + strings.Repeat("a", imageurl.MaxRedirect-len("http://h.example/"))
	for _, tt := range []struct {
		raw, hosts, want string // want: the URL, or a class
	}{
		{"http://h.example", "", "http://h.example/"},
		{"HTTPS://H.Example.:443/A%2fb?Q#frag", "", "https://h.example/A%2fb?Q"},
		{"http://h.example:8080/a?", "", "http://h.example:8080/a?"},
		{"http://h.example:/a", "", "http://h.example/a"},
		{"http://h.example:443/a", "", "http://h.example:443/a"},
		{"https://h.example:80/a", "", "https://h.example:80/a"},
		{"http://bücher.example/ü?ü", "", "http://xn--bcher-kva.example/%C3%BC?%C3%BC"},
		{"http://h.example/a b?c d", "", "http://h.example/a%20b?c%20d"},
		{"http://h.example/%0d%0aX:%20y?%0d%0a", "", "http://h.example/%0d%0aX:%20y?%0d%0a"}, // stays escaped
		{"http://[2001:DB8::1]:8080/", "", "http://[2001:db8::1]:8080/"},
		{"http://[::ffff:192.0.2.1]/", "", "http://192.0.2.1/"},
		{"http:h.example/a", "", "http://h.example/a"}, {" http:///h.example\t/a", "", "http://h.example/a"}, // as browsers do
		{`http://h.example\@evil.example/`, "h.example", "http://h.example/@evil.example/"}, {"http://h.ex\r\nample/X: y", "", "http://h.example/X:%20y"},
		{"http://%31%32%37.0.0.1/", "", "http://127.0.0.1/"}, // which dialing refuses
		{"http://i.example.com/a", "*.example.com", "http://i.example.com/a"},
		{"http://i.example.com./a", "b.example *.example.com", "http://i.example.com/a"},
		{long, "", long},

		{long + "a", "", "refused"},
		{"ftp://h.example/", "", "refused"}, {"file:///etc/passwd", "", "refused"}, {"gopher://h.example:80/_", "", "refused"}, {"dict://h.example:80/", "", "refused"},
		{"data:image/png;base64,AAAA", "", "refused"}, {"javascript:alert(1)", "", "refused"}, {"jar:http://h.example!/", "", "refused"},
		{"//h.example/a", "", "refused"}, {"/a", "", "refused"}, {"a", "", "refused"}, {"", "", "refused"},
		{"http://", "", "refused"}, {"http://:80/", "", "refused"},
		{"http://user@h.example/", "", "refused"}, {"http://user:pw@h.example/", "", "refused"}, {"http://@h.example/", "", "refused"},
		{"http://trusted.example@evil.example/", "", "refused"}, {"http://trusted.example:80@evil.example/", "", "refused"},
		{"http://trusted.example%40evil.example/", "", "refused"}, {"http://a@b@h.example/", "", "refused"},
		{"http://h.example/\x00", "", "refused"}, {"http://h.example/\vX", "", "refused"},
		{"http://h.example:22/", "", "refused"}, {"http://h.example:0/", "", "refused"}, {"http://h.example:65536/", "", "refused"}, {"http://h.example:65616/", "", "refused"},
		{"http://h.example:4294967376/", "", "refused"}, {"http://h.example:-80/", "", "refused"}, {"http://h.example:+80/", "", "refused"}, {"http://h.example:8o/", "", "refused"}, {"http://h.example:80:80/", "", "refused"},
		{"http://127.1/", "", "refused"}, {"http://2130706433/", "", "refused"}, {"http://0x7f.1/", "", "refused"}, {"http://0177.0.0.1/", "", "refused"},
		{"http://[fe80::1%25eth0]/", "", "refused"}, {"http://[::1/", "", "refused"}, {"http://::1/", "", "refused"}, {"http://%ff.example/", "", "refused"},
		{"http://evilexample.com/", "*.example.com example.com", "refused"}, {"http://example.com/", "*.example.com", "refused"},
		{"http://i.example.com/", "example.com", "refused"}, {"http://h.example/", "*", "refused"},

		{"http://denied.example/", "", "denied"}, {"http://DENIED.example./", "", "denied"}, {"http://a.b.denied.example/", "", "denied"},
		{"http://denied.example/", "denied.example", "denied"}, // over any allow-list
		{"http://[::ffff:192.0.2.7]/", "", "denied"}, {"http://ｄｅｎｉｅｄ。example/", "", "denied"},
		{"http://notdenied.example/", "", "http://notdenied.example/"},
	} {
		got, err := f.target("", tt.raw, allow(strings.Fields(tt.hosts)))
		if tt.want == "refused" || tt.want == "denied" {
			if err == nil {
				t.Errorf("%q with hosts %q is taken for %v", tt.raw, tt.hosts, got.url)
				continue
			}
			wantClass(t, err, ErrorKind(tt.want))
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: error of several lines: %q", tt.raw, err)
			}
			continue
		}
		if err != nil || got.url.String() != tt.want {
			t.Errorf("%q with hosts %q is %v, %v, want %s", tt.raw, tt.hosts, got.url, err, tt.want)
		}
	}
}

func TestTargetOfRedirect(t *testing.T) {
	f := newFetcher(t, Options{})
	const base = imageurl.URL("https://h.example/a/b?c")
	for _, tt := range []struct{ location, want string }{
		{"d", "https://h.example/a/d"}, {"/d", "https://h.example/d"}, {"?d", "https://h.example/a/b?d"}, {"../../../d", "https://h.example/d"},
		{"//other.example/d", "https://other.example/d"}, {"http://other.example/d", "http://other.example/d"}, {"#d", "https://h.example/a/b?c"},
		{"/d e?f g\xe4", "https://h.example/d%20e?f%20g%E4"},
		{"file:///etc/passwd", ""}, {"local:///a.png", ""}, {"https://u@other.example/", ""}, {"//other.example:22/", ""}, {"//127.1/", ""}, {"\\\\other.example/", "https://other.example/"},
		{"https:d", "https://h.example/a/d"}, {"/100%.jpg", "https://h.example/100%25.jpg"}, {"://", "https://h.example/a/://"}, {"http://h.example/" + strings.Repeat("a", imageurl.MaxRedirect), ""},
	} {
		got, err := f.target(base, tt.location, nil)
		if tt.want == "" {
			wantClass(t, err, Refused)
		} else if err != nil || got.url.String() != tt.want {
			t.Errorf("redirect to %q leads to %v, %v, want %s", tt.location, got.url, err, tt.want)
		}
	}
}

// FuzzTarget: whatever is accepted keeps every rule when it is read once more, and
// is sent as one request line.
func FuzzTarget(f *testing.F) {
	fetcher := newFetcher(f, Options{DenyHosts: []string{"*.denied.example"}})
	hosts := []string{"*.example", "192.0.2.1"}
	for _, s := range []string{"http://h.example/a?b#c", "https://a.denied.example/", "http://192.0.2.1:80/", "//x.example", "?a b", "http://u@h.example", "\\\\h.example", "http://h.example:443/\xff"} {
		f.Add(s)
	}
	const base = imageurl.URL("http://base.example/x/y")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := fetcher.target(base, raw, allow(hosts))
		if err != nil {
			return
		}
		text := got.url.String()
		again, err := fetcher.target("", text, allow(hosts))
		if len(text) <= imageurl.MaxRedirect && (err != nil || again.url.String() != text) {
			t.Fatalf("%q is accepted as %q, and that as %v, %v", raw, text, again.url, err)
		}
		if !imageurl.NewHosts(hosts).Match(got.url.Hostname()) || imageurl.NewHosts(fetcher.o.DenyHosts).Match(got.url.Hostname()) {
			t.Fatalf("%q leads to %q", raw, got.url.Hostname())
		}
		if p := got.url.Port(); got.url.User != nil || p != "" && p != "80" && p != "443" {
			t.Fatalf("%q leads to %q", raw, text)
		}
		for _, c := range []byte(got.url.RequestURI() + got.url.Host) {
			if c <= ' ' || c >= 0x7f {
				t.Fatalf("%q is sent as %q to %q", raw, got.url.RequestURI(), got.url.Host)
			}
		}
	})
}

// FuzzFallback: whatever is accepted leads to its own host and no other, whatever
// URL is looked for.
func FuzzFallback(f *testing.F) {
	for _, s := range []string{"https://web.archive.org/web/0im_/{url}", "http://m.example:8080/?u={url}&x", "https://[2001:db8::1]/{url}", "https://a.example{url}", "https://{url}/", "https://a.example/\\{url}", "https://A.Example./{url}"} {
		f.Add(s, "https://example.com/a.png?b=1&c=2")
	}
	f.Add("https://a.example/{url}", "@b.example/")
	fetcher := newFetcher(f, Options{Ports: []int{80, 443, 8080}})
	f.Fuzz(func(t *testing.T, template, image string) {
		fallback, err := imageurl.ParseFallback(template)
		if err != nil {
			return
		}
		u, err := url.Parse(image)
		if err != nil || !strings.HasPrefix(image, "http://") && !strings.HasPrefix(image, "https://") || u.String() != image {
			return // not canonical
		}
		to, err := fetcher.target("", fallback.Around(image), imageurl.NewHosts([]string{fallback.Host()}))
		if err == nil && !imageurl.NewHosts([]string{fallback.Host()}).Match(to.host) {
			t.Fatalf("%q around %q leads to %s", template, image, to.host)
		}
		if err != nil && strings.Contains(err.Error(), "list of hosts") {
			t.Fatalf("%q around %q: %v", template, image, err)
		}
	})
}
