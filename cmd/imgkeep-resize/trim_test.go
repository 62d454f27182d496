package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"imgkeep/resize"
)

func TestTrimPNG(t *testing.T) {
	sig := []byte(pngSignature)
	head, data, end := pngChunk("IHDR", make([]byte, 13)), pngChunk("IDAT", []byte("pixels")), pngChunk("IEND", nil)
	file := func(chunks ...[]byte) []byte { return slices.Concat(append([][]byte{sig, head}, chunks...)...) }
	plain := file(data, end)
	for _, c := range []struct {
		name      string
		src, want []byte
	}{
		{"plain", plain, plain},
		{"texts", file(pngChunk("tEXt", []byte("a")), pngChunk("zTXt", nil), data, pngChunk("iTXt", []byte("bb")), end), plain},
		{"what nobody knows", file(pngChunk("eViL", []byte("x")), data, end), plain},
		{"behind the end", append(file(data, end), "<html>"...), plain},
		{"chunks behind the end", file(data, end, head, data, end), plain},
		{"what nobody knows and needs", file(pngChunk("EVIL", []byte("x")), data, end), file(pngChunk("EVIL", []byte("x")), data, end)},
		{"a CRC is not ours to check", file(append([]byte{}, "\x00\x00\x00\x00PLTEnone"...), data, end), file([]byte("\x00\x00\x00\x00PLTEnone"), data, end)},
		{"no end", file(data), file(data)},
		{"a chunk that is cut in its first bytes", append(file(data), end[:7]...), append(file(data), end[:7]...)},
		{"the signature alone", sig, sig},
		{"half the signature", sig[:4], sig[:4]},
		{"no PNG", []byte("GIF89a"), []byte("GIF89a")},
		{"nothing", nil, nil},
	} {
		got, err := trimPNG(bytes.Clone(c.src))
		if err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	for _, kind := range []string{"PLTE", "tRNS", "gAMA", "cHRM", "sRGB", "iCCP", "cICP", "sBIT", "eXIf", "acTL", "fcTL", "fdAT"} {
		src := file(pngChunk("tEXt", []byte("before")), pngChunk(kind, []byte("kept")), pngChunk("tIME", nil), data, end)
		if got, err := trimPNG(bytes.Clone(src)); err != nil || !bytes.Equal(got, file(pngChunk(kind, []byte("kept")), data, end)) {
			t.Errorf("%s: %q, %v", kind, got, err)
		}
	}
	for _, n := range []uint32{7, 8, 1 << 31, 1<<32 - 1} {
		src := append(file(), binary.BigEndian.AppendUint32(nil, n)...)
		src = append(src, "tEXt12345678901"...)
		_, err := trimPNG(src)
		if refusal, ok := errors.AsType[*resize.ImageError](err); ok != (n > 7) || ok && refusal.TooLarge {
			t.Errorf("a chunk of %d bytes: %v", n, err)
		}
	}
}
