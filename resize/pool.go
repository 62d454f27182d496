package resize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Options of a [Pool]. The zero value of each but Command is usable.
type Options struct {
	// Command is the decoder program and its arguments. A name without a slash
	// is looked up in PATH.
	Command []string
	// Env is the whole environment of a decoder, as "NAME=value". Nothing is
	// inherited.
	Env []string
	// Workers is the number of decoders. 0: one for each core.
	Workers int
	// Spares is how many extra decoders are kept ready to replace at once one that has ended
	// over an image or by itself: from the first that does, since most never do, and a spare
	// takes memory. 0: none; a replacement then takes as long as a start.
	Spares int
	// Queue is how many calls of Resize may wait while all decoders work; as many again may
	// wait in the background. 0: 64; negative: none.
	Queue int
	// Wait is the longest that a call waits for a decoder, unless it is in the background.
	// 0: Timeout.
	Wait time.Duration
	// Timeout is the longest that a decoder may work on an image, including the transfer of
	// the source and of the results. 0: 10 seconds.
	Timeout time.Duration
	// StartTimeout is the longest from a decoder's start to its greeting.
	// 0: 10 seconds.
	StartTimeout time.Duration
	// Backoff is the pause after a decoder has failed to start. It doubles with
	// each further failure, to 64 times at most. 0: 100 milliseconds.
	Backoff time.Duration
	// MaxImages is how many images a decoder works on before it is replaced, so that
	// neither fragmented memory nor an intruder stays. 0: 500.
	MaxImages int
	// MaxPixels bounds width times height of an image. 0: 50,000,000.
	MaxPixels int64
	// AnimationPixels bounds width times height times frames of an animation,
	// and of all targets made from it together, with no frame counted for less
	// than 16,384. Beyond it the targets are still pictures of its first frame.
	// 0: 50,000,000.
	AnimationPixels int64
	// MaxBytes bounds the results of one job together, in bytes. 0: 64 MiB.
	MaxBytes int64
	// MaxHeld bounds the bytes of results of all jobs that are held in memory, see
	// Job.Held: no decoder starts while they reach it. So all results together have at most
	// MaxHeld bytes, plus MaxBytes for each worker. 0: MaxBytes.
	MaxHeld int64
	// Sources are extra formats that decoders read, besides "jpeg", "png", "gif" and
	// "webp": "avif", "bmp", "heic", "tiff", "jxl". A decoder that lacks one is not used.
	// Each has libraries of its own, which are loaded only for it. nil: none.
	Sources []string
	// Outputs are extra formats that decoders write: "avif". A decoder that lacks one is
	// not used. Each has libraries of its own, which are loaded only for it. nil: none.
	Outputs []string
	// Sandbox is the confinement asked of decoders. Empty: SandboxAuto.
	Sandbox Sandbox
	// MaxMemory bounds the address space that a confined decoder takes for its images, in
	// bytes. 0: no bound.
	MaxMemory int64
	// Logger gets at most one line for an image, one for a failed start, and one for a
	// decoder that ends without work. nil: no log.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if len(o.Command) == 0 || o.Command[0] == "" {
		return o, errors.New("resize: no decoder command")
	}
	if o.Workers < 0 || o.Spares < 0 || o.Timeout < 0 || o.Wait < 0 || o.StartTimeout < 0 || o.Backoff < 0 || o.MaxImages < 0 ||
		o.MaxPixels < 0 || o.AnimationPixels < 0 || o.MaxBytes < 0 || o.MaxHeld < 0 || o.MaxMemory < 0 {
		return o, errors.New("resize: an option is negative")
	}
	o.Workers = cmp.Or(o.Workers, runtime.NumCPU())
	o.Queue = max(0, cmp.Or(o.Queue, 64))
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.Wait = cmp.Or(o.Wait, o.Timeout)
	o.StartTimeout = cmp.Or(o.StartTimeout, 10*time.Second)
	o.Backoff = cmp.Or(o.Backoff, 100*time.Millisecond)
	o.MaxImages = cmp.Or(o.MaxImages, 500)
	o.MaxPixels = cmp.Or(o.MaxPixels, 50_000_000)
	o.AnimationPixels = cmp.Or(o.AnimationPixels, 50_000_000)
	o.MaxBytes = cmp.Or(o.MaxBytes, 64<<20)
	o.MaxHeld = cmp.Or(o.MaxHeld, o.MaxBytes)
	if o.Sandbox = cmp.Or(o.Sandbox, SandboxAuto); o.Sandbox.check() != nil {
		return o, o.Sandbox.check()
	}
	if err := errors.Join(checkSources(o.Sources), checkOutputs(o.Outputs)); err != nil {
		return o, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Errors of Resize; use errors.Is.
var (
	// ErrBusy: the queue is full, or a call of a site that waits for less took this one's
	// place in it; or no decoder came free within Options.Wait, for instance because results
	// fill the memory. Try again later.
	ErrBusy = errors.New("resize: all decoders are busy")
	// ErrTimeout: the decoder did not finish in time, and was killed.
	ErrTimeout = errors.New("resize: the decoder took too long")
	// ErrCrashed: the decoder died over the image, broke the protocol, or says that it was
	// unable to work on it. See [ErrPoison] for whether the image is the cause.
	ErrCrashed = errors.New("resize: the decoder failed")
	// ErrClosed: the pool is closed.
	ErrClosed = errors.New("resize: the pool is closed")
)

// Stats are counts since the pool was made, and its state at one moment.
type Stats struct {
	// Workers are all decoders wanted, Ready those that could start on an
	// image at once, Busy those that work on one.
	Workers, Ready, Busy int
	// Spares are the extra decoders that are ready.
	Spares int
	// Waiting are the calls of Resize in the queue. Waited is the total time that calls
	// which have left it spent there.
	Waiting int
	Waited  time.Duration
	// Held are the bytes of results that are held in memory.
	Held int64
	// Images is how many images decoders have worked on, Refused how many calls got
	// ErrBusy.
	Images, Refused uint64
	// Decoders replaced because they crashed, at work or not; hung; broke the protocol;
	// reached their number of images or got no memory; or were left in the middle of a source
	// that could not be read.
	Crashed, TimedOut, ProtocolErrors, Recycled, Abandoned uint64
	// Failed are the starts that gave no working decoder.
	Failed uint64
}

// A Pool hands images to decoder processes. Its methods may be called
// concurrently.
type Pool struct {
	opts     Options
	path     string // of the program, absolute
	greeting *greeting
	launcher *launcher

	// ctx ends when the pool is closed: nothing starts after that.
	ctx  context.Context
	stop context.CancelFunc
	// jobs counts the calls of Resize that hold a slot; wg all goroutines but
	// the launcher's.
	jobs, wg sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	slots   []*slot
	idle    []*slot // with a living child; the last was used last
	spares  []*child
	making  int     // spares that are being started
	lost    bool    // a decoder has ended before it was to: spares are kept
	waiters []*call // the oldest in front
	held    int64   // bytes of results, see hold
	sites   shares
	images  shares
	stats   Stats
}

// A slot is the place of one decoder. Its child is nil while it has none. The pool's mutex
// guards all of it, except the child of a busy slot: the call that holds the slot uses
// that.
type slot struct {
	child    *child
	next     *child // ready to replace child when the slot is free
	busy     bool
	starting bool
	call     *call // that it is busy for
}

// NewPool starts the decoders and waits for the greeting of each; spares start in the
// background. A program that is missing, is no decoder, lacks a library or is of another
// version is an error, so that a server that cannot resize does not start.
func NewPool(opts Options) (*Pool, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	path, err := exec.LookPath(o.Command[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, fmt.Errorf("resize: decoder: %w", err)
	}
	p := &Pool{opts: o, path: path, launcher: newLauncher(), sites: shares{}, images: shares{}}
	p.stats.Workers = o.Workers
	p.ctx, p.stop = context.WithCancel(context.Background())

	children := make([]*child, o.Workers)
	errs := make([]error, o.Workers)
	var starts sync.WaitGroup
	for i := range children {
		starts.Go(func() { children[i], errs[i] = p.startChild(p.ctx) })
	}
	starts.Wait()
	p.mu.Lock()
	for _, c := range children {
		if c != nil {
			s := &slot{child: c}
			p.greeting = c.greeting
			p.slots, p.idle = append(p.slots, s), append(p.idle, s)
			p.wg.Go(func() { p.watch(s, c) })
		}
	}
	p.mu.Unlock()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		_ = p.Close()
		return nil, errs[i]
	}
	return p, nil
}

// Version of libvips in the decoders.
func (p *Pool) Version() string { return p.greeting.Libvips }

// Formats that the decoders read and write.
func (p *Pool) Formats() []string { return slices.Clone(p.greeting.Formats) }

// Sources that the decoders also read: those of Options.
func (p *Pool) Sources() []string { return slices.Clone(p.greeting.Sources) }

// Outputs that the decoders also write: those of Options.
func (p *Pool) Outputs() []string { return slices.Clone(p.greeting.Outputs) }

// Layers are those that confine the decoders, as one of the first has reported: the same
// kernel confines all of them.
func (p *Pool) Layers() Layers {
	return Layers{slices.Clone(p.greeting.Held), slices.Clone(p.greeting.Missing)}
}

// Stats may be called at any time, also after Close.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Ready, s.Waiting, s.Spares, s.Held = len(p.idle), len(p.waiters), len(p.spares), p.held
	return s
}

