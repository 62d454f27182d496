//go:build ignore

// Fill makes a store of many small images, for measuring: journals and files, as
// a server would have left them, without flushing any; `imgkeep reindex` makes
// the index.
//
//	go run scripts/fill.go -root /tmp/store -images 1000000
package main

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"log"
	"os"
	"path/filepath"
	"time"
)

const shards = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func main() {
	root := flag.String("root", "", "folder of the store, which must not be there")
	images := flag.Int("images", 1_000_000, "number of images")
	size := flag.Int("bytes", 1024, "of an image, about")
	flag.Parse()
	if *root == "" {
		log.Fatal("-root is missing")
	}
	bucket := filepath.Join(*root, "i")
	must(os.MkdirAll(filepath.Join(bucket, "journal"), 0o750))
	for _, a := range shards {
		for _, b := range shards {
			must(os.MkdirAll(filepath.Join(bucket, string(a), string(b)), 0o755))
		}
	}
	start := time.Date(2025, 12, 1, 0, 0, 0, 0, time.UTC)
	var month string
	var journal bytes.Buffer
	flush := func() {
		if month != "" {
			must(os.WriteFile(filepath.Join(bucket, "journal", month+".ndjson"), journal.Bytes(), 0o640))
			journal.Reset()
		}
	}
	for n := range *images {
		at := start.Add(time.Duration(n) * (365 * 24 * time.Hour / time.Duration(*images))).Truncate(time.Second)
		if m := at.Format("2006-01"); m != month {
			flush()
			month = m
		}
		data := png(n, *size)
		digest := sha256.Sum256(data)
		name := base64.RawURLEncoding.EncodeToString(digest[:])
		must(os.WriteFile(filepath.Join(bucket, name[:1], name[1:2], name+".png"), data, 0o444))
		fmt.Fprintf(&journal, `{"time":%q,"op":"keep","url":"https://images.example.com/2026/11/%d.png","digest":%q,"type":"png","bytes":%d,"width":1,"height":1}`+"\n",
			at.Format(time.RFC3339), n, name, len(data))
	}
	flush()
}

// png is an image of one pixel with a comment that makes it one of its own, and
// as long as it is to be.
func png(n, size int) []byte {
	var b bytes.Buffer
	chunk := func(kind string, data []byte) {
		binary.Write(&b, binary.BigEndian, uint32(len(data)))
		b.WriteString(kind)
		b.Write(data)
		binary.Write(&b, binary.BigEndian, crc32.ChecksumIEEE(append([]byte(kind), data...)))
	}
	b.WriteString("\x89PNG\r\n\x1a\n")
	chunk("IHDR", []byte{0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0})
	text := fmt.Appendf(nil, "Comment\x00%d", n)
	if fill := size - 100 - len(text); fill > 0 {
		text = append(text, bytes.Repeat([]byte("."), fill)...)
	}
	chunk("tEXt", text)
	chunk("IDAT", pixel)
	chunk("IEND", nil)
	return b.Bytes()
}

// pixel is a line of one grey pixel, compressed: once, as that takes long.
var pixel = func() []byte {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	w.Write([]byte{0, 128})
	w.Close()
	return z.Bytes()
}()

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
