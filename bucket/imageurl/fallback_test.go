package imageurl

import "testing"

func TestFallback(t *testing.T) {
	for _, s := range []string{"https://archive.example/web/0im_/{url}", "http://mirror.example/?v=1&u={url}&x", "https://web.archive.org/web/0im_/{url}", "http://h.example:8080/{url}"} {
		if _, err := ParseFallback(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{
		"", "{url}", "https://archive.example/", "https://{url}/", "https://{url}.example/", "https://archive.example{url}", "https://a.example/{url}/{url}",
		"https://a.example/{host}/{url}", "ftp://a.example/{url}", "//a.example/{url}", "https:///{url}", "https://u:p@a.example/{url}", "https://a.example/#{url}",
		"https://a.example/ {url}", "https://a.example/{url}\n", "https://a.example/ü/{url}", "https://*.example/{url}", "https://127.1/{url}", "local:///{url}",
	} {
		if _, err := ParseFallback(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestFallbackAround(t *testing.T) {
	const url = "https://example.com/a%20b.png?b=1&c=2"
	for template, want := range map[string]string{
		"https://archive.example/web/0im_/{url}": "https://archive.example/web/0im_/https://example.com/a%20b.png?b=1&c=2",
		"http://mirror.example/?u={url}&x":       "http://mirror.example/?u=https%3A%2F%2Fexample.com%2Fa%2520b.png%3Fb%3D1%26c%3D2&x",
	} {
		f, err := ParseFallback(template)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Around(url); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
