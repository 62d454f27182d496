package place

import (
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// MinRate is the least that an origin must send, in bytes a second, in each
	// RateInterval. A limit on the whole alone would let an origin that sends a byte a
	// second keep its place for as long as the slowest legitimate one.
	MinRate = 4 << 10
	// RateInterval is how long an origin may be slower than MinRate.
	RateInterval = 5 * time.Second
)

// ErrTooSlow is why a body was given up.
var ErrTooSlow = errors.New("the download was too slow")

// Body is a body that is given up when less than MinRate of it arrives in an interval. Time
// in which nobody reads from it does not count. Only one goroutine may read from it.
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

// NewBody returns a Body that calls giveUp, at most once, before Stop is called. It checks
// each interval (RateInterval, except in tests).
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

// Stop ends the checks.
func (b *Body) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.timer.Stop()
}
