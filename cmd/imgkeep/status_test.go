package main_test

import (
	"bytes"
	"image"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Every status of the design's table is caused, through the real server.
func TestEveryStatus(t *testing.T) {
	t.Parallel()
	seen := map[int]int{}
	for _, part := range []struct {
		name string
		run  func(t *testing.T) *world
	}{
		{"served", testServed},
		{"link", testBadLinks},
		{"origin", testBadOrigins},
		{"policy", testPolicy},
		{"limits", testLimits},
		{"slow origin", testSlowOrigins},
		{"fetches busy", testFetchesBusy},
		{"decoders busy", testDecodersBusy},
		{"decoder fails", testDecoderFails},
		{"disk full", testDiskFull},
	} {
		t.Run(part.name, func(t *testing.T) {
			for status, n := range part.run(t).answered {
				seen[status] += n
			}
		})
	}
	for _, status := range []int{200, 206, 304, 400, 403, 404, 405, 410, 413, 415, 422, 451, 502, 503, 504} {
		if seen[status] == 0 {
			t.Errorf("no answer had status %d", status)
		}
	}
}

func testServed(t *testing.T) *world {
	w := newWorld(t, nil)
	image := photo(t, 80, 60)
	path := link("i", "full", w.origin.serve("/pictures/cat", image))
	s := w.start()
	defer s.stop()
	whole := s.get(path).isBytes("image/jpeg", image)
	whole.has("Cache-Control", "private, max-age=604800, immutable")
	s.sameHead(whole)
	etag, modified := whole.header.Get("ETag"), whole.header.Get("Last-Modified")

	for _, test := range []struct {
		name, value string
		status      int
		body        []byte
	}{
		{"If-None-Match", etag, 304, nil},
		{"If-None-Match", "W/" + etag, 304, nil},
		{"If-None-Match", "*", 304, nil},
		{"If-None-Match", `"another"`, 200, image},
		{"If-Modified-Since", modified, 304, nil},
		{"If-Modified-Since", "Mon, 02 Jan 2006 15:04:05 GMT", 200, image},
		{"If-Match", etag, 200, image},
		{"Range", "bytes=0-0", 206, image[:1]},
		{"Range", "bytes=10-19", 206, image[10:20]},
		{"Range", "bytes=10-", 206, image[10:]},
		{"Range", "bytes=-10", 206, image[len(image)-10:]},
		{"Range", "bytes=0-" + strconv.Itoa(10*len(image)), 206, image},
		{"Range", "pages=1-2", 416, nil},
		{"Range", "bytes=" + strconv.Itoa(len(image)) + "-", 416, nil},
		{"If-Match", `"another"`, 412, nil},
		{"If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:01 GMT", 412, nil},
	} {
		a := s.ask(http.MethodGet, path, http.Header{test.name: {test.value}})
		switch test.status {
		case 412:
			a.isError(412, "precondition")
			continue
		case 416:
			a.isError(416, "range")
			continue
		}
		if a.status != test.status || !bytes.Equal(a.body, test.body) {
			t.Errorf("%s %s: status %d and %d bytes, want %d and %d", test.name, test.value, a.status, len(a.body), test.status, len(test.body))
		}
		a.has("ETag", etag)
		a.has("Cache-Control", "private, max-age=604800, immutable")
	}
	a := s.ask(http.MethodGet, path, http.Header{"Range": {"bytes=1-2"}, "If-Range": {`"another"`}})
	a.isBytes("image/jpeg", image)
	a = s.ask(http.MethodGet, path, http.Header{"Range": {"bytes=1-2"}, "If-Range": {etag}})
	if a.status != 206 {
		t.Errorf("If-Range that holds: status %d", a.status)
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		a := s.get(path)
		if a.status != 200 || string(a.body) != want {
			t.Errorf("%s: status %d, %q", path, a.status, a.body)
		}
		s.sameHead(a)
	}
	return w
}

func testBadLinks(t *testing.T) *world {
	w := newWorld(t, nil)
	image := photo(t, 30, 30)
	url := w.origin.serve("/pictures/cat", image)
	good := link("i", "full", url)
	sig, ext := strings.Split(good, "/")[3], extURL(good)
	s := w.start()
	defer s.stop()

	for _, test := range []struct {
		path   string
		status int
		code   string
	}{
		{"/", 400, "malformed"},
		{"/favicon.png", 400, "malformed"},
		{"/i", 400, "malformed"},
		{"/i/full/" + sig, 400, "malformed"},
		{"/i/full/" + sig + "/", 400, "malformed"},
		{"/i/full/" + sig[1:] + "/" + ext, 400, "malformed"},
		{"/i/full/" + sig + "/" + ext + "/", 400, "malformed"},
		{"/i/full/" + sig + "/" + ext + "/proxy/", 400, "malformed"},
		{"/i/full/" + sig + "/" + ext + "/preview", 400, "malformed"},
		{"/i/full/" + sig + "/" + ext + "===", 400, "malformed"},
		{"/i/full/" + sig + "/" + ext + ".bmp", 400, "malformed"},
		{"//full/" + sig + "/" + ext, 400, "malformed"},
		{"/i//" + sig + "/" + ext, 400, "malformed"},
		{"/i%2Ffull/" + sig + "/" + ext, 400, "malformed"},
		{"/i/10X10/" + sig + "/" + ext, 400, "malformed"},
		{"/i/../i/full/" + sig + "/" + ext, 400, "malformed"},
		{"/i/full/" + sig + "/" + strings.Repeat("A", 4096), 400, "malformed"},
		{"/healthz/", 400, "malformed"},
		// Signed, but not the base64 of anything.
		{signed(secret, "i", "full", "A", "", time.Now()), 400, "malformed"},

		{link("i", "11x", url), 400, "size"},
		{link("i", "x", url), 400, "size"},
		{link("i", "thumbnail", url), 400, "size"},
		{proxyLink("i", "10x10", url), 400, "proxy-size"},
		{proxyLink("i", "info", url), 400, "proxy-size"},

		{link("i", "full", "ftp://example.com/cat.jpg"), 400, "url"},
		{link("i", "full", "file:///etc/passwd"), 400, "url"},
		{link("i", "full", "javascript:alert(1)"), 400, "url"},
		{link("i", "full", "cat.jpg"), 400, "url"},
		{link("i", "full", "http://"), 400, "url"},
		{link("i", "full", "http://user:password@example.com/cat.jpg"), 400, "url"},
		{link("i", "full", "http://example.com/\r\nHost: evil"), 403, "refused"}, // its lines are one path, as in a browser
		{link("i", "full", "\x00"), 400, "url"},

		{strings.Replace(good, sig, strings.Repeat("A", 16), 1), 403, "signature"},
		{signed("another secret of some length", "i", "full", ext, "", time.Now()), 403, "signature"},
		// The signature covers all but the size, and comes before all else.
		{strings.Replace(link("zz", "full", url), "/zz/", "/i/", 1), 403, "signature"},
		{good + "/proxy", 403, "signature"},
		{strings.TrimSuffix(proxyLink("i", "full", url), "/proxy"), 403, "signature"},
		{strings.Replace(good, "/i/full/", "/zz/full/", 1), 403, "signature"},
		{strings.Replace(good, "/i/full/"+sig, "/i/11x/"+strings.Repeat("A", 16), 1), 403, "signature"},
		{signed(secret, "i", "full", ext, "", time.Now().AddDate(0, 0, 14)), 403, "signature"},

		{link("zz", "full", url), 404, "bucket"},
		{link("tmp", "full", url), 404, "bucket"},
		{link("zz", "11x", url), 404, "bucket"},
	} {
		a := s.get(test.path).isError(test.status, test.code)
		s.sameHead(a)
	}

	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"} {
		for _, path := range []string{good, "/", "/healthz"} {
			a := s.ask(method, path, nil).isError(405, "method")
			a.has("Allow", "GET, HEAD")
		}
	}

	// Links of weeks past, made by the program's own command.
	for weeks, want := range map[int]struct {
		status int
		code   string
	}{2: {410, "expired"}, 5: {410, "expired"}, 8: {410, "expired"}, 11: {403, "signature"}, 52: {403, "signature"}} {
		at := time.Now().AddDate(0, 0, -7*weeks)
		out, errs, status := w.imgkeep("sign", "--at", at.Format(time.RFC3339), url)
		if status != 0 {
			t.Fatalf("imgkeep sign: status %d, %s", status, errs)
		}
		a := s.get(strings.TrimSpace(out)).isError(want.status, want.code)
		s.sameHead(a)
	}
	if w.origin.count("/pictures/cat") != 0 || len(w.originals("i")) != 0 {
		t.Error("a link that is no good has caused work")
	}
	out, _, _ := w.imgkeep("sign", url)
	if strings.TrimSpace(out) != good {
		t.Errorf("imgkeep sign: %s, want %s", out, good)
	}
	s.get(good).isBytes("image/jpeg", image)
	return w
}

