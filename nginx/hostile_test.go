package nginx_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/nginx"
	"imgkeep/scripts/patience"
)

// raw sends a request as it is written and returns the answer's status, headers
// and body. A request of HTTP/0.9 has no status: 0.
func (w *world) raw(t *testing.T, request string) (int, http.Header, string) {
	t.Helper()
	conn, err := net.Dial("tcp", w.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience.Of(t)))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if start, _ := r.Peek(5); string(start) != "HTTP/" {
		b, _ := io.ReadAll(r)
		return 0, nil, string(b)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(r, &http.Request{Method: method})
	}
	if err != nil {
		t.Fatalf("%.100q: %v", request, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%.100q: %v", request, err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// Whatever is sent, only the very link names a file. In everything else nginx
// asks imgkeep, with the request as it was written, or refuses it itself; no
// answer holds the image, and every error is one line with a code.
func TestHostileRequests(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, nil)
	const secret = "what nobody may see"
	expires := time.Now().Add(time.Hour)
	w.app.set("i", sigA, image{expires: expires, files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
	path := filepath.Join(w.app.root, w.app.images["i/"+sigA].files["full"])
	for _, p := range []string{path, filepath.Join(w.app.root, "index.db"), filepath.Join(w.app.root, "i", "secret.jpg"), filepath.Join(w.site.Hot, "plain.jpg")} {
		if err := os.WriteFile(p, []byte(secret), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.heat(t, "i", "full", sigA)
	// A link that is still being made, and one as a lost sweep might leave it.
	for _, dir := range []string{".tmp", ".dropped"} {
		d := filepath.Join(w.site.Hot, dir, "gn")
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		os.Chmod(filepath.Join(w.site.Hot, dir), 0o755)
		if err := os.Symlink(path, filepath.Join(d, sigA[2:]+".jpg")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(path, filepath.Join(w.site.Hot, "i", "full", "gn", sigA[2:]+".html")); err != nil {
		t.Fatal(err)
	}
	const S, s0, s1, rest = sigA, "g", "n", "jO6SJxYbeT9VBz"
	link := "/i/full/" + S + "/" + extURL
	if status, _, body := w.raw(t, "GET "+link+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); status != 200 || body != secret {
		t.Fatalf("the link itself: %d %q", status, body)
	}

	for _, target := range []string{
		// The tree by its own names.
		"/i/full/gn/" + rest + ".jpg", "/i/full/gn/" + rest, "/i/full/g/n/" + rest + ".jpg",
		"/i/full/" + S, "/i/full/" + S + "/", "/i/full/" + S + ".jpg", "/i/full/" + S + "/x.html",
		"/plain.jpg", "/.epoch", "/.tmp/gn/" + rest + ".jpg", "/", "/i", "/i/", "/i/full/", "/.none", "/.none.jpg",
		"/.tmp/full/" + S + "/" + extURL, "/.dropped/full/" + S + "/" + extURL,
		// The root by the hand-off's prefix.
		"/_imgkeep/i/a/b/d.jpg", "/_imgkeep/index.db", "/_imgkeep/i/secret.jpg", "/_imgkeep", "/_imgkeep/", "/_imgkeep/error/400",
		"//_imgkeep/i/a/b/d.jpg", "/./_imgkeep/i/a/b/d.jpg", "/x/../_imgkeep/i/a/b/d.jpg", "/%5Fimgkeep/i/a/b/d.jpg",
		"/_imgkeep%2Fi/a/b/d.jpg", "/_imgkeep/../_imgkeep/i/a/b/d.jpg", "/@imgkeep_direct",
		link + "/../../../../_imgkeep/i/a/b/d.jpg", link + "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/_imgkeep/i/a/b/d.jpg",
		// The link, written in another way: slashes.
		"/" + link, "//i//full//" + S + "//" + extURL, "/i//full/" + S + "/" + extURL, "/i/full//" + S + "/" + extURL,
		"/i/full/" + S + "//" + extURL, link + "/", link + "//", "/i%2Ffull/" + S + "/" + extURL, "/i/full%2F" + S + "/" + extURL,
		"/i/full/" + S + "%2F" + extURL, "%2Fi/full/" + S + "/" + extURL, `\i\full\` + S + `\` + extURL, `/i\full/` + S + "/" + extURL,
		// Dots.
		"/./i/full/" + S + "/" + extURL, "/i/./full/" + S + "/" + extURL, "/i/x/../full/" + S + "/" + extURL,
		"/%2e/i/full/" + S + "/" + extURL, "/i/%2e%2e/i/full/" + S + "/" + extURL, "/i/full/" + S + "/./" + extURL,
		"/i/full/" + S + "/../" + S + "/" + extURL, "/i/../f/../i/full/" + S + "/" + extURL, link + "/.", link + "/..", link + "/x/..",
		"/i/full/" + s0 + s1 + "%2e%2e" + rest[2:] + "/" + extURL, "/i/full/../" + rest + "AA/" + extURL, "/i/../" + S + "/" + extURL,
		"/../i/full/" + S + "/" + extURL, "/i/.../" + S + "/" + extURL,
		// Letters.
		"/%69/full/" + S + "/" + extURL, "/I/full/" + S + "/" + extURL, "/i/FULL/" + S + "/" + extURL, "/i/f%75ll/" + S + "/" + extURL,
		"/i/full/%67" + S[1:] + "/" + extURL, "/i/full/" + strings.ToUpper(S) + "/" + extURL, "/i/full/" + S[:15] + "/" + extURL, "/i/full/" + S + "A/" + extURL,
		"/i/full/" + S[:15] + "\xc3\xa9/" + extURL, "/i/full/" + S + "/\xff", link + "\x7f", link + "+", link + ".html", link + ".JPG", link + ".jpg.html", link + "..jpg", link + ".jpg/x", link + ";x", link + "#x", link + "#?",
		link + "===", link + "%3D%3D%3D", link + "%3", link + "%", link + "%20", link + "%0a", link + "%00", link + "%2500",
		"/i/full/" + S + "/=", "/i/full/" + S + "/?" + extURL, "/i/full/" + S + "?/" + extURL,
		// Other buckets, sizes and extensions.
		"/f/full/" + S + "/" + extURL, "/x/full/" + S + "/" + extURL, "/i/150x/" + S + "/" + extURL, "/i/info/" + S + "/" + extURL,
		"/i/full/" + S + "/" + extURL + "/proxy", link + "/proxy/", link + "/Proxy", link + "/proxy?x", link + "%2Fproxy", link + "/html",
		"/" + strings.Repeat("i", 33) + "/full/" + S + "/" + extURL, "/i/" + strings.Repeat("f", 33) + "/" + S + "/" + extURL, "//full/" + S + "/" + extURL, "/i//" + S + "/" + extURL,
		// As a proxy gets them.
		"http://imgkeep@x" + link, "http://x", "http://x?" + link, "http:/" + link, "*", "?" + link, "x" + link, "@imgkeep", "https:" + link,
		// Long.
		"/" + strings.Repeat("a", 5000), link + "/" + strings.Repeat("../", 1500), "/" + strings.Repeat("/", 4000), "/" + strings.Repeat("%2e", 2500),
		link + strings.Repeat("A", 9000), "/" + strings.Repeat("a", 40_000),
	} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			what := fmt.Sprintf("%s %.120q", method, target)
			w.app.take()
			status, header, body := w.raw(t, method+" "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if strings.Contains(body, secret) {
				// Only as the app itself hands them over.
				if seen := w.app.take(); method != "GET" || len(seen) != 1 || !strings.HasSuffix(strings.TrimSuffix(target, "?x"), "/proxy") {
					t.Errorf("%s: it was sent", what)
				}
				continue
			}
			if status == 200 && (strings.HasSuffix(strings.TrimSuffix(target, "?x"), "/proxy") || strings.HasPrefix(target, "/i/info/")) && method != "POST" {
				continue
			}
			if status < 400 {
				t.Errorf("%s: %d %v", what, status, header)
			}
			if header.Get("X-Imgkeep-Error") == "" || header.Get("Cache-Control") != "no-store" || header.Get("X-Content-Type-Options") != "nosniff" ||
				header.Get("Content-Type") != "text/plain; charset=utf-8" || method != "HEAD" && (strings.Count(body, "\n") != 1 || strings.Contains(body, "<")) {
				t.Errorf("%s: %d %v %.100q: want one line of text and the headers of an error", what, status, header, body)
			}
			for _, seen := range w.app.take() {
				// Of an absolute address only the path goes on.
				if !strings.HasSuffix(target, seen.uri) && !strings.HasSuffix(target, strings.TrimPrefix(seen.uri, "/")) {
					t.Errorf("%s: imgkeep was asked for %.120q", what, seen.uri)
				}
			}
		}
	}
}

// Methods other than GET and HEAD are imgkeep's to refuse, and bodies go nowhere.
func TestHostileMethods(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, nil)
	w.app.set("i", sigA, image{expires: time.Now().Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
	w.heat(t, "i", "full", sigA)
	link := "/i/full/" + sigA + "/" + extURL
	for _, c := range []struct {
		request string
		status  int
		code    string
		asked   int
	}{
		{"POST " + link + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n", 405, "method", 1},
		{"PUT " + link + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n", 405, "method", 1},
		{"POST " + link + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n", 0, "", 0}, // completed below
		{"DELETE " + link + " HTTP/1.1\r\nHost: x\r\n", 405, "method", 1},
		{"OPTIONS " + link + " HTTP/1.1\r\nHost: x\r\n", 405, "method", 1},
		{"PROPFIND " + link + " HTTP/1.1\r\nHost: x\r\n", 405, "method", 1},
		{"MOVE " + link + " HTTP/1.1\r\nHost: x\r\nDestination: http://x/y\r\n", 405, "method", 1},
		{"TRACE " + link + " HTTP/1.1\r\nHost: x\r\n", 405, "method", 1},
		{"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n", 400, "malformed", 0},
		{"get " + link + " HTTP/1.1\r\nHost: x\r\n", 400, "malformed", 0},
		{"GET" + link + " HTTP/1.1\r\nHost: x\r\n", 400, "malformed", 0},
		{"GET " + link + " HTTP/1.1\r\n", 400, "malformed", 0},
		{"GET " + link + " HTTP/1.1\r\nHost: a/b\r\n", 400, "malformed", 0},
		{"GET " + link + " HTTP/1.1\r\nHost: x\r\nHost: y\r\n", 400, "malformed", 0},
		{"GET " + link + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n", 501, "malformed", 0},
		{"GET " + link + " HTTP/3.0\r\nHost: x\r\n", 505, "malformed", 0},
		{"GET " + link + " x HTTP/1.1\r\nHost: x\r\n", 400, "malformed", 0},
		{"GET " + link + " HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 9000) + "\r\n", 431, "headers", 0},
		{"GET " + link + "?" + strings.Repeat("x", 9000) + " HTTP/1.1\r\nHost: x\r\n", 414, "long", 0},
		{"GET " + link + " HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n", 200, "", 1},
		{"GET " + link + "x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n", 400, "malformed", 1},
		{"HEAD " + link + " HTTP/1.1\r\nHost: x\r\n", 200, "", 0},
	} {
		request := c.request + "Connection: close\r\n\r\n"
		switch {
		case strings.Contains(request, "chunked"):
			request += "5\r\nhello\r\n0\r\n\r\n"
			c.status, c.code, c.asked = 405, "method", 1
		case strings.Contains(request, "Content-Length: 5"):
			request += "hello"
		}
		w.app.take()
		status, header, body := w.raw(t, request)
		seen := w.app.take()
		if strings.HasPrefix(request, "CONNECT") && status == 405 { // nginx 1.30 knows the method, and asks imgkeep
			c.status, c.code, c.asked = 405, "method", 1
		}
		if status != c.status || header.Get("X-Imgkeep-Error") != c.code || len(seen) != c.asked || strings.Contains(body, "<") {
			t.Errorf("%.80q: %d %q %.60q, imgkeep was asked %d times; want %d %q, %d times", request, status, header.Get("X-Imgkeep-Error"), body, len(seen), c.status, c.code, c.asked)
		}
		if status == 405 && header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%.80q: Allow is %q", request, header.Get("Allow"))
		}
		for _, s := range seen {
			for _, name := range []string{"Content-Length", "Transfer-Encoding", "Destination", "Connection"} {
				if v := s.header.Values(name); len(v) > 0 {
					t.Errorf("%.80q: imgkeep got %s: %q", request, name, v)
				}
			}
		}
	}
}

// Of a client's headers only those for ranges and conditions reach imgkeep, and
// none changes what nginx does.
func TestHostileHeaders(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, func(_ *nginx.Site, a *app) { a.hot = nil })
	w.app.set("i", sigA, image{expires: time.Now().Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
	allowed := http.Header{
		"Range": {"bytes=0-9"}, "If-Range": {`"x"`}, "If-None-Match": {`"x"`}, "If-Modified-Since": {"Tue, 03 Nov 2026 12:34:55 GMT"},
	}
	sent := http.Header{
		"X-Accel-Redirect": {"/_imgkeep/index.db"}, "X-Accel-Buffering": {"no"}, "X-Accel-Limit-Rate": {"1"}, "X-Accel-Expires": {"1"},
		"X-Imgkeep-Handoff": {"direct"}, "x-imgkeep-handoff": {"direct"}, "X_Imgkeep_Handoff": {"direct"}, "X-Sendfile": {"/etc/passwd"},
		"X-Original-Url": {"/x"}, "X-Rewrite-Url": {"/x"}, "X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Proto": {"https"},
		"X-Real-Ip": {"127.0.0.1"}, "Forwarded": {"for=127.0.0.1"}, "X-Http-Method-Override": {"DELETE"}, "Authorization": {"Basic eA=="},
		"Cookie": {"session=1"}, "Referer": {"https://forum.example.net/private"}, "User-Agent": {"x"}, "Accept": {"*/*"}, "Origin": {"null"},
		"Connection": {"close, X-Imgkeep-Handoff, Range, Host"}, "Upgrade": {"h2c"}, "Te": {"trailers"}, "Expect": {"100-continue"}, "Proxy": {"http://evil"},
	}
	request := "GET /i/full/" + sigA + "/" + extURL + " HTTP/1.1\r\nHost: evil.example.net\r\n"
	for _, headers := range []http.Header{allowed, sent} {
		for name, values := range headers {
			request += name + ": " + values[0] + "\r\n"
		}
	}
	status, header, body := w.raw(t, request+"\r\n")
	if status != 200 || len(body) != 100 || header.Get("Content-Type") != "image/jpeg" {
		t.Errorf("%d %v, %d bytes; want the image", status, header, len(body))
	}
	seen := w.app.take()
	if len(seen) != 1 {
		t.Fatalf("imgkeep was asked %d times", len(seen))
	}
	for name, values := range seen[0].header {
		if name == nginx.HeaderHandoff {
			if len(values) != 1 || values[0] != nginx.HandoffNginx {
				t.Errorf("%s reached imgkeep as %q", name, values)
			}
		} else if want := allowed[name]; want == nil || len(values) != 1 || values[0] != want[0] {
			t.Errorf("%s reached imgkeep as %q", name, values)
		}
	}
	for name := range header {
		if strings.HasPrefix(name, "X-Accel") || name == nginx.HeaderHandoff || name == "Set-Cookie" {
			t.Errorf("%s came back", name)
		}
	}
	if got := header.Get("Server"); got != "nginx" {
		t.Errorf("Server is %q: it tells the version", got)
	}
}

// What may be imgkeep's own fetch is asked of imgkeep also where a link is hot; what
// a CDN calls itself is not.
func TestLoopsAreImgkeepsToRefuse(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, nil)
	w.app.set("i", sigA, image{expires: time.Now().Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
	w.heat(t, "i", "full", sigA)
	w.app.take()
	mark := strings.Repeat("aB3_-xyz0", 3)
	for loop, asked := range map[string]bool{
		"": false, "cloudflare; loops=1": false, mark + "x": false, mark[1:]: false,
		mark: true, mark + ";x=1": true, "cloudflare, " + mark: true, mark + ", cloudflare": true,
	} {
		status, _, _ := w.raw(t, "GET /i/full/"+sigA+"/"+extURL+" HTTP/1.1\r\nHost: x\r\nCDN-Loop: "+loop+"\r\n\r\n")
		seen := w.app.take()
		if status != 200 || (len(seen) == 1) != asked {
			t.Errorf("%q: status %d, imgkeep was asked %d times", loop, status, len(seen))
		}
		if asked && len(seen) == 1 && seen[0].header.Get("CDN-Loop") != loop {
			t.Errorf("%q reached imgkeep as %q", loop, seen[0].header.Get("CDN-Loop"))
		}
	}
}

// The access log tells bucket, size, status and who answered; no signature, no
// address of an image, no page.
func TestAccessLog(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, nil)
	w.app.set("i", sigA, image{expires: time.Now().Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100), "150x": w.store(t, "i", "d.150x.jpg", 50)}})
	w.heat(t, "i", "full", sigA)
	rest := "/" + sigA + "/" + extURL
	for _, path := range []string{"/i/full" + rest, "/i/150x" + rest, "/f/full" + rest, "/i/full" + rest + "/proxy", "/x" + rest} {
		ask(t, w.client, "GET", w.URL+path+"?secret=1", http.Header{"Referer": {"https://forum.example.net/private"}, "Cookie": {"secret=1"}, "User-Agent": {"secret"}})
	}
	w.client.CloseIdleConnections()
	w.Stop()
	log := w.AccessLog()
	var got []string
	for line := range strings.Lines(log) {
		f := strings.Fields(line)
		if len(f) != 8 || f[0] != "127.0.0.1" {
			t.Fatalf("line %q", line)
		}
		got = append(got, strings.Join([]string{f[2], f[3], f[4], f[5], f[7]}, " "))
	}
	want := []string{"GET /i/full 200 100 nginx", "GET /i/150x 200 50 imgkeep", "GET /f/full 403 20 imgkeep", "GET - 200 100 imgkeep", "GET - 400 18 imgkeep"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("log:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, secret := range []string{sigA, sigA[2:], extURL, "forum", "secret", "d.jpg"} {
		if strings.Contains(log, secret) {
			t.Errorf("the access log holds %q:\n%s", secret, log)
		}
	}
	if e := w.ErrorLog(); strings.Contains(e, sigA) {
		t.Errorf("the error log holds the signature, though nothing failed:\n%s", e)
	}
}
