package main_test

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/scripts/benchtest"
)

// benchHeights are what is made of each picture.
var benchHeights = []int{150, 250, 500}

// atOnce is how many pictures each way has before it is another's turn: so many
// that the start of a client is little beside them, and so few that all have had
// the same of what else the machine does.
const atOnce = 10

// BenchmarkResize has three sizes made of pictures that nobody has seen yet, in
// ways that take turns at a few pictures each:
//
//   - imgkeep, asked by viewers, for one size after the other, so that each is made
//     from a decoding of its own;
//   - imgkeep populate, which has all made from one decoding; its client counts too;
//   - bimg, in a process of its own, which decodes for each size, and neither
//     fetches nor keeps anything;
//   - imgproxy and imagor, where they are on PATH, asked as imgkeep is; they fetch
//     for each size, and keep nothing.
//
// Pictures are those of benchtest.Photos, and made ones of 0.1 to 50 megapixels.
// The programs are the real ones: fetching, hashing and durable storing are in
// imgkeep's figures. Each has had a small picture before. It is what `scripts/bench
// resize` runs.
func BenchmarkResize(b *testing.B) {
	bimg := filepath.Join(programs, "vips.test")
	cmd := exec.Command("go", "test", "-c", "-o", bimg, "imgkeep/resize/vips")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("go test -c: %v\n%s", err, out)
	}
	var table strings.Builder
	fmt.Fprint(&table, "\n| pictures | number | by | CPU ms an image | of bimg's | images/s | most memory, MB |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, format := range []string{"jpeg", "png", "webp"} {
		found := benchtest.Photos(b, format, 0)
		var photos [][]byte
		for _, path := range slices.Sorted(maps.Keys(found)) {
			photos = append(photos, found[path])
		}
		measureResize(b, &table, bimg, "photos, "+format, format, photos)
	}
	for _, megapixels := range []float64{0.1, 0.5, 1, 2, 5, 10, 20, 50} {
		var made [][]byte
		for i := range max(2, min(32, int(20/megapixels))) {
			made = append(made, photoLike(b, megapixels, i))
		}
		measureResize(b, &table, bimg, fmt.Sprintf("JPEG of %v megapixels", megapixels), "jpeg", made)
	}
	fmt.Println(table.String())
	b.ReportMetric(0, "ns/op")
}

// way is one way of making the sizes.
type way struct {
	name   string
	make   func(some) error // all of these
	used   func() float64   // of the processor, so far, in seconds
	memory func() string    // the most that there has been, in MB

	before, wall float64
	turns        []float64 // of the processor, in seconds, of each turn
}

// some are a few pictures, which an origin has, and which are in a folder.
type some struct {
	urls   []string
	folder string
}

func measureResize(b *testing.B, table io.Writer, bimg, name, format string, pictures [][]byte) {
	if len(pictures) == 0 {
		return
	}
	b.Run(strings.ReplaceAll(name, ", ", "-"), func(b *testing.B) {
		conf := settings{"log.level": "info", "sizes": benchHeights, "resize.workers": 2, "fetch.max_bytes": "64MiB", "fetch.max_pixels": 200_000_000}
		w := newWorld(b, conf)
		conf["fetch.ports"] = []int{w.origin.port}
		ways := []*way{askedFor(w.start()), populated(newWorld(b, conf).start()), separately(bimg)}
		for _, p := range benchtest.Peers(b) {
			ways = append(ways, byPeer(b, p, format))
		}
		served := 0
		put := func(pictures [][]byte) (s some) {
			s.folder = b.TempDir()
			for _, picture := range pictures {
				file := fmt.Sprintf("%d.%s", served, format)
				served++
				s.urls = append(s.urls, w.origin.serve("/pictures/"+file, picture))
				if err := os.WriteFile(filepath.Join(s.folder, file), picture, 0o600); err != nil {
					b.Fatal(err)
				}
			}
			return s
		}
		run := func(w *way, s some) {
			began, used := time.Now(), w.used()
			if err := w.make(s); err != nil {
				b.Fatalf("%s: %v", w.name, err)
			}
			w.wall += time.Since(began).Seconds()
			w.turns = append(w.turns, w.used()-used)
		}
		first := put([][]byte{photoLike(b, 0.1, 1000)})
		if format != "jpeg" { // another file by what follows its end
			first = put([][]byte{append(bytes.Clone(pictures[0]), 0)})
		}
		for _, w := range ways {
			run(w, first)
			w.before, w.wall, w.turns = w.used(), 0, nil
		}
		for pictures := range slices.Chunk(pictures, atOnce) {
			s := put(pictures)
			for _, w := range ways {
				run(w, s)
			}
			if err := os.RemoveAll(s.folder); err != nil {
				b.Fatal(err)
			}
		}
		if i := slices.IndexFunc(ways, func(w *way) bool { return w.name == "imgproxy" }); i >= 0 && name == "photos, jpeg" {
			r := benchtest.Ratio{Name: "one size of a JPEG, CPU of imgproxy's"}
			for turn, used := range ways[0].turns {
				r.Figures = append(r.Figures, used/ways[i].turns[turn])
			}
			r.Print(os.Stdout)
		}
		n := float64(len(pictures))
		theirs := ways[2].used() - ways[2].before
		for _, w := range ways {
			used := w.used() - w.before
			fmt.Fprintf(io.MultiWriter(table, os.Stderr), "| %s | %d | %s | %.0f | %.2f | %.1f | %s |\n", name, len(pictures), w.name, used/n*1000, used/theirs, n/w.wall, w.memory())
		}
	})
}

