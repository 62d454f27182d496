package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Links of every secret are served; the first one signs.
func TestSeveralSecrets(t *testing.T) {
	t.Parallel()
	const new, old, file = "the new secret, in front", "the old secret, behind it", "the secret out of a file"
	w := newWorld(t, settings{"sign.secrets": []string{new, old}})
	path := filepath.Join(w.dir, "secret")
	if err := os.WriteFile(path, []byte(file+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.set("sign.secret_files", []string{path})
	image := photo(t, 30, 30)
	url := w.origin.serve("/pictures/cat", image)
	ext := extURL(link("i", "full", url))
	s := w.start()
	for _, secret := range []string{new, old, file} {
		s.get(signed(secret, "i", "full", ext, "", time.Now())).isBytes("image/jpeg", image)
	}
	s.get(link("i", "full", url)).isError(http.StatusForbidden, "signature")
	out, errs, _ := w.imgkeep("sign", url)
	if got, want := strings.TrimSpace(out), signed(new, "i", "full", ext, "", time.Now()); got != want {
		t.Errorf("imgkeep sign: %s (%s), want %s", got, errs, want)
	}
	s.stop()
}

// The older signature, which does not cover the bucket, is good in the bucket that
// is named, and nowhere else.
func TestBucketless(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"buckets": []any{map[string]any{"name": "i"}, map[string]any{"name": "f"}}})
	image := photo(t, 30, 30)
	url := w.origin.serve("/pictures/cat", image)
	ext := extURL(link("i", "full", url))
	older := func(bucket, extension string) string {
		return "/" + bucket + "/full/" + signature(secret, ext+extension, time.Now()) + "/" + ext + extension
	}
	s := w.start()
	s.get(older("i", "")).isError(http.StatusForbidden, "signature")
	s.stop()

	w.set("sign.bucketless", "i")
	s = w.start()
	s.get(older("i", "")).isBytes("image/jpeg", image)
	s.get(older("i", "/proxy")).isBytes("image/jpeg", image)
	s.get(link("i", "full", url)).isBytes("image/jpeg", image)
	s.get(older("f", "")).isError(http.StatusForbidden, "signature")
	s.get(older("zz", "")).isError(http.StatusForbidden, "signature")
	s.stop()
}

// A placeholder is the body of every error. The status stays the error's, and
// nothing keeps it.
func TestPlaceholder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	placeholder := toPNG(t, corners(16, 16))
	path := filepath.Join(w.dir, "placeholder")
	if err := os.WriteFile(path, placeholder, 0o600); err != nil {
		t.Fatal(err)
	}
	w.set("placeholder", path)
	good := link("i", "full", w.origin.serve("/pictures/cat", photo(t, 30, 30)))
	s := w.start()
	for _, test := range []struct {
		method, path string
		header       http.Header
		status       int
		code         string
	}{
		{"GET", "/", nil, 400, "malformed"},
		{"GET", strings.Replace(good, "/i/", "/f/", 1), nil, 403, "signature"},
		{"GET", link("i", "full", w.origin.refuse("/pictures/gone", 404)), nil, 404, "gone"},
		{"GET", link("i", "full", w.origin.refuse("/pictures/500", 500)), nil, 502, "origin"},
		{"POST", good, nil, 405, "method"},
		{"GET", good, http.Header{"If-Match": {`"another"`}}, 412, "precondition"},
		{"GET", good, http.Header{"Range": {"bytes=1000000-"}}, 416, "range"},
	} {
		a := s.ask(test.method, test.path, test.header)
		if a.status != test.status || string(a.body) != string(placeholder) {
			t.Errorf("%s: status %d and %d bytes, want %d and %d", a.about, a.status, len(a.body), test.status, len(placeholder))
		}
		a.has("X-Imgkeep-Error", test.code)
		a.has("Content-Type", "image/png")
		a.has("Cache-Control", "no-store")
		a.hasNo("ETag", "Last-Modified")
		if test.method == "GET" && test.header == nil {
			s.sameHead(a)
		}
	}
	s.get(good).isImage("image/jpeg")
	s.stop()
}

// Files below fetch.local_root are images like others; there is no way out of it.
func TestLocalFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	images, outside := filepath.Join(w.dir, "images"), filepath.Join(w.dir, "outside.jpg")
	image := photo(t, 30, 30)
	for path, data := range map[string][]byte{
		outside:                             image,
		filepath.Join(images, "a", "é.jpg"): image,
		filepath.Join(images, "text.jpg"):   []byte("root:x:0:0"),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(images, "out.jpg")); err != nil {
		t.Fatal(err)
	}
	w.set("fetch.local_root", images)
	s := w.start()
	s.get(link("i", "full", "local:///a/é.jpg")).isBytes("image/jpeg", image)
	s.get(link("i", "10x", "local:///a/%C3%A9.jpg")).isImage("image/jpeg")
	for url, want := range map[string]struct {
		status int
		code   string
	}{
		"local:///out.jpg":                 {403, "refused"},
		"local:///../outside.jpg":          {404, "gone"}, // dot segments end at the root, as in a browser
		"local:///%2e%2e/outside.jpg":      {404, "gone"},
		"local:///a/..%2f..%2foutside.jpg": {403, "refused"},
		"local:///a":                       {403, "refused"},
		"local:///none.jpg":                {404, "gone"},
		"local:///text.jpg":                {415, "type"},
		"local://host/a/x.jpg":             {400, "url"},
	} {
		s.get(link("i", "full", url)).isError(want.status, want.code)
	}
	if n := len(w.originals("i")); n != 1 {
		t.Errorf("%d images are stored, want 1", n)
	}
	s.stop()
}
