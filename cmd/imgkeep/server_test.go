package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imgkeep/scripts/patience"
	"imgkeep/scripts/tempdir"
)

// settings are keys of the configuration, as in "fetch.timeout".
type settings map[string]any

// world is a folder with the programs, a configuration and a store, and the
// origin that its configuration permits.
type world struct {
	t      testing.TB
	dir    string
	origin *origin
	conf   settings

	// activated is the socket that the server is handed over, as by systemd; nil:
	// it opens its own.
	activated *os.File
	// env is the environment of its processes.
	env []string

	mu       sync.Mutex
	answered map[int]int // answers, by status
}

func newWorld(t testing.TB, more settings) *world {
	t.Helper()
	// Short, for the paths of sockets.
	dir, err := os.MkdirTemp("", "ik")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tempdir.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, dir: dir, origin: newOrigin(t), answered: map[int]int{}}
	w.conf = settings{
		"listen": "127.0.0.1:0", "root": w.root(), "sizes": []int{10, 20, 50},
		"sign.secrets":   []string{secret},
		"fetch.networks": []string{"127.0.0.0/8"}, "fetch.ports": []int{w.origin.port},
		// On a machine that has much else to do.
		"fetch.timeout": "2m", "fetch.header_timeout": "2m", "approve.timeout": "2m", "hooks.timeout": "1m",
		"store.min_free": 0, "store.min_free_inodes": 0,
		"resize.workers": 1, "resize.timeout": "1m",
		"log.level": "debug", "log.format": "json",
	}
	for key, value := range more {
		w.conf[key] = value
	}
	if err := os.Mkdir(w.bin(), 0o755); err != nil {
		t.Fatal(err)
	}
	// Programs of its own, by whose paths its processes are told from others'.
	for _, name := range []string{"imgkeep", "imgkeep-resize"} {
		if err := os.Link(filepath.Join(programs, name), filepath.Join(w.bin(), name)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) bin() string  { return filepath.Join(w.dir, "bin") }
func (w *world) root() string { return filepath.Join(w.dir, "root") }

func (w *world) set(key string, value any) { w.conf[key] = value }

// command is imgkeep, with the world's configuration and nothing of the
// environment of the user who runs the tests.
func (w *world) command(ctx context.Context, args ...string) *exec.Cmd {
	w.t.Helper()
	nested := map[string]any{}
	for key, value := range w.conf {
		section, name, ok := strings.Cut(key, ".")
		if !ok {
			nested[key] = value
			continue
		}
		if nested[section] == nil {
			nested[section] = map[string]any{}
		}
		nested[section].(map[string]any)[name] = value
	}
	text, err := json.Marshal(nested) // which is YAML
	if err != nil {
		w.t.Fatal(err)
	}
	conf := filepath.Join(w.dir, "imgkeep.yaml")
	if err := os.WriteFile(conf, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(w.bin(), "imgkeep"), append(args, "--config", conf)...)
	cmd.Env = append([]string{}, w.env...)
	cmd.Dir = w.dir
	cmd.WaitDelay = patience.Of(w.t)
	return cmd
}

// imgkeep runs a command to its end, and returns what it printed and its exit status.
func (w *world) imgkeep(args ...string) (stdout, stderr string, status int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience.Of(w.t))
	defer cancel()
	cmd := w.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// processes are the processes whose program lies in the world's folder.
func (w *world) processes() map[int]string {
	w.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[int]string{}
	for _, path := range all {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(line, []byte(w.bin()+"/")) {
			continue // others, or ended meanwhile
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			w.t.Fatal(err)
		}
		name, _, _ := bytes.Cut(line, []byte{0})
		found[pid] = filepath.Base(string(name))
	}
	return found
}

// server is a running `imgkeep serve`.
type server struct {
	w      *world
	cmd    *exec.Cmd
	log    *logbook
	base   string // "http://127.0.0.1:port"
	client *http.Client
	ended  chan struct{} // closed when the process is gone
}

// start starts a server and waits until it is ready.
func (w *world) start() *server {
	w.t.Helper()
	s := &server{w: w, log: newLogbook(), ended: make(chan struct{})}
	s.cmd = w.command(context.Background(), "serve")
	if w.activated != nil {
		// The protocol of sd_listen_fds(3), which wants the process' own number.
		s.cmd.Args = append([]string{"sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"`, s.cmd.Path}, s.cmd.Args[1:]...)
		s.cmd.Path = "/bin/sh"
		s.cmd.ExtraFiles = []*os.File{w.activated}
	}
	s.cmd.Stderr = s.log
	// A crash of the tests must leave no server behind.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait() // how it ended is in ProcessState
	}()
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("the server's log:\n%s", s.log)
		}
		s.kill()
	})
	address, _ := s.logged("serving")["address"].(string)
	network, path := "tcp", ""
	if strings.HasPrefix(address, "/") {
		network, path = "unix", address
		address = "socket"
	}
	s.base = "http://" + address
	transport := &http.Transport{
		DisableCompression: true,
		MaxIdleConns:       1000, MaxIdleConnsPerHost: 1000,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			if path != "" {
				address = path
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s
}

// logged waits until the server has logged a message, and returns its fields.
func (s *server) logged(message string) map[string]any {
	s.w.t.Helper()
	late := time.After(patience.Of(s.w.t))
	ended := s.ended
	for {
		line, more := s.log.find(message)
		switch {
		case line != nil:
			return line
		case ended == nil:
			s.w.t.Fatalf("the server has ended (%v), and has not logged %q:\n%s", s.cmd.ProcessState, message, s.log)
		}
		select {
		case <-more:
		case <-ended:
			ended = nil // look once more
		case <-late:
			s.w.t.Fatalf("the server has not logged %q:\n%s", message, s.log)
		}
	}
}

// terminate tells the server to stop.
func (s *server) terminate() {
	s.w.t.Helper()
	s.client.CloseIdleConnections()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.w.t.Fatal(err)
	}
}

// wait waits for the end of a server that was told to stop. It must succeed, and
// leave nothing behind: no process, and nothing unfinished on disk.
func (s *server) wait() {
	t := s.w.t
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience.Of(t)):
		t.Fatalf("the server does not stop:\n%s", s.log)
	}
	if !s.cmd.ProcessState.Success() {
		t.Errorf("the server ended with %v:\n%s", s.cmd.ProcessState, s.log)
	}
	if left := s.w.processes(); len(left) > 0 {
		t.Errorf("the server has left processes: %v", left)
	}
	if left := s.w.unfinished(); len(left) > 0 {
		t.Errorf("the server has left files: %v", left)
	}
	s.checkLog()
}

// stop stops the server in order.
func (s *server) stop() {
	s.w.t.Helper()
	s.terminate()
	s.wait()
}

// kill ends the server at once, and waits until its decoders have followed it.
func (s *server) kill() {
	t := s.w.t
	t.Helper()
	var polls []unix.PollFd
	for pid := range s.w.processes() {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		polls = append(polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
	for i := range polls {
		for {
			n, err := unix.Poll(polls[i:i+1], int(patience.Of(t).Milliseconds()))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n != 1 {
				t.Errorf("a process has outlived the server: %v, %v", s.w.processes(), err)
			}
			break
		}
	}
}

// checkLog looks for what no log may hold.
func (s *server) checkLog() {
	s.w.t.Helper()
	for _, private := range []string{secret, "/full/", "/info/", "/pictures/", leak, viewer} {
		for line := range strings.Lines(s.log.String()) {
			if strings.Contains(line, private) {
				s.w.t.Errorf("the log has %q in it: %s", private, line)
				break
			}
		}
	}
}

// unfinished are the files in the store's tmp folder.
func (w *world) unfinished() []string {
	w.t.Helper()
	return w.files("tmp/*")
}

// files are the files of the store that fit a pattern.
func (w *world) files(pattern string) []string {
	w.t.Helper()
	found, err := fs.Glob(os.DirFS(w.root()), pattern)
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// originals are the files of originals in a bucket: those of sizes have a size
// before their extension.
func (w *world) originals(bucket string) []string {
	w.t.Helper()
	return slices.DeleteFunc(w.files(bucket+"/?/?/*"), func(name string) bool {
		return strings.Count(name, ".") > 1
	})
}
