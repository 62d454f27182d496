// Package admin is the control API of a running server: both ends of it.
//
// One process has the store open, so a command that needs it while a server runs
// asks the server. It does so over a Unix socket, in HTTP: a request is JSON, an
// answer is NDJSON, one message a line, of which the last holds the result or
// the error:
//
//	POST /scrub    {"rate":N,"repair":B}   finding and progress messages, then the report
//	POST /compact  {}                      the figures of the index before and after
//	GET  /status                           the figures of the index
//	POST /populate {"bucket":S,"url":B,"sizes":[S]}  what became of the URL
//	POST /add      the bytes of an image; in the query bucket and url (URL-encoded base64)
//	                                       what became of it
//
// Whoever leaves ends the work that he has asked for. One scrub or compact runs
// at a time; another is told so. URLs are base64 where they stand in JSON, since
// what people have in their files need not be UTF-8.
//
// What it promises: only root and the user that the server runs as are answered,
// by the credentials that the kernel tells of the peer; the socket's mode, 0600,
// says the same. What it does not do: it has no version to speak of; both ends
// are one program, and a command of another release may be refused.
package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"imgkeep/bucket"
)

// ErrNoServer: nobody answers at the socket.
var ErrNoServer = errors.New("no server answers")

// ScrubRequest asks for a scrub.
type ScrubRequest struct {
	Rate   int64 `json:"rate"` // as bucket.ScrubOptions
	Repair bool  `json:"repair"`
}

// Compacted is what compacting has done.
type Compacted struct {
	Before bucket.Figures `json:"before"`
	After  bucket.Figures `json:"after"`
}

// PopulateRequest asks for a URL to be kept before somebody looks at it.
type PopulateRequest struct {
	Bucket string   `json:"bucket"`
	URL    []byte   `json:"url"`   // as it was written
	Sizes  []string `json:"sizes"` // to be made of it
}

// Outcome is what became of a URL that was to be kept.
type Outcome struct {
	Kept  bool  `json:"kept"`            // now; otherwise it was there, or failed
	Bytes int64 `json:"bytes,omitempty"` // of the original
	Made  int   `json:"made,omitempty"`  // sizes, now
	// Code and Detail say why it failed: a stable word, and a line for the
	// operator. Empty: it has not.
	Code   string `json:"code,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Stop says that others would fail as well.
	Stop bool `json:"stop,omitempty"`
}

// message is a line of an answer: one of them is set.
type message struct {
	Finding   *bucket.Finding     `json:"finding,omitempty"`
	Progress  *bucket.Progress    `json:"progress,omitempty"`
	Scrubbed  *bucket.ScrubReport `json:"scrubbed,omitempty"`
	Compacted *Compacted          `json:"compacted,omitempty"`
	Status    *bucket.Figures     `json:"status,omitempty"`
	Outcome   *Outcome            `json:"outcome,omitempty"`
	Error     string              `json:"error,omitempty"`
}

// Listen makes the socket, in the place of one that a killed server has left.
// The caller has the store open, so that no other server of it lives.
func Listen(path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("admin socket: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return nil, fmt.Errorf("admin socket: %s is there and is no socket", path)
	default:
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			return nil, fmt.Errorf("admin socket: another process listens on %s", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("admin socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	// Until here others might connect; they are refused by their credentials.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return l, nil
}