// askedFor asks a server for all sizes of each picture, as viewers do.
func askedFor(s *server) *way {
	b := s.w.t.(*testing.B)
	return s.way("imgkeep, three decodings", func(p some) error {
		each(b, len(p.urls), func(i int) error {
			for _, height := range benchHeights {
				a, err := s.request(b.Context(), http.MethodGet, link("i", fmt.Sprintf("%dx", height), p.urls[i]), nil)
				if err != nil || a.status != http.StatusOK {
					return fmt.Errorf("%d of %s: status %d, %v: %s", height, p.urls[i], a.status, err, a.body)
				}
			}
			return nil
		})
		return nil
	})
}

// populated has imgkeep populate make them.
func populated(s *server) *way {
	var sizes []string
	for _, height := range benchHeights {
		sizes = append(sizes, fmt.Sprintf("%dx", height))
	}
	clients := 0.0
	w := s.way("imgkeep populate, one decoding", func(p some) error {
		client := s.w.command(s.w.t.Context(), "populate", "--quiet", "--sizes", strings.Join(sizes, ","), s.w.list(p.urls...))
		out, err := client.CombinedOutput()
		if want := fmt.Sprintf("; %d sizes made", len(p.urls)*len(sizes)); err != nil || !strings.Contains(string(out), want) {
			return fmt.Errorf("populate: %v, want %q: %s", err, want, out)
		}
		clients += (client.ProcessState.UserTime() + client.ProcessState.SystemTime()).Seconds()
		return nil
	})
	of := w.used
	w.used = func() float64 { return of() + clients }
	return w
}

// way is one that a server has the work of.
func (s *server) way(name string, run func(some) error) *way {
	b, pid := s.w.t.(*testing.B), s.cmd.Process.Pid
	return &way{
		name: name, make: run,
		used: func() float64 { return cpu(b, pid) },
		memory: func() string {
			decoders := children(b, pid)
			return fmt.Sprintf("%d, %d decoders %d", peak(pid), len(decoders), peak(decoders...))
		},
	}
}

var cpuOf = regexp.MustCompile(`\s([0-9.]+) cpu-ms`)

// separately has bimg make them of the files of a folder. The start of its process
// does not count.
func separately(program string) *way {
	used, memory := 0.0, int64(0)
	return &way{
		name: "bimg, three times, alone",
		make: func(p some) error {
			cmd := exec.Command(program, "-test.run", "^$", "-test.bench", "^BenchmarkSeparately$", "-test.benchtime", "1x")
			cmd.Env = append(os.Environ(), "IMGKEEP_BENCH_FILES="+p.folder)
			out, err := cmd.CombinedOutput()
			m := cpuOf.FindSubmatch(out)
			if err != nil || m == nil {
				return fmt.Errorf("%v: %s", err, out)
			}
			milliseconds, err := strconv.ParseFloat(string(m[1]), 64)
			used += milliseconds / 1000
			memory = max(memory, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss>>10)
			return err
		},
		used:   func() float64 { return used },
		memory: func() string { return fmt.Sprint(memory) },
	}
}

// byPeer asks another program for all sizes of each picture.
func byPeer(b *testing.B, p *benchtest.Peer, format string) *way {
	return &way{
		name: p.Name,
		make: func(s some) error {
			each(b, len(s.urls), func(i int) error {
				for _, height := range benchHeights {
					if _, err := p.Resize(b.Context(), s.urls[i], format, height); err != nil {
						return err
					}
				}
				return nil
			})
			return nil
		},
		used:   func() float64 { return cpu(b, p.Pid()) },
		memory: func() string { return fmt.Sprint(peak(p.Pid())) },
	}
}

// photoLike is a JPEG in the shape of a photo, and with about as much in it:
// smooth parts, edges, grain. It is another for each number.
func photoLike(b *testing.B, megapixels float64, number int) []byte {
	b.Helper()
	w := int(math.Sqrt(megapixels*1.5e6)) / 2 * 2
	h := int(megapixels*1e6) / w / 2 * 2
	m := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420)
	across := make([]float64, w)
	for x := range across {
		across[x] = math.Sin(40 * float64(x) / float64(w))
	}
	state := uint32(number)
	for y := range h {
		down := math.Cos(25 * float64(y) / float64(h))
		for x, v := range across {
			state = state*1664525 + 1013904223
			v *= down
			m.Y[y*m.YStride+x] = uint8(120 + 50*v + math.Copysign(35, v-0.3) + float64(state>>28))
		}
	}
	for i := range m.Cb {
		m.Cb[i], m.Cr[i] = uint8(100+i%m.CStride*60/m.CStride), uint8(90+i/m.CStride*80/h)
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, m, &jpeg.Options{Quality: 85}); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}
