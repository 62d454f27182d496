package hook

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

const (
	// MaxWaiting is how many items a Queue holds; what comes beyond is left out, and
	// counted.
	MaxWaiting = 10_000
	// maxItems is how many of them one message has.
	maxItems = 100
)

// KeptItem is an image that is kept now.
type KeptItem struct {
	Bucket string    `json:"bucket"`
	URL    string    `json:"url"`
	Digest string    `json:"digest"`
	Type   string    `json:"type"`
	Width  int       `json:"width"` // as shown
	Height int       `json:"height"`
	Frames int       `json:"frames"`
	Bytes  int64     `json:"bytes"`
	Stored time.Time `json:"stored"`
}

// FailedItem is a URL that could not be kept.
type FailedItem struct {
	Bucket   string    `json:"bucket"`
	URL      string    `json:"url"`
	Class    string    `json:"class"`
	Status   int       `json:"status,omitempty"`
	Detail   string    `json:"detail"`
	Host     string    `json:"host,omitempty"` // that failed, after redirects
	Attempts int       `json:"attempts"`       // in a row
	First    time.Time `json:"first"`
	Next     time.Time `json:"next"`
}

// message is what a Queue sends.
type message struct {
	ID     string    `json:"id"`
	Type   string    `json:"type"`
	Time   time.Time `json:"time"`
	Missed int       `json:"missed"` // items that were left out before these
	Items  []any     `json:"items"`
}

// Queue tells of what is kept, or of what fails: in order, from memory. It may be used
// concurrently.
type Queue struct {
	kind   string
	client *Client
	left   func() // is told of each item that is left out

	mu     sync.Mutex
	items  []any
	missed int
	wake   chan struct{}
}

// NewQueue returns a Queue of messages of a type, Kept or Failed. left, if it is not nil, is
// told of each item that is left out.
func NewQueue(kind string, c *Client, left func()) *Queue {
	if left == nil {
		left = func() {}
	}
	return &Queue{kind: kind, client: c, left: left, wake: make(chan struct{}, 1)}
}

// Add adds an item, a KeptItem or a FailedItem. It never waits.
func (q *Queue) Add(item any) {
	q.mu.Lock()
	full := len(q.items) >= MaxWaiting
	if full {
		q.missed++
	} else {
		q.items = append(q.items, item)
	}
	q.mu.Unlock()
	if full {
		q.left()
	}
	wakeUp(q.wake)
}

// Len is how many items wait.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// Run sends what is added until ctx ends. It may run once.
func (q *Queue) Run(ctx context.Context) {
	for {
		m, ok := q.take()
		if !ok {
			select {
			case <-q.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		body, err := json.Marshal(m)
		if err != nil {
			q.client.o.Log.Error("a hook's message cannot be written", "kind", q.kind, "error", err)
			continue
		}
		if q.client.deliver(ctx, q.kind, m.ID, body) != nil {
			return
		}
	}
}

// take takes what goes into the next message.
func (q *Queue) take() (m message, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 && q.missed == 0 {
		return m, false
	}
	n := min(len(q.items), maxItems)
	m = message{ID: newID(), Type: q.kind, Time: q.client.o.Now().UTC(), Items: append([]any{}, q.items[:n]...)}
	q.items = append([]any(nil), q.items[n:]...)
	if len(q.items) == 0 { // what was left out came after all that waited
		m.Missed, q.missed = q.missed, 0
	}
	return m, true
}

// wakeUp wakes who waits on a channel with room for one.
func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
