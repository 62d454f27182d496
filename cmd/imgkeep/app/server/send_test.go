package server_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/nginx"
	"imgkeep/resize"
)

// What is sent has the type of its bytes, whatever anybody called it; a tag and
// an age by which browsers ask again seldom; and nothing that lets a shared cache
// keep it.
func TestHeaders(t *testing.T) {
	s := newSite(t, nil)
	for name, test := range map[string]struct {
		data        []byte
		contentType string
	}{
		"a.html": {toJPEG(t, 30, 30), "image/jpeg"},
		"b.jpg":  {toPNG(t, 30, 30), "image/png"},
		"c.png":  {toGIF(t, 30, 30, 2), "image/gif"},
	} {
		url := s.origin.put(name, test.data)
		w := s.get(s.link("full", url))
		if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), test.data) {
			t.Fatalf("%s: status %d, %d bytes", name, w.Code, w.Body.Len())
		}
		image, err := s.store.Find("i", url)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(s.store.Path(image.File()))
		if err != nil {
			t.Fatal(err)
		}
		// The tag is nginx': a browser may ask either.
		want := http.Header{
			"Content-Type":                 {test.contentType},
			"Content-Length":               {fmt.Sprint(len(test.data))},
			"Cache-Control":                {"private, max-age=604800, immutable"},
			"Etag":                         {fmt.Sprintf(`"%x-%x"`, info.ModTime().Unix(), len(test.data))},
			"Last-Modified":                {info.ModTime().UTC().Format(http.TimeFormat)},
			"Accept-Ranges":                {"bytes"},
			"X-Content-Type-Options":       {"nosniff"},
			"Content-Security-Policy":      {"default-src 'none'; sandbox"},
			"Cross-Origin-Resource-Policy": {"cross-origin"},
		}
		if fmt.Sprint(w.Header()) != fmt.Sprint(want) {
			t.Errorf("%s: headers %v, want %v", name, w.Header(), want)
		}
	}
}

// A condition or range that does not hold is answered in the words that nginx has
// for it, and with the headers of an error.
func TestConditions(t *testing.T) {
	s := newSite(t, nil)
	data := toJPEG(t, 30, 30)
	path := s.link("full", s.origin.put("cat", data))
	whole := s.get(path)
	etag, modified := whole.Header().Get("ETag"), whole.Header().Get("Last-Modified")
	const past, future = "Thu, 01 Jan 1970 00:00:01 GMT", "Wed, 01 Jan 2098 00:00:00 GMT"
	for _, test := range []struct {
		header http.Header
		status int
	}{
		{http.Header{"If-None-Match": {etag}}, 304},
		{http.Header{"If-None-Match": {`"other", W/` + etag}}, 304},
		{http.Header{"If-None-Match": {`"other"`}, "If-Modified-Since": {future}}, 200},
		{http.Header{"If-Modified-Since": {modified}}, 304},
		{http.Header{"If-Modified-Since": {past}}, 200},
		{http.Header{"If-Modified-Since": {"yesterday"}}, 200},
		{http.Header{"If-Match": {etag}}, 200},
		{http.Header{"If-Match": {"*"}}, 200},
		{http.Header{"If-Match": {`"other"`}}, 412},
		{http.Header{"If-Unmodified-Since": {past}}, 412},
		{http.Header{"If-Unmodified-Since": {modified}}, 200},
		{http.Header{"Range": {"bytes=0-0"}}, 206},
		{http.Header{"Range": {"bytes=-1"}}, 206},
		{http.Header{"Range": {fmt.Sprintf("bytes=%d-", len(data)-1)}}, 206},
		{http.Header{"Range": {fmt.Sprintf("bytes=%d-", len(data))}}, 416},
		{http.Header{"Range": {"lines=1-2"}}, 416},
		{http.Header{"Range": {"bytes=0-0"}, "If-Range": {etag}}, 206},
		{http.Header{"Range": {"bytes=0-0"}, "If-Range": {`"other"`}}, 200},
		{http.Header{"Range": {"bytes=0-0"}, "If-Match": {`"other"`}}, 412},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			about := fmt.Sprint(method, " ", test.header)
			// The body that a real server sends.
			w := s.ask(method, path, test.header)
			if w.Code != test.status {
				t.Errorf("%s: status %d, want %d", about, w.Code, test.status)
				continue
			}
			switch page := pageOf(test.status); {
			case page != nil && method == "GET":
				checkError(t, about, w, page.Status, page.Code)
				if w.Body.String() != page.Line+"\n" {
					t.Errorf("%s: body %q, want %q", about, w.Body, page.Line)
				}
			case page == nil:
				if w.Header().Get("ETag") != etag || w.Header().Get("Cache-Control") != whole.Header().Get("Cache-Control") {
					t.Errorf("%s: headers %v", about, w.Header())
				}
			}
		}
	}
}

