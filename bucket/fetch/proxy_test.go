package fetch

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder keeps what a proxy of a test was asked for.
type recorder struct {
	mu    sync.Mutex
	asked []string
}

func (r *recorder) record(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, fmt.Sprintf(format, args...))
}

func (r *recorder) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := strings.Join(r.asked, " ")
	r.asked = nil
	return asked
}

// join copies between two connections until one ends.
func join(a, b net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(a, b); a.Close(); b.Close() })
	io.Copy(b, a)
	a.Close()
	b.Close()
	wg.Wait()
}

// socksProxy is a SOCKS5 server (RFC 1928, RFC 1929) that connects to origin
// whatever it is asked for. user and password are wanted unless user is empty.
func socksProxy(t *testing.T, origin, user, password string) (address string, asked *recorder) {
	asked = new(recorder)
	address = rawOrigin(t, func(c net.Conn) {
		read := func(n int) []byte {
			b := make([]byte, n)
			if _, err := io.ReadFull(c, b); err != nil {
				return make([]byte, n)
			}
			return b
		}
		methods := read(int(read(2)[1]))
		if user == "" {
			c.Write([]byte{5, 0})
		} else {
			if !slices.Contains(methods, 2) {
				c.Write([]byte{5, 0xff})
				return
			}
			c.Write([]byte{5, 2})
			u := string(read(int(read(2)[1])))
			p := string(read(int(read(1)[0])))
			if u != user || p != password {
				c.Write([]byte{1, 1})
				return
			}
			c.Write([]byte{1, 0})
		}
		var host string
		switch kind := read(4)[3]; kind {
		case 1:
			host = netip.AddrFrom4([4]byte(read(4))).String()
		case 4:
			host = netip.AddrFrom16([16]byte(read(16))).String()
		default:
			host = "name:" + string(read(int(read(1)[0])))
		}
		port := read(2)
		asked.record("%s:%d", host, int(port[0])<<8|int(port[1]))
		to, err := net.Dial("tcp", origin)
		if err != nil {
			c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		join(c, to)
	})
	return address, asked
}

// httpProxy is an HTTP proxy that connects to origin whatever it is asked for.
// answer, if not empty, is all it says to CONNECT.
func httpProxy(t *testing.T, origin, answer string) (http.HandlerFunc, *recorder) {
	asked := new(recorder)
	onward := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", origin)
		},
	}
	return func(w http.ResponseWriter, r *http.Request) {
		auth := ""
		if u, p, ok := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth(); ok {
			auth = u + "/" + p + "@"
		}
		asked.record("%s %s%s", r.Method, auth, r.RequestURI)
		if r.Method != http.MethodConnect {
			resp, err := onward.RoundTrip(&http.Request{Method: http.MethodGet, URL: r.URL, Header: http.Header{"Got": {fmt.Sprint(len(r.Header))}}})
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			defer resp.Body.Close()
			w.WriteHeader(resp.StatusCode)
			io.Copy(w, resp.Body)
			return
		}
		client, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		if answer != "" {
			io.WriteString(client, answer)
			io.Copy(io.Discard, client)
			return
		}
		to, err := net.Dial("tcp", origin)
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
		join(client, to)
	}, asked
}

// origins starts an origin for http and one for https as example.com.
func origins(t *testing.T) (plain, secure *httptest.Server, roots *x509.CertPool) {
	picture := pngOf(t, 20, 20)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(picture) })
	plain, secure = httptest.NewServer(h), httptest.NewTLSServer(h)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	roots = x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	return plain, secure, roots
}

// internet is a Resolver that gives example.com the addresses of a host that no test
// can reach, so that whatever arrives came through a proxy.
func internet() *names {
	return resolves("example.com", "93.184.215.14", "inside.example", "10.0.0.1", "rebound.example", "93.184.215.14;10.0.0.1")
}

// TestSOCKS5: the proxy's own address, 127.0.0.1, is not on any list; and what it is
// asked for is the address that was judged, never a name.
func TestSOCKS5(t *testing.T) {
	plain, secure, roots := origins(t)
	for _, tt := range []struct{ origin, url, want string }{
		{plain.URL, "http://example.com/" + secret, "93.184.215.14:80"},
		{secure.URL, "https://example.com/" + secret, "93.184.215.14:443"},
		{plain.URL, "http://[2606:2800:21f:cb07::1]/", "2606:2800:21f:cb07::1:80"},
	} {
		_, address, _ := strings.Cut(tt.origin, "://")
		for _, credentials := range []string{"", "user:p%40ss@"} {
			user, password := "", ""
			if credentials != "" {
				user, password = "user", "p@ss"
			}
			proxy, asked := socksProxy(t, address, user, password)
			f := newFetcher(t, Options{Networks: []netip.Prefix{}, Resolver: internet(), RootCAs: roots, Proxy: "socks5://" + credentials + proxy})
			if _, _, err := pull(t, f, tt.url); err != nil {
				t.Error(err)
			}
			if got := asked.take(); got != tt.want {
				t.Errorf("%s: the proxy was asked for %q, want %q", tt.url, got, tt.want)
			}
		}
	}
	_, address, _ := strings.Cut(plain.URL, "://")
	proxy, asked := socksProxy(t, address, "user", "right")
	f := newFetcher(t, Options{Resolver: internet(), Proxy: "socks5://user:" + secret + "@" + proxy})
	_, _, err := pull(t, f, "http://example.com/")
	wantClass(t, err, Failed)
	if got := asked.take(); got != "" {
		t.Errorf("the proxy let us in for %s", got)
	}
}

