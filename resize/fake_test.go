package resize

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imgkeep/scripts/patience"
)

// The decoder of these tests is the test binary itself. What it does with an
// image is told by the image: its bytes are the name of a behaviour.

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "fake-decoder":
			fakeDecoder(os.Args[2:])
		case "fake-server":
			fakeServer()
		}
	}
	os.Exit(m.Run())
}

// pause is a hang. Nobody waits for its end: who is in it gets killed.
func pause() { <-time.After(time.Hour) }

var jpegData = []byte("\xff\xd8\xff\xe0 not much of a JPEG")

// fakeDecoder runs as a decoder. Its argument is how it greets.
func fakeDecoder(args []string) {
	greet := "well"
	if len(args) > 0 {
		greet = args[0]
	}
	formats := []string{"jpeg", "png", "gif", "webp"}
	var outputs, held, missing []string
	switch name, value, _ := strings.Cut(greet, "="); name {
	case "well", "without sources":
	case "gate": // only while the file exists
		if _, err := os.Stat(value); err != nil {
			fmt.Fprintln(os.Stderr, "no gate")
			os.Exit(3)
		}
	case "silent":
		pause()
	case "exit":
		fmt.Fprintln(os.Stderr, "libvips.so.42: cannot open shared object file")
		os.Exit(127)
	case "usage":
		fmt.Println("Usage: something else [OPTION]...")
		os.Exit(0)
	case "raw": // this head
		_ = rawHead(os.Stdout, value)
		pause()
	case "half": // a length, and less
		_, _ = os.Stdout.Write([]byte{0, 0, 0, 90, '{'})
		pause()
	case "jpeg":
		formats = formats[:1]
	case "avif":
		outputs, _ = ReadOutputs(os.Getenv)
	case "confined":
		held = []string{"seccomp", "landlock"}
	case "half confined":
		held, missing = []string{"seccomp"}, []string{"landlock: \x1b[31mnone"}
	}
	sources, err := ReadSources(os.Getenv)
	if err != nil {
		os.Exit(3)
	}
	if greet == "without sources" {
		sources = nil
	}
	if err := writeHead(os.Stdout, greeting{protocol, "8.14.1 fake", formats, sources, outputs, held, missing}); err != nil {
		os.Exit(1)
	}
	for {
		req, src, err := readRequest(os.Stdin, new(memory))
		if err == io.EOF {
			if greet == "stays" {
				pause()
			}
			os.Exit(0)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		behave(req, strings.TrimRight(string(src), " "))
	}
}

func rawHead(w io.Writer, head string) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(head))), head...))
	return err
}

func behave(req *Request, behaviour string) {
	good := make([]Result, len(req.Targets))
	for i := range good {
		good[i] = Result{req.FormatOf(i), 1, 1, 1, jpegData}
	}
	out := os.Stdout
	answer := func(head string, body ...byte) {
		_ = rawHead(out, head)
		_, _ = out.Write(body)
	}
	switch name, value, _ := strings.Cut(behaviour, "="); name {
	case "good":
		_ = writeResults(out, good)
	case "tell": // about itself
		about := map[string]string{"pid": strconv.Itoa(os.Getpid()), "environment": fmt.Sprintf("%q", os.Environ()), "folder": mustGetwd()}[value]
		_ = writeError(out, &ImageError{Detail: about})
	case "request":
		_ = writeError(out, &ImageError{Detail: fmt.Sprintf("%+v", *req)})
	case "broken":
		_ = writeError(out, &ImageError{Detail: "premature end\nof \x1b[31mfile"})
	case "large":
		_ = writeError(out, &ImageError{TooLarge: true, Detail: "50000 by 50000"})
	case "unable":
		_ = writeUnable(out, errors.New("vips: pngsave_buffer: operation is blocked"))
	case "exit":
		fmt.Fprintln(os.Stderr, "out of memory")
		os.Exit(7)
	case "starved":
		os.Exit(ExitUnable)
	case "segv":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		pause()
	case "signal": // as from outside
		n, _ := strconv.Atoi(value)
		_ = syscall.Kill(os.Getpid(), syscall.Signal(n))
		pause()
	case "closed": // its output, and lives on
		_ = os.Stdout.Close()
		pause()
	case "hang":
		pause()
	case "chatty":
		for i := range 1000 {
			fmt.Fprintf(os.Stderr, "warning %d: something is odd\n", i)
		}
		_ = writeResults(out, good)
	case "bytes": // results of so many
		n, _ := strconv.Atoi(value)
		for i := range good {
			good[i].Data = append(bytes.Clone(jpegData), make([]byte, n-len(jpegData))...)
		}
		_ = writeResults(out, good)
	case "nonsense":
		_, _ = out.WriteString("HTTP/1.1 200 OK\r\n\r\n")
	case "endless":
		for {
			if _, err := out.Write(make([]byte, 1<<16)); err != nil {
				os.Exit(1)
			}
		}
	case "zero head":
		_, _ = out.Write([]byte{0, 0, 0, 0})
	case "huge head":
		_, _ = out.Write([]byte{0xff, 0xff, 0xff, 0xff})
		pause()
	case "head at limit": // all spaces but a good answer
		text := `{"error":{"detail":"padded"}}`
		answer(text + strings.Repeat(" ", maxHead-len(text)))
	case "half head":
		_, _ = out.Write([]byte{0, 0, 0, 90, '{'})
		os.Exit(0)
	case "slow head":
		_, _ = out.Write([]byte{0, 0, 0, 90, '{'})
		pause()
	case "raw":
		answer(value, jpegData...)
		pause()
	default:
		fmt.Fprintln(os.Stderr, "no such behaviour", behaviour)
		os.Exit(99)
	}
}

