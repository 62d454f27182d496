package fetch

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	// maxHostPause bounds the pause of a host. A single URL may pause for longer, but on
	// some hosts strangers choose what an address answers: none of them may make all other
	// URLs unreachable for a day by one answer.
	maxHostPause = time.Hour
	// maxPauses bounds how many hosts are remembered.
	maxPauses = 10_000
)

// Pauses are those that hosts asked for by Retry-After in a 429 or 503: such a host is not
// asked for anything until the pause is over, an hour at most; then the next answer
// decides. Fetchers may share Pauses, so that a new one knows those of an earlier one; a
// restart forgets them. They may be used concurrently.
type Pauses struct {
	mu    sync.Mutex
	until map[string]time.Time // by host
}

// NewPauses returns none.
func NewPauses() *Pauses { return &Pauses{until: map[string]time.Time{}} }

// stands returns an Error of kind Paused while a host has a pause.
func (p *Pauses) stands(host string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.until[host]
	if !ok {
		return nil
	}
	left := until.Sub(now)
	if left <= 0 || left > maxHostPause { // or the clock was set back
		delete(p.until, host)
		return nil
	}
	e := errorf(Paused, host, "the host has asked for a pause, of which %v are left", left.Round(time.Second))
	e.RetryAfter = left
	return e
}

// note gives a host its pause, if its answer asks for one.
func (p *Pauses) note(host string, err error, now time.Time) {
	var e *Error
	if !errors.As(err, &e) || e.RetryAfter <= 0 || e.Status != http.StatusTooManyRequests && e.Status != http.StatusServiceUnavailable {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.until[host]; !known && len(p.until) >= maxPauses {
		p.forgetOne(now)
	}
	p.until[host] = now.Add(min(e.RetryAfter, maxHostPause))
}

// forgetOne forgets pauses that are over, or else the pause of some host: a map iterates in
// an order that nobody can exploit.
func (p *Pauses) forgetOne(now time.Time) {
	for host, until := range p.until {
		if !now.Before(until) {
			delete(p.until, host)
		}
	}
	for host := range p.until {
		if len(p.until) >= maxPauses {
			delete(p.until, host)
		}
		return
	}
}
