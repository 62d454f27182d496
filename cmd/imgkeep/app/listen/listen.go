// Package listen manages the sockets of a server: it opens them or takes them over from
// systemd, bounds their connections, and closes them without losing an answer.
//
// What it promises: it replaces a socket that a killed process has left, and nothing else;
// it replaces error pages that net/http writes to a connection by those of the server (see
// server.Refusal). What it does not do: it answers no request, and knows no TLS, which
// nginx speaks.
package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
)

// All opens an address, host:port or unix:/path, or takes over the sockets that systemd
// opened for this process, which are then the only ones.
func All(address string) ([]net.Listener, error) {
	inherited, err := inherit()
	if err != nil || len(inherited) > 0 {
		return inherited, err
	}
	l, err := At(address)
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

// inherit returns the sockets that systemd hands over.
func inherit() ([]net.Listener, error) {
	all, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("sockets of systemd: %w", err)
	}
	for _, l := range all {
		if l == nil {
			return nil, errors.New("sockets of systemd: one is no stream socket")
		}
	}
	return all, nil
}

// At opens host:port or unix:/path. Everybody who can enter the folder of a socket may
// connect, as nginx must: the signature protects a link, not the socket.
func At(address string) (net.Listener, error) {
	var l net.Listener
	var err error
	if path, isUnix := Path(address); isUnix {
		l, err = Unix(path, 0o666)
	} else {
		l, err = net.Listen("tcp", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// Path is that of the address of a Unix socket.
func Path(address string) (path string, isUnix bool) {
	return strings.CutPrefix(address, "unix:")
}

// Unix replaces a socket that a killed process has left. A socket on which somebody listens
// is an error, and so is a file that is no socket.
func Unix(path string, mode fs.FileMode) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != os.ModeSocket:
		return nil, fmt.Errorf("%s is there and is no socket", path)
	default:
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			return nil, fmt.Errorf("another process listens on %s", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
