package whole_test

import (
	"bytes"
	"compress/lzw"
	"compress/zlib"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/marks"
	"imgkeep/bucket/probe/probetest"
	"imgkeep/bucket/probe/whole"
)

// judged is the verdict on a file whose length was announced.
func judged(file []byte) (probe.Info, error) {
	info, err := probe.Read(bytes.NewReader(file), probe.Limits{})
	if errors.Is(err, probe.ErrTruncated) {
		err = whole.Check(bytes.NewReader(file), int64(len(file)), info)
	}
	return info, err
}

// pictures returns what a decoder of the standard library makes of a file.
func pictures(file []byte) ([]*image.NRGBA, error) {
	flat := func(m image.Image) *image.NRGBA {
		n := image.NewNRGBA(m.Bounds())
		draw.Draw(n, n.Rect, m, m.Bounds().Min, draw.Src)
		return n
	}
	switch {
	case bytes.HasPrefix(file, []byte("GIF")):
		// It knows no padding between blocks.
		if padding := make([]byte, 200); bytes.HasSuffix(file, append(padding, marks.Trailer)) {
			file = append(slices.Clip(bytes.TrimRight(file[:len(file)-1], "\x00")), 0, marks.Trailer)
		}
		g, err := gif.DecodeAll(bytes.NewReader(file))
		if err != nil { // the last byte of its data may be 0, too
			g, err = gif.DecodeAll(bytes.NewReader(append(slices.Clip(file[:len(file)-1]), 0, marks.Trailer)))
		}
		if err != nil {
			return nil, err
		}
		var all []*image.NRGBA
		for _, m := range g.Image {
			all = append(all, flat(m))
		}
		return all, nil
	case bytes.HasPrefix(file, soi):
		m, err := jpeg.Decode(bytes.NewReader(file))
		if err != nil {
			return nil, err
		}
		return []*image.NRGBA{flat(m)}, nil
	}
	m, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	return []*image.NRGBA{flat(m)}, nil
}

// endless are images, and how many of their last bytes show nothing.
func endless(t testing.TB) map[string]struct {
	data []byte
	end  int
} {
	t.Helper()
	good := map[string][]byte{}
	for _, c := range probetest.Good() {
		good[c.Name] = c.Data
	}
	gray := image.NewGray(image.Rect(0, 0, 37, 21))
	for i := range gray.Pix {
		gray.Pix[i] = byte(i * i)
	}
	var grayJPEG bytes.Buffer
	if err := jpeg.Encode(&grayJPEG, gray, nil); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, _ = z.Write([]byte{0, 1, 2, 3, 0, 4, 5, 6}) // 2 rows of 3 gray pixels
	_ = z.Close()
	deflated := packed.Bytes()
	fcTL := func(sequence, width, height int) []byte {
		return chunk("fcTL", be32(sequence), be32(width), be32(height), make([]byte, 14))
	}
	apng := join([]byte(marks.PNG), ihdr(3, 2, 8, 0), chunk("acTL", be32(2), be32(0)), fcTL(0, 3, 2), chunk("IDAT", deflated),
		fcTL(1, 3, 2), chunk("fdAT", be32(2), deflated[:9]), chunk("fdAT", be32(3), deflated[9:]), iend)
	return map[string]struct {
		data []byte
		end  int
	}{
		"jpeg":                       {good["jpeg"], 2},
		"jpeg gray":                  {grayJPEG.Bytes(), 2},
		"jpeg progressive":           {file(t, "progressive.jpg"), 2},
		"jpeg progressive, larger":   {file(t, "../../../cmd/imgkeep-resize/testdata/progressive.jpg"), 2},
		"png":                        {good["png"], 12},
		"png interlaced":             {file(t, "../../../cmd/imgkeep-resize/testdata/interlaced.png"), 12},
		"png animated":               {apng, 12},
		"gif":                        {good["gif"], 2}, // trailer, and the last sub-block
		"gif animated":               {good["gif-animated"], 2},
		"webp":                       {file(t, "lossy.webp"), 0},
		"webp with something behind": {webp(vp8x(0, 17, 11), vp8(17, 11, []byte("data")), riff("junk", make([]byte, 20))), 28},
	}
}

