package fetch

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	// maxHostPause bounds the pause of a host. Its one URL may be left alone for
	// longer, but there are hosts where strangers choose what an address answers:
	// none of them is to make all the others unreachable for a day with one answer.
	maxHostPause = time.Hour
	// maxPauses bounds how many hosts are remembered.
	maxPauses = 10_000
)

// Pauses are those that hosts have asked for, with Retry-After in a 429 or 503: a
// host with one is not asked for anything until it is over, an hour at most, after
// which one more answer tells. Fetchers may share them, so that a new one knows what
// an earlier one was told; a restart forgets them. They may be used concurrently.
type Pauses struct {
	mu    sync.Mutex
	until map[string]time.Time // by host
}

// NewPauses returns none.
func NewPauses() *Pauses { return &Pauses{until: map[string]time.Time{}} }

// stands returns an Error of class Paused while a host has a pause.
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

// forgetOne forgets what is over, or else the pause of some host: a map gives them
// in no order that anybody could use.
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
