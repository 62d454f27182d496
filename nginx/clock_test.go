package nginx_test

import (
	"sync"
	"testing"
	"time"

	"imgkeep/scripts/patience"
)

// clock is one that only goes when it is told to, for tests that wait for real
// processes besides.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	timers []timer
	armed  chan bool // a timer was set
}

type timer struct {
	at time.Time
	c  chan time.Time
}

func newClock(now time.Time) *clock { return &clock{now: now, armed: make(chan bool, 100)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := timer{c.now.Add(d), make(chan time.Time, 1)}
	c.timers = append(c.timers, t)
	c.armed <- true
	return t.c
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	var left []timer
	for _, t := range c.timers {
		if t.at.After(c.now) {
			left = append(left, t)
		} else {
			t.c <- c.now
		}
	}
	c.timers = left
}

// waiting waits until somebody has done their work and set a timer.
func (c *clock) waiting(t *testing.T) {
	t.Helper()
	select {
	case <-c.armed:
	case <-time.After(patience.Of(t)):
		t.Fatal("nobody has set a timer")
	}
}
