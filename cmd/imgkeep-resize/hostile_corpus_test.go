package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/probetest"
	"imgkeep/resize"
)

// What a decoder may take at its peak, in kB. Of what package probe would not let
// through, the largest are animations: four bytes for each pixel of one frame of
// 49 megapixels. Of the rest, the largest are progressive JPEGs: two bytes for each
// of three coefficients of 49 megapixels.
const (
	peakRefused  = 288 << 10
	peakAccepted = 448 << 10
)

// The decoder gets the corpus that package probe and the whole server get, as if
// nobody had looked at it before. Each file has an answer, the same process
// answers them all (or newPool reports it), and its memory stays bounded.
func TestCorpus(t *testing.T) {
	for _, part := range []struct {
		name     string
		accepted bool
		peak     int
	}{{"refused by probe", false, peakRefused}, {"accepted by probe", true, peakAccepted}} {
		t.Run(part.name, func(t *testing.T) {
			p := newPool(t, resize.Options{MaxImages: 100_000})
			pid, _ := peak(t)
			highest := 0
			for _, c := range probetest.Corpus() {
				if (c.Want == nil) != part.accepted {
					continue
				}
				formats := []string{c.Format.String()}
				if c.Format == probe.Unknown {
					formats = append(p.Formats(), p.Sources()...)
				}
				for _, format := range formats {
					checkOutcome(t, p, c, format)
				}
				now, kb := peak(t)
				if now != pid {
					t.Errorf("%s: another decoder runs", c.Name)
					pid = now
				}
				if kb > highest+1<<10 {
					t.Logf("%s: the peak is %d kB", c.Name, kb)
				}
				if highest = max(highest, kb); kb > part.peak {
					t.Fatalf("%s: the peak is %d kB, over %d", c.Name, kb, part.peak)
				}
			}
		})
	}
}

// checkOutcome has a size made of a case, and holds what comes of it against what
// may.
func checkOutcome(t *testing.T, p *resize.Pool, c probetest.Case, format string) {
	t.Helper()
	results, err := p.Resize(t.Context(), bytes.NewReader(c.Data), int64(len(c.Data)),
		resize.Job{Format: format, Targets: []resize.Target{{Size: size(t, "10x10")}}})
	if _, refused := errors.AsType[*resize.ImageError](err); refused {
		if c.Size == probetest.Made {
			t.Errorf("%s as %s: %v", c.Name, format, err)
		}
		return
	}
	switch {
	case err != nil:
		t.Errorf("%s as %s: %v", c.Name, format, err)
	case c.Size == probetest.Refused:
		t.Errorf("%s as %s: a size was made", c.Name, format)
	case results[0].Width > 10 || results[0].Height > 10 || results[0].Format != resize.Target{}.FormatOf(format):
		t.Errorf("%s as %s: the size is %s of %d x %d", c.Name, format, results[0].Format, results[0].Width, results[0].Height)
	case bytes.Contains(results[0].Data, []byte(probetest.Payload)):
		t.Errorf("%s as %s: the size has the payload in it", c.Name, format)
	}
}

// Thousands of images with flipped bits, and each kind of image cut in many
// places: the decoder answers, and lives.
func TestDamage(t *testing.T) {
	p := newPool(t, resize.Options{Workers: 2, MaxImages: 100_000})
	for _, c := range probetest.Good() {
		checkOutcome(t, p, c, c.Format.String())
		c.Size = probetest.Either
		whole := c
		for i, data := range probetest.Flips(whole.Data, long(500, 60), 2) {
			c.Name, c.Data = fmt.Sprintf("%s, flipped copy %d", whole.Name, i), data
			checkOutcome(t, p, c, c.Format.String())
		}
		for n, data := range probetest.Cuts(whole.Data, long(40, 10)) {
			if n == 0 {
				continue // the pool takes no empty image
			}
			c.Name, c.Data = fmt.Sprintf("%s, cut to %d bytes", whole.Name, n), data
			checkOutcome(t, p, c, c.Format.String())
		}
	}
	// So are the beginnings of what is hostile as a whole.
	for _, whole := range probetest.Corpus() {
		if whole.Format == probe.Unknown || len(whole.Data) > 20_000 {
			continue
		}
		for n, data := range probetest.Cuts(whole.Data, long(6, 1)) {
			if n < 28 {
				continue // not even a header
			}
			c := whole
			c.Name, c.Data, c.Size = fmt.Sprintf("%s, cut to %d bytes", whole.Name, n), data, probetest.Either
			checkOutcome(t, p, c, c.Format.String())
		}
	}
	if _, kb := peak(t); kb > peakRefused {
		t.Errorf("the peak is %d kB", kb)
	}
}

// peak returns this test's decoder that runs (of several that which began first) and the most
// memory that any has had resident, in kB. Other packages' tests run decoders of the same name.
func peak(t *testing.T) (pid string, kb int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	ours := fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())
	var began int
	for _, dir := range all {
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if name, _, _ := bytes.Cut(line, []byte{0}); err != nil || string(name) != decoder {
			continue // others, or ended meanwhile
		}
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil || !bytes.Contains(status, []byte(ours)) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		// The 22nd field, of which 20 come after the name in brackets (proc(5)).
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if at, _ := strconv.Atoi(fields[19]); pid == "" || at < began {
			pid, began = filepath.Base(dir), at
		}
		for line := range strings.Lines(string(status)) {
			var n int
			if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &n); err == nil {
				kb = max(kb, n)
			}
		}
	}
	if kb == 0 {
		t.Fatal("no decoder runs")
	}
	return pid, kb
}
