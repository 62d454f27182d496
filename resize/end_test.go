package resize

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imgkeep/scripts/patience"
)

// A decoder that dies while it has nothing to do is replaced before an image
// meets it.
func TestIdleDeath(t *testing.T) {
	log := new(lines)
	p := newPool(t, Options{Logger: logTo(log)})
	for n := range 3 {
		pid, _ := strconv.Atoi(tell(t, p, "pid"))
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		until(t, p, "replaced", func(s Stats) bool { return s.Crashed == uint64(n+1) && s.Ready == 1 })
		mustWork(t, p)
	}
	_ = p.Close()
	if l := log.take(); len(l) != 3 || !strings.Contains(l[0], "ended by itself") || !strings.Contains(l[0], "signal: killed") {
		t.Errorf("logged %q", l)
	}
}

// Starts that fail are tried again, more and more slowly, for as long as it
// takes; calls wait in the queue.
func TestStartsFail(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	write(t, gate)
	log := new(lines)
	p := newPool(t, Options{Backoff: time.Millisecond, Logger: logTo(log), Queue: 1}, "gate="+gate)
	remove(t, gate)
	if _, err := ask(p, "exit"); !errors.Is(err, ErrCrashed) {
		t.Errorf("got %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := ask(p, "good")
		done <- err
	}()
	until(t, p, "failing", func(s Stats) bool { return s.Failed >= 5 && s.Waiting == 1 })
	if s := p.Stats(); s.Ready != 0 || s.Busy != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := ask(p, "good"); !errors.Is(err, ErrBusy) {
		t.Errorf("behind a full queue: %v", err)
	}
	write(t, gate)
	if err := <-done; err != nil {
		t.Errorf("when a decoder was back: %v", err)
	}
	_ = p.Close()
	pauses := 0
	for _, l := range log.take() {
		if strings.Contains(l, "no gate") {
			if want := fmt.Sprintf("again_in_seconds=%v", time.Millisecond<<min(pauses, 6)); !strings.Contains(l, want+"\n") {
				t.Errorf("failure %d is tried %q, want %s", pauses, l, want)
			}
			pauses++
		}
	}
	if pauses < 5 {
		t.Errorf("%d failures logged", pauses)
	}
}

// Close lets running work finish and turns waiting calls away.
func TestClose(t *testing.T) {
	before := holdings(t)
	p := newPool(t, Options{Workers: 2})
	free := []func() error{hold(t, p), hold(t, p)}
	waiting := make(chan error, 2)
	for i := range 2 {
		go func() {
			_, err := ask(p, "good")
			waiting <- err
		}()
		until(t, p, "waiting", func(s Stats) bool { return s.Waiting == i+1 })
	}
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- p.Close() }()
	}
	for range 2 {
		if err := <-waiting; !errors.Is(err, ErrClosed) {
			t.Errorf("a waiting call: %v", err)
		}
	}
	if _, err := ask(p, "good"); !errors.Is(err, ErrClosed) {
		t.Errorf("a new call: %v", err)
	}
	select {
	case <-closed:
		t.Error("Close did not wait for running work")
	default:
	}
	for _, f := range free {
		if err := f(); err != nil {
			t.Errorf("running work: %v", err)
		}
	}
	for range 2 {
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
	nothingLeft(t, before)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := ask(p, "good"); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if s := p.Stats(); s.Ready+s.Busy+s.Waiting > 0 {
		t.Errorf("after Close: %+v", s)
	}
}

// A decoder that does not end with its input is killed; one that starts is not
// waited for.
func TestCloseIsFirm(t *testing.T) {
	p := newPool(t, Options{}, "stays")
	mustWork(t, p)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	gate := filepath.Join(t.TempDir(), "gate")
	write(t, gate)
	p = newPool(t, Options{Backoff: time.Hour}, "gate="+gate)
	remove(t, gate)
	_, _ = ask(p, "exit")
	until(t, p, "failing", func(s Stats) bool { return s.Failed == 1 })
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// Everything at once, with decoders that fail in each way.
func TestUnderLoad(t *testing.T) {
	p := newPool(t, Options{Workers: 3, Queue: 8, MaxImages: 5, Backoff: time.Millisecond})
	behaviours := []string{"good", "good", "good", "good", "exit", "broken", "nonsense", "good", "segv", "bytes=100000"}
	var calls sync.WaitGroup
	var mu sync.Mutex
	count := map[string]int{}
	for g := range 16 {
		calls.Go(func() {
			for i := range 12 {
				b := behaviours[(g*7+i*3)%len(behaviours)]
				ctx, cancel := context.WithTimeout(context.Background(), patience.Of(t))
				r, err := p.Resize(ctx, strings.NewReader(b), int64(len(b)), someJob)
				cancel()
				_, image := errors.AsType[*ImageError](err)
				kind := "other"
				switch {
				case errors.Is(err, ErrBusy):
					kind = "busy"
				case err == nil && (b == "good" || b == "bytes=100000"), image && b == "broken", errors.Is(err, ErrCrashed) && (b == "exit" || b == "nonsense" || b == "segv"):
					kind = "right"
				default:
					t.Errorf("%s: %v, %v", b, r, err)
				}
				mu.Lock()
				count[kind]++
				mu.Unlock()
			}
		})
	}
	calls.Wait()
	s := p.Stats()
	if count["right"] == 0 || int(s.Images) != count["right"] || int(s.Refused) != count["busy"] {
		t.Errorf("calls: %v, pool: %+v", count, s)
	}
	t.Logf("calls: %v, pool: %+v", count, s)
	until(t, p, "well again", func(s Stats) bool { return s.Ready == 3 && s.Busy == 0 })
}

// Close in the middle of that.
func TestCloseUnderLoad(t *testing.T) {
	for range 5 {
		p := newPool(t, Options{Workers: 3, Queue: 8, MaxImages: 2, Backoff: time.Millisecond})
		var calls sync.WaitGroup
		started := make(chan struct{}, 100)
		for g := range 8 {
			calls.Go(func() {
				for {
					_, err := ask(p, []string{"good", "exit", "good", "nonsense"}[g%4])
					select {
					case started <- struct{}{}:
					default:
					}
					if errors.Is(err, ErrClosed) {
						return
					}
				}
			})
		}
		for range 30 {
			<-started
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		calls.Wait()
	}
}

// The decoder of a server that is killed in the middle of an image dies too.
func TestServerDies(t *testing.T) {
	server := exec.Command(os.Args[0], "fake-server")
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, bad := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || bad != nil {
		t.Fatalf("the server said %q, %v", line, err)
	}
	// The decoder hangs as soon as it has read the image; whether it is that
	// far or not, it must not survive.
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = server.Wait()
	eventually(t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || bytes.Contains(stat, []byte(") Z "))
	}, func() string { return "the decoder lives on" })
}
