package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/nginx"
	"imgkeep/resize"
	"imgkeep/scripts/tempdir"
	"imgkeep/sign"
)

// host is where the images of the tests come from.
const host = "http://origin.example/"

// site is a server over a real store, with an origin, a decoder, a tree of hot
// links and a clock of the test's.
type site struct {
	t       testing.TB
	handler *server.Server
	sizes   []int // of the handler
	store   *bucket.Store
	signer  *sign.Signer
	origin  *origin
	decoder *decoder
	hot     *hot
	clock   *clock
	log     *bytes.Buffer
}

// newSite makes a site. change, if not nil, changes the options of store and
// server first.
func newSite(t testing.TB, change func(*bucket.Options, *server.Options)) *site {
	t.Helper()
	s := &site{
		t: t, origin: &origin{answers: map[string]any{}, fetches: map[string]int{}}, decoder: &decoder{}, hot: &hot{},
		clock: &clock{now: time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)}, log: &bytes.Buffer{},
	}
	var err error
	if s.signer, err = sign.New(sign.Options{Secrets: []string{"the secret of these tests"}}); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	storeOptions := bucket.Options{
		Root: tempdir.New(t), Buckets: []bucket.Bucket{{Name: "i"}, {Name: "f"}},
		Origin: s.origin, DenyHosts: []string{"denied.example"}, Now: s.clock.Now, Log: log,
	}
	options := server.Options{
		Signer: s.signer, Resizer: s.decoder, Sizes: []int{10, 20}, Quality: 70,
		Hot: s.hot, Now: s.clock.Now, Log: log,
	}
	if change != nil {
		change(&storeOptions, &options)
	}
	if s.store, err = bucket.Open(storeOptions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	options.Store, s.sizes = s.store, options.Sizes
	if s.handler, err = server.New(options); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) close() {
	if err := s.store.Close(context.Background()); err != nil && !errors.Is(err, bucket.ErrClosed) {
		s.t.Error(err)
	}
}

func (s *site) link(size, url string) string {
	return s.signer.Sign("i", size, url, false, s.clock.Now()).String()
}

func (s *site) proxyLink(size, url string) string {
	return s.signer.Sign("i", size, url, true, s.clock.Now()).String()
}

// ask has the handler answer a request.
func (s *site) ask(method, path string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Header = header
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

func (s *site) get(path string) *httptest.ResponseRecorder { return s.ask(http.MethodGet, path, nil) }

// checkError checks an error: its status, its code, and that it is one line that
// nothing keeps and that tells nothing.
func checkError(t testing.TB, about string, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	h := w.Header()
	if w.Code != status || h.Get(nginx.HeaderError) != code {
		t.Errorf("%s: got %d %q, want %d %q", about, w.Code, h.Get(nginx.HeaderError), status, code)
	}
	body := w.Body.String()
	if line, ok := strings.CutSuffix(body, "\n"); !ok || line == "" || strings.Contains(line, "\n") || strings.Contains(line, private) {
		t.Errorf("%s: body %.100q", about, body)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/plain; charset=utf-8", "Content-Length": fmt.Sprint(len(body)), "Cache-Control": "no-store",
		"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox",
		"Cross-Origin-Resource-Policy": "cross-origin", "Etag": "", "Last-Modified": "",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %s is %q, want %q", about, name, got, want)
		}
	}
}

// private is in every error that the parts below the server return.
const private = "private-detail"

// origin is a test's origin.
type origin struct {
	mu      sync.Mutex
	answers map[string]any // by URL: the bytes of an image, an error, or a func() any that gives one
	fetches map[string]int
}

// put has the URL of a name answered.
func (o *origin) put(name string, answer any) (url string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	url = host + strings.Map(func(r rune) rune {
		if r == ' ' || r == ',' {
			return '-'
		}
		return r
	}, name)
	o.answers[url] = answer
	return url
}

