package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkPhotos has the real programs fetch, store and resize photos: each in
// full and at three sizes, one after the other, as the first view of a page asks
// for them. The photos are those of Debian's wallpaper packages, or of the folders
// that IMGKEEP_BENCH_PHOTOS names, separated by colons. It is what `scripts/bench
// photos` runs.
func BenchmarkPhotos(b *testing.B) {
	folders := "/usr/share/wallpapers:/usr/share/backgrounds"
	if named := os.Getenv("IMGKEEP_BENCH_PHOTOS"); named != "" {
		folders = named
	}
	w := newWorld(b, settings{"log.level": "info", "sizes": []int{150, 250, 500}, "resize.workers": 2, "fetch.max_bytes": "64MiB"})
	urls := map[string][]string{}
	seen := map[string]bool{}
	count := 0
	for _, folder := range filepath.SplitList(folders) {
		err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
			ext := strings.TrimPrefix(filepath.Ext(path), ".")
			if err != nil || !d.Type().IsRegular() || (ext != "jpg" && ext != "png" && ext != "webp") {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil || seen[digest(data)] || len(data) < 50_000 {
				return err // also no icons, nor one photo twice
			}
			seen[digest(data)] = true
			urls[ext] = append(urls[ext], w.origin.serve(fmt.Sprintf("/pictures/%d.%s", count, ext), data))
			count++
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			b.Fatal(err)
		}
	}
	if count == 0 {
		b.Fatalf("no photos in %s: on Debian, apt-get install plasma-workspace-wallpapers", folders)
	}
	s := w.start()
	var out strings.Builder
	fmt.Fprintf(&out, "\n| photos | images | made | CPU ms an image, for three sizes | images/s |\n| --- | --- | --- | --- | --- |\n")
	total, elapsed := 0.0, time.Duration(0)
	for _, ext := range []string{"jpg", "png", "webp"} {
		if len(urls[ext]) == 0 {
			continue
		}
		made, refused := 0, 0
		began, used := time.Now(), cpu(b, s.cmd.Process.Pid)
		for _, url := range urls[ext] {
			for _, size := range []string{"full", "150x150", "250x250", "500x500"} {
				a, err := s.request(b.Context(), http.MethodGet, link("i", size, url), nil)
				switch {
				case err != nil:
					b.Fatal(err)
				case a.status == http.StatusOK && size != "full":
					made++
				case a.status == http.StatusRequestEntityTooLarge:
					refused++ // over fetch.max_pixels
				case a.status != http.StatusOK:
					b.Errorf("%s of %s: status %d: %s", size, url, a.status, a.body)
				}
			}
		}
		took, spent := time.Since(began), cpu(b, s.cmd.Process.Pid)-used
		n := float64(len(urls[ext]))
		fmt.Fprintf(&out, "| %s | %d | %d sizes, %d answers too large | %.0f | %.1f |\n", ext, len(urls[ext]), made, refused, spent/n*1000, n/took.Seconds())
		total, elapsed = total+spent, elapsed+took
	}
	fmt.Fprintf(&out, "\nMost memory: the server %d MB, its decoders %d MB each at most.\n", peak(b, s.cmd.Process.Pid), peak(b, children(b, s.cmd.Process.Pid)...))
	fmt.Println(out.String())
	b.ReportMetric(total/float64(count)*1000, "cpu-ms/image")
	b.ReportMetric(float64(count)/elapsed.Seconds(), "images/s")
	s.stop()
}

// peak is the most memory that one of these processes has had, in MB (proc(5),
// VmHWM).
func peak(b *testing.B, pids ...int) int {
	b.Helper()
	most := 0
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "VmHWM:")
		var kilobytes int
		if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
			b.Fatal(err)
		}
		most = max(most, kilobytes>>10)
	}
	return most
}
