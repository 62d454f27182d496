// Package ports finds ports for a program that a test starts and that opens them itself.
//
// A port that the system picks, opened and closed again, may be somebody else's a moment later:
// another test's, or the near end of any connection. These cannot, since they lie below those
// that Linux gives to connections, and since who else asks here is told that they are taken. It
// does not keep out programs that know nothing of this package, but for those that listen on the
// port when it is asked for.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

const (
	lowest  = 15000
	highest = 32000 // connections get 32768 and more: ip_local_port_range
)

// Free is the first of n neighbouring TCP ports of 127.0.0.1 on which nobody listens and which
// no other call, of this or another process, gets before the test has ended.
func Free(t testing.TB, n int) int {
	t.Helper()
	for range 1000 {
		first := lowest + rand.IntN(highest-lowest-n)
		if take(t, first, n) {
			return first
		}
	}
	t.Fatalf("ports: no %d free neighbours from %d to %d", n, lowest, highest)
	return 0
}

// Address is 127.0.0.1 with one port of Free.
func Address(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", Free(t, 1))
}

// take holds a name for each port. It is of an abstract socket, which lives in the network
// namespace as the port does, leaves no file behind and ends with the process.
func take(t testing.TB, first, n int) bool {
	var held []net.Listener
	for port := first; port < first+n; port++ {
		name, err := net.Listen("unix", fmt.Sprintf("@imgkeep-test-port-%d", port))
		if err == nil {
			held = append(held, name)
			var l net.Listener
			if l, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
				err = l.Close()
			}
		}
		if err != nil {
			for _, name := range held {
				name.Close()
			}
			return false
		}
	}
	t.Cleanup(func() {
		for _, name := range held {
			name.Close()
		}
	})
	return true
}
