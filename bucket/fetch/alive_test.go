package fetch

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// TestAlive: what origins answer, what it means, and by which methods it was asked.
func TestAlive(t *testing.T) {
	picture := pngOf(t, 400, 300)
	image := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("Content-Length", strconv.Itoa(len(picture)))
		w.Write(picture)
	}
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(n) }
	}
	noHead := func(n int, then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(n)
				return
			}
			then(w, r)
		}
	}
	part := func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Range"); got != "bytes=0-511" {
			t.Errorf("Range %q", got)
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-511/%d", len(picture)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(picture[:512])
	}
	to := func(path string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, path, http.StatusMovedPermanently) }
	}
	page := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html>")
	}
	tag := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"the removed one"`)
		image(w, r)
	}
	untyped := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(picture)
	}
	pages := map[string]http.HandlerFunc{"/image": image, "/loop": to("/loop2"), "/loop2": to("/loop")}
	var asked []string
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method)
		pages[r.URL.Path](w, r)
	})
	f := newFetcher(t, Options{MaxRedirects: 2, Removed: []Removed{{ETag: "the removed one"}}}, origin.URL)
	for name, tt := range map[string]struct {
		page  http.HandlerFunc
		class ErrorKind // empty: alive
		asked []string
	}{
		"alive":                   {image, "", []string{"HEAD"}},
		"moved":                   {to("/image"), "", []string{"HEAD", "HEAD"}},
		"HEAD is not allowed":     {noHead(405, part), "", []string{"HEAD", "GET"}},
		"nor implemented":         {noHead(501, part), "", []string{"HEAD", "GET"}},
		"nor understood":          {noHead(400, part), "", []string{"HEAD", "GET"}},
		"nor permitted":           {noHead(403, part), "", []string{"HEAD", "GET"}},
		"ranges are not known":    {noHead(405, image), "", []string{"HEAD", "GET"}},
		"a picture without type":  {untyped, "", []string{"HEAD", "GET"}},
		"HEAD is not found":       {noHead(404, part), "", []string{"HEAD", "GET"}},
		"HEAD is gone":            {noHead(410, image), "", []string{"HEAD", "GET"}},
		"HEAD breaks it":          {noHead(500, part), "", []string{"HEAD", "GET"}},
		"gone":                    {status(404), Gone, []string{"HEAD", "GET"}},
		"gone for good":           {status(410), Gone, []string{"HEAD", "GET"}},
		"gone, HEAD refused":      {noHead(405, status(404)), Gone, []string{"HEAD", "GET"}},
		"moved to what is gone":   {to("/gone"), Gone, []string{"HEAD", "HEAD", "GET"}},
		"the removed picture":     {tag, Gone, []string{"HEAD"}},
		"a page":                  {page, NotImage, []string{"HEAD", "GET"}},
		"nothing":                 {noHead(405, status(200)), NotImage, []string{"HEAD", "GET"}},
		"not permitted at all":    {status(403), Blocked, []string{"HEAD", "GET"}},
		"too often":               {status(429), Blocked, []string{"HEAD"}},
		"a fault of the server's": {status(500), Failed, []string{"HEAD", "GET"}},
		"a range of nothing":      {noHead(405, status(416)), Failed, []string{"HEAD", "GET"}},
		"redirects in a loop":     {to("/loop"), Failed, []string{"HEAD", "HEAD", "HEAD"}},
		"a redirect to elsewhere": {to("http://10.0.0.1/"), Refused, []string{"HEAD"}},
	} {
		pages["/x"], pages["/gone"], asked = tt.page, status(404), nil
		err := f.Alive(t.Context(), Request{URL: origin.URL + "/x"})
		if tt.class != "" {
			wantClass(t, err, tt.class)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(asked, tt.asked) {
			t.Errorf("%s: asked by %v, want %v", name, asked, tt.asked)
		}
	}

	// The rules of Fetch hold before anything is asked.
	asked = nil
	for class, r := range map[ErrorKind]Request{
		Refused: {URL: origin.URL + "/image", Hosts: []string{"other.example"}},
		Denied:  {URL: origin.URL + "/image", Denied: func(string) bool { return true }},
	} {
		wantClass(t, f.Alive(t.Context(), r), class)
	}
	for _, u := range []string{"local:///a.png", "ftp://127.0.0.1/", "http://10.0.0.1/"} {
		wantClass(t, f.Alive(t.Context(), Request{URL: u}), Refused)
	}
	if len(asked) > 0 {
		t.Errorf("asked by %v", asked)
	}
}

// TestAliveUnreachable: nobody answers, in two ways, and without a status. The end
// of the caller's context is the caller's own.
func TestAliveUnreachable(t *testing.T) {
	silent := rawOrigin(t, thenHang(func(net.Conn) {}))
	closed := rawOrigin(t, func(net.Conn) {})
	f := newFetcher(t, Options{HeaderTimeout: 100 * time.Millisecond}, silent)
	if e := wantClass(t, f.Alive(t.Context(), Request{URL: "http://" + silent + "/"}), Timeout); e.Status != 0 {
		t.Errorf("status %d", e.Status)
	}
	f = newFetcher(t, Options{}, silent, closed)
	if e := wantClass(t, f.Alive(t.Context(), Request{URL: "http://" + closed + "/"}), Failed); e.Status != 0 {
		t.Errorf("status %d", e.Status)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Alive(ctx, Request{URL: "http://" + silent + "/"}); err != context.Canceled {
		t.Errorf("after its end: %v", err)
	}
}

// TestAliveReadsLittle: an origin that knows no ranges does not make us download
// the image.
func TestAliveReadsLittle(t *testing.T) {
	picture := pngOf(t, 2, 2)
	var sent atomic.Int64
	ended := make(chan struct{})
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		defer close(ended)
		w.Write(picture)
		for sent.Load() < 1<<30 {
			n, err := w.Write(make([]byte, 64<<10))
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	f := newFetcher(t, Options{}, origin.URL)
	if err := f.Alive(t.Context(), Request{URL: origin.URL + "/x"}); err != nil {
		t.Error(err)
	}
	<-ended
	if n := sent.Load(); n >= 1<<30 {
		t.Errorf("%d bytes were sent", n)
	}
}
