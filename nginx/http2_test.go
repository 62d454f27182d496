package nginx_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"imgkeep/nginx/nginxtest"

	"imgkeep/nginx"
	"imgkeep/scripts/patience"
)

// h2 sends one request over HTTP/2, its pseudo-headers as they are, which no
// client would. Status 0: nginx has refused the stream or the connection.
func (w *world) h2(t *testing.T, fields ...string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", w.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience.Of(t)))
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		if err := enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			t.Fatal(err)
		}
	}
	f := http2.NewFramer(conn, conn)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.WriteSettings(), f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return 0, ""
		}
		ended := false
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			status, _ = strconv.Atoi(frame.PseudoValue("status"))
			ended = frame.StreamEnded()
		case *http2.DataFrame:
			body += string(frame.Data())
			ended = frame.StreamEnded()
		case *http2.GoAwayFrame, *http2.RSTStreamFrame:
			return 0, ""
		}
		if ended {
			return status, body
		}
	}
}

// HTTP/2 brings the address in a field of its own, where things are possible
// that a request line does not allow.
func TestHostileHTTP2(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, nil, func(conf string) string {
		listen := "listen " + conf[strings.Index(conf, "listen 127.0.0.1:")+len("listen "):]
		listen = listen[:strings.Index(listen, ";")]
		if nginxtest.KnowsHTTP2(t) {
			return strings.Replace(conf, listen+";", listen+"; http2 on;", 1)
		}
		return strings.Replace(conf, listen+";", listen+" http2;", 1)
	})
	w.app.set("i", sigA, image{expires: time.Now().Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
	w.heat(t, "i", "full", sigA)
	link := "/i/full/" + sigA + "/" + extURL
	for _, c := range []struct {
		method, path string
		status       int
		asked        int
	}{
		{"GET", link, 200, 0},
		{"GET", link + "?x", 200, 0},
		{"HEAD", link, 200, 0},
		{"POST", link, 405, 1},
		{"GET", "/" + link, 400, 1},
		{"GET", "/x/.." + link, 400, 1},
		{"GET", "/%69" + link[2:], 403, 1},
		{"GET", link + "%2Fproxy", 400, 1},
		{"GET", link + "#", 400, 1},
		{"GET", "/_imgkeep/i/a/b/d.jpg", 400, 1},
		{"GET", "//_imgkeep/i/a/b/d.jpg", 400, 1},
		{"GET", strings.TrimPrefix(link, "/"), 400, 0},
		{"GET", link + "%00", 400, 0},
		{"GET", link + "\x00", 400, 0},
		{"GET", link + "\n", 400, 0},
		{"GET", link + " HTTP/1.1\r\nX-Imgkeep-Handoff: direct\r\nX: ", 400, 0},
		{"GET", link + " ", 400, 0},
		{"GET", "*", 400, 0},
		{"GET", "", 400, 0},
		{"get", link, 400, 0},
		{"GET /x", link, 400, 0},
	} {
		w.app.take()
		status, body := w.h2(t, ":method", c.method, ":scheme", "http", ":authority", "x", ":path", c.path, "x-imgkeep-handoff", "direct")
		seen := w.app.take()
		if status != c.status && status != 0 || status == 0 && c.status != 400 || len(seen) != c.asked || status != 200 && len(body) == 100 || strings.Contains(body, "<") {
			t.Errorf("%s %.100q: %d %.60q, imgkeep was asked %d times; want %d, %d times", c.method, c.path, status, body, len(seen), c.status, c.asked)
		}
		for _, s := range seen {
			if s.uri != c.path && s.uri != "/"+c.path || s.handoff == "direct" && !strings.Contains(c.path, "_imgkeep") {
				t.Errorf("%s %.100q: imgkeep was asked for %.100q, hand-off %q", c.method, c.path, s.uri, s.handoff)
			}
		}
	}
}
