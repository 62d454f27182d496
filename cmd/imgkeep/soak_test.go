package main_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"imgkeep/bucket/probe/probetest"
)

// BenchmarkSoak has the real programs, behind a real nginx, serve 64 viewers for
// IMGKEEP_SOAK, a minute if that is not set: images that are hot, sizes of them,
// new images, everything that an origin can do wrong, and viewers who read a byte
// at a time; while decoders are killed at random, and attackers among the viewers try
// to have the server for themselves: by images that take decoders long, by requests
// that they leave at once, by reading slowly what has to be stripped of its metadata, by
// bytes behind images, and by what soak_attack_test.go has. It fails if an answer is wrong, if a good viewer waits for longer
// than worstKept or worstNew, if anything is left over afterwards, or if the server's
// memory grows. It is what `scripts/soak` runs.
func BenchmarkSoak(b *testing.B) {
	length := time.Minute
	if text := os.Getenv("IMGKEEP_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil || length < 10*time.Second {
			b.Fatalf("IMGKEEP_SOAK=%s: want 10s or longer, as in 20m", text)
		}
	}
	for range b.N {
		newSoak(b).run(length)
	}
}

// Kinds of traffic.
const (
	hotKind     = "hot"
	sizeKind    = "sizes of known images"
	coldKind    = "new images"
	hostileKind = "hostile origins"
	slowKind    = "slow viewers"
	leaveKind   = "viewers who leave"
)

// The longest that good viewers may wait, for what is kept and for what is new.
const (
	worstKept = 2 * time.Second
	worstNew  = 15 * time.Second
)

const hotImages = 200

type soak struct {
	b        *testing.B
	w        *world
	s        *server // to ask through nginx
	imgkeep  *server
	pictures map[string][]byte // by format
	next     atomic.Int64      // number of the next new image
	stop     chan struct{}
	failed   chan error

	mu     sync.Mutex
	counts map[string]map[int]int   // answers by kind and status
	waits  map[string]time.Duration // the longest by kind
	killed int

	arrivals *arrivals
}

func newSoak(b *testing.B) *soak {
	w, site := newFronted(b, settings{
		"log.level": "info", "nginx.valid": "5s", "resize.workers": 2, "resize.timeout": "3s", "fetch.timeout": "6s",
		"fetch.max_bytes": "256KiB", "fetch.max_pixels": 4_000_000, "fetch.networks": []string{"127.0.0.0/8"},
		"buckets": []map[string]any{{"name": "i"}, {"name": "s", "strip_metadata": true}},
	})
	k := &soak{
		arrivals: &arrivals{pages: map[string]int{}, busy: map[string]time.Duration{}},
		b:        b, w: w, stop: make(chan struct{}), failed: make(chan error, 1), counts: map[string]map[int]int{}, waits: map[string]time.Duration{},
		pictures: map[string][]byte{
			"jpeg": toJPEG(b, corners(120, 90)), "png": toPNG(b, corners(120, 90)),
			"gif": toGIF(b, corners(120, 90), corners(120, 90)), "webp": testdata(b, "still.webp"),
			"heavy": probetest.Progressive(2000, 2000, 16),
		},
	}
	// The bad ones are on sites and networks of their own: a flood of them is to harm
	// nobody else.
	for i := range soakHosts {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.%d.1:%d", i+2, w.origin.port))
		if err != nil {
			b.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(k.serve)}
		go server.Serve(l)
		b.Cleanup(func() { server.Close() })
	}
	site.Valid = 5 * time.Second
	k.s = w.front(site)
	k.imgkeep = w.startAlias(strings.TrimPrefix(k.s.base, "http://"))
	k.s.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 100
	return k
}

// url is the address of page n of a kind, on one of the hosts.
func (k *soak) url(host int, page string, n int64) string {
	return fmt.Sprintf("http://127.0.%d.1:%d/%s/%d", host+2, k.w.origin.port, page, n)
}

// picture is image n, of its own bytes.
func (k *soak) picture(n int64) []byte {
	format := []string{"jpeg", "jpeg", "jpeg", "png", "webp", "gif"}[n%6]
	tail := make([]byte, 6000)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}).Read(tail)
	return append(bytes.Clone(k.pictures[format]), tail...)
}

// hostile are the pages of bad origins, and what a viewer may get for them.
var hostile = map[string][]int{
	"gone":  {404},
	"html":  {415},
	"empty": {415, 422, 502},
	"cut":   {422, 502},
	"bomb":  {413},
	"big":   {413},
	"drip":  {504},
	"hang":  {504},
	"loop":  {502},
	"drop":  {502},
	"bad":   {200, 422}, // it has the form of an image: kept, and not decoded
	"error": {502},
	"inner": {403},
	"heavy": {200, 422}, // lawful, and takes decoders long; they get killed at times
}

