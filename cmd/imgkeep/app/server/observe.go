package server

import (
	"log/slog"
	"slices"
	"strconv"
	"time"
)

// Temperature tells how much work a link was. Links that nginx answers by itself
// are hot, and never get here.
type Temperature uint8

// Temperatures.
const (
	Warm Temperature = iota // decided and answered from what is kept
	Cold                    // an image was fetched, or a size made
)

// Observer is told of links that were answered. Its methods may be called
// concurrently, and must not block.
type Observer interface {
	// Answered is called once for each request of a link, when it is decided
	// what the viewer gets and before an image is sent. code is that of the
	// error, CodeOK where there is none, and CodeLeft where the viewer has left
	// before. took is the time that deciding has taken, fetching and making
	// included.
	Answered(code string, t Temperature, took time.Duration)
}

// Codes that no error has.
const (
	CodeOK   = "ok"
	CodeLeft = "left"
)

// Codes are all codes that an Observer may be told.
func Codes() []string {
	codes := []string{CodeOK, CodeLeft, codeInternal}
	for _, v := range verdicts {
		codes = append(codes, v.code)
	}
	for _, v := range classes {
		codes = append(codes, v.code)
	}
	return codes
}

// ErrorCodes are the codes of the errors that a Server answers, sorted. nginx has more, of
// errors that it finds itself.
func ErrorCodes() []string {
	codes := append(Codes(), "precondition", "range")
	codes = slices.DeleteFunc(codes, func(code string) bool { return code == CodeOK || code == CodeLeft })
	slices.Sort(codes)
	return slices.Compact(codes)
}

// visit is one request of a link.
type visit struct {
	began       time.Time
	temperature Temperature
	removals    uint64 // of the store, before it was looked at
	id          uint64 // of the request, for the log
	wish        *wish  // for its size, since before the image was there; or nil
}

// request is the request of a visit, as all lines of the log about it name it: the
// time when this server began, and a number.
func (s *Server) request(v *visit) slog.Attr {
	return slog.String("request", s.begun+"-"+strconv.FormatUint(v.id, 36))
}

// answered tells the observer that a visit is decided.
func (s *Server) answered(v *visit, code string) {
	if s.Observer != nil {
		s.Observer.Answered(code, v.temperature, time.Since(v.began))
	}
}
