package listen

import (
	"net"
	"net/http"
	"net/netip"
	"testing"
)

// caller is a connection from somewhere.
type caller struct {
	net.Conn
	closed bool
}

func (c *caller) Close() error { c.closed = true; return nil }

// One of a network too many takes the place of its own that is idle for longest, and
// has none where all are active; likewise one too many in all. Proxies on this machine
// and in private networks count in all only.
func TestConnectionsAreBounded(t *testing.T) {
	at := func(s string) netip.Prefix {
		return networkOf(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(s), 1)))
	}
	l := NewConnections(8) // two of a network
	come := func(from string) (*caller, bool) {
		c := &caller{}
		return c, l.admit(c, at(from))
	}
	first, _ := come("203.0.113.1")
	second, _ := come("::ffff:203.0.113.1")
	if _, ok := come("203.0.113.1"); !ok || !first.closed || second.closed {
		t.Errorf("one too many of an address: %v; closed: the first %v, the second %v", ok, first.closed, second.closed)
	}
	for c := range l.conns {
		l.Track(c, http.StateActive)
	}
	if _, ok := come("203.0.113.1"); ok {
		t.Error("one too many of an address whose others are active")
	}
	for _, ip := range []string{"127.0.0.1", "10.1.2.3", "127.0.0.1", "10.1.2.3"} {
		c, ok := come(ip)
		if !ok {
			t.Errorf("%s is refused", ip)
		}
		l.Track(c, http.StateActive)
	}
	v6, _ := come("2001:db8:1:2::1")
	if _, ok := come("2001:db8:1:2:ffff::1"); !ok || v6.closed || len(l.conns) != 8 {
		t.Errorf("up to the limit: %v, closed %v, %d are there", ok, v6.closed, len(l.conns))
	}
	if _, ok := come("198.51.100.1"); !ok || !v6.closed || len(l.conns) != 8 {
		t.Errorf("one too many: %v, the idle one closed %v, %d are there", ok, v6.closed, len(l.conns))
	}
	for c := range l.conns {
		l.Track(c, http.StateActive)
	}
	if _, ok := come("198.51.100.2"); ok {
		t.Error("one too many, and all are active")
	}
	for c := range l.conns {
		l.Track(c, http.StateClosed)
	}
	if len(l.conns) != 0 {
		t.Errorf("%d are remembered", len(l.conns))
	}
	l = NewConnections(0)
	for range 100 {
		if _, ok := come("203.0.113.1"); !ok {
			t.Fatal("without a limit")
		}
	}
}
