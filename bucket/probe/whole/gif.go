package whole

import (
	"bufio"
	"compress/lzw"
	"encoding/binary"
	"io"

	"imgkeep/bucket/probe/marks"
)

// checkGIF finds the last frame, and unpacks it: it has to have all of its pixels. What
// comes before it is there, or it would not have been found.
func checkGIF(file io.ReaderAt, size int64) error {
	g := gifWalk{file: file, size: size, in: bufio.NewReader(io.NewSectionReader(file, 0, size))}
	if err := g.frames(); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	if g.pixels == 0 {
		return errCut
	}
	data := gifData{in: bufio.NewReader(io.NewSectionReader(file, g.data, size-g.data))}
	bits, err := data.in.ReadByte()
	if err != nil || bits < 2 || bits > 8 {
		return errCut
	}
	unpacked := lzw.NewReader(&data, lzw.LSB, int(bits))
	defer unpacked.Close()
	if n, err := io.CopyN(io.Discard, unpacked, g.pixels); err != nil || n < g.pixels {
		return errCut
	}
	// Zeros are pixels. The code that ends them is not.
	if n, err := io.Copy(io.Discard, unpacked); n > 0 || err != nil {
		return errCut
	}
	return nil
}

// A gifWalk goes from block to block.
type gifWalk struct {
	file   io.ReaderAt
	size   int64
	in     *bufio.Reader
	at     int64
	data   int64 // where the data of the last frame begins
	pixels int64 // of the last frame; 0: there is none, or another was to follow it
}

func (g *gifWalk) take(n int) ([]byte, error) {
	b := make([]byte, n)
	m, err := io.ReadFull(g.in, b)
	g.at += int64(m)
	return b, err
}

func (g *gifWalk) skip(n int64) error {
	m, err := io.CopyN(io.Discard, g.in, n)
	g.at += m
	return err
}

// frames goes to the end of the file, which is its error.
func (g *gifWalk) frames() error {
	head, err := g.take(13)
	if err != nil {
		return err
	}
	if err := g.skip(marks.Colours(head[10])); err != nil {
		return err
	}
	for {
		block, err := g.take(1)
		if err != nil {
			return err
		}
		switch block[0] {
		case marks.Padding:
			continue
		case marks.Extension:
			label, err := g.take(1)
			if err != nil {
				return err
			}
			if label[0] == marks.Control {
				g.pixels = 0
			}
		case marks.Picture:
			g.pixels = 0
			frame, err := g.take(9)
			if err != nil {
				return err
			}
			if err := g.skip(marks.Colours(frame[8])); err != nil {
				return err
			}
			g.pixels = int64(binary.LittleEndian.Uint16(frame[4:])) * int64(binary.LittleEndian.Uint16(frame[6:]))
			if g.data = g.at; g.skip(1) != nil {
				return io.EOF
			}
		default:
			return errCut
		}
		for n := []byte{1}; n[0] != 0; { // sub-blocks
			if n, err = g.take(1); err != nil {
				return err
			}
			if err := g.skip(int64(n[0])); err != nil {
				return err
			}
		}
	}
}

// gifData is what sub-blocks hold, up to the one of length 0 or to the end of the file.
type gifData struct {
	in   *bufio.Reader
	left int // of the current sub-block
}

func (d *gifData) ReadByte() (byte, error) {
	if d.left == 0 {
		n, err := d.in.ReadByte()
		if err != nil || n == 0 {
			return 0, io.EOF
		}
		d.left = int(n)
	}
	d.left--
	return d.in.ReadByte()
}

// Read is there for package lzw, which uses ReadByte.
func (d *gifData) Read(p []byte) (int, error) {
	for i := range p {
		b, err := d.ReadByte()
		if err != nil {
			return i, err
		}
		p[i] = b
	}
	return len(p), nil
}
