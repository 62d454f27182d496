package main_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The attackers of BenchmarkSoak. Each has hosts of its own, asks for as much as it can,
// and is held against what SECURITY.md promises; how long the good viewers waited
// meanwhile is in the table.

// The hosts of the attackers, for soak.url; those of the bad origins come before them.
const (
	pausingHost = 4 + iota
	insideHost
	passingHost
	nestedHost
	failingHost
	tailHost
	trickleHost // and the one after it: many names of one domain would need a name server,
	_           // and networks that the operator has opened are not counted
	soakHosts
)

const (
	pausingFor = 10 * time.Second // what its host asks for
	tailBytes  = 32 << 20         // behind an image, if somebody reads them
)

// attack is one kind of attackers.
type attack struct {
	name     string
	people   int
	pace     time.Duration                 // between two requests of one of them
	path     func(k *soak, n int64) string // the nth link that they ask for
	method   func(n int64) string          // nil: GET
	statuses []int                         // that they may get
	slow     bool                          // they read slowly, and not to the end

	asked atomic.Int64
}

func attacks() []*attack {
	return []*attack{
		{name: "trickling hosts", people: 24, path: func(k *soak, n int64) string {
			return link("i", "full", k.url(trickleHost+int(n%2), "trickle", n))
		}, statuses: []int{502, 503, 504}},
		{name: "a host that says 429", people: 4, pace: 20 * time.Millisecond, path: func(k *soak, n int64) string {
			return link("i", "full", k.url(pausingHost, "pausing", n))
		}, statuses: []int{502, 503}},
		{name: "redirects inside", people: 2, pace: 20 * time.Millisecond, path: func(k *soak, n int64) string {
			return link("i", "full", k.url(insideHost, "inner", n%20))
		}, statuses: []int{403, 503}},
		{name: "HEAD of /proxy", people: 2, pace: 20 * time.Millisecond, path: func(k *soak, n int64) string {
			return proxyLink([]string{"i", "s"}[n%2], "full", k.url(passingHost, "large", n/2%10))
		}, method: func(int64) string { return http.MethodHead }, statuses: []int{200, 503}},
		{name: "slow readers of /proxy", people: 12, pace: 20 * time.Millisecond, path: func(k *soak, n int64) string {
			return proxyLink([]string{"i", "s"}[n%2], "full", k.url(passingHost, "large", n/2%10))
		}, slow: true},
		{name: "links into links", people: 2, pace: 20 * time.Millisecond, path: func(k *soak, n int64) string {
			url := k.url(nestedHost, "nested", n)
			for range 5 {
				url = strings.Replace(k.s.base, "127.0.0.1", "localhost", 1) + link("i", "full", url)
			}
			return link("i", "full", url)
		}, statuses: []int{502, 503}},
		{name: "URLs that fail", people: 4, pace: 10 * time.Millisecond, path: func(k *soak, n int64) string {
			return link("i", "full", k.url(failingHost, "gone", n))
		}, statuses: []int{404, 503}},
		{name: "tails of images", people: 2, pace: 50 * time.Millisecond, path: func(k *soak, n int64) string {
			return link("i", "full", k.url(tailHost, "tail", n))
		}, statuses: []int{200, 503}},
	}
}

// attacker asks, again and again.
func (k *soak) attacker(a *attack) {
	for k.running() {
		n := a.asked.Add(1) - 1
		path := a.path(k, n)
		switch {
		case a.slow:
			k.slow(path)
		default:
			method := http.MethodGet
			if a.method != nil {
				method = a.method(n)
			}
			answer, ok := k.send(a.name, method, path, a.statuses...)
			if ok && method == http.MethodGet && len(answer.body) > len(k.picture(n)) {
				k.wrong("%s: %s: %d bytes, and the image has %d", a.name, path, len(answer.body), len(k.picture(n)))
			}
		}
		k.pause(a.pace)
	}
}

// arrivals is what the origins have seen of each page, and of each host.
type arrivals struct {
	mu      sync.Mutex
	pages   map[string]int           // by host and path
	busy    map[string]time.Duration // by host: one request's time after the other
	written int64                    // the most of one tail
}

// enter counts a request until it is over.
func (a *arrivals) enter(r *http.Request) (leave func()) {
	began := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pages[r.Host+r.URL.Path]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.busy[r.Host] += time.Since(began)
	}
}

// arrivalsAt is how often a host was asked for anything, and for the page that was so
// most, and for how long.
func (k *soak) arrivalsAt(host int) (all, most int64, busy time.Duration) {
	name := fmt.Sprintf("127.0.%d.1:%d", host+2, k.w.origin.port)
	k.arrivals.mu.Lock()
	defer k.arrivals.mu.Unlock()
	for page, n := range k.arrivals.pages {
		if strings.HasPrefix(page, name+"/") {
			all += int64(n)
			most = max(most, int64(n))
		}
	}
	return all, most, k.arrivals.busy[name]
}

