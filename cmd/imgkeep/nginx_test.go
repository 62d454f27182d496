package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"imgkeep/cmd/imgkeep/app"
	"imgkeep/nginx"
	"imgkeep/nginx/nginxtest"
)

// newFronted is a world whose server hands off to an nginx, and the site for it.
func newFronted(t testing.TB, more settings) (*world, nginx.Site) {
	t.Helper()
	w := newWorld(t, more)
	// nginx' workers are somebody else.
	if err := os.Chmod(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.set("handoff", "nginx")
	w.set("listen", "unix:"+filepath.Join(w.dir, "http.sock"))
	w.set("nginx.hot", filepath.Join(w.dir, "hot"))
	w.set("nginx.valid", "1s")
	site := nginx.Default()
	site.Root, site.Hot, site.Upstream = w.root(), filepath.Join(w.dir, "hot"), "unix:"+filepath.Join(w.dir, "http.sock")
	site.Valid = time.Second
	site.Timeout = 370 * time.Second // of fetch.timeout and resize.timeout
	return w, site
}

// front is an nginx before the world's server.
func (w *world) front(site nginx.Site) *server {
	w.t.Helper()
	n := nginxtest.Start(w.t, site)
	return &server{w: w, base: n.URL, client: n.Client()}
}

// What `imgkeep nginx` prints is the site that these tests use, and nginx takes
// what it prints with --prefix.
func TestNginxCommand(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, nil)
	w.set("base_url", "https://img.example")
	site.ServerName = []string{"img.example"}
	var want bytes.Buffer
	if err := site.Render(&want); err != nil {
		t.Fatal(err)
	}
	got, stderr, status := w.imgkeep("nginx")
	if status != 0 || got != want.String() || stderr != "" {
		t.Errorf("status %d, %s\ngot  %s\nwant %s", status, stderr, got, want.String())
	}
	whole, _, status := w.imgkeep("nginx", "--prefix", w.dir, "--user", "nobody")
	if status != 0 || !strings.Contains(whole, "user nobody;") || !strings.Contains(whole, "pid "+w.dir+"/nginx.pid") {
		t.Errorf("status %d: %s", status, whole)
	}
	if _, stderr, status := w.imgkeep("nginx", "--handoff", "direct"); status != 0 || !strings.Contains(stderr, "handoff") {
		t.Errorf("handoff direct: status %d, %q: want a warning", status, stderr)
	}
	w.set("nginx.hot", "/tmp/a b")
	if _, stderr, status := w.imgkeep("nginx"); status != 2 || !strings.Contains(stderr, "Hot") {
		t.Errorf("a path that nginx cannot take: status %d, %q", status, stderr)
	}
}

// seen is what a client makes of an answer.
type seen struct {
	status int
	header string
	body   string
}

// see makes a request and keeps what must be the same whichever server answers.
func (s *server) see(method, path string, header http.Header) seen {
	s.w.t.Helper()
	a, err := s.request(s.w.t.Context(), method, path, header)
	if err != nil {
		s.w.t.Fatalf("%s: %v", a.about, err)
	}
	body := string(a.body)
	// The boundary of several ranges is anyone's choice, and with it the length.
	if kind, param, err := mime.ParseMediaType(a.header.Get("Content-Type")); err == nil && strings.HasPrefix(kind, "multipart/") {
		a.header.Set("Content-Type", kind)
		a.header.Del("Content-Length")
		body = ""
		for r := multipart.NewReader(bytes.NewReader(a.body), param["boundary"]); method == http.MethodGet; {
			p, err := r.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				s.w.t.Fatalf("%s: %v", a.about, err)
			}
			b, err := io.ReadAll(p)
			if err != nil {
				s.w.t.Fatalf("%s: %v", a.about, err)
			}
			body += fmt.Sprintf("%s %s %x\n", p.Header.Get("Content-Type"), p.Header.Get("Content-Range"), b)
		}
	}
	// What both may do and one does.
	switch a.status {
	case http.StatusNotModified:
		a.header.Del("Last-Modified")
		a.header.Del("Content-Length")
	case http.StatusPartialContent:
		a.header.Del("Accept-Ranges")
	case http.StatusRequestedRangeNotSatisfiable:
		// nginx has said it of the image by then, and cannot take it back; of
		// two the stricter holds (RFC 9111, section 4.2.1).
		cc := a.header["Cache-Control"]
		a.header["Cache-Control"] = cc[len(cc)-1:]
	}
	var h strings.Builder
	for _, name := range headers {
		if name != "Date" {
			fmt.Fprintf(&h, "%s: %q\n", name, a.header[name])
		}
	}
	if via := a.header.Get(nginx.HeaderRedirect) + a.header.Get(nginx.HeaderHandoff); via != "" {
		s.w.t.Errorf("%s: the hand-off shows: %s", a.about, via)
	}
	return seen{a.status, h.String(), body}
}

