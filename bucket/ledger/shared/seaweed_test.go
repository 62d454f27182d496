package shared_test

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// rounds is how many kills of each kind there are: scripts/crash shared says.
func rounds() int {
	if n, err := strconv.Atoi(os.Getenv("IMGKEEP_CRASH_ROUNDS")); err == nil {
		return n
	}
	return 2
}

// load keeps and removes by some nodes, all the time, and knows what was acknowledged.
type load struct {
	*testing.T
	mu      sync.Mutex
	kept    map[string]record.Image // by URL
	removed map[string]bool
	failed  atomic.Int64
	done    atomic.Int64
	stop    chan struct{}
	work    sync.WaitGroup
}

func (l *load) start(nodes []*real) {
	for w := range 8 {
		n := nodes[w%len(nodes)]
		l.work.Go(func() {
			for u := 0; ; u++ {
				select {
				case <-l.stop:
					return
				default:
				}
				text := strings.Repeat(fmt.Sprintf("bytes %d of %d ", u, w), 500)
				img := image(fmt.Sprintf("https://a.example/%d/%d.png", w, u), text)
				i, err := n.Keep(l.Context(), img, strings.NewReader(text), *ledger.KeepEvent(img))
				if err != nil {
					l.failed.Add(1)
					continue
				}
				remove := u%10 == 9
				if remove {
					_, err = n.Remove(l.Context(), "i", *ledger.RemoveEvent(ledger.OpForget, i, time.Now(), "", ""))
				}
				if err != nil {
					l.failed.Add(1)
					continue // it was removed or not
				}
				l.mu.Lock()
				if remove {
					l.removed[i.URL] = true
				} else {
					l.kept[i.URL] = i
				}
				l.mu.Unlock()
				l.done.Add(1)
			}
		})
	}
}

// until waits for so many more acknowledged keeps and removals.
func (l *load) until(more int64) {
	l.Helper()
	for want, deadline := l.done.Load()+more, time.Now().Add(3*time.Minute); l.done.Load() < want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.Fatalf("%d of %d came in three minutes, and %d failed", l.done.Load()-want+more, more, l.failed.Load())
		}
	}
}

// Volume servers and filers of SeaweedFS are killed under load, and started again: all that was
// acknowledged is there, with its bytes, for a node that knows nothing, and what was removed is not.
func TestSeaweedDies(t *testing.T) {
	cluster := s3test.Seaweed(t)
	l := &load{T: t, kept: map[string]record.Image{}, removed: map[string]bool{}, stop: make(chan struct{})}
	l.start([]*real{newReal(t, cluster.Gateway(t)), newReal(t, cluster.Gateway(t))})
	end := sync.OnceFunc(func() { close(l.stop); l.work.Wait() })
	defer end()
	for round := range rounds() {
		for _, part := range []string{fmt.Sprint("volume", round%3), fmt.Sprint("filer", round%2)} {
			l.until(100)
			cluster.Kill(part)
			t.Logf("round %d: %s was killed after %d", round, part, l.done.Load())
			time.Sleep(time.Second) // for as long as it is away
			if err := cluster.Start(part); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.until(200)
	end()
	l.check(newReal(t, cluster.Gateway(t)))
}

// check compares what was acknowledged with what a node finds.
func (l *load) check(n *real) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for url, i := range l.kept {
		found, err := n.Find(l.Context(), "i", url)
		if err != nil || found != i {
			l.Errorf("%s: %+v, %v", url, found, err)
			continue
		}
		if err := n.files.FetchTo(l.Context(), found, io.Discard); err != nil {
			l.Error(err)
		}
	}
	for url := range l.removed {
		if found, err := n.Find(l.Context(), "i", url); err == nil {
			l.Errorf("%s was removed, and is there: %+v", url, found)
		}
	}
	l.Logf("%d kept and %d removed are as they should be; %d failed", len(l.kept), len(l.removed), l.failed.Load())
	if len(l.kept) < 300 || len(l.removed) < 20 {
		l.Errorf("only %d were kept and %d removed", len(l.kept), len(l.removed))
	}
}