// A file without its last bytes is whole only if its picture is: cut at any place, and
// cut and filled up with zero bytes to its length.
func TestWhole(t *testing.T) {
	for name, c := range endless(t) {
		t.Run(name, func(t *testing.T) {
			want, err := pictures(c.data)
			moving := bytes.HasPrefix(c.data, []byte("RIFF"))
			if err != nil && !moving {
				t.Fatal(err)
			}
			info, err := judged(c.data)
			if err != nil {
				t.Fatal(err)
			}
			passed := 0
			for n := 1; n < len(c.data); n++ {
				if n > 50 && n%61 != 0 && n < len(c.data)-300 {
					continue
				}
				part := c.data[:n]
				got, err := judged(part)
				if (err == nil) != (n >= len(c.data)-c.end) && (info.Frames == 1 || n >= len(c.data)-c.end) {
					// The entropy-coded data may end in bits that say nothing.
					if !moving && (err != nil || !same(t, whole.Ended(part), want)) {
						t.Errorf("%d of %d bytes: %v", n, len(c.data), err)
					}
				}
				if err == nil && info.Frames == 1 && got != info {
					t.Errorf("%d of %d bytes: %+v, %+v", n, len(c.data), got, info)
				}
				if err == nil {
					passed++
					if got, err := probe.Read(bytes.NewReader(whole.Ended(part)), probe.Limits{}); err != nil || got.Width != info.Width {
						t.Errorf("%d of %d bytes with an end: %+v, %v", n, len(c.data), got, err)
					}
				}
				filled := append(slices.Clip(part), make([]byte, len(c.data)-n)...)
				if _, err := judged(filled); err == nil && !moving && info.Frames == 1 && !same(t, whole.Ended(filled), want) {
					t.Errorf("%d of %d bytes, and zeros, are another picture", n, len(c.data))
				}
			}
			if passed < c.end || passed > c.end+2*info.Frames {
				t.Errorf("%d beginnings pass, want %d", passed, c.end)
			}
		})
	}
}

func same(t *testing.T, file []byte, want []*image.NRGBA) bool {
	t.Helper()
	got, err := pictures(file)
	return err == nil && slices.EqualFunc(got, want, func(a, b *image.NRGBA) bool { return bytes.Equal(a.Pix, b.Pix) })
}