// One client sees the same whether the server sends an image itself, nginx sends
// what the server points at, or nginx sends it without asking.
func TestThreeWays(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, settings{"fetch.deny_hosts": []string{"denied.example"}})
	jpeg := w.origin.serve("/pictures/jpeg", photo(t, 80, 60))
	others := map[string]string{
		"image/png":  w.origin.serve("/pictures/png", toPNG(t, noise(80, 60, 1))),
		"image/gif":  w.origin.serve("/pictures/gif", toGIF(t, corners(80, 60), corners(80, 60))),
		"image/webp": w.origin.serve("/pictures/webp", testdata(t, "still.webp")),
	}
	gone := w.origin.refuse("/pictures/gone", http.StatusNotFound)
	s := w.start()
	ng := w.front(site)

	first := s.get(link("i", "full", jpeg))
	etag, modified := first.header.Get("ETag"), first.header.Get("Last-Modified")
	h := func(pairs ...string) http.Header {
		header := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			header.Set(pairs[i], pairs[i+1])
		}
		return header
	}
	// A fragment is no part of an image's URL, so that each case has links of its
	// own: one that nobody has used, and one that nginx need not ask about.
	n := 0
	fresh := func(size, url string) string { n++; return link("i", size, fmt.Sprint(url, "#", n)) }
	type request struct {
		size, url string
		header    http.Header
		status    int
	}
	cases := []request{
		{"full", jpeg, nil, 200},
		{"20x20", jpeg, nil, 200},
		{"10x", jpeg, nil, 200},
		{"x50", jpeg, nil, 200},
		{"full", jpeg, h("Range", "bytes=0-0"), 206},
		{"full", jpeg, h("Range", "bytes=100-199"), 206},
		{"full", jpeg, h("Range", "bytes=-10"), 206},
		{"full", jpeg, h("Range", "bytes=100-"), 206},
		{"full", jpeg, h("Range", "bytes=0-9,20-29"), 206},
		{"20x20", jpeg, h("Range", "bytes=0-1, 5-6, -3"), 206},
		{"full", jpeg, h("Range", "bytes=9999999-"), 416},
		{"full", jpeg, h("Range", "bytes=9-3"), 416},
		{"full", jpeg, h("Range", "bytes=0-0", "If-Range", etag), 206},
		{"full", jpeg, h("Range", "bytes=0-0", "If-Range", `"other"`), 200},
		{"full", jpeg, h("If-None-Match", etag), 304},
		{"full", jpeg, h("If-None-Match", "W/"+etag), 304},
		{"full", jpeg, h("If-None-Match", "*"), 304},
		{"full", jpeg, h("If-None-Match", `"other"`), 200},
		{"full", jpeg, h("If-None-Match", `"other"`, "If-Modified-Since", modified), 200},
		{"full", jpeg, h("If-None-Match", etag, "If-Modified-Since", modified), 304},
		{"full", jpeg, h("If-None-Match", etag, "If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT"), 200},
		{"full", jpeg, h("If-None-Match", etag, "If-Modified-Since", "yesterday"), 200},
		{"full", jpeg, h("If-Modified-Since", modified), 304},
		{"full", jpeg, h("If-Modified-Since", "yesterday"), 200},
		{"full", jpeg, h("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"), 200},
		{"full", jpeg, h("If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT"), 200},
		{"full", jpeg, h("If-Match", etag), 200},
		{"full", jpeg, h("If-Match", `"other"`), 412},
		{"full", jpeg, h("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:01 GMT"), 412},
		{"full", jpeg, h("Accept-Encoding", "gzip, br", "Accept", "text/html", nginx.HeaderHandoff, "direct"), 200},
		{"full", jpeg, h(nginx.HeaderRedirect, "/_imgkeep/index.db", "Connection", "close"), 200},
		{"99x99", jpeg, nil, 400},
		{"full", gone, nil, 404},
		{"20x20", gone, nil, 404},
		{"full", "http://denied.example/", nil, 451},
		{"full", "http://192.0.2.1/", nil, 403},
		{"full", "ftp://192.0.2.1/", nil, 400},
	}
	for kind, url := range others {
		for _, size := range []string{"full", "10x10"} {
			cases = append(cases, request{size, url, nil, 200}, request{size, url, h("Range", "bytes=1-3"), 206})
			if got := s.see(http.MethodGet, fresh(size, url), nil); !strings.Contains(got.header, fmt.Sprintf("Content-Type: [%q]", kind)) {
				t.Errorf("%s of %s: %d, %s", size, url, got.status, got.header)
			}
		}
	}
	s.see(http.MethodGet, fresh("full", gone), nil) // so that all see the same time to come back

	type hot struct {
		what, method, path string
		header             http.Header
		want               seen
	}
	var hots []hot
	for _, c := range cases {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			what := fmt.Sprint(method, " ", c.size, " of ", c.url, " ", c.header)
			want := s.see(method, fresh(c.size, c.url), c.header)
			if want.status != c.status {
				t.Errorf("%s: status %d, want %d: %s", what, want.status, c.status, want.body)
			}
			if warm := ng.see(method, fresh(c.size, c.url), c.header); warm != want {
				t.Errorf("%s, by X-Accel-Redirect:\ngot  %d %s%.200q\nwant %d %s%.200q", what, warm.status, warm.header, warm.body, want.status, want.header, want.body)
			}
			if c.status < 400 || c.status == 412 {
				hots = append(hots, hot{what, method, fresh(c.size, c.url), c.header, want})
			}
		}
	}
	// As nginx asks: the server makes the link, and nginx has not looked for it yet.
	for _, hot := range hots {
		a, err := s.request(t.Context(), http.MethodGet, hot.path, h(nginx.HeaderHandoff, nginx.HandoffNginx))
		if err != nil || a.header.Get(nginx.HeaderRedirect) == "" || len(a.body) != 0 {
			t.Fatalf("%s: %v, %d bytes, %v", hot.what, a.header, len(a.body), err)
		}
	}
	// The server holds its breath: nginx is on its own.
	s.signal(syscall.SIGSTOP)
	for _, hot := range hots {
		if got := ng.see(hot.method, hot.path, hot.header); got != hot.want {
			t.Errorf("%s, hot:\ngot  %d %s%.200q\nwant %d %s%.200q", hot.what, got.status, got.header, got.body, hot.want.status, hot.want.header, hot.want.body)
		}
	}
	s.signal(syscall.SIGCONT)

	// What is no link, and other methods.
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/", 400},
		{"GET", "/favicon.gif", 400},
		{"GET", "/favicon.ico", 204},
		{"GET", "/robots.txt", 200},
		{"HEAD", "/robots.txt", 200},
		{"POST", "/robots.txt", 405},
		{"GET", "/i/robots.txt", 400},
		{"GET", "/_imgkeep/index.db", 400},
		{"GET", "/_imgkeep/i/journal/", 400},
		{"GET", "/index.db", 400},
		{"GET", "/.epoch", 400},
		{"GET", "/i/full/AA/", 400},
		{"GET", "/i//full/" + strings.Repeat("A", 16) + "/AAAA", 400},
		{"GET", "/i/full/" + strings.Repeat("A", 16) + "/AAAA", 403},
		{"POST", hots[0].path, 405},
		{"DELETE", hots[0].path, 405},
		{"GET", proxyLink("i", "full", jpeg), 200},
		{"GET", proxyLink("i", "20x20", jpeg), 400},
		{"GET", signed(secret, "i", "full", extURL(link("i", "full", jpeg)), "", time.Now().AddDate(0, 0, -28)), 410},
		{"GET", link("i", "info", jpeg), 200},
		{"GET", link("none", "full", jpeg), 404},
	} {
		want := s.see(c.method, c.path, nil)
		got := ng.see(c.method, c.path, nil)
		if got != want || got.status != c.status {
			t.Errorf("%s %s: status %d wanted\nnginx  %d %s%q\ndirect %d %s%q", c.method, c.path, c.status, got.status, got.header, got.body, want.status, want.header, want.body)
		}
	}
	s.stop()
}

