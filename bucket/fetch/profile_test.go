package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/fetch/place"
)

// TestProfiles imitates weserv#223, #258 and #319: origins that refuse by
// User-Agent and Referer. Each host on the way of one fetch is told what its own
// profile says, and nothing of another's.
func TestProfiles(t *testing.T) {
	picture := pngOf(t, 2, 2)
	var seen []string
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		host, port, _ := strings.Cut(r.Host, ":")
		seen = append(seen, fmt.Sprintf("%s %q %q", host, r.UserAgent(), r.Header.Values("Referer")))
		next := map[string]string{"picky.example": "plain.example", "plain.example": "a.other.example", "a.other.example": "picky.example"}[host]
		if r.URL.Path == "/end" {
			w.Write(picture)
			return
		}
		path := "/next"
		if host == "a.other.example" {
			path = "/end"
		}
		http.Redirect(w, r, "http://"+next+":"+port+path, http.StatusFound)
	})
	f := newFetcher(t, Options{
		MaxRedirects: 5, UserAgent: "usual",
		Resolver: resolves("picky.example", "127.0.0.1", "plain.example", "127.0.0.1", "a.other.example", "127.0.0.1"),
		Profiles: []Profile{
			{Hosts: []string{"picky.example"}, UserAgent: "special", Referer: "https://picky.example/page"},
			{Hosts: []string{"*.other.example"}, Referer: "https://other.example/"},
			{Hosts: []string{"picky.example"}, UserAgent: "never: the first one holds"},
		},
	}, origin.URL)
	if _, _, err := pull(t, f, fmt.Sprintf("http://picky.example:%d/start", portIn(t, origin.URL))); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`picky.example "special" ["https://picky.example/page"]`,
		`plain.example "usual" []`,
		`a.other.example "usual" ["https://other.example/"]`,
		`picky.example "special" ["https://picky.example/page"]`,
	}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", seen, want)
	}
}

// TestProfileProxy: each host goes its own way, and the way through a profile's
// proxy has the same guard.
func TestProfileProxy(t *testing.T) {
	origin := serveBytes(t, pngOf(t, 2, 2))
	port := portIn(t, origin.URL)
	usual, usualAsked := socksProxy(t, strings.TrimPrefix(origin.URL, "http://"), "", "")
	special, specialAsked := socksProxy(t, strings.TrimPrefix(origin.URL, "http://"), "", "")
	resolver := resolves("usual.example", "93.184.215.14", "special.example", "93.184.215.15", "direct.example", "127.0.0.1", "inside.example", "10.0.0.1")
	f := newFetcher(t, Options{
		Resolver: resolver, Proxy: "socks5://" + usual,
		Profiles: []Profile{
			{Hosts: []string{"special.example", "inside.example"}, Proxy: "socks5://" + special},
			{Hosts: []string{"direct.example"}, Proxy: NoProxy},
		},
	}, origin.URL)
	for _, tt := range []struct{ host, usual, special string }{
		{"usual.example", fmt.Sprintf("93.184.215.14:%d", port), ""},
		{"special.example", "", fmt.Sprintf("93.184.215.15:%d", port)},
		{"direct.example", "", ""},
	} {
		if _, _, err := pull(t, f, fmt.Sprintf("http://%s:%d/", tt.host, port)); err != nil {
			t.Errorf("%s: %v", tt.host, err)
		}
		if got := usualAsked.take(); !strings.Contains(got, tt.usual) || tt.usual == "" && got != "" {
			t.Errorf("%s: the usual proxy was asked for %q", tt.host, got)
		}
		if got := specialAsked.take(); !strings.Contains(got, tt.special) || tt.special == "" && got != "" {
			t.Errorf("%s: the profile's proxy was asked for %q", tt.host, got)
		}
	}
	_, _, err := pull(t, f, fmt.Sprintf("http://inside.example:%d/", port))
	wantClass(t, err, Refused, "10.0.0.1 is private use")
	if got := specialAsked.take(); got != "" {
		t.Errorf("the proxy was asked for %q", got)
	}
}

// TestProfilePerHost: a site with a limit of its own has so many places, also more
// than usual, and the others as many as ever.
func TestProfilePerHost(t *testing.T) {
	f := newFetcher(t, Options{Concurrency: 5, PerHost: 2, Profiles: []Profile{
		{Hosts: []string{"one.example"}, PerHost: 1}, {Hosts: []string{"four.example"}, PerHost: 4}, {Hosts: []string{"all.example"}, PerHost: 100},
	}})
	for host, want := range map[string]int{"one.example": 1, "four.example": 4, "all.example": 5, "usual.example": 0} {
		if got := f.profileOf(host).perHost; got != want {
			t.Errorf("%s has %d places, want %d", host, got, want)
		}
	}
	places := map[string]int{"one.example": 1, "four.example": 4, "usual.example": 2}
	for host, want := range places {
		l := place.New(5, 2, 0)
		for n := 1; ; n++ {
			err := l.None().Enter(t.Context(), place.Claim{Site: host, PerSite: f.profileOf(host).perHost}, time.Hour)
			if errors.Is(err, place.ErrBusy) {
				if n != want+1 {
					t.Errorf("%s: number %d has no place, want %d places", host, n, want)
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestProfilesRefused(t *testing.T) {
	hosts := []string{"h.example"}
	for _, tt := range []struct {
		profile Profile
		text    string
	}{
		{Profile{UserAgent: "a"}, "hosts: at least one"},
		{Profile{Hosts: []string{"*"}}, "hosts"},
		{Profile{Hosts: hosts, UserAgent: "a\r\nX: y"}, "user_agent"},
		{Profile{Hosts: hosts, Referer: "https://h.example/\r\nX: y"}, "referer"},
		{Profile{Hosts: hosts, Referer: "h.example"}, "referer"},
		{Profile{Hosts: hosts, Referer: "https://u:" + secret + "@h.example/"}, "referer"},
		{Profile{Hosts: hosts, Referer: "https://h.example/ü"}, "referer"},
		{Profile{Hosts: hosts, Proxy: "ftp://p.example"}, "proxy"},
		{Profile{Hosts: hosts, PerHost: -1}, "per_host"},
		{Profile{Hosts: hosts, TLSMin: "1.4"}, "tls_min"},
		{Profile{Hosts: hosts, TLSMin: "ssl3"}, "tls_min"},
		{Profile{Hosts: hosts, Headers: []string{"X-A: 1", "Cookie=" + secret}}, "headers"},
		{Profile{Hosts: hosts, Headers: []string{": " + secret}}, "headers"},
		{Profile{Hosts: hosts, Headers: []string{"X-A:"}}, "headers"},
		{Profile{Hosts: hosts, Headers: []string{"X A: b"}}, "headers"},
		{Profile{Hosts: hosts, Headers: []string{"X-A: b\r\nX-B: c"}}, "headers"},
		{Profile{Hosts: hosts, Headers: []string{"host: b.example"}}, "headers: Host"},
		{Profile{Hosts: hosts, Headers: []string{"If-None-Match: a"}}, "headers: If-None-Match"},
		{Profile{Hosts: hosts, Headers: []string{"referer: https://a.example/"}}, "headers: Referer"},
	} {
		_, err := New(Options{Profiles: []Profile{{Hosts: hosts}, tt.profile}})
		if err == nil || !strings.Contains(err.Error(), "profiles[1]: "+tt.text) || strings.Contains(err.Error(), secret) {
			t.Errorf("%+v: %v, want %q", tt.profile, err, tt.text)
		}
	}
}