func (o *origin) Fetch(ctx context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	o.mu.Lock()
	o.fetches[r.URL]++
	answer := o.answers[r.URL]
	o.mu.Unlock()
	if f, ok := answer.(func() any); ok {
		answer = f()
	}
	switch answer := answer.(type) {
	case []byte:
		info, err := probe.Read(bytes.NewReader(answer), probe.Limits{})
		if err == nil {
			_, err = dst.Write(answer)
		}
		return fetch.Result{Info: info, Bytes: int64(len(answer)), FinalURL: r.URL}, err
	case error:
		return fetch.Result{}, answer
	}
	return fetch.Result{}, fmt.Errorf("the test has no answer for %s", r.URL)
}

// decoder is a test's Resizer.
type decoder struct {
	mu     sync.Mutex
	jobs   []resize.Job
	answer func(source []byte, j resize.Job) ([]resize.Result, error)
	enter  func(ctx context.Context) error // is called first, as the wait in the queue; nil: there is none
	ready  func() error                    // is called when a job is there; once it returns, a decoder is at hand. nil: one is
}

func (d *decoder) Resize(ctx context.Context, src io.Reader, n int64, j resize.Job) ([]resize.Result, error) {
	if j.Held == nil {
		return nil, errors.New("the results would be held in memory without being counted")
	}
	source, err := io.ReadAll(src)
	if err != nil || int64(len(source)) != n {
		return nil, fmt.Errorf("source of %d bytes, not %d: %v", len(source), n, err)
	}
	if d.enter != nil {
		if err := d.enter(ctx); err != nil {
			return nil, err
		}
	}
	if d.ready != nil {
		if err := d.ready(); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if j.LateTargets != nil {
		j.Targets = j.LateTargets()
	}
	d.jobs = append(d.jobs, j)
	results, err := d.answer(source, j)
	if err == nil {
		if wrong := j.Check(results); wrong != nil {
			return nil, fmt.Errorf("%w: %w: %w", resize.ErrCrashed, resize.ErrPoison, wrong)
		}
	}
	return results, err
}

// hot is a test's tree of hot links.
type hot struct {
	mu    sync.Mutex
	links []string // "bucket size signature ext target expires"
	err   error

	asked func() // is called before a decision is asked for; nil: nothing is
}

func (h *hot) AddWhile(bucket, size, signature, ext, target string, expires time.Time, still func() bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked != nil {
		h.asked()
	}
	if still() {
		h.links = append(h.links, strings.Join([]string{bucket, size, signature, ext, target, expires.Format(time.RFC3339)}, " "))
	}
	return h.err
}

// take returns the links made since the last call.
func (h *hot) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	links := h.links
	h.links = nil
	return links
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// noise is a picture that does not compress.
func noise(w, h int) image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	random := rand.New(rand.NewPCG(uint64(w), uint64(h)))
	for i := range m.Pix {
		m.Pix[i] = uint8(random.Uint32()) | uint8(i%4/3*255)
	}
	return m
}

