package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"imgkeep/bucket/probe"
	"imgkeep/nginx"
)

// uncachedAge is how long a browser may keep an image that we do not keep.
const uncachedAge = time.Hour

// answer is what a viewer gets: a file or its length, a document, a file that nginx sends,
// or an error.
type answer interface {
	// code is what an Observer is told.
	code() string
	// send sends it, and releases what it holds.
	send(w http.ResponseWriter, r *http.Request)
}

// good is part of answers that are no errors.
type good struct{}

func (good) code() string { return CodeOK }

// file is a file that this server sends.
type file struct {
	good
	s      *Server
	q      *request
	format probe.Format
	file   *os.File // from which nothing has been read
	info   fs.FileInfo
	holder io.Closer // closed at the end
}

// send sends the file with ranges and conditions (RFC 9110, sections 13 and 14). With
// /proxy it has no ETag: the next answer may be another image.
func (a *file) send(w http.ResponseWriter, r *http.Request) {
	defer a.holder.Close()
	h := w.Header()
	a.s.constants.types[a.format].set(h, "Content-Type")
	if a.q.link.Proxy {
		h.Set("Cache-Control", a.s.uncachedControl())
		a.info = unmodified{a.info}
	} else {
		h["Etag"] = []string{etag(a.info.ModTime(), a.info.Size())}
		a.s.constants.control.set(h, "Cache-Control")
		a.s.setVary(h, a.q.varies)
	}
	likeNginx(r, a.info.ModTime())
	a.s.serveContent(&paced{ResponseWriter: w}, r, a.info.ModTime(), a.info.Size(), &content{File: a.file, size: a.info.Size()})
}

// small is a file that was read, for a request without conditions and ranges. It leaves with its
// head, in one system call.
type small struct {
	good
	s        *Server
	q        *request
	format   probe.Format
	buffer   *buffer
	n        int
	modified time.Time
}

func (a *small) send(w http.ResponseWriter, r *http.Request) {
	defer a.release()
	h := w.Header()
	values := [3]string{a.modified.UTC().Format(http.TimeFormat), etag(a.modified, int64(a.n)), strconv.Itoa(a.n)}
	h["Last-Modified"], h["Etag"], h["Content-Length"] = values[0:1:1], values[1:2:2], values[2:3:3]
	h["Accept-Ranges"] = acceptRanges
	a.s.constants.types[a.format].set(h, "Content-Type")
	a.s.constants.control.set(h, "Cache-Control")
	a.s.setVary(h, a.q.varies)
	setWriteDeadline(w, 0)
	if c, ok := r.Context().Value(gathererKey{}).(gatherer); ok {
		c.Hold()
		defer c.Release() // an error means that nobody is there to be told
	}
	if _, err := w.Write(a.buffer[:a.n]); err == nil {
		_ = http.NewResponseController(w).Flush()
	}
}

func (a *small) release() {
	a.s.buffers.put(a.buffer)
	a.buffer = nil
}

var acceptRanges = newConstant("bytes")

// isPlain tells whether a request has neither a condition nor a range, and wants a body.
func isPlain(r *http.Request) bool {
	h := r.Header
	return r.Method == http.MethodGet && !conditional(r) && h["If-None-Match"] == nil && h["If-Modified-Since"] == nil
}

// gatherer is a connection that sends in one piece what is written to it between Hold and
// Release.
type gatherer interface {
	Hold()
	Release() error
}

type gathererKey struct{}

// ConnContext is for http.Server.ConnContext: by it answers know whether their connection has
// the methods Hold and Release of package listen.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if g, ok := c.(gatherer); ok {
		return context.WithValue(ctx, gathererKey{}, g)
	}
	return ctx
}

const (
	smallFile  = 64 << 10 // bytes of a file that is read, and not opened
	maxBuffers = 64       // of files that are being sent
)

type buffer [smallFile]byte

// buffers are for files that are sent, of which slow viewers can hold only so many. The zero
// value has all to give.
type buffers struct {
	mu   sync.Mutex
	free []*buffer
	used int
}

