package fetch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrorKind says why a fetch failed, and so how to react: whether to ask again, when, and what
// to tell the viewer.
type ErrorKind string

// The kinds.
const (
	// Refused: our own policy forbids it: scheme, userinfo, host, port or network.
	Refused ErrorKind = "refused"
	// Denied: the host is on Options.DenyHosts.
	Denied ErrorKind = "denied"
	// Gone: the origin says that the image is not there (404, 410).
	Gone ErrorKind = "gone"
	// Blocked: the origin refuses us, or does so for now (401, 403, 429, 451, a challenge
	// page with any status). RetryAfter is set if the origin said when to return.
	Blocked ErrorKind = "blocked"
	// Failed: the origin answered with another error or against the protocol,
	// or could not be found or reached.
	Failed ErrorKind = "failed"
	// Timeout: the origin took too long.
	Timeout ErrorKind = "timeout"
	// TooLarge: more bytes than Request.MaxBytes.
	TooLarge ErrorKind = "too-large"
	// TooManyPixels: more pixels, or a longer side, than Request.Limits allow.
	TooManyPixels ErrorKind = "too-many-pixels"
	// TooManyFrames: an animation of more frames, or of more pixels in all of
	// them together, than Request.Limits allow.
	TooManyFrames ErrorKind = "too-many-frames"
	// NotImage: the bytes are not an image of an accepted format.
	NotImage ErrorKind = "not-image"
	// Broken: an image, but damaged, or cut off on the way.
	Broken ErrorKind = "broken"
	// Busy: this server has too much to do. It says nothing about the origin.
	Busy ErrorKind = "busy"
	// Paused: the host asked for a pause when another URL was fetched, and was not asked
	// again. RetryAfter is the rest of the pause.
	Paused ErrorKind = "paused"
)

// ErrorKinds are all kinds that an Error can have.
func ErrorKinds() []ErrorKind {
	return []ErrorKind{Refused, Denied, Gone, Blocked, Failed, Timeout, TooLarge, TooManyPixels, TooManyFrames, NotImage, Broken, Busy, Paused}
}

// Error tells that a fetch failed, and whose fault it was.
type Error struct {
	Kind       ErrorKind
	Status     int           // the origin's HTTP status; 0: there was none
	RetryAfter time.Duration // how long the origin asks to be left alone, at most 24 h; 0: it did not say
	Host       string        // the host that failed, the last one of the redirects; empty: none was named
	Head       []byte        // the first bytes of what came instead of an image, at most MaxHead, see Excerpt; nil: none
	Err        error         // what was wrong; never nil

	// Asked: a host was asked for the image, and redirected to the failure. If it is false,
	// a failure that is Refused, Denied, Busy or Paused has cost no host a request.
	Asked bool

	unconnected bool // no connection was made yet
}

// MaxHead bounds Error.Head, in bytes.
const MaxHead = 256

// Excerpt returns an origin's bytes as one line for the operator: cut to MaxHead
// bytes, with everything escaped that a terminal or a log would act on.
func Excerpt(head []byte) string {
	return printable(string(head[:min(len(head), MaxHead)]), 4*MaxHead)
}

// maxErrorText bounds the text of an error. An origin may have written parts of it.
const maxErrorText = 300

// Error returns one line for the operator's log. It is printable even if it quotes an
// origin, so that no origin can forge a log line or control the operator's terminal.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("fetch")
	if e.Host != "" {
		b.WriteString(" " + e.Host)
	}
	fmt.Fprintf(&b, ": %s: %v", e.Kind, e.Err)
	return printable(b.String(), maxErrorText)
}

// Unwrap returns what was wrong.
func (e *Error) Unwrap() error { return e.Err }

// errorf makes an Error of kind c. The format's %w works as in fmt.Errorf.
func errorf(c ErrorKind, host, format string, args ...any) *Error {
	return &Error{Kind: c, Host: host, Err: fmt.Errorf(format, args...)}
}

// printable cuts s to at most limit bytes and escapes what a terminal or a log
// would act on.
func printable(s string, limit int) string {
	clean := utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
	if !clean {
		q := strconv.QuoteToASCII(s)
		s = q[1 : len(q)-1]
	}
	if len(s) <= limit {
		return s
	}
	const more = "..."
	cut := limit - len(more)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}

// The causes that end a fetch's context. They differ from the caller's own reasons, which
// are not the origin's fault.
var (
	errTimeout       = errors.New("not complete in time")
	errHeaderTimeout = errors.New("no answer in time")
)
