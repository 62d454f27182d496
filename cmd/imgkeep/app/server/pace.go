package server

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// A viewer who reads slower than minRate, in bytes a second, after a grace time is
	// disconnected, so that slow viewers cannot hold descriptors.
	minRate = 4 << 10
	grace   = 30 * time.Second
)

// setWriteDeadline gives the viewer time to read an answer of n bytes, and no longer. The
// deadline stays on the connection, so every answer sets its own before its first byte; the
// wait for a fetch or a resize, which have their own limits, does not count. It has no
// effect on a test's w.
func setWriteDeadline(w http.ResponseWriter, n int64) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(grace + time.Duration(n/minRate)*time.Second))
}

// paced is an answer whose reader must take minRate in each interval of grace: with a limit
// on the whole alone, a viewer who reads a byte a second would hold a file for as long as
// the slowest legitimate one.
type paced struct {
	http.ResponseWriter
	begun bool // the first interval, which serveContent has begun, is over
}

// piece is what is to be taken in an interval, in bytes.
const piece = minRate * int64(grace/time.Second)

// begin begins an interval.
func (w *paced) begin() {
	if w.begun {
		setWriteDeadline(w, 0)
	}
	w.begun = true
}

// Unwrap is for http.ResponseController.
func (w *paced) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *paced) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		w.begin()
		var m int
		m, err = w.ResponseWriter.Write(b[:min(int64(len(b)), piece)])
		n, b = n+m, b[m:]
	}
	return n, err
}

// ReadFrom keeps the way open for sendfile, which knows an io.LimitedReader of a file.
func (w *paced) ReadFrom(r io.Reader) (n int64, err error) {
	to, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	whole, ok := r.(*io.LimitedReader)
	if !ok {
		whole = &io.LimitedReader{R: r, N: 1<<63 - 1}
	}
	for whole.N > 0 {
		w.begin()
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

// absent is a file of known length without content; HEAD reads none.
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

// rare lets one of many similar lines into the log in fullPause. The zero value has let
// none.
type rare struct {
	mu     sync.Mutex
	last   time.Time
	passed int // over, since then
}

// next tells whether a line may be written now, and how many were skipped before it.
func (r *rare) next(now time.Time) (others int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.last.IsZero() && now.Sub(r.last) < fullPause {
		r.passed++
		return 0, false
	}
	others, r.last, r.passed = r.passed, now, 0
	return others, true
}
