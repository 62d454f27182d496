package resize

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"imgkeep/scripts/patience"
)

// askHeld asks for a result of so many bytes, which is held in memory until the context ends.
func askHeld(p *Pool, until context.Context, bytes int) error {
	j := someJob
	j.Held = until
	source := fmt.Sprintf("bytes=%d", bytes)
	_, err := p.Resize(context.Background(), strings.NewReader(source), int64(len(source)), j)
	return err
}

// Results that a slow disk keeps in memory hold decoders up, and do not fill it: one byte
// less than the limit and a decoder begins, at it none does. Who waits for that is told
// that all are busy after the time that any queue may take, and is served when there is
// memory.
func TestHeldResults(t *testing.T) {
	p := newPool(t, Options{Workers: 2, MaxBytes: 1000, MaxHeld: 1000, Wait: 50 * time.Millisecond})
	first, storeFirst := context.WithCancel(context.Background())
	second, storeSecond := context.WithCancel(context.Background())
	defer storeFirst()
	if err := askHeld(p, first, 999); err != nil {
		t.Fatal(err)
	}
	if err := askHeld(p, second, 1000); err != nil {
		t.Errorf("below the limit: %v", err)
	}
	if s := p.Stats(); s.Held != 1999 || s.Ready != 2 {
		t.Errorf("%+v", s)
	}
	if err := askHeld(p, nil, 1000); !errors.Is(err, ErrBusy) {
		t.Errorf("beyond the limit: %v, want ErrBusy", err)
	}
	if s := p.Stats(); s.Images != 2 || s.Refused != 1 || s.Waiting != 0 || s.Ready != 2 {
		t.Errorf("%+v", s)
	}
	storeSecond()
	until(t, p, "held", func(s Stats) bool { return s.Held == 999 })
	if err := askHeld(p, nil, 1000); err != nil {
		t.Errorf("below the limit again: %v", err)
	}
	if s := p.Stats(); s.Held != 999 {
		t.Errorf("what nobody holds counts: %+v", s)
	}
}

// Who waits for memory is served as soon as there is some, the queue for it is the queue
// for decoders, and a full one refuses.
func TestHeldResultsMakeAQueue(t *testing.T) {
	p := newPool(t, Options{Workers: 2, Queue: 3, MaxBytes: 1000, MaxHeld: 1000, Wait: patience.Of(t)})
	ctx, stored := context.WithCancel(context.Background())
	if err := askHeld(p, ctx, 1000); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 3)
	for i := range 3 {
		go func() { done <- askHeld(p, nil, 1000) }()
		until(t, p, "waiting", func(s Stats) bool { return s.Waiting == i+1 })
	}
	if err := askHeld(p, nil, 1000); !errors.Is(err, ErrBusy) {
		t.Errorf("a full queue: %v, want ErrBusy", err)
	}
	// A decoder that dies and is replaced does not begin either.
	p.mu.Lock()
	for _, s := range p.slots {
		s.child.kill()
	}
	p.mu.Unlock()
	until(t, p, "ready", func(s Stats) bool { return s.Crashed == 2 && s.Ready == 2 })
	if s := p.Stats(); s.Images != 1 || s.Waiting != 3 {
		t.Errorf("%+v", s)
	}
	stored()
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if s := p.Stats(); s.Held != 0 || s.Waiting != 0 || s.Images != 4 {
		t.Errorf("%+v", s)
	}
}

// However many ask, and however long they hold what they get, no more is in memory than
// Options say.
func TestHeldResultsAreBounded(t *testing.T) {
	p := newPool(t, Options{Workers: 3, Queue: 40, MaxBytes: 1000, MaxHeld: 2000, Wait: patience.Of(t)})
	results := make(chan error, 40)
	release := make(chan context.CancelFunc, 40)
	for range 40 {
		go func() {
			ctx, stored := context.WithCancel(context.Background())
			err := askHeld(p, ctx, 1000)
			release <- stored
			results <- err
		}()
	}
	most := int64(0)
	for range 40 {
		stored := <-release
		most = max(most, p.Stats().Held)
		stored()
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	// 2000, less a byte, and a result of each worker.
	if most > 4000 || most < 1000 {
		t.Errorf("%d bytes were held at once", most)
	}
}

// Without options the limits are those that SECURITY.md promises.
func TestPromisedNumbers(t *testing.T) {
	o, err := Options{Command: []string{"decoder"}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	sentence := fmt.Sprintf("take %d MiB of memory at most, and %d MiB for each decoder at work", o.MaxHeld>>20, o.MaxBytes>>20)
	if !strings.Contains(strings.Join(strings.Fields(string(file)), " "), sentence) {
		t.Errorf("SECURITY.md does not say: %s", sentence)
	}
	if o.Wait != o.Timeout {
		t.Errorf("a call waits %v for a decoder, and SECURITY.md says resize.timeout", o.Wait)
	}
}
