package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imgkeep/scripts/benchtest"
)

// A page of the benchmark: so many new images in so many sizes, asked for as a browser does,
// in their order and over so many connections.
const (
	pageImages      = 20
	pageConnections = 6
)

var pageHeights = []int{250, 500}

// BenchmarkPage has viewers open pages of images that nobody has seen yet: JPEGs of 0.5 to
// 12 megapixels, in two sizes each. imgkeep and imgproxy, where that is on PATH, take turns
// with the same number of viewers and the same origin; no two pages share an image. It is
// what `scripts/bench page` runs. IMGKEEP_BENCH_ROUNDS is the number of rounds, 5 if it is not
// set, and IMGKEEP_BENCH_VIEWERS one number of viewers instead of 1, 4 and 16.
func BenchmarkPage(b *testing.B) {
	rounds, counts := benchtest.Number(b, "IMGKEEP_BENCH_ROUNDS", 5), []int{1, 4, 16}
	if n := benchtest.Number(b, "IMGKEEP_BENCH_VIEWERS", 0); n > 0 {
		counts = []int{n}
	}
	site := newPageSite(b)
	w := newWorld(b, settings{"log.level": "info", "sizes": pageHeights, "resize.workers": 2, "fetch.ports": []int{site.port}})
	s := w.start()
	showers := []*shower{{
		name: "imgkeep", pids: func() []int { return append(children(b, s.cmd.Process.Pid), s.cmd.Process.Pid) },
		used: func() float64 { return cpu(b, s.cmd.Process.Pid) },
		link: func(url string, height int) string { return s.base + link("i", fmt.Sprintf("%dx", height), url) },
	}}
	for _, p := range benchtest.Peers(b) {
		if p.Name == "imgproxy" {
			showers = append(showers, &shower{
				name: p.Name, pids: func() []int { return []int{p.Pid()} },
				used: func() float64 { return cpu(b, p.Pid()) },
				link: func(url string, height int) string { return p.Link(url, "jpeg", height) },
			})
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "\n| pages of %d images in %d sizes, medians of %d rounds | by | last image after | of imgproxy's | CPU ms a picture | of imgproxy's | memory, MB | of imgproxy's |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
		pageImages, len(pageHeights), rounds)
	for _, sh := range showers {
		sh.show(b, site, 1) // starts what starts late
	}
	for _, viewers := range counts {
		for _, sh := range showers {
			sh.views = nil
		}
		for range rounds {
			for _, sh := range showers {
				sh.views = append(sh.views, sh.show(b, site, viewers))
			}
		}
		for _, sh := range showers {
			row := fmt.Sprintf("| %s | %s |", plural(viewers, "viewer"), sh.name)
			for _, column := range []struct {
				name, format string
				of           func(pageView) float64
			}{
				{"time", "%.2f s", func(v pageView) float64 { return v.last.Seconds() }},
				{"CPU", "%.0f", func(v pageView) float64 { return 1000 * v.cpu / float64(viewers*pageImages*len(pageHeights)) }},
				{"memory", "%.0f", func(v pageView) float64 { return v.memory / 1e6 }},
			} {
				var figures, ratios []float64
				for i, v := range sh.views {
					figures = append(figures, column.of(v))
					ratios = append(ratios, column.of(v)/column.of(showers[len(showers)-1].views[i]))
				}
				if sh == showers[0] && len(showers) > 1 {
					benchtest.Ratio{Name: fmt.Sprintf("page, %s, %s of imgproxy's", plural(viewers, "viewer"), column.name), Figures: ratios}.Print(os.Stdout)
				}
				row += fmt.Sprintf(" "+column.format+" | %s |", median(figures), benchtest.Spread(ratios))
			}
			fmt.Fprintln(io.MultiWriter(&table, os.Stderr), row)
		}
	}
	fmt.Println(table.String())
	b.ReportMetric(0, "ns/op")
	s.stop()
}

// plural is a number of things.
func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}

// pageSite is an origin of pages whose images are all different.
type pageSite struct {
	url      string
	port     int
	pictures [][]byte
	pages    atomic.Int64
}