func toJPEG(t testing.TB, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, noise(w, h), &jpeg.Options{Quality: 90}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func toPNG(t testing.TB, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, noise(w, h)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// toGIF makes an animation of plain frames.
func toGIF(t testing.TB, w, h, frames int) []byte {
	t.Helper()
	g := &gif.GIF{}
	for i := range frames {
		m := image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{color.Black, color.White})
		for p := range m.Pix {
			m.Pix[p] = uint8(i % 2)
		}
		g.Image, g.Delay = append(g.Image, m), append(g.Delay, 10)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// result is what a decoder would give.
func result(t testing.TB, data []byte) resize.Result {
	t.Helper()
	info, err := probe.Read(bytes.NewReader(data), probe.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return resize.Result{Format: info.Format.String(), Width: info.Width, Height: info.Height, Frames: info.Frames, Data: data}
}

func results(r ...resize.Result) func([]byte, resize.Job) ([]resize.Result, error) {
	return func([]byte, resize.Job) ([]resize.Result, error) { return r, nil }
}

// Options that cannot work are refused.
func TestNewRefuses(t *testing.T) {
	s := newSite(t, nil)
	for name, o := range map[string]server.Options{
		"no store":   {Signer: s.signer, Resizer: s.decoder},
		"no signer":  {Store: s.store, Resizer: s.decoder},
		"no decoder": {Store: s.store, Signer: s.signer},
	} {
		if _, err := server.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// All else may be left out.
	h, err := server.New(server.Options{Store: s.store, Signer: s.signer, Resizer: s.decoder})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
	if w.Code != 200 {
		t.Errorf("healthz: status %d", w.Code)
	}
}

// A size is listed when each of its sides is; with one that is not it is refused
// whole. A list that is changed afterwards changes nothing.
func TestListedSizes(t *testing.T) {
	sizes := []int{150, 250, 99999}
	s := newSite(t, func(_ *bucket.Options, o *server.Options) { o.Sizes = sizes })
	sizes[0] = 1
	source := toJPEG(t, 1000, 1000)
	url := s.origin.put("cat", source)
	s.decoder.answer = func(_ []byte, j resize.Job) ([]resize.Result, error) {
		w, h := j.Targets[0].Size.Fit(1000, 1000)
		return []resize.Result{result(t, toJPEG(t, w, h))}, nil
	}
	for size, want := range map[string]int{
		"150x": 200, "x150": 200, "150x150": 200, "150x250": 200, "250x150": 200, "99999x": 200, "full": 200, "info": 200,
		"1x": 400, "151x": 400, "149x": 400, "x151": 400, "150x151": 400, "151x150": 400, "151x151": 400,
		"x": 400, "0x150": 400, "150x0": 400, "0150x": 400, "99998x": 400, "100000x": 400, "150": 400, "150x150x": 400,
		"-150x": 400, "preview": 400, "fullx": 400, "_": 400,
	} {
		w := s.get(s.link(size, url))
		if want != 200 {
			checkError(t, size, w, want, "size")
		} else if w.Code != 200 {
			t.Errorf("%s: status %d, %s", size, w.Code, w.Body)
		}
	}
	if n := len(s.decoder.jobs); n != 6 {
		t.Errorf("the decoder had %d jobs, want 6", n)
	}
}

// Without a list only the image itself is there.
func TestNoSizes(t *testing.T) {
	s := newSite(t, func(_ *bucket.Options, o *server.Options) { o.Sizes = nil })
	url := s.origin.put("cat", toJPEG(t, 30, 30))
	checkError(t, "10x10", s.get(s.link("10x10", url)), 400, "size")
	if w := s.get(s.link("full", url)); w.Code != 200 {
		t.Errorf("full: status %d", w.Code)
	}
}

// What is cheap and sure is decided first: method, form, signature, bucket, size,
// URL. A request that is wrong in several ways shows which comes first.
func TestOrderOfChecks(t *testing.T) {
	s := newSite(t, nil)
	ext := sign.EncodeURL("ftp://x")
	forged := strings.Repeat("A", 16)
	signed := func(bucket, size string) string {
		return s.signer.Sign(bucket, size, "ftp://x", false, s.clock.Now()).String()
	}
	for _, test := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"POST", "/no/link", 405, "method"},
		{"POST", signed("i", "full"), 405, "method"},
		{"POST", "/healthz", 405, "method"},
		{"GET", "/zz/11x/short/" + ext, 400, "malformed"},
		{"GET", "/zz/11x/" + forged + "/" + ext, 403, "signature"},
		{"GET", signed("zz", "11x"), 404, "bucket"},
		{"GET", signed("i", "11x"), 400, "size"},
		{"GET", s.proxyLink("10x", "ftp://x"), 400, "proxy-size"},
		{"GET", s.proxyLink("info", "ftp://x"), 400, "proxy-size"},
		{"GET", s.proxyLink("full", "ftp://x"), 400, "url"},
		{"GET", signed("i", "10x"), 400, "url"},
		{"GET", signed("i", "full"), 400, "url"},
	} {
		checkError(t, test.method+" "+test.path, s.ask(test.method, test.path, nil), test.status, test.code)
	}
	if len(s.origin.fetches) > 0 || len(s.decoder.jobs) > 0 || len(s.hot.take()) > 0 {
		t.Error("a refused request has caused work")
	}
}

// A link is good in its week and in the next, told from a forged one for eight
// weeks more, and not good early but for ten minutes.
func TestWeeks(t *testing.T) {
	s := newSite(t, nil)
	url := s.origin.put("cat", toJPEG(t, 30, 30))
	path := s.link("full", url)
	monday := time.Date(2026, 11, 16, 0, 0, 0, 0, time.UTC) // of the clock's week
	const day = 24 * time.Hour
	for _, test := range []struct {
		at     time.Duration // from that Monday
		status int
	}{
		{-10*time.Minute - time.Second, 403}, {-10 * time.Minute, 200}, {0, 200},
		{14*day - time.Second, 200}, {14 * day, 410}, {70*day - time.Second, 410}, {70 * day, 403},
	} {
		s.clock.add(monday.Add(test.at).Sub(s.clock.Now()))
		if w := s.get(path); w.Code != test.status {
			t.Errorf("at %v: status %d, want %d", s.clock.Now(), w.Code, test.status)
		}
	}
}

// An ending behind a link changes nothing, also where it is not that of the image; what
// is none is refused, and so is one behind /proxy.
func TestEndings(t *testing.T) {
	s := newSite(t, nil)
	link := s.link("full", s.origin.put("cat", toJPEG(t, 30, 30)))
	want := s.get(link)
	for _, ending := range sign.Endings() {
		if w := s.get(link + ending); w.Code != 200 || w.Header().Get("Content-Type") != "image/jpeg" || !bytes.Equal(w.Body.Bytes(), want.Body.Bytes()) {
			t.Errorf("%s: %d, %v", ending, w.Code, w.Header())
		}
	}
	for _, ending := range []string{".svg", ".jpg.jpg", "/proxy.jpg", ".jpg/proxy"} {
		if w := s.get(link + ending); w.Code != 400 {
			t.Errorf("%s: %d", ending, w.Code)
		}
	}
}

// What crawlers and browsers ask for by themselves is answered, and is no link.
func TestRobotsAndIcon(t *testing.T) {
	s := newSite(t, nil)
	if w := s.get("/robots.txt"); w.Code != 200 || w.Body.String() != "User-agent: *\nDisallow: /\n" || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("robots.txt: %d, %q", w.Code, w.Body)
	}
	if w := s.get("/favicon.ico"); w.Code != 204 || w.Body.Len() != 0 || w.Header().Get("X-Imgkeep-Error") != "" {
		t.Errorf("favicon.ico: %d, %q", w.Code, w.Body)
	}
	for _, path := range []string{"/robots.txt/", "/i/robots.txt", "/Robots.txt"} {
		if w := s.get(path); w.Code != 400 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// HEAD is answered as GET is, without the body.
func TestHead(t *testing.T) {
	s := newSite(t, nil)
	good := s.link("full", s.origin.put("cat", toJPEG(t, 30, 30)))
	for _, path := range []string{good, "/healthz", "/readyz", "/robots.txt", "/favicon.ico"} {
		get, head := s.get(path), s.ask(http.MethodHead, path, nil)
		if head.Code != get.Code {
			t.Errorf("%s: status %d, want %d", path, head.Code, get.Code)
		}
		for name, values := range get.Header() {
			if !slices.Equal(head.Header()[name], values) {
				t.Errorf("%s: %s is %q, want %q", path, name, head.Header()[name], values)
			}
		}
	}
}

// A fetch of the server's own is refused, once it is known that its link was signed:
// a mark must not tell strangers which server it is of.
func TestOwnFetchIsRefused(t *testing.T) {
	s := newSite(t, func(_ *bucket.Options, o *server.Options) {
		o.Loop = func(headers []string) bool { return slices.Contains(headers, "mine") }
	})
	url := s.origin.put("cat", toJPEG(t, 30, 20))
	forged := strings.Replace(s.link("full", url), "/full/", "/full/x", 1)
	for _, path := range []string{s.link("full", url), s.link("info", url), s.proxyLink("full", url)} {
		for range 2 { // before it is kept, and after that
			checkError(t, path, s.ask("GET", path, http.Header{"Cdn-Loop": {"other", "mine"}}), 403, "loop")
			if w := s.ask("GET", path, http.Header{"Cdn-Loop": {"other"}}); w.Code != 200 {
				t.Errorf("%s: another's fetch got %d", path, w.Code)
			}
		}
	}
	if w := s.ask("GET", forged, http.Header{"Cdn-Loop": {"mine"}}); w.Header().Get("X-Imgkeep-Error") == "loop" {
		t.Error("a mark is told of without a link")
	}
}
