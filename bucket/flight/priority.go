package flight

import (
	"context"
	"errors"
	"sync"
)

// ErrGivenUp ends a flight that waits for idle resources when its caller has left.
var ErrGivenUp = errors.New("no request waits for this any more")

// Priorities know which flights viewers wait for, and which flights wait for idle
// resources. They may be used concurrently. The zero value is ready.
type Priorities struct {
	mu      sync.Mutex
	viewers map[string]int
	waiting map[string]context.CancelFunc
}

// Urgent says that a viewer waits for a flight, until the returned function is called.
func (p *Priorities) Urgent(key string) (left func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.viewers == nil {
		p.viewers = map[string]int{}
	}
	p.viewers[key]++
	if stop := p.waiting[key]; stop != nil {
		stop()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.viewers[key]--; p.viewers[key] == 0 {
			delete(p.viewers, key)
		}
	}
}

// Await waits until there is a place, a viewer waits for the flight (no place, and no
// error), asked ends (ErrGivenUp), or life ends (its error).
func Await[T any](asked, life context.Context, p *Priorities, key string, reserve func(context.Context) (T, error)) (place T, err error) {
	var none T
	ctx, stop := context.WithCancel(life)
	defer stop()
	p.mu.Lock()
	if p.viewers[key] > 0 {
		p.mu.Unlock()
		return none, nil
	}
	if p.waiting == nil {
		p.waiting = map[string]context.CancelFunc{}
	}
	p.waiting[key] = stop
	p.mu.Unlock()

	leave := context.AfterFunc(asked, stop)
	place, err = reserve(ctx)
	leave()

	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, key)
	switch {
	case err == nil:
		return place, nil
	case life.Err() != nil:
		return none, life.Err()
	case p.viewers[key] > 0:
		return none, nil
	}
	return none, ErrGivenUp
}