// signal sends the server a signal that does not end it.
func (s *server) signal(sig os.Signal) {
	s.w.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.w.t.Fatal(err)
	}
}

// links are the hot links, as paths below the tree.
func (w *world) links() []string {
	w.t.Helper()
	found, err := filepath.Glob(filepath.Join(w.dir, "hot", "*", "*", "??", "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// A link is hot from its second view, whatever the type of its image, and although nginx
// may trust for a minute what it has looked up: the second view needs no server.
func TestSecondViewIsHot(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, nil)
	site.Valid = time.Minute
	images := map[string][]byte{"jpeg": photo(t, 80, 60), "png": toPNG(t, corners(80, 60)), "gif": toGIF(t, corners(80, 60)), "webp": testdata(t, "still.webp")}
	s := w.start()
	ng := w.front(site)
	paths := map[string]string{}
	for kind, image := range images {
		paths[kind] = link("i", "full", w.origin.serve("/pictures/"+kind, image))
		ng.see("GET", paths[kind], nil)
	}
	s.kill()
	for kind, image := range images {
		if got := ng.see("GET", paths[kind], nil); got.status != http.StatusOK || got.body != string(image) {
			t.Errorf("%s, with the server gone: status %d, %d bytes", kind, got.status, len(got.body))
		}
	}
}

// Links are made after a good answer; never for /proxy, info or an error; and not
// by what does not come through nginx.
func TestWhatGetsHot(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, nil)
	url := w.origin.serve("/pictures/cat", photo(t, 80, 60))
	gone := w.origin.refuse("/pictures/gone", http.StatusNotFound)
	s := w.start()
	ng := w.front(site)
	for _, path := range []string{
		proxyLink("i", "full", url), link("i", "info", url), link("i", "full", gone), link("i", "99x", url), "/",
	} {
		ng.see(http.MethodGet, path, nil)
	}
	s.get(link("i", "full", url)).isImage("image/jpeg")
	if got := w.links(); len(got) != 0 {
		t.Errorf("links: %v", got)
	}
	for n, size := range []string{"full", "20x20", "10x"} {
		ng.see(http.MethodGet, link("i", size, url), nil)
		if got := w.links(); len(got) != n+1 {
			t.Errorf("after %s: links %v", size, got)
		}
	}
	s.stop()
}

// kill -9 leaves hot links served, and a restart with another secret, or with an
// image's host denied, ends them.
func TestHotLinksAndRestarts(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, nil)
	image := photo(t, 80, 60)
	url := w.origin.serve("/pictures/cat", image)
	s := w.start()
	ng := w.front(site)
	path := link("i", "full", url)
	ng.see("GET", path, nil)
	s.kill()
	w.within(site, "nginx serves alone", func() bool { return string(ng.see("GET", path, nil).body) == string(image) })

	s = w.start() // as before
	if got := w.links(); len(got) != 1 {
		t.Errorf("a restart has dropped links: %v", got)
	}
	s.stop()
	w.set("sign.secrets", []string{"another secret for new links", secret})
	s = w.start()
	if got := w.links(); len(got) != 1 {
		t.Errorf("one more secret has dropped links: %v", got)
	}
	s.stop()

	w.set("fetch.deny_hosts", []string{"127.0.0.1"})
	s = w.start()
	if got := w.links(); len(got) != 0 {
		t.Errorf("links of a denied host are left: %v", got)
	}
	w.within(site, "an image of a denied host is removed", func() bool { return ng.see("GET", path, nil).status == 451 })
	s.stop()

	w.set("fetch.deny_hosts", []string{})
	s = w.start()
	if got := ng.see("GET", path, nil); got.status != 200 {
		t.Errorf("no longer denied: %d", got.status)
	}
	s.stop()
	w.set("sign.secrets", []string{"another secret for new links"})
	s = w.start()
	if got := w.links(); len(got) != 0 {
		t.Errorf("links of a secret that was taken out are left: %v", got)
	}
	w.within(site, "a link of an old secret is refused", func() bool { return ng.see("GET", path, nil).status == 403 })
	s.stop()
}