func newPageSite(b *testing.B) *pageSite {
	site := &pageSite{}
	for i := range pageImages {
		// Small ones are more frequent than large ones, and stand among them.
		x := float64(i*7%pageImages) / (pageImages - 1)
		site.pictures = append(site.pictures, photoLike(b, 0.5+11.5*x*x, i))
	}
	o := newOrigin(b)
	o.Server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var page, i int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d/%d.jpg", &page, &i); err != nil {
			http.NotFound(w, r)
			return
		}
		// What follows an image's end makes it another file.
		tail := fmt.Sprint(page)
		w.Header().Set("Content-Type", "image/jpeg")
		w.Header().Set("Content-Length", fmt.Sprint(len(site.pictures[i])+len(tail)))
		w.Write(site.pictures[i])
		io.WriteString(w, tail)
	})
	site.url, site.port = o.URL, o.port
	return site
}

// shower is a program that shows sizes of images.
type shower struct {
	name  string
	pids  func() []int
	used  func() float64 // of the processor, so far, in seconds
	link  func(url string, height int) string
	views []pageView
}

// pageView is how it went with all viewers of a round.
type pageView struct {
	last   time.Duration // until a viewer has the last image, of the median viewer
	cpu    float64       // seconds, of all processes
	memory float64       // the most that there has been at once, in bytes
}

// show has viewers open a page each, at once.
func (s *shower) show(b *testing.B, site *pageSite, viewers int) pageView {
	b.Helper()
	memory, before := watchMemory(s.pids), s.used()
	lasts := make([]float64, viewers)
	var wg sync.WaitGroup
	for v := range viewers {
		page := site.pages.Add(1)
		wg.Go(func() {
			began := time.Now()
			if err := s.open(site, page); err != nil {
				b.Errorf("%s: %v", s.name, err)
			}
			lasts[v] = time.Since(began).Seconds()
		})
	}
	wg.Wait()
	used := s.used() - before
	most := memory()
	if b.Failed() {
		b.FailNow()
	}
	return pageView{last: time.Duration(median(lasts) * float64(time.Second)), cpu: used, memory: most}
}

// open has a viewer get all images of a page.
func (s *shower) open(site *pageSite, page int64) error {
	transport := &http.Transport{MaxConnsPerHost: pageConnections, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	links := make(chan string)
	errs := make(chan error, pageConnections)
	for range pageConnections {
		go func() {
			var failed error
			for link := range links {
				if err := download(client, link); err != nil && failed == nil {
					failed = err
				}
			}
			errs <- failed
		}()
	}
	for i := range pageImages {
		for _, height := range pageHeights {
			links <- s.link(fmt.Sprintf("%s/%d/%d.jpg", site.url, page, i), height)
		}
	}
	close(links)
	var failed error
	for range pageConnections {
		if err := <-errs; err != nil {
			failed = err
		}
	}
	return failed
}

func download(client *http.Client, address string) error {
	resp, err := client.Get(address)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || n < 1000) {
		err = fmt.Errorf("%s, %d bytes", resp.Status, n)
	}
	return err
}

// watchMemory looks at the memory of processes again and again, until the function that it
// returns is called; that says the most, in bytes. A page that several processes share, the
// programs of others included, counts for each by its part (proc(5), Pss).
func watchMemory(pids func() []int) (most func() float64) {
	end, done := make(chan struct{}), make(chan float64)
	go func() {
		look := time.NewTicker(40 * time.Millisecond)
		defer look.Stop()
		highest := 0.0
		for {
			sum := int64(0)
			for _, pid := range pids() {
				sum += proportional(pid)
			}
			highest = max(highest, float64(sum)*1024)
			select {
			case <-look.C:
			case <-end:
				done <- highest
				return
			}
		}
	}()
	return func() float64 {
		close(end)
		return <-done
	}
}

// proportional is the memory of a process in kB; 0 if it has ended.
func proportional(pid int) (n int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	if i := slices.Index(strings.Fields(string(text)), "Pss:"); i >= 0 {
		_, _ = fmt.Sscan(strings.Fields(string(text))[i+1], &n)
	}
	return n
}