// serve is the origins.
func (k *soak) serve(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	n, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		panic(err)
	}
	defer k.arrivals.enter(r)()
	announced := func(length int, body []byte) {
		w.Header().Set("Content-Length", strconv.Itoa(length))
		w.Write(body)
	}
	switch parts[1] {
	case "ok":
		body := k.picture(n)
		announced(len(body), body)
	case "heavy":
		w.Write(append(bytes.Clone(k.pictures["heavy"]), parts[2]...))
	case "gone":
		w.WriteHeader(http.StatusNotFound)
	case "html":
		io.WriteString(w, "<html>"+strings.Repeat("<p>no image", 100))
	case "empty":
	case "cut":
		body := k.picture(n)
		announced(len(body), body[:len(body)/2])
		panic(http.ErrAbortHandler)
	case "bomb":
		w.Write(bomb(50_000, 50_000))
	case "big":
		body := k.pictures["jpeg"]
		body = body[:len(body)-2] // its scan goes on
		for range 200 {
			if _, err := w.Write(body); err != nil {
				return
			}
			body = make([]byte, 4096)
		}
	case "drip":
		drip(w, r, k.picture(n), 50*time.Millisecond)
	case "hang":
		<-r.Context().Done()
	case "loop":
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
	case "drop":
		panic(http.ErrAbortHandler)
	case "bad":
		w.Write(append(undecodable(), fmt.Sprint(n)...))
	case "error":
		w.WriteHeader(http.StatusInternalServerError)
	case "inner":
		http.Redirect(w, r, "http://10.0.0.1/secret.jpg", http.StatusFound)
	default:
		k.hostilePage(w, r, parts[1], n)
	}
}

func (k *soak) run(length time.Duration) {
	b := k.b
	before := k.usage()
	before.goroutines = k.goroutines()
	for n := range int64(hotImages) {
		k.full(n, 200)
	}
	began := time.Now()
	var viewers sync.WaitGroup
	for i := range 64 {
		viewers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for k.running() {
				k.view(random)
			}
		})
	}
	viewers.Go(k.killer)
	attacks, disk := attacks(), k.footprint()
	for _, a := range attacks {
		for range a.people {
			viewers.Go(func() { k.attacker(a) })
		}
	}

	var samples []usage
	var worst footprint
	for left := length; left > 0; left -= time.Second {
		select {
		case <-time.After(time.Second):
		case err := <-k.failed:
			close(k.stop)
			viewers.Wait()
			b.Fatal(err)
		}
		samples = append(samples, k.usage())
		worst = worst.or(k.footprint())
		if len(samples)%30 == 0 {
			fmt.Fprintf(os.Stderr, "%v: %v\n", time.Since(began).Round(time.Second), samples[len(samples)-1])
		}
	}
	close(k.stop)
	viewers.Wait()
	took := time.Since(began)
	select {
	case err := <-k.failed:
		b.Fatal(err)
	default:
	}
	k.idle(before.files + 8)
	after := k.usage()
	after.goroutines = k.goroutines()

	total := 0
	for _, kind := range []string{hotKind, sizeKind, coldKind, hostileKind, slowKind, leaveKind} {
		for _, n := range k.counts[kind] {
			total += n
		}
		wait := ""
		if worst := k.waits[kind]; worst > 0 {
			wait = fmt.Sprintf("worst wait %.2f s", worst.Seconds())
		}
		fmt.Printf("%-22s %-18s%s\n", kind, wait, k.statuses(kind))
	}
	k.promises(took, attacks, disk, worst)
	for kind, most := range map[string]time.Duration{hotKind: worstKept, sizeKind: worstNew, coldKind: worstNew} {
		if got := k.waits[kind]; got > most {
			b.Errorf("%s: somebody waited for %v, and %v is the most", kind, got, most)
		}
	}
	quarter := len(samples) / 4
	early, late := typical(samples[min(60, quarter):max(2*quarter, min(120, len(samples)))]), typical(samples[3*quarter:])
	fmt.Printf("%d requests in %v, %d decoders killed\nbefore %v\nearly  %v\nlate   %v\nafter  %v\n",
		total, took.Round(time.Second), k.killed, before, early, late, after)
	if late.memory > early.memory+early.memory/5+8<<20 {
		b.Errorf("the server's memory grows: %d MB, and later %d MB", early.memory>>20, late.memory>>20)
	}
	if after.files > before.files+8 {
		b.Errorf("descriptors are left: %d, before %d", after.files, before.files)
	}
	if after.goroutines > before.goroutines+16 {
		b.Errorf("goroutines are left: %d, before %d", after.goroutines, before.goroutines)
	}
	if after.threads > before.threads+32 {
		b.Errorf("threads are left: %d, before %d", after.threads, before.threads)
	}
	if left := k.w.unfinished(); len(left) > 0 {
		b.Errorf("files are left: %v", left)
	}
	k.imgkeep.stop()
	if out, errs, status := k.w.imgkeep("scrub", "--quiet"); status != 0 {
		b.Errorf("scrub: status %d\n%s%s", status, out, errs)
	}
	b.ReportMetric(float64(total)/took.Seconds(), "requests/s")
	b.ReportMetric(float64(late.memory>>20), "server-MB")
	b.ReportMetric(float64(late.decoders>>20), "decoder-MB")
}

