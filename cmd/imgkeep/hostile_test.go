package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/probetest"
	"imgkeep/bucket/probe/whole"
)

// What server and decoder may have resident at their peak, in kB, whatever they
// are sent.
const (
	peakServer  = 64 << 10
	peakDecoder = 448 << 10
)

// allFormats are the formats that a configuration may name.
var allFormats = func() (names []string) {
	for _, f := range probe.Formats() {
		names = append(names, f.String())
	}
	return names
}()

// A viewer gets the corpus that package probe and the decoder get, through a real
// origin and the whole server: under the default limits each file has its status,
// what is refused leaves nothing, and no process falls or grows over it.
func TestHostileImages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"resize.max_images": 100_000, "formats": allFormats})
	s := w.start()
	before := w.processes()
	kept := map[string]bool{}
	cases := probetest.Corpus()
	for i, c := range cases {
		if c.Slow() && testing.Short() {
			continue // the decoder's own test has them
		}
		if errors.Is(c.Want, probe.ErrTruncated) {
			c.Want = verdict(c.Data)
		}
		path := "/pictures/" + c.Name + ".jpg" // whatever it is
		url := w.origin.serve(path, c.Data)
		s.attack(c, url)
		if n := w.origin.count(path); c.Want == nil && n != 1 {
			t.Errorf("%s was asked for %d times", c.Name, n)
		}
		if c.Want == nil {
			kept[digest(without(c.Data))] = true
		}
		if i%50 == 0 || i == len(cases)-1 { // it reads thousands of folders
			s.checkStored(c.Name, kept)
		}
	}
	if after := w.processes(); !maps.Equal(before, after) {
		t.Errorf("processes %v before, %v after", before, after)
	}
	s.checkPeaks()
	good := photo(t, 40, 30)
	s.get(link("i", "full", w.origin.serve("/pictures/good", good))).isBytes("image/jpeg", good)
	s.get(link("i", "20x20", w.origin.url("/pictures/good"))).isImage("image/jpeg")
	s.stop()
}

// Images with flipped bits, and cut off: what is stored is what package probe
// lets through, byte for byte, and there is an answer to everything.
func TestHostileDamage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"resize.max_images": 100_000, "formats": allFormats})
	s := w.start()
	before := w.processes()
	kept := map[string]bool{}
	try := func(c probetest.Case, name string, data []byte) {
		c.Want = verdict(data)
		c.Name, c.Data, c.Size = name, bytes.Clone(data), probetest.Either
		s.attack(c, w.origin.serve("/pictures/"+name, c.Data))
		if c.Want == nil {
			kept[digest(without(c.Data))] = true
		}
	}
	for _, c := range probetest.Good() {
		for i, data := range probetest.Flips(c.Data, long(100, 15), 3) {
			try(c, fmt.Sprintf("%s-flipped-%d", c.Name, i), data)
		}
		for n, data := range probetest.Cuts(c.Data, long(10, 2)) {
			if n > 0 { // an empty body is the origin's failure
				try(c, fmt.Sprintf("%s-cut-%d", c.Name, n), data)
			}
		}
		if len(kept) == 0 {
			t.Errorf("%s: nothing passed, so that nothing was tried on the decoder", c.Name)
		}
		s.checkStored(c.Name, kept)
	}
	if after := w.processes(); !maps.Equal(before, after) {
		t.Errorf("processes %v before, %v after", before, after)
	}
	s.checkPeaks()
	s.stop()
}

// long is the number of a test's cases: in full, or by -short.
func long(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}

// verdict is what package probe says of a file whose length the origin announces.
func verdict(data []byte) error {
	info, err := probe.Read(bytes.NewReader(data), probetest.Limits)
	if errors.Is(err, probe.ErrTruncated) {
		return whole.Check(bytes.NewReader(data), int64(len(data)), info)
	}
	return err
}

// attack requests a file in full, without storing it, and in a size, and checks
// the statuses.
func (s *server) attack(c probetest.Case, url string) {
	t := s.w.t
	t.Helper()
	status, code := 0, ""
	switch {
	case c.Want == nil:
		s.get(link("i", "full", url)).isBytes(c.Format.ContentType(), without(c.Data))
		a := s.get(link("i", "10x10", url))
		switch made := a.status == 200; {
		case made && c.Size != probetest.Refused:
			made := probe.WebP
			if slices.Contains(probe.Web(), c.Format) {
				made = c.Format
			}
			a.has("Content-Type", made.ContentType())
			if bytes.Contains(a.body, []byte(probetest.Payload)) {
				t.Errorf("%s: the size has the payload in it", c.Name)
			}
		case made:
			t.Errorf("%s: a size was made", c.Name)
		case c.Size == probetest.Made:
			t.Errorf("%s: no size was made: status %d, %s", c.Name, a.status, a.body)
		case a.status == 413:
			a.isError(413, "too-many-pixels")
		default:
			a.isError(422, "broken")
		}
		return
	case errors.Is(c.Want, probe.ErrType):
		status, code = 415, "type"
	case errors.Is(c.Want, probe.ErrPixels):
		status, code = 413, "too-many-pixels"
	case errors.Is(c.Want, probe.ErrFrames):
		status, code = 413, "too-many-frames"
	default:
		status, code = 422, "broken"
	}
	s.get(proxyLink("i", "full", url)).isError(status, code)
	s.get(link("i", "full", url)).isError(status, code)
	s.get(link("i", "10x10", url)).isError(status, code)
}

// without is a good file without what follows the image, where that is more than the
// 8 KiB that are kept with it.
func without(file []byte) []byte {
	s := probe.NewScanner(probetest.Limits)
	_, _ = s.Write(file)
	if end, known := s.End(); known && int64(len(file)) > end+8<<10 {
		return file[:end]
	}
	return file
}

// checkStored checks that just these originals are stored, and nothing is left of
// any other.
func (s *server) checkStored(about string, kept map[string]bool) {
	t := s.w.t
	t.Helper()
	stored := map[string]bool{}
	for _, name := range s.w.originals("i") {
		name, _, _ = strings.Cut(filepath.Base(name), ".")
		stored[name] = true
	}
	if !maps.Equal(stored, kept) {
		t.Fatalf("after %s: %d originals are stored, want %d", about, len(stored), len(kept))
	}
	if left := s.w.unfinished(); len(left) > 0 {
		t.Errorf("after %s: files are left: %v", about, left)
	}
}

// checkPeaks holds the most memory that each process has had resident against
// what it may have.
func (s *server) checkPeaks() {
	t := s.w.t
	t.Helper()
	for pid, name := range s.w.processes() {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		kb := 0
		for line := range strings.Lines(string(status)) {
			var n int
			if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &n); err == nil {
				kb = n
			}
		}
		limit := peakServer
		if name == "imgkeep-resize" {
			limit = peakDecoder
		}
		t.Logf("the peak of %s is %d kB", name, kb)
		if kb == 0 || kb > limit {
			t.Errorf("the peak of %s is %d kB, over %d", name, kb, limit)
		}
	}
}
