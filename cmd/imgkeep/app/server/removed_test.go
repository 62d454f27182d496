package server_test

import (
	"net/http"
	"slices"
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

// A hot link that is made while its image is removed does not stay.
func TestHotLinkOfRemoved(t *testing.T) {
	s := newSite(t, func(_ *bucket.Options, o *server.Options) { o.Handoff = true })
	url := s.origin.put("cat", toPNG(t, 30, 30))
	behind := http.Header{nginx.HeaderHandoff: {nginx.HandoffNginx}}
	path := s.link("full", url)
	s.ask("GET", path, behind)
	if s.hot.removed != nil {
		t.Errorf("removed %q for nothing", s.hot.removed)
	}
	current := false
	replaced := newSite(t, func(_ *bucket.Options, o *server.Options) {
		o.Handoff, o.Current = true, func() bool { return current }
	})
	replaced.origin.put("cat", toPNG(t, 30, 30))
	replaced.ask("GET", path, behind)
	current = true
	replaced.ask("GET", path, behind)
	if len(replaced.hot.removed) != 1 {
		t.Errorf("a server that was replaced has taken back %q", replaced.hot.removed)
	}
	s.hot.added = func() {
		if _, err := s.store.Block(t.Context(), bucket.Target{Host: "origin.example"}, bucket.RemoveOptions{}); err != nil {
			t.Error(err)
		}
	}
	s.ask("GET", path, behind)
	if want := []string{"i " + path[len("/i/full/"):][:16]}; !slices.Equal(s.hot.removed, want) {
		t.Errorf("removed %q, want %q", s.hot.removed, want)
	}
}
