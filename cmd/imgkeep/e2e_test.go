package main_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The first view of an image fetches it, once. Later ones come from disk, also
// when the origin is gone and the server another process.
func TestKeptForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image := photo(t, 80, 60)
	url := w.origin.serve("/pictures/cat", image)
	full, small := link("i", "full", url), link("i", "20x20", url)

	s := w.start()
	first := s.get(full).isBytes("image/jpeg", image)
	made := s.get(small).isImage("image/jpeg")
	s.get(full).isBytes("image/jpeg", image)
	if n := w.origin.count("/pictures/cat"); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	s.stop()

	w.origin.off()
	gate := w.addGate(func(int) string { return crash })
	s = w.start()
	again := s.get(full).isBytes("image/jpeg", image)
	s.get(small).isBytes("image/jpeg", made.body)
	if gate.count() != 0 {
		t.Error("a stored size was made again")
	}
	for _, name := range []string{"Etag", "Last-Modified", "Cache-Control"} {
		again.has(name, first.header.Get(name))
	}
	s.sameHead(again)
	s.stop()
	name := digest(image)
	if got, want := w.originals("i"), []string{filepath.Join("i", name[:1], name[1:2], name+".jpg")}; !slices.Equal(got, want) {
		t.Errorf("stored %v, want %v", got, want)
	}
}

// A hundred viewers at once cost one fetch and one resize.
func TestSimultaneousViews(t *testing.T) {
	t.Parallel()
	const viewers = 100
	w := newWorld(t, nil)
	// The origin and the decoder go on once all requests have been sent.
	var sent sync.WaitGroup
	sent.Add(viewers)
	gate := w.addGate(func(int) string { sent.Wait(); return goOn })
	image := photo(t, 300, 200)
	url := w.origin.on("/pictures/cat", func(w http.ResponseWriter, _ *http.Request) {
		sent.Wait()
		w.Write(image)
	})
	s := w.start()
	path := link("i", "50x50", url)
	bodies := make([][]byte, viewers)
	var done sync.WaitGroup
	for i := range viewers {
		done.Go(func() {
			wrote := sync.OnceFunc(sent.Done)
			defer wrote()
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { wrote() }})
			a, err := s.request(ctx, http.MethodGet, path, nil)
			if err != nil || a.status != http.StatusOK {
				t.Errorf("viewer %d: status %d, %v", i, a.status, err)
			}
			bodies[i] = a.body
		})
	}
	done.Wait()
	if n := w.origin.count("/pictures/cat"); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	if n := gate.count(); n != 1 {
		t.Errorf("%d resizes, want 1", n)
	}
	for i, body := range bodies {
		if string(body) != string(bodies[0]) || len(body) == 0 {
			t.Errorf("viewer %d got %d bytes, the first %d", i, len(body), len(bodies[0]))
		}
	}
	s.stop()
}

// Sizes of one image that are asked for at once are made from fewer decodings than
// there are sizes, and from one fetch. Those that come while the first is decoded are
// made together, whether the image was there before or not.
func TestSimultaneousSizes(t *testing.T) {
	t.Parallel()
	sizes := []string{"10x", "20x", "50x", "x10", "x20", "x50", "10x10", "10x20", "20x10", "50x20", "50x50", "full"}
	for name, kept := range map[string]bool{"new": false, "kept": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			// The first decoding ends once all requests have been sent.
			var sent sync.WaitGroup
			sent.Add(3 * len(sizes))
			gate := w.addGate(func(int) string { sent.Wait(); return goOn })
			url := w.origin.serve("/pictures/cat", photo(t, 80, 60))
			s := w.start()
			if kept {
				s.get(link("i", "full", url)).isImage("image/jpeg")
			}
			var done sync.WaitGroup
			for _, size := range sizes {
				for range 3 {
					done.Go(func() {
						wrote := sync.OnceFunc(sent.Done)
						defer wrote()
						ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { wrote() }})
						a, err := s.request(ctx, http.MethodGet, link("i", size, url), nil)
						if err != nil || a.status != http.StatusOK {
							t.Errorf("%s: status %d, %v", size, a.status, err)
						}
					})
				}
			}
			done.Wait()
			// A request that was sent need not have arrived: there may be a few more
			// decodings than two.
			if n := w.origin.count("/pictures/cat"); n != 1 || gate.count() >= (len(sizes)-1)/2 {
				t.Errorf("%d fetches and %d decodings of %d sizes", n, gate.count(), len(sizes)-1)
			}
			s.stop()
		})
	}
}

// The same bytes under two URLs are one file, and two lines in the journal.
func TestEqualBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"buckets": []any{map[string]any{"name": "i"}, map[string]any{"name": "f"}}})
	image := photo(t, 30, 30)
	one, two := w.origin.serve("/pictures/one", image), w.origin.serve("/pictures/two", image)
	s := w.start()
	for _, url := range []string{one, two} {
		s.get(link("i", "full", url)).isBytes("image/jpeg", image)
	}
	if got := w.originals("i"); len(got) != 1 {
		t.Errorf("%d files: %v", len(got), got)
	}
	// A size of the one is a size of the other.
	a := s.get(link("i", "10x10", one)).isImage("image/jpeg")
	s.get(link("i", "10x10", two)).isBytes("image/jpeg", a.body)
	// Buckets share nothing.
	s.get(link("f", "full", one)).isBytes("image/jpeg", image)
	if n := w.origin.count("/pictures/one"); n != 2 || len(w.originals("f")) != 1 {
		t.Errorf("%d fetches, files %v", n, w.originals("f"))
	}
	s.stop()

	journals := w.files("i/journal/*.ndjson")
	var urls []string
	for _, name := range journals {
		text, err := os.ReadFile(filepath.Join(w.root(), name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var event struct{ URL, Digest string }
			if err := json.Unmarshal([]byte(line), &event); err != nil || event.Digest != digest(image) {
				t.Errorf("journal: %q, %v", line, err)
			}
			urls = append(urls, event.URL)
		}
	}
	if !slices.Equal(urls, []string{one, two}) {
		t.Errorf("the journal has %v, want %v", urls, []string{one, two})
	}
}

