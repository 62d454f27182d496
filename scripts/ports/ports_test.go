package ports_test

import (
	"fmt"
	"net"
	"testing"

	"imgkeep/scripts/ports"
)

func TestFree(t *testing.T) {
	taken := map[int]bool{}
	t.Run("held", func(t *testing.T) {
		for _, n := range []int{1, 2, 4, 1} {
			first := ports.Free(t, n)
			for port := first; port < first+n; port++ {
				if taken[port] {
					t.Errorf("%d is given twice", port)
				}
				taken[port] = true
				l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				if l, err := net.Listen("unix", fmt.Sprintf("@imgkeep-test-port-%d", port)); err == nil {
					l.Close()
					t.Errorf("another process would get %d", port)
				}
			}
		}
	})
	for port := range taken {
		l, err := net.Listen("unix", fmt.Sprintf("@imgkeep-test-port-%d", port))
		if err != nil {
			t.Errorf("%d is still held after its test", port)
			continue
		}
		l.Close()
	}
}
