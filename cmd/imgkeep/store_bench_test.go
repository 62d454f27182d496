package main_test

import (
	"fmt"
	"math/rand/v2"
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

// BenchmarkStore has the real programs work on a store of many small images, which
// scripts/fill.go makes: the index made anew, a start, requests, a scrub, two
// backups. It is what `scripts/bench store` runs. IMGKEEP_BENCH_IMAGES is the
// number of images, 1,000,000 if not set.
func BenchmarkStore(b *testing.B) {
	images := benchtest.Number(b, "IMGKEEP_BENCH_IMAGES", 1_000_000)
	for range b.N {
		w := newWorld(b, settings{"log.level": "info", "fetch.deny_hosts": []string{"denied.example"}})
		fill := exec.Command("go", "run", "../../scripts/fill.go", "-root", w.root(), "-images", strconv.Itoa(images))
		if out, err := fill.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		w.origin.off()
		var out strings.Builder
		fmt.Fprintf(&out, "\n| a store of %d images of 1 KB | time | a second | most memory | CPU |\n| --- | --- | --- | --- | --- |\n", images)
		row := func(what string, took time.Duration, n int, state *os.ProcessState) {
			rate := "-"
			if n > 0 {
				rate = fmt.Sprintf("%.0f", float64(n)/took.Seconds())
			}
			memory, used := "-", "-"
			if state != nil {
				memory = fmt.Sprintf("%d MB", state.SysUsage().(*syscall.Rusage).Maxrss>>10)
				used = (state.UserTime() + state.SystemTime()).Round(time.Second / 10).String()
			}
			fmt.Fprintf(&out, "| %s | %v | %s | %s | %s |\n", what, took.Round(time.Millisecond), rate, memory, used)
			fmt.Fprintln(os.Stderr, what, took) // it takes minutes
		}
		run := func(what string, args ...string) {
			began := time.Now()
			cmd := w.command(b.Context(), args...)
			text, err := cmd.CombinedOutput()
			if err != nil {
				b.Fatalf("%v: %v: %s", args, err, text)
			}
			row(what, time.Since(began), images, cmd.ProcessState)
		}
		run("reindex", "reindex", "--quiet")

		began := time.Now()
		s := w.start()
		row("start, until it serves", time.Since(began), 0, nil)
		random := rand.New(rand.NewPCG(1, 2))
		const requests = 20_000
		links := make([]string, requests)
		for i := range links {
			links[i] = link("i", "full", fmt.Sprintf("https://images.example.com/2026/11/%d.png", random.IntN(images)))
		}
		ask := func(links []string) time.Duration {
			began := time.Now()
			each(b, len(links), func(i int) error {
				a, err := s.request(b.Context(), http.MethodGet, links[i], nil)
				if err == nil && a.status != http.StatusOK {
					err = fmt.Errorf("status %d: %s", a.status, a.body)
				}
				return err
			})
			return time.Since(began)
		}
		ask(links[:1000])
		row("20,000 requests, each of another image", ask(links), requests, nil)
		row("20,000 requests of 100 of them", ask(repeat(links[:100], requests)), requests, nil)
		s.stop()
		row("serving all that", s.cmd.ProcessState.UserTime()+s.cmd.ProcessState.SystemTime(), 0, s.cmd.ProcessState)

		run("scrub", "scrub", "--quiet")
		backup := filepath.Join(w.dir, "backup")
		run("backup, the first", "backup", "--quiet", backup)
		run("backup, the second", "backup", "--quiet", backup)
		run("compact", "compact")
		info, err := os.Stat(filepath.Join(w.root(), "index.db"))
		if err != nil {
			b.Fatal(err)
		}
		fmt.Fprintf(&out, "\nThe index takes %.0f bytes an image.\n", float64(info.Size())/float64(images))
		b.ReportMetric(float64(info.Size())/float64(images), "index-B/image")
		fmt.Println(out.String())
	}
}

func repeat(list []string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = list[i%len(list)]
	}
	return all
}
