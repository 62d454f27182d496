package probe_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/probetest"
)

// A verdict is all that a Scanner says of an image.
type verdict struct {
	info  probe.Info
	known bool
	err   string
	taken int // bytes that Write accepted
}

// feed writes data in pieces, of which size names the next length.
func feed(data []byte, l probe.Limits, size func() int) verdict {
	s := probe.NewScanner(l)
	taken := 0
	for len(data) > 0 {
		n, err := s.Write(data[:min(size(), len(data))])
		taken += n
		data = data[n:]
		if err != nil {
			break
		}
	}
	info, err := s.Close()
	v := verdict{info: info, taken: taken}
	_, v.known = s.Info()
	if err != nil {
		v.err = err.Error()
	}
	return v
}

func whole() int { return 1 << 30 }

// long is the number of a test's cases: in full, or by -short.
func long(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}

// tried tells whether the i-th byte of n is one for a test: each of them, or by
// -short the first 100, the last 20, and every seventh, so that all bits have their
// turn.
func tried(i, n int) bool { return !testing.Short() || i < 100 || i >= n-20 || i%7 == 0 }

// splits feeds data in several ways, all of which must say the same.
func splits(t *testing.T, data []byte, l probe.Limits) {
	t.Helper()
	want := feed(data, l, whole)
	for n := 1; n <= 40; n++ {
		if testing.Short() && !slices.Contains([]int{1, 2, 3, 5, 8, 40}, n) {
			continue
		}
		if got := feed(data, l, func() int { return n }); got != want {
			t.Fatalf("in pieces of %d: %+v; whole: %+v", n, got, want)
		}
	}
	for seed := range uint64(long(10, 2)) {
		r := rand.New(rand.NewPCG(seed, 0))
		if got := feed(data, l, func() int { return r.IntN(20) }); got != want {
			t.Fatalf("in random pieces (seed %d): %+v; whole: %+v", seed, got, want)
		}
	}
}

func TestScannerSplits(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			splits(t, s.data, probe.Limits{})
			splits(t, s.data, probe.Limits{MaxPixels: 10})
			splits(t, s.data[:len(s.data)/2], probe.Limits{})
		})
	}
}

// A download that was cut off is never complete, wherever it was cut: what is
// stored is stored for good.
func TestScannerTruncation(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			end := len(s.data) - s.trailing
			check(t, nil, probe.Limits{}, probe.ErrType)
			for n := 1; n < end; n++ {
				if !tried(n, end) {
					continue
				}
				check(t, s.data[:n], probe.Limits{}, probe.ErrTruncated)
			}
			scanner := probe.NewScanner(probe.Limits{})
			for n := range s.data {
				if at, known := scanner.End(); known && (n < end || at != int64(end)) {
					t.Fatalf("after %d bytes it ends at %d, not at %d", n, at, end)
				}
				if _, err := scanner.Write(s.data[n : n+1]); err != nil {
					t.Fatal(err)
				}
			}
			if at, known := scanner.End(); known != (s.info.Format != probe.TIFF && !scanner.Endless()) || known && at != int64(end) {
				t.Errorf("it ends at %d (%v), not at %d", at, known, end)
			}
			for n := end; n <= len(s.data); n++ {
				if info, err := probe.Read(bytes.NewReader(s.data[:n]), probe.Limits{}); err != nil || info != s.info {
					t.Errorf("cut behind its end, at %d of %d: %+v, %v; want %+v", n, len(s.data), info, err, s.info)
				}
			}
		})
	}
}

// The dimensions are known, and a bomb is refused, at the first byte that says
// so.
func TestScannerEarly(t *testing.T) {
	for _, s := range samples(t) {
		if s.known == 0 {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			scanner := probe.NewScanner(probe.Limits{})
			for i := range s.known {
				if info, ok := scanner.Info(); ok {
					t.Fatalf("after %d bytes, not %d: %+v", i, s.known, info)
				}
				if _, err := scanner.Write(s.data[i : i+1]); err != nil {
					t.Fatal(err)
				}
			}
			info, ok := scanner.Info()
			if !ok || info.Format != s.info.Format || info.Width != s.info.Width || info.Height != s.info.Height {
				t.Errorf("after %d bytes: %+v, %v; want the dimensions of %+v", s.known, info, ok, s.info)
			}
			if info.Orientation < 1 || info.Frames < 1 {
				t.Errorf("after %d bytes: %+v", s.known, info)
			}

			scanner = probe.NewScanner(probe.Limits{MaxPixels: -1})
			n, err := scanner.Write(s.data)
			if !errors.Is(err, probe.ErrPixels) || n > s.known {
				t.Errorf("refused after %d bytes with %v; want %v after at most %d", n, err, probe.ErrPixels, s.known)
			}
		})
	}
}

