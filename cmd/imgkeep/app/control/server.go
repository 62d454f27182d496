package control

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"imgkeep/cmd/imgkeep/app/server"
)

const (
	maxRequest = 64 << 10
	// every is how often progress is told, at most.
	every = 200 * time.Millisecond
)

// Server answers requests over the socket.
type Server struct {
	local   *Local
	metrics http.Handler
	log     *slog.Logger
	uid     int // besides root, who is answered
}

// NewServer returns a server that answers with a Local. GET /metrics is answered by
// metrics; nil: there is none.
func NewServer(l *Local, metrics http.Handler) *Server {
	return &Server{local: l, metrics: metrics, log: l.opts.Log, uid: os.Geteuid()}
}

// Serve answers until ctx ends, and then breaks off what is under way and
// returns nil. It closes the listener, which removes its socket.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	answers := &http.Server{
		Handler:           s.guard(s.routes()),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
		ErrorLog:          server.ErrorLog(s.log),
	}
	stop := context.AfterFunc(ctx, func() { answers.Close() })
	defer stop()
	if err := answers.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	handle(s, mux, callShow)
	handle(s, mux, callList)
	handle(s, mux, callLatest)
	handle(s, mux, callFailed)
	handle(s, mux, callHosts)
	handle(s, mux, callHistory)
	handle(s, mux, callStats)
	handle(s, mux, callFigures)
	handle(s, mux, callRemove)
	handle(s, mux, callRetry)
	handle(s, mux, callScrub)
	handle(s, mux, callCompact)
	handle(s, mux, callReload)
	handle(s, mux, callRan)
	handle(s, mux, callAllow)
	handle(s, mux, callHashes)
	handle(s, mux, callLooks)
	mux.HandleFunc("POST "+populatePath, s.populate)
	mux.HandleFunc("POST "+addPath, s.add)
	mux.HandleFunc("POST "+similarPath, s.similar)
	if s.metrics != nil {
		mux.Handle("GET /metrics", s.metrics)
	}
	return mux
}

// handle answers a call.
func handle[Q, R any](s *Server, mux *http.ServeMux, c call[Q, R]) {
	mux.HandleFunc(c.method+" "+c.path, func(w http.ResponseWriter, r *http.Request) {
		var q Q
		if err := decode(r, &q); err != nil {
			fail(w, http.StatusBadRequest, err)
			return
		}
		a := newAnswer(w, r)
		result, err := c.do(s.local.As(callerOf(r)), r.Context(), q, a.event)
		a.end(c.result, result, err)
	})
}

// add answers the call whose body is an image.
func (s *Server) add(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	url, err := base64.StdEncoding.DecodeString(query.Get("url"))
	if err != nil || len(query["bucket"]) != 1 || len(query["url"]) != 1 {
		fail(w, http.StatusBadRequest, errors.New("the request is not understood: want bucket, and url in base64"))
		return
	}
	q := AddRequest{Bucket: query.Get("bucket"), URL: string(url), Run: query.Has("run")}
	outcome, err := s.local.As(callerOf(r)).Add(r.Context(), q, r.Body)
	io.Copy(io.Discard, r.Body) // or a client that is still sending would not get to the answer
	newAnswer(w, r).end(addResult, outcome, err)
}

// similar answers the call whose body may be an image.
func (s *Server) similar(w http.ResponseWriter, r *http.Request) {
	var q SimilarRequest
	dec := json.NewDecoder(strings.NewReader(r.URL.Query().Get("q")))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("the request is not understood: %w", err))
		return
	}
	found, err := s.local.As(callerOf(r)).Similar(r.Context(), q, r.Body)
	io.Copy(io.Discard, r.Body)
	newAnswer(w, r).end(similarResult, found, err)
}

type peerKey struct{}

// withPeer notes who connects.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uid := -1
	if u, ok := c.(*net.UnixConn); ok {
		if raw, err := u.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) {
				if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
					uid = int(cred.Uid)
				}
			})
		}
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// guard refuses everyone but root and the server's own user.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uid, ok := r.Context().Value(peerKey{}).(int)
		if !ok || uid != 0 && uid != s.uid {
			s.log.Warn("admin socket: refused", "uid", uid)
			fail(w, http.StatusForbidden, fmt.Errorf("user %d may not: only root and user %d", uid, s.uid))
			return
		}
		if r.URL.Path != addPath && r.URL.Path != similarPath && r.URL.Path != populatePath { // which bound it themselves
			r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		}
		next.ServeHTTP(w, r)
	})
}

const contentType = "application/x-ndjson"

func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(line{Error: err.Error()})
}

// answer is written line by line. A client that has left ends the work by the
// request's context.
type answer struct {
	w       http.ResponseWriter
	request context.Context
	mu      sync.Mutex
	enc     *json.Encoder
	begun   bool
	last    time.Time // of progress
}

func newAnswer(w http.ResponseWriter, r *http.Request) *answer {
	w.Header().Set("Content-Type", contentType)
	return &answer{w: w, request: r.Context(), enc: json.NewEncoder(w)}
}

// event writes an event: progress only now and then, an item of many when there is
// enough to send, and anything else at once.
func (a *answer) event(e Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.Progress != nil {
		if time.Since(a.last) < every {
			return nil
		}
		a.last = time.Now()
	}
	a.begun = true
	if a.enc.Encode(e) == nil && e.Item == nil {
		http.NewResponseController(a.w).Flush()
	}
	return a.request.Err()
}

// end writes the result, also beside an error.
func (a *answer) end(name string, result any, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.begun:
	case errors.Is(err, errCompacting):
		a.w.WriteHeader(http.StatusConflict)
	case errors.Is(err, errNoReload):
		a.w.WriteHeader(http.StatusNotImplemented)
	case errors.Is(err, errNoRun):
		a.w.WriteHeader(http.StatusBadRequest)
	}
	last, encodeErr := lastLine(name, result, err)
	if encodeErr != nil {
		a.enc.Encode(line{Error: encodeErr.Error()})
		return
	}
	a.enc.Encode(last)
}

// decode reads a request. One that says nothing needs no body.
func decode(r *http.Request, v any) error {
	if _, empty := v.(*none); empty {
		return nil
	}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("the request is not understood: %w", err)
	}
	return nil
}
