package fetch

import (
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// minRate is what an origin must send, in bytes a second, in each paceTime. A
	// limit on the whole alone would let one that sends a byte a second keep its place
	// for as long as the slowest of good ones.
	minRate  = 4 << 10
	paceTime = 5 * time.Second
)

var errTooSlow = errors.New("it came too slowly")

// pace is a body that is given up when too little of it comes in an interval. Time in
// which nobody reads from it is not the origin's, and not counted.
type pace struct {
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

func newPace(body io.Reader, interval time.Duration, giveUp func()) *pace {
	p := &pace{Reader: body, interval: interval, giveUp: giveUp, left: interval}
	p.timer = time.AfterFunc(interval, p.tick)
	p.timer.Stop()
	return p
}

// tick comes at the end of an interval.
func (p *pace) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.since.IsZero() {
		return
	}
	if p.got < int64(minRate*p.interval.Seconds()) {
		p.ended = true
		p.giveUp()
		return
	}
	p.got, p.left, p.since = 0, p.interval, time.Now()
	p.timer.Reset(p.interval)
}

func (p *pace) Read(b []byte) (int, error) {
	p.mu.Lock()
	p.since = time.Now()
	p.timer.Reset(p.left)
	p.mu.Unlock()
	n, err := p.Reader.Read(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer.Stop()
	p.left = max(p.left-time.Since(p.since), time.Millisecond)
	p.since = time.Time{}
	p.got += int64(n)
	return n, err
}

func (p *pace) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.timer.Stop()
}

// pace is how often the rate of a body is looked at.
func (f *Fetcher) pace() time.Duration {
	if f.o.interval > 0 {
		return f.o.interval
	}
	return paceTime
}