// drip sends an answer byte by byte, until the client has left.
func drip(w http.ResponseWriter, r *http.Request, data []byte, pause time.Duration) {
	for _, c := range data {
		if _, err := w.Write([]byte{c}); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		select {
		case <-time.After(pause):
		case <-r.Context().Done():
			return
		}
	}
}

// hostilePage is what the origins of the attackers answer.
func (k *soak) hostilePage(w http.ResponseWriter, r *http.Request, page string, n int64) {
	switch page {
	case "trickle":
		w.Header().Set("Content-Length", "60000")
		drip(w, r, k.large(n), 100*time.Millisecond)
	case "pausing":
		w.Header().Set("Retry-After", strconv.Itoa(int(pausingFor/time.Second)))
		w.WriteHeader(http.StatusTooManyRequests)
	case "large", "nested":
		w.Write(k.large(n))
	case "tail":
		written := int64(0)
		for b := k.picture(n); written < tailBytes; b = make([]byte, 32<<10) {
			m, err := w.Write(b)
			if written += int64(m); err != nil {
				break
			}
		}
		k.arrivals.mu.Lock()
		k.arrivals.written = max(k.arrivals.written, written)
		k.arrivals.mu.Unlock()
	}
}

// large is image n of 200 KB, most of them metadata.
func (k *soak) large(n int64) []byte {
	photo := inserted(k.pictures["jpeg"], segment(0xfe, fmt.Appendf(nil, "%d", n)))
	for range 3 {
		photo = inserted(photo, segment(0xfe, bytes.Repeat([]byte("x"), 65_000)))
	}
	return photo
}

// footprint is what the server takes at one moment, in bytes: of the disk, and of memory.
type footprint struct{ index, unfinished, memory int64 }

// or is the larger of each.
func (f footprint) or(g footprint) footprint {
	return footprint{max(f.index, g.index), max(f.unfinished, g.unfinished), max(f.memory, g.memory)}
}

func (k *soak) footprint() (f footprint) {
	size := func(path string) int64 {
		info, err := os.Stat(filepath.Join(k.w.root(), path))
		if err != nil {
			return 0 // it is gone
		}
		return info.Size()
	}
	for _, path := range k.w.unfinished() {
		f.unfinished += size(path)
	}
	f.index = size("index.db")
	f.memory = statusOf(k.imgkeep.cmd.Process.Pid, "RssAnon:") << 10
	return f
}

// promises sees whether what SECURITY.md promises of the attacks has held.
func (k *soak) promises(length time.Duration, attacks []*attack, before, worst footprint) {
	b, a := k.b, k.arrivals
	for _, attack := range attacks {
		fmt.Printf("%-22s %d requests%s\n", attack.name, attack.asked.Load(), k.statuses(attack.name))
	}
	check := func(about string, got, most int64) {
		fmt.Printf("  %-58s %d of %d at most\n", about, got, most)
		if got > most {
			b.Errorf("%s: %d, and %d at most were promised", about, got, most)
		}
	}
	for i := range 2 {
		// Not how many at once: the host sees the end of one when another has begun.
		_, _, busy := k.arrivalsAt(trickleHost + i)
		check("seconds of a host that trickles, four at once", int64(busy/time.Second), 4*int64(length/time.Second+2))
	}
	all, _, _ := k.arrivalsAt(pausingHost)
	check("requests to a host that asks for pauses", all, 4*(1+int64(length/pausingFor)))
	_, most, _ := k.arrivalsAt(insideHost)
	check("requests for a redirect inside", most, tries(length, 10*time.Minute))
	// By buckets; and one more for what had to make room.
	_, most, _ = k.arrivalsAt(passingHost)
	check("fetches of an image under /proxy", most, 2*(2+int64(length/time.Minute)))
	check("bytes of images that are not kept", worst.unfinished, 256<<20)
	all, _, _ = k.arrivalsAt(nestedHost)
	check("requests through five links", all, 0)
	_, most, _ = k.arrivalsAt(failingHost)
	check("requests for a URL that fails", most, tries(length, 10*time.Minute))
	check("bytes taken from behind an image", a.written, 8<<20) // most are in buffers of the kernel
	// A failure takes about 1 KB, and there are so many at most; the tree has pages that
	// are half full, and does not shrink.
	asked := int64(0)
	for _, attack := range attacks {
		asked += attack.asked.Load()
	}
	check("growth of the index in bytes", worst.index-before.index, 16<<20+2048*(min(asked, 200_000)+k.next.Load()))
	check("memory of the server in bytes", worst.memory, 100<<20)
}

// tries is how often a URL may have been asked for that fails each time: after a pause,
// and then one twice as long.
func tries(length, first time.Duration) (n int64) {
	for at := time.Duration(0); at <= length; at += first {
		n++
		if at > 0 {
			first *= 2
		}
	}
	return n
}

func (k *soak) statuses(kind string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []string
	for status, n := range k.counts[kind] {
		all = append(all, fmt.Sprintf("%d: %d", status, n))
	}
	slices.Sort(all)
	if len(all) == 0 {
		return ""
	}
	return ": " + strings.Join(all, ", ")
}
