package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imgkeep/resize"
)

// What the sandbox costs: the same image through a decoder with it and one
// without, in turn, and each first half of the time. Latency is the median seen
// by the pool's caller, cpu the decoder's own processor time; the ratios are
// with to without.
func BenchmarkSandbox(b *testing.B) {
	targets := []resize.Target{{Size: size(b, "150x")}, {Size: size(b, "250x")}}
	for _, image := range []struct {
		name, format string
		src          []byte
	}{
		{"jpeg small", "jpeg", toJPEG(b, noise(160, 120))},
		{"jpeg large", "jpeg", toJPEG(b, noise(2400, 1600))},
		{"png", "png", toPNG(b, noise(800, 600))},
		{"gif animated", "gif", toGIF(b, animation(320, 240, 12, 0, false))},
	} {
		b.Run(image.name, func(b *testing.B) {
			type side struct {
				pool *resize.Pool
				cpu  func() time.Duration
				took []time.Duration
				used time.Duration
			}
			var sides [2]side
			for i, level := range []resize.Sandbox{resize.SandboxRequire, resize.SandboxOff} {
				before := children(b)
				sides[i].pool = newPool(b, resize.Options{Sandbox: level, MaxMemory: 2 << 30, MaxImages: 1 << 30})
				pid := slices.DeleteFunc(children(b), func(pid int) bool { return slices.Contains(before, pid) })[0]
				sides[i].cpu = func() time.Duration {
					// CPUCLOCK_SCHED of a process; see clock_getcpuclockid(3).
					var t unix.Timespec
					if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
						b.Fatal(err)
					}
					return time.Duration(t.Nano())
				}
			}
			ask := func(s *side) {
				began, start := s.cpu(), time.Now()
				_, err := s.pool.Resize(context.Background(), bytes.NewReader(image.src), int64(len(image.src)), resize.Job{Format: image.format, Targets: targets})
				if err != nil {
					b.Fatal(err)
				}
				s.took = append(s.took, time.Since(start))
				s.used += s.cpu() - began
			}
			for i := range sides { // what only the first images cost
				for range 5 {
					ask(&sides[i])
				}
				sides[i].took, sides[i].used = nil, 0
			}
			for n := 0; b.Loop(); n++ {
				ask(&sides[n%2])
				ask(&sides[1-n%2])
			}
			median := func(s side) float64 {
				slices.Sort(s.took)
				return float64(s.took[len(s.took)/2])
			}
			n := float64(len(sides[0].took))
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(sides[0])/1e6, "with-ms")
			b.ReportMetric(median(sides[1])/1e6, "without-ms")
			b.ReportMetric(median(sides[0])/median(sides[1]), "latency-ratio")
			b.ReportMetric(float64(sides[0].used)/1e6/n, "with-cpu-ms")
			b.ReportMetric(float64(sides[1].used)/1e6/n, "without-cpu-ms")
			b.ReportMetric(float64(sides[0].used)/float64(sides[1].used), "cpu-ratio")
		})
	}
}

// How long a size has to wait when the decoder has just died over the one
// before: with a spare that is up, and without.
func BenchmarkReplacement(b *testing.B) {
	src := toJPEG(b, corners(160, 120))
	job := resize.Job{Format: "jpeg", Targets: []resize.Target{{Size: size(b, "50x")}}}
	for name, spares := range map[string]int{"none": 0, "one": 1} {
		b.Run("spares="+name, func(b *testing.B) {
			p, err := resize.NewPool(resize.Options{Command: []string{attacker}, Workers: 1, Spares: spares, Timeout: time.Minute})
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			var waits []time.Duration
			crash := "attack crash"
			if _, err := p.Resize(context.Background(), strings.NewReader(crash), int64(len(crash)), job); err == nil {
				b.Fatal("it did not crash")
			} // from here on there are spares
			for b.Loop() {
				for look := time.Tick(time.Millisecond); p.Stats().Spares < spares; {
					<-look
				}
				if _, err := p.Resize(context.Background(), strings.NewReader(crash), int64(len(crash)), job); err == nil {
					b.Fatal("it did not crash")
				}
				start := time.Now()
				if _, err := p.Resize(context.Background(), bytes.NewReader(src), int64(len(src)), job); err != nil {
					b.Fatal(err)
				}
				waits = append(waits, time.Since(start))
			}
			slices.Sort(waits)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(waits[len(waits)/2])/1e6, "median-ms")
			b.ReportMetric(float64(waits[len(waits)-1])/1e6, "worst-ms")
		})
	}
}
