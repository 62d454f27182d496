package probe_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"imgkeep/bucket/probe"
)

// carriers put a TIFF structure into an image of each format that has EXIF.
var carriers = map[string]func(tiff []byte) []byte{
	"jpeg": func(tiff []byte) []byte { return jpegFile(app1(tiff)) },
	"png":  func(tiff []byte) []byte { return pngFile(chunk("eXIf", tiff)) },
}

// checkOrientation reads an image of 17 x 11 that must be good.
func checkOrientation(t *testing.T, data []byte, want int) {
	t.Helper()
	info, err := probe.Read(bytes.NewReader(data), probe.Limits{})
	if err != nil || info.Orientation != want || info.Width != 17 || info.Height != 11 {
		t.Errorf("got %+v, %v; want orientation %d", info, err, want)
	}
}

func TestOrientation(t *testing.T) {
	be, le := binary.BigEndian, binary.LittleEndian
	for name, carry := range carriers {
		for v := 1; v <= 8; v++ {
			t.Run(name, func(t *testing.T) {
				checkOrientation(t, carry(tiff(be, orientation(be, v))), v)
				checkOrientation(t, carry(tiff(le, orientation(le, v))), v)
				splits(t, carry(tiff(le, orientation(le, v))), probe.Limits{})
			})
		}
	}
}

// EXIF is an enemy's, too: what is not as the standards say counts for nothing,
// and costs nothing.
func TestOrientationStrict(t *testing.T) {
	be := binary.BigEndian
	good := orientation(be, 6)
	maker := field{0x010F, 2, 4, []byte("Eos\x00")}
	patched := func(offset int, b ...byte) []byte {
		d := oriented(6)
		copy(d[offset:], b)
		return d
	}
	for _, c := range []struct {
		name string
		tiff []byte
		want int
	}{
		{"behind other fields", tiff(be, maker, maker, good), 6},
		{"before other fields", tiff(be, good, maker), 6},
		{"first of two", tiff(be, orientation(be, 3), good), 3},
		{"a wrong one before a right one", tiff(be, orientation(be, 9), good), 1},
		{"a directory further on", join([]byte("MM\x00*"), be32(100), make([]byte, 92), tiff(be, good)[8:]), 6},
		{"a directory at an odd offset", join([]byte("MM\x00*"), be32(9), []byte{0}, tiff(be, good)[8:]), 6},
		{"no offset of a next directory", tiff(be, good)[:8+2+12], 6},
		{"a next directory that is the first", patched(22, 0, 0, 0, 8), 6},
		{"a next directory that is beyond", patched(22, 0xFF, 0xFF, 0xFF, 0xFF), 6},
		{"more fields announced than there are", patched(8, 0xFF, 0xFF), 6},

		{"nothing", nil, 1},
		{"no fields", tiff(be), 1},
		{"other fields only", tiff(be, maker, maker), 1},
		{"fewer fields announced than there are", patched(8, 0, 0), 1},
		{"value 0", oriented(0), 1},
		{"value 9", oriented(9), 1},
		{"value 65535", oriented(65535), 1},
		{"value in the wrong half", tiff(be, field{0x0112, 3, 1, []byte{0, 0, 0, 6}}), 1},
		{"a long", tiff(be, field{0x0112, 4, 1, be32(6)}), 1},
		{"a byte", tiff(be, field{0x0112, 1, 1, []byte{6, 0, 0, 0}}), 1},
		{"type 0", tiff(be, field{0x0112, 0, 1, good.value}), 1},
		{"no values", tiff(be, field{0x0112, 3, 0, good.value}), 1},
		{"two values", tiff(be, field{0x0112, 3, 2, good.value}), 1},
		{"2^32-1 values", tiff(be, field{0x0112, 3, 1<<32 - 1, good.value}), 1},
		{"another tag", tiff(be, field{0x0113, 3, 1, good.value}), 1},
		{"no byte order", patched(0, 'M', 'I'), 1},
		{"a byte order in lower case", patched(0, 'm', 'm'), 1},
		{"the other byte order", patched(0, 'I', 'I'), 1},
		{"not 42", patched(3, 43), 1},
		{"big tiff", join([]byte("MM\x00+\x00\x08\x00\x00"), make([]byte, 8), oriented(6)), 1},
		{"a directory in the header", patched(4, 0, 0, 0, 0), 1},
		{"a directory in the header's end", patched(4, 0, 0, 0, 7), 1},
		{"a directory behind the end", patched(4, 0, 0, 0, 27), 1},
		{"a directory 4 GB on", patched(4, 0xFF, 0xFF, 0xFF, 0xFF), 1},
		{"a directory at the last byte", patched(4, 0, 0, 0, 25), 1},
		{"zeroes", make([]byte, 100), 1},
		{"text", []byte("MMII*Exif"), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, carry := range carriers {
				t.Run(name, func(t *testing.T) {
					checkOrientation(t, carry(c.tiff), c.want)
					splits(t, carry(c.tiff), probe.Limits{})
				})
			}
		})
	}
	t.Run("cut off", func(t *testing.T) {
		full := tiff(be, maker, good)
		for n := range len(full) {
			want := 1
			if n >= 8+2+2*12 {
				want = 6
			}
			for name, carry := range carriers {
				t.Run(name, func(t *testing.T) { checkOrientation(t, carry(full[:n]), want) })
			}
		}
	})
}

