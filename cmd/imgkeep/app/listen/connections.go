package listen

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"imgkeep/cmd/imgkeep/app/server"
)

// Connections are those of all listeners of a server: a limited number in all, and a
// quarter of that from one network of strangers (an IPv4 address, or a /64), so that nobody
// can take them all. If there are too many, it closes the one that has been idle longest,
// or the new one if none is idle. It may be used concurrently.
type Connections struct {
	max int // 0: not bounded

	mu    sync.Mutex
	conns map[net.Conn]*client
	fewer chan struct{} // gets a value, if it has none, when fewer connections wait for an answer
}

// client is the other end of a connection.
type client struct {
	network netip.Prefix // not valid: not a stranger, such as a proxy of the operator's
	state   http.ConnState
	since   time.Time // of that state
}

// NewConnections returns one that allows so many connections; 0: any number.
func NewConnections(max int) *Connections {
	return &Connections{max: max, conns: map[net.Conn]*client{}, fewer: make(chan struct{}, 1)}
}

// Listener gives an http.Server the admitted connections of another listener, on which only
// our own error pages are sent: see server.Refusal.
func (c *Connections) Listener(inner net.Listener) net.Listener { return &listener{inner, c} }

type listener struct {
	net.Listener
	all *Connections
}

// Accept never returns more connections than are allowed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var c net.Conn
		switch inner := inner.(type) {
		case *net.TCPConn:
			c = &tcpConn{TCPConn: inner}
		case *net.UnixConn:
			c = &unixConn{UnixConn: inner}
		default:
			c = inner
		}
		if l.all.admit(c, networkOf(inner.RemoteAddr())) {
			return c, nil
		}
		inner.Close()
	}
}

// admit makes room for a connection, and tells whether there is any.
func (c *Connections) admit(conn net.Conn, network netip.Prefix) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.max > 0 && !c.makeRoom(network) {
		return false
	}
	c.conns[conn] = &client{network: network, since: time.Now()}
	return true
}

// makeRoom closes a connection if there are too many. The caller holds the mutex.
func (c *Connections) makeRoom(network netip.Prefix) bool {
	same := 0
	var idle, idleSame net.Conn
	older := func(a, b net.Conn) net.Conn {
		if b == nil || c.conns[a].since.Before(c.conns[b].since) {
			return a
		}
		return b
	}
	for conn, who := range c.conns {
		its := network.IsValid() && who.network == network
		if its {
			same++
		}
		if who.state == http.StateActive {
			continue
		}
		if idle = older(conn, idle); its {
			idleSame = older(conn, idleSame)
		}
	}
	var victim net.Conn
	switch {
	case same >= max(1, c.max/4):
		victim = idleSame
	case len(c.conns) >= c.max:
		victim = idle
	default:
		return true
	}
	if victim == nil {
		return false
	}
	delete(c.conns, victim)
	victim.Close()
	return true
}

// Track is for http.Server.ConnState.
func (c *Connections) Track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if who := c.conns[conn]; who != nil && state != http.StateNew {
		who.state, who.since = state, time.Now()
	}
	if state == http.StateClosed || state == http.StateHijacked {
		delete(c.conns, conn)
	}
	if state != http.StateNew && state != http.StateActive {
		select {
		case c.fewer <- struct{}{}:
		default:
		}
	}
}

// due counts the connections that may wait for an answer; new ones that have not asked for
// anything only if silent is set.
func (c *Connections) due(silent bool) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, who := range c.conns {
		if who.state == http.StateActive || silent && who.state == http.StateNew {
			n++
		}
	}
	return n
}

// networkOf is the network of a stranger.
func networkOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	if !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return netip.Prefix{}
	}
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}

// tcpConn and unixConn keep everything that net/http looks for in a connection, above all
// sendfile.
type (
	tcpConn struct {
		*net.TCPConn
		gathered
	}
	unixConn struct {
		*net.UnixConn
		gathered
	}
)

func (c *tcpConn) Write(p []byte) (int, error)  { return c.write(c.TCPConn, p) }
func (c *unixConn) Write(p []byte) (int, error) { return c.write(c.UnixConn, p) }

// Release ends Hold.
func (c *tcpConn) Release() error  { return c.release(c.TCPConn) }
func (c *unixConn) Release() error { return c.release(c.UnixConn) }

// gathered sends what is written to a connection while it is held in one system call, and so
// in one segment, where net/http writes the first 4 KB of an answer, and then the rest. Only
// what answers a request may use it.
type gathered struct {
	holding bool
	held    *[headSize]byte // what was written first; nil: nothing was
	n       int             // bytes of it
}

// headSize is what net/http gathers by itself.
const headSize = 4 << 10

var heads = sync.Pool{New: func() any { return new([headSize]byte) }}

// Hold keeps back what is written first, until more is, or Release.
func (g *gathered) Hold() { g.holding = true }

func (g *gathered) write(c net.Conn, p []byte) (int, error) {
	if !g.holding {
		return refuse(c, p)
	}
	if g.held == nil && len(p) <= headSize {
		g.held = heads.Get().(*[headSize]byte)
		g.n = copy(g.held[:], p)
		return g.n, nil
	}
	g.holding = false
	if g.held == nil {
		return c.Write(p)
	}
	both := net.Buffers{g.held[:g.n], p}
	n, err := both.WriteTo(c)
	n -= int64(g.n)
	g.forget()
	return max(int(n), 0), err
}

func (g *gathered) release(c net.Conn) (err error) {
	if g.holding = false; g.held != nil {
		_, err = c.Write(g.held[:g.n])
		g.forget()
	}
	return err
}

func (g *gathered) forget() {
	heads.Put(g.held)
	g.held = nil
}

func refuse(c net.Conn, p []byte) (int, error) {
	ours := server.Refusal(p)
	n, err := c.Write(ours)
	if err == nil {
		n = len(p) // as far as the writer knows, all of it was written
	}
	return min(n, len(p)), err
}
