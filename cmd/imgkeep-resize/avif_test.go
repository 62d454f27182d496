package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"imgkeep/resize"
)

// avifSides are the sides that the file says its picture has: the first ispe box
// (ISO/IEC 23008-12, 6.5.3).
func avifSides(t *testing.T, data []byte) (width, height int) {
	t.Helper()
	_, box, ok := bytes.Cut(data, []byte("ispe\x00\x00\x00\x00"))
	if !ok || len(box) < 8 || string(data[4:12]) != "ftypavif" {
		t.Fatalf("%.40q is no AVIF", data)
	}
	return int(binary.BigEndian.Uint32(box)), int(binary.BigEndian.Uint32(box[4:]))
}

// AVIF is written inside of the whole sandbox, by an encoder that has threads of
// its own: of every kind of picture, with sides that are odd, and within the memory
// that a decoder has by default.
func TestAVIF(t *testing.T) {
	p := newPool(t, resize.Options{Outputs: []string{"avif"}, MaxMemory: 2 << 30})
	if got := p.Outputs(); len(got) != 1 || got[0] != "avif" {
		t.Errorf("outputs %v", got)
	}
	for name, src := range map[string]struct {
		format string
		data   []byte
	}{
		"photo":     {"jpeg", toJPEG(t, corners(1201, 900))},
		"alpha":     {"png", toPNG(t, image.NewNRGBA(image.Rect(0, 0, 301, 201)))},
		"animation": {"gif", toGIF(t, animation(300, 200, 5, 0, true))},
	} {
		t.Run(name, func(t *testing.T) {
			targets := []resize.Target{
				{Size: size(t, "101x"), Format: "avif"},
				{Size: size(t, "101x"), Format: "avif", Quality: 20},
				{Preset: &resize.Preset{Width: 33, Height: 31, Fit: "cover", Format: "avif", AVIFQuality: 50}},
				{Size: size(t, "x1"), Format: "avif"},
			}
			results, err := p.Resize(t.Context(), bytes.NewReader(src.data), int64(len(src.data)), resize.Job{Format: src.format, Targets: targets})
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range results {
				if w, h := avifSides(t, r.Data); r.Format != "avif" || w != r.Width || h != r.Height || r.Frames != 1 {
					t.Errorf("target %d: %s of %d frames, %d x %d, and the file says %d x %d", i, r.Format, r.Frames, r.Width, r.Height, w, h)
				}
			}
			if a, b := len(results[0].Data), len(results[1].Data); name == "photo" && a <= b {
				t.Errorf("%d bytes at the default quality, %d at 20", a, b)
			}
		})
	}
}

// The quality is lowered until an AVIF fits, as in other formats.
func TestAVIFMaxBytes(t *testing.T) {
	p := newPool(t, resize.Options{Outputs: []string{"avif"}})
	src := toJPEG(t, noise(600, 400))
	most := int64(3 << 10)
	results, err := p.Resize(t.Context(), bytes.NewReader(src), int64(len(src)), resize.Job{Format: "jpeg", Targets: []resize.Target{
		{Preset: &resize.Preset{Width: 300, Format: "avif"}},
		{Preset: &resize.Preset{Width: 300, Format: "avif", MaxBytes: most}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if free, bound := int64(len(results[0].Data)), int64(len(results[1].Data)); free <= most || bound > most || bound < most/2 {
		t.Errorf("%d bytes, and %d with a limit of %d", free, bound, most)
	}
}

// Without being asked for AVIF a decoder has nothing of it: neither a format to
// write, nor the libraries.
func TestNoAVIF(t *testing.T) {
	p := newPool(t, resize.Options{})
	src := toJPEG(t, corners(60, 40))
	_, err := p.Resize(t.Context(), bytes.NewReader(src), int64(len(src)), resize.Job{Format: "jpeg", Targets: []resize.Target{{Size: size(t, "9x"), Format: "avif"}}})
	if err == nil || !strings.Contains(err.Error(), "has no avif") {
		t.Errorf("got %v", err)
	}
	if len(p.Outputs()) != 0 {
		t.Errorf("outputs %v", p.Outputs())
	}
}

// A decoder that does not know the format, or cannot write it, ends the start.
func TestUnknownOutput(t *testing.T) {
	cmd := exec.Command(decoder)
	cmd.Env = []string{"IMGKEEP_DECODER_OUTPUTS=avif,svg"}
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte(`output "svg": want each of avif at most once`)) {
		t.Errorf("%v, %q", err, out)
	}
	_, err = resize.NewPool(resize.Options{Command: []string{decoder}, Outputs: []string{"jxl"}})
	if err == nil || !strings.Contains(err.Error(), `output "jxl"`) {
		t.Errorf("got %v", err)
	}
}

// An AVIF that takes too long costs its own request: the encoder's threads end
// with the decoder.
func TestAVIFTimeout(t *testing.T) {
	p, err := resize.NewPool(resize.Options{
		Command: []string{decoder}, Workers: 1, Outputs: []string{"avif"}, Sandbox: resize.SandboxRequire,
		Timeout: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	src := toJPEG(t, corners(2000, 1500))
	_, err = p.Resize(t.Context(), bytes.NewReader(src), int64(len(src)), resize.Job{Format: "jpeg", Targets: []resize.Target{{Size: size(t, "2000x"), Format: "avif"}}})
	if !errors.Is(err, resize.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}
