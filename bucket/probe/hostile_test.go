package probe_test

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/probetest"
)

// The corpus that the decoder and the whole server are attacked with, too. Here:
// the verdict, for any split, with memory that does not grow.
func TestHostile(t *testing.T) {
	names := map[string]bool{}
	for _, c := range probetest.Corpus() {
		t.Run(c.Name, func(t *testing.T) {
			if names[c.Name] {
				t.Error("two cases have this name")
			}
			names[c.Name] = true
			check(t, c.Data, probetest.Limits, c.Want)
			var info probe.Info
			var err error
			n := testing.AllocsPerRun(1, func() { info, err = probe.Read(bytes.NewReader(c.Data), probetest.Limits) })
			most := 30.0 // of which most are the text of the error
			if c.Format == probe.AVIF || c.Format == probe.HEIC {
				most += float64(min(len(c.Data), 64<<10)) / 8 // the items of its table
			}
			if n > most {
				t.Errorf("%v allocations", n)
			}
			if info.Format != c.Format {
				t.Errorf("recognised as %v, want %v (%v)", info.Format, c.Format, err)
			}
			if len(c.Data) < 20_000 {
				splits(t, c.Data, probetest.Limits)
			}
		})
	}
	if len(names) < 200 {
		t.Errorf("%d cases", len(names))
	}
}

// A beginning of a hostile file gets the same verdict as the whole, or is cut
// off. It passes only where the whole does: behind the end of the image.
func TestHostileCuts(t *testing.T) {
	for _, c := range probetest.Corpus() {
		t.Run(c.Name, func(t *testing.T) {
			whole, _ := probe.Read(bytes.NewReader(c.Data), probetest.Limits)
			cuts := long(200, 40)
			if len(c.Data) > 100_000 {
				cuts = 10
			}
			for n, part := range probetest.Cuts(c.Data, cuts) {
				info, err := probe.Read(bytes.NewReader(part), probetest.Limits)
				switch {
				case n == 0 && errors.Is(err, probe.ErrType):
				case errors.Is(err, probe.ErrTruncated):
				case err == nil && c.Want == nil && info == whole:
				case err != nil && c.Want != nil && errors.Is(err, c.Want):
				default:
					t.Errorf("%d of %d bytes: %+v, %v; the whole: %+v, %v", n, len(c.Data), info, err, whole, c.Want)
				}
			}
		})
	}
}

// Images with flipped bits, thousands of them: each gets one verdict, the same for
// every split.
func TestHostileFlips(t *testing.T) {
	for _, c := range probetest.Good() {
		t.Run(c.Name, func(t *testing.T) {
			check(t, c.Data, probetest.Limits, nil)
			passed, copies := 0, long(2000, 300)
			for i, data := range probetest.Flips(c.Data, copies, 1) {
				sane(t, data)
				if _, err := probe.Read(bytes.NewReader(data), probetest.Limits); err == nil {
					passed++
				}
				if t.Failed() {
					t.Fatalf("copy %d", i)
				}
			}
			// Else the copies are not what a decoder would get to see.
			if passed == 0 || passed == copies {
				t.Errorf("%d of %d copies pass", passed, copies)
			}
		})
	}
}

// The whole corpus costs no memory to speak of.
func TestHostileMemory(t *testing.T) {
	corpus := probetest.Corpus()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, c := range corpus {
		s := probe.NewScanner(probetest.Limits)
		_, _ = s.Write(c.Data)
		_, _ = s.Close()
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(len(corpus))*4096 {
		t.Errorf("%d bytes for %d images", n, len(corpus))
	}
}
