package resize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The image is the cause of what a decoder does to itself, and not of what
// is done to it from outside.
func TestPoison(t *testing.T) {
	signal := func(s syscall.Signal) string { return fmt.Sprintf("signal=%d", s) }
	for _, c := range []struct {
		behaviour string
		want      error
		poison    bool
	}{
		{"exit", ErrCrashed, true},
		{"segv", ErrCrashed, true},
		{"closed", ErrCrashed, true},
		{"half head", ErrCrashed, true},
		{"nonsense", ErrCrashed, true},
		{signal(syscall.SIGABRT), ErrCrashed, true},
		{signal(syscall.SIGBUS), ErrCrashed, true},
		{"hang", ErrTimeout, true},
		// Any image would have met with this.
		{"unable", ErrCrashed, false},
		{"starved", ErrMemory, false}, // which is a crash too, for TestNoMemory
		// The kernel, when memory is short, and the end of a service.
		{signal(syscall.SIGKILL), ErrCrashed, false},
		{signal(syscall.SIGTERM), ErrCrashed, false},
		// Somebody looks at it with a debugger, or the machine is frozen.
		{signal(syscall.SIGSTOP), ErrTimeout, false},
	} {
		t.Run(c.behaviour, func(t *testing.T) {
			try := func(timeout time.Duration) error {
				_, err := ask(newPool(t, Options{Timeout: timeout}), c.behaviour)
				if !errors.Is(err, c.want) || errors.Is(err, ErrPoison) != c.poison {
					return fmt.Errorf("%w; poison should be %v", err, c.poison)
				}
				return nil
			}
			if c.want == ErrTimeout {
				inTime(t, try)
			} else if err := try(time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	// The disk from which the image comes is slow; the decoder sleeps meanwhile.
	t.Run("a late source", func(t *testing.T) {
		const timeout = 100 * time.Millisecond
		p := newPool(t, Options{Timeout: timeout})
		_, err := p.Resize(context.Background(), io.MultiReader(strings.NewReader("ha"), readerFunc(func(b []byte) (int, error) {
			time.Sleep(timeout) // which began before
			return copy(b, "ng"), nil
		})), 4, someJob)
		if !errors.Is(err, ErrTimeout) || errors.Is(err, ErrPoison) {
			t.Errorf("got %v", err)
		}
	})
	p := newPool(t, Options{})
	for _, fine := range []string{"good", "broken", "large"} {
		if _, err := ask(p, fine); errors.Is(err, ErrPoison) {
			t.Errorf("%s: %v", fine, err)
		}
	}
	_, err := p.Resize(context.Background(), strings.NewReader("goo"), 4, someJob)
	if err == nil || errors.Is(err, ErrPoison) {
		t.Errorf("a source that is too short: %v", err)
	}
}

// A decoder that was unable works on, until another one is up in its place.
func TestUnable(t *testing.T) {
	l := &lines{}
	p := newPool(t, Options{Logger: logTo(l)})
	pid := tell(t, p, "pid")
	_, err := ask(p, "unable")
	if _, image := errors.AsType[*ImageError](err); image || !errors.Is(err, ErrCrashed) || !strings.Contains(err.Error(), "operation is blocked") {
		t.Errorf("got %v", err)
	}
	eventually(t, func() bool { return tell(t, p, "pid") != pid }, func() string { return "it was not replaced" })
	if s := p.Stats(); s.Crashed != 0 || s.Recycled != 1 {
		t.Errorf("%+v", s)
	}
	if all := l.take(); len(all) != 1 || !strings.Contains(all[0], "operation is blocked") {
		t.Errorf("log: %q", all)
	}
}

// A late decoder hangs if it has used a processor for half of the time, or sleeps.
func TestHangs(t *testing.T) {
	c := &child{cmd: exec.Command(os.Args[0], "fake-decoder", "silent"), fed: true}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.cmd.Wait()
	defer c.kill()
	pid := c.cmd.Process.Pid
	var used time.Duration
	eventually(t, func() bool { // until it has started, it sleeps now and then
		var err error
		if used, err = processorTime(pid); err != nil || used > time.Minute {
			t.Fatalf("it has used %v, %v", used, err)
		}
		return used > 0 && c.hangs(used, time.Hour)
	}, func() string { return "one that sleeps does not hang" })
	c.fed = false
	if c.hangs(used, time.Hour) {
		t.Error("one that waits for its image hangs")
	}
	c.fed = true
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return !sleeps(pid) }, func() string { return "it is not stopped" })
	used, _ = processorTime(pid)
	for _, x := range []struct {
		began, timeout time.Duration
		want           bool
	}{
		{0, used, true},
		{0, 4 * used, false},
		{used / 2, 2 * used, false},
	} {
		if got := c.hangs(x.began, x.timeout); got != x.want {
			t.Errorf("with %v used since %v, of a time of %v: %v", used, x.began, x.timeout, got)
		}
	}
	// It is this process that uses this much.
	before, err := processorTime(os.Getpid())
	for now := before; err == nil && now < before+10*time.Millisecond; {
		now, err = processorTime(os.Getpid())
	}
	if err != nil {
		t.Error(err)
	}
	if _, err := processorTime(5_000_000); err == nil {
		t.Error("the time of a process that there is not")
	}
	if sleeps(5_000_000) {
		t.Error("a process that there is not sleeps")
	}
}

// Results that the caller knows to be impossible are a protocol error.
func TestCheckOfJob(t *testing.T) {
	p := newPool(t, Options{})
	pid := tell(t, p, "pid")
	wrong := errors.New("that is no cat")
	j := someJob
	j.Check = func(r []Result) error {
		if len(r) != 1 || r[0].Format != "jpeg" {
			t.Errorf("asked about %+v", r)
		}
		return wrong
	}
	_, err := p.Resize(context.Background(), strings.NewReader("good"), 4, j)
	if !errors.Is(err, ErrCrashed) || !errors.Is(err, ErrPoison) || !errors.Is(err, wrong) {
		t.Errorf("got %v", err)
	}
	if tell(t, p, "pid") == pid {
		t.Error("the decoder was not replaced")
	}
	if s := p.Stats(); s.ProtocolErrors != 1 {
		t.Errorf("%+v", s)
	}
	j.Check = func([]Result) error { return nil }
	if _, err := p.Resize(context.Background(), strings.NewReader("good"), 4, j); err != nil {
		t.Error(err)
	}
	j.Check = func([]Result) error { t.Error("asked about nothing"); return nil }
	if _, err := p.Resize(context.Background(), strings.NewReader("broken"), 6, j); err == nil || errors.Is(err, ErrPoison) {
		t.Errorf("got %v", err)
	}
}

// A spare takes the place of a dead decoder without anything being started
// first: here, nothing could be.
func TestSpare(t *testing.T) {
	gate := t.TempDir() + "/gate"
	write(t, gate)
	p := newPool(t, Options{Spares: 1, MaxImages: 20}, "gate="+gate)
	spare := func(n int) {
		t.Helper()
		eventually(t, func() bool { return p.Stats().Spares == n }, func() string { return fmt.Sprintf("%+v", p.Stats()) })
	}
	// There is none before a decoder is lost, nor while one is replaced for its age.
	waiting := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.making + len(p.spares)
	}
	for p.Stats().Recycled == 0 {
		mustWork(t, p)
	}
	if n := waiting(); n != 0 {
		t.Errorf("%d spares are there or start, want none yet", n)
	}
	if _, err := ask(p, "segv"); !errors.Is(err, ErrPoison) {
		t.Errorf("got %v", err)
	}
	spare(1)
	for round := range 3 {
		if err := os.Remove(gate); err != nil {
			t.Fatal(err)
		}
		before := tell(t, p, "pid")
		switch round {
		case 0: // over an image
			if _, err := ask(p, "segv"); !errors.Is(err, ErrPoison) {
				t.Errorf("got %v", err)
			}
		case 1: // between images
			pid, _ := strconv.Atoi(before)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			spare(0)
		case 2:
			if _, err := ask(p, "nonsense"); !errors.Is(err, ErrPoison) {
				t.Errorf("got %v", err)
			}
		}
		if after := tell(t, p, "pid"); after == before {
			t.Errorf("round %d: still %s", round, after)
		}
		write(t, gate)
		spare(1)
	}
	// A spare that dies is replaced, and is not the next decoder.
	eventually(t, func() bool { return len(children(t)) == 2 }, func() string { return fmt.Sprint("processes ", children(t)) })
	inUse := tell(t, p, "pid")
	for _, pid := range children(t) {
		if strconv.Itoa(pid) != inUse {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { return p.Stats().Crashed == 4 }, func() string { return fmt.Sprintf("%+v", p.Stats()) })
			break
		}
	}
	spare(1)
	if _, err := ask(p, "exit"); !errors.Is(err, ErrPoison) {
		t.Errorf("got %v", err)
	}
	mustWork(t, p)
}
