package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"sync"
	"time"

	"imgkeep/bucket"
)

// Audit is the log of what operators have changed: a file of JSON lines that is
// only ever added to, each flushed before its change is answered. It may be used
// concurrently, also by several processes.
type Audit struct {
	Path string
	Now  func() time.Time // nil: time.Now
	// Failed is told of each line that could not be written; nil: nobody.
	Failed func()
	mu     sync.Mutex
}

// Change is a line of it.
type Change struct {
	Time   time.Time `json:"time"`
	By     string    `json:"by"` // as Who returns it
	Claims *Claims   `json:"claims,omitempty"`
	Op     string    `json:"op"`
	What   any       `json:"what,omitempty"`
	Why    string    `json:"why,omitempty"`
	Error  string    `json:"error,omitempty"` // empty: it was done
}

const auditMode = 0o600

// Write adds a line, dated now. A nil Audit writes nothing.
func (a *Audit) Write(c Change, err error) error {
	if a == nil {
		return nil
	}
	err = a.write(c, err)
	if err != nil && a.Failed != nil {
		a.Failed()
	}
	return err
}

func (a *Audit) write(c Change, err error) error {
	c.Time = time.Now().UTC().Truncate(time.Second)
	if a.Now != nil {
		c.Time = a.Now().UTC().Truncate(time.Second)
	}
	if err != nil {
		c.Error = err.Error()
	}
	line, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := os.OpenFile(a.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, auditMode)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	defer f.Close()
	// It names people and reasons. Earlier releases let the group read it.
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&^auditMode != 0 {
		if err := f.Chmod(info.Mode().Perm() & auditMode); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return nil
}

// Added adds a line about an image that somebody had kept under a URL, or wanted to.
func (a *Audit) Added(by Caller, bucket, url string, o Outcome) error {
	var failed error
	if o.Code != "" {
		failed = fmt.Errorf("%s: %s", o.Code, o.Detail)
	}
	what := struct {
		Bucket string `json:"bucket"`
		URL    string `json:"url"`
		Kept   bool   `json:"kept"` // now; otherwise it was there, or failed
		Bytes  int64  `json:"bytes,omitempty"`
	}{bucket, url, o.Kept, o.Bytes}
	return a.Write(by.change(Change{Op: "add", What: what}), failed)
}

// Retried adds a line about what was forgotten of a URL or digest, or was not for err.
func (a *Audit) Retried(by Caller, what string, done bucket.Retried, err error) error {
	return a.Write(by.change(Change{Op: "retry", What: struct {
		Of string `json:"of"`
		bucket.Retried
	}{what, done}}), err)
}

// Ran adds a line about a run that has ended: "populate" or "import".
func (a *Audit) Ran(by Caller, run Run) error {
	var stopped error
	if run.Stopped != "" {
		stopped = errors.New(run.Stopped)
		run.Stopped = ""
	}
	op := run.Op
	run.Op = ""
	return a.Write(by.change(Change{Op: op, What: run}), stopped)
}

// Who names a user of this machine: "uid 1000 (alice)".
func Who(uid int) string {
	who := "uid " + strconv.Itoa(uid)
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		who += " (" + u.Username + ")"
	}
	return who
}
