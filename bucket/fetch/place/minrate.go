package place

import (
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// MinRate is what an origin must send, in bytes a second, in each RateInterval. A
	// limit on the whole alone would let one that sends a byte a second keep its place
	// for as long as the slowest of good ones.
	MinRate      = 4 << 10
	RateInterval = 5 * time.Second
)

// ErrTooSlow is why a body was given up.
var ErrTooSlow = errors.New("it came too slowly")

// Body is a body that is given up when less than MinRate of it comes in an interval.
// Time in which nobody reads from it is not the origin's, and not counted. One reads
// from it at a time.
type Body struct {
	io.Reader
	interval time.Duration
	giveUp   func()

	mu    sync.Mutex
	timer *time.Timer
	got   int64         // in this interval
	left  time.Duration // of it, while nobody reads
	since time.Time     // when somebody began to read
	ended bool
}

// NewBody returns a Body that calls giveUp, once at most, before Stop is called. It is
// looked at in each interval (RateInterval, but in tests).
func NewBody(body io.Reader, interval time.Duration, giveUp func()) *Body {
	b := &Body{Reader: body, interval: interval, giveUp: giveUp, left: interval}
	b.timer = time.AfterFunc(interval, b.tick)
	b.timer.Stop()
	return b
}

// tick comes at the end of an interval.
func (b *Body) tick() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended || b.since.IsZero() {
		return
	}
	if b.got < int64(MinRate*b.interval.Seconds()) {
		b.ended = true
		b.giveUp()
		return
	}
	b.got, b.left, b.since = 0, b.interval, time.Now()
	b.timer.Reset(b.interval)
}

// Read reads from the body.
func (b *Body) Read(buf []byte) (int, error) {
	b.mu.Lock()
	b.since = time.Now()
	b.timer.Reset(b.left)
	b.mu.Unlock()
	n, err := b.Reader.Read(buf)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer.Stop()
	b.left = max(b.left-time.Since(b.since), time.Millisecond)
	b.since = time.Time{}
	b.got += int64(n)
	return n, err
}

// Stop ends the looking.
func (b *Body) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.timer.Stop()
}
