package fetch

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"imgkeep/bucket/probe"
)

func TestFetch(t *testing.T) {
	for _, tt := range []struct {
		name string
		body []byte
		want probe.Info
	}{
		{"png", pngOf(t, 30, 20), probe.Info{Format: probe.PNG, Width: 30, Height: 20, Orientation: 1, Frames: 1}},
		{"jpeg", jpegOf(t, 300, 200), probe.Info{Format: probe.JPEG, Width: 300, Height: 200, Orientation: 1, Frames: 1}},
		{"gif", gifOf(t, 3, 2), probe.Info{Format: probe.GIF, Width: 3, Height: 2, Orientation: 1, Frames: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
				// Type and name say something else. Nobody asks them (CVE-2019-18923,
				// CVE-2025-55173).
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.Write(tt.body)
			})
			f := newFetcher(t, Options{}, origin.URL)
			got, res, err := pull(t, f, origin.URL+"/a.html")
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, tt.body) {
				t.Errorf("got %d bytes, want the origin's %d", len(got), len(tt.body))
			}
			want := Result{Info: tt.want, Bytes: int64(len(tt.body)), FinalURL: origin.URL + "/a.html"}
			if res != want {
				t.Errorf("result is %+v, want %+v", res, want)
			}
		})
	}
}

// TestRequestHeader: an origin sees the same few fields for every viewer, nothing
// of the viewer (camo#36), and no cookie that it set a moment ago.
func TestRequestHeader(t *testing.T) {
	picture := pngOf(t, 2, 2)
	var seen []*http.Request
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r)
		w.Header().Set("Set-Cookie", "id=1; Path=/")
		if r.URL.Path == "/first" {
			http.Redirect(w, r, "/second?q=1", http.StatusFound)
			return
		}
		w.Write(picture)
	})
	for _, tt := range []struct {
		agent, wantAgent string
		formats          []probe.Format
		accept           string
	}{
		{"", DefaultUserAgent, []probe.Format{probe.PNG, probe.WebP}, "image/png,*/*;q=0.1"},
		{"forum.example image store", "forum.example image store", []probe.Format{probe.WebP, probe.AVIF}, "image/webp,image/avif,*/*;q=0.1"},
	} {
		seen = nil
		f := newFetcher(t, Options{MaxRedirects: 1, UserAgent: tt.agent}, origin.URL)
		if _, _, err := pullRequest(t, f, Request{URL: origin.URL + "/first#fragment", Limits: probe.Limits{Formats: tt.formats}}); err != nil && tt.agent == "" {
			t.Fatal(err)
		}
		if len(seen) != 2 {
			t.Fatalf("%d requests", len(seen))
		}
		for i, r := range seen {
			want := http.Header{"User-Agent": {tt.wantAgent}, "Accept": {tt.accept}, "Accept-Encoding": {"identity"}}
			if i == 1 { // what the first answer has set
				want["Cookie"] = []string{"id=1"}
			}
			if fmt.Sprint(r.Header) != fmt.Sprint(want) {
				t.Errorf("request %d has header %v, want %v", i, r.Header, want)
			}
			if r.Method != "GET" || r.ContentLength != 0 || "http://"+r.Host != origin.URL {
				t.Errorf("request %d is %s for %s with %d bytes", i, r.Method, r.Host, r.ContentLength)
			}
		}
		if got := seen[0].RequestURI + " " + seen[1].RequestURI; got != "/first /second?q=1" {
			t.Errorf("asked for %s", got)
		}
	}
}

// Origins that make WebP of a JPEG for clients that name WebP give the JPEG, unless WebP is
// wanted, or all that may be kept.
func TestAccept(t *testing.T) {
	usual := []probe.Format{probe.JPEG, probe.PNG, probe.GIF}
	for _, tt := range []struct {
		named, formats []probe.Format
		want           string
	}{
		{usual, nil, "image/jpeg,image/png,image/gif,*/*;q=0.1"},
		{usual, probe.Web(), "image/jpeg,image/png,image/gif,*/*;q=0.1"},
		{usual, []probe.Format{probe.GIF, probe.AVIF}, "image/gif,*/*;q=0.1"},
		{usual, []probe.Format{probe.WebP}, "image/webp,*/*;q=0.1"},
		{[]probe.Format{probe.WebP, probe.JPEG}, probe.Web(), "image/jpeg,image/webp,*/*;q=0.1"},
	} {
		if got := accept(tt.named, tt.formats); got != tt.want {
			t.Errorf("of %v, naming %v: %s, want %s", tt.formats, tt.named, got, tt.want)
		}
	}
	photo := jpegOf(t, 8, 8)
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if strings.Contains(r.Header.Get("Accept"), "image/webp") {
			http.Error(w, "a WebP", 500)
			return
		}
		w.Write(photo)
	})
	if _, res, err := pull(t, newFetcher(t, Options{}, origin.URL), origin.URL); err != nil || res.Info.Format != probe.JPEG {
		t.Errorf("%v, %v", res.Info, err)
	}
	_, _, err := pull(t, newFetcher(t, Options{Accept: []probe.Format{probe.WebP}}, origin.URL), origin.URL)
	wantClass(t, err, Failed, "500")
}

