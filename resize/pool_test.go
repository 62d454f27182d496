package resize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestPool(t *testing.T) {
	p := newPool(t, Options{Workers: 2})
	if p.Version() != "8.14.1 fake" || fmt.Sprint(p.Formats()) != "[jpeg png gif webp]" {
		t.Errorf("version %q, formats %v", p.Version(), p.Formats())
	}
	if s := p.Stats(); s.Workers != 2 || s.Ready != 2 || s.Busy != 0 || s.Waiting != 0 {
		t.Errorf("at the start: %+v", s)
	}
	mustWork(t, p)
	// A source that goes on behind its length is read so far only.
	src := strings.NewReader("goodness")
	r, err := p.Resize(context.Background(), src, 4, Job{Format: "jpeg", Targets: []Target{{Size: Size{Height: 1}}, {Size: Size{Width: 2}, Quality: 100}}})
	if err != nil || len(r) != 2 || src.Len() != 4 {
		t.Errorf("two targets: %+v, %v; %d bytes left", r, err, src.Len())
	}
	if r[0].Format != "jpeg" || r[0].Width != 1 || r[0].Height != 1 || r[0].Frames != 1 {
		t.Errorf("result %+v", r[0])
	}
	if s := p.Stats(); s.Images != 2 || s.Ready != 2 {
		t.Errorf("after two images: %+v", s)
	}
}

// A decoder gets the environment that it is given, its confinement, no more, and no folder of
// the server's.
func TestEnvironment(t *testing.T) {
	t.Setenv("IMGKEEP_SIGN_SECRET", "not for decoders")
	const told = `"IMGKEEP_DECODER_SANDBOX=on" "IMGKEEP_DECODER_MEMORY=1234" "IMGKEEP_DECODER_CPU=2h40m0s"`
	for _, c := range []struct {
		env  []string
		want string
	}{{nil, `[` + told + `]`}, {[]string{}, `[` + told + `]`}, {[]string{"A=1", "B=2"}, `[` + told + ` "A=1" "B=2"]`}} {
		p, err := NewPool(Options{Command: []string{os.Args[0], "fake-decoder"}, Workers: 1, Env: c.env, MaxMemory: 1234, Timeout: time.Minute, MaxImages: 20})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if got := tell(t, p, "environment"); got != c.want {
			t.Errorf("given %q it has %s", c.env, got)
		}
		if got := tell(t, p, "folder"); got != "/" {
			t.Errorf("it runs in %s", got)
		}
	}
}

