package main_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkPopulate compares `imgkeep populate`, with a server and without, with
// `xargs -P wget` that fetches the same images from the same origin to the same
// disk. IMGKEEP_BENCH_URLS is their number, 10,000 if it is not set. It is what
// `scripts/bench populate` runs.
func BenchmarkPopulate(b *testing.B) {
	count := 10_000
	if text := os.Getenv("IMGKEEP_BENCH_URLS"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil || count < 1 {
			b.Fatalf("IMGKEEP_BENCH_URLS: %q is no number of URLs", text)
		}
	}
	const rounds = 3
	base := toJPEG(b, noise(120, 80, 1))
	images := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// What follows an image's end makes it another file.
		body := append(bytes.Clone(base), r.URL.Path...)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
	})
	rates := map[string][]float64{}
	memory := map[string]int{} // MiB
	for round := range rounds {
		w := newWorld(b, settings{"fetch.concurrency": 64, "fetch.per_host": 64, "log.level": "info"})
		w.origin.Server.Config.Handler = images
		var urls strings.Builder
		for i := range count {
			fmt.Fprintf(&urls, "%s/%d/%d.jpg\n", w.origin.URL, round, i)
		}
		list := w.list(strings.Split(strings.TrimSpace(urls.String()), "\n")...)
		measure := func(name string, cmd *exec.Cmd, served *server) {
			began := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%s: %v\n%s", name, err, out)
			}
			rates[name] = append(rates[name], float64(count)/time.Since(began).Seconds())
			most := int(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10)
			if served != nil {
				most = peak(b, served.cmd.Process.Pid)
			}
			memory[name] = max(memory[name], most)
		}
		files := filepath.Join(w.dir, "wget")
		if err := os.Mkdir(files, 0o755); err != nil {
			b.Fatal(err)
		}
		measure("xargs -P 16 wget", exec.Command("sh", "-c", `xargs -n 20 -P 16 wget -q -P "$1" <"$2"`, "sh", files, list), nil)
		if got, err := os.ReadDir(files); err != nil || len(got) != count {
			b.Fatalf("wget has fetched %d of %d, %v", len(got), count, err)
		}
		measure("populate, alone", w.command(b.Context(), "populate", "--quiet", list), nil)
		if err := os.RemoveAll(w.root()); err != nil {
			b.Fatal(err)
		}
		s := w.start()
		measure("populate, served", w.command(b.Context(), "populate", "--quiet", list), s)
		s.stop()
		if n := len(w.originals("i")); n != count {
			b.Fatalf("%d of %d are kept", n, count)
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\n%d URLs of %d bytes, best of %d rounds\n\n| by | URLs/s | ratio to wget | peak MiB |\n| --- | --- | --- | --- |\n", count, len(base), rounds)
	best := func(name string) (m float64) {
		for _, r := range rates[name] {
			m = max(m, r)
		}
		return m
	}
	for _, name := range []string{"xargs -P 16 wget", "populate, alone", "populate, served"} {
		fmt.Fprintf(&out, "| %s | %.0f | %.2f | %d |\n", name, best(name), best(name)/best("xargs -P 16 wget"), memory[name])
	}
	b.Log(out.String())
	b.ReportMetric(best("populate, alone")/best("xargs -P 16 wget"), "ratio-to-wget")
}
