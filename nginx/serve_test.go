package nginx_test

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/nginx"
	"imgkeep/sign"
)

// answer is what a client makes of an answer: all that it may rely on.
type answer struct {
	Status int
	Header map[string]string
	Body   []byte
	Parts  []string // of several ranges
}

// shown are the headers that are the same whoever answers.
var shown = []string{
	"Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "ETag", "Last-Modified", "Cache-Control",
	"X-Content-Type-Options", "Content-Security-Policy", "Cross-Origin-Resource-Policy", "X-Imgkeep-Error", "Retry-After", "Allow", "Location", "Expires",
	nginx.HeaderRedirect, nginx.HeaderHandoff,
}

func ask(t *testing.T, client *http.Client, method, url string, header http.Header) answer {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a := answer{Status: resp.StatusCode, Header: map[string]string{}}
	if a.Body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	for _, name := range shown {
		if v := resp.Header.Values(name); len(v) > 0 {
			a.Header[name] = strings.Join(v, " | ")
		}
	}
	if resp.ContentLength >= 0 {
		a.Header["Content-Length"] = fmt.Sprint(resp.ContentLength)
	}
	// The boundary of several ranges is anyone's choice, and with it the length.
	if kind, param, err := mime.ParseMediaType(a.Header["Content-Type"]); err == nil && kind == "multipart/byteranges" {
		a.Header["Content-Type"] = kind
		delete(a.Header, "Content-Length")
		if method == http.MethodGet {
			for r := multipart.NewReader(bytes.NewReader(a.Body), param["boundary"]); ; {
				p, err := r.NextPart()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(p)
				if err != nil {
					t.Fatal(err)
				}
				a.Parts = append(a.Parts, fmt.Sprintf("%s %s %x", p.Header.Get("Content-Type"), p.Header.Get("Content-Range"), b))
			}
		}
		a.Body = nil
	}
	// nginx repeats Last-Modified when nothing was modified, net/http does not.
	// Both may.
	if a.Status == http.StatusNotModified {
		delete(a.Header, "Last-Modified")
		delete(a.Header, "Content-Length")
	}
	// A 206 says that there are ranges; net/http repeats it.
	if a.Status == http.StatusPartialContent {
		delete(a.Header, "Accept-Ranges")
	}
	return a
}

func wantSame(t *testing.T, what string, got, want answer) {
	t.Helper()
	if got.Status != want.Status {
		t.Errorf("%s: status %d, want %d", what, got.Status, want.Status)
	}
	for _, name := range shown {
		if got.Header[name] != want.Header[name] {
			t.Errorf("%s: %s is %q, want %q", what, name, got.Header[name], want.Header[name])
		}
	}
	if !bytes.Equal(got.Body, want.Body) || !slices.Equal(got.Parts, want.Parts) {
		t.Errorf("%s: body %.60q %.200q, want %.60q %.200q", what, got.Body, got.Parts, want.Body, want.Parts)
	}
}

