package probetest

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf16"

	"imgkeep/bucket/probe"
)

// polyglots are good images that are something else, too. They are kept and
// served as what they are; no size made of them has the other thing in it.
func polyglots() []Case {
	jpg, png, gif, webp := probe.JPEG, probe.PNG, probe.GIF, probe.WebP
	const page = "<html><script>" + Payload + "</script>"
	script := "*/=1;" + Payload + "//"
	return []Case{
		// The width of the screen is "/*", so that all is a comment up to the script.
		{"gif-and-javascript", "CVE-2019-18923", gif, join(screen('/'|'*'<<8, 1), gifFrame(0, 0, 9, 1), []byte(";"+script)), nil, Made},
		{"gif-and-php-in-a-comment", "", gif, join(screen(side, side), []byte("\x21\xFE"), subBlocks([]byte("<?php "+Payload)), gifFrame(0, 0, side, side), []byte(";")), nil, Made},
		{"png-and-html-in-a-chunk", "CVE-2019-18923", png, inPNG(chunk("tEXt", []byte("Comment\x00"+page))), nil, Made},
		{"png-and-html-behind-it", "CVE-2019-18923", png, join(goodPNG(), []byte(page)), nil, Made},
		{"jpeg-and-zip", "", jpg, join(goodJPEG(), zipped()), nil, Made},
		// The length of the first segment is "/*".
		{"jpeg-and-javascript", "", jpg, inJPEG(segment(0xE0, make([]byte, '/'<<8|'*'-2)), segment(0xFE, []byte(script))), nil, Made},
		{"jpeg-and-pdf", "CVE-2026-66066", jpg, inJPEG(segment(0xFE, []byte("\n%PDF-1.7\n1 0 obj<</JS("+Payload+")>>endobj\n"))), nil, Made},
		{"jpeg-and-svg-in-xmp", "CVE-2023-1496", jpg, inJPEG(segment(0xE1, []byte("http://ns.adobe.com/xap/1.0/\x00"+svg))), nil, Made},
		{"webp-and-html-in-a-chunk", "", webp, webpFile(vp8l(side, side, true), riff("XMP ", []byte(page))), nil, Made},
		{"webp-and-html-behind-it", "", webp, join(webpFile(vp8l(side, side, true)), []byte(page)), nil, Made},
	}
}

// trailers are good images with something behind their end.
func trailers() []Case {
	var all []Case
	for _, good := range Good() {
		behind := map[string][]byte{
			"a-newline":   []byte("\n"),
			"a-mb-of-0":   make([]byte, 1<<20),
			"itself":      good.Data,
			"a-bomb":      pngOf(ihdr(50000, 50000, 8, 6, 0), zeros(1<<20)),
			"noise":       noise(1000),
			"html":        []byte("<html><script>" + Payload + "</script>"),
			"half-itself": good.Data[:len(good.Data)/2],
		}
		for _, name := range slices.Sorted(maps.Keys(behind)) {
			all = append(all, Case{good.Name + "-and-" + name, "", good.Format, join(good.Data, behind[name]), nil, Made})
		}
	}
	return all
}

