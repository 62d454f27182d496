// Package control is the control API of a running server: both ends of it.
//
// One process has the store open, so a command that needs it while a server runs
// asks the server. It does so over a Unix socket, in HTTP: a request is JSON, an
// answer is NDJSON, one message a line, of which the last holds the result or
// the error:
//
//	POST /scrub    {"rate":N,"repair":B}   finding and progress messages, then the report
//	POST /compact  {}                      the figures of the index before and after
//	POST /retry    {"what":S}              what was forgotten of a URL or digest
//	GET  /status                           the figures of the index
//	POST /remove   RemoveRequest           what was removed and blocked, and the links of it
//	POST /show     ShowRequest             all that is known of a URL or a digest
//	POST /list     ListRequest             the items, then how many there were
//	GET  /stats                            the figures of the store
//	POST /reload   {}                      which settings have changed
//	GET  /metrics                          what Prometheus reads, in its own format
//	POST /populate {"bucket":S,"url":B,"sizes":[S]}  what became of the URL
//	POST /ran      Run                     the end of a run, for the audit log
//	POST /add      the bytes of an image; in the query bucket and url (URL-encoded base64),
//	               and run if it is one of a run
//	                                       what became of it
//
// Whoever leaves ends the work that he has asked for, but for removals. One scrub
// runs at a time, and one compact; another is told so. But a scrub of the server's
// own, which may take days, gives way to one that is asked for. To populate and to
// add take URLs as base64, since what people have in their files need not be UTF-8.
//
// What it promises: only root and the user that the server runs as are answered,
// by the credentials that the kernel tells of the peer; the socket's mode, 0600,
// says the same. What it does not do: it has no version to speak of; both ends
// are one program, and a command of another release may be refused.
package control

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

// RetryRequest asks to forget what stands against an image.
type RetryRequest struct {
	What string `json:"what"` // as bucket.Store.Retry
	Named
}

// Reloaded is what reading the configuration anew has done.
type Reloaded struct {
	Changed []string `json:"changed"` // keys that hold now
	Restart []string `json:"restart"` // keys that have changed too, and hold after a restart
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

// Run is what a run of populate or import has done.
type Run struct {
	Op     string   `json:"op,omitempty"` // "populate" or "import"
	Bucket string   `json:"bucket,omitempty"`
	From   string   `json:"from,omitempty"` // the folder of an import
	Sizes  []string `json:"sizes,omitempty"`
	URLs   int      `json:"urls"`   // that were looked at
	Kept   int      `json:"kept"`   // now
	Failed int      `json:"failed"` // the rest was there
	Made   int      `json:"made"`   // sizes
	Bytes  int64    `json:"bytes"`  // fetched, or added
	// Stopped says why it has ended before its list; empty: it has not.
	Stopped string `json:"stopped,omitempty"`
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
	Retried   *bucket.Retried     `json:"retried,omitempty"`
	Status    *bucket.Figures     `json:"status,omitempty"`
	Removal   *bucket.Removal     `json:"removal,omitempty"`
	Links     []string            `json:"links,omitempty"` // of the removal
	Facts     *bucket.Facts       `json:"facts,omitempty"`
	Stats     *bucket.Stats       `json:"stats,omitempty"`
	Item      *Item               `json:"item,omitempty"`
	Listed    *int                `json:"listed,omitempty"`
	Reloaded  *Reloaded           `json:"reloaded,omitempty"`
	Outcome   *Outcome            `json:"outcome,omitempty"`
	Noted     bool                `json:"noted,omitempty"`
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