func pageOf(status int) *nginx.ErrorPage {
	pages := nginx.ErrorPages()
	i := slices.IndexFunc(pages, func(p nginx.ErrorPage) bool { return p.Status == status })
	if i < 0 {
		return nil
	}
	return &pages[i]
}

// Errors that both can find are told in the same words by both.
func TestWordsOfNginx(t *testing.T) {
	s := newSite(t, nil)
	path := s.link("10x10", s.origin.put("cat", toJPEG(t, 30, 30)))
	for status, err := range map[int]error{500: errors.New("unknown"), 503: resize.ErrBusy} {
		s.decoder.answer = func([]byte, resize.Job) ([]resize.Result, error) { return nil, err }
		page := pageOf(status)
		if page == nil {
			t.Fatalf("nginx has no page for %d", status)
		}
		w := s.get(path)
		checkError(t, fmt.Sprint(status), w, status, page.Code)
		if w.Body.String() != page.Line+"\n" || (w.Header().Get("Retry-After") != "") != page.Retry {
			t.Errorf("%d: %q, %v; want %+v", status, w.Body, w.Header(), page)
		}
	}
}

// handedOff is the header that only nginx sends: its site sets it on each request
// that it passes on, and takes away a client's own.
var handedOff = http.Header{nginx.HeaderHandoff: {nginx.HandoffNginx}}

// With the hand-off configured, and only for requests that came through nginx, the
// answer is where nginx finds the file, and nothing that nginx says itself.
func TestHandoff(t *testing.T) {
	handoff := func(_ *bucket.Options, o *server.Options) { o.Handoff = true }
	data, small := toJPEG(t, 30, 30), toJPEG(t, 10, 10)
	for _, test := range []struct {
		name   string
		change func(*bucket.Options, *server.Options)
		header http.Header
		handed bool
	}{
		{"configured and asked for", handoff, handedOff, true},
		{"configured and not asked for", handoff, nil, false},
		{"nginx could not open the file", handoff, http.Header{nginx.HeaderHandoff: {nginx.HandoffDirect}}, false},
		{"not configured", nil, handedOff, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, test.change)
			s.decoder.answer = results(result(t, small))
			url := s.origin.put("cat", data)
			for size, body := range map[string][]byte{"full": data, "10x10": small} {
				path := s.link(size, url)
				w := s.ask("GET", path, test.header)
				image, err := s.store.Find("i", url)
				if err != nil {
					t.Fatal(err)
				}
				file, ext := image.File(), ".jpg"
				if size != "full" {
					file = image.VariantFile(size, image.Format)
				}
				links := s.hot.take()
				if !test.handed {
					if w.Header().Get(nginx.HeaderRedirect) != "" || !bytes.Equal(w.Body.Bytes(), body) || len(links) > 0 {
						t.Errorf("%s: %v, %d bytes, hot links %v", size, w.Header(), w.Body.Len(), links)
					}
					continue
				}
				want := http.Header{ // nginx adds the others itself
					"Content-Type":       {"image/jpeg"},
					nginx.HeaderRedirect: {nginx.InternalPrefix + filepath.ToSlash(file)},
				}
				if w.Code != 200 || w.Body.Len() > 0 || fmt.Sprint(w.Header()) != fmt.Sprint(want) {
					t.Errorf("%s: status %d, %v, %d bytes; want %v", size, w.Code, w.Header(), w.Body.Len(), want)
				}
				// The link ends with its next week.
				hot := strings.Join([]string{"i", size, strings.Split(path, "/")[3], ext, s.store.Path(file), "2026-11-30T00:00:00Z"}, " ")
				if !slices.Equal(links, []string{hot}) {
					t.Errorf("%s: hot links %q, want %q", size, links, hot)
				}
			}
		})
	}
}

