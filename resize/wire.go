package resize

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// The messages between pool and decoder; see the package doc.

const (
	protocol = 5
	// maxHead bounds a head, in bytes, at both ends.
	maxHead = 64 << 10
	// maxCoord bounds the sides of a result: libvips' own limit.
	maxCoord = 10_000_000
	// maxLayers bounds the layers of a sandbox.
	maxLayers = 16
	// maxDetail bounds the text in an ImageError, in bytes.
	maxDetail = 200
)

// errProtocol is what a peer did that the protocol does not allow.
var errProtocol = errors.New("protocol broken")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errProtocol, fmt.Sprintf(format, args...))
}

type greeting struct {
	Protocol int      `json:"protocol"`
	Libvips  string   `json:"libvips"`
	Formats  []string `json:"formats"`
	// Sources are the extra formats read, Outputs the extra ones written.
	Sources []string `json:"sources,omitempty"`
	Outputs []string `json:"outputs,omitempty"`
	// Held and Missing are those of [Layers].
	Held    []string `json:"held,omitempty"`
	Missing []string `json:"missing,omitempty"`
}

type requestHead struct {
	Request
	Bytes int64 `json:"bytes"`
	// Watermarks are the lengths of the pictures that follow the source, one for
	// each target whose preset has one.
	Watermarks []int `json:"watermarks,omitempty"`
}

type answerHead struct {
	Error   *errorHead   `json:"error,omitempty"`
	Results []resultHead `json:"results,omitempty"`
}

type errorHead struct {
	TooLarge bool `json:"too_large,omitempty"`
	// Unable: it is not the image's.
	Unable bool   `json:"unable,omitempty"`
	Detail string `json:"detail"`
}

