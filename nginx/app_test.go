package nginx_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"imgkeep/nginx"
	"imgkeep/nginx/nginxtest"
)

// app stands in for imgkeep's server: it answers as that does, for images that a
// test has put there. Its signatures are not computed but listed.
type app struct {
	root   string
	hot    *nginx.Hot // nil: makes no links
	now    func() time.Time
	maxAge time.Duration

	mu     sync.Mutex
	images map[string]*image // by bucket, "/" and signature
	asked  []asked
}

type image struct {
	files   map[string]string // by size; paths below the root
	expires time.Time
	status  int // of an error; 0: it is served
}

// asked is a request that has arrived at the app.
type asked struct {
	method, uri, handoff string
	header               http.Header
}

const extURL = "aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn"

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked = append(a.asked, asked{r.Method, r.RequestURI, r.Header.Get(nginx.HeaderHandoff), r.Header.Clone()})
	img, part, ok := a.find(r.RequestURI)
	a.mu.Unlock()
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		a.fail(w, http.StatusMethodNotAllowed, "method")
	case !ok:
		a.fail(w, http.StatusBadRequest, "malformed")
	case img == nil:
		a.fail(w, http.StatusForbidden, "forged")
	case img.status != 0:
		a.fail(w, img.status, "removed")
	case !img.expires.After(a.now()):
		a.fail(w, http.StatusGone, "expired")
	case part[1] == "info":
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte("{}\n"))
	default:
		a.serve(w, r, img, part)
	}
}

// find knows no encodings but that of "=": what is not a link to the letter is
// malformed.
func (a *app) find(uri string) (*image, []string, bool) {
	uri, _, _ = strings.Cut(uri, "?")
	part := strings.Split(strings.TrimPrefix(uri, "/"), "/")
	if len(part) == 5 && part[4] == "proxy" {
		part = part[:4]
	} else if len(part) != 4 {
		return nil, nil, false
	}
	padding, ok := strings.CutPrefix(part[3], extURL)
	padding = strings.NewReplacer("%3D", "=", "%3d", "=").Replace(padding)
	if !ok || padding != "==="[:min(len(padding), 2)] || len(part[2]) != 16 {
		return nil, nil, false
	}
	return a.images[part[0]+"/"+part[2]], part, true
}

func (a *app) serve(w http.ResponseWriter, r *http.Request, img *image, part []string) {
	file, ok := img.files[part[1]]
	if !ok {
		a.fail(w, http.StatusBadRequest, "size")
		return
	}
	path, ext := filepath.Join(a.root, file), filepath.Ext(file)
	if r.Header.Get(nginx.HeaderHandoff) == nginx.HandoffNginx {
		if a.hot != nil && !strings.HasSuffix(r.RequestURI, "/proxy") {
			if err := a.hot.Add(part[0], part[1], part[2], ext, path, img.expires); err != nil {
				panic(err)
			}
		}
		w.Header().Set(nginx.HeaderRedirect, nginx.InternalPrefix+file)
		return
	}
	f, err := os.Open(path)
	if err != nil {
		a.fail(w, http.StatusNotFound, "gone")
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		panic(err)
	}
	a.headers(w)
	w.Header().Set("Cache-Control", fmt.Sprintf("private, max-age=%d, immutable", int(a.maxAge.Seconds())))
	w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().Unix(), info.Size()))
	w.Header().Set("Content-Type", map[string]string{".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif"}[ext])
	if since, err := http.ParseTime(r.Header.Get("If-Modified-Since")); err == nil && !since.Equal(info.ModTime().Truncate(time.Second)) {
		r.Header.Del("If-Modified-Since")
		r.Header.Del("If-None-Match")
	}
	http.ServeContent(&lineWriter{ResponseWriter: w, a: a, size: info.Size()}, r, "", info.ModTime(), f)
}

func (a *app) headers(w http.ResponseWriter) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
}

