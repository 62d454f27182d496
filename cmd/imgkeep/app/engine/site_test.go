package engine

import (
	"slices"
	"strings"
	"testing"

	"imgkeep/cmd/imgkeep/app/config"
)

// The name of the site is the host of base_url, as browsers send it.
func TestServerNames(t *testing.T) {
	for base, want := range map[string]string{
		"":                            "_",
		"https://img.example.com":     "img.example.com",
		"http://img.example.com:8080": "img.example.com",
		"https://IMG.Bücher.example":  "img.xn--bcher-kva.example",
		"http://192.0.2.1:8080":       "192.0.2.1",
		"http://[2001:DB8::1]:8080":   "[2001:db8::1]",
		"https://a_b.example":         "a_b.example",
	} {
		c := config.Default()
		c.BaseURL = base
		site, err := NewSite(c)
		if err != nil || !slices.Equal(site.ServerName, []string{want}) {
			t.Errorf("%q: %q, %v; want %q", base, site.ServerName, err, want)
		}
	}
	c := config.Default()
	c.BaseURL, c.Nginx.ServerName = "https://img.example.com", []string{"a.example", "b.example"}
	if site, err := NewSite(c); err != nil || !slices.Equal(site.ServerName, c.Nginx.ServerName) {
		t.Errorf("%q, %v", site.ServerName, err)
	}
}

// HTTPS is there with a certificate only, and HTTP/2 as asked for.
func TestSiteTLS(t *testing.T) {
	c := config.Default()
	if site, err := NewSite(c); err != nil || len(site.ListenTLS) > 0 {
		t.Errorf("without a certificate: %q, %v", site.ListenTLS, err)
	}
	c.Nginx.Certificate, c.Nginx.CertificateKey = "/c", "/k"
	for setting, want := range map[string]string{"on": "on", "listen": "listen", "off": "", "auto": "on listen"} {
		c.Nginx.HTTP2 = setting
		site, err := NewSite(c)
		if err != nil || !slices.Equal(site.ListenTLS, c.Nginx.ListenTLS) || site.Certificate != "/c" || site.CertificateKey != "/k" || !strings.Contains(want, site.HTTP2) {
			t.Errorf("http2 %s: %+v, %v", setting, site, err)
		}
	}
	for version, want := range map[string]bool{
		"nginx version: nginx/1.22.1\n": false, "nginx version: nginx/1.25.0\n": false, "nginx version: nginx/1.25.1 (Debian)": true,
		"nginx version: nginx/1.26.3\n": true, "nginx version: nginx/2.0.0": true, "": false, "openresty": false,
	} {
		if got := knowsHTTP2(version); got != want {
			t.Errorf("%q: %v, want %v", version, got, want)
		}
	}
}
