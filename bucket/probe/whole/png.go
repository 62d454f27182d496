package whole

import (
	"compress/zlib"
	"encoding/binary"
	"io"
)

// checkPNG unpacks the pixels of the image, and of each frame of an animation: all of
// them have to be there, in chunks that are there to their end. The scanner has found
// the chunks sound.
func checkPNG(file io.ReaderAt, size int64) error {
	p := pngWalk{file: file, size: size, at: 8}
	var head [25]byte
	if err := readAt(file, head[:], 8); err != nil {
		return err
	}
	h := head[8:]
	p.interlaced = h[12] == 1
	p.bits = int64(h[8]) * [...]int64{1, 0, 3, 1, 2, 0, 4}[h[9]&7%7]
	p.width, p.height = int64(binary.BigEndian.Uint32(h)), int64(binary.BigEndian.Uint32(h[4:]))
	width, height := p.width, p.height
	announced, begun, images, waiting := uint32(0), uint32(0), 0, false
	for {
		kind, n, ok := p.chunk()
		if !ok {
			break
		}
		switch kind {
		case "acTL":
			var b [4]byte
			if n >= 4 && images == 0 {
				if err := readAt(file, b[:], p.at+8); err != nil {
					return err
				}
				announced = binary.BigEndian.Uint32(b[:])
			}
		case "fcTL":
			var b [12]byte
			if n < 12 {
				return errCut
			}
			if err := readAt(file, b[:], p.at+8); err != nil {
				return err
			}
			begun++
			waiting = true
			width, height = int64(binary.BigEndian.Uint32(b[4:])), int64(binary.BigEndian.Uint32(b[8:]))
		case "IDAT":
			if err := p.pixels("IDAT", 0, p.width, p.height); err != nil {
				return err
			}
			images++
			waiting = false
			continue
		case "fdAT":
			if width > p.width || height > p.height {
				return errCut
			}
			if err := p.pixels("fdAT", 4, width, height); err != nil {
				return err
			}
			waiting = false
			continue
		}
		p.at += 12 + n
	}
	if images == 0 || waiting || announced != begun && announced > 0 {
		return errCut
	}
	return nil
}

// A pngWalk goes from chunk to chunk.
type pngWalk struct {
	file          io.ReaderAt
	size, at      int64
	width, height int64
	bits          int64 // of a pixel
	interlaced    bool
}

// chunk returns kind and length of the chunk that begins at at, if all of it is there.
func (p *pngWalk) chunk() (kind string, n int64, ok bool) {
	var head [8]byte
	if readAt(p.file, head[:], p.at) != nil {
		return "", 0, false
	}
	n = int64(binary.BigEndian.Uint32(head[:]))
	return string(head[4:]), n, p.at+12+n <= p.size
}

// pixels unpacks what the chunks of a kind hold that follow each other, without the
// first bytes of each, and goes behind them.
func (p *pngWalk) pixels(kind string, without, width, height int64) error {
	data := &pngData{walk: p, kind: kind, without: without}
	unpacked, err := zlib.NewReader(data)
	if err != nil {
		return errCut
	}
	defer unpacked.Close()
	want := p.bytes(width, height)
	if n, err := io.CopyN(io.Discard, unpacked, want); err != nil || n < want {
		return errCut
	}
	for data.next() {
	}
	return nil
}

// bytes is how many the rows of an image have, each with its filter.
func (p *pngWalk) bytes(width, height int64) int64 {
	if !p.interlaced {
		return height * (1 + (width*p.bits+7)/8)
	}
	var sum int64
	for _, pass := range [...][4]int64{{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}} {
		w, h := (width-pass[0]+pass[2]-1)/pass[2], (height-pass[1]+pass[3]-1)/pass[3]
		if w > 0 && h > 0 {
			sum += h * (1 + (w*p.bits+7)/8)
		}
	}
	return sum
}

// pngData is what chunks of a kind hold.
type pngData struct {
	walk     *pngWalk
	kind     string
	without  int64
	at, left int64
}

// next goes to the next chunk.
func (d *pngData) next() bool {
	kind, n, ok := d.walk.chunk()
	if !ok || kind != d.kind || n < d.without {
		return false
	}
	d.at, d.left = d.walk.at+8+d.without, n-d.without
	d.walk.at += 12 + n
	return true
}

func (d *pngData) Read(b []byte) (int, error) {
	for d.left == 0 {
		if !d.next() {
			return 0, io.EOF
		}
	}
	n, err := d.walk.file.ReadAt(b[:min(int64(len(b)), d.left)], d.at)
	d.at, d.left = d.at+int64(n), d.left-int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}