func (a *app) fail(w http.ResponseWriter, status int, code string) {
	line := "imgkeep says " + code
	for _, p := range nginx.ErrorPages() {
		if p.Code == code {
			line = p.Line
		}
	}
	a.headers(w)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set(nginx.HeaderError, code)
	w.Header().Set("Content-Length", fmt.Sprint(len(line)+1))
	w.WriteHeader(status)
	fmt.Fprintln(w, line)
}

// lineWriter turns the errors of http.ServeContent into ours.
type lineWriter struct {
	http.ResponseWriter
	a      *app
	size   int64
	failed bool
}

func (w *lineWriter) WriteHeader(status int) {
	for _, p := range nginx.ErrorPages() {
		if p.Status == status {
			w.failed = true
			for _, name := range []string{"ETag", "Last-Modified", "Accept-Ranges"} {
				w.Header().Del(name)
			}
			if status == http.StatusRequestedRangeNotSatisfiable {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", w.size))
			}
			w.a.fail(w.ResponseWriter, status, p.Code)
			return
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *lineWriter) Write(b []byte) (int, error) {
	if w.failed {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// take returns what the app was asked since the last call.
func (a *app) take() []asked {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.asked
	a.asked = nil
	return taken
}

func (a *app) set(bucket, signature string, img image) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.images[bucket+"/"+signature] = &img
}

// world is an nginx with an app behind it.
type world struct {
	*nginxtest.Server
	app    *app
	site   nginx.Site
	hot    *nginx.Hot
	client *http.Client
	direct *http.Client // asks the app itself
	stop   func()       // ends the app
}

// newWorld starts both. change, if not nil, changes the site and the app
// first, and edit the text of nginx.conf.
func newWorld(t *testing.T, hotOptions nginx.HotOptions, change func(*nginx.Site, *app), edit ...func(string) string) *world {
	t.Helper()
	// nginx' workers are somebody else: the way to the files must be open to them.
	dir, err := os.MkdirTemp("", "imgkeep")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	root := filepath.Join(dir, "root")
	for _, d := range []string{dir, root} {
		os.Mkdir(d, 0o755)
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	site := nginx.Default()
	site.Buckets = []string{"i", "f"}
	site.Root, site.Hot, site.Upstream = root, filepath.Join(dir, "hot"), "unix:"+filepath.Join(dir, "http.sock")
	site.Valid = time.Second
	hotOptions.Dir = site.Hot
	hot := openHot(t, hotOptions)
	a := &app{root: root, hot: hot, now: time.Now, maxAge: site.MaxAge, images: map[string]*image{}}
	if hotOptions.Now != nil {
		a.now = hotOptions.Now
	}
	if change != nil {
		change(&site, a)
	}

	socket := filepath.Join(dir, "http.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: a}
	go server.Serve(listener)
	stop := sync.OnceFunc(func() {
		// First, and here: Serve may not have begun, and would close it later, and
		// with it the socket of whoever listens there by then.
		listener.Close()
		server.Close()
	})
	t.Cleanup(stop)

	w := &world{Server: nginxtest.Start(t, site, edit...), app: a, site: site, hot: hot, stop: stop}
	w.client = w.Client()
	transport := &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	w.direct = &http.Client{Transport: transport}
	return w
}

// store writes a file of n bytes below the root and returns its path there.
func (w *world) store(t *testing.T, bucket, name string, n int) string {
	t.Helper()
	file := filepath.Join(bucket, "a", "b", name)
	path := filepath.Join(w.app.root, file)
	for _, d := range []string{filepath.Join(w.app.root, bucket), filepath.Join(w.app.root, bucket, "a"), filepath.Dir(path)} {
		os.Mkdir(d, 0o755)
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, n)
	random := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	written := time.Date(2026, 11, 3, 12, 34, 56, 789, time.UTC)
	if err := os.Chtimes(path, written, written); err != nil {
		t.Fatal(err)
	}
	return file
}

// heat makes the hot link of an image in a size.
func (w *world) heat(t *testing.T, bucket, size, signature string) {
	t.Helper()
	img := w.app.images[bucket+"/"+signature]
	file := img.files[size]
	add(t, w.hot, bucket, size, signature, filepath.Ext(file), filepath.Join(w.app.root, file), img.expires)
}
