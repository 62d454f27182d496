package server

import (
	stdlog "log"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// CacheStatus says how much work a link took. nginx answers hot links by itself; they never
// get here.
type CacheStatus uint8

// The values of CacheStatus.
const (
	Warm CacheStatus = iota // answered from what is kept
	Cold                    // an image was fetched, or a size made
)

// Observer is told of answered links. Its methods may be called concurrently, and must not
// block.
type Observer interface {
	// Answered is called once for each request of a link, when the answer is decided and
	// before an image is sent. code is that of the error, CodeOK without one, and CodeLeft
	// if the viewer has left before. took is the time until the decision, including
	// fetching and making.
	Answered(code string, c CacheStatus, took time.Duration)
}

// Codes that no error has.
const (
	CodeOK   = "ok"
	CodeLeft = "left"
)

// Codes are all codes that an Observer may be told.
func Codes() []string {
	codes := []string{CodeOK, CodeLeft, codeInternal}
	for _, v := range responses {
		codes = append(codes, v.code)
	}
	for _, v := range failures {
		codes = append(codes, v.code)
	}
	return codes
}

// ErrorCodes are the codes of the errors that a Server answers, sorted. nginx has further
// codes, for errors that it finds itself.
func ErrorCodes() []string {
	codes := append(Codes(), "precondition", "range")
	codes = slices.DeleteFunc(codes, func(code string) bool { return code == CodeOK || code == CodeLeft })
	slices.Sort(codes)
	return slices.Compact(codes)
}

// observe tells the observer that a request is decided.
func (s *Server) observe(q *request, a answer) {
	if s.opts.Observer != nil {
		s.opts.Observer.Answered(a.code(), q.cacheStatus, time.Since(q.began))
	}
}

// ErrorLog is for http.Server.ErrorLog. What clients do wrong is for who debugs. But a panic,
// which net/http lets end its request alone, is a mistake of ours, and nobody else tells of it.
func ErrorLog(log *slog.Logger) *stdlog.Logger { return stdlog.New(errorLog{log}, "", 0) }

type errorLog struct{ log *slog.Logger }

func (l errorLog) Write(p []byte) (int, error) {
	text, panicked := strings.CutPrefix(strings.TrimSpace(string(p)), "http: panic serving ")
	if !panicked {
		l.log.Debug(text)
		return len(p), nil
	}
	what, stack, _ := strings.Cut(text, "\n")
	_, what, _ = strings.Cut(what, ": ") // behind the address of the client
	l.log.Error("a request has panicked", "error", "panic: "+what, "stack", stack)
	return len(p), nil
}