// Resize makes the targets of j from the n bytes of src. The results have the order of the
// targets.
//
// If ctx ends while the call waits for a decoder, the call leaves the queue with the
// context's error. Once a decoder works, Resize waits for it, for at most Options.Timeout:
// the result can be kept for the next viewer, and ending the decoder would cost a restart.
// Resize does not use src after it returns, and returns an error of it. An *[ImageError]
// says that the image is at fault; see also [ErrBusy], [ErrTimeout], [ErrCrashed],
// [ErrPoison] and [ErrClosed].
func (p *Pool) Resize(ctx context.Context, src io.Reader, n int64, j Job) ([]Result, error) {
	req := &Request{j.Format, j.Targets, p.opts.MaxPixels, p.opts.AnimationPixels}
	if j.LateTargets == nil {
		if err := p.check(req); err != nil {
			return nil, err
		}
	}
	if n < 1 || n > MaxSource {
		return nil, fmt.Errorf("resize: a source of %d bytes is not from 1 to %d", n, MaxSource)
	}
	s, err := p.acquire(ctx, j)
	if err != nil {
		return nil, err
	}
	defer p.jobs.Done()
	if j.LateTargets != nil {
		req.Targets = j.LateTargets()
		if err := p.check(req); err != nil {
			p.giveBack(s)
			return nil, err
		}
	}
	c := s.child
	began, _ := processorTime(c.cmd.Process.Pid)
	results, err := p.ask(c, req, src, n)
	if err == nil && j.Check != nil {
		if wrong := j.Check(results); wrong != nil {
			err = fmt.Errorf("%w: %w", errProtocol, wrong)
		}
	}
	if unable, ok := errors.AsType[*errUnable](err); ok {
		p.opts.Logger.Warn("resize: decoder was unable", "error", unable, "text", c.said.take())
		p.release(s, true)
		return nil, fmt.Errorf("%w: %w", ErrCrashed, unable)
	}
	if _, fine := errors.AsType[*ImageError](err); err != nil && !fine {
		hung := errors.Is(err, os.ErrDeadlineExceeded) && c.hangs(began, p.opts.Timeout)
		return nil, p.discard(s, c, err, hung)
	}
	if text := c.said.take(); text != "" {
		p.opts.Logger.Warn("resize: decoder printed", "text", text)
	}
	p.hold(j.Held, results)
	p.release(s, false)
	return results, err
}

