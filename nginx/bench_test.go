package nginx_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"imgkeep/nginx"
)

// Benchmarks of the tree want it on tmpfs: TMPDIR=/dev/shm go test -bench Hot.

var sizes = []string{"full", "150x150", "200x200", "250x250", "500x500"}

// filled is a tree of n links: an image in five sizes, as a forum shows them.
func filled(b *testing.B, n int, expires time.Time) *nginx.Hot {
	b.Helper()
	h, err := nginx.OpenHot(nginx.HotOptions{Dir: filepath.Join(b.TempDir(), "hot")})
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		addNth(b, h, i, expires)
	}
	return h
}

func addNth(b *testing.B, h *nginx.Hot, i int, expires time.Time) {
	s := signature(i / len(sizes))
	target := "/var/lib/imgkeep/i/" + s[:1] + "/" + s[1:2] + "/" + s + s + s[:11] + ".250x250.jpg"
	if err := h.Add("i", sizes[i%len(sizes)], s, ".jpg", target, expires); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkHotAdd(b *testing.B) {
	h := filled(b, 0, time.Time{})
	expires := time.Now().Add(time.Hour)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		addNth(b, h, i, expires)
	}
}

// A link that is there already, as every request has it until nginx notices.
func BenchmarkHotAddAgain(b *testing.B) {
	expires := time.Now().Add(time.Hour)
	h := filled(b, 1, expires)
	b.ReportAllocs()
	for b.Loop() {
		addNth(b, h, 0, expires)
	}
}

// A tree that is full: every link takes the place of another.
func BenchmarkHotAddFull(b *testing.B) {
	expires := time.Now().Add(time.Hour)
	h, err := nginx.OpenHot(nginx.HotOptions{Dir: filepath.Join(b.TempDir(), "hot"), MaxLinks: 50_000})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 50_000 {
		addNth(b, h, i, expires)
	}
	for i := 50_000; b.Loop(); i++ {
		addNth(b, h, i, expires)
	}
}

var counts = []int{10_000, 500_000}

// The walk over all links, when none has expired.
func BenchmarkHotSweep(b *testing.B) {
	for _, n := range counts {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := filled(b, n, time.Now().Add(time.Hour))
			for b.Loop() {
				if gone, err := h.Sweep(); gone != 0 || err != nil {
					b.Fatal(gone, err)
				}
			}
		})
	}
}

// The end of the week for all of them.
func BenchmarkHotExpire(b *testing.B) {
	for _, n := range counts {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.StopTimer()
			for range b.N {
				now := time.Now()
				h, err := nginx.OpenHot(nginx.HotOptions{Dir: filepath.Join(b.TempDir(), "hot"), Now: func() time.Time { return now }})
				if err != nil {
					b.Fatal(err)
				}
				for i := range n {
					addNth(b, h, i, now.Add(time.Hour))
				}
				now = now.Add(time.Hour)
				b.StartTimer()
				if gone, err := h.Sweep(); gone != n || err != nil {
					b.Fatal(gone, err)
				}
				b.StopTimer()
			}
		})
	}
}

// An image is taken out of the tree, which looks at every link.
func BenchmarkHotRemoval(b *testing.B) {
	for _, n := range counts {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := filled(b, n, time.Now().Add(time.Hour))
			for b.Loop() {
				if err := h.BeginRemoval(); err != nil {
					b.Fatal(err)
				}
				if _, err := h.EndRemoval(false, func(target string) bool { return target == "/nowhere" }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
