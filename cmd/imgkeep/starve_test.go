package main_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"imgkeep/scripts/patience"
)

// Attacks by which somebody who has links that the site has signed would keep the
// others from being served.

// slowViewer asks for a link, and reads the head of the answer and no more, until leave
// is called.
func (s *server) slowViewer(path string) (head string, leave func() error, err error) {
	c, err := net.Dial("tcp4", strings.TrimPrefix(s.base, "http://"))
	if err != nil {
		s.w.t.Fatal(err)
	}
	if err := c.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		return "", c.Close, err
	}
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return "", c.Close, err
	}
	r := bufio.NewReaderSize(c, 16)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return head, c.Close, err
		}
		if head += line; line == "\r\n" {
			return head, c.Close, nil
		}
	}
}

// 200 viewers who read slowly, of images of 15 MB whose metadata is taken out: kept,
// and passed on. (80 of them took 2.9 GB.)
func TestSlowViewersOfStripped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"buckets": []map[string]any{{"name": "i", "strip_metadata": true}}})
	small := photo(t, 80, 60)
	large := func(name string) string {
		photo := inserted(small, segment(0xfe, []byte("N 52.5 E 13.4")))
		photo = append(photo[:len(photo)-2], bytes.Repeat([]byte{0x55}, 15_000_000)...)
		return w.origin.serve("/pictures/"+name, append(photo, 0xff, 0xd9))
	}
	kept, passing := large("kept"), large("passing")
	s := w.start()
	defer s.stop()
	s.get(link("i", "full", kept)) // once in whole
	for n := range 200 {
		path := link("i", "full", kept)
		switch {
		case n%4 == 1:
			path = proxyLink("i", "full", kept)
		case n%20 == 0:
			path = proxyLink("i", "full", passing)
		}
		head, leave, err := s.slowViewer(path)
		defer leave() // before the server is stopped
		if err != nil || !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || !strings.Contains(head, "\r\nAccept-Ranges: bytes\r\n") {
			t.Fatalf("viewer %d: %v, %q", n, err, head)
		}
	}
	if anonymous := statusOf(s.cmd.Process.Pid, "RssAnon:"); anonymous == 0 || anonymous > 100<<10 {
		t.Errorf("with 200 slow viewers the server has %d kB", anonymous)
	}
}

// metric is a figure of the server's.
func (w *world) metric(name string) (n float64) {
	w.t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(w.root(), "admin.sock"))
		},
	}}
	resp, err := client.Get("http://imgkeep/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n"+name+" ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	return n
}

// waitFor looks at a figure until it is as wanted.
func (w *world) waitFor(name string, want float64) {
	w.t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for end := time.After(patience.Of(w.t)); w.metric(name) != want; {
		select {
		case <-look.C:
		case <-end:
			w.t.Fatalf("%s is %v, not %v", name, w.metric(name), want)
		}
	}
}

// 24 requests, each for a size of an image that takes a decoder long, and closed at
// once. (They kept a good image waiting for 120 s.) Two decoders are busy for as long
// as their images last; nothing else is left of the requests.
func TestRequestsThatLeave(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"resize.workers": 2})
	goOnNow := make(chan struct{})
	gate := w.addGate(func(n int) string {
		if n <= 2 {
			<-goOnNow
		}
		return goOn
	})
	s := w.start()
	defer s.stop()
	var paths []string
	for n := range 24 {
		url := w.origin.serve(fmt.Sprintf("/pictures/%d", n), photo(t, 30, 30))
		s.get(link("i", "full", url)).isImage("image/jpeg")
		paths = append(paths, link("i", "10x10", url))
	}
	ctx, leave := context.WithCancel(t.Context())
	var gone sync.WaitGroup
	for _, path := range paths {
		gone.Go(func() {
			if _, err := s.request(ctx, http.MethodGet, path, nil); err == nil {
				t.Error("there was an answer")
			}
		})
	}
	w.waitFor("imgkeep_resizes_waiting", 22)
	leave()
	gone.Wait()
	w.waitFor("imgkeep_resizes_waiting", 0)
	close(goOnNow)
	good := w.origin.serve("/pictures/good", photo(t, 40, 30))
	s.get(link("i", "20x20", good)).isImage("image/jpeg")
	if n := gate.count(); n != 3 {
		t.Errorf("%d images reached decoders, and nobody waited for more than 3", n)
	}
}

// What cannot be read as a request is answered with the headers of all answers.
func TestUnreadableRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.start()
	defer s.stop()
	for name, c := range map[string]struct {
		request string
		status  int
		code    string
	}{
		"no request":          {"\x16\x03\x01\x02\x00\r\n\r\n", 400, "malformed"},
		"no host":             {"GET / HTTP/1.1\r\n\r\n", 400, "malformed"},
		"two hosts":           {"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "malformed"},
		"a broken header":     {"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n", 400, "malformed"},
		"large headers":       {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n\r\n", 431, "headers"},
		"an unknown encoding": {"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "malformed"},
		"another version":     {"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505, "malformed"},
		"an expectation":      {"GET / HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\n\r\n", 417, "malformed"},
		"options":             {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method"},
	} {
		conn, err := net.Dial("tcp4", strings.TrimPrefix(s.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience.Of(t)))
		if _, err := io.WriteString(conn, c.request); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if h := resp.Header; err != nil || resp.StatusCode != c.status || h.Get("X-Imgkeep-Error") != c.code ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") != "default-src 'none'; sandbox" ||
			h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "text/plain; charset=utf-8" ||
			bytes.Count(body, []byte("\n")) != 1 || int64(len(body)) != resp.ContentLength {
			t.Errorf("%s: %d, %v, %q, %v", name, resp.StatusCode, h, body, err)
		}
	}
}