// A GIF is refused for its screen before its first frame is there.
func TestScannerEarlyGIF(t *testing.T) {
	s := probe.NewScanner(probe.Limits{MaxSide: 1000})
	if n, err := s.Write(screen(1001, 1)); n != 13 || !errors.Is(err, probe.ErrPixels) {
		t.Errorf("refused after %d bytes with %v; want %v after 13", n, err, probe.ErrPixels)
	}
}

func TestScannerType(t *testing.T) {
	for name, data := range map[string]string{
		"empty":              "",
		"html":               "<!DOCTYPE html><html><body>Just a moment...</body></html>",
		"html in upper case": "<HTML>",
		"svg":                `<svg xmlns="http://www.w3.org/2000/svg"/>`,
		"svg behind xml":     `<?xml version="1.0"?><svg/>`,
		"svg behind a space": " \n<svg/>",
		"svg behind a bom":   "\xEF\xBB\xBF<svg/>",
		"svg in utf-16":      "\xFF\xFE<\x00s\x00v\x00g\x00",
		"svg in gzip":        "\x1F\x8B\x08\x00\x00\x00\x00\x00",
		"pdf":                "%PDF-1.7\n",
		"postscript":         "%!PS-Adobe",
		"bigtiff, little":    "II+\x00\x08\x00\x00\x00",
		"bigtiff, big":       "MM\x00+\x00\x08\x00\x00",
		"tiff of panasonic":  "IIU\x00\x18\x00\x00\x00",
		"heif of no kind":    "\x00\x00\x00\x14ftypmif1\x00\x00\x00\x00miaf",
		"heif in sequence":   "\x00\x00\x00\x14ftyphevc\x00\x00\x00\x00heic",
		"jpeg 2000":          "\xFF\x4F\xFF\x51",
		"bmp of nobody":      "BM\x46\x00\x00\x00\x00\x00\x00\x00\x1A\x00\x00\x00\x0D\x00\x00\x00",
		"bmw":                "BMW of 1972, in red",
		"ico":                "\x00\x00\x01\x00",
		"ppm":                "P6\n1 1\n255\n",
		"pfm":                "PF\n1 1\n-1\n",
		"libvips' own":       "\x08\xF2\xA6\xB6",
		"libvips' own, big":  "\xB6\xA6\xF2\x08",
		"radiance":           "#?RADIANCE\n",
		"fits":               "SIMPLE  =",
		"openexr":            "\x76\x2F\x31\x01",
		"matlab":             "MATLAB 5.0",
		"mp4":                "\x00\x00\x00\x14ftypisom\x00\x00\x00\x00mp42",
		"ftyp of nothing":    "\x00\x00\x00\x08ftyp",
		"ftyp of half brand": "\x00\x00\x00\x12ftypavif\x00\x00\x00\x00av",
		"zip":                "PK\x03\x04",
		"json":               `{"error":"not found"}`,
		"javascript":         "GIF=1//",
		"php":                "<?php",
		"text":               "Not Found",
		"zeroes":             "\x00\x00\x00\x00\x00",
		"wave":               "RIFF\x24\x00\x00\x00WAVEfmt ",
		"avi":                "RIFF\x24\x00\x00\x00AVI LIST",
		"big-endian riff":    "RIFX\x24\x00\x00\x00WEBP",
		"gif 88":             "GIF88a\x01\x00\x01\x00",
		"gif in lower case":  "gif89a\x01\x00\x01\x00",
		"png through ascii":  "\x89PNG\n\x1A\n\x00",
		"png without parity": "\x09PNG\r\n\x1A\n",
		"mng":                "\x8AMNG\r\n\x1A\n",
		"jng":                "\x8BJNG\r\n\x1A\n",
		"jpeg, no marker":    "\xFF\xD8\x00",
		"jpeg, late":         "\n\xFF\xD8\xFF",
		"gif, late":          " GIF89a",
	} {
		t.Run(name, func(t *testing.T) {
			check(t, []byte(data), probe.Limits{}, probe.ErrType)
			splits(t, []byte(data), probe.Limits{})
		})
	}
}

