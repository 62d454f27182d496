package main_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/nginx"
)

const token = "b64.token~of+these/tests-0123=="

// What answers tell browsers is the same whichever server answers, also of errors and their
// images; and nobody without a token is answered, by the server or by nginx.
func TestPages(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, nil)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	gonePicture, anyPicture := toPNG(t, corners(16, 16)), toPNG(t, corners(17, 17))
	for name, text := range map[string][]byte{"gone": gonePicture, "any": anyPicture, "token": []byte(token + "\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const forum = "https://forum.example"
	w.set("headers.robots", "noindex, noimageindex")
	w.set("headers.resource_policy", "same-site")
	w.set("cors.origins", []string{forum, "http://localhost:8080"})
	w.set("access.token_files", []string{filepath.Join(dir, "token")})
	w.set("nginx.tokens", filepath.Join(dir, "nginx.tokens"))
	w.set("nginx.server_name", []string{"img.example", "127.0.0.1"})
	w.set("nginx.referers", []string{"forum.example", "*.forum.example"})
	w.set("resize.negotiate", []string{"webp"})
	w.set("placeholder", filepath.Join(dir, "any"))
	w.set("placeholders", []settings{{"errors": []string{"gone", "lost"}, "image": filepath.Join(dir, "gone")}})
	site.Page = nginx.Page{ResourcePolicy: "same-site", Robots: "noindex, noimageindex", Origins: []string{forum, "http://localhost:8080"}}
	site.Tokens, site.Referers, site.ServerName = filepath.Join(dir, "nginx.tokens"), []string{"forum.example", "*.forum.example"}, []string{"img.example", "127.0.0.1"}
	site.Offers = []nginx.Offer{{Format: "webp", Sizes: []string{"x"}}}
	site.Timeout += 2 * time.Minute

	// The site names the file of the tokens, and nobody else is shown one.
	var text bytes.Buffer
	if err := site.Render(&text); err != nil {
		t.Fatal(err)
	}
	printed, _, _ := w.imgkeep("nginx")
	if printed != text.String() {
		t.Errorf("imgkeep nginx prints\n%s\nwant\n%s", printed, text.String())
	}
	config, _, _ := w.imgkeep("config")
	if strings.Contains(printed+config, token) || !strings.Contains(config, "tokens: [] # 1 hidden") {
		t.Errorf("a token shows:\n%s", config)
	}
	tokens, stderr, status := w.imgkeep("nginx", "--tokens")
	if status != 0 || stderr != "" {
		t.Fatalf("--tokens: %d %s", status, stderr)
	}
	if err := os.WriteFile(site.Tokens, []byte(tokens), 0o600); err != nil {
		t.Fatal(err)
	}

	cat := w.origin.serve("/pictures/cat", photo(t, 80, 60))
	gone := w.origin.refuse("/pictures/gone", http.StatusNotFound)
	s := w.start()
	ng := w.front(site)
	h := func(origin string, pairs ...string) http.Header {
		header := http.Header{"Origin": {origin}, "Authorization": {"Bearer " + token}, "Referer": {"https://www.forum.example/thread/1"}}
		for i := 0; i < len(pairs); i += 2 {
			header.Set(pairs[i], pairs[i+1])
		}
		return header
	}
	n := 0
	fresh := func(size, url string) string { n++; return link("i", size, fmt.Sprint(url, "#", n)) }
	type view struct {
		path   string
		header http.Header
		want   seen
	}
	var hot []view
	for _, c := range []struct {
		size, url string
		header    http.Header
		status    int
		allowed   string // origin
		vary      string
	}{
		{"full", cat, h(forum), 200, forum, "Origin"},
		{"full", cat, h("HTTPS://Forum.Example"), 200, forum, "Origin"},
		{"full", cat, h("http://localhost:8080"), 200, "http://localhost:8080", "Origin"},
		{"full", cat, h("https://other.example"), 200, "", "Origin"},
		{"full", cat, h("https://xforum.example"), 200, "", "Origin"},
		{"full", cat, h("null"), 200, "", "Origin"},
		{"full", cat, h(forum, "Authorization", "bearer "+token), 200, forum, "Origin"},
		{"20x20", cat, h(forum), 200, forum, "Accept, Origin"},
		{"20x20", cat, h(forum, "If-None-Match", "*"), 304, forum, "Accept, Origin"},
		{"20x20", cat, h(forum, "If-Match", `"x"`), 412, forum, "Origin"},
		{"20x20", cat, h(forum, "Range", "bytes=99999-"), 416, forum, "Accept, Origin"},
		{"full", gone, h(forum), 404, forum, "Origin"},
		{"full", gone, h("https://other.example"), 404, "", "Origin"},
		{"21x", cat, h(forum), 400, forum, "Origin"},
		{"full", cat, h(forum, "Authorization", "Bearer "+token+"x"), 401, forum, "Origin"},
		{"full", cat, h(forum, "Authorization", "Bearer "+strings.ToUpper(token)), 401, forum, "Origin"},
		{"full", cat, h(forum, "Authorization", "Bearer "+strings.Replace(token, ".", "x", 1)), 401, forum, "Origin"},
		{"full", cat, h(forum, "Authorization", "Basic "+token), 401, forum, "Origin"},
		{"full", cat, h(forum, "Authorization", token), 401, forum, "Origin"},
		{"full", cat, h(forum, "Authorization", ""), 401, forum, "Origin"},
	} {
		path := fresh(c.size, c.url)
		want := s.see(http.MethodGet, path, c.header)
		what := fmt.Sprint(c.size, " of ", c.url, " ", c.header)
		if want.status != c.status {
			t.Errorf("%s: status %d, want %d", what, want.status, c.status)
		}
		for name, value := range map[string]string{
			"Cross-Origin-Resource-Policy": "same-site", "X-Robots-Tag": "noindex, noimageindex",
			"Access-Control-Allow-Origin": c.allowed, "Vary": c.vary,
		} {
			line := fmt.Sprintf("%s: [%q]\n", name, value)
			if value == "" {
				line = name + ": []\n"
			}
			if !strings.Contains(want.header, line) {
				t.Errorf("%s: want %s in\n%s", what, line, want.header)
			}
		}
		picture := map[int]string{400: string(anyPicture), 404: string(gonePicture)}[c.status]
		if picture != "" && want.body != picture {
			t.Errorf("%s: another image stands for the error", what)
		}
		got := ng.see(http.MethodGet, fresh(c.size, c.url), c.header)
		if c.status == 401 || c.status == 412 { // nginx has no images of errors that it finds itself
			got.body, want.body = "", ""
			got.header, want.header = withoutBody(got.header), withoutBody(want.header)
		}
		if got != want {
			t.Errorf("%s, by nginx:\ngot  %d %s\nwant %d %s", what, got.status, got.header, want.status, want.header)
		}
		if c.status == 200 || c.status == 304 {
			p := fresh(c.size, c.url)
			// As nginx asks: nginx has not looked for it yet.
			told := c.header.Clone()
			told.Set(nginx.HeaderHandoff, nginx.HandoffNginx)
			if a, err := s.request(t.Context(), http.MethodGet, p, told); err != nil || a.header.Get(nginx.HeaderRedirect) == "" {
				t.Fatalf("%v, %v", a.header, err)
			}
			hot = append(hot, view{p, c.header, want})
		}
	}
	s.signal(syscall.SIGSTOP)
	for _, v := range hot {
		if got := ng.see(http.MethodGet, v.path, v.header); got != v.want {
			t.Errorf("hot, %v:\ngot  %d %s\nwant %d %s", v.header, got.status, got.header, v.want.status, v.want.header)
		}
		// Hot as it is, nobody without a token sees it, and no page of another site.
		if got := ng.see(http.MethodGet, v.path, h(forum, "Authorization", "Bearer wrong")); got.status != 401 || !strings.Contains(got.header, `X-Imgkeep-Error: ["token"]`) {
			t.Errorf("hot, without a token: %d %s", got.status, got.header)
		}
		for referer, want := range map[string]int{"https://other.example/": 403, "https://forum.example.evil.example/": 403, "": v.want.status, "http://forum.example/": v.want.status} {
			header := v.header.Clone()
			header.Set("Referer", referer)
			got := ng.see(http.MethodGet, v.path, header)
			if got.status != want || want == 403 && (!strings.Contains(got.header, `X-Imgkeep-Error: ["referer"]`) || !strings.Contains(got.header, `no-store`)) {
				t.Errorf("hot, with Referer %q: %d %s, want %d", referer, got.status, got.header, want)
			}
		}
	}
	s.signal(syscall.SIGCONT)
	s.stop()
	if strings.Contains(s.log.String(), token) {
		t.Error("the log holds a token")
	}
}

// withoutBody leaves out of seen's headers what is about the body.
func withoutBody(headers string) string {
	lines := slices.DeleteFunc(strings.SplitAfter(headers, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "Content-")
	})
	return strings.Join(lines, "")
}

