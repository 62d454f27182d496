package control

import (
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"time"
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
	f, err := os.OpenFile(a.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, auditMode)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	// It names people and reasons. Earlier releases let the group read it.
	if info.Mode().Perm()&^auditMode != 0 {
		if err := f.Chmod(info.Mode().Perm() & auditMode); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	}
	// Of the line before a full disk may have taken only half.
	last := []byte{'\n'}
	if info.Size() > 0 {
		if _, err := f.ReadAt(last, info.Size()-1); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	}
	line = append(line, '\n')
	if last[0] != '\n' {
		line = slices.Insert(line, 0, '\n')
	}
	if _, err := f.Write(line); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return nil
}

// Who names a user of this machine: "uid 1000 (alice)".
func Who(uid int) string {
	who := "uid " + strconv.Itoa(uid)
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		who += " (" + u.Username + ")"
	}
	return who
}
