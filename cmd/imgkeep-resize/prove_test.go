package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"imgkeep/bucket/probe/probetest"
	"imgkeep/resize"
)

// Where a format does not work, within the sandbox, a decoder does not start. It says
// which one, with libvips' words and the package that may be missing. This decoder's
// libvips has lost an operation, as if it were built otherwise, or lacked a package.
func TestProve(t *testing.T) {
	for _, c := range []struct {
		without string // formats that libvips refuses to read (<) or write (>)
		outputs string
		want    []string
	}{
		{"<jpeg", "", []string{"cannot read jpeg", "operation is blocked", "libvips42t64"}},
		{"<png", "", []string{"cannot read png"}},
		{">png", "", []string{"cannot write png", "operation is blocked"}},
		{">gif", "", []string{"cannot write gif"}},
		{"<webp", "", []string{"cannot read webp"}},
		{">webp", "", []string{"cannot write webp"}},
		{"<avif", "", []string{"cannot read avif", "libheif-plugin-dav1d"}},
		{">avif", "avif", []string{"cannot write avif", "libheif-plugin-aomenc"}},
		{"<heic", "", []string{"cannot read"}}, // by the loader that AVIF has too
		{"<tiff", "", []string{"cannot read tiff", "libvips42t64"}},
		{"<jxl", "", []string{"cannot read jxl", "libvips42t64"}},
	} {
		o := resize.Options{Command: []string{attacker}, Workers: 1, Sources: extraFormats, Env: []string{"ATTACKER_LOSES=" + c.without}}
		if c.outputs != "" {
			o.Outputs = []string{c.outputs}
		}
		p, err := resize.NewPool(o)
		if err == nil {
			_ = p.Close()
			t.Errorf("%s: it has started", c.without)
			continue
		}
		for _, want := range append(c.want, "libvips 8.") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, want %q", c.without, err, want)
			}
		}
	}
}

// What would fail with any image is not held against the one at hand: neither as
// broken nor as one that crashes decoders.
func TestNotTheImage(t *testing.T) {
	for _, c := range []struct{ loses, want string }{
		{"<png", "blocked"}, {">png", "blocked"}, {">avif", "blocked"},
	} {
		p := hostile(t, allLayers, resize.Options{Outputs: []string{"avif"}})
		if got := attack(t, p, "lose "+c.loses); got != "done" {
			t.Fatal(got)
		}
		format := "png"
		if c.loses == ">avif" {
			format = "avif"
		}
		src := toPNG(t, corners(20, 20))
		_, err := p.Resize(t.Context(), bytes.NewReader(src), int64(len(src)),
			resize.Job{Format: "png", Targets: []resize.Target{{Size: size(t, "9x9"), Format: format}}})
		notTheImage(t, c.loses, err, c.want)
	}
}

func notTheImage(t *testing.T, name string, err error, want string) {
	t.Helper()
	if _, image := errors.AsType[*resize.ImageError](err); image || err == nil || errors.Is(err, resize.ErrPoison) || !errors.Is(err, resize.ErrCrashed) {
		t.Errorf("%s: held against the image: %v", name, err)
	} else if !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got %q, want %q", name, err, want)
	}
}

// Neither is a lack of memory, whether a library says so in words of its own, or
// ends the process.
func TestNoMemory(t *testing.T) {
	const memory = 128 << 20
	p := newPool(t, resize.Options{MaxMemory: memory})
	// A JPEG XL is decoded whole, before its first row is there. A BMP takes its memory in Go, here 288 MB of it, whose runtime may have 64 MiB at hand.
	const width, height = 8000, 6000
	bmp := toBMP(noise(width, 1))
	binary.LittleEndian.PutUint32(bmp[22:], height)
	images := map[string][]byte{"bmp": append(bmp, make([]byte, 3*width*(height-1))...)}
	for _, c := range probetest.Corpus() {
		switch c.Name {
		case "jpeg-progressive-49-megapixels", "jxl-49-megapixels-in-2-kb":
			images[c.Format.String()] = c.Data
		}
	}
	for format, src := range images {
		_, err := p.Resize(t.Context(), bytes.NewReader(src), int64(len(src)), resize.Job{Format: format, Targets: []resize.Target{{Size: size(t, "9x9")}}})
		notTheImage(t, format, err, "out of memory")
		one(t, p, "png", toPNG(t, corners(20, 20)), resize.Target{Size: size(t, "9x9")}) // and the next has a size
	}
	// What has enough is another matter.
	enough := newPool(t, resize.Options{MaxMemory: 2 << 30})
	for format, src := range images {
		one(t, enough, format, src, resize.Target{Size: size(t, "9x9")})
	}

	q := hostile(t, allLayers, resize.Options{MaxMemory: memory})
	for _, c := range []struct {
		attack string
		deadly bool
	}{
		{fmt.Sprint("g_malloc ", 8*memory), false},
		{fmt.Sprint("new ", 8*memory), false},
		{"abort", true}, // without a lack of memory
	} {
		src := "attack " + c.attack
		_, err := q.Resize(t.Context(), strings.NewReader(src), int64(len(src)), resize.Job{Format: "jpeg", Targets: []resize.Target{{Size: size(t, "9x9")}}})
		if !errors.Is(err, resize.ErrCrashed) || errors.Is(err, resize.ErrPoison) != c.deadly {
			t.Errorf("%s: %v; deadly should be %v", c.attack, err, c.deadly)
		}
	}
}

// By hand, the reason is on standard error, and the exit code is 1.
func TestProveByHand(t *testing.T) {
	cmd := exec.Command(attacker)
	cmd.Env = []string{"ATTACKER_LOSES=>webp"}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !bytes.Contains(out, []byte("cannot write webp")) {
		t.Errorf("%v, %q", err, out)
	}
}