func TestRequestArrives(t *testing.T) {
	p := newPool(t, Options{MaxPixels: 77, AnimationPixels: 88})
	_, err := p.Resize(context.Background(), strings.NewReader("request"), 7, Job{Format: "gif", Targets: []Target{{Size: Size{150, 0}, Format: "png"}, {Size: Size{0, 9}, Quality: 44}}})
	if want := "{Format:gif Targets:[{Preset:<nil> Size:150x Format:png Quality:0} {Preset:<nil> Size:x9 Format: Quality:44}] MaxPixels:77 AnimationPixels:88}"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestImageErrors(t *testing.T) {
	log := new(lines)
	p := newPool(t, Options{Logger: logTo(log)})
	pid := tell(t, p, "pid")
	for behaviour, want := range map[string]ImageError{
		"broken":        {false, "premature end?of ?[31mfile"},
		"large":         {true, "50000 by 50000"},
		"head at limit": {false, "padded"},
	} {
		_, err := ask(p, behaviour)
		if blame, ok := errors.AsType[*ImageError](err); !ok || *blame != want {
			t.Errorf("%s: got %#v, want %+v", behaviour, err, want)
		}
	}
	// That is no reason to replace the decoder, or to write to the log.
	if tell(t, p, "pid") != pid {
		t.Error("the decoder was replaced")
	}
	if l := log.take(); len(l) > 0 {
		t.Errorf("logged %q", l)
	}
}

// Whatever a decoder does costs the one request, and the decoder.
func TestMisbehaviour(t *testing.T) {
	const result = `"width":1,"height":1,"frames":1`
	head := func(s string) string { return "raw=" + s }
	one := func(fields string) string { return head(`{"results":[{` + fields + `}]}`) }
	for _, c := range []struct {
		behaviour string
		want      error
		detail    string
		count     func(Stats) uint64
	}{
		{"exit", ErrCrashed, "exit status 7", crashed},
		{"segv", ErrCrashed, "SIGSEGV", crashed},
		{"closed", ErrCrashed, "killed", crashed},
		{"half head", ErrCrashed, "unexpected EOF", crashed},
		{"hang", ErrTimeout, "took too long", timedOut},
		{"slow head", ErrTimeout, "took too long", timedOut},
		{"nonsense", ErrCrashed, `starts with \"HTTP\"`, nonsense},
		{"endless", ErrCrashed, `length of a head`, nonsense},
		{"zero head", ErrCrashed, "length of a head", nonsense},
		{"huge head", ErrCrashed, `xff\\xff`, nonsense},
		{head(`{}`), ErrCrashed, "0 results for 1 targets", nonsense},
		{head(`null`), ErrCrashed, "0 results for 1 targets", nonsense},
		{head(`[]`), ErrCrashed, "head: ", nonsense},
		{head(`{"error":{"detail":""}} {}`), ErrCrashed, "more than one value", nonsense},
		{head(`{"error":{"detail":""},"results":[]}`), ErrCrashed, "with an error and with results", nonsense},
		{head(`{"cookie":1}`), ErrCrashed, "unknown field", nonsense},
		{one(`"format":"jpeg",` + result + `,"bytes":5,"url":"x"`), ErrCrashed, "unknown field", nonsense},
		{one(`"format":"png",` + result + `,"bytes":5`), ErrCrashed, "not jpeg", nonsense},
		{one(`"format":"html",` + result + `,"bytes":5`), ErrCrashed, "not jpeg", nonsense},
		{one(`"format":"jpeg","width":0,"height":1,"frames":1,"bytes":5`), ErrCrashed, "outside of 100x100", nonsense},
		{one(`"format":"jpeg","width":101,"height":1,"frames":1,"bytes":5`), ErrCrashed, "outside of 100x100", nonsense},
		{one(`"format":"jpeg","width":1,"height":-1,"frames":1,"bytes":5`), ErrCrashed, "outside of 100x100", nonsense},
		{one(`"format":"jpeg","width":1,"height":1,"frames":0,"bytes":5`), ErrCrashed, "0 frames", nonsense},
		{one(`"format":"jpeg","width":1,"height":1,"frames":2,"bytes":5`), ErrCrashed, "2 frames", nonsense},
		{one(`"format":"jpeg",` + result + `,"bytes":0`), ErrCrashed, "0 bytes", nonsense},
		{one(`"format":"jpeg",` + result + `,"bytes":-1`), ErrCrashed, "-1 bytes", nonsense},
		{one(`"format":"jpeg",` + result + `,"bytes":9223372036854775807`), ErrCrashed, "9223372036854775807 bytes", nonsense},
		// One byte less than it says, and then nothing.
		{one(`"format":"jpeg",` + result + fmt.Sprintf(`,"bytes":%d`, len(jpegData)+1)), ErrTimeout, "took too long", timedOut},
		{head(`{"results":[{"format":"jpeg",` + result + `,"bytes":1},{"format":"jpeg",` + result + `,"bytes":1}]}`), ErrCrashed, "2 results for 1 targets", nonsense},
		{"bytes=1001", ErrCrashed, "1001 bytes", nonsense},
	} {
		try := func(timeout time.Duration) error {
			log := new(lines)
			p := newPool(t, Options{Logger: logTo(log), Timeout: timeout, MaxBytes: 1000})
			defer p.Close()
			pid, err := told(p, "pid")
			if err != nil {
				return err
			}
			r, err := ask(p, c.behaviour)
			if !errors.Is(err, c.want) || r != nil {
				return fmt.Errorf("%s: got %v, %w, want %w", c.behaviour, r, err, c.want)
			}
			if next, err := told(p, "pid"); err != nil || next == pid {
				return fmt.Errorf("%s: the decoder was not replaced: %w", c.behaviour, err)
			}
			if err := works(p); err != nil {
				return err
			}
			if s := p.Stats(); c.count(s) != 1 || crashed(s)+timedOut(s)+nonsense(s) != 1 || s.Recycled+s.Failed+s.Abandoned > 0 {
				return fmt.Errorf("%s: %+v", c.behaviour, s)
			}
			_ = p.Close() // all is logged then
			if l := log.take(); len(l) != 1 || !strings.Contains(l[0], c.detail) || len(l[0]) > 2000 {
				return fmt.Errorf("%s: logged %q, want one line with %q", c.behaviour, l, c.detail)
			}
			return nil
		}
		if c.want == ErrTimeout {
			inTime(t, try)
		} else if err := try(time.Minute); err != nil {
			t.Error(err)
		}
	}
	p := newPool(t, Options{MaxBytes: 1000})
	if r, err := ask(p, "bytes=1000"); err != nil || len(r[0].Data) != 1000 {
		t.Errorf("results at the limit: %v", err)
	}
}

func crashed(s Stats) uint64  { return s.Crashed }
func timedOut(s Stats) uint64 { return s.TimedOut }
func nonsense(s Stats) uint64 { return s.ProtocolErrors }

// The limit on the results is on all of one job.
func TestMaxBytesTogether(t *testing.T) {
	p := newPool(t, Options{MaxBytes: 1000})
	two := Job{Format: "jpeg", Targets: []Target{{Size: Size{Height: 1}}, {Size: Size{Height: 1}}}}
	if _, err := p.Resize(context.Background(), strings.NewReader("bytes=500"), 9, two); err != nil {
		t.Errorf("two of 500: %v", err)
	}
	if _, err := p.Resize(context.Background(), strings.NewReader("bytes=501"), 9, two); !errors.Is(err, ErrCrashed) {
		t.Errorf("two of 501: %v", err)
	}
}

// A source larger than a pipe, and a decoder that does not read it.
func TestDecoderDoesNotRead(t *testing.T) {
	inTime(t, func(timeout time.Duration) error {
		p := newPool(t, Options{Timeout: timeout})
		defer p.Close()
		// It hangs over the first image with the second one in its pipe.
		if _, err := ask(p, "hang"); !errors.Is(err, ErrTimeout) {
			return fmt.Errorf("got %w", err)
		}
		big := bytes.Repeat([]byte(" "), 4<<20)
		copy(big, "good")
		if _, err := p.Resize(context.Background(), bytes.NewReader(big), int64(len(big)), someJob); err != nil {
			return fmt.Errorf("4 MiB: %w", err)
		}
		// One that is stopped reads nothing at all.
		about, err := told(p, "pid")
		if err != nil {
			return err
		}
		pid, _ := strconv.Atoi(about)
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return err
		}
		if _, err := p.Resize(context.Background(), bytes.NewReader(big), int64(len(big)), someJob); !errors.Is(err, ErrTimeout) {
			return fmt.Errorf("4 MiB to a stopped decoder: %w", err)
		}
		return works(p)
	})
}