func TestHTTPS(t *testing.T) {
	picture := pngOf(t, 2, 2)
	var protocol atomic.Int32
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol.Store(int32(r.ProtoMajor))
		w.Write(picture)
	}))
	origin.EnableHTTP2 = true
	origin.Config.ErrorLog = nullLog()
	origin.StartTLS()
	defer origin.Close()
	roots := x509.NewCertPool()
	roots.AddCert(origin.Certificate())
	port := portIn(t, origin.URL)
	resolver := resolves("example.com", "127.0.0.1", "wrong.invalid", "127.0.0.1")

	f := newFetcher(t, Options{RootCAs: roots, Resolver: resolver, Ports: []int{port}})
	if _, _, err := pull(t, f, fmt.Sprintf("https://example.com:%d/%s", port, secret)); err != nil {
		t.Error(err)
	}
	if protocol.Load() != 2 {
		t.Errorf("spoke HTTP/%d", protocol.Load())
	}
	_, _, err := pull(t, f, fmt.Sprintf("https://wrong.invalid:%d/%s", port, secret))
	wantClass(t, err, Failed, "wrong.invalid", "certificate")

	stranger := newFetcher(t, Options{Resolver: resolver, Ports: []int{port}})
	_, _, err = pull(t, stranger, fmt.Sprintf("https://example.com:%d/%s", port, secret))
	wantClass(t, err, Failed, "example.com", "certificate")
}

// TestConnectionIsUsedAgain also shows that the name is not looked up again for it:
// the connection still leads to the address that was judged.
//
// An http.Transport uses a connection again unless what has written the request is late, by
// 50 ms, in saying so: in a bubble it never is.
func TestConnectionIsUsedAgain(t *testing.T) {
	picture := pngOf(t, 2, 2)
	synctest.Test(t, func(t *testing.T) {
		origin, m := serveMemory(t, func(w http.ResponseWriter, r *http.Request) { w.Write(picture) })
		origin.Start()
		resolver := resolves("i.example", "127.0.0.1;10.0.0.1")
		f := newFetcher(t, Options{Resolver: resolver}, origin.URL)
		connections := 0
		f.usual.dialer.connect = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			connections++
			return m.connect(ctx, to)
		}
		for range 3 {
			if _, _, err := pull(t, f, "http://i.example:8080/"); err != nil {
				t.Fatal(err)
			}
		}
		if connections != 1 {
			t.Errorf("%d connections", connections)
		}
		if len(resolver.asked) != 1 {
			t.Errorf("looked up %v", resolver.asked)
		}
	})
}

