package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// HistoryRequest asks for lines of the audit log. Empty fields choose all.
type HistoryRequest struct {
	By    string    `json:"by,omitempty"`  // that Change.By holds
	Ops   []string  `json:"ops,omitempty"` // of which Change.Op is one
	Text  string    `json:"text,omitempty"`
	Since time.Time `json:"since,omitzero"` // then or later
	Until time.Time `json:"until,omitzero"` // before
	// Limit is how many come at most, 1 to MaxHistory; 0: DefaultHistory.
	Limit int `json:"limit,omitempty"`
	// Before is History.Next of the page before; 0: the newest.
	Before int64 `json:"before,omitempty"`
}

// Limits of a page of history.
const (
	DefaultHistory = 100
	MaxHistory     = 1000
	// maxHistoryRead is how much of the log is read for a page, in bytes.
	maxHistoryRead = 32 << 20
)

// History are lines of the audit log.
type History struct {
	Items []HistoryEntry `json:"items"`
	Next  int64          `json:"next,omitempty"` // where the next page begins; 0: there is none
}

// HistoryEntry is a line as it is read back.
type HistoryEntry struct {
	Time   time.Time       `json:"time"`
	By     string          `json:"by"`
	Claims *Claims         `json:"claims,omitempty"`
	Op     string          `json:"op"`
	What   json.RawMessage `json:"what,omitempty"`
	Why    string          `json:"why,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// Read returns lines of the log, the newest first. A line that cannot be read is passed
// over. A nil Audit has none.
func (a *Audit) Read(q HistoryRequest) (History, error) {
	page := History{Items: []HistoryEntry{}}
	limit := q.Limit
	if limit == 0 {
		limit = DefaultHistory
	}
	if limit < 1 || limit > MaxHistory || q.Before < 0 {
		return page, fmt.Errorf("a page of the audit log has 1 to %d lines, not %d", MaxHistory, limit)
	}
	if a == nil {
		return page, nil
	}
	f, err := os.Open(a.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return page, nil
	}
	if err != nil {
		return page, fmt.Errorf("audit log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return page, fmt.Errorf("audit log: %w", err)
	}
	end := info.Size()
	if q.Before > 0 {
		end = min(end, q.Before)
	}
	from := max(0, end-maxHistoryRead)
	text := make([]byte, end-from)
	if _, err := f.ReadAt(text, from); err != nil && err != io.EOF {
		return page, fmt.Errorf("audit log: %w", err)
	}
	wanted, err := json.Marshal(q.Text)
	if err != nil {
		return page, err
	}
	wanted = wanted[1 : len(wanted)-1] // as it stands in the log
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	for len(text) > 0 {
		begin := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
		if begin == 0 && from > 0 {
			break // its beginning is not here
		}
		if len(page.Items) == limit {
			page.Next = from + int64(len(text))
			return page, nil
		}
		line := text[begin:]
		text = text[:begin]
		if e, ok := q.choose(line, wanted); ok {
			page.Items = append(page.Items, e)
		}
	}
	if from > 0 {
		if page.Next = from + int64(len(text)); page.Next == end { // a line as long as that is none
			page.Next = from
		}
	}
	return page, nil
}

// choose reads a line, and tells whether it is asked for. Text is q.Text as it stands in the log:
// most lines of a long log lack it, and need not be understood.
func (q HistoryRequest) choose(line, text []byte) (e HistoryEntry, ok bool) {
	if !bytes.Contains(line, text) || json.Unmarshal(line, &e) != nil {
		return e, false
	}
	return e, strings.Contains(e.By, q.By) && (len(q.Ops) == 0 || slices.Contains(q.Ops, e.Op)) &&
		(q.Text == "" || bytes.Contains(e.What, text) || strings.Contains(e.Why, q.Text)) &&
		!e.Time.Before(q.Since) && (q.Until.IsZero() || e.Time.Before(q.Until))
}