// The reader never leaves the segment: what follows it is not EXIF.
func TestOrientationStaysInside(t *testing.T) {
	full := oriented(6)
	for n := range 8 + 2 + 12 {
		checkOrientation(t, jpegFile(app1(full[:n]), segment(0xFE, full[n:])), 1)
	}
}

func TestOrientationPlaces(t *testing.T) {
	head := join([]byte(pngSignature), ihdr(17, 11, 8, 2))
	frame, scan := sof(0xC0, 17, 11, 3), sos(3, 1, 2, 3)
	canvas, image := vp8x(flagExif, 17, 11), vp8(17, 11, nil)
	for _, c := range []struct {
		name string
		data []byte
		want int
	}{
		{"jpeg: behind the frame header", join(soi, frame, app1(oriented(6)), scan, eoi), 6},
		{"jpeg: behind XMP", jpegFile(segment(0xE1, []byte("http://ns.adobe.com/xap/1.0/\x00<x/>")), app1(oriented(6))), 6},
		{"jpeg: the first of two", jpegFile(app1(oriented(3)), app1(oriented(6))), 3},
		{"jpeg: the first, though it is useless", jpegFile(app1([]byte("junk")), app1(oriented(6))), 1},
		{"jpeg: the first, though it is empty", jpegFile(app1(nil), app1(oriented(6))), 1},
		{"jpeg: between scans", join(soi, frame, scan, app1(oriented(6)), scan, eoi), 1},
		{"jpeg: behind the end", join(jpegFile(), app1(oriented(6))), 1},
		{"jpeg: without prefix", jpegFile(segment(0xE1, oriented(6))), 1},
		{"jpeg: with half a prefix", jpegFile(segment(0xE1, []byte("Exif\x00"))), 1},
		{"jpeg: with another prefix", jpegFile(segment(0xE1, []byte("Exif\x00\x01"), oriented(6))), 1},
		{"jpeg: with the prefix twice", jpegFile(segment(0xE1, []byte("Exif\x00\x00Exif\x00\x00"), oriented(6))), 1},
		{"jpeg: in another segment", jpegFile(segment(0xE2, []byte("Exif\x00\x00"), oriented(6))), 1},

		{"png: the first of two", pngFile(chunk("eXIf", oriented(3)), chunk("eXIf", oriented(6))), 3},
		{"png: behind the pixels", join(head, idat, chunk("eXIf", oriented(6)), iend), 1},
		{"png: before and behind the pixels", join(head, chunk("eXIf", oriented(3)), idat, chunk("eXIf", oriented(6)), iend), 3},
		{"png: with a wrong CRC", pngFile(wrongCRC(chunk("eXIf", oriented(6)))), 1},
		{"png: with a wrong CRC, then a right one", pngFile(wrongCRC(chunk("eXIf", oriented(3))), chunk("eXIf", oriented(6))), 6},
		{"png: the first, though another chunk has a wrong CRC", pngFile(chunk("eXIf", oriented(3)), wrongCRC(chunk("tEXt")), chunk("eXIf", oriented(6))), 3},
		{"png: with a prefix", pngFile(chunk("eXIf", []byte("Exif\x00\x00"), oriented(6))), 1},
		{"png: in another chunk", pngFile(chunk("exIf", oriented(6))), 1},

		{"webp: which no browser turns", webp(canvas, image, riff("EXIF", oriented(6))), 1},
		{"webp: with a prefix", webp(canvas, image, riff("EXIF", []byte("Exif\x00\x00"), oriented(6))), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkOrientation(t, c.data, c.want)
			splits(t, c.data, probe.Limits{})
		})
	}
}