func TestStatuses(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		status     int
		header     string // one field
		class      ErrorKind
		retryAfter time.Duration
	}{
		{404, "", Gone, 0},
		{410, "", Gone, 0},
		{401, "", Blocked, 0},
		{403, "", Blocked, 0},
		{403, "Cf-Mitigated: challenge", Blocked, 0},
		{429, "Retry-After: 120", Blocked, 2 * time.Minute},
		{429, "Retry-After: Sun, 22 Nov 2026 12:30:00 GMT", Blocked, 30 * time.Minute},
		{451, "", Blocked, 0},
		{400, "", Failed, 0},
		{402, "", Failed, 0},
		{405, "", Failed, 0},
		{406, "", Failed, 0},
		{407, "", Failed, 0},
		{408, "", Failed, 0},
		{416, "", Failed, 0},
		{418, "", Failed, 0},
		{500, "", Failed, 0},
		{502, "", Failed, 0},
		{503, "Retry-After: 5", Failed, 5 * time.Second},
		{503, "Cf-Mitigated: challenge", Blocked, 0},
		{504, "", Failed, 0},
		{599, "", Failed, 0},
		{999, "", Failed, 0},
		{204, "", Failed, 0},
		{205, "", Failed, 0},
		{206, "", Failed, 0},
		{206, "Content-Range: bytes 0-99/100", Failed, 0}, // half an image that looks like one
		{206, "Content-Range: bytes 1-99/99", Failed, 0},
		{206, "Content-Range: bytes 0-/99", Failed, 0},
		{206, "Content-Range: bytes 0-98/*", Failed, 0},
		{300, "Location: /b", Failed, 0},
		{304, "", Failed, 0},
		{305, "Location: /b", Failed, 0},
		{302, "", Failed, 0},
	} {
		picture := pngOf(t, 2, 2)
		origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if name, value, ok := strings.Cut(tt.header, ": "); ok {
				w.Header().Set(name, value)
			}
			w.WriteHeader(tt.status)
			w.Write(picture)
		})
		f := newFetcher(t, Options{MaxRedirects: 3, Now: func() time.Time { return now }}, origin.URL)
		dst, _, err := pull(t, f, origin.URL+"/"+secret)
		e := wantClass(t, err, tt.class, "127.0.0.1", fmt.Sprint(tt.status))
		if e.Status != tt.status || e.RetryAfter != tt.retryAfter || e.Host != "127.0.0.1" {
			t.Errorf("status %d with %q: %+v", tt.status, tt.header, e)
		}
		if len(dst) > 0 {
			t.Errorf("status %d: %d bytes of the body were written", tt.status, len(dst))
		}
	}
	// An image is an image, whatever else the status says of how it came to be; and one
	// of which all is sent, as a part that nobody has asked for.
	picture := pngOf(t, 2, 2)
	for status, header := range map[int]string{201: "", 202: "", 203: "", 206: fmt.Sprintf("bytes 0-%d/%d", len(picture)-1, len(picture))} {
		for _, flush := range []bool{false, true} {
			origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if header != "" {
					w.Header().Set("Content-Range", header)
				}
				w.WriteHeader(status)
				if flush { // so that no length is announced
					w.(http.Flusher).Flush()
				}
				w.Write(picture)
			})
			if _, _, err := pull(t, newFetcher(t, Options{}, origin.URL), origin.URL); err != nil {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		field string
		want  time.Duration
	}{
		{"", 0}, {"0", 0}, {"1", time.Second}, {" 90 ", 90 * time.Second}, {"007", 7 * time.Second},
		{"86399", 86399 * time.Second}, {"86400", 24 * time.Hour}, {"86401", 24 * time.Hour},
		{"9223372036854775807", 24 * time.Hour}, {"99999999999999999999999999", 24 * time.Hour},
		{"-1", 0}, {"+1", 0}, {"1.5", 0}, {"1s", 0}, {"soon", 0}, {"0x10", 0}, {"1, 2", 0},
		{"Sun, 22 Nov 2026 12:00:01 GMT", time.Second},
		{"Sunday, 22-Nov-26 12:00:01 GMT", time.Second}, // RFC 850
		{"Sun Nov 22 12:00:01 2026", time.Second},       // asctime
		{"Sun, 22 Nov 2026 11:59:59 GMT", 0},
		{"Mon, 23 Nov 2026 12:00:00 GMT", 24 * time.Hour},
		{"Fri, 31 Dec 9999 23:59:59 GMT", 24 * time.Hour},
		{"Sun, 22 Nov 2026 12:00:01 +0900", 0},
	} {
		if got := retryAfter(tt.field, now); got != tt.want {
			t.Errorf("retryAfter(%q) = %v, want %v", tt.field, got, tt.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Sun, 22 Nov 2026 12:00:01 GMT")
	f.Fuzz(func(t *testing.T, field string) {
		if d := retryAfter(field, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)); d < 0 || d > MaxRetryAfter {
			t.Fatalf("%q: %v", field, d)
		}
	})
}

// TestMaxBytes: exactly the limit passes, one byte more does not, in whatever way
// the body is sent (imagor#329, go-camo 2.1.0, imgproxy#1699).
func TestMaxBytes(t *testing.T) {
	picture := pngOf(t, 50, 50)
	n := int64(len(picture))
	ways := map[string]http.HandlerFunc{
		"with its length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(n))
			w.Write(picture)
		},
		"in chunks": func(w http.ResponseWriter, r *http.Request) {
			for _, b := range picture {
				w.Write([]byte{b})
				if b == 0 {
					w.(http.Flusher).Flush()
				}
			}
		},
		"until the connection ends": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\n")
			conn.Write(picture)
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			origin := serve(t, way)
			f := newFetcher(t, Options{}, origin.URL)
			for _, limit := range []int64{n, n + 1} {
				got, res, err := pullRequest(t, f, Request{URL: origin.URL, MaxBytes: limit})
				if err != nil || res.Bytes != n || !bytes.Equal(got, picture) {
					t.Errorf("%d bytes at a limit of %d: %v", n, limit, err)
				}
			}
			for _, limit := range []int64{n - 1, 1} {
				got, _, err := pullRequest(t, f, Request{URL: origin.URL + "/" + secret, MaxBytes: limit})
				wantClass(t, err, TooLarge, fmt.Sprint(limit))
				if int64(len(got)) > limit {
					t.Errorf("%d bytes were written at a limit of %d", len(got), limit)
				}
			}
		})
	}
}

