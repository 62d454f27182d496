package vips

import (
	"bytes"
	"image"
	"image/color/palette"
	"image/draw"
	"image/gif"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/h2non/bimg"

	"imgkeep/resize"
	"imgkeep/scripts/benchtest"
)

// photos are those of benchtest.Photos, or one that is made here.
func photos(b *testing.B, format string, most int) map[string][]byte {
	b.Helper()
	found := benchtest.Photos(b, format, most)
	if len(found) == 0 {
		found["made"] = encoded(b, scene(2560, 1600), format)
	}
	return found
}

// cpu is the processor time that this process has used, all threads together.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// heights are the sizes that are made in comparisons.
var heights = []int{150, 250, 500}

// separately makes three sizes with bimg, each from a decoding of its own, and
// returns how many bytes they take.
func separately(src []byte) (size int, err error) {
	for _, h := range heights {
		out, err := bimg.NewImage(src).Process(bimg.Options{Height: h, Quality: 80, StripMetadata: true})
		if err != nil {
			return 0, err
		}
		size += len(out)
	}
	return size, nil
}

// Three sizes by bimg alone, two pictures at a time, for the comparison that
// cmd/imgkeep's BenchmarkResize makes: of the files in the folder that
// IMGKEEP_BENCH_FILES names, or of photos.
func BenchmarkSeparately(b *testing.B) {
	var all [][]byte
	if dir := os.Getenv("IMGKEEP_BENCH_FILES"); dir == "" {
		all = slices.Collect(maps.Values(photos(b, "jpeg", 20)))
	} else if paths, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(paths) == 0 {
		b.Fatalf("%s: %d files, %v", dir, len(paths), err)
	} else {
		for _, path := range paths {
			src, err := os.ReadFile(path)
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, src)
		}
	}
	bimg.VipsVectorSetEnabled(true) // its best
	defer bimg.VipsVectorSetEnabled(false)
	before := cpu(b)
	for b.Loop() {
		next := make(chan []byte)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for src := range next {
					if _, err := separately(src); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for _, src := range all {
			next <- src
		}
		close(next)
		wg.Wait()
	}
	b.ReportMetric(float64(cpu(b)-before)/1e6/float64(b.N), "cpu-ms")
	b.ReportMetric(0, "ns/op")
}

// Three sizes of a photo: all from one decoding, and with bimg, which decodes
// for each. Both are measured in turn on each photo, so that the ratio holds on
// a busy machine too. It is that of the processor time, the median over the
// photos; the times are means.
func BenchmarkThreeSizes(b *testing.B) {
	var targets []resize.Target
	for _, h := range heights {
		targets = append(targets, resize.Target{Size: resize.Size{Height: h}})
	}
	for _, format := range []string{"jpeg", "png", "webp"} {
		b.Run(format, func(b *testing.B) {
			all := photos(b, format, 20)
			var ours, theirs time.Duration
			var bytesOurs, bytesTheirs int
			var ratios []float64
			for b.Loop() {
				for name, src := range all {
					t0 := cpu(b)
					results, err := decoder.Resize(src, request(format, targets...))
					if err != nil {
						b.Fatal(name, err)
					}
					t1 := cpu(b)
					bimg.VipsVectorSetEnabled(true) // its best
					size, err := separately(src)
					if err != nil {
						b.Fatal(name, err)
					}
					bytesTheirs += size
					bimg.VipsVectorSetEnabled(false)
					t2 := cpu(b)
					ours, theirs = ours+t1-t0, theirs+t2-t1
					ratios = append(ratios, float64(t1-t0)/float64(t2-t1))
					for _, r := range results {
						bytesOurs += len(r.Data)
					}
				}
			}
			n := float64(len(ratios))
			slices.Sort(ratios)
			b.ReportMetric(float64(ours)/1e6/n, "ours-cpu-ms")
			b.ReportMetric(float64(theirs)/1e6/n, "bimg-cpu-ms")
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
			b.ReportMetric(float64(bytesOurs)/n, "ours-bytes")
			b.ReportMetric(float64(bytesTheirs)/n, "bimg-bytes")
			b.ReportMetric(float64(len(all)), "photos")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// An animation of 100 frames, to two sizes.
func BenchmarkAnimation(b *testing.B) {
	// A camera that moves over a scene.
	ground := scene(840, 580)
	g := &gif.GIF{}
	for f := range 100 {
		m := image.NewPaletted(image.Rect(0, 0, 640, 480), palette.WebSafe)
		draw.FloydSteinberg.Draw(m, m.Rect, ground, image.Pt(2*f, f))
		g.Image, g.Delay = append(g.Image, m), append(g.Delay, 5)
	}
	var file bytes.Buffer
	if err := gif.EncodeAll(&file, g); err != nil {
		b.Fatal(err)
	}
	moving := file.Bytes()
	for _, format := range []string{"gif", "webp"} {
		b.Run(format, func(b *testing.B) {
			t0 := cpu(b)
			for b.Loop() {
				r, err := decoder.Resize(moving, request("gif",
					resize.Target{Size: resize.Size{Height: 250}, Format: format}, resize.Target{Size: resize.Size{Height: 150}, Format: format}))
				if err != nil || r[0].Frames != 100 {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu(b)-t0)/1e6/float64(b.N)/100, "cpu-ms/frame")
		})
	}
}