// get returns a buffer; nil: all are in use.
func (b *buffers) get() *buffer {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used == maxBuffers {
		return nil
	}
	b.used++
	if last := len(b.free) - 1; last >= 0 {
		one := b.free[last]
		b.free = b.free[:last]
		return one
	}
	return new(buffer)
}

func (b *buffers) put(one *buffer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used--
	b.free = append(b.free, one)
}

// uncachedControl says how long a browser may keep an image that we do not keep.
func (s *Server) uncachedControl() string {
	return "private, max-age=" + seconds(min(uncachedAge, s.opts.Signer.MaxAge()))
}

// serveContent is http.ServeContent with our words for what is refused.
func (s *Server) serveContent(w http.ResponseWriter, r *http.Request, modified time.Time, size int64, body io.ReadSeeker) {
	setWriteDeadline(w, 0)
	if conditional(r) {
		w = &refusals{ResponseWriter: w, size: size, server: s}
	}
	http.ServeContent(w, r, "", modified, body)
}

// length answers HEAD as file does, from what is known of an image that is not kept.
type length struct {
	good
	s      *Server
	format probe.Format
	bytes  int64
}

func (a *length) send(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.format.ContentType())
	h.Set("Cache-Control", a.s.uncachedControl())
	a.s.serveContent(w, r, time.Time{}, a.bytes, absent(a.bytes))
}

// document is JSON.
type document []byte

func (document) code() string { return CodeOK }

func (a document) send(w http.ResponseWriter, _ *http.Request) {
	setWriteDeadline(w, int64(len(a)))
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(a)))
	h.Set("Cache-Control", "no-store") // sizes come and go
	w.Write(a)                         // an error means that nobody is there to be told
}

// handoff lets nginx send the file, now and, by a hot link, from now on.
type handoff struct {
	good
	s     *Server
	q     *request
	d     delivery
	mark  uint64 // of the link in given; 0: it is not noted there
	again bool   // it is noted: the file was there, and so was the hot link
}

func (a *handoff) send(w http.ResponseWriter, _ *http.Request) {
	if !a.again && a.addHotLink() {
		a.s.given.note(a.mark)
	}
	setWriteDeadline(w, 0)
	h := w.Header()
	clear(h) // nginx drops these headers, and sends its own
	a.s.constants.types[a.d.format].set(h, "Content-Type")
	h.Set(nginx.HeaderRedirect, nginx.InternalPrefix+filepath.ToSlash(a.d.path()))
}

// addHotLink makes a hot link, so that nginx does not ask again, and tells whether it did. The
// link is served without it too, so an error is only logged.
func (a *handoff) addHotLink() bool {
	s, q, d := a.s, a.q, a.d
	if s.opts.Hot == nil {
		return true
	}
	if d.fallback {
		return false
	}
	// No link survives the decision: if the link was made before a removal, or before
	// another server replaces this one, whoever removes links finds it.
	still := func() bool { return s.opts.Store.Removals() == q.removals && s.opts.Current() }
	set := nginx.VariantDir(q.link.Size, q.accepted)
	if err := s.opts.Hot.AddWhile(q.link.Bucket, set, q.link.Signature, d.format.Ext(), s.opts.Store.Path(d.path()), q.expires, still); err != nil {
		// On a full tmpfs every request fails like this.
		if others, ok := s.hotFails.next(s.opts.Now()); ok {
			s.opts.Log.Warn("no hot link made", s.attr(q), "others", others, "error", err)
		}
		return false
	}
	return true
}

// given are the links that nginx was given lately: for Options.HandoffValid neither their files
// nor their hot links are looked at again. It says nothing about whether an image may be shown,
// which each request asks the index, and a removal makes it forget all. It is bounded: a link
// takes the place of another. It may be used concurrently.
type given struct {
	valid time.Duration // 0: nothing is noted
	seed  maphash.Seed
	marks [1 << 16]atomic.Uint64
}

