package server_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/nginx"
)

// BenchmarkServe compares the server, sending an image that is stored, with
// http.FileServer sending the same file: the same http.Server, the same loopback,
// the same clients on connections that stay open, turn about in one run. An op is
// a request to each. "ratio" is the requests a second of the one over those of the
// other: 1 would mean that verifying a signature and looking up the index cost
// nothing. "cpu-ratio" is the same of the processor's time, clients included, which
// other work on the machine disturbs less.
//
//	go test -run '^$' -bench BenchmarkServe -benchtime 100000x ./cmd/imgkeep/app/server
func BenchmarkServe(b *testing.B) {
	for _, connections := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) { benchmarkServe(b, connections) })
	}
}

func benchmarkServe(b *testing.B, connections int) {
	s := newSite(b, func(b *bucket.Options, o *server.Options) { b.Now, o.Now = time.Now, time.Now })
	s.clock.now = time.Now() // to sign by
	var data []byte
	for side := 100; len(data) < 18<<10; side++ {
		data = toJPEG(b, side, side)
	}
	url := s.origin.put("cat", data)
	path := s.link("full", url)
	if w := s.get(path); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), data) {
		b.Fatalf("status %d, %d bytes", w.Code, w.Body.Len())
	}
	image, err := s.store.Find("i", url)
	if err != nil {
		b.Fatal(err)
	}
	file := s.store.Path(image.File())

	ours := newLoad(b, s.handler, path, connections, len(data))
	theirs := newLoad(b, http.FileServer(http.Dir(filepath.Dir(file))), "/"+filepath.Base(file), connections, len(data))
	const turn = 500 // requests, so that what else the machine does hits both alike
	ours.send(b, turn)
	theirs.send(b, turn)
	b.ResetTimer()
	var us, them cost
	for left := b.N; left > 0; left -= turn {
		n := min(left, turn)
		us.add(ours.send(b, n))
		them.add(theirs.send(b, n))
	}
	b.StopTimer()
	b.ReportMetric(float64(them.wall)/float64(us.wall), "ratio")
	b.ReportMetric(float64(them.cpu)/float64(us.cpu), "cpu-ratio")
	b.ReportMetric(float64(b.N)/us.wall.Seconds(), "imgkeep-req/s")
	b.ReportMetric(float64(b.N)/them.wall.Seconds(), "FileServer-req/s")
	b.ReportMetric(0, "ns/op")
}

// load is an http.Server, and clients that have it send one path. They do as
// little as they can, since what they cost counts for both servers.
type load struct {
	clients []*client
	request []byte
	length  int
}

type client struct {
	conn net.Conn
	r    *bufio.Reader
}

func newLoad(b *testing.B, h http.Handler, path string, connections, length int) *load {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	// As serve sets it up.
	httpServer := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	go httpServer.Serve(l)
	load := &load{request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: img.example.com\r\n\r\n", path), length: length}
	for range connections {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		load.clients = append(load.clients, &client{c, bufio.NewReaderSize(c, 32<<10)})
	}
	b.Cleanup(func() {
		for _, c := range load.clients {
			c.conn.Close()
		}
		httpServer.Close()
	})
	return load
}

// cost is time: on the clock, and of the processor.
type cost struct{ wall, cpu time.Duration }

func (c *cost) add(more cost) {
	c.wall += more.wall
	c.cpu += more.cpu
}

// processor is the time that this process has used.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// send makes n requests, shared out among the clients, and returns what they cost.
func (l *load) send(b *testing.B, n int) cost {
	b.Helper()
	errs := make(chan error, len(l.clients))
	began, used := time.Now(), processor(b)
	for i, c := range l.clients {
		share := (n + len(l.clients) - 1 - i) / len(l.clients)
		go func() {
			for range share {
				if err := c.get(l.request, l.length); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range l.clients {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	return cost{time.Since(began), processor(b) - used}
}

func (c *client) get(request []byte, length int) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil || !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answer %q, %v", line, err)
	}
	sent := -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if sent, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if sent != length {
		return fmt.Errorf("Content-Length %d, want %d", sent, length)
	}
	_, err = c.r.Discard(length)
	return err
}

// BenchmarkHandoff is what handing one image over to nginx again and again takes, without
// net/http and the network.
//
//	go test -run '^$' -bench BenchmarkHandoff -cpuprofile cpu.out ./cmd/imgkeep/app/server
func BenchmarkHandoff(b *testing.B) {
	s := newSite(b, func(b *bucket.Options, o *server.Options) {
		b.Now, o.Now = time.Now, time.Now
		o.Handoff, o.HandoffValid = true, 5*time.Second
	})
	s.clock.now = time.Now() // to sign by
	path := s.link("full", s.origin.put("cat", toJPEG(b, 100, 100)))
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set(nginx.HeaderHandoff, nginx.HandoffNginx)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		clear(w.Header())
		s.handler.ServeHTTP(w, r)
		if w.Header().Get(nginx.HeaderRedirect) == "" {
			b.Fatal(w.Header())
		}
	}
}