type resultHead struct {
	Format string `json:"format"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Frames int    `json:"frames"`
	Bytes  int64  `json:"bytes"`
}

// writeHead sends length and head in one write.
func writeHead(w io.Writer, head any) error {
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	if len(text) > maxHead {
		return broken("a head of %d bytes is over %d", len(text), maxHead)
	}
	msg := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(text)), uint32(len(text)))
	_, err = w.Write(append(msg, text...))
	return err
}

// readHead fills head. The error is io.EOF only where the input ends before the
// first byte; a later end is io.ErrUnexpectedEOF.
func readHead(r io.Reader, head any) error {
	var prefix [4]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(prefix[:])
	if n == 0 || n > maxHead {
		return broken("starts with %s, not with the length of a head", quote(string(prefix[:])))
	}
	text := make([]byte, n)
	if err := readFull(r, text); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(head); err != nil {
		return broken("head: %s", printable(err.Error()))
	}
	if _, err := dec.Token(); err != io.EOF {
		return broken("more than one value in a head")
	}
	return nil
}

// readFull is io.ReadFull, but never io.EOF: the peer owes these bytes.
func readFull(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// The decoder's end.

// readRequest reads one request, and its source into m. io.EOF: there are no more.
func readRequest(r io.Reader, m *memory) (*Request, []byte, error) {
	var head requestHead
	if err := readHead(r, &head); err != nil {
		return nil, nil, err
	}
	if err := head.makeRoom(); err != nil {
		return nil, nil, broken("request: %v", err)
	}
	if err := head.check(); err != nil {
		return nil, nil, broken("request: %v", err)
	}
	if head.Bytes < 1 || head.Bytes > MaxSource {
		return nil, nil, broken("a source of %d bytes is not from 1 to %d", head.Bytes, MaxSource)
	}
	src, err := m.take(head.Bytes)
	if err != nil {
		if skip := head.skip(r); skip != nil {
			return nil, nil, skip
		}
		return nil, nil, err
	}
	if err := readFull(r, src); err != nil {
		return nil, nil, err
	}
	for _, m := range head.watermarks() {
		if err := readFull(r, m.Picture); err != nil {
			return nil, nil, err
		}
	}
	return &head.Request, src, nil
}

// skip reads what follows the head without keeping it, so that the next request
// can be read.
func (h *requestHead) skip(r io.Reader) error {
	n := h.Bytes
	for _, m := range h.watermarks() {
		n += int64(len(m.Picture))
	}
	_, err := io.CopyN(io.Discard, r, n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// watermarks are those of all targets, in their order.
func (r *Request) watermarks() []*Watermark {
	var all []*Watermark
	for _, t := range r.Targets {
		if t.Preset != nil && t.Preset.Watermark != nil {
			all = append(all, t.Preset.Watermark)
		}
	}
	return all
}

// makeRoom gives the watermarks memory for their pictures, once the number of
// them and the length of each is known to be allowed.
func (h *requestHead) makeRoom() error {
	marks := h.watermarks()
	if len(marks) != len(h.Watermarks) || len(marks) > MaxTargets {
		return fmt.Errorf("%d watermarks of %d presets", len(h.Watermarks), len(marks))
	}
	for i, n := range h.Watermarks {
		if n < 1 || n > MaxWatermark {
			return fmt.Errorf("a watermark of %d bytes is not from 1 to %d", n, MaxWatermark)
		}
		marks[i].Picture = make([]byte, n)
	}
	return nil
}

func writeResults(w io.Writer, results []Result) error {
	var head answerHead
	for _, r := range results {
		head.Results = append(head.Results, resultHead{r.Format, r.Width, r.Height, r.Frames, int64(len(r.Data))})
	}
	if err := writeHead(w, head); err != nil {
		return err
	}
	for _, r := range results {
		if _, err := w.Write(r.Data); err != nil {
			return err
		}
	}
	return nil
}

func writeError(w io.Writer, e *ImageError) error {
	return writeHead(w, answerHead{Error: &errorHead{TooLarge: e.TooLarge, Detail: printable(e.Detail)}})
}

// writeUnable says that the decoder has failed, and not because of the image.
func writeUnable(w io.Writer, err error) error {
	return writeHead(w, answerHead{Error: &errorHead{Unable: true, Detail: printable(err.Error())}})
}

// The pool's end. What it reads may come from an enemy.

// readGreeting is strict about the first message, because the commonest
// mistake is a wrong program in the configuration.
func readGreeting(r io.Reader) (*greeting, error) {
	var g greeting
	if err := readHead(r, &g); err != nil {
		return nil, err
	}
	if g.Protocol != protocol {
		return nil, broken("it speaks protocol %d, this program %d: install both from the same build", g.Protocol, protocol)
	}
	if len(g.Formats) == 0 || len(g.Formats) > MaxTargets {
		return nil, broken("it decodes %d formats", len(g.Formats))
	}
	for _, f := range g.Formats {
		if !knownFormat(f) {
			return nil, broken("it decodes %s, which is not one of jpeg, png, gif, webp", quote(f))
		}
	}
	if err := errors.Join(checkSources(g.Sources), checkOutputs(g.Outputs)); err != nil {
		return nil, broken("%v", err)
	}
	if len(g.Held)+len(g.Missing) > maxLayers {
		return nil, broken("its sandbox has %d layers", len(g.Held)+len(g.Missing))
	}
	for _, texts := range [][]string{g.Held, g.Missing} {
		for i := range texts {
			texts[i] = printable(texts[i])
		}
	}
	g.Libvips = printable(g.Libvips)
	return &g, nil
}

// errSource is the failure of the caller's reader, told from one of the pipe.
type errSource struct{ err error }

func (e *errSource) Error() string { return "resize: read source: " + e.err.Error() }
func (e *errSource) Unwrap() error { return e.err }

type sourceReader struct{ r io.Reader }

func (s sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		err = &errSource{err}
	}
	return n, err
}

// pieces are what sources are copied in. Each wakes the decoder, so they are larger than
// io.Copy's.
var pieces = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// copySource copies n bytes, or fewer if src ends before.
func copySource(w io.Writer, src io.Reader, n int64) (int64, error) {
	piece := pieces.Get().(*[256 << 10]byte)
	defer pieces.Put(piece)
	// A file's own ReadFrom would copy by pieces of its own.
	return io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(sourceReader{src}, n), piece[:])
}

func writeRequest(w io.Writer, r *Request, src io.Reader, n int64) error {
	head := requestHead{Request: *r, Bytes: n}
	for _, m := range r.watermarks() {
		head.Watermarks = append(head.Watermarks, len(m.Picture))
	}
	if err := writeHead(w, head); err != nil {
		return err
	}
	m, err := copySource(w, src, n)
	if err == nil && m < n {
		return &errSource{fmt.Errorf("it has %d bytes, not %d: %w", m, n, io.ErrUnexpectedEOF)}
	}
	for _, m := range r.watermarks() {
		if err == nil {
			_, err = w.Write(m.Picture)
		}
	}
	return err
}

// errUnable is a decoder's own account of a failure that is not the image's.
type errUnable struct{ detail string }

func (e *errUnable) Error() string { return "not because of the image: " + e.detail }

// readAnswer reads the answer to req. The error is an *ImageError or an *errUnable
// where the decoder says so; any other says that the decoder is not to be used again.
// All results together have at most maxBytes bytes.
func readAnswer(r io.Reader, req *Request, maxBytes int64) ([]Result, error) {
	var head answerHead
	if err := readHead(r, &head); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if e := head.Error; e != nil {
		if head.Results != nil {
			return nil, broken("an answer with an error and with results")
		}
		if e.Unable {
			return nil, &errUnable{printable(e.Detail)}
		}
		return nil, &ImageError{e.TooLarge, printable(e.Detail)}
	}
	if len(head.Results) != len(req.Targets) {
		return nil, broken("%d results for %d targets", len(head.Results), len(req.Targets))
	}
	// All of the head is checked before memory is taken for any of the bytes.
	left := maxBytes
	for i, h := range head.Results {
		if err := h.check(req, i); err != nil {
			return nil, err
		}
		if h.Bytes < 1 || h.Bytes > left {
			return nil, broken("result %d has %d bytes, and %d are left of the most", i, h.Bytes, left)
		}
		left -= h.Bytes
	}
	results := make([]Result, len(head.Results))
	for i, h := range head.Results {
		data := make([]byte, h.Bytes)
		if err := readFull(r, data); err != nil {
			return nil, err
		}
		if !begins(h.Format, data) {
			return nil, broken("result %d is no %s: it begins with %s", i, h.Format, quote(string(data[:min(16, len(data))])))
		}
		results[i] = Result{h.Format, h.Width, h.Height, h.Frames, data}
	}
	return results, nil
}

// check compares a result with what was asked for.
func (h *resultHead) check(req *Request, i int) error {
	if want := req.FormatOf(i); h.Format != want {
		return broken("result %d is %s, not %s", i, quote(h.Format), want)
	}
	limit := req.Targets[i].Limit()
	within := func(side, most int) bool {
		return side >= 1 && side <= maxCoord && (most == 0 || side <= most)
	}
	if !within(h.Width, limit.Width) || !within(h.Height, limit.Height) {
		return broken("result %d is %d high and %d wide, outside of %s", i, h.Height, h.Width, limit)
	}
	most := int64(1)
	if req.Targets[i].Animates(req.Format) {
		most = max(most, req.AnimationPixels)
	}
	if h.Frames < 1 || int64(h.Frames) > most {
		return broken("result %d has %d frames", i, h.Frames)
	}
	return nil
}

// printable makes hostile text fit for an error or a log line: printable ASCII,
// one line, short.
func printable(s string) string {
	b := []byte(s[:min(len(s), maxDetail)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
