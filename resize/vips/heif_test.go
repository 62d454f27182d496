package vips

import (
	"bytes"
	"slices"
	"testing"
)

// An AVIF is refused wherever it is cut, and not for what follows it.
func TestCheckBoxes(t *testing.T) {
	for _, name := range []string{"avif", "heic"} {
		src, err := samples.ReadFile("samples/sample." + name)
		if err != nil {
			t.Fatal(err)
		}
		data := bytes.Index(src, []byte("mdat"))
		for n := range src {
			if n >= data-4 && n < data+4 {
				continue // nothing is there of the data, as libheif says itself
			}
			if checkBoxes(src[:n]) == nil {
				t.Errorf("%s: nothing is missing of %d bytes of %d", name, n, len(src))
			}
		}
		for _, behind := range [][]byte{nil, []byte("\n"), []byte("<html><body>"), src[:len(src)/2], make([]byte, 100)} {
			if err := checkBoxes(slices.Concat(src, behind)); err != nil {
				t.Errorf("%s and %.9q: %v", name, behind, err)
			}
		}
	}
}
