package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"imgkeep/bucket/blob/s3/s3test"
)

// originalsOf are the names of the originals in the object store of a test.
func originalsOf(t *testing.T, g *s3test.Gateway) (keys []string) {
	t.Helper()
	c := g.Client(t)
	var walk func(folder string)
	walk = func(folder string) {
		for name, err := range c.List(t.Context(), folder) {
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "/") {
				walk(name)
			} else {
				keys = append(keys, name)
			}
		}
	}
	walk("i/o/")
	return keys
}

// A node scrubs the object store, writes again what that has lost from its own files, and tells
// Prometheus of what it shares.
func TestNodesScrub(t *testing.T) {
	t.Parallel()
	g := s3test.Start(t)
	a := newNode(t, g, nil, nil)
	b := newNode(t, g.Another(t), a.origin, nil)
	a.serve, b.serve = a.start(), b.start()
	for i := range 3 {
		a.serve.get(link("i", "full", a.origin.serve(fmt.Sprintf("/%d.jpg", i), photo(t, 30+i, 20)))).isImage("image/jpeg")
	}
	if out, stderr, status := a.imgkeep("scrub"); status != 0 || !strings.HasPrefix(out, "3 images") {
		t.Fatalf("nothing is wrong: status %d: %s%s", status, out, stderr)
	}
	keys := originalsOf(t, g)
	if len(keys) != 3 {
		t.Fatalf("there are %q", keys)
	}
	if err := g.Client(t).Remove(t.Context(), keys[0]); err != nil {
		t.Fatal(err)
	}
	if out, _, status := b.imgkeep("scrub", "--repair"); status != 3 || !strings.Contains(out, "missing      "+keys[0]) || !strings.Contains(out, "no whole copy") {
		t.Errorf("a node that has no copy: status %d: %s", status, out)
	}
	if out, _, status := a.imgkeep("scrub", "--repair"); status != 0 || !strings.Contains(out, "[written again]") {
		t.Errorf("a node that has one: status %d: %s", status, out)
	}
	if out, stderr, status := b.imgkeep("scrub"); status != 0 {
		t.Errorf("afterwards: status %d: %s%s", status, out, stderr)
	}
	if n := b.metric(`imgkeep_shared_requests_total{kind="head",outcome="ok"}`); n < 3 {
		t.Errorf("%v HEADs are counted", n)
	}
	if n := a.metric("imgkeep_shared_cache_files"); n != 3 {
		t.Errorf("%v files of the cache are counted", n)
	}
	if lag := a.metric("imgkeep_shared_lag_seconds"); lag < 0 || lag > 60 {
		t.Errorf("the node lags by %v s", lag)
	}
}

// A store moves up while its server serves and keeps, nodes on empty roots then show all of it
// without its origins, and it comes back to one machine.
func TestMoveToNodesAndBack(t *testing.T) {
	t.Parallel()
	g := s3test.Start(t)
	n := newNode(t, g, nil, nil)
	alone := newWorld(t, settings{"fetch.ports": []int{n.origin.port}})
	alone.origin = n.origin
	s := alone.start()
	var mu sync.Mutex
	bodies := map[string]string{} // by link
	next := 0
	view := func() {
		mu.Lock()
		defer mu.Unlock()
		path := link("i", "full", n.origin.serve(fmt.Sprintf("/%d.jpg", next), photo(t, 20+next, 20)))
		next++
		a := s.get(path)
		a.isImage("image/jpeg")
		bodies[path] = string(a.body)
	}
	for range 20 {
		view()
	}
	blocked := link("i", "full", n.origin.url("/3.jpg"))
	if _, stderr, status := alone.imgkeep("block", blocked); status != 0 {
		t.Fatal(stderr)
	}
	delete(bodies, blocked)

	stop, loaded := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(loaded)
		for {
			select {
			case <-stop:
				return
			default:
				view()
			}
		}
	}()
	push := func() {
		t.Helper()
		if out, stderr, status := n.imgkeep("push", "--root", alone.root()); status != 0 {
			t.Fatalf("push: status %d: %s%s", status, out, stderr)
		}
	}
	push()
	close(stop)
	<-loaded
	view() // after the push
	s.stop()
	push()

	n.origin.off()
	n.serve = n.start()
	show := func(s *server) {
		t.Helper()
		for path, body := range bodies {
			if a := s.get(path); a.status != http.StatusOK || string(a.body) != body {
				t.Errorf("%s: status %d, %d bytes", path, a.status, len(a.body))
			}
		}
		if a := s.get(blocked); a.status != http.StatusUnavailableForLegalReasons {
			t.Errorf("what is blocked: status %d", a.status)
		}
	}
	show(n.serve)
	back := filepath.Join(n.dir, "back")
	if out, stderr, status := n.imgkeep("pull", "--root", back); status != 0 {
		t.Fatalf("pull: status %d: %s%s", status, out, stderr)
	}
	if a, b := journalsIn(t, alone.root()), journalsIn(t, back); a != b {
		t.Errorf("the journals are\n%s\nand were\n%s", b, a)
	}
	again := newWorld(t, settings{"root": back, "fetch.ports": []int{n.origin.port}})
	show(again.start())
}

// journalsIn are the journals of a root, one after the other.
func journalsIn(t *testing.T, root string) (all string) {
	t.Helper()
	for _, pattern := range []string{"journal/*.ndjson", "*/journal/*.ndjson"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all += strings.TrimPrefix(path, root) + "\n" + string(text)
		}
	}
	return all
}

// What nodes share is backed up while they serve, without a server's help, and restores to one machine.
func TestNodesBackup(t *testing.T) {
	t.Parallel()
	n := newNode(t, s3test.Start(t), nil, nil)
	n.serve = n.start()
	urls := []string{}
	for i := range 2 {
		urls = append(urls, n.origin.serve(fmt.Sprintf("/%d.jpg", i), photo(t, 30+i, 20)))
		n.serve.get(link("i", "full", urls[i])).isImage("image/jpeg")
	}
	dir := filepath.Join(n.dir, "copy")
	backUp := func(want string) {
		t.Helper()
		if out, stderr, status := n.imgkeep("backup", dir); status != 0 || !strings.HasPrefix(out, want) {
			t.Errorf("backup: status %d: %s%s, want %q", status, out, stderr, want)
		}
	}
	backUp("2 images, of which 2 copied now")
	backUp("2 images, of which 0 copied now")
	if _, stderr, status := n.imgkeep("purge", urls[0]); status != 0 {
		t.Fatal(stderr)
	}
	backUp("1 images, of which 0 copied now")
	if _, stderr, status := n.imgkeep("backup", "--link", dir); status != 2 {
		t.Errorf("links to nothing: status %d: %s", status, stderr)
	}
	alone := newWorld(t, settings{"fetch.ports": []int{n.origin.port}})
	if err := os.RemoveAll(alone.root()); err != nil {
		t.Fatal(err)
	}
	if out, stderr, status := alone.imgkeep("restore", dir); status != 0 {
		t.Fatalf("restore: status %d: %s%s", status, out, stderr)
	}
	n.origin.off()
	s := alone.start()
	s.get(link("i", "full", urls[1])).isImage("image/jpeg")
	if a := s.get(link("i", "full", urls[0])); a.status == http.StatusOK {
		t.Error("what was removed is back")
	}
}
