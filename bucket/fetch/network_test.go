package fetch

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"imgkeep/bucket/fetch/guard/guardtest"
)

// hostSpellings are the ways to write an address in a URL, special or not.
func hostSpellings(t testing.TB, v4 netip.Addr) map[string]string {
	a := v4.As4()
	n := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	hosts := map[string]string{
		"plain":                     v4.String(),
		"trailing dot":              v4.String() + ".",
		"full width":                strings.NewReplacer("0", "０", "1", "１", "2", "２", ".", "。").Replace(v4.String()),
		"decimal":                   fmt.Sprint(n),
		"hexadecimal":               fmt.Sprintf("0x%x", n),
		"octal":                     fmt.Sprintf("0%o", n),
		"hexadecimal parts":         fmt.Sprintf("0x%x.0x%x.0x%x.0x%x", a[0], a[1], a[2], a[3]),
		"octal parts":               fmt.Sprintf("0%o.0%o.0%o.0%o", a[0], a[1], a[2], a[3]),
		"leading zeros":             fmt.Sprintf("%03d.%03d.%03d.%04d", a[0], a[1], a[2], a[3]),
		"two parts":                 fmt.Sprintf("%d.%d", a[0], n&0xffffff),
		"three parts":               fmt.Sprintf("%d.%d.%d", a[0], a[1], n&0xffff),
		"first part in hexadecimal": fmt.Sprintf("0x%X.%d", a[0], n&0xffffff),
		"overflow":                  fmt.Sprint(uint64(n) + 1<<32),
		"percent":                   fmt.Sprintf("%%%02x%s", v4.String()[0], v4.String()[1:]),
		"zone":                      "[::ffff:" + v4.String() + "%25lo]",
	}
	for form, v6 := range guardtest.Spellings(v4) {
		hosts[form] = "[" + v6.String() + "]"
	}
	return hosts
}

// dotted writes the last four bytes of an IPv6 address as IPv4 is written.
func dotted(a netip.Addr) string {
	b := a.As16()
	full := a.StringExpanded()
	return fmt.Sprintf("%s:%d.%d.%d.%d", full[:len("0000:0000:0000:0000:0000:0000")], b[12], b[13], b[14], b[15])
}

// trap is a dialer's connect that connects to nothing: each attempt is a hole in
// the guard.
type trap struct{ attempts atomic.Int32 }

func (tr *trap) connect(_ context.Context, to netip.AddrPort) (net.Conn, error) {
	tr.attempts.Add(1)
	return nil, fmt.Errorf("connecting to %v", to)
}

// TestNoSpecialAddressIsReached goes the whole way of a fetch with every special
// IPv4 range, at both edges, in every spelling: as the host of the URL, as the
// answer of a name server, and as the host and the answer after a redirect.
//
// It imitates CVE-2025-24354 (0.0.0.0), GHSA-qfrj-65mv-h75h (127.0.0.2),
// CVE-2023-30019, GHSA-f359-r3pv-2phf (redirect to the inside), imagor#239,
// imageproxy#237 and imgproxy before 4.0.12 (IPv6 forms of IPv4).
func TestNoSpecialAddressIsReached(t *testing.T) {
	var to atomic.Value // where the origin redirects to
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // so that each request looks its name up
		w.Header().Set("Location", to.Load().(string))
		w.WriteHeader(http.StatusFound)
	})
	resolver := resolves()
	f := newFetcher(t, Options{MaxRedirects: 1, Ports: []int{80}, Resolver: resolver}, origin.URL)
	var tr trap
	guarded := f.usual.dialer.connect
	f.usual.dialer.connect = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		if to.String() == strings.TrimPrefix(origin.URL, "http://") {
			return guarded(ctx, to)
		}
		return tr.connect(ctx, to)
	}
	try := func(what, target string) {
		t.Helper()
		_, _, err := pull(t, f, target)
		wantClass(t, err, Refused)
		to.Store(target)
		_, _, err = pull(t, f, origin.URL)
		wantClass(t, err, Refused)
		if n := tr.attempts.Swap(0); n > 0 {
			t.Errorf("%s: %s was connected to", what, target)
		}
	}
	loopbackEdge := netip.MustParseAddr("127.0.0.1")
	for _, r := range guardtest.Registry {
		first, last := guardtest.Edges(t, r.Prefix)
		for _, a := range []netip.Addr{first, last} {
			if a == netip.IPv6Loopback() {
				continue // open in this test, for its own origin
			}
			answers := map[string]netip.Addr{"as it is": a}
			if a.Is4() {
				for form, host := range hostSpellings(t, a) {
					try(form, "http://"+host+"/"+secret)
				}
				answers = guardtest.Spellings(a)
			} else {
				for _, host := range []string{a.String(), a.StringExpanded(), strings.ToUpper(a.String()), dotted(a), a.String() + "%25eth0"} {
					try(r.Prefix, "http://["+host+"]/"+secret)
				}
			}
			for form, answer := range answers {
				resolver.answers["inside.example"] = []string{answer.String()}
				try(form+" by DNS", "http://inside.example/"+secret)
				// Rebinding (CVE-2024-39687): the public address first, for the
				// request that is redirected to the same name.
				resolver.answers["inside.example"] = []string{"127.0.0.1", answer.String()}
				again := fmt.Sprintf("http://inside.example:%d/", portIn(t, origin.URL))
				to.Store(again + "again")
				_, _, err := pull(t, f, again+secret)
				wantClass(t, err, Refused, "inside.example")
				if n := tr.attempts.Swap(0); n > 0 {
					t.Errorf("%s by rebinding: %v was connected to", form, answer)
				}
			}
		}
	}
	// The neighbour of an address that is open.
	for form, host := range hostSpellings(t, loopbackEdge.Next()) {
		try(form, "http://"+host+"/"+secret)
	}
	// And the address that is open, in the spellings that only hide something.
	for form, host := range hostSpellings(t, loopbackEdge) {
		if form == "plain" || form == "trailing dot" || form == "full width" || form == "percent" || strings.HasPrefix(form, "IPv4-mapped") {
			continue
		}
		try(form, "http://"+host+"/"+secret)
	}
}

