package main_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"imgkeep/scripts/ports"
)

// A link that leads to the server by a name that it does not know as its own, and
// from there to another such link: one request would become as many as links fit
// into one another, or as a member has made lead to each other by redirects. The
// server knows its own fetch, and refuses it; directly and behind nginx, where what
// is hot is no way around it.
func TestFetchingFromItself(t *testing.T) {
	t.Run("direct", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		address := ports.Address(t)
		w.set("listen", address)
		s := w.startAlias(address)
		fetchesFromItself(s, s, address)
	})
	t.Run("nginx", func(t *testing.T) {
		t.Parallel()
		w, site := newFronted(t, nil)
		front := w.front(site)
		address := strings.TrimPrefix(front.base, "http://")
		fetchesFromItself(front, w.startAlias(address), address)
	})
}

// startAlias starts a server that may fetch from an address of its own.
func (w *world) startAlias(address string) *server {
	_, port, _ := strings.Cut(address, ":")
	n, err := strconv.Atoi(port)
	if err != nil {
		w.t.Fatal(err)
	}
	w.set("fetch.ports", []int{w.origin.port, n})
	return w.start()
}

func fetchesFromItself(s, logs *server, address string) {
	w, t := s.w, s.w.t
	_, port, _ := strings.Cut(address, ":")
	alias := "http://localhost:" + port
	picture := w.origin.serve("/cat", photo(t, 30, 20))
	inner := picture
	for range 5 {
		inner = alias + link("i", "full", inner)
	}
	get := func(url string, status int, code string) {
		t.Helper()
		resp, err := s.client.Get(s.base + link("i", "full", url))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("X-Imgkeep-Error"); resp.StatusCode != status || got != code {
			t.Errorf("status %d, %q; want %d, %q", resp.StatusCode, got, status, code)
		}
	}
	get(inner, http.StatusBadGateway, "blocked")
	if n := w.origin.count("/cat"); n != 0 {
		t.Errorf("five links deep the origin was asked %d times", n)
	}
	// By a redirect, and to what is hot already.
	get(picture, http.StatusOK, "")
	get(picture, http.StatusOK, "")
	get(w.origin.redirect("/around", alias+link("i", "full", picture)), http.StatusBadGateway, "blocked")
	logs.logged("refused a request of this server to itself: add the host name that links use for it to fetch.own_hosts")
}