// check says why a request cannot be handed to a decoder.
func (p *Pool) check(r *Request) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("resize: %w", err)
	}
	missing := func(f string) error { return fmt.Errorf("resize: libvips %s here has no %s", p.greeting.Libvips, f) }
	if !slices.Contains(p.greeting.Formats, r.Format) && !slices.Contains(p.greeting.Sources, r.Format) {
		return missing(r.Format)
	}
	for i := range r.Targets {
		if f := r.FormatOf(i); f != FormatPrint && !slices.Contains(p.greeting.Formats, f) && !slices.Contains(p.greeting.Outputs, f) {
			return missing(f)
		}
	}
	return nil
}

func (p *Pool) ask(c *child, req *Request, src io.Reader, n int64) ([]Result, error) {
	began := time.Now()
	deadline := began.Add(p.opts.Timeout)
	c.fed = false
	_ = c.in.SetWriteDeadline(deadline)
	_ = c.out.SetReadDeadline(deadline)
	if err := writeRequest(c.in, req, src, n); err != nil {
		return nil, err
	}
	c.fed = time.Since(began) < p.opts.Timeout/2
	return readAnswer(c.out, req, p.opts.MaxBytes)
}

// giveBack returns a slot whose child had nothing to do.
func (p *Pool) giveBack(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(s)
	if p.renew(s) {
		p.free(s)
	}
}

// release returns a slot whose child has answered. A child that got no memory, or has had
// its number of images, continues until its replacement is ready.
func (p *Pool) release(s *slot, recycle bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(s)
	p.stats.Images++
	c := s.child
	c.images++
	if p.renew(s) {
		recycle = recycle && s.child == c || s.child.images >= p.opts.MaxImages
		p.free(s)
		if recycle {
			p.replace(s)
		}
	}
}