// TestPublicAddressIsAskedFor is the other side: what is not special is connected
// to, directly and by name, and only there: by http, and where that fails by https.
func TestPublicAddressIsAskedFor(t *testing.T) {
	var asked []string
	f := newFetcher(t, Options{Networks: []netip.Prefix{}, Resolver: resolves("i.example", "93.184.215.14,2606:2800:21f:cb07::1", "mixed.example", "10.0.0.1,::1,93.184.215.14")})
	f.usual.dialer.connect = func(_ context.Context, to netip.AddrPort) (net.Conn, error) {
		asked = append(asked, to.String())
		return nil, fmt.Errorf("not on this network")
	}
	for _, tt := range []struct{ url, want string }{
		{"http://93.184.215.14/", "[93.184.215.14:80 93.184.215.14:443]"},
		{"https://[2606:2800:21f:cb07::1]/", "[[2606:2800:21f:cb07::1]:443]"},
		{"http://[::ffff:93.184.215.14]/", "[93.184.215.14:80 93.184.215.14:443]"},
		{"http://i.example/", "[93.184.215.14:80 [2606:2800:21f:cb07::1]:80 93.184.215.14:443 [2606:2800:21f:cb07::1]:443]"},
		{"http://mixed.example/", "[93.184.215.14:80 93.184.215.14:443]"},
	} {
		asked = nil
		_, _, err := pull(t, f, tt.url)
		wantClass(t, err, Failed)
		if fmt.Sprint(asked) != tt.want {
			t.Errorf("%s connects to %v, want %s", tt.url, asked, tt.want)
		}
	}
}

func TestManyAddressesAreNotAllTried(t *testing.T) {
	var asked atomic.Int32
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("93.184.%d.%d", i/256, i%256)
	}
	f := newFetcher(t, Options{Resolver: resolves("i.example", strings.Join(many, ","))})
	f.usual.dialer.connect = func(context.Context, netip.AddrPort) (net.Conn, error) {
		asked.Add(1)
		return nil, fmt.Errorf("no")
	}
	_, _, err := pull(t, f, "https://i.example/")
	wantClass(t, err, Failed)
	if n := asked.Load(); n != maxAddresses {
		t.Errorf("%d addresses were tried", n)
	}
}

type resolverFunc func() ([]netip.Addr, error)

func (f resolverFunc) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { return f() }

func TestNameServerErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want ErrorKind
		text string
	}{
		{&net.DNSError{Err: "no such host", IsNotFound: true}, Failed, "no such host"},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true, IsTemporary: true}, Timeout, "name server"},
		{&net.DNSError{Err: "server misbehaving", IsTemporary: true}, Failed, "misbehaving"},
		{nil, Failed, "no address"},
	} {
		f := newFetcher(t, Options{Resolver: resolverFunc(func() ([]netip.Addr, error) { return nil, tt.err })})
		_, _, err := pull(t, f, "http://i.example/"+secret)
		wantClass(t, err, tt.want, "i.example", tt.text)
	}
}

// TestHiddenAddressIsLogged: a fetch that succeeds beside a forbidden address is worth
// a line, as it may be an attack that failed.
func TestHiddenAddressIsLogged(t *testing.T) {
	origin := serveBytes(t, pngOf(t, 2, 2))
	var log bytes.Buffer
	f := newFetcher(t, Options{Resolver: resolves("i.example", "10.0.0.1,127.0.0.1"), Logger: slog.New(slog.NewTextHandler(&log, nil))}, origin.URL)
	if _, _, err := pull(t, f, fmt.Sprintf("http://i.example:%d/%s", portIn(t, origin.URL), secret)); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); !strings.Contains(got, "host=i.example") || !strings.Contains(got, "10.0.0.1 is private use") || strings.Contains(got, secret) {
		t.Errorf("logged %q", got)
	}
}

