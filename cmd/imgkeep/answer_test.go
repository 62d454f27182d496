package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imgkeep/scripts/patience"
)

// viewer is in everything that a viewer's request has in it besides its link.
const viewer = "secret-of-the-viewer"

// answer is what a viewer got.
type answer struct {
	t      testing.TB
	about  string // the request
	status int
	header http.Header
	body   []byte
}

// get requests a link.
func (s *server) get(path string) answer { return s.ask(http.MethodGet, path, nil) }

// ask makes a request, and checks what holds of every answer. It may be called
// from any goroutine; after an error, which it reports, the status is 0.
func (s *server) ask(method, path string, header http.Header) answer {
	s.w.t.Helper()
	a, err := s.request(s.w.t.Context(), method, path, header)
	if err != nil {
		s.w.t.Errorf("%s: %v", a.about, err)
		return a
	}
	s.w.mu.Lock()
	s.w.answered[a.status]++
	s.w.mu.Unlock()
	a.checkPrivate(s.w)
	return a
}

// request makes a request as a viewer's browser and a careless proxy would.
func (s *server) request(ctx context.Context, method, path string, header http.Header) (answer, error) {
	a := answer{t: s.w.t, about: method + " " + path, header: http.Header{}}
	ctx, cancel := context.WithTimeout(ctx, patience.Of(s.w.t))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, nil)
	if err != nil {
		return a, err
	}
	for _, name := range []string{
		"Cookie", "Referer", "User-Agent", "Authorization", "X-Forwarded-For", "Forwarded", "X-Real-Ip",
		"Accept-Language", "Origin", "Via", "X-Secret", "Proxy-Authorization", "From",
	} {
		req.Header.Set(name, viewer)
	}
	maps.Copy(req.Header, header)
	resp, err := s.client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, err = io.ReadAll(resp.Body)
	return a, err
}

// headers are all that an answer may have.
var headers = []string{
	"Accept-Ranges", "Access-Control-Allow-Origin", "Allow", "Cache-Control", "Content-Length", "Content-Range", "Content-Security-Policy",
	"Content-Type", "Cross-Origin-Resource-Policy", "Date", "Etag", "Last-Modified", "Retry-After", "Vary", "Www-Authenticate", "X-Content-Type-Options", "X-Imgkeep-Error",
	"X-Robots-Tag",
}

// checkPrivate checks what holds of every answer: that a browser runs nothing of
// it, that nothing shared keeps it, and that nothing tells where the image is from.
func (a answer) checkPrivate(w *world) {
	a.t.Helper()
	a.has("X-Content-Type-Options", "nosniff")
	a.has("Cross-Origin-Resource-Policy", "cross-origin")
	a.has("Content-Security-Policy", "default-src 'none'; sandbox")
	if c := a.header.Get("Cache-Control"); c != "no-store" && !strings.HasPrefix(c, "private, max-age=") {
		a.t.Errorf("%s: Cache-Control %q", a.about, c)
	}
	told := slices.Sorted(maps.Keys(a.header))
	for _, name := range told {
		if !slices.Contains(headers, name) {
			a.t.Errorf("%s: header %s: %q", a.about, name, a.header[name])
		}
		told = append(told, a.header[name]...)
	}
	if !strings.HasPrefix(a.header.Get("Content-Type"), "image/") {
		told = append(told, string(a.body))
	}
	for _, text := range told {
		for _, private := range []string{leak, viewer, "127.0.0", ":" + strconv.Itoa(w.origin.port), "://", "/pictures/", w.dir} {
			if strings.Contains(text, private) {
				a.t.Errorf("%s: the answer tells %q: %q", a.about, private, text)
			}
		}
	}
}

func (a answer) has(name, want string) {
	a.t.Helper()
	if got := a.header[http.CanonicalHeaderKey(name)]; len(got) != 1 || got[0] != want {
		a.t.Errorf("%s: %s is %q, want %q", a.about, name, got, want)
	}
}

func (a answer) hasNo(names ...string) {
	a.t.Helper()
	for _, name := range names {
		if got, ok := a.header[http.CanonicalHeaderKey(name)]; ok {
			a.t.Errorf("%s: %s is %q, want none", a.about, name, got)
		}
	}
}

// isImage checks an answer that is served: 200, and the headers of an image.
func (a answer) isImage(contentType string) answer {
	a.t.Helper()
	if a.status != http.StatusOK {
		a.t.Fatalf("%s: status %d, %s", a.about, a.status, a.body)
	}
	a.has("Content-Type", contentType)
	a.has("Content-Length", strconv.Itoa(len(a.body)))
	a.has("Accept-Ranges", "bytes")
	a.hasNo("X-Imgkeep-Error", "Retry-After")
	return a
}

// isBytes checks an answer that is an image to the byte.
func (a answer) isBytes(contentType string, want []byte) answer {
	a.t.Helper()
	a.isImage(contentType)
	if !bytes.Equal(a.body, want) {
		a.t.Errorf("%s: %d bytes that are not the image of %d", a.about, len(a.body), len(want))
	}
	return a
}

// isError checks an error: its status, its code, and that it is one line of text
// that nothing keeps.
func (a answer) isError(status int, code string) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Errorf("%s: status %d (%s), want %d", a.about, a.status, strings.TrimSpace(string(a.body)), status)
	}
	a.has("X-Imgkeep-Error", code)
	a.has("Cache-Control", "no-store")
	a.has("Content-Type", "text/plain; charset=utf-8")
	a.has("Content-Length", strconv.Itoa(len(a.body)))
	a.hasNo("ETag", "Last-Modified")
	line, ok := strings.CutSuffix(string(a.body), "\n")
	if !ok || line == "" || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
		a.t.Errorf("%s: the body is %q, want one line of text", a.about, a.body)
	}
	// A client that may come back is told when.
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	switch later := status == 502 || status == 503 || status == 504; {
	case !later:
		a.hasNo("Retry-After")
	case err != nil || seconds < 1:
		a.t.Errorf("%s: Retry-After is %q, want seconds", a.about, a.header["Retry-After"])
	}
	return a
}

// sameHead checks that HEAD gives the headers of an answer to GET, without a body.
func (s *server) sameHead(a answer) {
	s.w.t.Helper()
	_, path, _ := strings.Cut(a.about, " ")
	head := s.ask(http.MethodHead, path, nil)
	if head.status != a.status || len(head.body) != 0 {
		s.w.t.Errorf("%s: status %d and %d bytes of body, want %d and none", head.about, head.status, len(head.body), a.status)
	}
	for _, h := range []http.Header{a.header, head.header} {
		h.Del("Date")
		if h.Get("Retry-After") != "" {
			h.Set("Retry-After", "some seconds") // which pass meanwhile
		}
	}
	if !maps.EqualFunc(a.header, head.header, slices.Equal[[]string]) {
		s.w.t.Errorf("%s: headers %v, want %v", head.about, head.header, a.header)
	}
}

// digest is the name of an image's file.
func digest(image []byte) string {
	sum := sha256.Sum256(image)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
