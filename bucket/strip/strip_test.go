package strip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	stdgif "image/gif"
	stdjpeg "image/jpeg"
	stdpng "image/png"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"testing/iotest"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/whole"
)

// secret is in all metadata of these tests.
const secret = "N 52.5 E 13.4"

func picture() *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, 40, 30))
	for i := range 40 * 30 {
		m.SetNRGBA(i%40, i/40, color.NRGBA{uint8(5 * (i % 40)), uint8(8 * (i / 40)), uint8(i), 255})
	}
	return m
}

func segment(marker byte, data string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(data)+2))
	return append(b, data...)
}

func jpegFile(t testing.TB, segments ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := stdjpeg.Encode(&b, picture(), nil); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(b.Bytes()[:2], slices.Concat(segments...), b.Bytes()[2:], []byte("behind it "+secret))
}

func pngFile(t testing.TB, chunks ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := stdpng.Encode(&b, picture()); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(b.Bytes()[:33], slices.Concat(chunks...), b.Bytes()[33:], []byte("behind it "+secret))
}

func gifFile(t testing.TB, blocks string) []byte {
	t.Helper()
	g := &stdgif.GIF{LoopCount: 3}
	for f := range 3 {
		m := image.NewPaletted(image.Rect(0, 0, 20, 10), color.Palette{color.Transparent, color.White, color.Black})
		m.SetColorIndex(f, f, 2)
		g.Image, g.Delay, g.Disposal = append(g.Image, m), append(g.Delay, 5+f), append(g.Disposal, stdgif.DisposalBackground)
	}
	var b bytes.Buffer
	if err := stdgif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	at := bytes.IndexByte(b.Bytes()[13:], 0x21) + 13 // behind the colour table
	return slices.Concat(b.Bytes()[:at], []byte(blocks), b.Bytes()[at:], []byte("behind it "+secret))
}

func chunk(kind, data string) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(data)))
	return append(append(b, data...), make([]byte, len(data)%2)...)
}

func webpFile(t testing.TB, name string, chunks ...[]byte) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "probe", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	info := read(t, b)
	if string(b[12:16]) != "VP8X" {
		b = slices.Concat(b[:12], chunk("VP8X", string([]byte{0x0c, 0, 0, 0, byte(info.Width - 1), 0, 0, byte(info.Height - 1), 0, 0})), b[12:])
	}
	b = slices.Concat(b, slices.Concat(chunks...))
	b[20] |= 0x0c
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	return append(b, "behind it "+secret...)
}

func read(t testing.TB, file []byte) probe.Info {
	t.Helper()
	info, err := probe.Read(bytes.NewReader(file), probe.Limits{})
	if err != nil {
		t.Fatalf("%v in %.60q", err, file)
	}
	return info
}

// output is a file in memory.
type output struct{ bytes.Buffer }

func (o *output) WriteAt(p []byte, at int64) (int, error) {
	return copy(o.Bytes()[at:], p), nil
}

// metadata is Metadata from memory to memory, by reads of odd lengths.
func metadata(file []byte, info probe.Info) ([]byte, error) {
	var o output
	if err := Metadata(&o, iotest.HalfReader(bytes.NewReader(whole.Ended(file))), info); err != nil {
		return nil, err
	}
	return o.Bytes(), nil
}

// exifOf is an EXIF block with an orientation and more.
func exifOf(orientation int) string { return string(exif(orientation)) + secret }