func (k *soak) running() bool {
	select {
	case <-k.stop:
		return false
	default:
		return true
	}
}

func (k *soak) wrong(format string, args ...any) {
	select {
	case k.failed <- fmt.Errorf(format, args...):
	default:
	}
}

// view is one request of a viewer's.
func (k *soak) view(random *rand.Rand) {
	known := random.Int64N(hotImages)
	switch p := random.IntN(100); {
	case p < 60:
		k.full(known, 200)
	case p < 75:
		if next := k.next.Load(); next > 0 && p < 65 {
			known = hotImages + random.Int64N(next)
		}
		k.size(known, []string{"10x10", "20x20", "50x50", "x20", "10x"}[random.IntN(5)])
	case p < 85:
		k.full(hotImages+k.next.Add(1), 200, 503)
	case p < 93:
		k.bad(random)
	case p < 97:
		k.leave(random)
	default:
		k.slow([]string{link("i", "full", k.url(0, "ok", known)), link("s", "full", k.url(0, "ok", known)), proxyLink("s", "full", k.url(0, "ok", known))}[random.IntN(3)])
	}
}

func (k *soak) count(kind string, status int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counts[kind] == nil {
		k.counts[kind] = map[int]int{}
	}
	k.counts[kind][status]++
}

// ask requests a link, and sees to it that the status is one of those allowed.
func (k *soak) ask(kind, path string, allowed ...int) (answer, bool) {
	return k.send(kind, http.MethodGet, path, allowed...)
}

func (k *soak) send(kind, method, path string, allowed ...int) (answer, bool) {
	began := time.Now()
	a, err := k.s.request(k.b.Context(), method, path, nil)
	if err != nil {
		k.wrong("%s: %s: %v", kind, path, err)
		return a, false
	}
	k.count(kind, a.status)
	if kind != hostileKind {
		k.waited(kind, time.Since(began))
	}
	if !slices.Contains(allowed, a.status) {
		k.wrong("%s: %s: status %d: %s", kind, path, a.status, a.body)
	}
	if a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" {
		k.wrong("%s: %s: no Retry-After", kind, path)
	}
	return a, a.status == http.StatusOK
}

// waited notes how long somebody has waited for an answer.
func (k *soak) waited(kind string, d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waits[kind] = max(k.waits[kind], d)
}

// leave requests sizes of an image that takes decoders long, and does not wait.
func (k *soak) leave(random *rand.Rand) {
	n := random.Int64N(1000)
	for _, size := range []string{"10x10", "20x20", "50x50", "x20", "10x"} {
		ctx, cancel := context.WithTimeout(k.b.Context(), time.Duration(random.IntN(20))*time.Millisecond)
		_, err := k.s.request(ctx, http.MethodGet, link("i", size, k.url(3, "heavy", n)), nil)
		cancel()
		if err != nil {
			k.count(leaveKind, 0)
		}
	}
}

// full requests image n, which must come as it is.
func (k *soak) full(n int64, allowed ...int) {
	kind := coldKind
	if n < hotImages {
		kind = hotKind
	}
	if a, ok := k.ask(kind, link("i", "full", k.url(0, "ok", n)), allowed...); ok && !bytes.Equal(a.body, k.picture(n)) {
		k.wrong("image %d came as other bytes", n)
	}
}

// size requests a size. It may fail as the decoder at work on it may be killed, or
// as too many ask.
func (k *soak) size(n int64, size string) {
	a, ok := k.ask(sizeKind, link("i", size, k.url(0, "ok", n)), 200, 422, 503)
	if !ok {
		return
	}
	if n%6 == 4 { // WebP, which the standard library does not read
		if !bytes.HasPrefix(a.body, []byte("RIFF")) {
			k.wrong("%s of image %d is no WebP", size, n)
		}
		return
	}
	c, _, err := image.DecodeConfig(bytes.NewReader(a.body))
	want := map[string]image.Point{"10x10": {10, 8}, "20x20": {20, 15}, "50x50": {50, 38}, "x20": {20, 15}, "10x": {13, 10}}[size]
	if err != nil || c.Width != want.X || c.Height != want.Y {
		k.wrong("%s of image %d: %v, %dx%d", size, n, err, c.Width, c.Height)
	}
}

