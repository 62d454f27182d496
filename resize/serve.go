package resize

import (
	"errors"
	"fmt"
	"io"
)

// A Decoder makes the pictures that [Serve] is asked for. Its methods are
// called one at a time.
type Decoder interface {
	// Version of the library that decodes.
	Version() string
	// Formats that can be both read and written.
	Formats() []string
	// Sources that can be read besides, of those asked for.
	Sources() []string
	// Outputs that can be written besides, of those asked for.
	Outputs() []string
	// Resize answers a request that has been checked, with one result for each
	// target. src may be overwritten after it returns. An *ImageError blames
	// the image; any other error blames the decoder, which is then ended.
	Resize(src []byte, r *Request) ([]Result, error)
}

// keepBuffer is the largest source whose memory is kept for the next, in bytes.
const keepBuffer = 16 << 20

// Serve is the loop of a decoder process, which these layers confine: it greets,
// and answers requests from in on out, until in ends between two requests. It then returns nil. Any
// error it returns should end the process, and be the last that is heard of it.
func Serve(in io.Reader, out io.Writer, d Decoder, l Layers) error {
	if err := writeHead(out, greeting{protocol, d.Version(), d.Formats(), d.Sources(), d.Outputs(), l.Held, l.Missing}); err != nil {
		return fmt.Errorf("resize: greet: %w", err)
	}
	var buf []byte
	for {
		req, src, err := readRequest(in, buf)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("resize: read request: %w", err)
		}
		results, err := d.Resize(src, req)
		if blame, ok := errors.AsType[*ImageError](err); ok {
			err = writeError(out, blame)
		} else if err == nil {
			err = writeResults(out, results)
		}
		if err != nil {
			return fmt.Errorf("resize: answer: %w", err)
		}
		if buf = src; cap(buf) > keepBuffer {
			buf = nil
		}
	}
}
