package main

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"image"
	"image/gif"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/resize"
)

// sources are pictures of every kind of loader and encoding, with content that
// reaches to their end.
func sources(t testing.TB, p *resize.Pool) map[string][]byte {
	t.Helper()
	m := noise(200, 150)
	progressive, err := os.ReadFile("testdata/progressive.jpg")
	if err != nil {
		t.Fatal(err)
	}
	interlaced, err := os.ReadFile("testdata/interlaced.png")
	if err != nil {
		t.Fatal(err)
	}
	moving := toGIF(t, animation(120, 80, 5, 0, false))
	return map[string][]byte{
		"jpeg": toJPEG(t, m), "jpeg progressive": progressive,
		"png": toPNG(t, m), "png interlaced": interlaced,
		"gif": toGIF(t, still(m)), "gif animated": moving,
		"webp":          toWebP(t, p, "png", toPNG(t, m)),
		"webp animated": one(t, p, "gif", moving, resize.Target{Size: huge, Format: "webp"}).Data,
		"avif":          testdata(t, "noise.avif"),
		"avif tiles":    testdata(t, "tiles.avif"),
		"bmp":           toBMP(m),
		"heic":          testdata(t, "noise.heic"),
		"heic tiles":    testdata(t, "tiles.heic"),
		"heic clear":    testdata(t, "clear.heic"),
		"tiff":          testdata(t, "noise.tiff"),
		"tiff tiles":    testdata(t, "tiles.tiff"),
		"tiff planes":   testdata(t, "separate.tiff"),
		"avif clear":    testdata(t, "clear.avif"),
		"jxl":           testdata(t, "noise.jxl"),
		"jxl clear":     testdata(t, "clear.jxl"),
		"jxl deep":      testdata(t, "deep.jxl"),
		"jxl of jpeg":   testdata(t, "jpeg.jxl"),
	}
}

// A truncated image is never resized: half a picture, grey below, would be stored for good.
// bimg alone does not notice.
func TestTruncation(t *testing.T) {
	p := newPool(t, resize.Options{})
	for name, src := range sources(t, p) {
		format, _, _ := strings.Cut(name, " ")
		one(t, p, format, src, resize.Target{Size: size(t, "20x20")})
		// The last bytes may hold nothing that is seen: the end of a JPEG, the
		// checksum and IEND of a PNG, the trailer of a GIF.
		for _, percent := range []int{0, 1, 5, 10, 25, 33, 50, 66, 75, 90, 97} {
			n := max(1, len(src)*percent/100)
			if refusal := mustRefuse(t, p, format, src[:n]); refusal.TooLarge {
				t.Errorf("%s cut to %d of %d bytes: %v", name, n, len(src), refusal)
			}
		}
		for n := 1; n < len(src); n = n*2 + 1 {
			mustRefuse(t, p, format, src[:n])
		}
	}
}

// The loader is that of the declared format, whatever the bytes look like; and
// nothing else can be loaded at all.
func TestDeclaredFormatOnly(t *testing.T) {
	p := newPool(t, resize.Options{})
	all := sources(t, p)
	others := map[string]string{
		"svg":  `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>`,
		"pdf":  "%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
		"ppm":  "P3\n1 1\n255\n255 0 0\n",
		"bmp":  "BM\x3a\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x18\x00",
		"tiff": "II*\x00\x08\x00\x00\x00\x00\x00",
		"text": "hello",
		"zero": strings.Repeat("\x00", 4096),
	}
	for _, declared := range append(p.Formats(), extraFormats...) {
		for name, src := range all {
			if format, _, _ := strings.Cut(name, " "); format != declared {
				mustRefuse(t, p, declared, src)
			}
		}
		for _, src := range others {
			mustRefuse(t, p, declared, []byte(src))
		}
	}
}

// A header is believed only so far. None of these files holds the pixels that
// it promises, so the answer shows that they were not asked for.
func TestPixelLimits(t *testing.T) {
	p := newPool(t, resize.Options{MaxPixels: 10_000})
	for _, format := range []string{"jpeg", "png", "gif", "webp"} {
		one(t, p, format, plain(t, p, format, 100, 100), resize.Target{Size: size(t, "20x20")})
	}
	q := newPool(t, resize.Options{})
	for format, src := range map[string][]byte{
		"jpeg": plain(t, q, "jpeg", 101, 100), "png": plain(t, q, "png", 101, 100),
		"gif": plain(t, q, "gif", 101, 100), "webp": plain(t, q, "webp", 101, 100),
	} {
		if refusal := mustRefuse(t, p, format, src); !refusal.TooLarge || !strings.Contains(refusal.Detail, "101 by 100") {
			t.Errorf("%s: %v", format, refusal)
		}
	}
	start := time.Now()
	for format, src := range bombs(t, q) {
		format, _, _ = strings.Cut(format, " ")
		if refusal := mustRefuse(t, q, format, src); !refusal.TooLarge {
			t.Errorf("%s: %v", format, refusal)
		}
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("refusing bombs took %v", d)
	}
}

