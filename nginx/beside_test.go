package nginx_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"imgkeep/nginx"
	"imgkeep/nginx/nginxtest"
)

// stockSite is Debian's sites-available/default: that of this machine, or what
// matters of it. It takes all requests that no site names.
func stockSite(t *testing.T, addr string) string {
	t.Helper()
	text, err := os.ReadFile("/etc/nginx/sites-available/default")
	if err != nil || !strings.Contains(string(text), "listen 80 default_server;") {
		text = []byte("server {\nlisten 80 default_server;\nlisten [::]:80 default_server;\nroot /var/www/html;\nserver_name _;\nlocation / { try_files $uri $uri/ =404; }\n}\n")
	}
	stock := strings.Replace(string(text), "listen [::]:80 default_server;", "", 1)
	return strings.Replace(stock, "listen 80 default_server;", "listen "+addr+" default_server;", 1)
}

// beside puts what other returns for the address of the site into the same nginx,
// before the site.
func beside(t *testing.T, other func(addr string) string) func(conf string) string {
	return func(conf string) string {
		m := regexp.MustCompile(`listen (127\.0\.0\.1:[0-9]+);`).FindStringSubmatch(conf)
		if m == nil {
			t.Fatal("the site has no address")
		}
		return strings.Replace(conf, "\nhttp {\n", "\nhttp {\n"+other(m[1]), 1)
	}
}

// askHost is ask with a Host header.
func (w *world) askHost(t *testing.T, host, path string) answer {
	t.Helper()
	client := *w.client
	client.Transport = hostTransport{host, w.client.Transport}
	return ask(t, &client, http.MethodGet, w.URL+path, nil)
}

type hostTransport struct {
	host string
	next http.RoundTripper
}

func (h hostTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = h.host
	return h.next.RoundTrip(r)
}

// Debian's default site and another imgkeep stand beside the site, on one address:
// each request comes to the one that it names.
func TestBesideOthers(t *testing.T) {
	link := "/i/full/" + sigA + "/" + extURL
	fill := func(w *world, n int) {
		w.app.set("i", sigA, image{expires: time.Now().Add(time.Hour), files: map[string]string{
			"full": w.store(t, "i", "d.jpg", n), "250x250": w.store(t, "i", "d.250x250.jpg", n+1),
		}})
		w.heat(t, "i", "full", sigA)
	}
	second := newWorld(t, nginx.HotOptions{}, nil)
	fill(second, 200)
	limited := func(s *nginx.Site) { s.RateLimit, s.RateBurst = 1000, 1000; offering(s) }
	w := newWorld(t, nginx.HotOptions{}, func(s *nginx.Site, _ *app) {
		s.ServerName = []string{"img.example.net"}
		limited(s)
	}, beside(t, func(addr string) string {
		s := second.site
		s.Name, s.Listen, s.ServerName, s.AccessLog = "second", []string{addr}, []string{"[2001:db8::1]", "img2.example.net"}, ""
		limited(&s)
		return stockSite(t, addr) + render(t, s)
	}))
	fill(w, 100)
	w.app.take()
	second.app.take()
	for _, c := range []struct {
		host, path             string
		status, bytes          int
		first, second, foreign int // how often each was asked
	}{
		{"img.example.net", link, 200, 100, 0, 0, 0},
		{"img.example.net", strings.Replace(link, "full", "250x250", 1), 200, 101, 1, 0, 0},
		{"IMG.example.net:8080", link, 200, 100, 0, 0, 0},
		{"img2.example.net", link, 200, 200, 0, 0, 0},
		{"img2.example.net", strings.Replace(link, "full", "250x250", 1), 200, 201, 0, 1, 0},
		{"[2001:db8::1]", link, 200, 200, 0, 0, 0},
		{"img.example.net", "/x", 400, 0, 1, 0, 0},
		{"other.example.net", link, 404, 0, 0, 0, 1},
	} {
		a := w.askHost(t, c.host, c.path)
		stock := strings.Contains(string(a.Body), "<html>")
		if a.Status != c.status || c.bytes > 0 && len(a.Body) != c.bytes || stock != (c.foreign > 0) {
			t.Errorf("%s%s: %d %.60q, want %d", c.host, c.path, a.Status, a.Body, c.status)
		}
		if n, m := len(w.app.take()), len(second.app.take()); n != c.first || m != c.second {
			t.Errorf("%s%s: the imgkeeps were asked %d and %d times, want %d and %d", c.host, c.path, n, m, c.first, c.second)
		}
	}
}

// Without a name the site loses all requests to Debian's: this is what `imgkeep
// nginx` warns of.
func TestSiteWithoutName(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, nil, beside(t, func(addr string) string { return stockSite(t, addr) }))
	if a := w.askHost(t, "img.example.net", "/x"); a.Status != 404 || len(w.app.take()) > 0 {
		t.Errorf("%d %q", a.Status, a.Body)
	}
}

// HTTPS with the configured certificate, by HTTP/1.1 and by HTTP/2, and what the
// operator includes.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	own := dir + "/own.conf"
	if err := os.WriteFile(own, []byte("location = /.well-known/x { return 200 mine; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, http2 := range []string{"", "auto"} {
		w := newWorld(t, nginx.HotOptions{}, func(s *nginx.Site, _ *app) {
			s.ServerName, s.ListenTLS, s.Certificate, s.CertificateKey = []string{"img.example.net"}, []string{"443"}, cert, key
			s.Include = own
			if s.HTTP2 = http2; http2 != "" {
				if s.HTTP2 = "on"; !nginxtest.KnowsHTTP2(t) {
					s.HTTP2 = "listen"
				}
			}
		})
		w.app.set("i", sigA, image{expires: time.Now().Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
		w.heat(t, "i", "full", sigA)
		for major, forceHTTP2 := range map[int]bool{1: false, 2: true} {
			if forceHTTP2 && http2 == "" {
				major = 1
			}
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "img.example.net"}, ForceAttemptHTTP2: forceHTTP2}
			client := &http.Client{Transport: transport}
			for path, want := range map[string]string{"/i/full/" + sigA + "/" + extURL: "image/jpeg", "/.well-known/x": "text/plain; charset=utf-8"} {
				r, err := client.Get(fmt.Sprintf("https://%s%s", w.TLSAddr, path))
				if err != nil {
					t.Fatal(err)
				}
				r.Body.Close()
				if r.StatusCode != 200 || r.ProtoMajor != major || r.Header.Get("Content-Type") != want {
					t.Errorf("http2 %q, %s: %s %d %s, want HTTP/%d", http2, path, r.Proto, r.StatusCode, r.Header.Get("Content-Type"), major)
				}
			}
			transport.CloseIdleConnections()
		}
	}
}
