package main_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A relay stands between a server and its decoder, so that a test can count the
// images that reach a decoder, hold them up, and have a decoder fail. It is this
// test's own program under another name, which the server starts as its decoder;
// it starts the real one, passes everything on unchanged, and asks the test
// before each image what to do.
const (
	relayName  = "relay"
	gateSocket = "gate"

	goOn  = "go"    // pass the image on
	crash = "crash" // die
	// nothing answered: hang
)

// relay is the relay's program. dir holds the real decoder and the socket of the
// test.
func relay(dir string) error {
	runtime.LockOSThread() // Pdeathsig means the thread
	cmd := exec.Command(filepath.Join(dir, "imgkeep-resize"))
	cmd.Env = []string{}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = passOn(in, bufio.NewReader(os.Stdin), filepath.Join(dir, gateSocket))
	in.Close()
	return errors.Join(err, cmd.Wait())
}

// passOn passes requests on, as package resize describes them: the length of a
// head, the head, the image.
func passOn(decoder io.Writer, server io.Reader, gate string) error {
	for {
		prefix := make([]byte, 4)
		if _, err := io.ReadFull(server, prefix); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		head := make([]byte, binary.BigEndian.Uint32(prefix))
		if _, err := io.ReadFull(server, head); err != nil {
			return err
		}
		var image struct{ Bytes int64 }
		if err := json.Unmarshal(head, &image); err != nil {
			return err
		}
		switch answer, err := ask(gate); {
		case err != nil:
			return err
		case answer == crash:
			os.Exit(3)
		}
		if _, err := decoder.Write(append(prefix, head...)); err != nil {
			return err
		}
		if _, err := io.CopyN(decoder, server, image.Bytes); err != nil {
			return err
		}
	}
}

func ask(gate string) (string, error) {
	c, err := net.Dial("unix", gate)
	if err != nil {
		return "", err
	}
	defer c.Close()
	answer, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSuffix(answer, "\n"), err
}

// gate is the test's end. Its fields are set before the server starts.
type gate struct {
	// decide says what to do with the nth image, counted from 1. It may wait.
	// "": never answer. nil: always goOn.
	decide func(n int) string

	mu     sync.Mutex
	images int
}

// count is how many images have reached a decoder.
func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.images
}

// addGate makes a world's decoders relays.
func (w *world) addGate(decide func(n int) string) *gate {
	w.t.Helper()
	g := &gate{decide: decide}
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.bin(), relayName)
	if err := os.Symlink(self, path); err != nil {
		w.t.Fatal(err)
	}
	w.set("resize.command", path)
	l, err := net.Listen("unix", filepath.Join(w.bin(), gateSocket))
	if err != nil {
		w.t.Fatal(err)
	}
	var asked sync.WaitGroup
	stop := make(chan struct{})
	w.t.Cleanup(func() {
		l.Close()
		close(stop)
		asked.Wait()
	})
	asked.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			asked.Go(func() {
				defer c.Close()
				g.answer(w.t, c, stop)
			})
		}
	})
	return g
}

func (g *gate) answer(t testing.TB, c net.Conn, stop <-chan struct{}) {
	g.mu.Lock()
	g.images++
	n := g.images
	g.mu.Unlock()
	answer := goOn
	if g.decide != nil {
		answer = g.decide(n)
	}
	if answer == "" {
		<-stop
		return
	}
	if _, err := fmt.Fprintln(c, answer); err != nil {
		t.Errorf("relay: %v", err)
	}
}
