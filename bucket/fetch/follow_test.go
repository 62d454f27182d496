package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestClosedPort80: who has closed port 80 is asked by https, once, and by nothing but
// that; what was wrong in the first place is said where nobody answers there either.
func TestClosedPort80(t *testing.T) {
	picture := pngOf(t, 2, 2)
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gone.png" {
			http.NotFound(w, r)
			return
		}
		w.Write(picture)
	}))
	secure.Config.ErrorLog = nullLog()
	secure.StartTLS()
	t.Cleanup(secure.Close)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	// It reads the request and answers, with what is no answer, so that the connection
	// cannot be taken for an idle one that was closed, or that has spoken first.
	closes := rawOrigin(t, answering("HTTP/1.1 200"))
	for _, tt := range []struct {
		name, url   string
		http, https string // an address, or an error
		ports       []int
		class       ErrorKind // empty: the picture comes
		text        string
	}{
		{"refused", "http://example.com/a.png", "refused", secure.Listener.Addr().String(), nil, "", ""},
		{"gone there", "http://example.com/gone.png", "refused", secure.Listener.Addr().String(), nil, Gone, "404"},
		{"refused there", "http://example.com/a.png", "refused", "reset", nil, Failed, "connection refused"},
		{"a wrong certificate", "http://wrong.example/a.png", "refused", secure.Listener.Addr().String(), nil, Failed, "connection refused"},
		{"answers", "http://example.com/a.png", closes, secure.Listener.Addr().String(), nil, Failed, "unexpected EOF"},
		{"another port", "http://example.com:8080/a.png", "refused", secure.Listener.Addr().String(), nil, Failed, "connection refused"},
		{"https is not permitted", "http://example.com/a.png", "refused", secure.Listener.Addr().String(), []int{80}, Failed, "connection refused"},
	} {
		o := Options{RootCAs: roots, Resolver: resolves("example.com", "93.184.215.14", "wrong.example", "93.184.215.14"), Ports: tt.ports}
		if tt.ports == nil {
			o.Ports = []int{80, 443, 8080}
		}
		f := newFetcher(t, o)
		f.usual.dialer.connect = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			switch address := map[bool]string{true: tt.https, false: tt.http}[to.Port() == 443]; address {
			case "refused":
				return nil, syscall.ECONNREFUSED
			case "reset":
				return nil, syscall.ECONNRESET
			default:
				return (&net.Dialer{}).DialContext(ctx, "tcp", address)
			}
		}
		_, res, err := pull(t, f, tt.url)
		if tt.class != "" {
			wantClass(t, err, tt.class, tt.text)
		} else if err != nil || res.FinalURL != "https://example.com/a.png" {
			t.Errorf("%s: %q, %v", tt.name, res.FinalURL, err)
		}
	}
}

