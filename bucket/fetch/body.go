package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/whole"
)

// maxPage is how many bytes of a page are searched for a challenge.
const maxPage = 4 << 10

// maxTail is how many bytes after the end of an image are kept, so that the digest is that
// of the origin's file: a newline, a camera's notes. If more follow (a phone's video, or
// data that an attacker wants stored and served as an image), the image is cut at its end,
// and the rest is not even downloaded. The part that counts as the image may still contain
// anything, such as comments.
const maxTail = 8 << 10

// tail passes an image on to dst, and holds back what follows its end.
type tail struct {
	dst     io.Writer
	scanner *probe.Scanner
	kept    int64 // Request.Kept
	written int64
	held    []byte
}

// take receives the next piece, which the scanner has seen, and says whether more is
// wanted.
func (t *tail) take(piece []byte) (more bool, err error) {
	end, known := t.scanner.End()
	if !known {
		return true, t.write(piece)
	}
	end = max(end, t.kept)
	n := min(int64(len(piece)), end-t.written)
	if err := t.write(piece[:n]); err != nil {
		return false, err
	}
	if t.kept > 0 {
		return t.written < end, nil
	}
	if len(t.held)+len(piece[n:]) > maxTail {
		t.held = nil
		return false, nil
	}
	t.held = append(t.held, piece[n:]...)
	return true, nil
}

// finish is called when the body ends: held back bytes then belong to the image.
func (t *tail) finish() error { return t.write(t.held) }

func (t *tail) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	m, err := t.dst.Write(b)
	t.written += int64(m)
	if err == nil && m != len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("fetch: writing: %w", err)
	}
	return nil
}

// buffers are what bodies are read into: one for each fetch that runs.
var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// answer is a body, and where it comes from.
type answer struct {
	host   string // empty: a local file
	status int    // 0: a local file
	length int64  // as announced; negative: unknown
	body   io.Reader
	// unframed: the body ends with the connection, so nothing shows whether all of it
	// arrived (RFC 9112, section 6.3).
	unframed bool
	// challenge: the header says that this is a challenge, not the image.
	challenge bool
}

func (a *answer) errorf(c ErrorKind, format string, args ...any) *Error {
	e := errorf(c, a.host, format, args...)
	e.Status = a.status
	return e
}

// receive copies the image to dst and returns its description. It judges each piece before
// dst gets it. It reads nothing after the result is known, no more than one byte beyond the
// limit, and no more than maxTail bytes after the image's end.
func (a *answer) receive(ctx context.Context, r Request, dst io.Writer) (probe.Info, int64, error) {
	if a.length > r.MaxBytes {
		return probe.Info{}, 0, a.errorf(TooLarge, "%d bytes announced, at most %d are taken", a.length, r.MaxBytes)
	}
	buffer := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buffer)
	scanner := probe.NewScanner(r.Limits)
	image := &tail{dst: dst, scanner: scanner, kept: r.Kept}
	var head []byte
	var n int64
	for {
		// One byte more than allowed distinguishes the largest image from a larger one.
		limit := min(int64(len(buffer)), r.MaxBytes-n+1)
		m, readErr := a.body.Read(buffer[:limit])
		piece := buffer[:m]
		n += int64(m)
		head = append(head, piece[:min(m, MaxHead-len(head))]...)
		if n > r.MaxBytes {
			return probe.Info{}, n, a.errorf(TooLarge, "more than %d bytes", r.MaxBytes)
		}
		if _, err := scanner.Write(piece); err != nil {
			return probe.Info{}, n, a.verdict(err, head, buffer[:], m)
		}
		more, err := image.take(piece)
		if err != nil {
			return probe.Info{}, n, err
		}
		// A stream that is reset after all announced bytes have arrived is complete.
		if readErr == io.EOF || readErr != nil && n == a.length {
			if err := image.finish(); err != nil {
				return probe.Info{}, n, err
			}
			break
		}
		if !more {
			break
		}
		if ctx.Err() != nil {
			return probe.Info{}, n, a.errorf(Timeout, "%w after %d bytes", context.Cause(ctx), n)
		}
		if readErr != nil {
			return probe.Info{}, n, a.cutOff(n, readErr)
		}
	}
	if n == 0 {
		return probe.Info{}, 0, a.errorf(Failed, "empty body")
	}
	info, err := scanner.Close()
	if errors.Is(err, probe.ErrTruncated) && a.length == n && r.Again != nil {
		// All announced bytes have arrived, so it may be a whole image whose writer left
		// out its end.
		if again := whole.Check(r.Again, n, info); !errors.Is(again, probe.ErrTruncated) {
			err = again
		}
	}
	if err != nil {
		return probe.Info{}, n, a.verdict(err, head, head, len(head))
	}
	if a.unframed && scanner.Endless() {
		return probe.Info{}, n, a.errorf(Broken, "neither the %s nor the answer says where it ends: after %d bytes it may be cut off", info.Format, n)
	}
	return info, image.written, nil
}

// cutOff says that a body ended before its end: fewer bytes than Content-Length
// announces, a chunk or the last one missing, a connection or stream reset.
func (a *answer) cutOff(n int64, err error) error {
	if a.length >= 0 {
		return a.errorf(Broken, "cut off after %d of %d bytes: %w", n, a.length, err)
	}
	return a.errorf(Broken, "cut off after %d bytes: %w", n, err)
}

// verdict returns the kind of error that a scanner's result is. buffer holds the last piece, m
// bytes, and has room for more.
func (a *answer) verdict(err error, head, buffer []byte, m int) error {
	switch {
	case errors.Is(err, probe.ErrPixels):
		return a.errorf(TooManyPixels, "%w", err)
	case errors.Is(err, probe.ErrFrames):
		return a.errorf(TooManyFrames, "%w", err)
	case !errors.Is(err, probe.ErrType):
		return a.errorf(Broken, "%w", err)
	}
	e := a.errorf(NotImage, "%w", err)
	e.Head = head
	if a.challenge || markup(head) && challengePage(a.page(buffer, m)) {
		e.Kind, e.Err = Blocked, errors.New("a challenge instead of an image")
	}
	return e
}

// page returns the beginning of a page: the m bytes that are in buffer, and more up to its
// size. Errors of reading more do not matter: the page is no image in any case.
func (a *answer) page(buffer []byte, m int) []byte {
	buffer = buffer[:min(maxPage, len(buffer))]
	if m < len(buffer) {
		more, _ := io.ReadFull(a.body, buffer[m:])
		buffer = buffer[:m+more]
	}
	return buffer
}

// markup reports whether bytes look like the beginning of HTML or XML.
func markup(head []byte) bool {
	head = bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	return bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("<"))
}

// challenges are lower-case texts of pages that want to see a browser or a person before
// they show an image. Such pages often come with status 200.
var challenges = [][]byte{
	[]byte("/cdn-cgi/challenge-platform/"), []byte("cf_chl_opt"), []byte("cf-browser-verification"),
	[]byte("<title>just a moment...</title>"), []byte("<title>attention required! | cloudflare</title>"),
	[]byte("<title>ddos-guard</title>"), []byte("/.well-known/ddos-guard/"),
	[]byte("_incapsula_resource"), []byte("captcha-delivery.com"), []byte("px-captcha"), []byte("awswafcookiedomainlist"),
}

func challengePage(page []byte) bool {
	page = bytes.ToLower(page)
	for _, c := range challenges {
		if bytes.Contains(page, c) {
			return true
		}
	}
	return false
}