// Conditions and ranges are nginx' to judge: the hand-off ignores them.
func TestHandoffLeavesConditions(t *testing.T) {
	s := newSite(t, func(_ *bucket.Options, o *server.Options) { o.Handoff = true })
	path := s.link("full", s.origin.put("cat", toJPEG(t, 30, 30)))
	etag := s.get(path).Header().Get("ETag")
	for name, value := range map[string]string{"If-None-Match": etag, "If-Match": `"other"`, "Range": "bytes=1000000-", "If-Modified-Since": time.Now().UTC().Format(http.TimeFormat)} {
		header := handedOff.Clone()
		header.Set(name, value)
		if w := s.ask("GET", path, header); w.Code != 200 || w.Header().Get(nginx.HeaderRedirect) == "" {
			t.Errorf("%s: status %d, %v", name, w.Code, w.Header())
		}
	}
}

// A hot link is a promise to everybody who has the signature, until it ends. None
// is made for what is not stored, for what says more than the image, for errors.
func TestNoHotLink(t *testing.T) {
	s := newSite(t, func(_ *bucket.Options, o *server.Options) { o.Handoff = true })
	s.decoder.answer = func([]byte, resize.Job) ([]resize.Result, error) { return nil, resize.ErrBusy }
	url := s.origin.put("cat", toJPEG(t, 30, 30))
	gone := s.origin.put("gone", &fetch.Error{Kind: fetch.Gone, Err: errors.New("gone")})
	s.get(s.link("full", url)) // not from nginx
	expired := s.signer.Sign("i", "full", url, false, s.clock.Now().AddDate(0, 0, -21)).String()
	for name, path := range map[string]string{
		"proxy, stored":     s.proxyLink("full", url),
		"proxy, not stored": s.proxyLink("full", s.origin.put("dog", toJPEG(t, 30, 30))),
		"info":              s.link("info", url),
		"gone":              s.link("full", gone),
		"busy":              s.link("10x10", url),
		"size":              s.link("11x", url),
		"expired":           expired,
		"forged":            strings.Replace(s.link("full", url), "/i/full/", "/f/full/", 1),
		"no link":           "/",
		"healthz":           "/healthz",
	} {
		w := s.ask("GET", path, handedOff)
		if links := s.hot.take(); len(links) > 0 {
			t.Errorf("%s: status %d, and the hot links %v", name, w.Code, links)
		}
		if w.Header().Get(nginx.HeaderRedirect) != "" {
			t.Errorf("%s: %v", name, w.Header())
		}
	}
	w := s.ask("POST", s.link("full", url), handedOff)
	if links := s.hot.take(); len(links) > 0 {
		t.Errorf("POST: status %d, and the hot links %v", w.Code, links)
	}
}

// Without a tree, or with one that fails, nginx is handed the file all the same.
func TestHotLinkFails(t *testing.T) {
	data := toJPEG(t, 30, 30)
	for name, change := range map[string]func(*bucket.Options, *server.Options){
		"fails": func(_ *bucket.Options, o *server.Options) {
			o.Handoff = true
			o.Hot.(*hot).err = errors.New("tmpfs is full")
		},
		"none": func(_ *bucket.Options, o *server.Options) { o.Handoff = true; o.Hot = nil },
	} {
		s := newSite(t, change)
		w := s.ask("GET", s.link("full", s.origin.put("cat", data)), handedOff)
		if w.Code != 200 || w.Header().Get(nginx.HeaderRedirect) == "" {
			t.Errorf("%s: status %d, %v", name, w.Code, w.Header())
		}
		if told := strings.Contains(s.log.String(), "tmpfs is full"); told != (name == "fails") {
			t.Errorf("%s: the log has %s", name, s.log)
		}
	}
}

