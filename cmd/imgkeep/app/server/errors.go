package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/strip"
	"imgkeep/bucket/variant"
	"imgkeep/nginx"
	"imgkeep/resize"
	"imgkeep/sign"
)

// response is what a viewer gets for an error.
type response struct {
	status int
	code   string        // in the header X-Imgkeep-Error; stable
	line   string        // the body
	retry  time.Duration // Retry-After; 0: none
	fault  bool          // a fault of the server: it is logged as an error
}

// soon is when to come back after a shortage that passes by itself.
const soon = 5 * time.Second

// errMethod is a request that is neither GET nor HEAD.
var errMethod = errors.New("method not allowed")

// responses is the table of errors; the first match applies. Its lines are for strangers:
// they contain only what the link shows.
var responses = []struct {
	err error
	response
}{
	{errMethod, response{status: 405, code: "method", line: "method not allowed: use GET or HEAD"}},
	{errToken, response{status: 401, code: "token", line: errorLine(http.StatusUnauthorized)}},
	{sign.ErrMalformed, response{status: 400, code: "malformed", line: "malformed link: want /{bucket}/{size}/{signature}/{base64url of the image's URL}"}},
	{sign.ErrForged, response{status: 403, code: "signature", line: "the signature is wrong"}},
	{sign.ErrExpired, response{status: 410, code: "expired", line: "the link has expired: load the page it was on again"}},
	{bucket.ErrNoBucket, response{status: 404, code: "bucket", line: "no such bucket"}},
	{errSize, response{status: 400, code: "size", line: "no such size: ask for full, info, a preset or a listed {height}x{width}"}},
	{errProxySize, response{status: 400, code: "proxy-size", line: "/proxy goes with the size full only"}},
	{errLoop, response{status: 403, code: "loop", line: "this server does not fetch from itself"}},
	{imageurl.ErrURL, response{status: 400, code: "url", line: "the link holds no URL of an image"}},
	{bucket.ErrDenied, response{status: 451, code: "removed", line: "removed by the operator"}},
	{bucket.ErrRemoved, response{status: 451, code: "removed", line: "removed by the operator"}},
	{bucket.ErrFull, response{status: 503, code: "full", line: "the disk is too full to store more: try again later", retry: time.Minute}},
	{bucket.ErrQuota, response{status: 403, code: "quota", line: "no more images from there are stored"}},
	{bucket.ErrAway, response{status: 503, code: "away", line: "the object store does not answer: try again later", retry: soon}},
	{bucket.ErrIndexFailed, response{status: 503, code: "index", line: "the index is being repaired: try again", retry: soon, fault: true}},
	{bucket.ErrClosed, response{status: 503, code: "stopping", line: "the server is stopping: try again", retry: soon}},
	{resize.ErrClosed, response{status: 503, code: "stopping", line: "the server is stopping: try again", retry: soon}},
	{bucket.ErrLost, response{status: 502, code: "lost", line: "the stored image is damaged, and its origin no longer has it", retry: time.Hour, fault: true}},
	{variant.ErrUndecodable, response{status: 422, code: "undecodable", line: "no size can be made of this image: ask for full"}},
	{resize.ErrBusy, response{status: 503, code: "busy", line: "too busy: try again later", retry: soon}},
	{resize.ErrTimeout, response{status: 503, code: "resize-timeout", line: "making this size took too long", retry: time.Minute, fault: true}},
	{resize.ErrCrashed, response{status: 503, code: "resize-crashed", line: "making this size failed: try again later", retry: time.Minute, fault: true}},
	// Known failures: the operator was told when they happened.
	{variant.ErrSlow, response{status: 503, code: "resize-timeout", line: "making this size took too long", retry: time.Minute}},
	{variant.ErrPoison, response{status: 503, code: "resize-crashed", line: "making this size failed: try again later", retry: time.Minute}},
	{strip.ErrBroken, response{status: 422, code: "broken", line: "the image is broken or cut off"}},
}

// failures are the responses to failed fetches, by kind.
var failures = map[fetch.ErrorKind]response{
	fetch.Refused:       {status: 403, code: "refused", line: "images from there are not fetched"},
	fetch.Denied:        {status: 451, code: "removed", line: "removed by the operator"},
	fetch.Gone:          {status: 404, code: "gone", line: "the image is gone from its origin"},
	fetch.Blocked:       {status: 502, code: "blocked", line: "the origin refuses to give the image", retry: soon},
	fetch.Failed:        {status: 502, code: "origin", line: "the origin failed", retry: soon},
	fetch.Timeout:       {status: 504, code: "origin-timeout", line: "the origin took too long", retry: soon},
	fetch.TooLarge:      {status: 413, code: "too-large", line: "the image has too many bytes"},
	fetch.TooManyPixels: {status: 413, code: "too-many-pixels", line: "the image has too many pixels"},
	fetch.TooManyFrames: {status: 413, code: "too-many-frames", line: "the animation has too many frames, or too many pixels in all of them together"},
	fetch.NotImage:      {status: 415, code: "type", line: "not an image of an accepted type"},
	fetch.Broken:        {status: 422, code: "broken", line: "the image is broken or cut off"},
	bucket.Rejected:     {status: 451, code: "rejected", line: "rejected by the operator's check"},
	bucket.Similar:      {status: 451, code: "similar", line: "it looks like an image that the operator has removed"},
	bucket.Unchecked:    {status: 503, code: "unchecked", line: "the operator's check gives no answer: try again later", retry: soon},
	fetch.Busy:          {status: 503, code: "busy", line: "too busy: try again later", retry: soon},
	fetch.Paused:        {status: 503, code: "paused", line: "the origin asks to be left alone: try again later", retry: time.Minute},
}

