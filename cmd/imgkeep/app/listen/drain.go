package listen

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// silence is how long a new connection may take to send a request while the server stops.
// Browsers open some that they never use.
const silence = 2 * time.Second

// Drain stops a server: it accepts no more connections, and answers all requests on those
// that it has accepted. It gives up when ctx ends, and the error says so. served gets a
// value when Serve returns, for each of the listeners; c has their connections.
//
// http.Server.Shutdown alone would lose answers: it closes a connection whose request
// arrives after it has begun, even one that was accepted a moment before. A web server in
// front can only report that to its client.
func Drain(ctx context.Context, server *http.Server, listeners []net.Listener, served <-chan error, c *Connections) error {
	for _, l := range listeners {
		l.Close() // for a socket of systemd, only our end
	}
	for range listeners {
		<-served // now c knows the last accepted connection
	}
	// Closes idle connections, and each other one after its next answer. A web server that
	// sends a request on an idle one just then sends it again on another.
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