// Spellings of one URL are one image: with and without the padding of base64,
// with a fragment, in capitals, with a default written out.
func TestSpellings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image := photo(t, 30, 30)
	url := w.origin.serve("/pictures/cat", image)
	for len(url)%3 != 1 { // two characters of padding
		url = w.origin.serve(url[len(w.origin.URL):]+"x", image)
	}
	path := url[len(w.origin.URL):]
	s := w.start()
	padded := base64.URLEncoding.EncodeToString([]byte(url))
	if !strings.HasSuffix(padded, "==") {
		t.Fatalf("%s has no padding", padded)
	}
	plain := link("i", "full", url)
	paddedLink := signed(secret, "i", "full", padded, "", time.Now())
	for _, l := range []string{
		plain,
		paddedLink,
		strings.ReplaceAll(paddedLink, "=", "%3D"),
		strings.ReplaceAll(paddedLink, "==", "=%3d"),
		plain + "?query=of-the-viewer",
		link("i", "full", url+"#fragment"),
		link("i", "full", strings.Replace(url, "http:", "HTTP:", 1)),
		link("i", "full", " "+url+"\n"),
		link("i", "full", strings.Replace(url, "/pictures/", "/x/../pictures/./", 1)),
	} {
		s.get(l).isBytes("image/jpeg", image)
	}
	if n := w.origin.count(path); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	// The signature is that of the link as it stands.
	mixed := strings.Replace(plain, extURL(plain), padded, 1)
	s.get(mixed).isError(http.StatusForbidden, "signature")
	s.stop()
}

// What is asked for with /proxy is not stored, and passes the same checks; what
// is stored already comes from the store.
func TestProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image := photo(t, 30, 30)
	url := w.origin.serve("/pictures/cat", image)
	cut := w.origin.serve("/pictures/cut", image[:len(image)/2])
	page := w.origin.serve("/pictures/page", []byte("<html>"))
	s := w.start()
	for range 2 {
		a := s.get(proxyLink("i", "full", url)).isBytes("image/jpeg", image)
		a.hasNo("ETag", "Last-Modified")
	}
	if n := w.origin.count("/pictures/cat"); n != 1 {
		t.Errorf("%d fetches, want 1 in a minute", n)
	}
	part := s.ask(http.MethodGet, proxyLink("i", "full", url), http.Header{"Range": {"bytes=3-7"}})
	if part.status != http.StatusPartialContent || string(part.body) != string(image[3:8]) {
		t.Errorf("a range: status %d, %q", part.status, part.body)
	}
	if got := slices.Concat(w.originals("i"), w.files("i/journal/*")); len(got) > 0 {
		t.Errorf("stored %v", got)
	}
	s.get(proxyLink("i", "full", cut)).isError(http.StatusUnprocessableEntity, "broken")
	s.get(proxyLink("i", "full", page)).isError(http.StatusUnsupportedMediaType, "type")

	s.get(link("i", "full", url)).isBytes("image/jpeg", image)
	w.origin.off()
	a := s.get(proxyLink("i", "full", url)).isBytes("image/jpeg", image)
	a.has("Cache-Control", "private, max-age=3600")
	s.sameHead(a)
	s.stop()
	if left := w.unfinished(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// Info tells what is known of an image, and nothing of where it is from.
func TestInfo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image := oriented(photo(t, 80, 60), 6)
	url := w.origin.serve("/pictures/cat", image)
	s := w.start()
	began := time.Now().Truncate(time.Second)
	type facts struct {
		Type          string
		Width, Height int
		Frames        int
		Bytes         int
		Stored        time.Time
		Digest        string
		Sizes         []string
	}
	info := func() facts {
		t.Helper()
		a := s.get(link("i", "info", url))
		a.has("Content-Type", "application/json")
		a.has("Cache-Control", "no-store")
		var f facts
		if err := json.Unmarshal(a.body, &f); err != nil || a.status != http.StatusOK {
			t.Fatalf("status %d, %v: %s", a.status, err, a.body)
		}
		s.sameHead(a)
		return f
	}
	f := info()
	if f.Stored.Before(began) || f.Stored.After(time.Now()) {
		t.Errorf("stored at %v, asked at %v", f.Stored, began)
	}
	want := facts{
		Type: "image/jpeg", Width: 60, Height: 80, Frames: 1, Bytes: len(image),
		Stored: f.Stored, Digest: digest(image), Sizes: []string{},
	}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("got %+v, want %+v", f, want)
	}
	s.get(link("i", "10x20", url)).isImage("image/jpeg")
	s.get(link("i", "x50", url)).isImage("image/jpeg")
	if got := info().Sizes; !slices.Equal(slices.Sorted(slices.Values(got)), []string{"10x20", "x50"}) {
		t.Errorf("sizes %v", got)
	}
	if n := w.origin.count("/pictures/cat"); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	s.stop()
}
