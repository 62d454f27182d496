package main_test

import (
	"bytes"
	"image"
	"math/bits"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"imgkeep/bucket/probe"
)

// The documents' pictures of presets are what the program makes of the sample today: of the same
// sides, and alike to the eye, as a difference hash of 64 bits sees it. After a
// change that is meant, scripts/presets makes them again.
func TestSamples(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	sample := filepath.Join("..", "..", "contrib", "sample")
	conf, err := os.ReadFile(filepath.Join(sample, "presets", "presets.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	evening, err := filepath.Abs(filepath.Join(sample, "evening.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	formats, err := os.ReadFile(filepath.Join("..", "..", "contrib", "docs", "formats.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^  - \{name: ([a-z]+), (.*)\}$`).FindAllStringSubmatch(string(conf), -1)
	files, err := filepath.Glob(filepath.Join(sample, "presets", "evening.*"))
	if err != nil || len(files) != len(names) || len(names) < 10 {
		t.Fatalf("%d pictures of %d presets, %v", len(files), len(names), err)
	}
	own := filepath.Join(w.dir, "presets.yaml")
	if err := os.WriteFile(own, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[string]uint64{}
	for _, file := range files {
		name := strings.Split(filepath.Base(file), ".")[1]
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cmd := w.command(t.Context(), "preview", name, evening, "-o", "-")
		cmd.Args[len(cmd.Args)-1] = own
		got, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantInfo, err := probe.Read(bytes.NewReader(want), probe.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if info, err := probe.Read(bytes.NewReader(got), probe.Limits{}); err != nil || info != wantInfo {
			t.Errorf("%s: %+v, want %+v, %v", name, info, wantInfo, err)
		}
		if !bytes.Contains(formats, []byte("../sample/presets/"+filepath.Base(file))) {
			t.Errorf("formats.md does not show %s", filepath.Base(file))
		}
		if wantInfo.Format == probe.WebP {
			continue // which Go cannot decode
		}
		a, b := dhash(t, got), dhash(t, want)
		if d := bits.OnesCount64(a ^ b); d > 4 {
			t.Errorf("%s: it differs from the picture in formats.md by %d bits of 64: run scripts/presets if it should", name, d)
		}
		seen[name] = a
	}
	// The hash tells them apart.
	if d := bits.OnesCount64(seen["cover"] ^ seen["smart"]); d < 8 {
		t.Errorf("cover and smart differ by %d bits only", d)
	}
}

// dhash is the difference hash: whether each of 8 by 8 fields is darker than the
// one to its right.
func dhash(t *testing.T, data []byte) uint64 {
	t.Helper()
	m, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	mean := func(column, row int) (sum uint64) {
		b := m.Bounds()
		x0, x1 := b.Dx()*column/9, b.Dx()*(column+1)/9
		y0, y1 := b.Dy()*row/8, b.Dy()*(row+1)/8
		for y := y0; y < y1; y++ {
			for x := x0; x < x1; x++ {
				r, g, bl, _ := m.At(x, y).RGBA()
				sum += uint64(299*r + 587*g + 114*bl)
			}
		}
		return sum / uint64((x1-x0)*(y1-y0))
	}
	var hash uint64
	for i := range 64 {
		hash <<= 1
		if mean(i%8, i/8) < mean(i%8+1, i/8) {
			hash |= 1
		}
	}
	return hash
}