// bombs are small files that promise large pictures.
func bombs(t testing.TB, p *resize.Pool) map[string][]byte {
	t.Helper()
	giant := func(src []byte, at, bytes int, order binary.ByteOrder, w, h uint32) []byte {
		src = append([]byte{}, src...)
		if bytes == 4 {
			order.PutUint32(src[at:], w)
			order.PutUint32(src[at+4:], h)
		} else {
			order.PutUint16(src[at:], uint16(w))
			order.PutUint16(src[at+2:], uint16(h))
		}
		return src
	}
	jpg := plain(t, p, "jpeg", 16, 16)
	sof := bytes.Index(jpg, []byte{0xff, 0xc0})
	ihdr := append([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", giant(make([]byte, 13), 0, 4, binary.BigEndian, 50000, 50000))...)
	ihdr[8+8+8] = 8
	copy(ihdr[8+8+13:], pngChunk("IHDR", ihdr[16:29])[8+13:])
	png := append(append([]byte{}, ihdr...), plain(t, p, "png", 16, 16)[33:]...)
	ihdr[8+8+12] = 1 // interlaced: libvips would unpack it at once
	copy(ihdr[8+8+13:], pngChunk("IHDR", ihdr[16:29])[8+13:])
	interlaced := append(append([]byte{}, ihdr...), plain(t, p, "png", 16, 16)[33:]...)
	// libvips takes the size of a GIF from its first frame where the screen is
	// large, so both promise the same.
	screen := func(src []byte) []byte {
		src = giant(src, 6, 2, binary.LittleEndian, 65535, 65535)
		return giant(src, bytes.IndexByte(src[13:], 0x2c)+13+5, 2, binary.LittleEndian, 65535, 65535)
	}
	noColours := still(image.NewGray(image.Rect(0, 0, 16, 16)))
	return map[string][]byte{
		"jpeg":           giant(jpg, sof+5, 2, binary.BigEndian, 65500, 65500),
		"png":            png,
		"png interlaced": interlaced,
		"gif":            screen(toGIF(t, noColours)),
		"gif animated":   screen(toGIF(t, animation(16, 16, 2, 0, false))),
		// 14 bits for each side, in the key frame (RFC 6386, 9.1).
		"webp": giant(toWebP(t, p, "jpeg", plain(t, p, "jpeg", 16, 16)), 12+8+6, 2, binary.LittleEndian, 16383, 16383),
	}
}

// Tens of thousands of tiny frames in a few MB: each costs more than its
// pixels. Where the budget allows, all of them stay.
func TestManyFrames(t *testing.T) {
	base := animation(8, 8, 2, 0, false)
	of := func(n int) []byte {
		g := &gif.GIF{}
		for i := range n {
			g.Image, g.Delay = append(g.Image, base.Image[i%2]), append(g.Delay, 5+i%2)
		}
		return toGIF(t, g)
	}
	two, four := of(2), of(4)
	twice := func(n int) []byte { // what these two have between them is two frames
		frames := bytes.Repeat(four[len(two)-1:len(four)-1], n/2-1)
		return slices.Concat(two[:len(two)-1], frames, []byte(";"))
	}
	target := resize.Target{Size: size(t, "4x4")}
	p := newPool(t, resize.Options{AnimationPixels: 100 * 16_384})
	for _, c := range []struct {
		src  []byte
		want int
	}{{of(100), 100}, {twice(100), 100}, {of(101), 1}, {twice(40_000), 1}} {
		if r := one(t, p, "gif", c.src, target); r.Frames != c.want {
			t.Errorf("of a GIF of %d bytes %d frames were kept, want %d", len(c.src), r.Frames, c.want)
		}
	}
	p = newPool(t, resize.Options{AnimationPixels: 1 << 40})
	if r := one(t, p, "gif", twice(5000), target); r.Frames != 5000 {
		t.Errorf("of 5000 frames %d were kept", r.Frames)
	}
}

// A side that the format asked for cannot have is the image's fault, not the
// decoder's.
func TestSidesOfFormats(t *testing.T) {
	p := newPool(t, resize.Options{})
	for _, c := range []struct {
		format string
		most   int
	}{{"webp", 16383}, {"gif", 65535}, {"jpeg", 65500}} {
		for _, width := range []int{c.most, c.most + 1} {
			src := toPNG(t, image.NewGray(image.Rect(0, 0, width, 2)))
			_, err := p.Resize(t.Context(), bytes.NewReader(src), int64(len(src)),
				resize.Job{Format: "png", Targets: []resize.Target{{Size: huge, Format: c.format}}})
			if (err == nil) != (width <= c.most) || err != nil && !strings.Contains(err.Error(), "too many for "+c.format) {
				t.Errorf("%s of %d pixels: %v", c.format, width, err)
			}
		}
	}
}

// Flipped bits in each kind of image: any answer will do, but there is one, and
// the decoder lives.
func TestFlippedBits(t *testing.T) {
	p := newPool(t, resize.Options{Workers: 2})
	for name, src := range sources(t, p) {
		format, _, _ := strings.Cut(name, " ")
		state := uint32(len(src))
		for range long(150, 30) {
			b := append([]byte{}, src...)
			for range 3 {
				state = state*1664525 + 1013904223
				// Mostly in the header, where it matters.
				at := int(state>>8) % len(b)
				if state%3 > 0 {
					at %= min(len(b), 600)
				}
				b[at] ^= 1 << (state >> 5 % 8)
			}
			_, err := p.Resize(t.Context(), bytes.NewReader(b), int64(len(b)),
				resize.Job{Format: format, Targets: []resize.Target{{Size: size(t, "20x20")}, {Size: size(t, "x30")}}})
			if err != nil && !strings.Contains(err.Error(), "resize: broken image") && !strings.Contains(err.Error(), "resize: image too large") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Random bytes on its input, instead of requests: the program says what is
// wrong and ends, in no time.
func TestRandomInput(t *testing.T) {
	for seed := range 20 {
		junk := noise(64, 64).Pix[seed*100:]
		if seed%2 == 1 {
			// A plausible length in front.
			junk = append(binary.BigEndian.AppendUint32(nil, uint32(40+seed)), junk...)
		}
		cmd := exec.Command(decoder)
		cmd.Stdin = bytes.NewReader(junk)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 || !strings.HasPrefix(stderr.String(), "imgkeep-resize: resize: read request") {
			t.Errorf("seed %d: %v, %q", seed, err, stderr.String())
		}
	}
}

// libvips unpacks large pictures into temporary files, unless it is told not
// to, and reads them from top to bottom only. Here it could not make one.
func TestNoTemporaryFile(t *testing.T) {
	p := newPool(t, resize.Options{Env: []string{"TMPDIR=/nonexistent"}})
	for _, interlaced := range []bool{false, true} {
		if r := one(t, p, "png", large(t, interlaced), resize.Target{Size: size(t, "20x20")}); r.Width != 20 {
			t.Errorf("interlaced %v: %+v", interlaced, r)
		}
	}
}

// large is a PNG of 110 MB, when unpacked.
func large(t testing.TB, interlaced bool) []byte {
	t.Helper()
	const side = 3700 // times side, times 8 bytes
	passes := [][4]int{{0, 0, 1, 1}}
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, side), side)
	header = append(header, 16, 6, 0, 0, 0) // 16 bits, colour and alpha
	if interlaced {
		header[12] = 1 // Adam7
		passes = [][4]int{{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}}
	}
	n := 0
	for _, pass := range passes {
		w, h := (side-pass[0]+pass[2]-1)/pass[2], (side-pass[1]+pass[3]-1)/pass[3]
		n += h * (1 + 8*w)
	}
	zeros := func(n int) []byte {
		var b bytes.Buffer
		z, err := flate.NewWriter(&b, flate.BestSpeed)
		if err == nil {
			_, err = z.Write(make([]byte, n))
		}
		if err == nil {
			err = z.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	// A zlib stream (RFC 1950) of the same compressed megabyte over and over. Of its
	// Adler-32 the low half stays 1, and the high half counts the bytes.
	data := slices.Concat([]byte{0x78, 1}, bytes.Repeat(zeros(1<<20), n>>20), zeros(n%(1<<20)), []byte{3, 0})
	data = binary.BigEndian.AppendUint32(data, uint32(n%65521)<<16|1)
	src := append([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", header)...)
	src = append(src, pngChunk("IDAT", data)...)
	return append(src, pngChunk("IEND", nil)...)
}
