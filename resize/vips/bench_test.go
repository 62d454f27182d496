package vips

import (
	"bytes"
	"image"
	"image/color/palette"
	"image/draw"
	"image/gif"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/h2non/bimg"

	"imgkeep/resize"
)

// photos are the pictures to measure with: those in the folder that
// IMGKEEP_PHOTOS names, else the wallpapers that the system has (under
// XDG_DATA_DIRS), else one that is made here. At most so many of a format, of
// all kinds.
func photos(b *testing.B, format string, most int) map[string][]byte {
	b.Helper()
	var folders []string
	if dir := os.Getenv("IMGKEEP_PHOTOS"); dir != "" {
		folders = []string{dir}
	} else {
		data := os.Getenv("XDG_DATA_DIRS")
		if data == "" {
			data = "/usr/local/share:/usr/share" // the default of the XDG Base Directory Specification
		}
		for _, d := range filepath.SplitList(data) {
			folders = append(folders, filepath.Join(d, "wallpapers"), filepath.Join(d, "backgrounds"))
		}
	}
	var names []string
	for _, dir := range folders {
		_ = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			ext := strings.Replace(strings.ToLower(filepath.Ext(name)), "jpg", "jpeg", 1)
			if err == nil && e.Type().IsRegular() && ext == "."+format {
				if info, err := e.Info(); err == nil && info.Size() > 20_000 {
					names = append(names, name)
				}
			}
			return nil
		})
	}
	slices.Sort(names)
	found := map[string][]byte{}
	for i := 0; len(names) > 0 && i < min(most, len(names)); i++ {
		name := names[i*len(names)/min(most, len(names))]
		src, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		found[name] = src
	}
	if len(found) == 0 {
		src := toPNG(b, scene(2560, 1600))
		if format != "png" {
			r, err := decoder.Resize(src, request("png", resize.Target{Size: resize.Size{Height: 1600}, Format: format, Quality: 90}))
			if err != nil {
				b.Fatal(err)
			}
			src = r[0].Data
		}
		found["made"] = src
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

// Three sizes of a photo: all from one decoding, and with bimg, which decodes
// for each. Both are measured in turn on each photo, so that the ratio holds on
// a busy machine too. It is that of the processor time, the median over the
// photos; the times are means.
func BenchmarkThreeSizes(b *testing.B) {
	heights := []int{150, 250, 500}
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
					for _, h := range heights {
						out, err := bimg.NewImage(src).Process(bimg.Options{Height: h, Quality: 80, StripMetadata: true})
						if err != nil {
							b.Fatal(name, err)
						}
						bytesTheirs += len(out)
					}
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