// TestAnnouncedLengthIsRefusedUnread: the origin that announces too much sends
// nothing, so an answer can only come from the header.
func TestAnnouncedLengthIsRefusedUnread(t *testing.T) {
	origin := "http://" + rawOrigin(t, thenHang(answering("HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n")))
	f := newFetcher(t, Options{}, origin)
	_, _, err := pullRequest(t, f, Request{URL: origin, MaxBytes: 100})
	wantClass(t, err, TooLarge, "101 bytes announced")
}

func TestReadingStopsAtTheFirstByteTooMany(t *testing.T) {
	picture := jpegOf(t, 8, 8)
	picture = picture[:len(picture)-2] // its scan goes on
	for _, limit := range []int64{100, 32<<10 - 1, 32 << 10, 32<<10 + 1, 70_000} {
		endless := &counter{r: io.MultiReader(bytes.NewReader(picture), zeros{})}
		a := answer{host: "h.example", status: 200, length: -1, body: endless}
		var dst bytes.Buffer
		_, _, err := a.receive(t.Context(), Request{MaxBytes: limit}, &dst)
		wantClass(t, err, TooLarge)
		if endless.n != limit+1 || int64(dst.Len()) > limit {
			t.Errorf("limit %d: %d bytes were read, %d written", limit, endless.n, dst.Len())
		}
	}
}

// An image without its end is taken only where as much has come as was announced, and
// its picture is all there.
func TestWithoutItsEnd(t *testing.T) {
	picture := pngOf(t, 50, 50)
	endless, half := picture[:len(picture)-12], picture[:len(picture)/2]
	for name, c := range map[string]struct {
		body   []byte
		length int64
		again  bool
		ok     bool
	}{
		"announced":          {endless, int64(len(endless)), true, true},
		"nothing announced":  {endless, -1, true, false},
		"more announced":     {endless, int64(len(picture)), true, false},
		"not to be read":     {endless, int64(len(endless)), false, false},
		"half, as announced": {half, int64(len(half)), true, false},
		"all":                {picture, -1, false, true},
	} {
		r := Request{MaxBytes: 1 << 20}
		if c.again {
			r.Again = bytes.NewReader(c.body)
		}
		a := answer{host: "h.example", status: 200, length: c.length, body: bytes.NewReader(c.body)}
		info, _, err := a.receive(t.Context(), r, io.Discard)
		if c.ok && (err != nil || info.Width != 50) {
			t.Errorf("%s: %+v, %v", name, info, err)
		} else if !c.ok {
			wantClass(t, err, Broken)
		}
	}
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// FuzzReceive: the same body gives the same answer in whatever pieces it comes, and
// is written whole if it is taken, and never beyond the limit.
func FuzzReceive(f *testing.F) {
	picture := pngOf(f, 5, 5)
	f.Add(picture, int64(len(picture)))
	f.Add(picture, int64(len(picture)-1))
	f.Add(picture[:40], int64(1000))
	f.Add(gifOf(f, 3, 3), int64(1000))
	f.Add(jpegOf(f, 9, 9), int64(1<<20))
	f.Add([]byte("<html><script>_cf_chl_opt={}"), int64(1000))
	f.Add([]byte{}, int64(1))
	f.Fuzz(func(t *testing.T, body []byte, limit int64) {
		limit = min(max(limit, 1), 1<<20)
		var classes []ErrorKind
		for _, split := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
			a := answer{host: "h.example", status: 200, length: -1, body: split(bytes.NewReader(body))}
			var dst bytes.Buffer
			_, n, err := a.receive(t.Context(), Request{MaxBytes: limit, Limits: probe.Limits{MaxPixels: 1e6}}, &dst)
			var e *Error
			switch {
			case int64(dst.Len()) > limit:
				t.Fatalf("%d bytes written at a limit of %d", dst.Len(), limit)
			case err == nil && (n != int64(len(body)) || !bytes.Equal(dst.Bytes(), body)):
				t.Fatalf("%d of %d bytes taken for all, %d written", n, len(body), dst.Len())
			case err == nil:
				classes = append(classes, "")
			case errors.As(err, &e):
				classes = append(classes, e.Kind)
			default:
				t.Fatal(err)
			}
		}
		for _, c := range classes[1:] {
			// Too large and a verdict may both be true; which comes first depends on
			// the pieces.
			if c != classes[0] && c != TooLarge && classes[0] != TooLarge {
				t.Fatalf("classes %q", classes)
			}
			if (c == "") != (classes[0] == "") {
				t.Fatalf("classes %q", classes)
			}
		}
	})
}

