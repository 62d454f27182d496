package server_test

import (
	"net/http"
	"testing"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/nginx"
)

// What is blocked is answered with 451, in every size and through /proxy, at once;
// what was purged is fetched anew.
func TestRemoved(t *testing.T) {
	s := newSite(t, nil)
	cat, same := toPNG(t, 30, 30), s.origin.put("same", toPNG(t, 30, 30))
	url := s.origin.put("cat", cat)
	s.decoder.answer = results(result(t, toPNG(t, 10, 10)))
	paths := []string{s.link("full", url), s.link("10x10", url), s.link("info", url), s.proxyLink("full", url)}
	for _, path := range paths {
		if w := s.get(path); w.Code != http.StatusOK {
			t.Fatalf("%s: status %d", path, w.Code)
		}
	}
	if _, err := s.store.Purge(t.Context(), bucket.Target{URL: url}, bucket.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if w := s.get(paths[0]); w.Code != http.StatusOK || s.origin.fetches[url] != 2 {
		t.Errorf("after a purge: status %d, %d fetches", w.Code, s.origin.fetches[url])
	}
	if _, err := s.store.Block(t.Context(), bucket.Target{URL: url}, bucket.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, s.link("full", same), s.link("full", same), s.proxyLink("full", same)) {
		checkError(t, path, s.get(path), 451, "removed")
	}
	if s.origin.fetches[url] != 2 || s.origin.fetches[same] != 1 {
		t.Errorf("fetches: %v", s.origin.fetches)
	}
}

// A hot link is not made of an image that has been removed meanwhile, nor by a server
// that another has replaced.
func TestHotLinkOfRemoved(t *testing.T) {
	behind := http.Header{nginx.HeaderHandoff: {nginx.HandoffNginx}}
	current := false
	for name, tt := range map[string]struct {
		meanwhile func(*site) error
		links     int
	}{
		"nothing happens": {func(*site) error { return nil }, 1},
		"its host is blocked": {func(s *site) error {
			_, err := s.store.Block(t.Context(), bucket.Target{Host: "origin.example"}, bucket.RemoveOptions{})
			return err
		}, 0},
		"another is removed": {func(s *site) error { // which of them is not looked at here: the next view makes it
			_, err := s.store.Block(t.Context(), bucket.Target{Host: "other.example"}, bucket.RemoveOptions{})
			return err
		}, 0},
		"the server is replaced": {func(*site) error { current = false; return nil }, 0},
	} {
		current = true
		s := newSite(t, func(_ *bucket.Options, o *server.Options) {
			o.Handoff, o.Current = true, func() bool { return current }
		})
		path := s.link("full", s.origin.put("cat", toPNG(t, 30, 30)))
		s.hot.asked = func() {
			if err := tt.meanwhile(s); err != nil {
				t.Error(err)
			}
		}
		s.ask("GET", path, behind)
		if got := s.hot.take(); len(got) != tt.links {
			t.Errorf("%s: links %q, want %d", name, got, tt.links)
		}
	}
}
