package server_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/cmd/imgkeep/app/server"
)

// These tests are about time, and run on a clock that jumps to the next timer
// whenever all wait (testing/synctest). Connections are pipes in memory, without
// any buffer: what one end has not read, the other has not written.

// pipes is a listener whose connections are pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// newPipeSite makes a site behind an http.Server, and a connection to it. Both
// end with the test.
func newPipeSite(t *testing.T) (*site, net.Conn) {
	t.Helper()
	s := newSite(t, func(b *bucket.Options, o *server.Options) { b.Now, o.Now = time.Now, time.Now })
	s.clock.now = time.Now() // to sign by
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	h := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Hour}
	served := make(chan error)
	go func() { served <- h.Serve(l) }()
	client, end := net.Pipe()
	l.conns <- end
	t.Cleanup(func() {
		client.Close()
		h.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return s, client
}

func request(t *testing.T, c net.Conn, path string) *bufio.Reader {
	t.Helper()
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReaderSize(c, 16)
}

// A viewer who reads nothing of an image is cut off after the grace time and a
// second for each 4 KiB of it.
func TestSlowReaderIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newPipeSite(t)
		data := toJPEG(t, 600, 600)
		path := s.link("full", s.origin.put("cat", data))
		began := time.Now()
		r := request(t, c, path)
		if _, err := r.ReadByte(); err != nil {
			t.Fatal(err)
		}
		limit := 30*time.Second + time.Duration(len(data)/4096)*time.Second
		<-time.After(limit + time.Second)
		got, err := io.ReadAll(r)
		if len(got) >= len(data) {
			t.Errorf("%v after the request the viewer gets the rest: %d bytes, %v", time.Since(began), len(got), err)
		}
	})
}

// One who reads a lot at first, and then nothing, is cut off after the grace time: what
// was read before is no credit.
func TestReaderThatStopsIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newPipeSite(t)
		data := toJPEG(t, 600, 600)
		path := s.proxyLink("full", s.origin.put("cat", data))
		r := request(t, c, path)
		if _, err := io.CopyN(io.Discard, r, int64(len(data)/2)); err != nil {
			t.Fatal(err)
		}
		<-time.After(31 * time.Second)
		if n, err := io.Copy(io.Discard, r); err == nil && n >= int64(len(data)/2) {
			t.Errorf("after half a minute without reading the rest comes: %d bytes, %v", n, err)
		}
	})
}

// One who reads a little faster than that gets it all.
func TestPatientReaderIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newPipeSite(t)
		data := toJPEG(t, 600, 600)
		path := s.link("full", s.origin.put("cat", data))
		r := bufio.NewReaderSize(slow{request(t, c, path)}, 16)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		got, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes after %v, want %d: %v", len(got), time.Since(began), len(data), err)
		}
		if took := time.Since(began); took < time.Duration(len(data)/5000)*time.Second {
			t.Errorf("it took %v: that is not slow", took)
		}
		// The time of one request does not count for the next.
		<-time.After(10 * time.Minute)
		if _, err := fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if resp, err = http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
			t.Errorf("the next request: %v", err)
		}
	})
}

// slow reads 4,500 bytes a second.
type slow struct{ r io.Reader }

func (s slow) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	<-time.After(time.Duration(n) * time.Second / 4500)
	return n, err
}

// However long an origin may take by its own limits, what comes of it is told.
func TestPatientFetchIsAnswered(t *testing.T) {
	for _, wait := range []time.Duration{time.Minute, 4 * time.Minute, 10 * time.Minute, time.Hour} {
		t.Run(wait.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := newPipeSite(t)
				path := s.link("full", s.origin.put("cat", func() any {
					<-time.After(wait)
					return &fetch.Error{Kind: fetch.Timeout, Err: errors.New("not complete in time")}
				}))
				resp, err := http.ReadResponse(request(t, c, path), nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if resp.StatusCode != 504 || err != nil || !strings.HasSuffix(string(body), "\n") {
					t.Errorf("status %d, %q, %v", resp.StatusCode, body, err)
				}
			})
		})
	}
}

// A body that is announced and never sent does not hold a connection: bodies are
// not wanted, and not waited for.
func TestBodyThatNeverComes(t *testing.T) {
	for name, test := range map[string]struct {
		start  string
		status int
	}{
		"POST":    {"POST /i/full/x/y HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", 405},
		"GET":     {"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", 200},
		"chunked": {"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, c := newPipeSite(t)
				if _, err := io.WriteString(c, test.start); err != nil {
					t.Fatal(err)
				}
				if err := c.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
					t.Fatal(err)
				}
				began, r := time.Now(), bufio.NewReader(c)
				if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != test.status {
					t.Fatalf("after five minutes there is no answer %d: %v", test.status, err)
				} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("the answer took %v", took)
				}
				if _, err := r.ReadByte(); err != io.EOF {
					t.Errorf("after five minutes the connection is open: %v", err)
				}
			})
		})
	}
}
