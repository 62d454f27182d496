package outbound

import (
	"net/http"
	"strings"
	"testing"
)

// How proxies are asked is tried by package fetch, with proxies of each kind.
func TestParse(t *testing.T) {
	const secret = "s3cr3t"
	for url, want := range map[string]struct {
		addr  string
		plain bool // it takes plain http URLs
	}{
		"http://p.example": {"p.example:80", true}, "https://u:p@p.example/": {"p.example:443", true}, "http://[::1]:3128": {"[::1]:3128", true},
		"socks5://p.example": {"p.example:1080", false}, "socks5://127.0.0.1:9050": {"127.0.0.1:9050", false},
	} {
		p, err := Parse(url, nil)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if plain := p.Plain(&http.Transport{}) != nil; p.addr != want.addr || plain != want.plain {
			t.Errorf("%s: at %s, plain %v; want %+v", url, p.addr, plain, want)
		}
	}
	for _, url := range []string{
		"ftp://p.example", "p.example:1080", "socks5h://p.example", "socks5://", "http://p.example/path", "http://p.example?q", "http://u:" + secret + "@p example/",
	} {
		if _, err := Parse(url, nil); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if p, err := Parse("", nil); p != nil || err != nil {
		t.Errorf("no proxy: %v, %v", p, err)
	}
}
