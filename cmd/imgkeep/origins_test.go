package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a viewer gets of difficult origins, through the real program and its
// configuration: pictures that say "removed", profiles, fallbacks, and links of the
// server itself.
func TestDifficultOrigins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	o := w.origin
	image, removed := photo(t, 80, 60), toPNG(t, corners(40, 30))
	sum := sha256.Sum256(removed)
	w.set("fetch.removed", []map[string]string{
		{"url": o.url("/pictures/removed")}, {"digest": hex.EncodeToString(sum[:])}, {"etag": "the-tag-of-a-removed-picture"},
	})
	w.set("fetch.fallbacks", []string{o.url("/archive/0im_/") + "{url}"})
	w.set("fetch.fallback_after", map[string]int{"page": 1, "server_error": 2})
	w.set("fetch.profiles", []map[string]any{{"hosts": []string{"127.0.0.1"}, "referer": "https://forum.example/", "user_agent": "profiled"}})
	w.set("base_url", "https://img.example")
	w.set("fetch.own_hosts", []string{"127.0.0.9"})

	byURL := o.redirect("/pictures/by-url", o.serve("/pictures/removed", image))
	byDigest := o.serve("/pictures/by-digest", removed)
	byTag := o.on("/pictures/by-tag", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"the-tag-of-a-removed-picture"`)
		w.Write(image)
	})
	rescued := o.refuse("/pictures/rescued", 404)
	o.serve("/archive/0im_/"+rescued, image)
	parked := o.serve("/pictures/parked", []byte("<!doctype html><title>This domain is for sale</title>"))
	o.serve("/archive/0im_/"+parked, image)
	broken := o.refuse("/pictures/broken", 502)
	o.serve("/archive/0im_/"+broken, image)
	plain := o.serve("/pictures/plain", image)
	picky := o.on("/pictures/picky", func(w http.ResponseWriter, r *http.Request) {
		if r.Referer() != "https://forum.example/" || r.UserAgent() != "profiled" {
			http.Error(w, leak, http.StatusForbidden)
			return
		}
		w.Write(image)
	})
	s := w.start()
	defer s.stop()

	for _, url := range []string{byURL, byDigest, byTag} {
		a := s.get(link("i", "full", url)).isError(404, "gone")
		s.sameHead(a)
		s.get(proxyLink("i", "full", url)).isError(404, "gone")
	}
	if n := o.count("/pictures/removed"); n != 0 {
		t.Errorf("the picture of removal was asked for %d times", n)
	}
	s.get(link("i", "full", picky)).isBytes("image/jpeg", image)

	// From the fallback. No viewer is told.
	s.get(link("i", "full", rescued)).isBytes("image/jpeg", image)
	s.get(link("i", "full", parked)).isBytes("image/jpeg", image)
	s.get(link("i", "full", broken)).isError(502, "origin")
	if n := o.count("/archive/0im_/" + broken); n != 0 {
		t.Errorf("the fallback was asked %d times after one 502", n)
	}
	info := s.get(link("i", "info", rescued))
	if info.status != 200 || bytes.Contains(info.body, []byte("archive")) || bytes.Contains(info.body, []byte("from")) {
		t.Errorf("info: status %d, %s", info.status, info.body)
	}
	journals, err := filepath.Glob(filepath.Join(w.root(), "i", "journal", "*.ndjson"))
	if err != nil || len(journals) != 1 {
		t.Fatalf("journals %v, %v", journals, err)
	}
	journal, err := os.ReadFile(journals[0])
	if err != nil {
		t.Fatal(err)
	}
	from := map[string]string{}
	for line := range strings.Lines(string(journal)) {
		var e struct{ URL, From string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		from[e.URL] = e.From
	}
	if want := map[string]string{picky: "", rescued: o.url("/archive/0im_/") + rescued, parked: o.url("/archive/0im_/") + parked}; fmt.Sprint(from) != fmt.Sprint(want) {
		t.Errorf("the journal says %v, want %v", from, want)
	}

	// A link of its own is what it shows, and all else on its own hosts is refused.
	for _, base := range []string{"https://img.example", "http://127.0.0.9:" + strconv.Itoa(o.port)} {
		s.get(link("i", "full", base+link("i", "10x10", plain))).isBytes("image/jpeg", image)
		s.get(link("i", "full", base+"/pictures/plain")).isError(403, "refused")
		forged := signed("another secret of some length", "i", "full", extURL(link("i", "full", plain)), "", time.Now())
		s.get(link("i", "full", base+forged)).isError(403, "refused")
	}
	s.get(link("i", "full", o.redirect("/pictures/loop", "https://img.example"+link("i", "full", plain)))).isError(403, "refused")
	if n := o.count("/pictures/plain"); n != 1 {
		t.Errorf("the picture within was asked for %d times, want once", n)
	}
}

// The operator's check through the real program: asked once for each image, before
// anything is stored.
func TestOperatorsCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fail   string
		status int // of an image that nobody answers for
	}{{"closed", 503}, {"open", 200}} {
		w := newWorld(t, settings{"approve.fail": test.fail})
		image := photo(t, 80, 60)
		var mu sync.Mutex
		asked := map[string]int{}
		check := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			url := r.Header.Get("X-Imgkeep-URL")
			if err != nil || !bytes.Equal(body, image) || r.Header.Get("Content-Type") != "image/jpeg" || r.Header.Get("X-Imgkeep-Bucket") != "i" || len(r.Header.Get("X-Imgkeep-Digest")) != 43 {
				t.Errorf("asked about %s: %d bytes, %v, %v", url, len(body), err, r.Header)
			}
			mu.Lock()
			defer mu.Unlock()
			asked[url[strings.LastIndex(url, "/")+1:]]++
			switch {
			case strings.HasSuffix(url, "bad"), strings.HasSuffix(url, "bad-passing"):
				rw.WriteHeader(403)
			case strings.HasSuffix(url, "unclear"):
				rw.WriteHeader(500)
			}
		}))
		w.set("approve.url", check.URL+"/check?token=of-the-operator")
		o := w.origin
		s := w.start()
		for range 2 {
			s.get(link("i", "full", o.serve("/pictures/bad", image))).isError(451, "rejected")
			s.get(proxyLink("i", "full", o.serve("/pictures/bad-passing", image))).isError(451, "rejected")
		}
		if n := len(w.originals("i")); n != 0 {
			t.Errorf("%d images are stored", n)
		}
		a := s.get(link("i", "full", o.serve("/pictures/unclear", image)))
		if test.status == 200 {
			a.isBytes("image/jpeg", image)
		} else {
			a.isError(503, "unchecked")
			if len(w.originals("i")) != 0 {
				t.Error("it is stored without an answer")
			}
		}
		for range 2 {
			s.get(link("i", "full", o.serve("/pictures/good", image))).isBytes("image/jpeg", image)
		}
		s.get(proxyLink("i", "full", o.serve("/pictures/good-passing", image))).isBytes("image/jpeg", image)
		mu.Lock()
		for name, n := range asked {
			if n != 1 {
				t.Errorf("%s was asked about %d times", name, n)
			}
		}
		if len(asked) != 5 {
			t.Errorf("asked about %v", asked)
		}
		mu.Unlock()
		if strings.Contains(s.log.String(), "of-the-operator") {
			t.Error("the log has the endpoint's token")
		}
		s.stop()
		check.Close()
	}
}