// What nginx was given lately is not looked at again, for as long as nginx does not look
// either: no file, and no hot link. Whether the image may be shown is asked each time.
func TestHandoffAgain(t *testing.T) {
	const valid = 5 * time.Second
	data := toPNG(t, 30, 30)
	var s *site
	var url string
	path := func() string {
		image, err := s.store.Find("i", url)
		if err != nil {
			t.Fatal(err)
		}
		return s.store.Path(image.File())
	}
	remove := func() {
		if err := os.Remove(path()); err != nil {
			t.Fatal(err)
		}
	}
	block := func(target bucket.Target) {
		if _, err := s.store.Block(t.Context(), target, bucket.RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		off       bool   // nothing is noted
		meanwhile func() // between the first request and the second
		size      string // of the second; empty: full
		links     int    // made for the second
		fetches   int    // in all
		code      string // of the second; empty: it is handed over
	}{
		"at once":                     {meanwhile: func() {}, fetches: 1},
		"nothing is noted":            {off: true, meanwhile: func() {}, links: 1, fetches: 1},
		"the last moment":             {meanwhile: func() { s.clock.add(valid - 1) }, fetches: 1},
		"too late":                    {meanwhile: func() { s.clock.add(valid) }, links: 1, fetches: 1},
		"another size":                {meanwhile: func() {}, size: "10x10", links: 1, fetches: 1},
		"another image is blocked":    {meanwhile: func() { block(bucket.Target{Host: "other.example"}) }, links: 1, fetches: 1},
		"it is blocked":               {meanwhile: func() { block(bucket.Target{URL: url}) }, fetches: 1, code: "removed"},
		"its host is blocked":         {meanwhile: func() { block(bucket.Target{Host: "origin.example"}) }, fetches: 1, code: "removed"},
		"its file is gone":            {meanwhile: remove, fetches: 1}, // nginx finds that out, and asks by HandoffDirect
		"its file is gone, too late":  {meanwhile: func() { remove(); s.clock.add(valid) }, links: 1, fetches: 2},
		"the first made no link":      {meanwhile: func() { s.hot.err = nil }, links: 1, fetches: 1},
		"it was purged and is served": {meanwhile: func() { s.store.Purge(t.Context(), bucket.Target{URL: url}, bucket.RemoveOptions{}) }, links: 1, fetches: 2},
	} {
		t.Run(name, func(t *testing.T) {
			s = newSite(t, func(_ *bucket.Options, o *server.Options) {
				o.Handoff = true
				if !tt.off {
					o.HandoffValid = valid
				}
			})
			s.decoder.answer = results(result(t, toPNG(t, 10, 10)))
			url = s.origin.put("cat", data)
			if name == "the first made no link" {
				s.hot.err = errors.New("tmpfs is full")
			}
			if w := s.ask("GET", s.link("full", url), handedOff); w.Header().Get(nginx.HeaderRedirect) == "" || len(s.hot.take()) != 1 {
				t.Fatalf("the first: status %d", w.Code)
			}
			tt.meanwhile()
			w := s.ask("GET", s.link(cmp.Or(tt.size, "full"), url), handedOff)
			if handed := w.Header().Get(nginx.HeaderRedirect) != ""; handed != (tt.code == "") || w.Header().Get(nginx.HeaderError) != tt.code {
				t.Errorf("handed over: %v, status %d, code %q, want %q", handed, w.Code, w.Header().Get(nginx.HeaderError), tt.code)
			}
			if got := s.hot.take(); len(got) != tt.links {
				t.Errorf("links %q, want %d", got, tt.links)
			}
			if s.origin.fetches[url] != tt.fetches {
				t.Errorf("%d fetches, want %d", s.origin.fetches[url], tt.fetches)
			}
		})
	}
}

// An image that is not stored has no ETag: the next answer may be another image.
func TestUncached(t *testing.T) {
	s := newSite(t, nil)
	data := toPNG(t, 30, 30)
	path := s.proxyLink("full", s.origin.put("cat", data))
	for range 2 {
		w := s.get(path)
		if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), data) {
			t.Fatalf("status %d, %d bytes", w.Code, w.Body.Len())
		}
		h := w.Header()
		if h.Get("ETag") != "" || h.Get("Last-Modified") != "" || h.Get("Cache-Control") != "private, max-age=3600" || h.Get("Content-Type") != "image/png" {
			t.Errorf("headers %v", h)
		}
	}
	if n := s.origin.fetches[host+"cat"]; n != 1 {
		t.Errorf("%d fetches, want one for all views within a minute", n)
	}
	if _, err := s.store.Find("i", host+"cat"); !errors.Is(err, bucket.ErrNotKept) {
		t.Errorf("it is kept: %v", err)
	}
	// What is kept is not fetched for it, and has no tag either.
	s.get(s.link("full", host+"cat"))
	if w := s.get(path); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), data) || w.Header().Get("ETag") != "" {
		t.Errorf("from the store: status %d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
	if n := s.origin.fetches[host+"cat"]; n != 2 {
		t.Errorf("%d fetches, want one for the views and one to keep it", n)
	}
	// A failure is remembered, as for what is stored.
	gone := s.proxyLink("full", s.origin.put("gone", &fetch.Error{Kind: fetch.Gone, Err: errors.New("gone")}))
	for range 2 {
		checkError(t, "gone", s.get(gone), 404, "gone")
	}
	if n := s.origin.fetches[host+"gone"]; n != 1 {
		t.Errorf("%d fetches of what is gone, want 1", n)
	}
}

// A placeholder is an image of an accepted type, and of a size that may be sent
// with every error.
func TestLoadPlaceholder(t *testing.T) {
	dir := t.TempDir()
	large := append(toJPEG(t, 30, 30), make([]byte, 1<<20)...)
	for name, test := range map[string]struct {
		data []byte
		good bool
	}{
		"image":        {toJPEG(t, 30, 30), true},
		"largest":      {large[:1<<20], true},
		"too large":    {large[:1<<20+1], false},
		"cut off":      {toPNG(t, 30, 30)[:100], false},
		"not an image": {[]byte("<html>"), false},
		"empty":        {nil, false},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := server.LoadPlaceholder(path)
		if (err == nil) != test.good || (p != nil) != test.good {
			t.Errorf("%s: %v, %v", name, p != nil, err)
		}
		if err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error does not name the file: %v", name, err)
		}
	}
	if _, err := server.LoadPlaceholder(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// The placeholder is the body of every error, those of conditions included. What
// is stored, and the server's own state, is told as ever.
func TestPlaceholder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "placeholder")
	image := toGIF(t, 5, 5, 2)
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	placeholder, err := server.LoadPlaceholder(path)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, func(_ *bucket.Options, o *server.Options) { o.Placeholder = placeholder })
	good := s.link("full", s.origin.put("cat", toJPEG(t, 30, 30)))
	for _, test := range []struct {
		path   string
		header http.Header
		status int
		code   string
	}{
		{"/", nil, 400, "malformed"},
		{s.link("full", s.origin.put("busy", &fetch.Error{Kind: fetch.Busy, Err: errors.New("busy")})), nil, 503, "busy"},
		{good, http.Header{"Range": {"bytes=100000-"}}, 416, "range"},
		{good, http.Header{"If-Match": {`"other"`}}, 412, "precondition"},
	} {
		w := s.ask("GET", test.path, test.header)
		h := w.Header()
		if w.Code != test.status || h.Get(nginx.HeaderError) != test.code || !bytes.Equal(w.Body.Bytes(), image) ||
			h.Get("Content-Type") != "image/gif" || h.Get("Cache-Control") != "no-store" || h.Get("Content-Length") != fmt.Sprint(len(image)) {
			t.Errorf("%s: %d, %v, %d bytes", test.path, w.Code, h, w.Body.Len())
		}
		if busy := test.status == 503; (h.Get("Retry-After") != "") != busy {
			t.Errorf("%s: Retry-After %q", test.path, h.Get("Retry-After"))
		}
	}
	if w := s.get(good); w.Code != 200 || w.Header().Get("Content-Type") != "image/jpeg" {
		t.Errorf("an image: %d, %v", w.Code, w.Header())
	}
	if w := s.get("/healthz"); w.Body.String() != "ok\n" {
		t.Errorf("healthz: %q", w.Body)
	}
}

