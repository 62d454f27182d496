package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// racing is a server behind nginx whose images are removed while they are fetched,
// looked at, and made smaller.
type racing struct {
	*world
	ng    *server
	admin *http.Client
}

// remove asks the server for a removal, as the commands do.
func (r *racing) remove(request map[string]any) (failed string) {
	r.t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		r.t.Error(err)
		return ""
	}
	answer, err := r.admin.Post("http://imgkeep/remove", "application/json", bytes.NewReader(body))
	if err != nil {
		r.t.Error(err)
		return ""
	}
	defer answer.Body.Close()
	var m struct{ Error string }
	if err := json.NewDecoder(answer.Body).Decode(&m); err != nil {
		r.t.Error(err)
	}
	return m.Error
}

// once has a path answered with an image once, after a pause, and with 404 from then
// on: what is seen of it later has been kept.
func (r *racing) once(path string, image []byte, pause time.Duration) (url string, arrived chan struct{}) {
	arrived = make(chan struct{})
	var asked atomic.Bool
	return r.origin.on(path, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Swap(true) {
			http.Error(w, leak, http.StatusNotFound)
			return
		}
		close(arrived)
		time.Sleep(pause)
		w.Write(image)
	}), arrived
}

// Each way to remove is raced 300 times against first fetches, views and sizes that
// are made, through a real nginx with its hot links. After nginx.valid nothing is
// visible of what was removed.
func TestRemovalRaces(t *testing.T) {
	t.Parallel()
	races := 300
	if testing.Short() {
		races = 18
	}
	verbs := map[string]func(url, digest string) map[string]any{
		"forget":      func(url, _ string) map[string]any { return map[string]any{"verb": "forget", "url": url} },
		"purge":       func(url, _ string) map[string]any { return map[string]any{"verb": "purge", "url": url} },
		"purge bytes": func(_, digest string) map[string]any { return map[string]any{"verb": "purge", "digest": digest} },
		"block":       func(url, _ string) map[string]any { return map[string]any{"verb": "block", "url": url} },
		"block bytes": func(_, digest string) map[string]any { return map[string]any{"verb": "block", "digest": digest} },
		"block, keep": func(url, _ string) map[string]any { return map[string]any{"verb": "block", "url": url, "keep": true} },
		"block host":  nil,
	}
	w, site := newFronted(t, settings{"fetch.queue": 1000, "fetch.concurrency": 64, "fetch.per_host": 64, "log.level": "info"})
	s := w.start()
	socket := filepath.Join(w.root(), "admin.sock")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	r := &racing{world: w, ng: w.front(site), admin: &http.Client{Transport: transport}}
	for name, request := range verbs {
		var paths []string
		for k := range races {
			paths = append(paths, fmt.Sprintf("/%s/%d", base64.RawURLEncoding.EncodeToString([]byte(name)), k))
		}
		r.race(name, request, paths, site.Valid)
	}
	s.stop()
}

// race races one way to remove, several images at a time.
func (r *racing) race(name string, request func(url, digest string) map[string]any, paths []string, valid time.Duration) {
	var working sync.WaitGroup
	next := make(chan int)
	links := make([][]string, len(paths))
	var visible atomic.Int64
	for range 6 {
		working.Go(func() {
			for k := range next {
				links[k] = r.one(k, paths[k], request, &visible)
			}
		})
	}
	for k := range paths {
		if request == nil && k == len(paths)/2 { // all have one host, which is blocked in their midst
			working.Go(func() {
				if failed := r.remove(map[string]any{"verb": "block", "host": "127.0.0.1"}); failed != "" {
					r.t.Error(failed)
				}
			})
		}
		next <- k
	}
	close(next)
	working.Wait()
	time.Sleep(valid + 100*time.Millisecond) // what is promised
	shown := 0
	for k := range links {
		for _, path := range links[k] {
			if a := r.ng.see("GET", path, nil); a.status < 400 {
				shown++
				r.t.Errorf("%s, race %d: %s answers %d", name, k, path, a.status)
			}
		}
	}
	if visible.Load() == 0 {
		r.t.Errorf("%s: no image was ever visible before", name)
	}
	r.t.Logf("%s: %d races, %d answers with images before, %d after", name, len(paths), visible.Load(), shown)
	if request == nil {
		r.remove(map[string]any{"verb": "unblock", "host": "127.0.0.1"})
	}
}

// one races a removal against requests for one image: its first fetch, views of what
// is hot, or sizes that are made, by turns. It returns the links to be looked at.
func (r *racing) one(k int, path string, request func(url, digest string) map[string]any, visible *atomic.Int64) []string {
	seed := sha256.Sum256([]byte(path))
	image := toPNG(r.t, noise(60, 40, binary.BigEndian.Uint64(seed[:])))
	sum := sha256.Sum256(image)
	digest := base64.RawURLEncoding.EncodeToString(sum[:])
	url, arrived := r.once(path, image, time.Duration(rand.IntN(3000))*time.Microsecond)
	links := []string{link("i", "full", url), link("i", "20x20", url), link("i", "x10", url)}
	var viewers sync.WaitGroup
	look := func(path string) {
		a, err := r.ng.request(r.t.Context(), "GET", path, nil)
		if err != nil {
			r.t.Error(err)
		} else if a.status == 200 {
			visible.Add(1)
		}
	}
	mode := k % 3
	if mode != 0 {
		look(links[0])
	}
	stop := make(chan struct{})
	for n := range 3 {
		viewers.Go(func() {
			look(links[(n+mode)%3]) // mode 0: the first fetch; 2: sizes
			for {
				select {
				case <-stop:
					return
				default:
					look(links[(n+mode)%3])
				}
			}
		})
	}
	if request != nil {
		<-arrived
		time.Sleep(time.Duration(rand.IntN(6000)) * time.Microsecond)
		if failed := r.remove(request(url, digest)); failed != "" && failed != "not kept" {
			r.t.Error(failed)
		}
	} else {
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	viewers.Wait()
	return links
}