// Metadata goes, whatever carries it; what the image is shown by stays, to the
// bit, and so does how it is turned.
func TestMetadata(t *testing.T) {
	jfif := segment(0xe0, "JFIF\x00\x01\x02\x00\x00\x01\x00\x01\x02\x02"+secret)
	profile := segment(0xe2, "ICC_PROFILE\x00\x01\x01the profile")
	loop := "\x21\xff\x0bICCRGBG1012\x0bthe profile\x00"
	for name, c := range map[string]struct {
		file        []byte
		orientation int
		keeps       []string // what must be left besides
	}{
		"JPEG, nothing":  {jpegFile(t), 1, nil},
		"JPEG, EXIF":     {jpegFile(t, jfif, segment(0xe1, "Exif\x00\x00"+exifOf(6))), 6, []string{"JFIF"}},
		"JPEG, upright":  {jpegFile(t, jfif, segment(0xe1, "Exif\x00\x00"+exifOf(1))), 1, []string{"JFIF"}},
		"JPEG, the rest": {jpegFile(t, jfif, profile, segment(0xe1, "http://ns.adobe.com/xap/1.0/\x00"+secret), segment(0xed, secret), segment(0xfe, secret), segment(0xe2, "MPF\x00"+secret), segment(0xe0, "JFXX\x00"+secret), segment(0xef, secret)), 1, []string{"ICC_PROFILE\x00\x01\x01the profile"}},
		"PNG":            {pngFile(t, pngChunk("eXIf", []byte(exifOf(8))), pngChunk("tEXt", []byte("a\x00"+secret)), pngChunk("iTXt", []byte(secret)), pngChunk("zTXt", []byte(secret)), pngChunk("tIME", []byte("1234567")), pngChunk("prVt", []byte(secret)), pngChunk("gAMA", []byte("\x00\x00\xb1\x8f"))), 8, []string{"gAMA"}},
		"GIF":            {gifFile(t, loop+"\x21\xfe\x0d"+secret+"\x00\x21\xff\x0bXMP DataXMP\x0d"+secret+"\x00\x21\x01\x0c"+secret[:12]+"\x00"), 1, []string{"the profile", "NETSCAPE2.0"}},
		"WebP":           {webpFile(t, "lossy.webp", chunk("EXIF", exifOf(3)), chunk("XMP ", secret), chunk("priv", secret)), 1, nil},
		"WebP, moving":   {webpFile(t, "img2webp.webp", chunk("XMP ", secret)), 1, []string{"ANIM"}},
		"WebP, alpha":    {webpFile(t, "alpha.webp", chunk("XMP ", secret)), 1, nil},
	} {
		before := read(t, c.file)
		if before.Orientation != c.orientation || !bytes.Contains(c.file, []byte(secret)) {
			t.Fatalf("%s: the test's file is wrong: %+v", name, before)
		}
		got, err := metadata(c.file, before)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if after := read(t, got); after != before {
			t.Errorf("%s: it was %+v and is %+v", name, before, after)
		}
		if bytes.Contains(got, []byte("52.5")) || bytes.Contains(got, []byte("behind it")) {
			t.Errorf("%s: still there: %q", name, got)
		}
		for _, keep := range c.keeps {
			if !bytes.Contains(got, []byte(keep)) {
				t.Errorf("%s: %q is gone", name, keep)
			}
		}
		if again, err := metadata(got, before); err != nil || !bytes.Equal(got, again) {
			t.Errorf("%s: another time it becomes something else: %v", name, err)
		}
		if before.Format == probe.WebP {
			for _, kind := range []string{"VP8 ", "VP8L", "ALPH", "ANMF"} {
				if a, b := bytes.Count(c.file, []byte(kind)), bytes.Count(got, []byte(kind)); a != b {
					t.Errorf("%s: %d chunks of %s became %d", name, a, kind, b)
				}
			}
			continue
		}
		if before.Format == probe.GIF {
			a, errA := stdgif.DecodeAll(bytes.NewReader(c.file))
			b, errB := stdgif.DecodeAll(bytes.NewReader(got))
			if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
				t.Errorf("%s: frames, times or loops differ: %v, %v", name, errA, errB)
			}
			continue
		}
		a, _, errA := image.Decode(bytes.NewReader(c.file))
		b, _, errB := image.Decode(bytes.NewReader(got))
		if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: the pixels differ: %v, %v", name, errA, errB)
		}
	}
}

// A progressive JPEG has tables, and may have comments, between its scans.
func TestProgressive(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("..", "probe", "testdata", "progressive.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	scan := bytes.LastIndex(file, []byte{0xff, 0xc4}) // the last table
	file = slices.Concat(file[:scan], segment(0xfe, secret), segment(0xe1, "Exif\x00\x00"+secret), file[scan:])
	got, err := metadata(file, read(t, file))
	if err != nil || bytes.Contains(got, []byte(secret)) {
		t.Fatalf("%v, or still there", err)
	}
	a, errA := stdjpeg.Decode(bytes.NewReader(file))
	b, errB := stdjpeg.Decode(bytes.NewReader(got))
	if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("the pixels differ: %v, %v", errA, errB)
	}
}

func TestRefuses(t *testing.T) {
	if _, err := metadata([]byte("x"), probe.Info{}); !errors.Is(err, ErrBroken) {
		t.Errorf("no format: %v", err)
	}
	for _, file := range [][]byte{jpegFile(t), pngFile(t), gifFile(t, ""), webpFile(t, "lossy.webp")} {
		info := read(t, file)
		end := bytes.Index(file, []byte("behind it"))
		for n := range end {
			got, err := metadata(file[:n], info)
			if err == nil && whole.Check(bytes.NewReader(file[:n]), int64(n), info) == nil {
				read(t, got) // it has got its end
				continue
			}
			if err == nil || !errors.Is(err, ErrBroken) || got != nil {
				t.Errorf("%v cut off at %d of %d: %v", info.Format, n, end, err)
				break
			}
		}
	}
}

// Whatever comes does no harm; and what passes probe before passes after, as the
// same image.
func FuzzMetadata(f *testing.F) {
	for _, file := range [][]byte{
		jpegFile(f, segment(0xe1, "Exif\x00\x00"+exifOf(6))), pngFile(f, pngChunk("eXIf", []byte(exifOf(8)))), gifFile(f, "\x21\xfe\x0d"+secret+"\x00"),
		webpFile(f, "lossy.webp", chunk("EXIF", exifOf(3))), webpFile(f, "img2webp.webp"),
	} {
		f.Add(file, uint8(read(f, file).Format))
	}
	f.Fuzz(func(t *testing.T, file []byte, format uint8) {
		info, err := probe.Read(bytes.NewReader(file), probe.Limits{})
		if err != nil {
			_, _ = metadata(file, probe.Info{Format: probe.Format(format), Orientation: int(format)})
			return
		}
		got, err := metadata(file, info)
		if err != nil {
			return
		}
		if after, err := probe.Read(bytes.NewReader(got), probe.Limits{}); err != nil || after != info {
			t.Errorf("%+v became %+v, %v", info, after, err)
		}
	})
}
