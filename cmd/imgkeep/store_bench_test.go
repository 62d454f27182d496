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
// scripts/fill.go makes: the index made anew, starts, requests, scrubs, backups, a restore,
// lists. It is what `scripts/bench store` and `scripts/bench large` run. IMGKEEP_BENCH_IMAGES
// is the number of images, 1,000,000 if not set, and IMGKEEP_BENCH_BYTES their size.
func BenchmarkStore(b *testing.B) {
	images := benchtest.Number(b, "IMGKEEP_BENCH_IMAGES", 1_000_000)
	size := benchtest.Number(b, "IMGKEEP_BENCH_BYTES", 1024)
	for range b.N {
		w := newWorld(b, settings{"log.level": "info", "fetch.deny_hosts": []string{"denied.example"}})
		fill := exec.Command("go", "run", "../../scripts/fill.go", "-root", w.root(), "-images", strconv.Itoa(images), "-bytes", strconv.Itoa(size))
		if out, err := fill.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		w.origin.off()
		var out strings.Builder
		fmt.Fprintf(&out, "\n| a store of %d images of %d bytes | time | a second | most memory | of its own | CPU |\n| --- | --- | --- | --- | --- | --- |\n", images, size)
		row := func(what string, took time.Duration, n int, state *os.ProcessState, own int) {
			rate := "-"
			if n > 0 {
				rate = fmt.Sprintf("%.0f", float64(n)/took.Seconds())
			}
			memory, mine, used := "-", "-", "-"
			if own > 0 {
				mine = fmt.Sprintf("%d MB", own>>10)
			}
			if state != nil {
				memory = fmt.Sprintf("%d MB", state.SysUsage().(*syscall.Rusage).Maxrss>>10)
				used = (state.UserTime() + state.SystemTime()).Round(time.Second / 10).String()
			}
			fmt.Fprintf(&out, "| %s | %v | %s | %s | %s | %s |\n", what, took.Round(time.Millisecond), rate, memory, mine, used)
			fmt.Fprintln(os.Stderr, what, took) // it takes minutes
		}
		run := func(what string, args ...string) {
			began := time.Now()
			cmd := w.command(b.Context(), args...)
			var text strings.Builder
			cmd.Stderr = &text
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			own := ownMemory(cmd.Process.Pid)
			if err := cmd.Wait(); err != nil {
				b.Fatalf("%v: %v: %s", args, err, &text)
			}
			row(what, time.Since(began), images, cmd.ProcessState, <-own)
		}
		run("reindex", "reindex", "--quiet")

		began := time.Now()
		s := w.start()
		row("start, until it serves", time.Since(began), 0, nil, 0)
		random := rand.New(rand.NewPCG(1, 2))
		const requests, rounds = 10_000, 5
		links := make([]string, rounds*requests)
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
		few := repeat(links[:100], requests)
		ask(few[:1000])
		var among, ofFew time.Duration
		ratio := benchtest.Ratio{Name: fmt.Sprintf("requests among %d images, of requests of 100 of them", images)}
		for r := range rounds {
			many, same := ask(links[r*requests:][:requests]), ask(few)
			among, ofFew = among+many, ofFew+same
			ratio.Figures = append(ratio.Figures, same.Seconds()/many.Seconds())
		}
		ratio.Print(os.Stdout)
		row(fmt.Sprintf("%d requests, each of another image", rounds*requests), among, rounds*requests, nil, 0)
		row(fmt.Sprintf("%d requests of 100 of them, in turn with those", rounds*requests), ofFew, rounds*requests, nil, 0)
		s.stop()
		row("serving all that", s.cmd.ProcessState.UserTime()+s.cmd.ProcessState.SystemTime(), 0, s.cmd.ProcessState, 0)

		run("scrub", "scrub", "--quiet")
		run("list", "list")
		run("stats", "stats")
		backup := filepath.Join(w.dir, "backup")
		run("backup, the first", "backup", "--quiet", backup)
		run("backup, the second", "backup", "--quiet", backup)
		run("compact", "compact")
		if err := os.Rename(w.root(), w.root()+".lost"); err != nil { // as after a disaster
			b.Fatal(err)
		}
		run("restore", "restore", "--quiet", backup)
		info, err := os.Stat(filepath.Join(w.root(), "index.db"))
		if err != nil {
			b.Fatal(err)
		}
		fmt.Fprintf(&out, "\nThe index takes %.0f bytes an image.\n", float64(info.Size())/float64(images))
		b.ReportMetric(float64(info.Size())/float64(images), "index-B/image")
		fmt.Println(out.String())
	}
}

// ownMemory is the most memory that a process has had of its own until its end, in KB: without
// pages of files, which the system may take back at any time.
func ownMemory(pid int) <-chan int {
	most := make(chan int, 1)
	go func() {
		own := 0
		for {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, after, ok := strings.Cut(string(status), "RssAnon:")
			if err != nil || !ok { // it has ended
				most <- own
				return
			}
			n := 0
			fmt.Sscan(after, &n)
			own = max(own, n)
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return most
}

func repeat(list []string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = list[i%len(list)]
	}
	return all
}