// within asks until the answer is yes. It must be to what is asked after the time for which
// nginx may trust what it remembers, which it counts in whole seconds, and one more.
func (w *world) within(site nginx.Site, what string, yes func() bool) {
	w.t.Helper()
	for begin, last := time.Now(), false; !last; {
		if last = time.Since(begin) > site.Valid+2*time.Second; yes() {
			return
		}
	}
	w.t.Fatalf("not within %v: %s", site.Valid+2*time.Second, what)
}

// An original that has vanished is repaired through nginx, hot or not, and where
// that cannot be, explained.
func TestVanishedThroughNginx(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, nil)
	image := photo(t, 80, 60)
	url := w.origin.serve("/pictures/cat", image)
	s := w.start()
	ng := w.front(site)
	path := link("i", "full", url)
	for range 2 {
		if got := ng.see("GET", path, nil); got.body != string(image) {
			t.Errorf("status %d, %d bytes", got.status, len(got.body))
		}
	}
	lose := func() {
		if err := os.Remove(filepath.Join(w.root(), w.originals("i")[0])); err != nil {
			t.Fatal(err)
		}
	}
	lose()
	w.within(site, "the original is repaired", func() bool {
		got := ng.see("GET", path, nil)
		if got.body != string(image) {
			t.Errorf("status %d, %d bytes", got.status, len(got.body))
		}
		return w.origin.count("/pictures/cat") == 2
	})
	lose()
	w.origin.off()
	w.within(site, "that it is lost is said", func() bool { return ng.see("GET", path, nil).status == 502 })
	a, err := ng.request(t.Context(), "GET", path, nil)
	if err != nil || a.header.Get("X-Imgkeep-Error") != "lost" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v, %v", a.header, err)
	}
	s.terminate()
	s.wait()
}

