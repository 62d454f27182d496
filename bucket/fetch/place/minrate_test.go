package place

import (
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What comes at a byte a second loses its place after one interval; what comes at the
// least rate, or waits for us, does not.
func TestMinRate(t *testing.T) {
	const interval = 5 * time.Second
	for name, tt := range map[string]struct {
		bytes int // each second
		busy  time.Duration
		kept  bool
	}{
		"a byte a second":   {1, 0, false},
		"too slow":          {MinRate - 100, 0, false},
		"just fast enough":  {MinRate * 5 / 4, 0, true}, // four of five come before the look
		"while we are busy": {MinRate, time.Hour, true},
		"nothing at all":    {0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := io.Pipe()
				given := false
				p := NewBody(r, interval, func() { given = true; r.CloseWithError(ErrTooSlow) })
				var writer sync.WaitGroup
				writer.Go(func() {
					for range 60 {
						time.Sleep(time.Second)
						if tt.bytes > 0 {
							if _, err := w.Write(make([]byte, tt.bytes)); err != nil {
								return
							}
						}
					}
					w.Close()
				})
				began := time.Now()
				buffer := make([]byte, 32<<10)
				for {
					if _, err := p.Read(buffer); err != nil {
						break
					}
					time.Sleep(tt.busy)
				}
				p.Stop()
				if given == tt.kept {
					t.Errorf("given up: %v", given)
				}
				if took := time.Since(began); !tt.kept && took > 2*interval {
					t.Errorf("after %v", took)
				}
				r.Close()
				writer.Wait()
			})
		})
	}
}