// twoHosts starts an origin on 127.0.0.1, which stands for the internet in these
// tests, and one on 127.0.0.2 at the same port, which stands for the inside: it is
// not on the list of networks. inside counts its connections.
func twoHosts(t *testing.T, h http.HandlerFunc) (origin string, port int, inside *atomic.Int32) {
	s := serve(t, h)
	u, _ := url.Parse(s.URL)
	l, err := net.Listen("tcp", "127.0.0.2:"+u.Port())
	if err != nil {
		t.Fatal(err)
	}
	inside = new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			inside.Add(1)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return s.URL, portIn(t, s.URL), inside
}

// TestRebinding imitates CVE-2024-39687: a name server that answers with a public
// address when it is asked for the first time, and with the inside after.
func TestRebinding(t *testing.T) {
	hits := 0
	_, port, inside := twoHosts(t, func(w http.ResponseWriter, r *http.Request) {
		hits++
		w.Header().Set("Connection", "close") // so that the redirect needs a new one
		http.Redirect(w, r, fmt.Sprintf("/again/%d", hits), http.StatusFound)
	})
	resolver := resolves("i.example", "127.0.0.1;127.0.0.2")
	f := newFetcher(t, Options{MaxRedirects: 5, Resolver: resolver, Ports: []int{port}})
	_, _, err := pull(t, f, fmt.Sprintf("http://i.example:%d/%s", port, secret))
	wantClass(t, err, Refused, "i.example", "127.0.0.2 is loopback")
	if hits != 1 || inside.Load() != 0 {
		t.Errorf("%d requests to the public address, %d connections to the inside", hits, inside.Load())
	}
	if fmt.Sprint(resolver.asked) != "[i.example i.example]" {
		t.Errorf("looked up %v", resolver.asked)
	}
}

// TestMixedAnswer is rebinding in one answer: a public address that refuses
// connections, and the inside to fall back to.
func TestMixedAnswer(t *testing.T) {
	_, port, inside := twoHosts(t, func(w http.ResponseWriter, r *http.Request) {})
	f := newFetcher(t, Options{Resolver: resolves("i.example", "::1,127.0.0.2,::ffff:127.0.0.2,64:ff9b::127.0.0.2"), Ports: []int{port}})
	_, _, err := pull(t, f, fmt.Sprintf("http://i.example:%d/%s", port, secret))
	wantClass(t, err, Failed, "refused") // by ::1, where nobody listens
	if inside.Load() != 0 {
		t.Error("the inside was connected to")
	}
}

// TestRedirectInside imitates GHSA-f359-r3pv-2phf: an origin that is permitted, and
// sends us to one that is not. The last word is the dialer's, so connect itself
// refuses too.
func TestRedirectInside(t *testing.T) {
	var location string
	_, port, inside := twoHosts(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusMovedPermanently)
	})
	f := newFetcher(t, Options{MaxRedirects: 3, Ports: []int{port}, Resolver: resolves("inside.example", "127.0.0.2")})
	for _, host := range []string{"127.0.0.2", "inside.example", "[::ffff:127.0.0.2]"} {
		location = fmt.Sprintf("http://%s:%d/", host, port)
		_, _, err := pull(t, f, fmt.Sprintf("http://127.0.0.1:%d/%s", port, secret))
		wantClass(t, err, Refused, "127.0.0.2 is loopback")
	}
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), uint16(port))
	conn, err := direct(f.guard)(t.Context(), to)
	if err == nil {
		conn.Close()
	}
	wantClass(t, err, Refused, "127.0.0.2 is loopback")
	if inside.Load() != 0 {
		t.Error("the inside was connected to")
	}
}

// TestClosedByDefault: without Networks there is no way to an origin here.
func TestClosedByDefault(t *testing.T) {
	hit := false
	origin := serve(t, func(http.ResponseWriter, *http.Request) { hit = true })
	f := newFetcher(t, Options{Networks: []netip.Prefix{}}, origin.URL)
	_, _, err := pull(t, f, origin.URL)
	wantClass(t, err, Refused, "network is not permitted", "127.0.0.1 is loopback (RFC 1122)")
	if hit {
		t.Error("the origin was asked")
	}
}

// TestIPv6Origin: ::1 is open as a network of its own.
func TestIPv6Origin(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	picture := pngOf(t, 2, 2)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(picture) })}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	defer func() { s.Close(); <-done }()
	f := newFetcher(t, Options{Resolver: resolves("i.example", "::1")}, l.Addr().String())
	for _, host := range []string{"[::1]", "[0:0::1]", "i.example"} {
		if _, _, err := pull(t, f, fmt.Sprintf("http://%s:%d/", host, portIn(t, l.Addr().String()))); err != nil {
			t.Error(err)
		}
	}
}

// TestEnvironmentIsNotRead: HTTP_PROXY would lead around the guard.
func TestEnvironmentIsNotRead(t *testing.T) {
	proxied := false
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { proxied = true })
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	t.Setenv("ALL_PROXY", proxy.URL)
	f := newFetcher(t, Options{Resolver: resolves("i.example", "10.0.0.1")})
	_, _, err := pull(t, f, "http://i.example/")
	wantClass(t, err, Refused)
	if proxied {
		t.Error("the proxy of the environment was asked")
	}
}