// A link is refused within the stated time after the end of its last week, in all
// three ways. The whole program runs here with a clock of ours, so that the week ends in
// the middle of the test.
func TestWeekEnds(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, nil)
	url := w.origin.serve("/pictures/cat", photo(t, 80, 60))
	end := time.Date(2027, 1, 18, 0, 0, 0, 0, time.UTC)
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	// before sets the clock. The server notices within 5 seconds: see nginx.Hot.
	before := func(d time.Duration) { ahead.Store(int64(time.Until(end.Add(-d)))) }
	before(time.Hour) // enough for what comes first, on any machine

	w.set("resize.command", filepath.Join(w.bin(), "imgkeep-resize"))
	w.command(t.Context(), "serve") // writes the configuration
	log := newLogbook()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan int)
	go func() {
		ended <- app.Run(ctx, app.Env{
			Args:  []string{"serve", "--config", filepath.Join(w.dir, "imgkeep.yaml")},
			Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: log, Now: clock,
		})
	}()
	s := &server{w: w, log: log, ended: make(chan struct{})}
	s.logged("serving")
	s.base, s.client = "http://socket", &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(w.dir, "http.sock"))
		},
	}}
	ng := w.front(site)

	// Made in the week before the one that ends.
	old := func(fragment string) string {
		l := link("i", "full", url+fragment)
		return signed(secret, "i", "full", extURL(l), "", end.Add(-8*24*time.Hour))
	}
	hot, warm := old("#hot"), old("#warm")
	// nginx remembers for a second that there was no link.
	w.within(site, "the link is hot", func() bool { return ng.see("GET", hot, nil).status == 200 && len(w.links()) == 1 })
	if got := s.see("GET", warm, nil).status; got != 200 {
		t.Errorf("before the end, direct: %d", got)
	}
	before(6 * time.Second)
	for ; clock().Before(end); time.Sleep(10 * time.Millisecond) {
		if got := ng.see("GET", hot, nil).status; got != 200 && clock().Before(end) {
			t.Fatalf("before the end, hot: %d", got)
		}
	}
	for way, ask := range map[string]func() seen{
		"warm":   func() seen { return ng.see("GET", warm, nil) },
		"direct": func() seen { return s.see("GET", hot, nil) },
	} {
		if got := ask().status; got != http.StatusGone {
			t.Errorf("after the end, %s: %d", way, got)
		}
	}
	w.within(site, "a hot link is refused", func() bool { return ng.see("GET", hot, nil).status == http.StatusGone })
	if got := w.links(); len(got) != 0 {
		t.Errorf("links: %v", got)
	}
	stop()
	if status := <-ended; status != 0 {
		t.Errorf("the server ended with %d:\n%s", status, log)
	}
}

