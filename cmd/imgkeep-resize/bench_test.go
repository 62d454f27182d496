package main

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"time"

	"imgkeep/resize"
	"imgkeep/resize/vips"
)

// What the process boundary costs: the same image in this process, and through
// a pool, in turn. By wall clock, as one request after the other.
func BenchmarkPoolOverhead(b *testing.B) {
	runtime.LockOSThread()
	d, err := vips.Start(nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	targets := []resize.Target{{Size: size(b, "150x")}, {Size: size(b, "250x")}, {Size: size(b, "500x")}}
	for name, src := range map[string][]byte{
		"small": toJPEG(b, noise(160, 120)), "large": toJPEG(b, noise(2400, 1600)),
	} {
		b.Run(name, func(b *testing.B) {
			p := newPool(b, resize.Options{})
			var inside, through time.Duration
			for b.Loop() {
				t0 := time.Now()
				if _, err := d.Resize(src, &resize.Request{Format: "jpeg", Targets: targets, MaxPixels: 1e9, AnimationPixels: 1e9}); err != nil {
					b.Fatal(err)
				}
				t1 := time.Now()
				if _, err := p.Resize(context.Background(), bytes.NewReader(src), int64(len(src)), resize.Job{Format: "jpeg", Targets: targets}); err != nil {
					b.Fatal(err)
				}
				inside, through = inside+t1.Sub(t0), through+time.Since(t1)
			}
			n := float64(b.N)
			b.ReportMetric(float64(len(src)), "bytes")
			b.ReportMetric(float64(inside)/1e6/n, "inside-ms")
			b.ReportMetric(float64(through)/1e6/n, "through-ms")
			b.ReportMetric(float64(through)/float64(inside), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// From nothing to the first image: what a replaced decoder costs, if an image
// has to wait for it.
func BenchmarkStart(b *testing.B) {
	src := toJPEG(b, corners(160, 120))
	for b.Loop() {
		p, err := resize.NewPool(resize.Options{Command: []string{decoder}, Workers: 1})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Resize(context.Background(), bytes.NewReader(src), int64(len(src)), resize.Job{Format: "jpeg", Targets: []resize.Target{{Size: size(b, "50x")}}}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = p.Close()
		b.StartTimer()
	}
}

// Images through two decoders at once.
func BenchmarkThroughput(b *testing.B) {
	src := toJPEG(b, noise(800, 600))
	p := newPool(b, resize.Options{Workers: 2, Queue: 100})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.Resize(context.Background(), bytes.NewReader(src), int64(len(src)), resize.Job{Format: "jpeg", Targets: []resize.Target{{Size: size(b, "250x")}}}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
