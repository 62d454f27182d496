package fetch

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReasons causes each of the faults by which images are lost, and others that say
// nothing about that.
func TestReasons(t *testing.T) {
	const page = "\r\n <!doctype html><title>This domain is for sale</title>"
	status := func(code int) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }).URL
	}
	secure := func(change func(*tls.Config)) string {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Config.ErrorLog = nullLog()
		s.TLS = &tls.Config{}
		change(s.TLS)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	closes := "http://" + rawOrigin(t, func(net.Conn) {})
	reset := "http://" + rawOrigin(t, func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) })
	hangs := "http://" + rawOrigin(t, thenHang(func(net.Conn) {}))
	plain := serveBytes(t, []byte(page)).URL
	for _, tt := range []struct {
		name, url string
		options   Options
		want      Reason
	}{
		{"no such host", "http://dead.example/a.png", Options{Resolver: resolves()}, ReasonNoHost},
		{"refused", "http://" + closedPort(t), Options{}, ReasonUnreachable},
		{"reset", reset, Options{}, ReasonUnreachable},
		{"closed at once", closes, Options{}, ReasonUnreachable},
		{"self-signed", secure(func(*tls.Config) {}), Options{}, ReasonTLS},
		{"old TLS", secure(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }), Options{}, ReasonTLS},
		{"no TLS", strings.Replace(plain, "http:", "https:", 1), Options{}, ReasonTLS},
		{"too late", hangs, Options{HeaderTimeout: 50 * time.Millisecond}, ReasonTimeout},
		{"a page", plain, Options{}, ReasonPage},
		{"500", status(500), Options{}, ReasonServerError},
		{"599", status(599), Options{}, ReasonServerError},
		{"404", status(404), Options{}, ReasonGone},
		{"403", status(403), Options{}, ReasonBlocked},
		// These say nothing about whether the image is lost.
		{"499", status(499), Options{}, ""},
		{"600", status(600), Options{}, ""},
		{"text", serveBytes(t, []byte("no image, and no page")).URL, Options{}, ""},
		{"nothing", serveBytes(t, nil).URL, Options{}, ""},
		{"cut off", serveBytes(t, pngOf(t, 9, 9)[:40]).URL, Options{}, ""},
		{"private", "http://10.0.0.1/", Options{}, ""},
		{"the proxy refuses", "http://93.184.215.14/", Options{Proxy: "socks5://" + closedPort(t)}, ""},
		{"the other proxy refuses", "https://93.184.215.14/", Options{Proxy: "http://" + closedPort(t)}, ""},
		{"nor plainly", "http://93.184.215.14/", Options{Proxy: "http://" + closedPort(t)}, ""},
	} {
		origins := []string{}
		if u := tt.url[strings.Index(tt.url, "//")+2:]; strings.Contains(u, ":") {
			origins = append(origins, tt.url)
		} else {
			tt.options.Ports = []int{80, 443}
		}
		_, _, err := pull(t, newFetcher(t, tt.options, origins...), tt.url)
		e, ok := err.(*Error)
		if !ok || e.Reason() != tt.want {
			t.Errorf("%s: %v: reason %q, want %q", tt.name, err, e.Reason(), tt.want)
		}
	}
}

// That this machine has no IPv6 says nothing about a host, and hides nothing: it also
// refuses by IPv4.
func TestRefusalBehindOtherFamily(t *testing.T) {
	f := newFetcher(t, Options{Resolver: resolves("both.example", "2606:4700::1111,93.184.215.14", "new.example", "2606:4700::1111"), Ports: []int{80}})
	f.usual.dialer.connect = func(_ context.Context, to netip.AddrPort) (net.Conn, error) {
		if to.Addr().Is6() {
			return nil, syscall.ENETUNREACH
		}
		return nil, syscall.ECONNREFUSED
	}
	for host, want := range map[string]Reason{"both.example": ReasonUnreachable, "new.example": ""} {
		_, _, err := pull(t, f, "http://"+host+"/")
		if got := wantClass(t, err, Failed).Reason(); got != want {
			t.Errorf("%s: reason %q, want %q", host, got, want)
		}
	}
}

// closedPort is an address at which nobody listens, and nobody else will until the
// test ends: it is bound.
func closedPort(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", name.(*syscall.SockaddrInet4).Port)
}