// A Ctrl-C goes to a whole process group. The server lets running work finish
// then, so decoders are not in its group.
func TestProcessGroup(t *testing.T) {
	p := newPool(t, Options{})
	pid, err := strconv.Atoi(tell(t, p, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("decoder %d is in group %d, %v; this process in %d", pid, group, err, syscall.Getpgrp())
	}
}

// A thousand warnings make one line.
func TestDecoderPrints(t *testing.T) {
	log := new(lines)
	p := newPool(t, Options{Logger: logTo(log)})
	if _, err := ask(p, "chatty"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		mustWork(t, p)
	}
	_ = p.Close()
	// What arrives after the answer is told with the next image.
	l := log.take()
	if len(l) < 1 || len(l) > 4 || !strings.Contains(l[0], "warning 0") {
		t.Errorf("logged %d lines: %.300q", len(l), l)
	}
	for _, line := range l {
		if len(line) > 1500 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

type failingReader struct{ after io.Reader }

var errDisk = errors.New("disk on fire")

func (f failingReader) Read(p []byte) (int, error) {
	if n, err := f.after.Read(p); err == nil {
		return n, nil
	}
	return 0, errDisk
}

// A source that cannot be read is not the decoder's fault, nor the image's.
func TestSourceFails(t *testing.T) {
	log := new(lines)
	p := newPool(t, Options{Logger: logTo(log)})
	for _, c := range []struct {
		src  io.Reader
		want error
	}{
		{failingReader{strings.NewReader("go")}, errDisk},
		{failingReader{strings.NewReader("")}, errDisk},
		{strings.NewReader("goo"), io.ErrUnexpectedEOF},
	} {
		_, err := p.Resize(context.Background(), c.src, 4, someJob)
		_, blamed := errors.AsType[*ImageError](err)
		if !errors.Is(err, c.want) || blamed || errors.Is(err, ErrCrashed) {
			t.Errorf("got %v, want %v", err, c.want)
		}
		mustWork(t, p)
	}
	if s := p.Stats(); s.Abandoned != 3 || s.Crashed+s.ProtocolErrors+s.TimedOut > 0 {
		t.Errorf("%+v", s)
	}
	_ = p.Close()
	if l := log.take(); len(l) > 0 {
		t.Errorf("logged %q", l)
	}
}

func TestJobIsChecked(t *testing.T) {
	p := newPool(t, Options{}, "jpeg")
	fine := Target{Size: Size{Height: 1}}
	for _, c := range []struct {
		job  Job
		n    int64
		want string
	}{
		{Job{Format: "svg", Targets: []Target{fine}}, 4, `source format "svg"`},
		{Job{Format: "", Targets: []Target{fine}}, 4, "source format"},
		{Job{Format: "png", Targets: []Target{fine}}, 4, "libvips 8.14.1 fake here has no png"},
		{Job{Format: "jpeg", Targets: []Target{{Size: Size{Height: 1}, Format: "webp"}}}, 4, "has no webp"},
		{Job{Format: "jpeg", Targets: nil}, 4, "0 targets"},
		{Job{Format: "jpeg", Targets: make([]Target, 17)}, 4, "17 targets"},
		{Job{Format: "jpeg", Targets: []Target{fine, {}}}, 4, "target 1: resize: size of height 0 and width 0"},
		{Job{Format: "jpeg", Targets: []Target{{Size: Size{Height: 100000}}}}, 4, "height 100000"},
		{Job{Format: "jpeg", Targets: []Target{{Size: Size{Height: -1, Width: 5}}}}, 4, "height -1"},
		{Job{Format: "jpeg", Targets: []Target{{Size: Size{Height: 1}, Format: "svg"}}}, 4, `format "svg"`},
		{Job{Format: "jpeg", Targets: []Target{{Size: Size{Height: 1}, Quality: 101}}}, 4, "quality 101"},
		{Job{Format: "jpeg", Targets: []Target{{Size: Size{Height: 1}, Quality: -1}}}, 4, "quality -1"},
		{Job{Format: "jpeg", Targets: []Target{fine}}, 0, "a source of 0 bytes"},
		{Job{Format: "jpeg", Targets: []Target{fine}}, -1, "a source of -1 bytes"},
		{Job{Format: "jpeg", Targets: []Target{fine}}, MaxSource + 1, "a source of 268435457 bytes"},
	} {
		_, err := p.Resize(context.Background(), strings.NewReader("good"), c.n, c.job)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.job, err, c.want)
		}
	}
	if s := p.Stats(); s.Images != 0 {
		t.Errorf("decoders were asked: %+v", s)
	}
	most := Job{Format: "jpeg", Targets: make([]Target, 16)}
	for i := range most.Targets {
		most.Targets[i] = Target{Size: Size{99999, 99999}, Format: "jpeg", Quality: 100}
	}
	if r, err := p.Resize(context.Background(), strings.NewReader("good"), 4, most); err != nil || len(r) != 16 {
		t.Errorf("16 targets: %v", err)
	}
}