func TestPixelLimits(t *testing.T) {
	origin := serveBytes(t, pngOf(t, 30, 20))
	moving := serveBytes(t, animationOf(t, 30, 20, 5))
	f := newFetcher(t, Options{}, origin.URL, moving.URL)
	for _, tt := range []struct {
		limits probe.Limits
		want   ErrorKind
	}{
		{probe.Limits{MaxPixels: 600}, ""}, {probe.Limits{MaxPixels: 599}, TooManyPixels},
		{probe.Limits{MaxSide: 30}, ""}, {probe.Limits{MaxSide: 29}, TooManyPixels},
		{probe.Limits{Formats: []probe.Format{probe.GIF, probe.PNG}}, ""}, {probe.Limits{Formats: []probe.Format{probe.GIF}}, NotImage},
		{probe.Limits{MaxFrames: 5}, ""}, {probe.Limits{MaxFrames: 4}, TooManyFrames},
		{probe.Limits{MaxAnimationPixels: 3000}, ""}, {probe.Limits{MaxAnimationPixels: 2999}, TooManyFrames},
	} {
		url := origin.URL
		if tt.limits.MaxFrames+int(tt.limits.MaxAnimationPixels) > 0 {
			url = moving.URL
		}
		_, _, err := pullRequest(t, f, Request{URL: url + "/" + secret, Limits: tt.limits})
		if tt.want == "" {
			if err != nil {
				t.Errorf("%+v: %v", tt.limits, err)
			}
			continue
		}
		if e := wantClass(t, err, tt.want, "127.0.0.1"); e.Status != 200 {
			t.Errorf("%+v: status %d", tt.limits, e.Status)
		}
	}
}

type brokenWriter struct{ room int }

var errDiskFull = errors.New("disk full")

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.room -= len(p); w.room < 0 {
		return 0, errDiskFull
	}
	return len(p), nil
}

type shortWriter struct{}

func (shortWriter) Write(p []byte) (int, error) { return len(p) / 2, nil }

// TestOwnErrorsAreNotTheOrigins: a full disk, a caller who gave up and a request
// that makes no sense must not be remembered against an origin.
func TestOwnErrorsAreNotTheOrigins(t *testing.T) {
	origin := serveBytes(t, pngOf(t, 200, 200))
	f := newFetcher(t, Options{}, origin.URL)
	notTheirs := func(err, want error) {
		t.Helper()
		var e *Error
		if errors.As(err, &e) || err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("error is %v (%T)", err, err)
		}
	}
	r := Request{URL: origin.URL, MaxBytes: 1 << 20}
	_, err := f.Fetch(t.Context(), r, &brokenWriter{})
	notTheirs(err, errDiskFull)
	_, err = f.Fetch(t.Context(), r, &brokenWriter{room: 40 << 10})
	notTheirs(err, errDiskFull)
	_, err = f.Fetch(t.Context(), r, shortWriter{})
	notTheirs(err, io.ErrShortWrite)
	_, err = f.Fetch(t.Context(), Request{URL: origin.URL}, io.Discard)
	notTheirs(err, nil)
	_, err = f.Fetch(t.Context(), Request{URL: origin.URL, MaxBytes: -1}, io.Discard)
	notTheirs(err, nil)

	why := errors.New("the server stops")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	_, err = f.Fetch(ctx, r, io.Discard)
	notTheirs(err, why)
	ctx, stop := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer stop()
	_, err = f.Fetch(ctx, r, io.Discard)
	notTheirs(err, context.DeadlineExceeded)
}