// TestDroppedPort80: where what is sent to port 80 is dropped, https has as much time as http had.
func TestDroppedPort80(t *testing.T) {
	picture := pngOf(t, 2, 2)
	const most = 10 * time.Second
	for answered, want := range map[time.Duration]ErrorKind{most - 1: "", most + 1: Timeout} {
		synctest.Test(t, func(t *testing.T) {
			secure, m := serveMemory(t, func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(answered)
				w.Write(picture)
			})
			secure.StartTLS()
			roots := x509.NewCertPool()
			roots.AddCert(secure.Certificate())
			f := newFetcher(t, Options{RootCAs: roots, Resolver: resolves("example.com", "93.184.215.14"), Ports: []int{80, 443}, HeaderTimeout: most})
			f.usual.dialer.connect = m.connectIf(func(to netip.AddrPort) bool { return to.Port() == 443 })
			began := time.Now()
			_, res, err := pull(t, f, "http://example.com/a.png")
			if want != "" {
				wantClass(t, err, want)
			} else if err != nil || res.FinalURL != "https://example.com/a.png" {
				t.Errorf("%q, %v", res.FinalURL, err)
			}
			if took := time.Since(began); took != most+min(answered, most) {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestCookies: what an origin sets is sent back to it within the fetch, to nobody else,
// and forgotten with its end.
func TestCookies(t *testing.T) {
	picture := pngOf(t, 2, 2)
	var seen []string
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		host, port, _ := strings.Cut(r.Host, ":")
		seen = append(seen, host+r.URL.Path+" "+r.Header.Get("Cookie"))
		_, err := r.Cookie("pass")
		switch {
		case r.URL.Path == "/endless": // another one each time
			http.SetCookie(w, &http.Cookie{Name: "n", Value: fmt.Sprint(len(seen))})
			http.Redirect(w, r, "/endless", http.StatusFound)
		case r.URL.Path == "/large":
			http.SetCookie(w, &http.Cookie{Name: "pass", Value: strings.Repeat("x", maxCookies)})
			http.Redirect(w, r, "/large", http.StatusFound)
		case host == "b.example":
			http.Redirect(w, r, "http://a.example:"+port+"/end", http.StatusFound)
		case r.URL.Path == "/end" && err == nil:
			w.Write(picture)
		case err == nil:
			http.Redirect(w, r, "http://b.example:"+port+"/", http.StatusFound)
		default: // to itself
			http.SetCookie(w, &http.Cookie{Name: "pass", Value: "1"})
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}
	})
	f := newFetcher(t, Options{
		MaxRedirects: 3, Resolver: resolves("a.example", "127.0.0.1", "b.example", "127.0.0.1"),
		Profiles: []Profile{{Hosts: []string{"a.example"}, Headers: []string{"Cookie: mine=1", "accept-language: de"}}},
	}, origin.URL)
	base := fmt.Sprintf("http://a.example:%d", portIn(t, origin.URL))
	for range 2 {
		seen = nil
		if _, _, err := pull(t, f, base+"/start"); err != nil {
			t.Fatal(err)
		}
		want := "a.example/start mine=1, a.example/start mine=1; pass=1, b.example/ , a.example/end mine=1; pass=1"
		if got := strings.Join(seen, ", "); got != want {
			t.Errorf("seen\n%s, want\n%s", got, want)
		}
	}
	seen = nil
	_, _, err := pull(t, f, base+"/endless")
	wantClass(t, err, Failed, "more than 3 redirects")
	if len(seen) != 4 {
		t.Errorf("asked %d times", len(seen))
	}
	_, _, err = pull(t, f, base+"/large") // is not sent, so nothing has changed
	wantClass(t, err, Failed, "loop")
}

// TestProfileTLS: a profile takes what browsers of its time took, for its hosts alone,
// also after a redirect and beside connections that were checked.
func TestProfileTLS(t *testing.T) {
	picture := pngOf(t, 2, 2)
	start := func(change func(*tls.Config)) (port int) {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if to := r.URL.Query().Get("to"); to != "" {
				http.Redirect(w, r, to, http.StatusFound)
				return
			}
			w.Write(picture)
		}))
		s.Config.ErrorLog = nullLog()
		s.TLS = &tls.Config{}
		change(s.TLS)
		s.StartTLS()
		t.Cleanup(s.Close)
		return portIn(t, s.URL)
	}
	// tls.Config's default is TLS 1.2 for servers too.
	old := start(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 })
	weak := start(func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}
	})
	usual := start(func(*tls.Config) {})
	f := newFetcher(t, Options{
		MaxRedirects: 1, Ports: []int{old, weak, usual},
		Resolver: resolves("insecure.example", "127.0.0.1", "old.example", "127.0.0.1", "checked.example", "127.0.0.1", "strict.example", "127.0.0.1"),
		Profiles: []Profile{
			{Hosts: []string{"insecure.example"}, Insecure: true},
			{Hosts: []string{"old.example"}, Insecure: true, TLSMin: "1.0"},
			{Hosts: []string{"strict.example"}, Insecure: true, TLSMin: "1.3"},
		},
	})
	for _, tt := range []struct {
		host string
		port int
		ok   bool
	}{
		{"insecure.example", usual, true}, {"old.example", usual, true}, {"checked.example", usual, false},
		{"insecure.example", old, false}, {"old.example", old, true},
		{"insecure.example", weak, false}, {"old.example", weak, true},
		{"strict.example", usual, true}, {"strict.example", weak, false},
	} {
		_, _, err := pull(t, f, fmt.Sprintf("https://%s:%d/a.png", tt.host, tt.port))
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.host, err)
		}
		if err != nil {
			wantReason(t, err, ReasonTLS)
		}
	}
	_, _, err := pull(t, f, fmt.Sprintf("https://insecure.example:%d/a.png?to=https://checked.example:%d/b.png", usual, usual))
	wantReason(t, err, ReasonTLS)
}

