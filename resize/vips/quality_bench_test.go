package vips

import (
	"bytes"
	"fmt"
	"image"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/h2non/bimg"

	"imgkeep/resize"
	"imgkeep/scripts/benchtest"
)

// BenchmarkQuality prints how much what is made looks like the ideal, and how
// many bytes it takes: photos, and the charts of TestQuality, as they are
// served, all sizes from one decoding. Beside it are the ideal itself, put
// through the same encoder, which is as good as a file can
// be, and what vipsthumbnail, imgproxy and imagor make, where they are on PATH.
// A second table has the bytes that JPEGs take at exactly the likeness of imgproxy's.
// Of each format 8 photos are taken, or as many as IMGKEEP_BENCH_COUNT says. It
// is what `scripts/bench quality` runs.
//
// The photos are those that mean the same to all: opaque, upright, without a
// colour profile.
func BenchmarkQuality(b *testing.B) {
	q := quality{b: b, names: []string{"imgkeep", "the ideal, encoded"}, peers: benchtest.Peers(b)}
	if path, err := exec.LookPath("vipsthumbnail"); err == nil {
		q.thumbnail, q.names = path, append(q.names, "vipsthumbnail")
	} else {
		fmt.Fprintln(os.Stderr, "vipsthumbnail is not on PATH, and is left out: on Debian, apt-get install libvips-tools")
	}
	for _, p := range q.peers {
		q.names = append(q.names, p.Name)
	}
	q.origin = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(q.source) }))
	b.Cleanup(q.origin.Close)
	fmt.Fprintf(&q.table, "\n| pictures | number | height | %s |\n|%s\n", strings.Join(q.names, " | "), strings.Repeat(" --- |", 3+len(q.names)))
	for _, q.format = range []string{"jpeg", "png", "webp"} {
		drawn := map[string][]byte{}
		for i, c := range charts {
			drawn[c.name] = encoded(b, chart(i), q.format)
		}
		q.measure("photos, "+q.format, photos(b, q.format, 8))
		q.measure("charts, "+q.format, drawn)
	}
	fmt.Print(q.table.String())
	if len(q.equal) > 0 {
		fmt.Printf("\n| pictures | height | imgproxy: SSIM, bytes | imgkeep, at the same SSIM | of imgproxy's | progressive | of imgproxy's |\n|%s\n%s", strings.Repeat(" --- |", 7), strings.Join(q.equal, ""))
	}
	fmt.Println()
	b.ReportMetric(0, "ns/op")
}

// quality compares pictures of one format.
type quality struct {
	b         *testing.B
	format    string
	names     []string // of the columns
	thumbnail string   // the program vipsthumbnail; empty: there is none
	peers     []*benchtest.Peer
	origin    *httptest.Server // has what source is
	source    []byte
	table     strings.Builder
	equal     []string // rows of the second table
}

// equals are the bytes that pictures take at one size and at the likeness that imgproxy's have.
type equals struct {
	score
	plain, progressive float64
}

// bytesAt is how many bytes a JPEG of a height takes that is as like the ideal as this, between
// two qualities that are together.
func (q *quality) bytesAt(want float64, ideal plane, height int, progressive bool) float64 {
	at := func(quality int) (like, bytes float64) {
		target := resize.Target{Size: resize.Size{Height: height}, Quality: quality}
		if progressive {
			target.Preset = &resize.Preset{Height: height, JPEGQuality: quality, Progressive: true}
		}
		r, err := decoder.Resize(q.source, request("jpeg", target))
		if err != nil {
			q.b.Fatal(err)
		}
		return ssim(luma(decode(q.b, r[0].Data)), ideal), float64(len(r[0].Data))
	}
	low, high := 1, 100
	for high-low > 1 {
		if middle := (low + high) / 2; first(at(middle)) < want {
			low = middle
		} else {
			high = middle
		}
	}
	less, few := at(low)
	more, many := at(high)
	part := min(max((want-less)/(more-less), 0), 1)
	return few + part*(many-few)
}

func first(a, _ float64) float64 { return a }

// score is of the pictures that one program has made at one size.
type score struct {
	ssim  []float64
	bytes int
}

func (s *score) String() string {
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
	equal := map[int]*equals{}
	count, served := 0, 0
	for _, file := range slices.Sorted(maps.Keys(sources)) {
		src := sources[file]
		if !plain(q.b, src) {
			fmt.Fprintf(os.Stderr, "%s: passed over: it has a profile, an orientation or transparency\n", file)
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, filepath.Base(file))
		count++
		q.source = src
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
			again, err := decoder.Resize(toPNG(q.b, ideal.image()), request("png", resize.Target{Size: resize.Size{Height: r.Height}, Format: q.format}))
			if err != nil {
				q.b.Fatal(file, err)
			}
			score("the ideal, encoded", again[0].Data)
			if q.thumbnail != "" {
				score("vipsthumbnail", q.vipsthumbnail(src, r.Height))
			}
			for _, p := range q.peers {
				served++ // so that it is a URL that nobody has seen
				data, err := p.Resize(q.b.Context(), fmt.Sprintf("%s/%d.%s", q.origin.URL, served, q.format), q.format, r.Height)
				if err != nil {
					q.b.Fatal(file, err)
				}
				score(p.Name, data)
				if p.Name == "imgproxy" && q.format == "jpeg" {
					e := equal[heights[i]]
					if e == nil {
						e = new(equals)
						equal[heights[i]] = e
					}
					luma, like := ideal.luma(), scores[heights[i]][p.Name].ssim[count-1]
					e.ssim, e.bytes = append(e.ssim, like), e.bytes+len(data)
					e.plain += q.bytesAt(like, luma, heights[i], false)
					e.progressive += q.bytesAt(like, luma, heights[i], true)
				}
			}
		}
	}
	if count == 0 {
		return
	}
	for _, h := range heights {
		fmt.Fprintf(&q.table, "| %s | %d | %d |", name, count, h)
		for _, by := range q.names {
			fmt.Fprintf(&q.table, " %v |", scores[h][by])
		}
		fmt.Fprintln(&q.table)
		if e := equal[h]; e != nil {
			n := float64(count)
			q.equal = append(q.equal, fmt.Sprintf("| %s | %d | %v | %.0f | %.3f | %.0f | %.3f |\n", name, h, &e.score,
				e.plain/n, e.plain/float64(e.bytes), e.progressive/n, e.progressive/float64(e.bytes)))
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