// A restart with the socket held open, as systemd holds it, loses no request: the
// earlier process ends what it has begun, and the next takes what waits.
func TestRestartLosesNothing(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, settings{"nginx.max_links": 1}) // so that nearly all are asked about
	image := photo(t, 80, 60)
	url := w.origin.serve("/pictures/cat", image)
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(w.dir, "http.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := os.Chmod(filepath.Join(w.dir, "http.sock"), 0o666); err != nil {
		t.Fatal(err)
	}
	held, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	w.activated = held
	s := w.start()
	ng := w.front(site)
	ng.see("GET", link("i", "full", url), nil)

	const clients, rounds = 8, 5
	var wg sync.WaitGroup
	stop, failed := make(chan struct{}), make(chan struct{}, clients)
	answered := make(chan struct{})
	for c := range clients {
		wg.Go(func() {
			for n := 0; ; n++ {
				path := link("i", "full", fmt.Sprintf("%s#%d-%d", url, c, n))
				if got := ng.see("GET", path, nil); got.status != 200 || got.body != string(image) {
					t.Errorf("request %d of client %d: status %d, %d bytes: %.100s", n, c, got.status, len(got.body), got.body)
					failed <- struct{}{}
					return
				}
				select {
				case answered <- struct{}{}:
				case <-stop:
					return
				}
			}
		})
	}
	// Restarts in the middle of requests, and between them enough of those.
restarts:
	for round := range rounds + 1 {
		for range 5 * clients {
			select {
			case <-answered:
			case <-failed:
				break restarts
			}
		}
		if round < rounds {
			s.stop()
			s = w.start()
		}
	}
	close(stop)
	wg.Wait()
	s.stop()
}