// HEAD of an image that is not kept is answered from what is known, as GET is; twenty
// of them download it once.
func TestHeadOfUncached(t *testing.T) {
	s := newSite(t, nil)
	url := s.origin.put("cat", toJPEG(t, 30, 20))
	path := s.proxyLink("full", url)
	for range 20 {
		w := s.ask(http.MethodHead, path, nil)
		if w.Code != 200 || w.Body.Len() != 0 {
			t.Fatalf("status %d, %d bytes", w.Code, w.Body.Len())
		}
	}
	get := s.get(path)
	for _, header := range []http.Header{nil, {"Range": {"bytes=1-2"}}, {"Range": {"bytes=9999999-"}}} {
		a, b := s.ask(http.MethodHead, path, header), s.ask(http.MethodGet, path, header)
		if a.Code != b.Code || fmt.Sprint(a.Header()) != fmt.Sprint(b.Header()) {
			t.Errorf("%v: HEAD is answered %d %v, GET %d %v", header, a.Code, a.Header(), b.Code, b.Header())
		}
	}
	if get.Code != 200 || s.origin.fetches[url] != 1 {
		t.Errorf("status %d, fetched %d times", get.Code, s.origin.fetches[url])
	}
}

// The codes that errors have are those that may have an image.
func TestErrorCodes(t *testing.T) {
	codes := server.ErrorCodes()
	for _, code := range []string{"gone", "removed", "expired", "token", "precondition", "range", "internal", "busy", "method"} {
		if !slices.Contains(codes, code) {
			t.Errorf("%s is not among %q", code, codes)
		}
	}
	if slices.Contains(codes, server.CodeOK) || slices.Contains(codes, server.CodeLeft) || !slices.IsSorted(codes) {
		t.Errorf("%q", codes)
	}
}