// What is no part of the picture may be missing to the byte, and not a byte of it.
func TestWholeKinds(t *testing.T) {
	lossy := vp8(17, 11, []byte("data"))
	sized := func(file []byte, more int) []byte {
		return join(file[:4], le32(len(file)-8+more), file[8:])
	}
	moving := webp(vp8x(flagAnim, 17, 11), anmf(0, 0, 17, 11, lossy))
	control := []byte("\x21\xF9\x04\x00\x01\x00\x00\x00")
	frame := gifImage(0, 0, 2, 2)
	frame = append(frame[:10], 2)
	var codes bytes.Buffer
	w := lzw.NewWriter(&codes, lzw.LSB, 2)
	_, _ = w.Write([]byte{1, 2, 3, 1})
	_ = w.Close()
	frame = append(append(append(frame, byte(codes.Len())), codes.Bytes()...), 0)
	clear := pngFile()[:len(pngFile())-12]
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"webp of a RIFF length 2 too large":             {sized(webp(lossy), 2), nil},
		"webp of a RIFF length 1000 too large":          {sized(webp(lossy), 1000), nil},
		"webp of a RIFF length of 2 GB":                 {join(webp(lossy)[:4], le32(1<<31-1), webp(lossy)[8:]), nil},
		"webp of a RIFF length of a byte more":          {join(webp(lossy)[:4], le32(1<<31), webp(lossy)[8:]), probe.ErrTruncated},
		"webp without its last byte":                    {webp(lossy)[:len(webp(lossy))-1], probe.ErrTruncated},
		"animated webp of a RIFF length 2 too large":    {sized(moving, 2), nil},
		"animated webp of a RIFF length 8 too large":    {sized(moving, 8), probe.ErrTruncated},
		"webp with nothing but a header":                {sized(webp(vp8x(0, 17, 11)), 2), probe.ErrTruncated},
		"gif without a trailer":                         {join(screen(2, 2), frame), nil},
		"gif without a trailer, and zeros":              {join(screen(2, 2), frame, make([]byte, 50)), nil},
		"gif before its second frame":                   {join(screen(2, 2), frame, control), probe.ErrTruncated},
		"gif without a frame":                           {screen(2, 2), probe.ErrTruncated},
		"gif in its comment":                            {join(screen(2, 2), frame, []byte("\x21\xFE\x09abc")), nil},
		"gif whose frame has too few pixels":            {join(screen(2, 2), frame[:7], []byte{9}, frame[8:]), probe.ErrTruncated},
		"gif with a sub-block of zeros":                 {join(screen(2, 2), frame[:len(frame)-4], make([]byte, 90)), probe.ErrTruncated},
		"png whose pixels are none":                     {clear, probe.ErrTruncated},
		"avif":                                          {file(t, "still.avif")[:100], probe.ErrTruncated},
		"bmp":                                           {file(t, "plain.bmp")[:100], probe.ErrTruncated},
		"jpeg with a scan of nothing":                   {jpegFile()[:len(jpegFile())-2], probe.ErrTruncated},
		"jpeg with its start alone":                     {[]byte("\xFF\xD8\xFF"), probe.ErrTruncated},
		"jpeg of 16 gigapixels in scans that are empty": {join(soi, sof(0xC2, 65535, 65535, 3), sos(3)), probe.ErrTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := judged(c.data); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if ended := whole.Ended(c.data); c.want != nil && !bytes.Equal(ended, c.data) {
				t.Errorf("it gets an end: %q", ended)
			}
		})
	}
}

// A scan of a progressive JPEG may be missing as a whole: then every block is there, and
// each is coarse.
func TestWholeBetweenScans(t *testing.T) {
	data := file(t, "progressive.jpg")
	scans := 0
	for at := 2; ; {
		next := bytes.Index(data[at:], []byte{0xFF, 0xDA})
		if next < 0 {
			break
		}
		at += next + 1
		scans++
		if _, err := judged(data[:at-1]); err == nil {
			t.Errorf("before scan %d it is whole", scans)
		}
	}
	if scans < 3 {
		t.Errorf("%d scans", scans)
	}
}

// Nothing that a file claims costs much: neither time nor memory.
func TestWholeHostile(t *testing.T) {
	for _, c := range probetest.Corpus() {
		for _, n := range []int{len(c.Data), len(c.Data) - 2} {
			if n < 1 {
				continue
			}
			info, err := probe.Read(bytes.NewReader(c.Data[:n]), probetest.Limits)
			if !errors.Is(err, probe.ErrTruncated) {
				continue
			}
			if err := whole.Check(bytes.NewReader(c.Data[:n]), int64(n), info); err == nil && c.Want != nil && !strings.HasPrefix(c.Name, "webp-second") {
				t.Errorf("%s: %d of %d bytes are whole", c.Name, n, len(c.Data))
			}
		}
	}
}

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzWhole: what is whole is complete with its end, and the same image.
func FuzzWhole(f *testing.F) {
	for _, c := range endless(f) {
		f.Add(c.data[:len(c.data)-c.end], uint16(0))
		f.Add(c.data, uint16(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, less uint16) {
		part := data[:max(0, len(data)-int(less))]
		info, err := probe.Read(bytes.NewReader(part), probe.Limits{MaxPixels: 1 << 16})
		if !errors.Is(err, probe.ErrTruncated) || whole.Check(bytes.NewReader(part), int64(len(part)), info) != nil {
			return
		}
		ended := whole.Ended(part)
		got, err := probe.Read(bytes.NewReader(ended), probe.Limits{})
		if err != nil || fmt.Sprint(got) != fmt.Sprint(info) {
			t.Errorf("%q: %+v; with an end %+v, %v", part, info, got, err)
		}
	})
}
