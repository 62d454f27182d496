package main_test

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/scripts/benchtest"
)

// BenchmarkPopulate compares `imgkeep populate`, with a server and without, with
// `xargs -P wget` that fetches the same images from the same origin to the same
// disk. IMGKEEP_BENCH_URLS is their number, 10,000 if it is not set; a tenth as many
// tell whether memory grows with them, and what sizes cost. It is what
// `scripts/bench populate` runs.
func BenchmarkPopulate(b *testing.B) {
	count := benchtest.Number(b, "IMGKEEP_BENCH_URLS", 10_000)
	if count < 10 {
		b.Fatalf("IMGKEEP_BENCH_URLS=%d: want at least 10", count)
	}
	const (
		rounds = 3
		wget   = "xargs -P 16 wget"
	)
	base := toJPEG(b, noise(120, 80, 1))
	images := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// What follows an image's end makes it another file.
		body := append(bytes.Clone(base), r.URL.Path...)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
	})
	type row struct {
		rate   float64   // URLs a second, the best
		cpu    float64   // ms a URL, the least
		memory int       // MiB, the most
		ratios []float64 // to wget, of each round
	}
	rows, names := map[string]*row{}, []string{}
	for round := range rounds {
		w := newWorld(b, settings{"fetch.concurrency": 64, "fetch.per_host": 64, "log.level": "info"})
		w.origin.Server.Config.Handler = images
		list := func(name string, n int) string {
			var urls strings.Builder
			for i := range n {
				fmt.Fprintf(&urls, "%s/%d/%s/%d.jpg\n", w.origin.URL, round, name, i)
			}
			path := filepath.Join(w.dir, name)
			if err := os.WriteFile(path, []byte(urls.String()), 0o644); err != nil {
				b.Fatal(err)
			}
			return path
		}
		fetched := 0.0 // by wget, a second
		measure := func(name string, n int, cmd *exec.Cmd, served *server) {
			before := 0.0
			if served != nil {
				before = cpu(b, served.cmd.Process.Pid)
			}
			began := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%s: %v\n%s", name, err, out)
			}
			rate := float64(n) / time.Since(began).Seconds()
			used := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
			most := int(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10)
			if served != nil {
				used += cpu(b, served.cmd.Process.Pid) - before
				most = int(peak(served.cmd.Process.Pid))
			}
			r := rows[name]
			if r == nil {
				r = &row{cpu: math.Inf(1)}
				rows[name], names = r, append(names, name)
			}
			if name == wget {
				fetched = rate
			}
			r.ratios = append(r.ratios, rate/fetched)
			r.rate, r.cpu, r.memory = max(r.rate, rate), min(r.cpu, 1000*used/float64(n)), max(r.memory, most)
		}
		all, tenth, sized := list("all", count), list("tenth", count/10), list("sized", count/10)
		files := filepath.Join(w.dir, "wget")
		if err := os.Mkdir(files, 0o755); err != nil {
			b.Fatal(err)
		}
		measure(wget, count, exec.Command("sh", "-c", `xargs -n 20 -P 16 wget -q -P "$1" <"$2"`, "sh", files, all), nil)
		if got, err := os.ReadDir(files); err != nil || len(got) != count {
			b.Fatalf("wget has fetched %d of %d, %v", len(got), count, err)
		}
		measure("populate, alone, a tenth of them", count/10, w.command(b.Context(), "populate", "--quiet", tenth), nil)
		measure("populate, alone", count, w.command(b.Context(), "populate", "--quiet", all), nil)
		if err := os.RemoveAll(w.root()); err != nil {
			b.Fatal(err)
		}
		s := w.start()
		measure("populate, served", count, w.command(b.Context(), "populate", "--quiet", all), s)
		measure("populate, served, a tenth of them, with a size", count/10, w.command(b.Context(), "populate", "--quiet", "--sizes", "50x50", sized), s)
		s.stop()
		if n := len(w.originals("i")); n != count+count/10 {
			b.Fatalf("%d of %d are kept", n, count+count/10)
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\n| %d URLs of %d bytes, best of %d rounds | URLs/s | ratio to wget | CPU ms a URL | peak MiB |\n| --- | --- | --- | --- | --- |\n", count, len(base), rounds)
	for _, name := range names {
		r := rows[name]
		fmt.Fprintf(&out, "| %s | %.0f | %.2f | %.2f | %d |\n", name, r.rate, r.rate/rows[wget].rate, r.cpu, r.memory)
	}
	benchtest.Ratio{Name: "populate without a server, of wget", Figures: rows["populate, alone"].ratios}.Print(&out)
	benchtest.Ratio{Name: "populate by a server, of wget", Figures: rows["populate, served"].ratios}.Print(&out)
	fmt.Println(out.String())
	b.ReportMetric(rows["populate, alone"].rate/rows[wget].rate, "ratio-to-wget")
}
