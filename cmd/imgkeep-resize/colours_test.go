package main

import (
	"os"
	"path/filepath"
	"testing"
)

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTry(t *testing.T) {
	images := map[string][]byte{}
	for _, f := range []string{"testdata/*.*", "../../bucket/probe/testdata/*.*"} {
		names, _ := filepath.Glob(f)
		for _, n := range names {
			data, _ := os.ReadFile(n)
			ext := filepath.Ext(n)[1:]
			if ext == "jpg" {
				ext = "jpeg"
			}
			if ext == "txt" || ext == "md" {
				continue
			}
			images[ext+" "+n] = data
		}
	}
	for n, m := range inChromium(t, images) {
		if m == nil {
			t.Log(n, "none")
		} else {
			t.Log(n, m.Rect.Dx(), m.Rect.Dy(), m.Pix[:8])
		}
	}
}