// One client sees the same whether nginx has a hot link, whether imgkeep hands
// the file over, and whether imgkeep sends it itself.
func TestThreeWays(t *testing.T) {
	hot := newWorld(t, nginx.HotOptions{}, nil)
	warm := newWorld(t, nginx.HotOptions{}, func(_ *nginx.Site, a *app) { a.hot = nil })
	expires := time.Now().Add(time.Hour)
	for _, w := range []*world{hot, warm} {
		w.app.set("i", sigA, image{expires: expires, files: map[string]string{
			"full":    w.store(t, "i", "d.jpg", 3000),
			"250x250": w.store(t, "i", "d.250x250.png", 1000),
			"150x":    w.store(t, "i", "d.150x.webp", 1),
			"x200":    w.store(t, "i", "d.x200.gif", 200_000),
		}})
	}
	for _, size := range []string{"full", "250x250", "150x", "x200"} {
		hot.heat(t, "i", size, sigA)
	}
	// nginx' own form: seconds and bytes, in hexadecimal.
	etag := fmt.Sprintf(`"%x-%x"`, time.Date(2026, 11, 3, 12, 34, 56, 0, time.UTC).Unix(), 3000)
	const modified = "Tue, 03 Nov 2026 12:34:56 GMT"
	full := "/i/full/" + sigA + "/" + extURL
	for _, c := range []struct {
		path   string
		header http.Header
		status int
		kind   string // content type
		length int    // of the body
	}{
		{full, nil, 200, "image/jpeg", 3000},
		{"/i/250x250/" + sigA + "/" + extURL, nil, 200, "image/png", 1000},
		{"/i/150x/" + sigA + "/" + extURL, nil, 200, "image/webp", 1},
		{"/i/x200/" + sigA + "/" + extURL, nil, 200, "image/gif", 200_000},
		{full + "==", nil, 200, "image/jpeg", 3000},
		{full + "%3D%3d", nil, 200, "image/jpeg", 3000},
		{full + "?", nil, 200, "image/jpeg", 3000},
		{full + "?cachebuster=../../x", nil, 200, "image/jpeg", 3000},

		{full, http.Header{"Range": {"bytes=0-0"}}, 206, "image/jpeg", 1},
		{full, http.Header{"Range": {"bytes=100-199"}}, 206, "image/jpeg", 100},
		{full, http.Header{"Range": {"bytes=2990-"}}, 206, "image/jpeg", 10},
		{full, http.Header{"Range": {"bytes=-10"}}, 206, "image/jpeg", 10},
		{full, http.Header{"Range": {"bytes=0-"}}, 206, "image/jpeg", 3000},
		{full, http.Header{"Range": {"bytes=2000-9999"}}, 206, "image/jpeg", 1000},
		{full, http.Header{"Range": {"bytes=0-1,5-6"}}, 206, "multipart/byteranges", 0},
		{full, http.Header{"Range": {"bytes=0-1, 5-6, -3"}}, 206, "multipart/byteranges", 0},
		{full, http.Header{"Range": {"bytes=0-1,9000-"}}, 206, "image/jpeg", 2},
		{full, http.Header{"Range": {"bytes=3000-"}}, 416, "text/plain; charset=utf-8", 37},
		{full, http.Header{"Range": {"bytes=9-3"}}, 416, "text/plain; charset=utf-8", 37},
		{full, http.Header{"Range": {"bytes=x"}}, 416, "text/plain; charset=utf-8", 37},
		{full, http.Header{"Range": {"bytes=0-0"}, "If-Range": {etag}}, 206, "image/jpeg", 1},
		{full, http.Header{"Range": {"bytes=0-0"}, "If-Range": {`"other"`}}, 200, "image/jpeg", 3000},
		{full, http.Header{"Range": {"bytes=0-0"}, "If-Range": {modified}}, 206, "image/jpeg", 1},

		{full, http.Header{"If-None-Match": {etag}}, 304, "", 0},
		{full, http.Header{"If-None-Match": {"W/" + etag}}, 304, "", 0},
		{full, http.Header{"If-None-Match": {"*"}}, 304, "", 0},
		{full, http.Header{"If-None-Match": {`"other", ` + etag}}, 304, "", 0},
		{full, http.Header{"If-None-Match": {`"other"`}}, 200, "image/jpeg", 3000},
		{full, http.Header{"If-None-Match": {`"other"`}, "If-Modified-Since": {modified}}, 200, "image/jpeg", 3000},
		{full, http.Header{"If-None-Match": {etag}, "If-Modified-Since": {modified}}, 304, "", 0},
		{full, http.Header{"If-None-Match": {etag}, "Range": {"bytes=0-0"}}, 304, "", 0},
		{full, http.Header{"If-Modified-Since": {modified}}, 304, "", 0},
		{full, http.Header{"If-Modified-Since": {"Tue, 03 Nov 2026 12:34:57 GMT"}}, 200, "image/jpeg", 3000},
		{full, http.Header{"If-Modified-Since": {"Tue, 03 Nov 2026 12:34:55 GMT"}}, 200, "image/jpeg", 3000},
		{full, http.Header{"If-Modified-Since": {"yesterday"}}, 200, "image/jpeg", 3000},
		{full, http.Header{"If-Match": {etag}}, 200, "image/jpeg", 3000},
		{full, http.Header{"If-Match": {`"other"`}}, 412, "text/plain; charset=utf-8", 53},
		{full, http.Header{"If-Unmodified-Since": {"Tue, 03 Nov 2026 12:34:55 GMT"}}, 412, "text/plain; charset=utf-8", 53},
		{full, http.Header{"Accept-Encoding": {"gzip, br"}}, 200, "image/jpeg", 3000},

		{full + "/proxy", nil, 200, "image/jpeg", 3000},
		{"/i/info/" + sigA + "/" + extURL, nil, 200, "application/json", 3},
		{"/i/999x/" + sigA + "/" + extURL, nil, 400, "text/plain; charset=utf-8", 18},
		{"/i/full/" + sigB + "/" + extURL, nil, 403, "text/plain; charset=utf-8", 20},
		{"/x/full/" + sigA + "/" + extURL, nil, 403, "text/plain; charset=utf-8", 20},
		{"/", nil, 400, "text/plain; charset=utf-8", 18},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			what := fmt.Sprint(method, " ", c.path, " ", c.header)
			direct := ask(t, hot.direct, method, "http://imgkeep"+c.path, c.header)
			if direct.Status != c.status || direct.Header["Content-Type"] != c.kind || method == http.MethodGet && len(direct.Body) != c.length {
				t.Errorf("%s, direct: %d, %s, %d bytes; want %d, %s, %d bytes", what,
					direct.Status, direct.Header["Content-Type"], len(direct.Body), c.status, c.kind, c.length)
			}
			hot.app.take()
			for way, w := range map[string]*world{"hot": hot, "warm": warm} {
				got := ask(t, w.client, method, w.URL+c.path, c.header)
				if got.Status == http.StatusRequestedRangeNotSatisfiable {
					// nginx cannot take back what it has said of the image.
					got.Header["Cache-Control"] = strings.TrimPrefix(got.Header["Cache-Control"], "private, max-age=604800, immutable | ")
				}
				wantSame(t, what+", "+way, got, direct)
			}
			// Of links that are hot imgkeep hears nothing, but for ranges that are not there.
			image := strings.HasPrefix(c.kind, "image/") || c.kind == "multipart/byteranges" || c.status == 304 || c.status == 412
			if n := len(hot.app.take()); image && !strings.HasSuffix(c.path, "/proxy") && n != 0 {
				t.Errorf("%s: imgkeep was asked %d times for a hot link", what, n)
			}
		}
	}
}

