package bucket

import (
	"bytes"
	"image"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"testing"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/uncached"
)

// An image that is passed on loses its metadata, also one that lacks its end.
func TestStrip(t *testing.T) {
	s := openStore(t, Options{Root: t.TempDir(), Origin: newOrigin()})
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 3, 2))); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	// A text chunk before IDAT, with its CRC.
	text := "\x00\x00\x00\x00tEXt\x91\x90\x5b\x2e"
	whole = append(append(bytes.Clone(whole[:33]), text...), whole[33:]...)
	for name, file := range map[string][]byte{"whole": whole, "without IEND": whole[:len(whole)-12]} {
		path := filepath.Join(t.TempDir(), "a.png")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		p, err := s.Strip(&uncached.File{File: f, Bytes: int64(len(file)), Info: probe.Info{Format: probe.PNG, Width: 3, Height: 2, Orientation: 1, Frames: 1}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		defer p.Close()
		got, err := io.ReadAll(io.NewSectionReader(p.File, 0, 1<<20))
		if err != nil || !bytes.Equal(got, b.Bytes()) || p.Bytes != int64(b.Len()) {
			t.Errorf("%s: %d bytes, want %d: %v", name, len(got), b.Len(), err)
		}
	}
}
