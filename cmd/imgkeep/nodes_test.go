package main_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/nginx/nginxtest"
	"imgkeep/scripts/patience"
)

// storeProxy is the way of the nodes to their object store. It counts requests, may spoil
// them, and may be cut.
type storeProxy struct {
	*httptest.Server
	cut   atomic.Bool                         // nothing passes
	hang  atomic.Pointer[chan struct{}]       // nothing passes, and nobody hears of it, until it is closed
	spoil atomic.Pointer[func(*http.Request)] // what is done to each
	trap  atomic.Pointer[trap]                // for one of them
	to    atomic.Pointer[url.URL]             // the store
	mu    sync.Mutex
	n     map[string]int // by method and kind of object
}

// objectKind tells what a request is about: an original, a record, or the log.
var objectKind = regexp.MustCompile(`/(?:[a-z0-9]+/([ou])/|(log)/|(probe)/)`)

func newStoreProxy(t testing.TB, to string) *storeProxy {
	t.Helper()
	p := &storeProxy{n: map[string]int{}}
	p.point(t, to)
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(p.to.Load())
			r.Out.Host = r.In.Host // which is signed
			if spoil := p.spoil.Load(); spoil != nil {
				(*spoil)(r.Out)
			}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) },
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.cut.Load() {
			panic(http.ErrAbortHandler)
		}
		if hang := p.hang.Load(); hang != nil {
			select {
			case <-*hang:
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		}
		kind := "list"
		if m := objectKind.FindStringSubmatch(r.URL.Path); m != nil && r.URL.Query().Get("list-type") == "" {
			kind = m[1] + m[2] + m[3]
		}
		p.mu.Lock()
		p.n[r.Method+" "+kind]++
		p.mu.Unlock()
		if trap := p.trap.Load(); trap != nil {
			trap.catch(r.Method+" "+kind, r.URL.Path, func() { pass.ServeHTTP(httptest.NewRecorder(), r) })
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// point has the proxy lead to a store.
func (p *storeProxy) point(t testing.TB, to string) {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	p.to.Store(target)
}

// all are the requests until now.
func (p *storeProxy) all() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.n)
}

// since counts from now on. Looks at the log of nobody's are not counted: they come every two
// seconds.
func (p *storeProxy) since() func() map[string]int {
	before := p.all()
	return func() map[string]int {
		got := p.all()
		for k, n := range before {
			if got[k] -= n; got[k] == 0 {
				delete(got, k)
			}
		}
		return got
	}
}

// siteNode is a node of several, with an nginx before it.
type siteNode struct {
	*world
	proxy *storeProxy
	serve *server
	front *server
}

// newNode makes a node, which is not started yet.
func newNode(t testing.TB, g *s3test.Gateway, origin *origin, more settings) *siteNode {
	t.Helper()
	w, site := newFronted(t, more)
	if origin != nil {
		w.origin = origin
		w.set("fetch.ports", []int{origin.port})
	}
	n := &siteNode{world: w, proxy: newStoreProxy(t, g.URL)}
	o := g.Options(t)
	for key, value := range map[string]any{
		"endpoint": n.proxy.URL, "bucket": o.Bucket, "prefix": o.Prefix, "path_style": true, "access_key": s3test.AccessKey, "secret_key": s3test.SecretKey,
	} {
		w.set("shared."+key, value)
	}
	n.front = &server{w: w}
	ng := nginxtest.Start(t, site)
	n.front.base, n.front.client = ng.URL, ng.Client()
	return n
}

// twoNodes are started on one object store and one origin.
func twoNodes(t testing.TB, more settings) (a, b *siteNode) {
	t.Helper()
	g := s3test.Start(t)
	a = newNode(t, g, nil, more)
	b = newNode(t, g.Another(t), a.origin, more)
	a.serve, b.serve = a.start(), b.start()
	return a, b
}

// body is what a viewer gets, and whether they got it.
func (n *siteNode) body(path string) (string, int) {
	a, err := n.front.request(context.Background(), http.MethodGet, path, nil)
	if err != nil {
		return "", 0
	}
	return string(a.body), a.status
}

// becomes tells whether something becomes so, however long a busy machine takes.
func becomes(t testing.TB, is func() bool) bool {
	for late := time.Now().Add(patience.Of(t)); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			return false
		}
	}
	return true
}

// until waits for something to become so.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	if !becomes(t, is) {
		t.Fatalf("waited in vain: %s", what)
	}
}

