package listen

import (
	"bytes"
	"fmt"
	"io"
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

// sink counts what is written to a connection.
type sink struct {
	net.Conn
	writes [][]byte
}

func (s *sink) Write(p []byte) (int, error) {
	s.writes = append(s.writes, bytes.Clone(p))
	return len(p), nil
}

// While a connection is held, nothing leaves before the second write, or Release; both have all
// bytes in their order, and what is written afterwards waits for nothing.
func TestHold(t *testing.T) {
	for _, sizes := range [][]int{{}, {1}, {headSize}, {headSize + 1}, {headSize, 1}, {100, 20_000}, {headSize, headSize, 7}} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			s, g, want := &sink{}, gathered{}, []byte(nil)
			for range 2 { // a connection answers many requests
				g.Hold()
				for i, size := range sizes {
					p := bytes.Repeat([]byte{byte('a' + i)}, size)
					before := len(s.writes)
					if n, err := g.write(s, p); n != size || err != nil {
						t.Fatalf("wrote %d of %d bytes, %v", n, size, err)
					}
					if left := len(s.writes) > before; left == (i == 0 && size <= headSize) {
						t.Errorf("write %d has left: %v", i, left)
					}
					want = append(want, p...)
				}
				if err := g.release(s); err != nil {
					t.Fatal(err)
				}
				if got := bytes.Join(s.writes, nil); !bytes.Equal(got, want) {
					t.Errorf("%d bytes have left, want %d, or they are others", len(got), len(want))
				}
			}
		})
	}
}

// A held connection sends by one system call, over TCP and over a Unix socket.
func TestHoldOnSockets(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": t.TempDir() + "/socket"} {
		inner, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		l := NewConnections(0).Listener(inner)
		defer l.Close()
		client, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		held := c.(interface {
			Hold()
			Release() error
		})
		held.Hold()
		head, body := bytes.Repeat([]byte("h"), headSize), bytes.Repeat([]byte("b"), 60_000)
		go func() {
			defer c.Close()
			c.Write(head)
			c.Write(body)
			held.Release()
		}()
		got, err := io.ReadAll(client)
		if err != nil || !bytes.Equal(got, append(head, body...)) {
			t.Errorf("%s: %d bytes, %v", network, len(got), err)
		}
	}
}
