package resize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A child is one decoder process, and this side's ends of its pipes.
type child struct {
	cmd      *exec.Cmd
	in, out  *os.File // to its standard input, from its standard output
	greeting *greeting
	images   int
	said     *excerpt
	killed   atomic.Bool // by us
	fed      bool        // has had its last request completely for half of the time

	// exited is closed once the process is gone and waited for; state is then
	// how it ended.
	exited chan struct{}
	state  string
}

// launcher starts processes on one thread that lives until it is closed. The kernel takes
// the end of the starting *thread* for the death of the parent (prctl(2),
// PR_SET_PDEATHSIG), and Go ends a thread when a goroutine locked to it returns; decoders
// would then be killed for no reason.
type launcher struct {
	work chan func()
	done chan struct{}
}

func newLauncher() *launcher {
	l := &launcher{make(chan func()), make(chan struct{})}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(l.done)
		for f := range l.work {
			f()
		}
	}()
	return l
}

func (l *launcher) start(cmd *exec.Cmd) error {
	err := make(chan error, 1)
	l.work <- func() { err <- cmd.Start() }
	return <-err
}

func (l *launcher) close() {
	close(l.work)
	<-l.done
}

// startChild starts a decoder and takes its greeting. It gives up after the
// timeout, or when ctx ends.
func (p *Pool) startChild(ctx context.Context) (*child, error) {
	c, err := p.launch()
	if err != nil {
		return nil, fmt.Errorf("resize: start decoder: %w", err)
	}
	if err := p.greet(ctx, c); err != nil {
		c.kill()
		<-c.exited
		c.close()
		return nil, p.startError(c, err)
	}
	return c, nil
}

// launch starts a process, reads what it prints, and waits for its end.
func (p *Pool) launch() (*child, error) {
	var ours, theirs []*os.File // of its standard input, output and error
	defer func() { closeAll(theirs) }()
	for i := range 3 {
		mine, its, err := os.Pipe()
		if err != nil {
			closeAll(ours)
			return nil, err
		}
		if i == 0 {
			mine, its = its, mine
		}
		ours, theirs = append(ours, mine), append(theirs, its)
	}
	cmd := &exec.Cmd{Path: p.path, Args: p.opts.Command, Env: p.opts.environ(), Dir: "/", SysProcAttr: procAttr()}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	if err := p.launcher.start(cmd); err != nil {
		closeAll(ours)
		return nil, err
	}
	c := &child{cmd: cmd, in: ours[0], out: ours[1], exited: make(chan struct{}), said: newExcerpt()}
	widen(c.in)
	stderr := ours[2]
	p.wg.Go(func() {
		_, _ = io.Copy(c.said, stderr)
		_ = stderr.Close()
		close(c.said.ended)
	})
	p.wg.Go(func() {
		_ = cmd.Wait()
		c.state = cmd.ProcessState.String()
		// A process that holds its stderr open must not block this for ever.
		_ = stderr.SetReadDeadline(time.Now().Add(drainTime))
		close(c.exited)
	})
	return c, nil
}

// greet reads the greeting of a child, and says why the child cannot be used.
func (p *Pool) greet(ctx context.Context, c *child) error {
	_ = c.out.SetReadDeadline(time.Now().Add(p.opts.StartTimeout))
	stop := context.AfterFunc(ctx, func() { _ = c.out.SetReadDeadline(time.Unix(1, 0)) })
	g, err := readGreeting(c.out)
	stop()
	switch {
	case err != nil:
		return err
	case !slices.Equal(g.Sources, p.opts.Sources):
		return fmt.Errorf("it reads the extra formats %v, want %v", g.Sources, p.opts.Sources)
	case !slices.Equal(g.Outputs, p.opts.Outputs):
		return fmt.Errorf("it writes the extra formats %v, want %v", g.Outputs, p.opts.Outputs)
	}
	c.greeting = g
	_ = c.out.SetReadDeadline(time.Time{})
	return p.opts.Sandbox.satisfied(Layers{g.Held, g.Missing})
}

// startError says what an operator can do about a decoder that sent no greeting.
func (p *Pool) startError(c *child, err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("no greeting within %v", p.opts.StartTimeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("it ended without a greeting (%s)", c.state)
	}
	<-c.said.ended
	if text := c.said.take(); text != "" {
		err = fmt.Errorf("%w; it printed %s", err, text)
	}
	return fmt.Errorf("resize: decoder %s: %w", p.path, err)
}

func (c *child) kill() {
	c.killed.Store(true)
	_ = c.cmd.Process.Kill()
}

// close closes our ends of the pipes.
func (c *child) close() { closeAll([]*os.File{c.in, c.out}) }

func (c *child) gone() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// retire ends an idle decoder: it closes the decoder's input, and kills it if that does not
// help.
func (c *child) retire() {
	_ = c.in.Close()
	t := time.NewTimer(graceTime)
	defer t.Stop()
	select {
	case <-c.exited:
	case <-t.C:
		c.kill()
		<-c.exited
	}
	c.close()
}

const (
	// graceTime is how long a decoder may take to end by itself.
	graceTime = 2 * time.Second
	// drainTime bounds the wait for the last output of a dead one.
	drainTime = time.Second
)

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// excerpt keeps the beginning of what a decoder prints, and counts the rest. A broken image
// may cause hundreds of warnings; the log gets one short line.
type excerpt struct {
	mu    sync.Mutex
	kept  []byte
	total int64

	ended chan struct{} // closed when no more will come
}

const keepText = 400 // bytes

func newExcerpt() *excerpt { return &excerpt{ended: make(chan struct{})} }

func (e *excerpt) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept = append(e.kept, p[:min(len(p), keepText-len(e.kept))]...)
	e.total += int64(len(p))
	return len(p), nil
}

// take returns what was printed since the last call, as one line of quoted text, and
// forgets it. Empty: nothing.
func (e *excerpt) take() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.total == 0 {
		return ""
	}
	text := fmt.Sprintf("%+q", bytes.TrimSpace(e.kept))
	if more := e.total - int64(len(e.kept)); more > 0 {
		text += fmt.Sprintf(" and %d more bytes", more)
	}
	e.kept, e.total = nil, 0
	return text
}