func wantReason(t *testing.T, err error, want Reason) {
	t.Helper()
	if e, ok := err.(*Error); !ok || e.Reason() != want {
		t.Errorf("got %v, want reason %q", err, want)
	}
}

// TestHTTP2TakenBack: an origin that takes HTTP/2 back is asked by HTTP/1.1; and a stream that is
// reset after all announced bytes has ended, one that is reset before is cut off.
func TestHTTP2TakenBack(t *testing.T) {
	picture := pngOf(t, 2, 2)
	required := http2Origin(t, picture, func(fr *http2.Framer, stream uint32) {
		fr.WriteRSTStream(stream, http2.ErrCodeHTTP11Required)
	})
	away := http2Origin(t, picture, func(fr *http2.Framer, stream uint32) {
		fr.WriteGoAway(0, http2.ErrCodeHTTP11Required, nil)
	})
	resets := func(n, announced int) string {
		return http2Origin(t, picture, func(fr *http2.Framer, stream uint32) {
			var header strings.Builder
			enc := hpack.NewEncoder(&header)
			enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
			enc.WriteField(hpack.HeaderField{Name: "content-length", Value: fmt.Sprint(announced)})
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte(header.String()), EndHeaders: true})
			fr.WriteData(stream, false, picture[:n])
			fr.WriteRSTStream(stream, http2.ErrCodeInternal)
		})
	}
	for _, tt := range []struct {
		name, address string
		class         ErrorKind
	}{
		{"HTTP_1_1_REQUIRED", required, ""}, {"for the whole connection", away, ""},
		{"reset at the end", resets(len(picture), len(picture)), ""},
		{"reset before the end", resets(len(picture)-1, len(picture)), Broken},
		{"reset where more was announced", resets(len(picture), len(picture)+1), Broken},
	} {
		f := newFetcher(t, Options{Profiles: []Profile{{Hosts: []string{"127.0.0.1"}, Insecure: true}}}, tt.address)
		got, _, err := pull(t, f, "https://"+tt.address+"/a.png")
		if tt.class != "" {
			wantClass(t, err, tt.class, "cut off")
		} else if err != nil || string(got) != string(picture) {
			t.Errorf("%s: %d bytes, %v", tt.name, len(got), err)
		}
	}
}

// http2Origin starts an origin that answers HTTP/1.1 with a picture, and HTTP/2 as it
// is told.
func http2Origin(t *testing.T, picture []byte, answer func(fr *http2.Framer, stream uint32)) (address string) {
	certificate := httptest.NewTLSServer(http.NotFoundHandler())
	certificate.Close()
	config := certificate.TLS.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	return rawOrigin(t, func(c net.Conn) {
		s := tls.Server(c, config)
		if s.Handshake() != nil {
			return
		}
		if s.ConnectionState().NegotiatedProtocol != "h2" {
			answering(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(picture), picture))(s)
			return
		}
		if _, err := io.ReadFull(s, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		fr := http2.NewFramer(s, s)
		fr.WriteSettings()
		for {
			frame, err := fr.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := frame.(*http2.HeadersFrame); ok {
				answer(fr, h.StreamID)
			}
		}
	})
}
