package resize

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// ErrDeadly comes with [ErrCrashed] and [ErrTimeout] where the end of the decoder
// was the image's doing, as far as one can tell. A decoder works on one image at
// a time, so it was no other's. It is not the image's doing where somebody has
// killed or stopped the decoder (the kernel, short of memory; an operator; the
// service manager), nor where the decoder took too long for want of a
// processor, of the disk, or of the source, nor where it says itself that any image
// would have met with this: it got no memory, or its library does not do what it did at
// the start.
var ErrDeadly = errors.New("the image is to blame")

// deadly adds ErrDeadly to an error.
func deadly(err error) error { return fmt.Errorf("%w: %w", err, ErrDeadly) }

// diedOfImage says whether a child that did not send its answer died of its image,
// after it is gone.
func (c *child) diedOfImage() bool {
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		// Otherwise it has ended itself in the middle of its work.
		return !ok || status.ExitStatus() != ExitUnable
	}
	if c.killed.Load() {
		return true // it lived on without its pipe
	}
	// What a process brings upon itself. All others come from outside; so does
	// the SIGKILL at the limit of processor time, which many images share.
	own := []syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE, syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGSYS}
	return slices.Contains(own, status.Signal())
}

// unable says whether a child is gone and has ended itself for want of memory.
func (c *child) unable() bool {
	return c.gone() && c.cmd.ProcessState.ExitCode() == ExitUnable
}

// hangs says whether a child that is late has only itself to blame: it has had
// a processor for half of the time, or it sleeps although it has had its image for
// as long. began is the processor time that it had used before.
func (c *child) hangs(began, timeout time.Duration) bool {
	pid := c.cmd.Process.Pid
	used, err := processorTime(pid)
	if err != nil {
		return false // it is gone, or this is not Linux
	}
	if used-began >= timeout/2 {
		return true
	}
	// On a machine that is short of processors, threads that wait for each other may
	// all be found asleep at one moment: not again and again, without any progress.
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

// blames says whether the image is to blame for how a child failed. It waits for
// the end of one that has crashed, which is near.
func (p *Pool) blames(c *child, cause error, hung bool) bool {
	switch {
	case errors.Is(cause, os.ErrDeadlineExceeded):
		return hung
	case errors.Is(cause, errProtocol):
		return true
	}
	<-c.exited // bury sees to that
	return c.diedOfImage()
}
