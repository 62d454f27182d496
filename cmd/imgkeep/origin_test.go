package main_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

// leak is in every header that an origin sends and that must not come through.
const leak = "leak-of-the-origin"

// origin is an HTTP server that images come from.
type origin struct {
	*httptest.Server
	port int

	mu       sync.Mutex
	pages    map[string]http.HandlerFunc
	requests map[string][]*http.Request // by path
}

func newOrigin(t testing.TB) *origin {
	o := &origin{pages: map[string]http.HandlerFunc{}, requests: map[string][]*http.Request{}}
	o.Server = httptest.NewServer(o)
	o.port = o.Listener.Addr().(*net.TCPAddr).Port
	t.Cleanup(o.off)
	return o
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.requests[r.URL.Path] = append(o.requests[r.URL.Path], r.Clone(r.Context()))
	page := o.pages[r.URL.Path]
	o.mu.Unlock()
	h := w.Header()
	for _, name := range []string{"Server", "X-Whatever", "X-Powered-By", "Via", "Link", "Content-Disposition", "Refresh", "Access-Control-Allow-Origin", "Alt-Svc"} {
		h.Set(name, leak)
	}
	h.Set("Set-Cookie", leak+"=1")
	h.Set("Content-Type", "text/html; "+leak)
	h.Set("ETag", `"`+leak+`"`)
	h.Set("Cache-Control", "public, max-age=1234567")
	if page == nil {
		http.Error(w, leak, http.StatusNotFound)
		return
	}
	page(w, r)
}

// off switches the origin off: connections break, and further ones are refused.
func (o *origin) off() {
	o.CloseClientConnections()
	o.Close()
}

// on has a path answered.
func (o *origin) on(path string, page http.HandlerFunc) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pages[path] = page
	return o.url(path)
}

// serve has a path answered with an image, and returns its URL.
func (o *origin) serve(path string, image []byte) string {
	return o.on(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(image)))
		w.Write(image)
	})
}

// refuse has a path answered with a status.
func (o *origin) refuse(path string, status int) string {
	return o.on(path, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, leak, status) })
}

// redirect has a path answered with a redirect.
func (o *origin) redirect(path, to string) string {
	return o.on(path, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) })
}

// announce has a path answered with fewer bytes than it announces.
func (o *origin) announce(path string, length int, body []byte) string {
	return o.on(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(length))
		w.Write(body)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
}

// A hold is a page whose answer the test holds up.
type hold struct {
	url     string
	arrived chan struct{} // gets a value for each request
	release func()        // lets them all go on, also those to come
}

// hold has a path answered with an image when the test says so.
func (o *origin) hold(path string, image []byte) *hold { return o.holdAfter(0, path, image) }

// holdHalf has a path answered with an image of which half is sent at once, and the rest when
// the test says so: in less than place.RateInterval, or the origin is given up.
func (o *origin) holdHalf(path string, image []byte) *hold {
	return o.holdAfter(len(image)/2, path, image)
}

func (o *origin) holdAfter(sent int, path string, image []byte) *hold {
	released := make(chan struct{})
	h := &hold{arrived: make(chan struct{}, 1000), release: sync.OnceFunc(func() { close(released) })}
	h.url = o.on(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(image)))
		if sent > 0 {
			w.Write(image[:sent])
			w.(http.Flusher).Flush()
		}
		h.arrived <- struct{}{}
		select {
		case <-released:
			w.Write(image[sent:])
		case <-r.Context().Done():
		}
	})
	return h
}

func (o *origin) url(path string) string { return o.URL + path }

// count is how often a path was asked for.
func (o *origin) count(path string) int { return len(o.asked(path)) }

// asked are the requests for a path.
func (o *origin) asked(path string) []*http.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.requests[path]
}