// After the first answer nginx serves alone, as soon as its cache no longer says that there is
// no link. No link is ever made for /proxy.
func TestBecomesHot(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, nil)
	w.app.set("i", sigA, image{expires: time.Now().Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
	path := w.URL + "/i/full/" + sigA + "/" + extURL
	for _, p := range []string{path + "/proxy", path} {
		if a := ask(t, w.client, "GET", p, nil); a.Status != 200 {
			t.Errorf("%s: %d", p, a.Status)
		}
		if got := w.hot.Len(); got != map[bool]int{true: 0, false: 1}[strings.HasSuffix(p, "/proxy")] {
			t.Errorf("after %s: %d links", p, got)
		}
	}
	w.within(t, "nginx serves alone", func() bool {
		w.app.take()
		return ask(t, w.client, "GET", path, nil).Status == 200 && len(w.app.take()) == 0
	})
	// With any ending it is the same link, and the type is that of the bytes.
	for _, ending := range sign.Endings() {
		if a := ask(t, w.client, "GET", path+ending, nil); a.Status != 200 || a.Header["Content-Type"] != "image/jpeg" || len(w.app.take()) != 0 {
			t.Errorf("%s: %d, %s", ending, a.Status, a.Header["Content-Type"])
		}
	}
	for _, ending := range []string{".html", ".jpg/", ".JPG", "."} { // imgkeep's to refuse
		if ask(t, w.client, "GET", path+ending, nil); len(w.app.take()) != 1 {
			t.Errorf("%s: nginx has not asked", ending)
		}
	}
}

// within asks until the answer is yes. It must be to what is asked after the time for which
// nginx may trust what it remembers: Site.Valid, and a second since it counts in seconds.
func (w *world) within(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for began, last := time.Now(), false; !last; {
		if last = time.Since(began) > w.site.Valid+time.Second; yes() {
			return
		}
	}
	t.Errorf("not within %v: %s", w.site.Valid+time.Second, what)
}

// When its week ends, a hot link is refused within the stated time.
func TestExpiry(t *testing.T) {
	clock := newClock(weekEnd.Add(-time.Second))
	w := newWorld(t, nginx.HotOptions{Now: clock.Now, After: clock.After}, nil)
	w.app.set("i", sigA, image{expires: weekEnd, files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
	w.app.set("i", sigB, image{expires: weekEnd.Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
	w.heat(t, "i", "full", sigA)
	w.heat(t, "i", "full", sigB)
	go w.hot.Run(t.Context())
	clock.waiting(t)
	for _, sig := range []string{sigA, sigB} {
		if a := ask(t, w.client, "GET", w.URL+"/i/full/"+sig+"/"+extURL, nil); a.Status != 200 || len(w.app.take()) > 0 {
			t.Errorf("a second before: %d, want 200 without imgkeep", a.Status)
		}
	}
	clock.advance(time.Second)
	for len(links(t, w.site.Hot)) > 1 {
		clock.waiting(t)
	}
	wantLinks(t, w.site.Hot, "i/full/4f/3OT_te_O37pMOZ.jpg")
	w.within(t, "an expired link is refused", func() bool {
		return ask(t, w.client, "GET", w.URL+"/i/full/"+sigA+"/"+extURL, nil).Status == http.StatusGone
	})
	w.app.take()
	if a := ask(t, w.client, "GET", w.URL+"/i/full/"+sigB+"/"+extURL, nil); a.Status != 200 || len(w.app.take()) > 0 {
		t.Errorf("the other link: %d, want 200 without imgkeep", a.Status)
	}
	for way, get := range map[string]func() answer{
		"warm":   func() answer { return ask(t, w.client, "GET", w.URL+"/i/150x/"+sigA+"/"+extURL, nil) },
		"direct": func() answer { return ask(t, w.direct, "GET", "http://imgkeep/i/full/"+sigA+"/"+extURL, nil) },
	} {
		if a := get(); a.Status != http.StatusGone {
			t.Errorf("%s: %d, want 410", way, a.Status)
		}
	}
}

// An image that was removed is refused within the stated time, though its link is
// still there; and no error makes a link.
func TestRemoved(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, nil)
	img := image{expires: time.Now().Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}}
	w.app.set("i", sigA, img)
	w.heat(t, "i", "full", sigA)
	url := w.URL + "/i/full/" + sigA + "/" + extURL
	if a := ask(t, w.client, "GET", url, nil); a.Status != 200 || len(w.app.take()) > 0 {
		t.Fatalf("before: %d, want 200 without imgkeep", a.Status)
	}
	img.status = http.StatusUnavailableForLegalReasons
	w.app.set("i", sigA, img)
	if err := os.Remove(filepath.Join(w.app.root, img.files["full"])); err != nil {
		t.Fatal(err)
	}
	w.within(t, "a removed image is refused", func() bool { return ask(t, w.client, "GET", url, nil).Status == 451 })
	a := ask(t, w.client, "GET", url, nil)
	if a.Header["Cache-Control"] != "no-store" || a.Header["X-Imgkeep-Error"] != "removed" {
		t.Errorf("headers %v", a.Header)
	}
}

// A file that has vanished, or that nginx may not read, is imgkeep's to explain
// or to send: never nginx' own page.
func TestVanished(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, nil)
	expires := time.Now().Add(time.Hour)
	w.app.set("i", sigA, image{expires: expires, files: map[string]string{"full": "i/a/b/never.jpg"}})
	secret := w.store(t, "i", "secret.jpg", 100)
	if err := os.Chmod(filepath.Join(w.app.root, secret), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		// Whoever owns the file could still open it, were it not unreadable to all.
		if err := os.Chmod(filepath.Join(w.app.root, secret), 0); err != nil {
			t.Fatal(err)
		}
	}
	w.app.set("i", sigB, image{expires: expires, files: map[string]string{"full": secret}})
	for _, c := range []struct {
		what, sig string
		heat      bool
		status    int
	}{
		{"gone", sigA, false, 404},
		{"unreadable", sigB, false, map[bool]int{true: 200, false: 404}[os.Getuid() == 0]},
		{"unreadable, with a link", sigB, true, map[bool]int{true: 200, false: 404}[os.Getuid() == 0]},
	} {
		if c.heat {
			w.heat(t, "i", "full", c.sig)
		}
		for _, range_ := range []http.Header{nil, {"Range": {"bytes=0-9"}}} {
			a := ask(t, w.client, "GET", w.URL+"/i/full/"+c.sig+"/"+extURL, range_)
			want := c.status
			if want == 200 && range_ != nil {
				want = 206
			}
			if a.Status != want || a.Header["X-Content-Type-Options"] != "nosniff" || strings.Contains(string(a.Body), "<html") {
				t.Errorf("%s: %d %v %.40q, want %d", c.what, a.Status, a.Header, a.Body, want)
			}
			seen := w.app.take()
			if last := seen[len(seen)-1]; last.handoff != nginx.HandoffDirect {
				t.Errorf("%s: imgkeep was last asked with hand-off %q", c.what, last.handoff)
			}
		}
	}
}
