package resize

import (
	"errors"
	"fmt"
	"io"
)

// A Decoder makes the pictures that [Serve] is asked for. Its methods are
// called one at a time.
type Decoder interface {
	// Version is that of the library that decodes.
	Version() string
	// Formats are those that it both reads and writes.
	Formats() []string
	// Sources are the extra formats that it reads, of those asked for.
	Sources() []string
	// Outputs are the extra formats that it writes, of those asked for.
	Outputs() []string
	// Prove reads and writes an image of every format that the decoder promises. Its error
	// says in one line which format does not work, and what to do.
	Prove() error
	// Resize answers a request that has been checked, with one result for each
	// target. src may be overwritten after it returns. An *ImageError refuses
	// the image; any other error is the decoder's own, which is then replaced.
	Resize(src []byte, r *Request) ([]Result, error)
}

// keepMemory is the largest source whose memory is kept for the next, in bytes.
const keepMemory = 2 << 20

// memory is where a decoder has its source. It is none of the Go heap's, which would keep that
// of large sources until much later.
type memory struct{ bytes []byte }

// take returns memory for n bytes, which is valid until the next call and the end of tidy. An
// error is an [ErrMemory].
func (m *memory) take(n int64) ([]byte, error) {
	if int64(len(m.bytes)) < n {
		m.release()
		bytes, err := allocate(n)
		if err != nil {
			return nil, fmt.Errorf("%w: %d bytes: %w", ErrMemory, n, err)
		}
		m.bytes = bytes
	}
	return m.bytes[:n:n], nil
}

// tidy releases what is too much to keep.
func (m *memory) tidy() {
	if len(m.bytes) > keepMemory {
		m.release()
	}
}

func (m *memory) release() {
	if m.bytes != nil {
		free(m.bytes)
		m.bytes = nil
	}
}

// ErrMemory: a decoder could not get the memory it needed. Errors of [Pool.Resize] wrap it
// only if the decoder ended for that reason.
var ErrMemory = errors.New("out of memory")

// ExitUnable is the exit code of a decoder that had to end over an image for a reason other
// than the image: it got no memory.
const ExitUnable = 71

// Serve is the loop of a decoder process confined by these layers: it proves that d works,
// greets, and answers requests from in on out, until in ends between two requests. It then
// returns nil. After any error the process should end, and write nothing more; with
// [ExitUnable] if the error is an [ErrMemory].
func Serve(in io.Reader, out io.Writer, d Decoder, l Layers) error {
	if err := d.Prove(); err != nil {
		return fmt.Errorf("resize: %w", err)
	}
	if err := writeHead(out, greeting{protocol, d.Version(), d.Formats(), d.Sources(), d.Outputs(), l.Held, l.Missing}); err != nil {
		return fmt.Errorf("resize: greet: %w", err)
	}
	var m memory
	defer m.release()
	for {
		req, src, err := readRequest(in, &m)
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, ErrMemory) {
			if err = writeUnable(out, err); err != nil {
				return fmt.Errorf("resize: answer: %w", err)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("resize: read request: %w", err)
		}
		results, err := d.Resize(src, req)
		if refusal, ok := errors.AsType[*ImageError](err); ok {
			err = writeError(out, refusal)
		} else if err != nil {
			err = writeUnable(out, err)
		} else {
			err = writeResults(out, results)
		}
		if err != nil {
			return fmt.Errorf("resize: answer: %w", err)
		}
		m.tidy()
	}
}
