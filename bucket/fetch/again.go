package fetch

import (
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"

	"imgkeep/bucket/imageurl"
)

// cookies are those that the origins of one fetch have set. They end with it. One
// fetch makes them and sends them, each request after the other.
type cookies struct{ jar *cookiejar.Jar }

func newCookies() *cookies {
	jar, err := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	if err != nil {
		panic(err) // it never is
	}
	return &cookies{jar}
}

// maxCookies bounds what is sent of them, in bytes: servers refuse more.
const maxCookies = 8 << 10

// header is the Cookie field of a request; empty: none.
func (c *cookies) header(u *url.URL) string {
	req := http.Request{Header: http.Header{}}
	for _, cookie := range c.jar.Cookies(u) {
		req.AddCookie(cookie)
	}
	if h := req.Header.Get("Cookie"); len(h) <= maxCookies {
		return h
	}
	return ""
}

func (c *cookies) take(resp *http.Response, u *url.URL) { c.jar.SetCookies(u, resp.Cookies()) }

// secure returns the https target of an http one that could not be connected to:
// many a server has closed its port 80.
func (f *Fetcher) secure(to target, err error, hosts *imageurl.Hosts) (target, bool) {
	var e *Error
	if !errors.As(err, &e) || !e.unconnected || e.Class != Failed && e.Class != Timeout || to.url.Scheme != "http" || portOf(to.url) != 80 {
		return target{}, false
	}
	https, err := f.target("", "https"+strings.TrimPrefix(to.image.String(), "http"), hosts)
	return https, err == nil
}

// unanswered tells whether an error came before any answer.
func unanswered(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == 0 && (e.Class == Failed || e.Class == Timeout || e.Class == Refused)
}
