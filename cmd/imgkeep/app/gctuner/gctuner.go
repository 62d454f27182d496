// Package gctuner adapts to the load how much garbage there may be before Go's collector runs.
//
// What a server keeps alive is a few megabytes. By Go's usual rule (as much garbage as is alive) it
// would be collected 70 times a second under load, for a tenth of the processor, while half of
// that garbage is memory for nothing where requests come slowly. So after each collection
// the tuner looks at how long ago the one before was, and lets garbage grow to twice as much, or
// to half.
//
// It never lets garbage grow beyond 32 MB; where more than that is alive, Go's rule
// applies. It replaces no limit of memory.
package gctuner

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// Collections should be so far apart.
	least, most = 100 * time.Millisecond, 250 * time.Millisecond
	// lowest is the least percentage of what is alive that garbage grows to, and usual is Go's.
	lowest, usual = 50, 100
	// maxGarbage is what garbage grows to, in bytes.
	maxGarbage = 32 << 20
)

var start sync.Once

// Start tunes the collector of this process from now on. Where the environment sets GOGC, that
// counts, and Start does nothing. It may be called repeatedly and concurrently.
func Start() {
	start.Do(func() {
		if os.Getenv("GOGC") == "" {
			(&tuner{percent: usual, last: time.Now()}).wait()
		}
	})
}

// tuner is asked by the runtime after each collection, and never twice at once.
type tuner struct {
	percent int
	last    time.Time // when it was asked
}

// wait has adjust called after the next collection, which finds that nobody needs the marker.
func (t *tuner) wait() {
	marker := new([64]byte) // larger than what shares memory with others, whose collection may be late
	runtime.AddCleanup(marker, (*tuner).adjust, t)
}

func (t *tuner) adjust() {
	now := time.Now()
	if p := next(t.percent, now.Sub(t.last), alive()); p != t.percent {
		t.percent = p
		debug.SetGCPercent(p)
	}
	t.last = now
	t.wait()
}

// next is the percentage after one by which collections were so far apart.
func next(percent int, apart time.Duration, alive uint64) int {
	if alive >= maxGarbage {
		return usual
	}
	switch {
	case apart < least:
		percent *= 2
	case apart > most:
		percent /= 2
	}
	return min(max(percent, lowest), int(100*maxGarbage/max(alive, 1<<20)))
}

// alive is how many bytes of heap and stacks are, of which the runtime takes the percentage.
func alive() uint64 {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64()
}