// With fetch.base_url a link may name an image by its path, for every command.
func TestBaseURL(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	cat := w.origin.serve("/pictures/cat.jpg", photo(t, 30, 30))
	base := strings.TrimSuffix(cat, "cat.jpg")
	relative := link("i", "full", "cat.jpg")
	s := w.start()
	s.get(relative).isError(http.StatusBadRequest, "url")
	s.stop()
	if _, stderr, status := w.imgkeep("sign", "cat.jpg"); status == 0 {
		t.Errorf("sign: %d %s", status, stderr)
	}

	w.set("fetch.base_url", base)
	for _, url := range []string{"cat.jpg", "./cat.jpg", "../pictures/cat.jpg", "/pictures/cat.jpg"} {
		got, stderr, status := w.imgkeep("sign", url)
		if status != 0 || !strings.HasSuffix(strings.TrimSpace(got), "/"+base64.RawURLEncoding.EncodeToString([]byte(url))) {
			t.Errorf("sign %s: %d %q %s", url, status, got, stderr)
		}
	}
	if out, stderr, status := w.imgkeep("check", "cat.jpg"); status != 0 || !strings.Contains(out, cat) {
		t.Errorf("check: %d %s%s", status, out, stderr)
	}
	if out, stderr, status := w.imgkeep("verify", relative); status != 0 || !strings.Contains(out, cat) {
		t.Errorf("verify: %d %s%s", status, out, stderr)
	}
	s = w.start()
	s.get(relative).isImage("image/jpeg")
	s.get(link("i", "full", "/pictures/cat.jpg")).isImage("image/jpeg")
	s.get(link("i", "full", cat)).isImage("image/jpeg")
	if n := w.origin.count("/pictures/cat.jpg"); n != 2 { // by check, and once to keep it
		t.Errorf("the origin was asked %d times", n)
	}
	if out, stderr, status := w.imgkeep("show", relative); status != 0 || !strings.Contains(out, cat) {
		t.Errorf("show: %d %s%s", status, out, stderr)
	}
	if out, stderr, status := w.imgkeep("block", "--why", "test", relative); status != 0 {
		t.Errorf("block: %d %s%s", status, out, stderr)
	}
	s.get(link("i", "full", cat)).isError(http.StatusUnavailableForLegalReasons, "removed")
	s.stop()
}
