package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"imgkeep/resize"
	"imgkeep/scripts/patience"
)

// decoder is the program under test, as it is installed: built once, and run
// by the pool that the server uses. attacker is one that an image has taken
// over.
var decoder, attacker string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "imgkeep-resize")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		decoder, attacker = filepath.Join(dir, "imgkeep-resize"), filepath.Join(dir, "attacker")
		sources := map[string]string{decoder: ".", attacker: "./testdata/attacker"}
		if programs := os.Getenv("TESTED_PROGRAMS"); programs != "" {
			delete(sources, decoder) // scripts/test has built it, just so
			decoder = filepath.Join(programs, "imgkeep-resize")
		}
		for program, source := range sources {
			if out, err := exec.Command("go", "build", "-o", program, source).CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

// extraFormats are all formats that the decoder reads besides those that it writes.
var extraFormats = []string{"avif", "bmp", "heic", "tiff", "jxl"}

func newPool(t testing.TB, o resize.Options) *resize.Pool {
	t.Helper()
	o.Command = []string{decoder}
	if o.Workers == 0 {
		o.Workers = 1
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if o.Sandbox == "" {
		o.Sandbox = resize.SandboxRequire
	}
	if o.Sources == nil {
		o.Sources = extraFormats
	}
	if o.Timeout == 0 {
		o.Timeout = patience.Of(t) // the machine may be slow; hangs have their own test
	}
	o.StartTimeout = patience.Of(t)
	p, err := resize.NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.Crashed+s.TimedOut+s.ProtocolErrors+s.Failed+s.Abandoned > 0 {
			t.Errorf("the decoder misbehaved: %+v", s)
		}
	})
	return p
}

// long is the number of a test's cases: in full, or by -short.
func long(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}

// size parses a size of a test.
func size(t testing.TB, s string) resize.Size {
	t.Helper()
	z, err := resize.ParseSize(s)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// huge is a size that no source of a test exceeds: the picture keeps its own.
var huge = resize.Size{Height: 99999, Width: 99999}

func one(t testing.TB, p *resize.Pool, format string, src []byte, target resize.Target) resize.Result {
	t.Helper()
	return many(t, p, format, src, target)[0]
}

func many(t testing.TB, p *resize.Pool, format string, src []byte, targets ...resize.Target) []resize.Result {
	t.Helper()
	results, err := p.Resize(context.Background(), bytes.NewReader(src), int64(len(src)), resize.Job{Format: format, Targets: targets})
	if err != nil {
		t.Fatalf("%s of %d bytes: %v", format, len(src), err)
	}
	return results
}

// mustRefuse resizes what should be refused, and returns the refusal.
func mustRefuse(t testing.TB, p *resize.Pool, format string, src []byte) *resize.ImageError {
	t.Helper()
	_, err := p.Resize(context.Background(), bytes.NewReader(src), int64(len(src)),
		resize.Job{Format: format, Targets: []resize.Target{{Size: size(t, "20x20")}}})
	refusal, ok := errors.AsType[*resize.ImageError](err)
	if !ok {
		t.Errorf("%s of %d bytes: got %v, want an ImageError", format, len(src), err)
		return &resize.ImageError{}
	}
	return refusal
}

// The program explains itself to a user who runs it by hand, and ends with its
// input.
func TestByHand(t *testing.T) {
	cmd := exec.Command(decoder, "--help")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 || !bytes.Contains(out, []byte("started by imgkeep")) {
		t.Errorf("with an argument: %v, %q", err, out)
	}
	out, err = exec.Command(decoder).Output()
	if err != nil || !bytes.Contains(out, []byte(`"protocol":5`)) {
		t.Errorf("without input: %v, %q", err, out)
	}
	cmd = exec.Command(decoder)
	cmd.Stdin = bytes.NewReader([]byte("GET / HTTP/1.1\r\n\r\n"))
	if err = cmd.Run(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("with nonsense as input: %v", err)
	}
}

func TestGreeting(t *testing.T) {
	p := newPool(t, resize.Options{})
	if v := p.Version(); len(v) < 5 || v[0] != '8' {
		t.Errorf("libvips %q", v)
	}
	if f := fmt.Sprint(p.Formats()); f != "[jpeg png gif webp]" {
		t.Errorf("formats %s", f)
	}
	if f := p.Sources(); !slices.Equal(f, extraFormats) {
		t.Errorf("sources %s", f)
	}
}
