package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket"
)

// hasLine checks that lines stand in a text.
func hasLine(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			t.Errorf("there is no line %q in\n%s", line, text)
		}
	}
}

// The server asks the origins of what is kept, once a week, by HEAD where that is
// enough; a restart in the middle goes on where it was; stats and metrics tell what
// came of it; and all that is kept is served as before.
func TestLinkRot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{
		"linkrot.interval": "168h", "linkrot.rate": 1000, "metrics.listen": "127.0.0.1:0",
	})
	cat := photo(t, 30, 30)
	images := map[string][]byte{} // by URL
	serve := func(path string) string {
		image := append(slices.Clone(cat), path...) // what follows an image's end makes it another
		url := w.origin.on(path, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "image/jpeg")
			rw.Write(image)
		})
		images[url] = image
		return url
	}
	var urls []string
	for i := range 60 {
		urls = append(urls, serve(fmt.Sprintf("/pictures/%d", i)))
	}
	purged, blocked := serve("/pictures/purged"), serve("/pictures/blocked")
	w.set("linkrot.interval", 0)
	s := w.start()
	for _, url := range append(urls, purged, blocked) { // the order of the journal
		s.get(link("i", "full", url)).isBytes("image/jpeg", images[url])
	}
	for _, args := range [][]string{{"forget", purged}, {"block", "--keep", blocked}} {
		if _, errs, status := w.imgkeep(args...); status != 0 {
			t.Fatalf("%v: %s", args, errs)
		}
	}
	s.stop()
	if n := w.origin.count("/pictures/0"); n != 1 {
		t.Errorf("asked for %d times, without linkrot.interval", n)
	}

	// What has become of some of them.
	w.origin.refuse("/pictures/1", http.StatusGone)
	w.origin.redirect("/pictures/2", "/pictures/0")
	w.origin.on("/pictures/3", func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			rw.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		rw.Write(cat)
	})
	w.origin.serve("/pictures/4", []byte("<html>"))
	hanging := w.origin.hold("/pictures/40", nil) // the pass does not come beyond it
	w.set("linkrot.interval", "168h")
	s = w.start()
	select {
	case <-hanging.arrived:
	case <-time.After(patience):
		t.Fatal("nobody asks")
	}
	s.stop()
	var stats bucket.Stats
	read := func() {
		t.Helper()
		out, errs, status := w.imgkeep("stats", "--json")
		stats = bucket.Stats{}
		if err := json.Unmarshal([]byte(out), &stats); status != 0 || err != nil || stats.LinkRot == nil {
			t.Fatalf("stats: status %d, %v: %s%s", status, err, out, errs)
		}
	}
	read()
	// Up to 15 are asked beside it, and may not have answered.
	before := 0
	if now := stats.LinkRot.Now; now != nil {
		before = now.All[bucket.OriginAlive] + now.All[bucket.OriginGone]
	}
	if stats.LinkRot.Last != nil || before < 25 || before > 40 {
		t.Errorf("in the middle: %+v", stats.LinkRot)
	}

	w.origin.on("/pictures/40", func(rw http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w.set("fetch.header_timeout", "1s")
	s = w.start()
	s.logged("asking origins ended")
	read()
	want := map[bucket.OriginState]int{bucket.OriginAlive: 57, bucket.OriginGone: 2, bucket.OriginUnreachable: 1}
	if last := stats.LinkRot.Last; stats.LinkRot.Now != nil || last == nil || fmt.Sprint(last.All) != fmt.Sprint(want) {
		t.Errorf("in the end: %+v, want %v", stats.LinkRot, want)
	}
	for path, methods := range map[string]string{
		"/pictures/1": "GET HEAD", "/pictures/3": "GET HEAD GET", "/pictures/5": "GET HEAD",
		"/pictures/purged": "GET", "/pictures/blocked": "GET",
	} {
		got := ""
		for _, r := range w.origin.asked(path) {
			got += " " + r.Method
		}
		if got != " "+methods {
			t.Errorf("%s was asked by%s, want %s", path, got, methods)
		}
	}
	metrics := func() string {
		t.Helper()
		r, err := http.Get("http://" + s.logged("metrics")["address"].(string) + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	hasLine(t, metrics(), `imgkeep_origins{state="gone"} 2`, `imgkeep_origins{state="unreachable"} 1`)
	for _, url := range urls {
		s.get(link("i", "full", url)).isBytes("image/jpeg", images[url])
	}
	s.get(link("i", "full", blocked)).isError(http.StatusUnavailableForLegalReasons, "removed")
	s.stop()

	// The next start knows what was found, and does not ask before a week is over.
	s = w.start()
	hasLine(t, metrics(), `imgkeep_origins{state="gone"} 2`, `imgkeep_origin_checks_total{state="alive"} 0`)
	out, _, _ := w.imgkeep("stats")
	hasLine(t, out, "origins    asked: 57 alive, 2 gone, 1 unreachable, 0 unsure, since "+stats.LinkRot.Last.Began.Format(time.RFC3339))
	s.stop()
	http.DefaultClient.CloseIdleConnections()
}
