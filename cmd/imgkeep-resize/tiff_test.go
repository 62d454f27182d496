package main

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"log/slog"
	"strings"
	"testing"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/probetest"
	"imgkeep/resize"
)

// What has no colours stays gray, whatever it is coded in.
func TestGrayTIFF(t *testing.T) {
	p := newPool(t, resize.Options{})
	for file, want := range map[string][4]uint8{
		"gray.tiff": {124, 218, 89, 250}, // as `vips getpoint` has them
		"four.tiff": {7 * 17, 13 * 17, 5 * 17, 15 * 17},
		"bit.tiff":  {0, 255, 0, 255},
	} {
		r := one(t, p, "tiff", testdata(t, file), resize.Target{Size: huge, Format: "png"})
		m := pixels(t, p, r)
		if _, gray := m.(*image.Gray); !gray {
			t.Errorf("%s became a %T", file, m)
		}
		for i, got := range quarters(m) {
			if v := want[i]; !near(got, color.NRGBA{v, v, v, 255}, 12) {
				t.Errorf("%s: quarter %d is %v, want %d", file, i, got, v)
			}
		}
	}
}

// Four inks without a profile are what is left if each swallows all of its colour.
func TestCMYKTIFF(t *testing.T) {
	p := newPool(t, resize.Options{})
	r := one(t, p, "tiff", testdata(t, "cmyk.tiff"), resize.Target{Size: huge, Format: "png"})
	checkQuarters(t, "cmyk.tiff", pixels(t, p, r), [4]color.NRGBA{{255, 17, 11, 255}, {195, 255, 0, 255}, {32, 41, 255, 255}, {251, 255, 14, 255}})
}

// A TIFF that is cut off is refused, or what is cut off is no part of the picture:
// none is ever made with a part that is missing. Here nobody has looked at it before.
func TestTIFFCuts(t *testing.T) {
	p := newPool(t, resize.Options{})
	made := func(data []byte) []byte {
		results, err := p.Resize(t.Context(), bytes.NewReader(data), int64(len(data)),
			resize.Job{Format: "tiff", Targets: []resize.Target{{Size: huge, Format: "png"}}})
		if _, refused := errors.AsType[*resize.ImageError](err); err != nil && !refused {
			t.Error(err)
		}
		if err != nil {
			return nil
		}
		return results[0].Data
	}
	cases := 0
	for _, c := range probetest.Corpus() {
		if c.Format != probe.TIFF || c.Size != probetest.Made || len(c.Data) > 30_000 {
			continue
		}
		cases++
		whole := made(c.Data)
		for i := range 15 {
			n := len(c.Data) * (i + 1) / 16
			if part := made(c.Data[:n]); part != nil && !bytes.Equal(part, whole) {
				t.Errorf("%s cut to %d of %d bytes: another picture is made", c.Name, n, len(c.Data))
			}
			info, err := probe.Read(bytes.NewReader(c.Data[:n]), probetest.Limits)
			if c.Want == nil && err != nil && !errors.Is(err, probe.ErrTruncated) {
				t.Errorf("%s cut to %d of %d bytes: probe says %+v, %v", c.Name, n, len(c.Data), info, err)
			}
		}
	}
	if cases < 40 {
		t.Errorf("%d cases", cases)
	}
}

// libtiff has much to say of strange fields. Of none of it is a line in the log.
func TestTIFFWarnings(t *testing.T) {
	var log bytes.Buffer
	p := newPool(t, resize.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for _, c := range probetest.Corpus() {
		if c.Format == probe.TIFF && len(c.Data) < 30_000 {
			_, _ = p.Resize(t.Context(), bytes.NewReader(c.Data), int64(len(c.Data)),
				resize.Job{Format: "tiff", Targets: []resize.Target{{Size: size(t, "10x10")}}})
		}
	}
	if strings.Contains(log.String(), "printed") {
		t.Error(log.String())
	}
}
