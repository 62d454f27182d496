package fetch

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain fails if the tests together leave a goroutine or a descriptor behind:
// every test closes its origins and its Fetcher, so whatever is left was lost.
func TestMain(m *testing.M) {
	flag.Parse()
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close() // the runtime's own descriptors for waiting are open from here on
	}
	goroutines, descriptors := runtime.NumGoroutine(), openDescriptors()
	code := m.Run()
	if code == 0 && flag.Lookup("test.fuzz").Value.String() == "" {
		deadline := time.Now().Add(time.Minute) // what is ending needs a moment
		for runtime.NumGoroutine() > goroutines || openDescriptors() > descriptors {
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<20)
				fmt.Fprintf(os.Stderr, "left behind: goroutines %d -> %d, descriptors %d -> %d\n%s\n", goroutines, runtime.NumGoroutine(),
					descriptors, openDescriptors(), stacks[:runtime.Stack(stacks, true)])
				code = 1
				break
			}
			runtime.Gosched()
		}
	}
	os.Exit(code)
}

func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(entries)
}

// secret stands in the path of URLs that are fetched in tests. No error may
// repeat it.
const secret = "s3cr3t-t0ken"

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}

// names is a Resolver with the names of one test. Each lookup of a name gives its
// next answer, and the last one from then on.
type names struct {
	mu      sync.Mutex
	answers map[string][]string // name: answers, each a list of addresses with commas; "" is NXDOMAIN
	asked   []string
}

func resolves(pairs ...string) *names {
	n := &names{answers: map[string][]string{}}
	for i := 0; i < len(pairs); i += 2 {
		n.answers[pairs[i]] = strings.Split(pairs[i+1], ";")
	}
	return n
}

func (n *names) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, host)
	answers := n.answers[host]
	if len(answers) == 0 || answers[0] == "" {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	answer := answers[0]
	if len(answers) > 1 {
		n.answers[host] = answers[1:]
	}
	var addrs []netip.Addr
	for s := range strings.SplitSeq(answer, ",") {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs, nil
}

// unhurried is o with time for everything: what ends by its time does so in tests that
// say when, and in no other, however slow the machine is.
func (o Options) unhurried() Options {
	for _, d := range []*time.Duration{&o.Timeout, &o.HeaderTimeout, &o.interval} {
		orDefault(d, time.Hour)
	}
	return o
}

// newFetcher returns a Fetcher that is closed with the test and unhurried. Origins on
// 127.0.0.1 and ::1 are permitted unless o says otherwise, on any port of them.
func newFetcher(t testing.TB, o Options, origins ...string) *Fetcher {
	t.Helper()
	o = o.unhurried()
	if o.Networks == nil {
		o.Networks = loopback
	}
	for _, origin := range origins {
		o.Ports = append(o.Ports, portIn(t, origin))
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func portIn(t testing.TB, origin string) int {
	t.Helper()
	if strings.Contains(origin, "://") {
		u, err := url.Parse(origin)
		if err != nil {
			t.Fatal(err)
		}
		origin = u.Host
	}
	_, port, err := net.SplitHostPort(origin)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// serve starts an HTTP origin.
func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// serveBytes starts an HTTP origin that has one body for every path.
func serveBytes(t testing.TB, body []byte) *httptest.Server {
	return serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(body) })
}

// memory is a listener in memory, of connections that connect makes, for an origin in a
// bubble of synctest. There time passes only while everybody waits, so that a timeout ends
// nothing but what would wait for ever.
type memory struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemory() *memory { return &memory{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error   { m.once.Do(func() { close(m.closed) }); return nil }
func (m *memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080} }

// connect is a dialer's.
func (m *memory) connect(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case m.conns <- far:
		return near, nil
	case <-m.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// connectIf is a dialer's, of addresses of which the others are silent.
func (m *memory) connectIf(answers func(netip.AddrPort) bool) func(context.Context, netip.AddrPort) (net.Conn, error) {
	return func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		if answers(to) {
			return m.connect(ctx, to)
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
}

// serveMemory prepares an HTTP origin in memory, which the caller starts.
func serveMemory(t testing.TB, h http.HandlerFunc) (*httptest.Server, *memory) {
	m := newMemory()
	s := &httptest.Server{Listener: m, Config: &http.Server{Handler: h, ErrorLog: nullLog()}}
	t.Cleanup(s.Close)
	return s, m
}

// rawOrigin starts an origin that speaks as speak does, on every connection. The
// test's end closes the connections and waits for speak to return.
func rawOrigin(t testing.TB, speak func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	speakOn(t, l, speak)
	return l.Addr().String()
}

func speakOn(t testing.TB, l net.Listener, speak func(net.Conn)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				speak(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

// answering returns a speaker that reads a request's header, sends parts one
// after the other, and closes.
func answering(parts ...string) func(net.Conn) {
	return func(c net.Conn) {
		if !readHeader(c) {
			return
		}
		for _, p := range parts {
			if _, err := io.WriteString(c, p); err != nil {
				return
			}
		}
	}
}

// thenHang makes a speaker keep the connection open, silently, until the other
// side or the test's end closes it.
func thenHang(speak func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		speak(c)
		io.Copy(io.Discard, c)
	}
}

func readHeader(c net.Conn) bool {
	var header []byte
	b := make([]byte, 1)
	for !bytes.HasSuffix(header, []byte("\r\n\r\n")) {
		if _, err := c.Read(b); err != nil {
			return false
		}
		header = append(header, b...)
	}
	return true
}

// pull fetches a URL with room for everything.
func pull(t testing.TB, f *Fetcher, rawURL string) ([]byte, Result, error) {
	t.Helper()
	return pullRequest(t, f, Request{URL: rawURL})
}

func pullRequest(t testing.TB, f *Fetcher, r Request) ([]byte, Result, error) {
	t.Helper()
	if r.MaxBytes == 0 {
		r.MaxBytes = 1 << 20
	}
	var dst bytes.Buffer
	res, err := f.Fetch(t.Context(), r, &dst)
	if err != nil && strings.Contains(err.Error(), secret) {
		t.Errorf("error repeats the URL: %v", err)
	}
	return dst.Bytes(), res, err
}

// wantClass fails the test unless err is an *Error of class c whose text contains
// each of texts.
func wantClass(t testing.TB, err error, c ErrorKind, texts ...string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v (%T), want class %q", err, err, c)
	}
	if e.Kind != c {
		t.Fatalf("class is %q, want %q: %v", e.Kind, c, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not contain %q", err, text)
		}
	}
	return e
}

// noise is a picture that does not compress, so that its size in bytes grows with
// its size in pixels. It is the same at every call.
func noise(width, height int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	r := rand.New(rand.NewPCG(1, 2))
	for y := range height {
		for x := range width {
			m.SetNRGBA(x, y, color.NRGBA{uint8(r.Uint32()), uint8(r.Uint32()), uint8(r.Uint32()), 255})
		}
	}
	return m
}

func pngOf(t testing.TB, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, noise(width, height)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// animationOf is an animation of n frames.
func animationOf(t testing.TB, width, height, n int) []byte {
	t.Helper()
	frame := image.NewPaletted(image.Rect(0, 0, width, height), palette.Plan9[:4])
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, &gif.GIF{Image: slices.Repeat([]*image.Paletted{frame}, n), Delay: make([]int, n)}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func jpegOf(t testing.TB, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, noise(width, height), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gifOf(t testing.TB, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := gif.Encode(&b, noise(width, height), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// nullLog is for servers whose clients misbehave on purpose.
func nullLog() *log.Logger { return log.New(io.Discard, "", 0) }
