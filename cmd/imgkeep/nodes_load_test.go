package main_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// load has clients ask for new images of changing origins at a node, until it is stopped, and
// remembers the digest of each that was answered 200.
type load struct {
	t       *testing.T
	origin  *origin
	mu      sync.Mutex
	got     map[string]string // digests by path
	wrong   int               // answers other than before
	n       atomic.Int64      // images that were asked for
	stopped context.Context
	end     context.CancelFunc
	clients sync.WaitGroup
}

func newLoad(t *testing.T, o *origin) *load {
	l := &load{t: t, origin: o, got: map[string]string{}}
	l.stopped, l.end = context.WithCancel(t.Context())
	return l
}

// run adds clients of a node, until stop. Each asks again for what it does not get.
func (l *load) run(n *siteNode, clients int) {
	for range clients {
		l.clients.Go(func() {
			for answered, path := true, ""; l.stopped.Err() == nil; answered = l.ask(n, path) {
				if answered {
					u, _ := l.origin.changing(l.t, fmt.Sprintf("/load%d.jpg", l.n.Add(1)))
					path = link("i", "full", u)
				} else {
					time.Sleep(20 * time.Millisecond) // nginx says at once that the node is down
				}
			}
		})
	}
}

// ask tells whether a node has answered with an image.
func (l *load) ask(n *siteNode, path string) bool {
	body, status := n.body(path)
	if status != http.StatusOK {
		return false
	}
	d := digest([]byte(body))
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, ok := l.got[path]; ok && old != d {
		l.wrong++
	}
	l.got[path] = d
	return true
}

// answered is how many have got their image.
func (l *load) answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.got)
}

// stop ends the clients, and returns what was answered.
func (l *load) stop() map[string]string {
	l.end()
	l.clients.Wait()
	if l.wrong > 0 {
		l.t.Errorf("%d answers were others than before", l.wrong)
	}
	return l.got
}

// shows checks that a node answers what another has.
func (n *siteNode) shows(t *testing.T, got map[string]string) {
	t.Helper()
	for path, want := range got {
		if body, status := n.body(path); status != http.StatusOK || digest([]byte(body)) != want {
			t.Errorf("%s: status %d, digest %s, want %s", path, status, digest([]byte(body)), want)
		}
	}
}

// A node that is killed at any moment has lost nothing that it has answered.
func TestNodesKilledUnderLoad(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, nil)
	l := newLoad(t, a.origin)
	l.run(a, 8)
	for range long(500, 2) {
		before := l.answered()
		until(t, "answers", func() bool { return l.answered() > before+20 })
		a.serve.kill()
		a.serve = a.start()
	}
	b.shows(t, l.stop())
	if err := a.orphans(); err != nil {
		t.Error(err)
	}
}

// orphans are unfinished files that a start should have removed.
func (n *siteNode) orphans() error {
	left, err := os.ReadDir(filepath.Join(n.root(), "tmp"))
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%d files are left in tmp", len(left))
	}
	return err
}

// Nothing that is blocked at one node while another keeps it is shown by either afterwards.
func TestNodesKeepAgainstBlock(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, nil)
	for i := range long(300, 5) {
		u, _ := a.origin.changing(t, fmt.Sprintf("/race%d.jpg", i))
		path := link("i", "full", u)
		var both sync.WaitGroup
		both.Go(func() { b.body(path) })
		both.Go(func() {
			time.Sleep(time.Duration(i%10) * 5 * time.Millisecond)
			if _, stderr, status := a.imgkeep("block", u); status != 0 {
				t.Errorf("block: status %d: %s", status, stderr)
			}
		})
		both.Wait()
		for _, n := range []*siteNode{a, b} {
			if !becomes(t, func() bool { _, status := n.body(path); return status == http.StatusUnavailableForLegalReasons }) {
				t.Errorf("race %d: still shown", i)
			}
		}
	}
}

// What is ten times as large as the cache, a GB, goes through it: it never takes more than it may,
// with what is made of originals, and all bytes are right.
func TestNodesCache(t *testing.T) {
	t.Parallel()
	most, side := int64(long(100_000_000, 4<<20)), long(512, 128)
	a, _ := twoNodes(t, settings{"shared.cache_bytes": most, "fetch.max_bytes": most / 4})
	many := long(10*int(most)/(3*side*side), 128) // noise has three bytes a pixel
	var largest int64
	watching, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for watched := true; watched; {
			select {
			case <-watching:
				watched = false // looks once more
			case <-time.After(200 * time.Millisecond):
			}
			largest = max(largest, a.cached())
		}
	}()
	got := make([]string, many)
	var clients sync.WaitGroup
	next := make(chan int)
	for range long(8, 4) {
		clients.Go(func() {
			for i := range next {
				u := a.origin.url(fmt.Sprintf("/%d.png", i%many))
				body, status := a.body(link("i", "full", u))
				if status != http.StatusOK || i >= many && digest([]byte(body)) != got[i%many] {
					t.Errorf("image %d: status %d", i, status)
				}
				if i < many {
					got[i] = digest([]byte(body))
				}
				if i%2 != 0 {
					continue
				}
				if _, status := a.body(link("i", "50x50", u)); status != http.StatusOK {
					t.Errorf("a size of image %d: status %d", i, status)
				}
			}
		})
	}
	for i := range many {
		a.origin.serve(fmt.Sprintf("/%d.png", i), toPNG(t, noise(side, side, uint64(i))))
	}
	for i := range many {
		next <- i
	}
	for i := range many {
		next <- many + i
	}
	close(next)
	clients.Wait()
	close(watching)
	<-done
	if largest > most*105/100 || largest < most/2 {
		t.Errorf("the cache of %d bytes had up to %d", most, largest)
	}
}

// cached is how many bytes the files of a node's buckets have at least, in blocks of the disk. To
// look at all takes a while in which files come and go: those count that were there both when it
// began and when it ended, and so were there together.
func (n *siteNode) cached() (bytes int64) {
	before := n.inodes()
	for file, size := range n.inodes() {
		if _, ok := before[file]; ok {
			bytes += size
		}
	}
	return bytes
}

// inodes are the files of a node's buckets, by their inodes, in blocks of the disk.
func (n *siteNode) inodes() map[uint64]int64 {
	all := map[uint64]int64{}
	_ = filepath.WalkDir(filepath.Join(n.root(), "i"), func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				all[info.Sys().(*syscall.Stat_t).Ino] = (info.Size() + 4095) / 4096 * 4096
			}
		}
		return nil
	})
	return all
}

// The store stops under load: what is here is shown, and no answer is wrong.
func TestNodesStoreStopsUnderLoad(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, nil)
	l := newLoad(t, a.origin)
	l.run(a, 4)
	until(t, "answers", func() bool { return l.answered() > 20 })
	l.mu.Lock()
	var here []string
	for path := range l.got {
		here = append(here, path)
	}
	l.mu.Unlock()
	a.proxy.cut.Store(true)
	for begun := time.Now(); time.Since(begun) < time.Duration(long(60, 2))*time.Second; time.Sleep(20 * time.Millisecond) {
		for _, path := range here {
			body, status := a.body(path)
			l.mu.Lock()
			want := l.got[path]
			l.mu.Unlock()
			if status != http.StatusOK || digest([]byte(body)) != want {
				t.Fatalf("what is here: status %d: %.100s", status, body)
			}
		}
	}
	a.proxy.cut.Store(false)
	u, _ := a.origin.changing(t, "/back.jpg")
	until(t, "new images", func() bool { _, status := a.body(link("i", "full", u)); return status == http.StatusOK })
	b.shows(t, l.stop())
}
