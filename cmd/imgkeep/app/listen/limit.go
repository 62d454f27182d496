package listen

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"imgkeep/cmd/imgkeep/app/server"
)

// Limit bounds the connections of all listeners of a server: at most so many in all,
// and a quarter of that from one network of strangers (an IPv4 address, or a /64), so
// that nobody takes them all. When there are too many, the one that has been idle for
// longest is closed, and where none is idle, the newcomer is. It may be used
// concurrently.
type Limit struct {
	max int // 0: none

	mu    sync.Mutex
	conns map[net.Conn]*client
}

// client is who is at the other end of a connection.
type client struct {
	network netip.Prefix // not valid: not a stranger, such as a proxy of the operator's
	active  bool         // a request is being answered
	since   time.Time    // of that, or of idleness
}

// NewLimit returns a limit; max 0: connections are not bounded.
func NewLimit(max int) *Limit { return &Limit{max: max, conns: map[net.Conn]*client{}} }

// Listener gives an http.Server the connections of another one that the limit allows,
// and that say nothing but what we say: see server.Refusal.
func (l *Limit) Listener(inner net.Listener) net.Listener { return &listener{inner, l} }

type listener struct {
	net.Listener
	limit *Limit
}

// Accept never returns more connections than the limit allows.
func (l *listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var c net.Conn
		switch inner := inner.(type) {
		case *net.TCPConn:
			c = &tcpConn{inner}
		case *net.UnixConn:
			c = &unixConn{inner}
		default:
			c = inner
		}
		if l.limit.admit(c, networkOf(inner.RemoteAddr())) {
			return c, nil
		}
		inner.Close()
	}
}

// admit makes room for a connection, and tells whether there is.
func (l *Limit) admit(c net.Conn, network netip.Prefix) bool {
	if l.max == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	same := 0
	var idle, idleSame net.Conn
	older := func(a, b net.Conn) net.Conn {
		if b == nil || l.conns[a].since.Before(l.conns[b].since) {
			return a
		}
		return b
	}
	for conn, who := range l.conns {
		its := network.IsValid() && who.network == network
		if its {
			same++
		}
		if who.active {
			continue
		}
		if idle = older(conn, idle); its {
			idleSame = older(conn, idleSame)
		}
	}
	var victim net.Conn
	switch {
	case same >= max(1, l.max/4):
		victim = idleSame
	case len(l.conns) >= l.max:
		victim = idle
	default:
		l.conns[c] = &client{network: network, since: time.Now()}
		return true
	}
	if victim == nil {
		return false
	}
	delete(l.conns, victim)
	victim.Close()
	l.conns[c] = &client{network: network, since: time.Now()}
	return true
}

// Track is for http.Server.ConnState.
func (l *Limit) Track(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	who := l.conns[c]
	if who == nil {
		return
	}
	switch state {
	case http.StateActive, http.StateIdle:
		who.active, who.since = state == http.StateActive, time.Now()
	case http.StateClosed, http.StateHijacked:
		delete(l.conns, c)
	}
}

// networkOf is where a stranger comes from.
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

// tcpConn and unixConn keep all that net/http looks for in a connection, sendfile
// above all.
type (
	tcpConn  struct{ *net.TCPConn }
	unixConn struct{ *net.UnixConn }
)

func (c *tcpConn) Write(p []byte) (int, error)  { return refuse(c.TCPConn, p) }
func (c *unixConn) Write(p []byte) (int, error) { return refuse(c.UnixConn, p) }

func refuse(c net.Conn, p []byte) (int, error) {
	ours := server.Refusal(p)
	n, err := c.Write(ours)
	if err == nil {
		n = len(p) // as far as the writer knows
	}
	return min(n, len(p)), err
}
