package flight

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// A panic fails the flight for all who wait for it, ends what it has begun, and ends neither
// the process nor later flights of the same key.
func TestPanic(t *testing.T) {
	var log bytes.Buffer
	var begun sync.WaitGroup
	g := New(t.Context(), func() (func(), error) { begun.Add(1); return begun.Done, nil }, slog.New(slog.NewTextHandler(&log, nil)))
	for name, do := range map[string]func(func(context.Context) (int, error)) (int, error){
		"do":     func(work func(context.Context) (int, error)) (int, error) { return Do(t.Context(), g, "a", work) },
		"wanted": func(work func(context.Context) (int, error)) (int, error) { return DoWanted(t.Context(), g, "a", work) },
	} {
		let := make(chan struct{})
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				n, err := do(func(context.Context) (int, error) {
					<-let
					return []int{}[len(name)], nil
				})
				if n != 0 || err == nil || !strings.Contains(err.Error(), "panic: runtime error: index out of range") {
					t.Errorf("%s: %d, %v", name, n, err)
				}
			})
		}
		close(let)
		all.Wait()
		if n, err := do(func(context.Context) (int, error) { return 7, nil }); n != 7 || err != nil {
			t.Errorf("%s, again: %d, %v", name, n, err)
		}
	}
	begun.Wait()
	if text := log.String(); !strings.Contains(text, "flight_test.go") {
		t.Errorf("the log does not tell where it happened: %s", text)
	}
}
