package main

import (
	"bytes"
	"testing"

	"imgkeep/bucket/probe/probetest"
	"imgkeep/resize"
)

// A JPEG XL is decoded whole, before its first row is there. One that takes more
// memory than there may be is an error, and the next has a size.
func TestJXLMemory(t *testing.T) {
	var flat []byte
	for _, c := range probetest.Corpus() {
		if c.Name == "jxl-49-megapixels-in-2-kb" {
			flat = c.Data
		}
	}
	job := resize.Job{Format: "jxl", Targets: []resize.Target{{Size: size(t, "20x20")}}}
	for _, c := range []struct {
		memory int64
		made   bool
	}{{128 << 20, false}, {2 << 30, true}} {
		p := newPool(t, resize.Options{MaxMemory: c.memory})
		_, err := p.Resize(t.Context(), bytes.NewReader(flat), int64(len(flat)), job)
		if (err == nil) != c.made {
			t.Errorf("within %d MiB: %v", c.memory>>20, err)
		}
		one(t, p, "jxl", testdata(t, "noise.jxl"), resize.Target{Size: size(t, "20x20")})
	}
}
