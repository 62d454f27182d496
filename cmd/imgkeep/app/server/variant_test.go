package server_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/resize"
)

// What a decoder is asked for: the source's format, the listed size, the
// configured quality.
func TestJob(t *testing.T) {
	s := newSite(t, nil)
	source := toPNG(t, 40, 30)
	url := s.origin.put("cat", source)
	small := toPNG(t, 13, 10)
	s.decoder.answer = func(got []byte, j resize.Job) ([]resize.Result, error) {
		if !bytes.Equal(got, source) {
			t.Errorf("the decoder got %d bytes, not the original", len(got))
		}
		return []resize.Result{result(t, small)}, nil
	}
	w := s.get(s.link("10x20", url))
	if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), small) || w.Header().Get("Content-Type") != "image/png" {
		t.Errorf("status %d, %s, %d bytes", w.Code, w.Header().Get("Content-Type"), w.Body.Len())
	}
	if len(s.decoder.jobs) != 1 {
		t.Fatalf("%d jobs", len(s.decoder.jobs))
	}
	j := s.decoder.jobs[0]
	want := resize.Target{Size: resize.Size{Height: 10, Width: 20}, Quality: 70}
	if j.Format != "png" || len(j.Targets) != 1 || j.Targets[0] != want {
		t.Errorf("job %+v", j)
	}
}

// A decoder has read an attacker's bytes, and they may control it by now. Its results are
// served and stored only if they can be the picture that was asked for.
func TestImpossibleResults(t *testing.T) {
	html := []byte("<html><script>alert(1)</script>")
	jpeg := toJPEG(t, 13, 10)
	r := result(t, jpeg)
	with := func(change func(*resize.Result)) resize.Result {
		c := r
		change(&c)
		return c
	}
	s := newSite(t, nil)
	for name, answer := range map[string][]resize.Result{
		"nothing":                {},
		"two results":            {r, r},
		"no data":                {with(func(r *resize.Result) { r.Data = nil })},
		"HTML":                   {with(func(r *resize.Result) { r.Data = html })},
		"HTML in a comment":      {with(func(r *resize.Result) { r.Data = append([]byte("\xff\xd8"), html...) })},
		"cut off":                {with(func(r *resize.Result) { r.Data = jpeg[:len(jpeg)-2] })},
		"another format":         {result(t, toPNG(t, 13, 10))},
		"another format, hidden": {with(func(r *resize.Result) { r.Data = toPNG(t, 13, 10) })},
		"wrong width":            {with(func(r *resize.Result) { r.Width++ })},
		"wrong height":           {with(func(r *resize.Result) { r.Height-- })},
		"too wide":               {result(t, toJPEG(t, 21, 10))},
		"too high":               {result(t, toJPEG(t, 13, 11))},
		"the original":           {result(t, toJPEG(t, 40, 30))},
		"too small":              {result(t, toJPEG(t, 12, 9))},
		"out of shape":           {result(t, toJPEG(t, 20, 10))},
	} {
		t.Run(name, func(t *testing.T) {
			// The same bytes would be the same image, and made by now.
			url := s.origin.put(name, append(toJPEG(t, 40, 30), name...))
			s.decoder.answer = results(answer...)
			path := s.link("10x20", url)
			s.log.Reset()
			checkError(t, name, s.get(path), 503, "resize-crashed")
			if !strings.Contains(s.log.String(), "level=ERROR") {
				t.Errorf("the operator is not told: %s", s.log)
			}
			s.decoder.answer = results(r)
			checkError(t, name+", at once", s.get(path), 503, "resize-crashed")
			s.clock.add(time.Minute)
			if w := s.get(path); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), jpeg) {
				t.Errorf("afterwards: status %d, %d bytes", w.Code, w.Body.Len())
			}
		})
	}
}