// bad requests what an origin does not want to give in order.
func (k *soak) bad(random *rand.Rand) {
	pages := make([]string, 0, len(hostile))
	for page := range hostile {
		pages = append(pages, page)
	}
	slices.Sort(pages)
	page := pages[random.IntN(len(pages))]
	size := []string{"full", "20x20"}[random.IntN(2)]
	// Some again and again, some new.
	n := random.Int64N(50)
	if random.IntN(4) == 0 {
		n = k.next.Add(1) + 1000
	}
	host := 1 + random.IntN(2)
	if page == "heavy" {
		host = 3 // it is decoders that are to be busy with it, not fetches
	}
	k.ask(hostileKind, link("i", size, k.url(host, page, n)), append(slices.Clone(hostile[page]), 503)...)
}

// slow requests an image and reads it slowly, and not to its end.
func (k *soak) slow(path string) {
	c, err := net.Dial("tcp4", strings.TrimPrefix(k.s.base, "http://"))
	if err != nil {
		k.wrong("slow: %v", err)
		return
	}
	defer c.Close()
	request := "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for i := 0; i < len(request) && k.running(); i += 20 {
		if _, err := io.WriteString(c, request[i:min(i+20, len(request))]); err != nil {
			return
		}
		k.pause(20 * time.Millisecond)
	}
	one := make([]byte, 16)
	for n := range 50 {
		if !k.running() {
			return
		}
		if _, err := c.Read(one); err == io.EOF && n > 0 {
			break // it was short
		} else if err != nil {
			k.wrong("slow: %s: %v", path, err)
			return
		}
		k.pause(20 * time.Millisecond)
	}
	k.count(slowKind, 200)
}

// pause is the pace of a viewer; the end of the soak cuts it short.
func (k *soak) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-k.stop:
	}
}

// killer kills a decoder now and then.
func (k *soak) killer() {
	random := rand.New(rand.NewPCG(0, 2))
	for k.running() {
		k.pause(time.Duration(500+random.IntN(2000)) * time.Millisecond)
		if !k.running() {
			return
		}
		var decoders []int
		for pid, name := range k.w.processes() {
			if name == "imgkeep-resize" {
				decoders = append(decoders, pid)
			}
		}
		if len(decoders) > 0 && syscall.Kill(decoders[random.IntN(len(decoders))], syscall.SIGKILL) == nil {
			k.killed++
		}
	}
}

// usage is what the processes use at one moment.
type usage struct {
	memory, decoders int64 // bytes: the server's own, and of all decoders
	files, threads   int   // the server's
	goroutines       int   // the server's; only where it was asked
}

func (u usage) String() string {
	text := fmt.Sprintf("server %d MB, %d descriptors, %d threads; decoders %d MB", u.memory>>20, u.files, u.threads, u.decoders>>20)
	if u.goroutines > 0 {
		text += fmt.Sprintf("; %d goroutines", u.goroutines)
	}
	return text
}

func (k *soak) usage() (u usage) {
	for pid, name := range k.w.processes() {
		if name != "imgkeep" {
			u.decoders += statusOf(pid, "VmRSS:") << 10
			continue
		}
		u.memory = statusOf(pid, "RssAnon:") << 10 // without the pages of the index
		u.threads = int(statusOf(pid, "Threads:"))
		open, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
		if err != nil {
			k.b.Fatal(err)
		}
		u.files = len(open)
	}
	return u
}

// goroutines are the server's, as its metrics say.
func (k *soak) goroutines() (n int) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(k.w.root(), "admin.sock"))
		},
	}}
	resp, err := client.Get("http://imgkeep/metrics")
	if err != nil {
		k.b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		k.b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\ngo_goroutines ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		k.b.Fatal(err)
	}
	return n
}

// idle waits until the server has no more descriptors open than that, and no unfinished
// files, or until two minutes have shown that it will not: connections that nobody uses
// are closed after one, and images that are not kept are removed.
func (k *soak) idle(files int) {
	k.s.client.CloseIdleConnections()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for end := time.After(2 * time.Minute); k.usage().files > files || len(k.w.unfinished()) > 0; {
		select {
		case <-look.C:
		case <-end:
			return
		}
	}
}

// typical is the median of each figure.
func typical(samples []usage) usage {
	middle := func(of func(usage) int64) int64 {
		var all []int64
		for _, u := range samples {
			all = append(all, of(u))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return usage{
		memory:   middle(func(u usage) int64 { return u.memory }),
		decoders: middle(func(u usage) int64 { return u.decoders }),
		files:    int(middle(func(u usage) int64 { return int64(u.files) })),
		threads:  int(middle(func(u usage) int64 { return int64(u.threads) })),
	}
}