// changing has an origin answer with other bytes each time, and counts its answers.
func (o *origin) changing(t testing.TB, path string) (string, *atomic.Int64) {
	var asked atomic.Int64
	base := photo(t, 30, 20)
	return o.on(path, func(w http.ResponseWriter, _ *http.Request) {
		n := asked.Add(1)
		w.Header().Set("Content-Type", "image/jpeg")
		image := inserted(base, segment(0xfe, fmt.Appendf(nil, "%s %d", path, n))) // a comment
		w.Write(image)
	}), &asked
}

// A store that ignores conditions stops the start, and is named.
func TestNodesRefuseABadStore(t *testing.T) {
	t.Parallel()
	g := s3test.Start(t)
	n := newNode(t, g, nil, nil)
	ignore := func(r *http.Request) { r.Header.Del("If-None-Match") }
	n.proxy.spoil.Store(&ignore)
	_, stderr, status := n.imgkeep("serve")
	if status != 1 || !strings.Contains(stderr, "several nodes cannot share this object store") {
		t.Errorf("status %d: %s", status, stderr)
	}
	if strings.Contains(stderr, s3test.SecretKey) {
		t.Error("the key shows")
	}
	n.proxy.cut.Store(true)
	if _, stderr, status := n.imgkeep("serve"); status != 1 {
		t.Errorf("no store: status %d: %s", status, stderr)
	}
}

// A root is either the store of one machine or a node's cache, and what works on files says so.
func TestNodesRoot(t *testing.T) {
	t.Parallel()
	g := s3test.Start(t)
	n := newNode(t, g, nil, nil)
	alone := newWorld(t, settings{"root": n.root(), "fetch.ports": []int{n.origin.port}})
	s := alone.start()
	s.get(link("i", "full", n.origin.serve("/a.jpg", photo(t, 30, 20)))).isImage("image/jpeg")
	s.kill()
	if _, stderr, status := n.imgkeep("serve"); status != 2 || !strings.Contains(stderr, "holds the store of one machine") {
		t.Errorf("a store as a cache: status %d: %s", status, stderr)
	}
	if err := os.RemoveAll(n.root()); err != nil {
		t.Fatal(err)
	}
	n.serve = n.start()
	n.serve.get("/readyz").has("Content-Type", "text/plain; charset=utf-8")
	if got := string(n.serve.get("/readyz").body); !regexp.MustCompile(`^ready: removals are known up to [0-9.]+ s ago\n$`).MatchString(got) {
		t.Errorf("readyz says %q", got)
	}
	if _, stderr, status := n.imgkeep("block", "--similar", link("i", "full", n.origin.url("/a.jpg"))); status == 0 {
		t.Errorf("a block by likeness: status %d: %s", status, stderr)
	}
	push := func(when string) {
		t.Helper()
		if out, stderr, status := n.imgkeep("push"); status != 2 || !strings.Contains(stderr, "is the cache of one of several nodes, whose images are in the object store already") {
			t.Errorf("a cache as what is pushed, %s: status %d: %s%s", when, status, out, stderr)
		}
		if _, err := os.Stat(filepath.Join(n.root(), "push.json")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a push has begun, %s: %v", when, err)
		}
	}
	push("while the node serves")
	if _, stderr, status := n.imgkeep("reindex"); status != 2 || !strings.Contains(stderr, "only on the store of one machine") || strings.Contains(stderr, "no server answers") {
		t.Errorf("reindex beside a server: status %d: %s", status, stderr)
	}
	n.serve.kill()
	push("afterwards")
	for _, args := range [][]string{{"reindex"}, {"stats"}, {"purge", n.origin.url("/a.jpg")}} {
		if _, stderr, status := n.imgkeep(args...); status != 2 || !strings.Contains(stderr, "on the store of one machine") {
			t.Errorf("%q: status %d: %s", args, status, stderr)
		}
	}
	if _, stderr, status := n.imgkeep("restore", n.dir); status != 2 || !strings.Contains(stderr, "is the cache of one of several nodes") {
		t.Errorf("a restore into a cache: status %d: %s", status, stderr)
	}
	for _, args := range [][]string{{"serve"}, {"restore", n.dir}} {
		if _, stderr, status := alone.imgkeep(args...); status != 2 || !strings.Contains(stderr, "is the cache of one of several nodes") {
			t.Errorf("%q with a cache as a store: status %d: %s", args, status, stderr)
		}
	}
}

