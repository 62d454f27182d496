package server

import (
	"errors"
	"io"
	"net/http"
	"time"

	"imgkeep/bucket/probe"
)

// paced is an answer whose reader has to take minRate in each interval of grace: a
// limit on the whole would let one who reads a byte a second hold a file for as long
// as the slowest of good ones.
type paced struct{ http.ResponseWriter }

// piece is what is to be taken in an interval, in bytes.
const piece = minRate * int64(grace/time.Second)

// Unwrap is for http.ResponseController.
func (w paced) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w paced) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		hurry(w, 0)
		var m int
		m, err = w.ResponseWriter.Write(b[:min(int64(len(b)), piece)])
		n, b = n+m, b[m:]
	}
	return n, err
}

// ReadFrom keeps the way open for sendfile, which knows an io.LimitedReader of a file.
func (w paced) ReadFrom(r io.Reader) (n int64, err error) {
	to, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	whole, ok := r.(*io.LimitedReader)
	if !ok {
		whole = &io.LimitedReader{R: r, N: 1<<63 - 1}
	}
	for whole.N > 0 {
		hurry(w, 0)
		part := &io.LimitedReader{R: whole.R, N: min(whole.N, piece)}
		want := part.N
		m, err := to.ReadFrom(part)
		n += m
		whole.N -= m
		if err != nil || m < want {
			return n, err
		}
	}
	return n, nil
}

// headPassing answers HEAD as sendPassing does, by what is known of an image.
func (s *Server) headPassing(w http.ResponseWriter, r *http.Request, format probe.Format, bytes int64) {
	h := w.Header()
	h.Set("Content-Type", format.ContentType())
	h.Set("Cache-Control", "private, max-age="+seconds(min(passingAge, s.Signer.MaxAge())))
	hurry(w, 0)
	out := w
	if conditional(r) {
		out = &refusals{ResponseWriter: w, size: bytes, server: s}
	}
	http.ServeContent(out, r, "", time.Time{}, absent(bytes))
}

// absent is a file of so many bytes of which none can be read, and with HEAD none is.
type absent int64

func (absent) Read([]byte) (int, error) {
	return 0, errors.New("there is only the length of this image")
}

func (a absent) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		offset += int64(a)
	}
	return offset, nil
}
