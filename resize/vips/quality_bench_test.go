package vips

import (
	"bytes"
	"fmt"
	"image"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/h2non/bimg"

	"imgkeep/resize"
)

// BenchmarkQuality prints how much what is made looks like the ideal, and how
// many bytes it takes: photos, and the charts of TestQuality, as they are
// served, all sizes from one decoding. Beside it are the ideal itself, put
// through libvips' encoder at the same quality, which is as good as a file can
// be, and what vipsthumbnail makes, where it is on PATH. IMGKEEP_BENCH_COUNT is
// how many photos of a format are taken at most, 8 if it is not set. It is what
// `scripts/bench quality` runs.
//
// The photos are those that mean the same to all: opaque, upright, without a
// colour profile.
func BenchmarkQuality(b *testing.B) {
	most := 8
	if text := os.Getenv("IMGKEEP_BENCH_COUNT"); text != "" {
		var err error
		if most, err = strconv.Atoi(text); err != nil || most < 1 {
			b.Fatalf("IMGKEEP_BENCH_COUNT: %q is no number of photos", text)
		}
	}
	thumbnail, err := exec.LookPath("vipsthumbnail")
	if err != nil {
		fmt.Fprintln(os.Stderr, "vipsthumbnail is not on PATH, and has no column: on Debian, apt-get install libvips-tools")
	}
	fmt.Print("\n| pictures | number | height | imgkeep: SSIM, lowest, bytes | the ideal, encoded | vipsthumbnail |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, format := range []string{"jpeg", "png", "webp"} {
		drawn := map[string][]byte{}
		for i, c := range charts {
			drawn[c.name] = encoded(b, chart(i), format)
		}
		q := quality{b: b, format: format, thumbnail: thumbnail}
		q.measure("photos, "+format, photos(b, format, most))
		q.measure("charts, "+format, drawn)
	}
	fmt.Println()
	b.ReportMetric(0, "ns/op")
}

// quality compares pictures of one format.
type quality struct {
	b         *testing.B
	format    string
	thumbnail string // the program; empty: there is none
}

// score is of the pictures that one program has made at one size.
type score struct {
	ssim  []float64
	bytes int
}

func (s *score) String() string {
	if s == nil {
		return "-"
	}
	sum := 0.0
	for _, v := range s.ssim {
		sum += v
	}
	n := len(s.ssim)
	return fmt.Sprintf("%.4f, %.4f, %d", sum/float64(n), slices.Min(s.ssim), s.bytes/n)
}

func (q *quality) measure(name string, sources map[string][]byte) {
	heights := []int{500, 250, 150}
	scores := map[int]map[string]*score{}
	for _, h := range heights {
		scores[h] = map[string]*score{}
	}
	count := 0
	for _, file := range slices.Sorted(maps.Keys(sources)) {
		src := sources[file]
		if !plain(q.b, src) {
			fmt.Fprintf(os.Stderr, "%s: passed over: it has a profile, an orientation or transparency\n", file)
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, filepath.Base(file))
		count++
		full := flat(decode(q.b, src))
		var targets []resize.Target
		for _, h := range heights {
			targets = append(targets, resize.Target{Size: resize.Size{Height: h}})
		}
		results, err := decoder.Resize(src, request(q.format, targets...))
		if err != nil {
			q.b.Fatal(file, err)
		}
		for i, r := range results {
			ideal := newReference(full, r.Width, r.Height)
			score := func(by string, data []byte) {
				s := scores[heights[i]][by]
				if s == nil {
					s = new(score)
					scores[heights[i]][by] = s
				}
				m, want := decode(q.b, data), ideal
				if size := m.Bounds().Size(); size != image.Pt(r.Width, r.Height) { // by rounding
					want = newReference(full, size.X, size.Y)
				}
				s.ssim, s.bytes = append(s.ssim, ssim(luma(m), want.luma())), s.bytes+len(data)
			}
			score("imgkeep", r.Data)
			again, err := bimg.NewImage(toPNG(q.b, ideal.image())).Process(bimg.Options{
				Type: formats[q.format].bimg, Quality: 80, Compression: 6, StripMetadata: true,
			})
			if err != nil {
				q.b.Fatal(file, err)
			}
			score("ideal", again)
			if q.thumbnail != "" {
				score("vipsthumbnail", q.vipsthumbnail(src, r.Height))
			}
		}
	}
	for _, h := range heights {
		if count > 0 {
			fmt.Printf("| %s | %d | %d | %v | %v | %v |\n", name, count, h, scores[h]["imgkeep"], scores[h]["ideal"], scores[h]["vipsthumbnail"])
		}
	}
}

// vipsthumbnail has the program make one size, by the same quality and with the
// same care for the bytes.
func (q *quality) vipsthumbnail(src []byte, height int) []byte {
	dir := q.b.TempDir()
	in, out := filepath.Join(dir, "in."+q.format), filepath.Join(dir, "out."+q.format)
	options := map[string]string{"jpeg": "[Q=80,optimize_coding,strip]", "webp": "[Q=80,strip]", "png": "[strip]"}[q.format]
	if err := os.WriteFile(in, src, 0o600); err != nil {
		q.b.Fatal(err)
	}
	cmd := exec.Command(q.thumbnail, "--size", fmt.Sprintf("x%d", height), "-o", out+options, in)
	if text, err := cmd.CombinedOutput(); err != nil {
		q.b.Fatalf("%s: %v: %s", cmd, err, text)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		q.b.Fatal(err)
	}
	return data
}

// plain tells pictures whose values mean the same to all.
func plain(b *testing.B, src []byte) bool {
	meta, err := bimg.Metadata(src)
	if err != nil {
		b.Fatal(err)
	}
	if meta.Profile || meta.Orientation > 1 {
		return false
	}
	m, _, err := image.Decode(bytes.NewReader(src))
	if err != nil {
		return false // Go's decoders know less
	}
	o, ok := m.(interface{ Opaque() bool })
	return ok && o.Opaque()
}