// Each URL has one digest on both nodes, whatever its origin answers, and costs each node one
// fetch at most.
func TestNodesKeepOneDigest(t *testing.T) {
	t.Parallel()
	many := long(1000, 15)
	a, b := twoNodes(t, nil)
	fetches := make([]*atomic.Int64, many)
	paths := make([]string, many)
	for i := range paths {
		var u string
		u, fetches[i] = a.origin.changing(t, fmt.Sprintf("/%d.jpg", i))
		paths[i] = link("i", "full", u)
	}
	var mu sync.Mutex
	got := map[string]map[string]bool{}
	var clients sync.WaitGroup
	for c := range 32 {
		clients.Go(func() {
			for i := range paths {
				n, path := a, paths[(i+c*7)%many]
				if c%2 == 1 {
					n = b
				}
				body, status := n.body(path)
				if status != http.StatusOK {
					t.Errorf("status %d: %s", status, body)
					return
				}
				mu.Lock()
				if got[path] == nil {
					got[path] = map[string]bool{}
				}
				got[path][digest([]byte(body))] = true
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	for i, path := range paths {
		if n := len(got[path]); n != 1 {
			t.Errorf("URL %d has %d digests", i, n)
		}
		if n := fetches[i].Load(); n < 1 || n > 2 {
			t.Errorf("URL %d was fetched %d times", i, n)
		}
	}
	// A node that has lost all that it had asks no origin.
	b.serve.kill()
	if err := errors.Join(os.RemoveAll(b.root()), os.RemoveAll(filepath.Join(b.dir, "hot"))); err != nil {
		t.Fatal(err)
	}
	b.serve = b.start()
	asked := b.proxy.since()
	for i, path := range paths {
		before := fetches[i].Load()
		body, status := b.body(path)
		if status != http.StatusOK || !got[path][digest([]byte(body))] || fetches[i].Load() != before {
			t.Errorf("URL %d of a wiped node: status %d, fetched %d times", i, status, fetches[i].Load()-before)
		}
	}
	n := asked()
	if n["GET u"] > many || n["GET o"] > many || n["GET list"]+n["PUT o"]+n["PUT u"]+n["HEAD o"] > 0 {
		t.Errorf("a wiped node asked %v for %d links", n, many)
	}
}

// A keep is two PUT and two GET, and a view of what is known none.
func TestNodesRequests(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, nil)
	path := link("i", "full", a.origin.serve("/a.jpg", photo(t, 30, 20)))
	small := strings.Replace(path, "/full/", "/10x10/", 1)
	for _, step := range []struct {
		what string
		on   *siteNode
		path string
		most map[string]int
	}{
		{"cold", a, path, map[string]int{"GET u": 1, "PUT o": 1, "PUT u": 1}}, // and a look at the log
		{"hot", a, path, nil},
		{"a size", a, small, nil},
		{"of another node", b, path, map[string]int{"GET u": 1, "GET o": 1}},
		{"of another node, again", b, path, nil},
		{"of another node, a size", b, small, nil},
	} {
		asked := step.on.proxy.since()
		if body, status := step.on.body(step.path); status != http.StatusOK {
			t.Fatalf("%s: status %d: %s", step.what, status, body)
		}
		n := asked()
		delete(n, "GET log") // the one of a keep among those of the clock
		for kind, n := range n {
			if n > step.most[kind] {
				t.Errorf("%s: %d times %s", step.what, n, kind)
			}
		}
	}
	for _, n := range []*siteNode{a, b} {
		if asked := n.proxy.all(); asked["GET list"] > 0 { // but for the probe's
			t.Errorf("serving lists: %v", asked)
		}
	}
}

// What is removed at one node is gone at the other's nginx, whatever the way.
func TestNodesRemove(t *testing.T) {
	t.Parallel()
	many := long(200, 6)
	a, b := twoNodes(t, nil)
	type shown struct{ url, path string }
	var all []shown
	for i := range many {
		u, _ := a.origin.changing(t, fmt.Sprintf("/%d.jpg", i))
		s := shown{u, link("i", "full", u)}
		for _, n := range []*siteNode{a, b, b} {
			if body, status := n.body(s.path); status != http.StatusOK {
				t.Fatalf("status %d: %s", status, body)
			}
		}
		all = append(all, s)
	}
	verbs := []string{"block", "purge", "forget"}
	var waiting sync.WaitGroup
	for i, s := range all {
		before, _ := b.body(s.path)
		verb := verbs[i%len(verbs)]
		if _, stderr, status := a.imgkeep(verb, s.url); status != 0 {
			t.Fatalf("%s: status %d: %s", verb, status, stderr)
		}
		gone := func(n *siteNode) bool {
			body, status := n.body(s.path)
			return status == http.StatusUnavailableForLegalReasons || verb != "block" && status == http.StatusOK && body != before
		}
		waiting.Go(func() { // for nginx.valid, and the other node's look at the log
			if !becomes(t, func() bool { return gone(a) }) || !becomes(t, func() bool { return gone(b) }) {
				t.Errorf("%d, %s: still shown", i, verb)
			}
		})
	}
	waiting.Wait()
	if _, stderr, status := b.imgkeep("unblock", all[0].url); status != 0 {
		t.Fatalf("unblock: status %d: %s", status, stderr)
	}
	until(t, "unblocked", func() bool { _, status := a.body(all[0].path); return status == http.StatusOK })
	// By digest and host.
	body, _ := b.body(all[1].path)
	if _, stderr, status := b.imgkeep("block", digest([]byte(body))); status != 0 {
		t.Fatalf("block by digest: status %d: %s", status, stderr)
	}
	until(t, "a digest", func() bool { got, status := a.body(all[1].path); return status != http.StatusOK || got != body })
	if _, stderr, status := b.imgkeep("block", "127.0.0.1"); status != 0 {
		t.Fatalf("block by host: status %d: %s", status, stderr)
	}
	until(t, "a host", func() bool { _, status := a.body(all[2].path); return status == http.StatusUnavailableForLegalReasons })
}

// A store that does not answer holds no viewer for long.
func TestNodesStoreHangs(t *testing.T) {
	t.Parallel()
	a, _ := twoNodes(t, nil)
	path := link("i", "full", a.origin.serve("/old.jpg", photo(t, 30, 20)))
	fresh := link("i", "full", a.origin.serve("/new.jpg", photo(t, 20, 30)))
	if body, status := a.body(path); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	back := make(chan struct{})
	a.proxy.hang.Store(&back)
	a.serve.get(fresh).isError(http.StatusServiceUnavailable, "away")
	a.serve.logged("the object store does not answer: this node serves what it has, keeps nothing new, and cannot remove")
	a.serve.get(fresh).isError(http.StatusServiceUnavailable, "away")
	if body, status := a.body(path); status != http.StatusOK {
		t.Errorf("what is here: status %d: %s", status, body)
	}
	a.proxy.hang.Store(nil)
	close(back)
	until(t, "new images", func() bool { _, status := a.body(fresh); return status == http.StatusOK })
}

// Without the object store what is here is shown, what is new waits, nothing is removed, and
// all goes on when it is back.
func TestNodesWithoutTheirStore(t *testing.T) {
	t.Parallel()
	g := s3test.Start(t)
	a := newNode(t, g, nil, nil)
	b := newNode(t, g.Another(t), a.origin, settings{"shared.max_lag": "10s"})
	a.serve, b.serve = a.start(), b.start()
	old := a.origin.serve("/old.jpg", photo(t, 30, 20))
	fresh := link("i", "full", a.origin.serve("/new.jpg", photo(t, 20, 30)))
	path := link("i", "full", old)
	small := strings.Replace(path, "/full/", "/10x10/", 1)
	for _, n := range []*siteNode{a, b} {
		if body, status := n.body(path); status != http.StatusOK {
			t.Fatalf("status %d: %s", status, body)
		}
	}
	a.proxy.cut.Store(true)
	b.proxy.cut.Store(true)
	a.serve.logged("the object store does not answer: this node serves what it has, keeps nothing new, and cannot remove")
	for _, p := range []string{path, small} {
		if body, status := a.body(p); status != http.StatusOK {
			t.Errorf("what is here: status %d: %s", status, body)
		}
	}
	answer := a.serve.get(fresh)
	answer.isError(http.StatusServiceUnavailable, "away")
	answer.has("Retry-After", "5")
	if a.origin.count("/new.jpg") > 0 {
		t.Error("an origin was asked for what cannot be kept")
	}
	if _, stderr, status := a.imgkeep("purge", old); status == 0 || !strings.Contains(stderr, "the object store that the nodes share does not answer") {
		t.Errorf("a removal: status %d: %s", status, stderr)
	}
	if got := a.serve.get("/readyz"); got.status != http.StatusServiceUnavailable || !strings.Contains(string(got.body), "removals are known up to ") {
		t.Errorf("readyz: %d %s", got.status, got.body)
	}
	// What was removed elsewhere is not known for too long.
	until(t, "nothing is shown", func() bool { _, status := b.body(path); return status == http.StatusServiceUnavailable })
	if lag := b.metric("imgkeep_shared_lag_seconds"); lag < 10 {
		t.Errorf("nothing is shown by a node that lags by %v s", lag)
	}
	b.serve.logged("what was removed is not known any more: nothing is shown until the object store answers")
	a.proxy.cut.Store(false)
	b.proxy.cut.Store(false)
	for _, p := range []string{path, small, fresh} {
		for _, n := range []*siteNode{a, b} {
			until(t, "it is back", func() bool { _, status := n.body(p); return status == http.StatusOK })
		}
	}
	if _, stderr, status := a.imgkeep("purge", old); status != 0 {
		t.Errorf("a removal afterwards: status %d: %s", status, stderr)
	}
}
