//go:build ignore

// Fill makes a store of many small images, for measuring: journals and files, as
// a server would have left them, without flushing any; `imgkeep reindex` makes
// the index.
//
//	go run scripts/fill.go -root /tmp/store -images 1000000
//
// With -index it makes journals and the index, and no images: enough for `imgkeep list`
// and `imgkeep stats`, in a twentieth of the time.
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

	"imgkeep/bucket/extsort"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

const shards = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func main() {
	root := flag.String("root", "", "folder of the store, which must not be there")
	images := flag.Int("images", 1_000_000, "number of images")
	size := flag.Int("bytes", 1024, "of an image, about")
	only := flag.Bool("index", false, "the index and no images")
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
	var lines bytes.Buffer
	flush := func() {
		if month != "" {
			must(os.WriteFile(filepath.Join(bucket, "journal", month+".ndjson"), lines.Bytes(), 0o640))
			lines.Reset()
		}
	}
	in := newContents(bucket)
	for n := range *images {
		at := start.Add(time.Duration(n) * (365 * 24 * time.Hour / time.Duration(*images))).Truncate(time.Second)
		if m := at.Format("2006-01"); m != month {
			flush()
			month = m
		}
		data := png(n, *size)
		digest := sha256.Sum256(data)
		name := base64.RawURLEncoding.EncodeToString(digest[:])
		url := fmt.Sprintf("https://images.example.com/2026/11/%d.png", n)
		if *only {
			in.add(url, digest, at, len(data))
		} else {
			path := filepath.Join(bucket, name[:1], name[1:2], name+".png")
			must(os.WriteFile(path, data, 0o444))
			must(os.Chtimes(path, record.ModTimeOf(path), record.ModTimeOf(path))) // else the first view of each does
		}
		fmt.Fprintf(&lines, `{"time":%q,"op":"keep","url":%q,"digest":%q,"type":"png","bytes":%d,"width":1,"height":1}`+"\n",
			at.Format(time.RFC3339), url, name, len(data))
	}
	flush()
	if *only {
		in.write(*root, month+".ndjson")
	}
}

// contents are what the index is to have: the images by digest, and the URLs by key.
type contents struct{ images, urls *extsort.Sorter }

func newContents(dir string) contents {
	return contents{extsort.New(dir, 48, 64<<20), extsort.New(dir, 32, 64<<20)}
}

func (c contents) add(url string, digest [32]byte, at time.Time, size int) {
	r := binary.BigEndian.AppendUint64(digest[:], uint64(at.Unix()))
	must(c.images.Add(binary.BigEndian.AppendUint64(r, uint64(size))))
	key := index.KeyOf(url)
	must(c.urls.Add(append(key[:], digest[:16]...)))
}

func (c contents) write(root, newest string) {
	info, err := os.Stat(filepath.Join(root, "i", record.JournalDir, newest))
	must(err)
	at, err := journal.PositionAt(root, filepath.Join("i", record.JournalDir, newest), info.Size())
	must(err)
	r, err := index.Rebuild(filepath.Join(root, record.IndexFile))
	must(err)
	must(r.Replace(filepath.Join(root, "index.new"), []index.Content{{
		Bucket: "i", Position: at,
		Images: func(yield func(index.Entry, error) bool) {
			all := c.images.Sorted()
			for all.Next() {
				b := all.Record()
				image := record.Image{
					Bucket: "i", URL: "https://images.example.com/", Digest: record.Digest(b[:32]),
					Info:  probe.Info{Format: probe.PNG, Width: 1, Height: 1, Frames: 1, Orientation: 1},
					Bytes: int64(binary.BigEndian.Uint64(b[40:])), Stored: time.Unix(int64(binary.BigEndian.Uint64(b[32:])), 0),
				}
				if !yield(index.Entry{Image: *index.ImageOf(image), Refs: 1}, nil) {
					return
				}
			}
			must(all.Err())
		},
		URLs: func(yield func(index.Link, error) bool) {
			all := c.urls.Sorted()
			for all.Next() {
				if !yield(index.Link{Key: index.Key(all.Record()), Ref: index.Ref(all.Record()[16:])}, nil) {
					return
				}
			}
			must(all.Err())
		},
	}}, nil, record.Position{}))
	must(r.Close())
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