// What is no image is refused at its first wrong byte.
func TestScannerTypeEarly(t *testing.T) {
	for data, want := range map[string]int{"<html>": 1, "GIF88a": 5, "RIFF1234WAVE": 10, "\xFF\xD8\x00": 3} {
		s := probe.NewScanner(probe.Limits{})
		if n, err := s.Write([]byte(data)); n != want || !errors.Is(err, probe.ErrType) {
			t.Errorf("%q: refused after %d bytes with %v; want %v after %d", data, n, err, probe.ErrType, want)
		}
	}
}

func TestScannerVerdictStays(t *testing.T) {
	s := probe.NewScanner(probe.Limits{})
	_, first := s.Write([]byte("<svg>"))
	n, second := s.Write(pngFile())
	_, third := s.Close()
	_, fourth := s.Close()
	if n != 0 || first == nil || second != first || third != first || fourth != first {
		t.Errorf("verdicts %v, %v (%d bytes), %v, %v; want one", first, second, n, third, fourth)
	}
}

func TestScannerClosed(t *testing.T) {
	for name, data := range map[string][]byte{"complete": pngFile(), "cut off": pngFile()[:50]} {
		s := probe.NewScanner(probe.Limits{})
		if _, err := s.Write(data); err != nil {
			t.Fatal(err)
		}
		info, verdict := s.Close()
		if n, err := s.Write([]byte("more")); n != 0 || err == nil {
			t.Errorf("%s: Write behind Close returned %d, %v; want an error", name, n, err)
		}
		if again, err := s.Close(); again != info || err != verdict {
			t.Errorf("%s: the second Close said %+v, %v; the first %+v, %v", name, again, err, info, verdict)
		}
	}
}

// Errors say what is wrong and where.
func TestScannerErrors(t *testing.T) {
	for want, data := range map[string][]byte{
		`not an accepted image type: it is empty`:                                                           nil,
		`not an accepted image type: no image begins with "GIF88"`:                                          []byte("GIF88a"),
		`truncated image: it ends after 3 bytes, too few to tell its type`:                                  []byte("GIF"),
		`truncated image: jpeg ends after 20 bytes, without an EOI marker`:                                  jpegFile()[:20],
		`truncated image: png ends after 40 bytes, without an IEND chunk`:                                   pngFile()[:40],
		`truncated image: gif ends after 20 bytes, without a trailer`:                                       append(screen(1, 1)[:19], 0),
		`truncated image: webp ends after 32 of the 40 bytes that its RIFF header announces`:                webp(vp8x(0, 1, 1), riff("junk", []byte("12")))[:32],
		`broken image: png, byte 33: no chunk type has the letters "\x00\x00\x00\x00"`:                      join([]byte(pngSignature), ihdr(1, 1, 8, 2), make([]byte, 8)),
		`broken image: gif, byte 25: no block begins with 0x01`:                                             append(screen(1, 1), 1),
		`not an accepted image type: jpeg, byte 3: lossless JPEG (marker 0xC3), which browsers do not show`: join(soi, sof(0xC3, 1, 1, 1)),
		`broken image: jpeg, byte 18: the reserved marker 0x02`:                                             join(soi, segment(0xFE, make([]byte, 10)), []byte{1, 0xFF, 2}),
		`broken image: jpeg, byte 6: 10 bits a sample`:                                                      join(soi, segment(0xC0, []byte{10, 0, 11, 0, 17, 1})),
		`broken image: jpeg, byte 4: segment 0xDB with a length of 1, less than 2`:                          join(soi, []byte{0xFF, 0xDB, 0, 1}),
		`broken image: png, byte 16: compression 1, filter 2, interlace 3`:                                  join([]byte(pngSignature), chunk("IHDR", be32(1), be32(1), []byte{8, 2, 1, 2, 3})),
	} {
		if _, err := probe.Read(bytes.NewReader(data), probe.Limits{}); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	_, err := probe.Read(bytes.NewReader(pngFile()), probe.Limits{MaxPixels: 186})
	if want := "too many pixels: png of 17 x 11 has 187 pixels, 186 are allowed"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	_, err = probe.Read(bytes.NewReader(pngFile()), probe.Limits{Formats: []probe.Format{probe.GIF}})
	if want := "not an accepted image type: it is png, which is not allowed here"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// An error that shows bytes of the image keeps to one line without control
// characters, since it is going to be logged.
func TestScannerErrorsAreOneLine(t *testing.T) {
	for _, data := range []string{
		"\x89PN\n", "GIF8\x1B", pngSignature + "\x00\x00\x00\x00I\nHD", pngSignature + "\x00\x00\x00\x00\x1B[2J",
		"RIFF\x20\x00\x00\x00WEBP\x1B[2J\x00\x00\x00\x00", "RIFF\x20\x00\x00\x00WEBPVP8 \x0A\x00\x00\x00\x1B\n\x1B\n\x1B\n\x1B\n\x1B\n",
	} {
		_, err := probe.Read(strings.NewReader(data), probe.Limits{})
		if err == nil || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q: %q", data, err)
		}
	}
}

// Memory does not grow with the image: one allocation, of this size, for any.
func TestScannerMemory(t *testing.T) {
	if n := unsafe.Sizeof(probe.Scanner{}); n > 768 {
		t.Errorf("a Scanner has %d bytes", n)
	}
	large := make([]byte, 1<<20)
	still := slices.DeleteFunc(samples(t), func(s sample) bool { return s.info.Format == probe.AVIF || s.info.Format == probe.HEIC }) // see TestHeldInMemory
	for _, s := range append(still,
		sample{name: "1 MB of EXIF", data: pngFile(chunk("eXIf", oriented(6), large))},
		sample{name: "10,000 chunks", data: pngFile(bytes.Repeat(chunk("tEXt"), 10_000))},
		sample{name: "10,000 segments", data: jpegFile(bytes.Repeat(segment(0xFE), 10_000))},
		sample{name: "10,000 frames", data: join(screen(1, 1), bytes.Repeat(gifImage(0, 0, 1, 1), 10_000), []byte(gifTrailer))},
	) {
		n := testing.AllocsPerRun(5, func() {
			scanner := probe.NewScanner(probe.Limits{})
			if _, err := scanner.Write(s.data); err != nil {
				t.Fatal(s.name, err)
			}
			if _, err := scanner.Close(); err != nil {
				t.Fatal(s.name, err)
			}
		})
		want := 1.0
		if s.info.Format == probe.JXL {
			want = 2 // the other one has its header
		}
		if n > want {
			t.Errorf("%s: %v allocations, want %v", s.name, n, want)
		}
	}
}

// Of an AVIF the table of contents is held in memory, and what it says: some times
// its own length, and never anything of the data.
func TestHeldInMemory(t *testing.T) {
	for _, c := range probetest.Corpus() {
		if c.Format != probe.AVIF && c.Format != probe.HEIC {
			continue
		}
		data := join(c.Data, make([]byte, 8<<20))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		scanner := probe.NewScanner(probe.Limits{})
		for piece := range slices.Chunk(data, 1000) {
			if _, err := scanner.Write(piece); err != nil {
				break
			}
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 20*64<<10 {
			t.Errorf("%s: %d bytes", c.Name, n)
		}
	}
}

// Thousands of damaged images: each gets a verdict, the same for every split,
// and one that passes makes sense.
func TestScannerDamage(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			data := bytes.Clone(s.data)
			for i, b := range s.data {
				if !tried(i, len(s.data)) {
					continue
				}
				for _, damaged := range []byte{b ^ 1<<(i%8), 0x00, 0xFF} {
					data[i] = damaged
					sane(t, data)
				}
				data[i] = b
			}
		})
	}
}