const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="48" height="36" onload="` + Payload + `"><rect width="48" height="36"/></svg>`

// strangers are good files of types that are not accepted, most of which libvips
// has a loader for, and things that are no file of any type.
func strangers() []Case {
	const laughs = `<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY x SYSTEM "file:///etc/passwd">]>`
	all := []Case{
		{Name: "svg", Imitates: "CVE-2023-1496", Data: []byte(svg)},
		{Name: "svg-behind-a-doctype", Imitates: "CVE-2023-41318", Data: []byte(laughs + strings.Replace(svg, "<rect", "&c;&x;<rect", 1))},
		{Name: "svg-in-utf-16", Imitates: "CVE-2023-1496", Data: utf16le(svg)},
		{Name: "svg-in-gzip", Imitates: "CVE-2023-1496", Data: gzipped(svg)},
		{Name: "svg-behind-spaces-and-comments", Imitates: "CVE-2023-1496", Data: []byte("\xEF\xBB\xBF \r\n\t<!-- GIF89a \x89PNG -->" + svg)},
		{Name: "svg-that-burns-cpu", Imitates: "CVE-2026-64644", Data: []byte(strings.Replace(svg, "<rect", strings.Repeat(`<g filter="url(#f)">`, 2000)+"<rect", 1))},
		{Name: "svg-behind-the-first-bytes-of-a-jpeg", Imitates: "CVE-2026-66066", Format: probe.JPEG, Data: []byte("\xFF\xD8\xFF" + svg), Want: probe.ErrBroken},
		{Name: "svg-behind-the-first-bytes-of-a-png", Imitates: "CVE-2026-66066", Format: probe.PNG, Data: []byte(pngSignature + svg), Want: probe.ErrBroken},
		{Name: "svg-behind-the-first-bytes-of-a-gif", Imitates: "CVE-2026-66066", Format: probe.GIF, Data: join(screen(side, side), []byte(svg)), Want: probe.ErrBroken},
		{Name: "svg-behind-the-first-bytes-of-a-webp", Imitates: "CVE-2026-66066", Format: probe.WebP, Data: webpFile([]byte(svg)), Want: probe.ErrBroken},
		{Name: "pdf", Imitates: "CVE-2026-66066", Data: []byte("%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")},
		{Name: "postscript", Imitates: "CVE-2016-3714", Data: []byte("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n")},
		{Name: "mvg", Imitates: "CVE-2016-3714", Data: []byte("push graphic-context\nviewbox 0 0 9 9\nfill 'url(https://example.com/\"|ls \"-la)'\npop graphic-context\n")},
		{Name: "tiff-of-60000-bands", Imitates: "CVE-2026-69242", Format: probe.TIFF, Data: tiffOf(60_000)},
		{Name: "tiff-of-5-bands", Imitates: "CVE-2025-29769", Format: probe.TIFF, Data: tiffOf(5)},
		{Name: "tiff-in-a-circle", Format: probe.TIFF, Data: tiff(directory(8, field{256, 3, 1, 9})), Want: probe.ErrBroken},
		{Name: "heic-of-two-tables", Imitates: "libheif, May 2026", Format: probe.HEIC, Data: isobmff("heic"), Want: probe.ErrBroken},
		{Name: "avif-of-two-tables", Imitates: "libheif, May 2026", Format: probe.AVIF, Data: isobmff("avif"), Want: probe.ErrBroken},
		{Name: "jpeg-xl-of-noise", Format: probe.JXL, Want: probe.ErrBroken, Data: join([]byte("\x00\x00\x00\x0CJXL \x0D\x0A\x87\x0A"), noise(200))},
		{Name: "jpeg-2000", Data: join([]byte("\xFF\x4F\xFF\x51"), noise(200))},
		{Name: "libvips-own", Imitates: "CVE-2026-33327", Data: join([]byte("\xB6\xA6\xF2\x08"), le32(9), le32(9), le32(3), make([]byte, 500))},
		{Name: "ppm", Data: join([]byte("P6\n9 9\n255\n"), make([]byte, 9*9*3))},
		{Name: "openexr", Data: join([]byte("\x76\x2F\x31\x01\x02\x00\x00\x00"), noise(200))},
		{Name: "radiance", Data: []byte("#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 9 +X 9\n")},
		{Name: "fits", Data: []byte("SIMPLE  =                    T")},
		{Name: "html", Imitates: "CVE-2019-18923", Data: []byte("<!DOCTYPE html><script>" + Payload + "</script>")},
		{Name: "zip", Data: zipped()},
		{Name: "a-kb-of-0", Data: make([]byte, 1024)},
		{Name: "noise", Data: noise(5000)},
	}
	for i := range all {
		if all[i].Want == nil {
			all[i].Want = probe.ErrType
		}
	}
	return all
}

// tiffOf is a pixel of so many samples of 8 bits.
func tiffOf(bands int) []byte {
	const short, long = 3, 4
	const pixels = 8 + 2 + 9*12 + 4
	return join(tiff(directory(0, field{256, short, 1, 1}, field{257, short, 1, 1}, field{258, short, 1, 8}, field{259, short, 1, 1},
		field{262, short, 1, 2}, field{273, long, 1, pixels}, field{277, short, 1, bands}, field{278, short, 1, 1}, field{279, long, 1, bands})),
		make([]byte, bands))
}

// isobmff is the beginning of HEIF and AVIF (ISO/IEC 14496-12), with an item table
// that counts further than it has room for.
func isobmff(brand string) []byte {
	box := func(kind string, data ...[]byte) []byte {
		d := join(data...)
		return join(be32(8+len(d)), []byte(kind), d)
	}
	return join(box("ftyp", []byte(brand), be32(0), []byte("mif1"+brand)),
		box("meta", be32(0), box("iinf", be32(0), be16(65535)), box("iloc", be32(0), []byte{0x44, 0x40}, be16(65535))),
		box("mdat", noise(100)))
}

func noise(n int) []byte {
	random := rand.New(rand.NewPCG(5, 6))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// jpegNoise has noise for its scan, without a marker in it.
func jpegNoise() []byte {
	good := goodJPEG()
	at := bytes.Index(good, []byte{0xFF, 0xDA}) + 14
	data := slices.DeleteFunc(noise(4000), func(b byte) bool { return b == 0xFF })
	return join(good[:at], data, []byte{0xFF, 0xD9})
}

// stored is a zlib stream of data as it is.
func stored(data []byte) []byte {
	var b bytes.Buffer
	w := must(zlib.NewWriterLevel(&b, zlib.NoCompression))
	must(w.Write(data))
	must(0, w.Close())
	return b.Bytes()
}

func gzipped(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	must(w.Write([]byte(text)))
	must(0, w.Close())
	return b.Bytes()
}

func zipped() []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	must(must(w.Create("payload.js")).Write([]byte(Payload)))
	must(0, w.Close())
	return b.Bytes()
}

func utf16le(text string) []byte {
	b := []byte("\xFF\xFE")
	for _, u := range utf16.Encode([]rune(text)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