func mustGetwd() string {
	d, err := os.Getwd()
	if err != nil {
		return err.Error()
	}
	return d
}

// fakeServer is a pool's process, for a test that kills it. It prints the
// decoder's process number, and then has it work for ever.
func fakeServer() {
	p, err := NewPool(Options{Command: []string{os.Args[0], "fake-decoder"}, Workers: 1, Timeout: time.Hour})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_, err = p.Resize(context.Background(), strings.NewReader("tell=pid"), 8, Job{Format: "jpeg", Targets: []Target{{Size: Size{Height: 1}}}})
	fmt.Println(strings.TrimPrefix(err.Error(), "resize: broken image: "))
	_, _ = p.Resize(context.Background(), strings.NewReader("hang"), 4, Job{Format: "jpeg", Targets: []Target{{Size: Size{Height: 1}}}})
}

// newPool makes a pool of fake decoders, and checks when the test ends that
// closing it leaves nothing behind: no process, descriptor or goroutine.
func newPool(t testing.TB, o Options, args ...string) *Pool {
	t.Helper()
	before := holdings(t)
	if o.Command == nil {
		o.Command = append([]string{os.Args[0], "fake-decoder"}, args...)
	}
	if o.Env == nil {
		// The race detector has each process linger for a second.
		o.Env = []string{"GORACE=atexit_sleep_ms=0"}
	}
	if o.Workers == 0 {
		o.Workers = 1
	}
	// What ends by its time does so in tests that say when.
	o.Timeout = cmp.Or(o.Timeout, time.Minute)
	o.StartTimeout = cmp.Or(o.StartTimeout, time.Minute)
	p, err := NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		nothingLeft(t, before)
	})
	return p
}

type held struct {
	goroutines, files, processes int
}

func holdings(t testing.TB) held {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return held{runtime.NumGoroutine(), len(files), len(children(t))}
}

// children are the processes whose parent is this one, zombies too.
func children(t testing.TB) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid; the name may hold anything.
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if ppid, _ := strconv.Atoi(f[1]); ppid == os.Getpid() {
			pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

func nothingLeft(t testing.TB, before held) {
	t.Helper()
	var now held
	// A goroutine that has done its work may still be counted for a moment.
	eventually(t, func() bool {
		now = holdings(t)
		return now.goroutines <= before.goroutines && now.files <= before.files && now.processes <= before.processes
	}, func() string {
		stacks := make([]byte, 1<<16)
		return fmt.Sprintf("before %+v, after Close %+v; processes %v\n%s", before, now, children(t), stacks[:runtime.Stack(stacks, true)])
	})
}

// eventually asks again and again, because there is no event to wait for.
func eventually(t testing.TB, ok func() bool, otherwise func() string) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(patience.Of(t))
	defer late.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Error(otherwise())
			return
		}
	}
}

// inTime tries with a longer and longer time until one is enough for what has to be done
// within it: on a machine that has much else to do the first ones are not.
func inTime(t testing.TB, try func(timeout time.Duration) error) {
	t.Helper()
	for timeout := 250 * time.Millisecond; ; timeout *= 2 {
		err := try(timeout)
		if err == nil {
			return
		}
		if timeout > 30*time.Second {
			t.Error(err)
			return
		}
	}
}

// until waits for a state of the pool.
func until(t testing.TB, p *Pool, what string, ok func(Stats) bool) {
	t.Helper()
	eventually(t, func() bool { return ok(p.Stats()) }, func() string { return fmt.Sprintf("never %s: %+v", what, p.Stats()) })
}

var someJob = Job{Format: "jpeg", Targets: []Target{{Size: Size{Height: 100, Width: 100}}}}

func ask(p *Pool, behaviour string) ([]Result, error) {
	return p.Resize(context.Background(), strings.NewReader(behaviour), int64(len(behaviour)), someJob)
}

// told asks a decoder about itself.
func told(p *Pool, what string) (string, error) {
	_, err := ask(p, "tell="+what)
	blame, ok := errors.AsType[*ImageError](err)
	if !ok {
		return "", fmt.Errorf("asked for its %s: %w", what, err)
	}
	return blame.Detail, nil
}

func tell(t testing.TB, p *Pool, what string) string {
	t.Helper()
	about, err := told(p, what)
	if err != nil {
		t.Fatal(err)
	}
	return about
}

// works shows that the pool is well.
func works(p *Pool) error {
	r, err := ask(p, "good")
	if err != nil || len(r) != 1 || !bytes.Equal(r[0].Data, jpegData) {
		return fmt.Errorf("a good image: %+v, %w", r, err)
	}
	return nil
}

func mustWork(t testing.TB, p *Pool) {
	t.Helper()
	if err := works(p); err != nil {
		t.Fatal(err)
	}
}

// lines is a log that counts.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(p))
	return len(p), nil
}

func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

func logTo(l *lines) *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
