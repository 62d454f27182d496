package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/scripts/patience"
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
	case <-time.After(patience.Of(t)):
		t.Fatal("nobody asks")
	}
	s.stop()
	type pass struct {
		Began time.Time
		All   map[string]int
	}
	var last, now *pass // as stats has them
	read := func() {
		t.Helper()
		out, errs, status := w.imgkeep("stats", "--json")
		var stats struct {
			LinkRot struct{ Last, Now *pass } `json:"link_rot"`
		}
		if err := json.Unmarshal([]byte(out), &stats); status != 0 || err != nil {
			t.Fatalf("stats: status %d, %v: %s%s", status, err, out, errs)
		}
		last, now = stats.LinkRot.Last, stats.LinkRot.Now
	}
	read()
	// Up to 15 are asked beside it, and may not have answered.
	if last != nil || now == nil || now.All["alive"]+now.All["gone"] < 25 || now.All["alive"]+now.All["gone"] > 40 {
		t.Errorf("in the middle: %+v, %+v", last, now)
	}

	w.origin.on("/pictures/40", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	s = w.start()
	s.logged("asking origins ended")
	read()
	want := map[string]int{"alive": 57, "gone": 2, "unreachable": 1}
	if now != nil || last == nil || !maps.Equal(last.All, want) {
		t.Fatalf("in the end: %+v, %+v, want %v", last, now, want)
	}
	for path, methods := range map[string]string{
		"/pictures/1": "GET HEAD GET", "/pictures/3": "GET HEAD GET", "/pictures/5": "GET HEAD",
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
	hasLine(t, out, "origins    asked: 57 alive, 2 gone, 1 unreachable, 0 unsure, since "+last.Began.Format(time.RFC3339))
	s.stop()
	http.DefaultClient.CloseIdleConnections()
}