// renew installs the next child, if there is one, or replaces one that has died. It says
// whether the slot has a child. The caller holds the mutex.
func (p *Pool) renew(s *slot) bool {
	old := s.child
	if s.next == nil && !old.gone() {
		return true
	}
	if old != nil {
		if old.gone() {
			p.lost = true
			p.stats.Crashed++
		}
		p.wg.Go(old.retire)
	}
	s.busy = p.refill(s) && s.busy
	return s.child != nil
}

// discard ends a child that did not do its work, and replaces it at once. It returns the
// error for the caller. hung says that a late child was not kept from its work.
func (p *Pool) discard(s *slot, c *child, cause error, hung bool) error {
	// After a crash, the pipe ends a moment before the process is gone. The process is then
	// not killed yet, so that the log can say what it died of.
	if !errors.Is(cause, io.ErrUnexpectedEOF) && !errors.Is(cause, syscall.EPIPE) {
		c.kill()
	}
	var failure string
	p.mu.Lock()
	p.leave(s)
	p.stats.Images++
	err := fmt.Errorf("%w: %w", ErrCrashed, cause)
	src, abandoned := errors.AsType[*errSource](cause)
	switch {
	case abandoned:
		p.stats.Abandoned++
		err = src
	case errors.Is(cause, os.ErrDeadlineExceeded):
		p.stats.TimedOut++
		failure, err = "took too long", ErrTimeout
	case errors.Is(cause, errProtocol):
		p.stats.ProtocolErrors++
		failure = "broke the protocol"
	default:
		p.stats.Crashed++
		failure = "crashed"
	}
	s.busy, p.lost = false, true
	if p.refill(s) {
		p.free(s)
	}
	p.mu.Unlock()
	p.wg.Go(func() { p.reap(c, failure, cause) })
	switch {
	case abandoned:
	case p.isPoison(c, cause, hung):
		err = poison(err)
	case c.unable():
		// Its last message may have come before the end of the pipe, or may be lost with it.
		err = fmt.Errorf("%w: %w", err, ErrMemory)
	}
	return err
}

// reap waits for a child that is dead or dying, and logs the cause.
func (p *Pool) reap(c *child, failure string, cause error) {
	t := time.AfterFunc(drainTime, c.kill)
	<-c.exited
	t.Stop()
	<-c.said.ended
	c.close()
	if failure != "" {
		p.opts.Logger.Warn("resize: decoder "+failure, "error", cause, "state", c.state, "images", c.images, "text", c.said.take())
	}
}

// watch notices that a child dies while no call uses it.
func (p *Pool) watch(s *slot, c *child) {
	<-c.exited
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return
	case s.next == c:
		s.next = nil
	case s.child == c && !s.busy:
		i := slices.Index(p.idle, s)
		p.idle = slices.Delete(p.idle, i, i+1)
		p.lost = true
		if p.refill(s) {
			p.free(s)
		}
	default:
		return
	}
	p.stats.Crashed++
	p.wg.Go(func() { p.reap(c, "ended by itself", nil) })
}

// replace starts another child for the slot, in the background, once. The caller holds the
// mutex.
func (p *Pool) replace(s *slot) {
	if s.starting || p.closed {
		return
	}
	s.starting = true
	p.wg.Go(func() {
		if c := p.startUntil(); c != nil {
			p.install(s, c)
		}
	})
}

// install puts a child that has just greeted into its slot.
func (p *Pool) install(s *slot, c *child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.starting = false
	if p.closed {
		p.wg.Go(c.retire)
		return
	}
	if s.child != nil {
		p.stats.Recycled++
	}
	p.makeSpares()
	s.next = c
	p.wg.Go(func() { p.watch(s, c) })
	if s.busy {
		return // its call will renew it
	}
	fresh := s.child == nil
	if p.renew(s) && fresh {
		p.free(s)
	}
}

// Close accepts no more calls, ends the waiting ones with [ErrClosed], lets running ones
// finish, and ends the decoders. When it returns, no decoder is left. A further call waits
// for the same. The error is always nil.
func (p *Pool) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	for _, w := range p.waiters {
		w.err = ErrClosed
		close(w.turn)
	}
	p.waiters = nil
	p.mu.Unlock()
	p.stop()
	p.jobs.Wait()

	p.mu.Lock()
	for _, s := range p.slots {
		for _, c := range []*child{s.child, s.next} {
			if c != nil {
				p.wg.Go(c.retire)
			}
		}
		s.child, s.next = nil, nil
	}
	for _, c := range p.spares {
		p.wg.Go(c.retire)
	}
	p.idle, p.spares = nil, nil
	p.mu.Unlock()
	p.wg.Wait()
	if first {
		p.launcher.close()
	}
	return nil
}