func responseOf(err error, now time.Time) response {
	for _, v := range responses {
		if errors.Is(err, v.err) {
			if paused, ok := errors.AsType[*variant.PauseError](err); ok {
				v.retry = max(paused.Until.Sub(now), time.Second)
			}
			return v.response
		}
	}
	var failure *bucket.Failure
	if errors.As(err, &failure) {
		v, ok := failures[failure.Kind]
		if ok && v.retry > 0 {
			v.retry = max(failure.Next.Sub(now), time.Second)
		}
		if ok {
			return v
		}
	}
	var fetched *fetch.Error
	if errors.As(err, &fetched) {
		if v, ok := failures[fetched.Kind]; ok {
			if v.retry > 0 && fetched.RetryAfter > 0 {
				v.retry = fetched.RetryAfter
			}
			return v
		}
	}
	var broken *resize.ImageError
	if errors.As(err, &broken) {
		if broken.TooLarge {
			return failures[fetch.TooManyPixels]
		}
		return response{status: 422, code: "broken", line: "the image is broken: no size can be made of it"}
	}
	return response{status: 500, code: codeInternal, line: "internal error", fault: true}
}

const codeInternal = "internal"

// errorLine is the line that nginx also sends for an error that both can meet.
func errorLine(status int) string {
	for _, page := range nginx.ErrorPages() {
		if page.Status == status {
			return page.Line
		}
	}
	return http.StatusText(status)
}

// refusal is an error as an answer. status 0: the viewer has left.
type refusal struct {
	s *Server
	response
}

func (a *refusal) code() string { return a.response.code }

func (a *refusal) send(w http.ResponseWriter, _ *http.Request) {
	if a.status != 0 {
		a.s.write(w, a.response)
	}
}

// refuse is the answer to a request that has failed.
func (s *Server) refuse(q *request, err error) answer {
	ctx := q.http.Context()
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return &refusal{s, response{code: CodeLeft}}
	}
	a := responseOf(err, s.opts.Now())
	if errors.Is(err, bucket.ErrFull) {
		s.full.note(s.opts.Log, s.opts.Now(), err)
	}
	if a.fault {
		s.opts.Log.Error("request failed", s.attr(q), "status", a.status, "code", a.code, "error", err)
	} else {
		s.opts.Log.Debug("request refused", s.attr(q), "status", a.status, "code", a.code, "error", err)
	}
	return &refusal{s, a}
}

// fullDisk logs once that nothing new can be kept, and once that it can be again: there may
// be many requests meanwhile, and each would write a line to the full disk. The zero value
// is a disk with room.
type fullDisk struct {
	mu      sync.Mutex
	full    bool
	logged  time.Time // when the log last said that it is full
	refused int       // since then
}

// fullPause is the shortest time between two such lines.
const fullPause = 10 * time.Minute

// note records that something was refused because the disk is full.
func (f *fullDisk) note(log *slog.Logger, now time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused++
	if f.full || !f.logged.IsZero() && now.Sub(f.logged) < fullPause {
		return
	}
	f.full, f.logged, f.refused = true, now, 1
	log.Error("the disk is too full: nothing new is kept until there is room; kept images are served", "error", err)
}

// hasRoom records that something new was kept.
func (f *fullDisk) hasRoom(log *slog.Logger) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.full {
		return
	}
	f.full = false
	log.Info("there is room on the disk again, and new images are kept", "refused", f.refused)
}

// write writes a response, as a placeholder or a line of text.
func (s *Server) write(w http.ResponseWriter, v response) {
	h := w.Header()
	h.Set(nginx.HeaderError, v.code)
	if v.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(v.retry.Seconds()))))
	}
	switch v.status {
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, HEAD")
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	}
	placeholder := s.opts.Placeholder
	if p := s.opts.Placeholders[v.code]; p != nil {
		placeholder = p
	}
	if placeholder != nil {
		setWriteDeadline(w, int64(len(placeholder.data)))
		h.Set("Content-Type", placeholder.contentType)
		h.Set("Content-Length", strconv.Itoa(len(placeholder.data)))
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(v.status)
		w.Write(placeholder.data)
		return
	}
	plain(w, v.status, v.line)
}

// plain answers one line of text that must not be cached.
func plain(w http.ResponseWriter, status int, line string) {
	setWriteDeadline(w, int64(len(line)))
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(line)+1))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, line)
}
