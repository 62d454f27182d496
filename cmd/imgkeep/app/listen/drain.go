package listen

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Connections knows the connections of an http.Server that an answer may be due
// on, for a stop that loses none.
//
// http.Server.Shutdown alone would: it closes a connection whose request arrives
// after it has begun without an answer, also one that was accepted a moment
// before. A web server that keeps connections open to us can only report that to
// its client.
type Connections struct {
	mu    sync.Mutex
	busy  map[net.Conn]http.ConnState // new or active
	fewer chan struct{}               // gets a value, if it has none, when busy shrinks
}

// NewConnections returns one that knows none.
func NewConnections() *Connections {
	return &Connections{busy: map[net.Conn]http.ConnState{}, fewer: make(chan struct{}, 1)}
}

// Track is for http.Server.ConnState.
func (c *Connections) Track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew, http.StateActive:
		c.busy[conn] = state
	default:
		delete(c.busy, conn)
		select {
		case c.fewer <- struct{}{}:
		default:
		}
	}
}

// due counts the connections that an answer may be due on; new ones that have
// not asked for anything only where silent is set.
func (c *Connections) due(silent bool) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, state := range c.busy {
		if silent || state == http.StateActive {
			n++
		}
	}
	return n
}

// silence is how long a new connection may take, while we stop, to ask for
// something. Browsers open some that they never use.
const silence = 2 * time.Second

// Drain stops a server: it accepts no more, answers all that has been asked, and
// what is asked on connections that it has accepted already. It gives up when ctx
// ends, and the error says so. served gets a value when Serve returns, for each of
// the listeners.
func Drain(ctx context.Context, server *http.Server, listeners []net.Listener, served <-chan error, c *Connections) error {
	for _, l := range listeners {
		l.Close() // of a socket that systemd holds, only our end
	}
	for range listeners {
		<-served // now c knows the last connection that was accepted
	}
	// Closes the idle ones, and each other one after its next answer. A web
	// server that asks on an idle one just then asks again on another.
	server.SetKeepAlivesEnabled(false)
	patience := time.NewTimer(silence)
	defer patience.Stop()
	for silent := true; c.due(silent) > 0; {
		select {
		case <-c.fewer:
		case <-patience.C:
			silent = false
		case <-ctx.Done():
			server.Close()
			return ctx.Err()
		}
	}
	if err := server.Shutdown(ctx); !errors.Is(err, net.ErrClosed) { // which the listeners are
		return err
	}
	return nil
}
