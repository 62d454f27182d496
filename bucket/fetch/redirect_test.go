package fetch

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"imgkeep/bucket/imageurl"
)

// chain is an origin at which /3 leads to /2, /1, and then to the picture.
func chain(picture []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil || n <= 0 {
			w.Write(picture)
			return
		}
		status := []int{301, 302, 303, 307, 308}[n%5]
		w.Header().Set("Location", fmt.Sprintf("/%d", n-1))
		w.WriteHeader(status)
	}
}

func TestRedirects(t *testing.T) {
	origin := serve(t, chain(pngOf(t, 2, 2)))
	for _, limit := range []int{0, 1, 3, 7} {
		f := newFetcher(t, Options{MaxRedirects: limit}, origin.URL)
		_, res, err := pull(t, f, fmt.Sprintf("%s/%d", origin.URL, limit))
		if err != nil || res.FinalURL != origin.URL+"/0" {
			t.Errorf("%d of %d redirects: %v, %q", limit, limit, err, res.FinalURL)
		}
		_, _, err = pull(t, f, fmt.Sprintf("%s/%d", origin.URL, limit+1))
		wantClass(t, err, Failed, fmt.Sprintf("more than %d redirects", limit))
	}
}

func TestRedirectLoops(t *testing.T) {
	hits := 0
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		hits++
		to := map[string]string{"/self": "/self#other", "/a": "/b", "/b": "/a"}[r.URL.Path]
		if to == "" {
			to = fmt.Sprintf("/endless/%d", hits)
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	})
	f := newFetcher(t, Options{MaxRedirects: 100}, origin.URL)
	for _, tt := range []struct {
		path string
		hits int
		text string
	}{{"/self", 1, "loop"}, {"/a", 2, "loop"}, {"/endless", 101, "more than 100 redirects"}} {
		hits = 0
		_, _, err := pull(t, f, origin.URL+tt.path)
		wantClass(t, err, Failed, tt.text)
		if hits != tt.hits {
			t.Errorf("%s: %d requests, want %d", tt.path, hits, tt.hits)
		}
	}
}

// TestRedirectKeepsTheRules: what would be refused as the first URL is refused as a
// redirect, and the error says whose redirect it was.
func TestRedirectKeepsTheRules(t *testing.T) {
	picture := pngOf(t, 2, 2)
	var location string
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ok" {
			w.Write(picture)
			return
		}
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
	})
	port := portIn(t, origin.URL)
	resolver := resolves("start.example", "127.0.0.1", "i.start.example", "127.0.0.1", "denied.start.example", "127.0.0.1", "evilstart.example", "127.0.0.1")
	f := newFetcher(t, Options{MaxRedirects: 3, Resolver: resolver, DenyHosts: []string{"denied.start.example"}, LocalRoot: t.TempDir()}, origin.URL)
	for _, tt := range []struct {
		location string
		want     ErrorKind
	}{
		{"/ok", ""},
		{"//i.start.example:PORT/ok", ""},
		{"http://I.Start.Example.:PORT/ok", ""},
		{"//denied.start.example:PORT/ok", Denied},
		{"//evilstart.example:PORT/ok", Refused},
		{"//start.example.evil.example:PORT/ok", Refused},
		{"//127.0.0.1:PORT/ok", Refused}, // not on the list of hosts
		{"//i.start.example:22/ok", Refused},
		{"//i.start.example/ok", Refused},
		{"//user@i.start.example:PORT/ok", Refused},
		{"//evil.example\\@i.start.example:PORT/ok", Refused},
		{"ftp://i.start.example:PORT/ok", Refused},
		{"file:///etc/passwd", Refused},
		{"local:///a.png", Refused},
		{"data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=", Refused},
		{"javascript:alert(1)", Refused},
		{"http://i.start.example:PORT/" + strings.Repeat("a", imageurl.MaxRedirect), Refused},
	} {
		location = strings.ReplaceAll(tt.location, "PORT", fmt.Sprint(port))
		r := Request{URL: fmt.Sprintf("http://start.example:%d/%s", port, secret), Hosts: []string{"start.example", "*.start.example"}}
		_, _, err := pullRequest(t, f, r)
		if tt.want == "" {
			if err != nil {
				t.Errorf("redirect to %s: %v", location, err)
			}
			continue
		}
		wantClass(t, err, tt.want, "redirected from start.example")
	}
}

// TestRedirectDownToHTTP: decided, see the package's doc.
func TestRedirectDownToHTTP(t *testing.T) {
	plain := serveBytes(t, pngOf(t, 2, 2))
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/a.png", http.StatusFound))
	defer secure.Close()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	f := newFetcher(t, Options{MaxRedirects: 1, RootCAs: roots}, plain.URL, secure.URL)
	_, res, err := pull(t, f, secure.URL)
	if err != nil || res.FinalURL != plain.URL+"/a.png" {
		t.Errorf("%v, %q", err, res.FinalURL)
	}
}

// TestStatusIsTheLastHosts: an error after a redirect names who gave it.
func TestStatusIsTheLastHosts(t *testing.T) {
	var port int
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "a.example") {
			http.Redirect(w, r, fmt.Sprintf("http://b.example:%d/", port), http.StatusFound)
			return
		}
		w.WriteHeader(http.StatusGone)
	})
	port = portIn(t, origin.URL)
	f := newFetcher(t, Options{MaxRedirects: 1, Resolver: resolves("a.example", "127.0.0.1", "b.example", "127.0.0.1")}, origin.URL)
	_, _, err := pull(t, f, fmt.Sprintf("http://a.example:%d/", port))
	if e := wantClass(t, err, Gone); e.Host != "b.example" || e.Status != 410 {
		t.Errorf("%+v", e)
	}
}