// An image that is not kept is released with its answer: a minute later its file is gone.
func TestUncachedIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(b *bucket.Options, _ *server.Options) { b.Now = nil })
		if w := s.get(s.proxyLink("full", s.origin.put("cat", toPNG(t, 3, 2)))); w.Code != http.StatusOK {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		files := func() int {
			entries, err := os.ReadDir(s.store.Path("tmp"))
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		if files() == 0 {
			t.Fatal("what has passed is not there for others")
		}
		time.Sleep(2 * time.Minute) // of the bubble
		synctest.Wait()
		if n := files(); n > 0 {
			t.Errorf("%d files are left", n)
		}
	})
}

// sized is a JPEG of so many bytes: its picture, and comments.
func sized(t *testing.T, n int) []byte {
	data := toJPEG(t, 30, 30)
	head, rest := data[:2], data[2:]
	for missing := n - len(data); missing > 0; {
		part := min(missing, 60_000)
		if left := missing - part; left > 0 && left < 4 {
			part -= 4
		}
		head = append(slices.Clone(head), 0xff, 0xfe, byte((part-2)>>8), byte(part-2))
		head = append(head, make([]byte, part-4)...)
		missing -= part
	}
	return append(head, rest...)
}

// A file that is read for its request has the headers of one that is opened, as for HEAD, on
// both sides of the limit, and over a connection that sends it in one piece.
func TestSmallFiles(t *testing.T) {
	s := newSite(t, nil)
	front := httptest.NewUnstartedServer(s.handler)
	front.Config.ConnContext = server.ConnContext
	front.Start()
	defer front.Close()
	const limit = 64 << 10
	for _, n := range []int{2000, 4096, 20_000, limit, limit + 1, 3 * limit} {
		data := sized(t, n)
		path := s.link("full", s.origin.put(fmt.Sprint(n), data))
		if s.get(path).Code != 200 || len(data) != n {
			t.Fatalf("%d bytes, want %d", len(data), n)
		}
		head := s.ask(http.MethodHead, path, nil)
		for range 2 {
			r, err := http.Get(front.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			r.Header.Del("Date")
			if err != nil || r.StatusCode != 200 || !bytes.Equal(body, data) || fmt.Sprint(r.Header) != fmt.Sprint(head.Header()) {
				t.Errorf("%d bytes: status %d, %d bytes, %v, headers %v, want %v", n, r.StatusCode, len(body), err, r.Header, head.Header())
			}
		}
	}
}

// stuck is a viewer who does not read.
type stuck struct {
	*httptest.ResponseRecorder
	writes chan<- struct{}
	until  <-chan struct{}
}

func (w stuck) Write(p []byte) (int, error) {
	w.writes <- struct{}{}
	<-w.until
	return w.ResponseRecorder.Write(p)
}

// More viewers who do not read than there are buffers keep nobody from being answered.
func TestSmallFilesOfManyViewers(t *testing.T) {
	s := newSite(t, nil)
	data := sized(t, 20_000)
	path := s.link("full", s.origin.put("cat", data))
	s.get(path)
	const viewers = 100
	writes, until := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for range viewers {
		wg.Go(func() {
			w := stuck{httptest.NewRecorder(), writes, until}
			s.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if !bytes.Equal(w.Body.Bytes(), data) {
				t.Errorf("%d bytes", w.Body.Len())
			}
		})
	}
	for range viewers {
		<-writes
	}
	go func() {
		for range writes { // an opened file is written in several pieces
		}
	}()
	close(until)
	if w := s.get(path); !bytes.Equal(w.Body.Bytes(), data) {
		t.Errorf("%d bytes", w.Body.Len())
	}
	wg.Wait()
	close(writes)
}
