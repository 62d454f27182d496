package resize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hold occupies a decoder until the returned function is called, which waits
// for the end of the call and returns its error.
func hold(t testing.TB, p *Pool) func() error {
	t.Helper()
	r, w := io.Pipe()
	busy := p.Stats().Busy
	err := make(chan error, 1)
	go func() {
		_, e := p.Resize(context.Background(), r, 4, someJob)
		err <- e
	}()
	until(t, p, "busy", func(s Stats) bool { return s.Busy == busy+1 })
	return func() error {
		_, _ = w.Write([]byte("good"))
		return <-err
	}
}

// As many may wait as the queue is long; one more is told to come back.
func TestQueue(t *testing.T) {
	for _, c := range []struct{ queue, wait int }{{-1, 0}, {1, 1}, {3, 3}} {
		p := newPool(t, Options{Workers: 2, Queue: c.queue})
		free := []func() error{hold(t, p), hold(t, p)}
		done := make(chan error, c.wait)
		for i := range c.wait {
			go func() {
				_, err := ask(p, "good")
				done <- err
			}()
			until(t, p, "waiting", func(s Stats) bool { return s.Waiting == i+1 })
		}
		if _, err := ask(p, "good"); !errors.Is(err, ErrBusy) {
			t.Errorf("queue of %d, %d waiting: got %v, want ErrBusy", c.queue, c.wait, err)
		}
		if s := p.Stats(); s.Refused != 1 || s.Busy != 2 || s.Ready != 0 || s.Waiting != c.wait {
			t.Errorf("%+v", s)
		}
		for _, f := range free {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
		for range c.wait {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		mustWork(t, p)
		if s := p.Stats(); s.Busy != 0 || s.Ready != 2 || s.Waiting != 0 {
			t.Errorf("afterwards: %+v", s)
		}
	}
}

// The first to wait is the first to be served.
func TestQueueIsFair(t *testing.T) {
	p := newPool(t, Options{})
	free := hold(t, p)
	turns := make(chan int, 5)
	for i := range 5 {
		go func() {
			_, _ = p.Resize(context.Background(), readerFunc(func(b []byte) (int, error) {
				turns <- i
				return copy(b, "good"), nil
			}), 4, someJob)
		}()
		until(t, p, "waiting", func(s Stats) bool { return s.Waiting == i+1 })
	}
	if err := free(); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if got := <-turns; got != i {
			t.Errorf("turn %d went to %d", i, got)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// The end of a context ends the wait, and gives the place in the queue back.
func TestContextEndsWaiting(t *testing.T) {
	p := newPool(t, Options{Queue: 1})
	free := hold(t, p)
	for range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			_, err := p.Resize(ctx, strings.NewReader("good"), 4, someJob)
			done <- err
		}()
		until(t, p, "waiting", func(s Stats) bool { return s.Waiting == 1 })
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if s := p.Stats(); s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	}
	if err := free(); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.Resize(over, strings.NewReader("good"), 4, someJob); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	// Cancelled and served at the same moment: the decoder is not lost.
	for range 200 {
		free := hold(t, p)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			_, err := p.Resize(ctx, strings.NewReader("good"), 4, someJob)
			done <- err
		}()
		until(t, p, "waiting", func(s Stats) bool { return s.Waiting == 1 })
		go cancel()
		if err := free(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		until(t, p, "free", func(s Stats) bool { return s.Ready == 1 && s.Busy == 0 && s.Waiting == 0 })
	}
}

// A decoder is replaced after its number of images, and none waits for that.
func TestMaxImages(t *testing.T) {
	p := newPool(t, Options{MaxImages: 3})
	pid := tell(t, p, "pid")
	for n := 2; n <= 3; n++ {
		if s := p.Stats(); s.Recycled > 0 {
			t.Fatalf("replaced after %d images: %+v", n-1, s)
		}
		if got := tell(t, p, "pid"); got != pid {
			t.Fatalf("image %d went to %s, the first to %s", n, got, pid)
		}
	}
	for generation := range 3 {
		until(t, p, "replaced", func(s Stats) bool { return s.Recycled == uint64(generation+1) })
		next := tell(t, p, "pid")
		if next == pid {
			t.Fatalf("the old decoder still works: %+v", p.Stats())
		}
		pid = next
		mustWork(t, p)
		mustWork(t, p)
	}
	until(t, p, "replaced", func(s Stats) bool { return s.Recycled == 4 })
	// The old ones end, without being waited for.
	eventually(t, func() bool { return len(children(t)) == 1 }, func() string { return fmt.Sprint("processes ", children(t)) })
	if s := p.Stats(); s.Crashed+s.Failed > 0 {
		t.Errorf("%+v", s)
	}
}

// While its decoder is being replaced, an image is handled by the old one.
func TestMaxImagesDoNotDelay(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	write(t, gate)
	p := newPool(t, Options{MaxImages: 2, Backoff: time.Millisecond}, "gate="+gate)
	pid := tell(t, p, "pid")
	remove(t, gate)
	for range 10 {
		if tell(t, p, "pid") != pid {
			t.Fatal("another decoder, though none can start")
		}
	}
	until(t, p, "failing", func(s Stats) bool { return s.Failed >= 3 })
	write(t, gate)
	until(t, p, "replaced", func(s Stats) bool { return s.Recycled == 1 })
	if tell(t, p, "pid") == pid {
		t.Error("the old decoder still works")
	}
}

func write(t testing.TB, name string) {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}
