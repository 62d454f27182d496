package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"imgkeep/resize"
)

// Any bytes as an image: there is an answer, in time, and the decoder lives.
func FuzzImage(f *testing.F) {
	p := newPool(f, resize.Options{MaxPixels: 1_000_000, AnimationPixels: 1_000_000, Timeout: 20 * time.Second, MaxImages: 1_000_000})
	formats := []string{"jpeg", "png", "gif", "webp"}
	for name, src := range sources(f, p) {
		format, _, _ := strings.Cut(name, " ")
		for i := range formats {
			if formats[i] == format {
				f.Add(byte(i), src)
			}
		}
	}
	targets := []resize.Target{{Size: size(f, "20x20")}, {Size: size(f, "x33"), Format: "webp"}, {Size: size(f, "7x"), Format: "gif"}}
	var one sync.Mutex
	f.Fuzz(func(t *testing.T, format byte, src []byte) {
		if len(src) == 0 {
			return
		}
		one.Lock()
		defer one.Unlock()
		_, err := p.Resize(context.Background(), bytes.NewReader(src), int64(len(src)), resize.Job{Format: formats[format%4], Targets: targets})
		if _, ok := errors.AsType[*resize.ImageError](err); err != nil && !ok {
			t.Error(err)
		}
	})
}