// Where the original looks just as the result does and is not larger, it is sent.
func TestSmallerOriginal(t *testing.T) {
	s := newSite(t, nil)
	for name, test := range map[string]struct {
		source, made []byte
		original     bool // is sent
	}{
		"made is larger":                {toJPEG(t, 9, 9), append(toJPEG(t, 9, 9), "more"...), true},
		"made is as large":              {toJPEG(t, 9, 9), toJPEG(t, 9, 9), true},
		"made is smaller":               {append(toJPEG(t, 9, 9), "more"...), toJPEG(t, 9, 9), false},
		"made is larger, of other size": {toGIF(t, 100, 100, 1), append(toGIF(t, 10, 10, 1), make([]byte, 1000)...), false},
		"made has fewer frames":         {toGIF(t, 9, 9, 3), append(toGIF(t, 9, 9, 1), make([]byte, 1000)...), false},
		"an animated PNG that fits":     {apng(t, 9, 9), toPNG(t, 9, 9), true},
		"an animated PNG that does not": {apng(t, 20, 20), toPNG(t, 10, 10), false},
		"the original is to be turned":  {turned(toJPEG(t, 9, 9)), append(toJPEG(t, 9, 9), make([]byte, 1000)...), false},
	} {
		t.Run(name, func(t *testing.T) {
			// The same bytes would be the same image, and made by now.
			source := append(bytes.Clone(test.source), name...)
			made := append(bytes.Clone(test.made), name...)
			url := s.origin.put(name, source)
			s.decoder.jobs, s.decoder.answer = nil, results(result(t, made))
			want := made
			if test.original {
				want = source
			}
			for range 2 {
				w := s.get(s.link("10x10", url))
				if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), want) {
					t.Errorf("status %d, %d bytes, want %d", w.Code, w.Body.Len(), len(want))
				}
			}
			if n := len(s.decoder.jobs); n != 1 {
				t.Errorf("made %d times, want once", n)
			}
			image, err := s.store.Find("i", url)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Lstat(s.store.Path(image.VariantFile("10x10", image.Format)))
			if err != nil || info.Mode().IsRegular() == test.original {
				t.Errorf("stored: %v, %v", info, err)
			}
		})
	}
}

// apng is a PNG of two frames.
func apng(t testing.TB, width, height int) []byte {
	t.Helper()
	chunk := func(kind string, n int) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(n))
		b = append(append(b, kind...), make([]byte, n)...)
		return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
	}
	still := toPNG(t, width, height)
	const head = 8 + 25
	return slices.Concat(still[:head], chunk("acTL", 8), chunk("fcTL", 26), still[head:len(still)-12], chunk("fcTL", 26), chunk("fdAT", 9), still[len(still)-12:])
}

// turned is a JPEG whose EXIF says that it is to be turned to the right.
func turned(jpeg []byte) []byte {
	const exif = "\xff\xe1\x00\x22Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
	return append(append([]byte("\xff\xd8"), exif...), jpeg[2:]...)
}

// An image that crashes decoders costs its own requests: 503 at first, then 422,
// and its original is served all along.
func TestPoisonImage(t *testing.T) {
	s := newSite(t, nil)
	source := toPNG(t, 40, 30)
	url := s.origin.put("poison", source)
	path := s.link("10x20", url)
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{resize.ErrCrashed, 503, "resize-crashed"}, // whoever killed it
		{fmt.Errorf("%w: %w", resize.ErrTimeout, resize.ErrPoison), 503, "resize-timeout"},
		{nil, 503, "resize-crashed"}, // not tried
	} {
		s.decoder.answer = func([]byte, resize.Job) ([]resize.Result, error) { return nil, c.err }
		w := s.get(path)
		checkError(t, "first", w, c.status, c.code)
		if w.Header().Get("Retry-After") != minute {
			t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
		}
	}
	if n := len(s.decoder.jobs); n != 2 {
		t.Errorf("%d jobs", n)
	}
	s.clock.add(time.Minute)
	s.decoder.answer = func([]byte, resize.Job) ([]resize.Result, error) {
		return nil, fmt.Errorf("%w: %w", resize.ErrCrashed, resize.ErrPoison)
	}
	checkError(t, "second", s.get(path), 422, "undecodable")
	s.decoder.answer = nil
	for _, p := range []string{path, s.link("x10", url)} {
		w := s.get(p)
		checkError(t, "afterwards", w, 422, "undecodable")
		if w.Header().Get("Retry-After") != "" {
			t.Error("it asks to be asked again")
		}
	}
	if w := s.get(s.link("full", url)); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), source) {
		t.Errorf("in full: %d", w.Code)
	}
}
