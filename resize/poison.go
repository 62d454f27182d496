package resize

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// ErrPoison is added to [ErrCrashed] and [ErrTimeout] if, as far as one can tell, the image
// caused the failure of the decoder. A decoder works on one image at a time, so no other
// image can have caused it. The image did not cause it if somebody killed or stopped the
// decoder (the kernel, short of memory; an operator; the service manager), if the decoder
// was late because it had to wait for a processor, the disk or the source, or if the
// decoder reports a fault that any image would meet: it got no memory, or its library no
// longer does what it did at start.
var ErrPoison = errors.New("the image is the cause")

// poison adds ErrPoison to an error.
func poison(err error) error { return fmt.Errorf("%w: %w", err, ErrPoison) }

// diedOfImage says whether a child that sent no answer died of its image. The child is
// gone.
func (c *child) diedOfImage() bool {
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		// Otherwise it exited by itself in the middle of its work.
		return !ok || status.ExitStatus() != ExitUnable
	}
	if c.killed.Load() {
		return true // it was still alive when its pipe had ended
	}
	// Signals that a process causes itself. All others come from outside; so does the
	// SIGKILL at the limit of processor time, which many images use up together.
	own := []syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE, syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGSYS}
	return slices.Contains(own, status.Signal())
}

// unable says whether a child is gone and has exited for want of memory.
func (c *child) unable() bool {
	return c.gone() && c.cmd.ProcessState.ExitCode() == ExitUnable
}

// hangs says whether a late child is itself the cause: it has used a processor for half of
// the time, or it sleeps although it has had its image for as long. began is the processor
// time that it had used before.
func (c *child) hangs(began, timeout time.Duration) bool {
	pid := c.cmd.Process.Pid
	used, err := processorTime(pid)
	if err != nil {
		return false // it is gone, or this is not Linux
	}
	if used-began >= timeout/2 {
		return true
	}
	// On a machine that is short of processors, all threads that wait for each other may be
	// asleep at one moment, but not repeatedly and without any progress.
	for range asleepLooks {
		if !c.fed || !sleeps(pid) {
			return false
		}
		time.Sleep(asleepPause)
	}
	now, err := processorTime(pid)
	return err == nil && now == used
}

const (
	asleepLooks = 5
	asleepPause = 10 * time.Millisecond
)

// isPoison says whether the image caused the failure of a child. If the child crashed, it
// waits for its end, which is near.
func (p *Pool) isPoison(c *child, cause error, hung bool) bool {
	switch {
	case errors.Is(cause, os.ErrDeadlineExceeded):
		return hung
	case errors.Is(cause, errProtocol):
		return true
	}
	<-c.exited // reap closes it
	return c.diedOfImage()
}