func TestHTTPProxy(t *testing.T) {
	plain, secure, roots := origins(t)
	for _, tt := range []struct{ origin, url, want string }{
		{plain.URL, "http://example.com/" + secret, "GET http://example.com/" + secret},
		{secure.URL, "https://example.com/" + secret, "CONNECT 93.184.215.14:443"},
	} {
		_, address, _ := strings.Cut(tt.origin, "://")
		h, asked := httpProxy(t, address, "")
		proxy, secureProxy := httptest.NewServer(h), httptest.NewTLSServer(h)
		defer proxy.Close()
		defer secureProxy.Close()
		trusted := roots.Clone()
		trusted.AddCert(secureProxy.Certificate())
		for _, p := range []string{proxy.URL, secureProxy.URL} {
			for _, credentials := range []string{"", "user:p%40ss@"} {
				f := newFetcher(t, Options{Networks: []netip.Prefix{}, Resolver: internet(), RootCAs: trusted, Proxy: strings.Replace(p, "://", "://"+credentials, 1)})
				for range 2 {
					if _, _, err := pull(t, f, tt.url); err != nil {
						t.Errorf("%s through %s: %v", tt.url, p, err)
					}
				}
				want := tt.want
				if credentials != "" {
					want = strings.Replace(want, " ", " user/p@ss@", 1)
				}
				if strings.HasPrefix(want, "GET") {
					want += " " + want
				}
				// A connection is used again unless the machine is slow.
				if got := asked.take(); got != want && got != want+" "+want {
					t.Errorf("%s through %s: the proxy was asked for %q, want %q", tt.url, p, got, want)
				}
			}
		}
	}
}

// TestProxyIsNoWayAroundTheGuard: the proxy is not even asked for what is inside,
// its own address included.
func TestProxyIsNoWayAroundTheGuard(t *testing.T) {
	plain, _, roots := origins(t)
	_, address, _ := strings.Cut(plain.URL, "://")
	h, askedHTTP := httpProxy(t, address, "")
	proxy := httptest.NewServer(h)
	defer proxy.Close()
	socks, askedSOCKS := socksProxy(t, address, "", "")
	for _, p := range []string{proxy.URL, "socks5://" + socks} {
		port := portIn(t, p)
		for _, target := range []string{
			"http://inside.example/", "https://inside.example/", "http://10.0.0.1/", "https://[::ffff:10.0.0.1]/", "http://localhost/", "http://169.254.169.254/latest/",
			fmt.Sprintf("http://127.0.0.1:%d/", port), fmt.Sprintf("https://127.0.0.1:%d/", port), "http://127.1/", "https://[64:ff9b::127.0.0.1]/",
		} {
			resolver := internet()
			resolver.answers["localhost"] = []string{"127.0.0.1,::1"}
			f := newFetcher(t, Options{Networks: []netip.Prefix{}, Resolver: resolver, RootCAs: roots, Proxy: p, Ports: []int{80, 443, port}})
			_, _, err := pull(t, f, target)
			wantClass(t, err, Refused)
		}
		// Rebinding between two requests. The second is refused, or goes where the
		// first one went, by the connection that is still there.
		f := newFetcher(t, Options{Networks: []netip.Prefix{}, Resolver: internet(), Proxy: p})
		pull(t, f, "http://rebound.example/")
		if got := askedHTTP.take() + askedSOCKS.take(); got != "GET http://rebound.example/" && got != "93.184.215.14:80" {
			t.Errorf("%s was asked for %s", p, got)
		}
		_, _, err := pull(t, f, "https://rebound.example/")
		wantClass(t, err, Refused, "10.0.0.1")
		if got := askedHTTP.take() + askedSOCKS.take(); got != "" {
			t.Errorf("%s was asked for %s", p, got)
		}
	}
}

// TestProxyFails: what goes wrong between us and the proxy is a failure, ends in
// time, and does not show the proxy's password.
func TestProxyFails(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		want         ErrorKind
		text         string
	}{
		{"refused", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", Failed, "403"},
		{"authentication", "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Failed, "407"},
		{"no HTTP", "SSH-2.0-OpenSSH\r\n", Failed, "proxy"},
		{"speaks first", "HTTP/1.1 200 OK\r\n\r\nGET / HTTP/1.1\r\n\r\n", Failed, "too many"},
		{"giant header", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 64<<10), Failed, "proxy"},
		{"silent", "HTTP/1.1 200 OK\r\n", Timeout, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, _ := httpProxy(t, "", tt.answer)
			proxy := httptest.NewServer(h)
			defer proxy.Close()
			o := Options{Resolver: internet(), Proxy: strings.Replace(proxy.URL, "://", "://u:"+secret+"@", 1)}
			if tt.want == Timeout {
				o.HeaderTimeout = 200 * time.Millisecond
			}
			_, _, err := pull(t, newFetcher(t, o), "https://example.com/"+secret)
			wantClass(t, err, tt.want, "example.com", tt.text)
		})
	}
	for _, scheme := range []string{"http", "https"} {
		f := newFetcher(t, Options{Resolver: internet(), Proxy: "http://u:" + secret + "@" + closedPort(t)})
		_, _, err := pull(t, f, scheme+"://example.com/"+secret)
		wantClass(t, err, Failed, "example.com", "refused")
	}
	t.Run("silent SOCKS5", func(t *testing.T) {
		t.Parallel()
		proxy := rawOrigin(t, func(c net.Conn) { io.Copy(io.Discard, bufio.NewReader(c)) })
		f := newFetcher(t, Options{Resolver: internet(), HeaderTimeout: 200 * time.Millisecond, Proxy: "socks5://" + proxy})
		_, _, err := pull(t, f, "https://example.com/"+secret)
		wantClass(t, err, Timeout, "example.com")
	})
}
