package gctuner

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	const small = 4 << 20
	for _, c := range []struct {
		name    string
		percent int
		apart   time.Duration
		alive   uint64
		want    int
	}{
		{"as far apart as they should be", 100, 100 * time.Millisecond, small, 100},
		{"as they should be at most", 100, 250 * time.Millisecond, small, 100},
		{"too often", 100, 99 * time.Millisecond, small, 200},
		{"too seldom", 100, 251 * time.Millisecond, small, 50},
		{"half of what is alive", 50, time.Second, small, 50},
		{"up to 32 MB", 400, time.Millisecond, small, 800},
		{"and not more", 800, time.Millisecond, small, 800},
		{"what is alive has grown", 800, 100 * time.Millisecond, 2 * small, 400},
		{"less than 32 MB are alive", 100, time.Second, 32<<20 - 1, 50},
		{"32 MB are alive", 400, time.Millisecond, 32 << 20, 100},
		{"much more is alive", 50, time.Second, 1 << 40, 100},
		{"nothing is alive yet", 100, time.Millisecond, 0, 200},
	} {
		if got := next(c.percent, c.apart, c.alive); got != c.want {
			t.Errorf("%s: %d%%, want %d%%", c.name, got, c.want)
		}
	}
}

// percentage is what the collector goes by. To set it, in order to learn what it was, would undo
// what the tuner sets meanwhile.
func percentage() int {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}

var garbage []byte

// A process that makes garbage without end is collected more seldom, and one that makes little
// again takes less memory.
func TestStart(t *testing.T) {
	t.Setenv("GOGC", "")
	Start()
	until := func(what string, reached func() bool, work func()) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !reached(); work() {
			if time.Now().After(end) {
				t.Fatalf("%s: %d%% after a minute", what, percentage())
			}
		}
	}
	until("much garbage", func() bool { return percentage() > usual }, func() {
		for range 10_000 {
			garbage = make([]byte, 4<<10)
		}
	})
	until("little garbage", func() bool { return percentage() < usual }, func() {
		time.Sleep(most + time.Millisecond)
		runtime.GC()
	})
}