// TestCallerLeaves: Fetch returns when its context ends, wherever it is waiting.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	picture := pngOf(t, 50, 50)
	for name, sent := range map[string]string{
		"before the header":  "",
		"inside the header":  "HTTP/1.1 200 OK\r\nX: ",
		"before the body":    "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
		"inside the body":    "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + string(picture[:100]),
		"inside a challenge": "HTTP/1.1 200 OK\r\n\r\n<html>",
	} {
		reached := make(chan struct{}, 1)
		origin := "http://" + rawOrigin(t, func(c net.Conn) {
			answering(sent)(c)
			reached <- struct{}{}
			io.Copy(io.Discard, c)
		})
		f := newFetcher(t, Options{}, origin)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-reached
			cancel()
		}()
		_, err := f.Fetch(ctx, Request{URL: origin, MaxBytes: 1 << 20}, io.Discard)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		o    Options
		text string
	}{
		{Options{Timeout: -1}, "timeout"},
		{Options{HeaderTimeout: -1}, "header_timeout"},
		{Options{MaxRedirects: -1}, "max_redirects"},
		{Options{MaxHeaderBytes: -1}, "max_header_bytes"},
		{Options{Concurrency: -1}, "concurrency"},
		{Options{PerHost: -1}, "per_host"},
		{Options{Queue: -1}, "queue"},
		{Options{Ports: []int{80, 0}}, "ports"},
		{Options{Ports: []int{65536}}, "ports"},
		{Options{DenyHosts: []string{"*"}}, "deny_hosts"},
		{Options{Networks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}, "networks"},
		{Options{UserAgent: "a\r\nX: y"}, "user_agent"},
		{Options{UserAgent: "ü"}, "user_agent"},
		{Options{UserAgent: " "}, "user_agent"},
		{Options{LocalRoot: file}, "local_root"},
		{Options{LocalRoot: file + "/none"}, "local_root"},
		{Options{Proxy: "ftp://p.example"}, "proxy"},
		{Options{Proxy: "p.example:1080"}, "proxy"},
		{Options{Proxy: "socks5h://p.example"}, "use socks5"},
		{Options{Proxy: "socks5://"}, "proxy"},
		{Options{Proxy: "http://p.example/path"}, "proxy"},
		{Options{Proxy: "http://u:" + secret + "@p example/"}, "proxy"},
	} {
		_, err := New(tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), secret) {
			t.Errorf("New(%+v): %v, want an error with %q", tt.o, err, tt.text)
		}
	}
	f, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if o := f.o; o.Timeout != 30*time.Second || o.HeaderTimeout != 10*time.Second || o.MaxRedirects != 0 || fmt.Sprint(o.Ports) != "[80 443]" ||
		o.Concurrency != 64 || o.PerHost != 4 || o.Queue != 1024 || o.MaxHeaderBytes != 64<<10 || o.UserAgent != DefaultUserAgent {
		t.Errorf("defaults are %+v", o)
	}
}

// TestErrorText: what an origin says ends up in a log, on one line, without
// anything that a terminal obeys, and not at any length.
func TestErrorText(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"plain", "fetch h.example: failed: plain"},
		{"a\nb\x1b[2Jc", `fetch h.example: failed: a\nb\x1b[2Jc`},
		{"\u202eb", `fetch h.example: failed: \u202eb`},
		{"\xff", `fetch h.example: failed: \xff`},
		{"ü", "fetch h.example: failed: ü"},
	} {
		if got := errorf(Failed, "h.example", "%s", tt.in).Error(); got != tt.want {
			t.Errorf("%q gives %q, want %q", tt.in, got, tt.want)
		}
	}
	for _, c := range []string{"a", "ü", "\n"} {
		if got := errorf(Failed, "h.example", "%s", strings.Repeat(c, 10_000)).Error(); len(got) > maxErrorText || len(got) < maxErrorText-4 {
			t.Errorf("%d bytes of text", len(got))
		}
	}
}
