package main_test

import (
	"bytes"
	"encoding/json"
	"sync"
)

// logbook is the log of a server.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed when there is more, and replaced
}

func newLogbook() *logbook { return &logbook{more: make(chan struct{})} }

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// find returns the first line with a message, or nil, and what is closed when
// there are more lines.
func (l *logbook) find(message string) (line map[string]any, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for text := range bytes.Lines(l.text.Bytes()) {
		var fields map[string]any
		if json.Unmarshal(text, &fields) == nil && fields["msg"] == message {
			return fields, l.more
		}
	}
	return nil, l.more
}