// What is wrong with an image or its origin is told, remembered, and neither
// stored nor asked for again at once.
func testBadOrigins(t *testing.T) *world {
	w := newWorld(t, settings{"formats": []string{"jpeg", "png"}, "fetch.max_redirects": 2})
	o := w.origin
	image := photo(t, 80, 60)
	drawing := toPNG(t, corners(40, 30))
	coded := o.on("/pictures/coded", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(image)
	})
	chunks := o.on("/pictures/chunks", func(w http.ResponseWriter, _ *http.Request) {
		w.Write(image[:len(image)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	s := w.start()
	defer s.stop()
	for _, test := range []struct {
		url    string
		status int
		code   string
	}{
		{o.refuse("/pictures/404", 404), 404, "gone"},
		{o.refuse("/pictures/410", 410), 404, "gone"},

		{o.serve("/pictures/page", []byte("<!doctype html><title>Log in</title>")), 415, "type"},
		{o.serve("/pictures/svg", []byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)), 415, "type"},
		{o.serve("/pictures/text", []byte("not an image at all")), 415, "type"},
		{o.serve("/pictures/tiff", []byte("II*\x00\x08\x00\x00\x00")), 415, "type"},
		{o.serve("/pictures/gif", toGIF(t, corners(10, 10))), 415, "type"}, // not on the list here

		// Cut off, with the Content-Length of what there is.
		{o.serve("/pictures/third", image[:len(image)/3]), 422, "broken"},
		{o.serve("/pictures/short", image[:len(image)-20]), 422, "broken"}, // of pixels, and not of its end alone
		{o.serve("/pictures/png-third", drawing[:len(drawing)/3]), 422, "broken"},
		{o.serve("/pictures/png-short", drawing[:len(drawing)-20]), 422, "broken"},
		// Cut off, with the Content-Length of what there was.
		{o.announce("/pictures/cut", len(image), image[:len(image)/2]), 422, "broken"},
		{o.announce("/pictures/cut-whole", len(image)+1, image), 422, "broken"},
		{chunks, 422, "broken"},
		{o.serve("/pictures/crc", append(bomb(30, 30), "\x00\x00\x00\x01IDATxnocrc"...)), 422, "broken"},

		{o.refuse("/pictures/500", 500), 502, "origin"},
		{o.refuse("/pictures/304", 304), 502, "origin"},
		{o.refuse("/pictures/403", 403), 502, "blocked"},
		{o.refuse("/pictures/429", 429), 502, "blocked"},
		{o.serve("/pictures/challenge", []byte("<html><title>Just a moment...</title>")), 502, "blocked"},
		{o.serve("/pictures/empty", nil), 502, "origin"},
		{coded, 502, "origin"},
		{o.redirect("/pictures/loop", "/pictures/loop"), 502, "origin"},
		{o.redirect("/pictures/r3", o.redirect("/pictures/r2", o.redirect("/pictures/r1", o.serve("/pictures/end", image)))), 502, "origin"},
		// Nobody listens there.
		{strings.Replace(o.url("/pictures/refused"), "127.0.0.1", "127.0.0.3", 1), 502, "origin"},
	} {
		a := s.get(link("i", "full", test.url)).isError(test.status, test.code)
		s.sameHead(a)
		s.get(link("i", "10x10", test.url)).isError(test.status, test.code)
		path := test.url[strings.Index(test.url, "/pictures/"):]
		most := 1
		if path == "/pictures/loop" {
			most = 2 // and with the cookie that it has set, which might lead elsewhere
		}
		if n := o.count(path); n > most {
			t.Errorf("%s was asked for %d times, want %d", path, n, most)
		}
	}
	// A redirect fewer is followed.
	s.get(link("i", "full", o.url("/pictures/r2"))).isBytes("image/jpeg", image)

	// Whole, and kept; but no size can be made of it.
	rubbish := o.serve("/pictures/rubbish", undecodable())
	s.get(link("i", "full", rubbish)).isBytes("image/png", undecodable())
	a := s.get(link("i", "10x10", rubbish)).isError(422, "broken")
	s.sameHead(a)

	if kept := len(w.originals("i")); kept != 2 {
		t.Errorf("%d images are stored, want 2", kept)
	}
	return w
}

// What the operator's lists do not permit is not asked for.
func testPolicy(t *testing.T) *world {
	w := newWorld(t, settings{
		"buckets": []any{
			map[string]any{"name": "i"},
			map[string]any{"name": "e", "hosts": []string{"example.com", "*.example.com"}},
			map[string]any{"name": "o", "hosts": []string{"127.0.0.1"}},
		},
		"fetch.deny_hosts": []string{"127.0.0.2", "*.evil.example"},
	})
	o := w.origin
	image := photo(t, 30, 30)
	good := o.serve("/pictures/cat", image)
	port := strconv.Itoa(o.port)
	at := func(host string) string { return "http://" + host + ":" + port + "/pictures/cat" }
	s := w.start()
	for _, test := range []struct {
		bucket, url string
		status      int
		code        string
	}{
		{"i", "http://127.0.0.1/pictures/cat", 403, "refused"}, // a port that is not listed
		{"i", "http://127.0.0.1:22/pictures/cat", 403, "refused"},
		{"i", at("10.0.0.1"), 403, "refused"}, // networks that are not listed
		{"i", at("169.254.169.254"), 403, "refused"},
		{"i", at("0.0.0.0"), 403, "refused"},
		{"i", at("[::1]"), 403, "refused"},
		{"i", at("[64:ff9b::10.0.0.1]"), 403, "refused"},
		{"i", at("127.1"), 400, "url"}, // an odd spelling
		{"i", "local:///pictures/cat", 403, "refused"},
		{"i", o.redirect("/pictures/to-port", "http://127.0.0.1:22/"), 403, "refused"},
		{"i", o.redirect("/pictures/to-network", at("10.0.0.1")), 403, "refused"},
		{"i", o.redirect("/pictures/to-scheme", "file:///etc/passwd"), 403, "refused"},
		{"e", good, 403, "refused"}, // a host that the bucket has not
		{"e", at("evilexample.com"), 403, "refused"},
		{"e", at("example.com.evil"), 403, "refused"},
		{"e", "local:///pictures/cat", 403, "refused"},
		{"i", at("127.0.0.2"), 451, "removed"},
		{"i", at("www.evil.example"), 451, "removed"},
		{"i", o.redirect("/pictures/to-denied", at("127.0.0.2")), 451, "removed"},
	} {
		a := s.get(link(test.bucket, "full", test.url)).isError(test.status, test.code)
		s.sameHead(a)
		s.get(proxyLink(test.bucket, "full", test.url)).isError(test.status, test.code)
	}
	if n := o.count("/pictures/cat"); n != 0 {
		t.Errorf("%d fetches, want none", n)
	}
	for _, bucket := range []string{"i", "o"} {
		s.get(link(bucket, "full", good)).isBytes("image/jpeg", image)
	}
	// What is stored of a host is not served any more once the host is denied.
	s.stop()
	w.set("fetch.deny_hosts", []string{"127.0.0.1"})
	s = w.start()
	defer s.stop()
	for _, path := range []string{link("i", "full", good), link("i", "10x10", good), link("i", "info", good), proxyLink("i", "full", good)} {
		s.get(path).isError(451, "removed")
	}
	return w
}

// Each limit lets the largest through and stops what is larger by one.
func testLimits(t *testing.T) *world {
	w := newWorld(t, settings{
		"fetch.max_pixels": 10_000, "fetch.max_side": 200, "fetch.max_bytes": "64KiB",
		"fetch.max_frames": 20, "fetch.max_animation_pixels": 30_000,
		"buckets": []any{map[string]any{"name": "i"}, map[string]any{"name": "s", "max_bytes": "2KiB"}},
	})
	o := w.origin
	small := toJPEG(t, corners(8, 8))
	frames := func(n, side int) []byte { return toGIF(t, slices.Repeat([]*image.Paletted{corners(side, side)}, n)...) }
	chunked := func(path string, image []byte) string {
		return o.on(path, func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush() // so that no length is announced
			w.Write(image)
		})
	}
	s := w.start()
	defer s.stop()
	for _, test := range []struct {
		bucket, url string
		status      int
		code        string
	}{
		{"s", o.serve("/pictures/2k", lengthened(t, small, 2048)), 200, ""},
		{"s", o.serve("/pictures/2k+1", lengthened(t, small, 2049)), 413, "too-large"},
		{"s", chunked("/pictures/2k-chunked", lengthened(t, small, 2048)), 200, ""},
		{"s", chunked("/pictures/2k+1-chunked", lengthened(t, small, 2049)), 413, "too-large"},
		{"i", o.serve("/pictures/i2k+1", lengthened(t, small, 2049)), 200, ""},
		{"i", o.serve("/pictures/64k", lengthened(t, small, 64<<10)), 200, ""},
		{"i", o.serve("/pictures/64k+1", lengthened(t, small, 64<<10+1)), 413, "too-large"},
		// Announced to be too large, and never sent.
		{"i", o.announce("/pictures/huge", 1<<40, small), 413, "too-large"},

		{"i", o.serve("/pictures/100x100", toPNG(t, corners(100, 100))), 200, ""},
		{"i", o.serve("/pictures/101x100", toPNG(t, corners(101, 100))), 413, "too-many-pixels"},
		{"i", o.serve("/pictures/200x1", toPNG(t, corners(200, 2))), 200, ""},
		{"i", o.serve("/pictures/201x1", toPNG(t, corners(201, 2))), 413, "too-many-pixels"},
		{"i", o.serve("/pictures/1x201", toPNG(t, corners(2, 201))), 413, "too-many-pixels"},
		{"i", o.serve("/pictures/bomb", bomb(20_000, 20_000)), 413, "too-many-pixels"},

		{"i", o.serve("/pictures/20-frames", frames(20, 8)), 200, ""},
		{"i", o.serve("/pictures/21-frames", frames(21, 8)), 413, "too-many-frames"},
		{"i", o.serve("/pictures/3x100x100", frames(3, 100)), 200, ""},
		{"i", o.serve("/pictures/4x100x100", frames(4, 100)), 413, "too-many-frames"},
	} {
		a := s.get(link(test.bucket, "full", test.url))
		if test.status != 200 {
			a.isError(test.status, test.code)
			s.sameHead(a)
		} else if a.status != 200 {
			t.Errorf("%s: status %d, %s", test.url, a.status, a.body)
		}
	}
	// An animation is dropped on the header of the frame that is too many.
	many := frames(42, 8) // of which half is sent
	h := o.holdHalf("/pictures/slow-animation", many)
	s.get(link("i", "full", h.url)).isError(413, "too-many-frames")
	// A bomb is dropped on its header: the rest is never waited for.
	h = o.holdHalf("/pictures/slow-bomb", slices.Concat(bomb(20_000, 20_000), make([]byte, 60)))
	s.get(link("i", "full", h.url)).isError(413, "too-many-pixels")
	return w
}
