package main_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// Nothing of a viewer's request reaches an origin but the image's URL: not on the
// first request, not on a redirect, not through /proxy. (That nothing of the
// origin reaches a viewer is checked on every answer of these tests.)
func TestViewerIsPrivate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image := photo(t, 30, 30)
	url := w.origin.redirect("/pictures/moved", w.origin.serve("/pictures/cat", image)+"?page=1")
	s := w.start()
	for _, path := range []string{link("i", "full", url), proxyLink("i", "full", url+"?2")} {
		a := s.ask(http.MethodGet, path+"?"+viewer, http.Header{
			"Range": {"bytes=0-9"}, "If-Modified-Since": {"Mon, 02 Jan 2006 15:04:05 GMT"},
			"If-None-Match": {`"` + viewer + `"`}, "Accept": {viewer}, "Accept-Encoding": {viewer},
			"Host": {viewer}, "Cache-Control": {viewer}, "Dnt": {"1"}, "Upgrade": {viewer},
		})
		if a.status != http.StatusPartialContent || string(a.body) != string(image[:10]) {
			t.Errorf("%s: status %d, %d bytes", a.about, a.status, len(a.body))
		}
	}
	want := map[string]string{
		"User-Agent":      "Mozilla/5.0 (compatible; imgkeep)",
		"Accept":          "image/jpeg,image/png,image/gif,*/*;q=0.1",
		"Accept-Encoding": "identity",
	}
	for _, path := range []string{"/pictures/moved", "/pictures/cat"} {
		requests := w.origin.asked(path)
		if len(requests) != 2 {
			t.Errorf("%s was asked for %d times, want 2", path, len(requests))
		}
		for _, r := range requests {
			if r.Method != http.MethodGet || r.Host != strings.TrimPrefix(w.origin.URL, "http://") || strings.Contains(r.RequestURI, viewer) {
				t.Errorf("%s: %s %s from %s", path, r.Method, r.RequestURI, r.Host)
			}
			// The server's own mark, of random bytes, against loops.
			if mark := r.Header["Cdn-Loop"]; len(mark) != 1 || !regexp.MustCompile(`^[\w-]{27}$`).MatchString(mark[0]) {
				t.Errorf("%s: the origin was sent CDN-Loop: %q", path, mark)
			}
			r.Header.Del("Cdn-Loop")
			// What the origin itself has set with its redirect.
			if cookie := r.Header.Get("Cookie"); (cookie != "") != (path == "/pictures/cat") || strings.Contains(cookie, viewer) {
				t.Errorf("%s: the origin was sent Cookie: %q", path, cookie)
			}
			r.Header.Del("Cookie")
			for name, values := range r.Header {
				if len(values) != 1 || values[0] != want[name] {
					t.Errorf("%s: the origin was sent %s: %q", path, name, values)
				}
			}
			if len(r.Header) != len(want) {
				t.Errorf("%s: the origin was sent %v", path, r.Header)
			}
		}
	}
	s.stop()
}