// mark is that of a link now: another one for each link, after each removal, and in each
// interval of valid. Two links have the same by a chance of 1 in 2^64, as nobody knows the seed.
// 0: it is not to be noted.
func (g *given) mark(q *request, d delivery, now time.Time) uint64 {
	if g.valid <= 0 || d.fallback {
		return 0
	}
	var numbers [16]byte
	binary.LittleEndian.PutUint64(numbers[:], q.removals)
	binary.LittleEndian.PutUint64(numbers[8:], uint64(now.UnixNano()/int64(g.valid)))
	var h maphash.Hash
	h.SetSeed(g.seed)
	h.Write(numbers[:])
	h.Write(d.image.Digest[:])
	for _, s := range []string{d.image.Bucket, d.name, d.format.Ext(), q.link.Size, q.link.Signature} {
		h.WriteString(s)
		h.WriteByte('/')
	}
	for _, format := range q.accepted {
		h.WriteString(format)
		h.WriteByte('/')
	}
	return h.Sum64()
}

func (g *given) has(mark uint64) bool {
	return mark != 0 && g.marks[mark%uint64(len(g.marks))].Load() == mark
}

func (g *given) note(mark uint64) {
	if mark != 0 {
		g.marks[mark%uint64(len(g.marks))].Store(mark)
	}
}

// unmodified is a file whose time says nothing about its content.
type unmodified struct{ fs.FileInfo }

func (unmodified) ModTime() time.Time { return time.Time{} }

// likeNginx answers a request with If-Modified-Since as nginx does: with 304 only for
// exactly the time of the file, which says no more than its tag does, and beside
// If-None-Match only if both allow it. (RFC 9110, section 13.1.3, ignores the former then,
// and a whole answer is correct in any case.) Viewers must not be able to tell whether an
// image is hot.
func likeNginx(r *http.Request, modified time.Time) {
	since := r.Header.Get("If-Modified-Since")
	if since == "" {
		return
	}
	if t, err := http.ParseTime(since); err != nil || !t.Equal(modified.Truncate(time.Second)) {
		r.Header.Del("If-None-Match")
		r.Header.Del("If-Modified-Since")
	}
}

// content is a file at its beginning, whose size is known, so that net/http's seek to the
// end and back needs no system call.
type content struct {
	*os.File
	size  int64
	moved bool
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	if !c.moved && offset == 0 {
		switch whence {
		case io.SeekEnd:
			return c.size, nil
		case io.SeekStart:
			return 0, nil
		}
	}
	c.moved = true
	return c.File.Seek(offset, whence)
}

// etag is the entity tag that nginx gives the same file, so that a browser may ask either.
func etag(modified time.Time, size int64) string {
	b := append(make([]byte, 0, 32), '"')
	b = append(strconv.AppendInt(b, modified.Unix(), 16), '-')
	return string(append(strconv.AppendInt(b, size, 16), '"'))
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(d/time.Second), 10)
}

// conditional tells whether a request may be answered with 412 or 416.
func conditional(r *http.Request) bool {
	h := r.Header
	return h["Range"] != nil || h["If-Match"] != nil || h["If-Unmodified-Since"] != nil
}

// refusals replaces the body of 412 and 416, which net/http writes in its own words, by
// ours.
type refusals struct {
	http.ResponseWriter
	size    int64 // of the file
	server  *Server
	refused bool
}

func (w *refusals) WriteHeader(status int) {
	for _, page := range nginx.ErrorPages() {
		if page.Status == status && (status == http.StatusPreconditionFailed || status == http.StatusRequestedRangeNotSatisfiable) {
			w.refused = true
			h := w.Header()
			for _, name := range []string{"ETag", "Last-Modified", "Content-Length"} {
				h.Del(name)
			}
			if status == http.StatusPreconditionFailed {
				w.server.setVary(h, false)
			}
			if status == http.StatusRequestedRangeNotSatisfiable {
				// net/http leaves it out where the range is malformed.
				h.Set("Content-Range", fmt.Sprintf("bytes */%d", w.size))
			}
			w.server.write(w.ResponseWriter, response{status: status, code: page.Code, line: page.Line})
			return
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *refusals) Write(b []byte) (int, error) {
	if w.refused {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// ReadFrom keeps the way open for sendfile.
func (w *refusals) ReadFrom(r io.Reader) (int64, error) {
	if w.refused {
		return io.Copy(io.Discard, r)
	}
	return io.Copy(w.ResponseWriter, r)
}