// sane checks what must hold for any bytes.
func sane(t *testing.T, data []byte) {
	t.Helper()
	scanner := probe.NewScanner(probe.Limits{})
	n, writeErr := scanner.Write(data)
	info, err := scanner.Close()
	if c := probe.ColourOf(data); c.Primaries < 0 || c.Primaries > 1<<16 || c.Transfer < 0 || c.Transfer > 1<<16 || !(c.Peak >= 0) {
		t.Errorf("colours %+v", c)
	}
	wrapped := 0
	for _, v := range verdicts {
		if errors.Is(err, v) {
			wrapped++
		}
	}
	switch {
	case err == nil && wrapped != 0, err != nil && wrapped != 1:
		t.Errorf("%q: %d verdicts in %v", data, wrapped, err)
	case writeErr != nil && writeErr != err:
		t.Errorf("%q: Write said %v, Close %v", data, writeErr, err)
	case n > len(data), writeErr == nil && n != len(data):
		t.Errorf("%q: %d of %d bytes taken", data, n, len(data))
	case info.Orientation < 1, info.Orientation > 8, info.Frames < 1, info.Width < 0, info.Height < 0:
		t.Errorf("%q: %+v", data, info)
	case err == nil && (info.Format == probe.Unknown || info.Width < 1 || info.Height < 1):
		t.Errorf("%q: complete with %+v", data, info)
	}
	one := feed(data, probe.Limits{}, func() int { return 1 })
	if all := feed(data, probe.Limits{}, whole); one != all {
		t.Errorf("%q: byte by byte %+v; whole %+v", data, one, all)
	}
}
