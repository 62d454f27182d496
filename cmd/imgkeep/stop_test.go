package main_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// async makes a request in the background.
func (s *server) async(path string) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		a, _ := s.request(context.Background(), http.MethodGet, path, nil)
		c <- a
	}()
	return c
}

// A server that is told to stop finishes what it has begun, however slow the
// origin and the decoder are.
func TestStopFinishesWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	resizing, resize := make(chan struct{}), make(chan struct{})
	w.addGate(func(int) string { close(resizing); <-resize; return goOn })
	image := photo(t, 80, 60)
	slow := w.origin.hold("/pictures/slow", image)
	other := w.origin.serve("/pictures/other", photo(t, 80, 60))
	s := w.start()
	fetched := s.async(link("i", "full", slow.url))
	passing := s.async(proxyLink("i", "full", slow.url))
	resized := s.async(link("i", "20x20", other))
	<-slow.arrived
	<-slow.arrived
	<-resizing

	s.terminate()
	s.logged("stopping")
	slow.release()
	close(resize)
	(<-fetched).isBytes("image/jpeg", image)
	(<-passing).isBytes("image/jpeg", image)
	(<-resized).isImage("image/jpeg")
	s.wait()

	// It was also stored.
	w.origin.off()
	s = w.start()
	s.get(link("i", "full", slow.url)).isBytes("image/jpeg", image)
	s.stop()
}

// An image is stored also when the viewer who asked for it has left, and when
// the server stops meanwhile.
func TestViewerLeaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image := photo(t, 80, 60)
	slow := w.origin.holdHalf("/pictures/slow", image)
	s := w.start()
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := s.request(ctx, http.MethodGet, link("i", "full", slow.url), nil)
		left <- err
	}()
	<-slow.arrived
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the viewer who left got %v", err)
	}
	s.terminate()
	s.logged("stopping")
	slow.release()
	s.wait()

	w.origin.off()
	s = w.start()
	s.get(link("i", "full", slow.url)).isBytes("image/jpeg", image)
	s.stop()
}

// What takes longer than shutdown_timeout is broken off, and not stored.
func TestStopBreaksOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"shutdown_timeout": "300ms"})
	image := photo(t, 80, 60)
	h := w.origin.holdHalf("/pictures/never", image)
	s := w.start()
	cut := s.async(link("i", "full", h.url))
	<-h.arrived
	s.terminate()
	s.wait()
	s.logged("requests were cut off")
	if a := <-cut; a.status == http.StatusOK {
		t.Errorf("the request that was cut off was answered: status %d, %d bytes", a.status, len(a.body))
	}
	if kept := w.originals("i"); len(kept) != 0 {
		t.Errorf("stored %v", kept)
	}
	// That is no fault of the origin, and not held against it.
	h.release()
	s = w.start()
	s.get(link("i", "full", h.url)).isBytes("image/jpeg", image)
	s.stop()
}

// A second signal ends a server that would wait.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	h := w.origin.hold("/pictures/never", photo(t, 80, 60))
	s := w.start()
	cut := s.async(link("i", "full", h.url))
	<-h.arrived
	s.terminate()
	s.logged("stopping")
	s.terminate()
	<-s.ended
	<-cut
	if ws := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
		t.Errorf("the server ended with %v", s.cmd.ProcessState)
	}
}

// A server that is killed in the middle of a download loses that download and
// nothing else: what was answered is there, what was not is fetched again.
func TestKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image, other := photo(t, 80, 60), photo(t, 80, 60)
	kept := w.origin.serve("/pictures/kept", other)
	h := w.origin.holdHalf("/pictures/cut", image)
	s := w.start()
	s.get(link("i", "full", kept)).isBytes("image/jpeg", other)
	cut := s.async(link("i", "full", h.url))
	<-h.arrived
	s.kill()
	<-cut
	if left := w.unfinished(); len(left) != 1 {
		t.Errorf("the killed server has left %v, want a file for the download", left)
	}
	if left := w.processes(); len(left) != 0 {
		t.Errorf("the killed server has left processes: %v", left)
	}

	h.release()
	s = w.start()
	if left := w.unfinished(); len(left) != 0 {
		t.Errorf("after a restart there is %v", left)
	}
	s.get(link("i", "full", h.url)).isBytes("image/jpeg", image)
	s.get(link("i", "full", kept)).isBytes("image/jpeg", other)
	if cut, kept := w.origin.count("/pictures/cut"), w.origin.count("/pictures/kept"); cut != 2 || kept != 1 {
		t.Errorf("%d and %d fetches, want 2 and 1", cut, kept)
	}
	s.stop()
}

// A failure is remembered by the next server too.
func TestFailureOutlivesRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	url := w.origin.refuse("/pictures/gone", http.StatusNotFound)
	for range 2 {
		s := w.start()
		s.get(link("i", "full", url)).isError(http.StatusNotFound, "gone")
		s.stop()
	}
	if n := w.origin.count("/pictures/gone"); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// Through a socket the server answers the same; the socket is gone when it has
// stopped, and one that a killed server has left is replaced.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	socket := filepath.Join(w.dir, "http.sock")
	w.set("listen", "unix:"+socket)
	image := photo(t, 30, 30)
	path := link("i", "full", w.origin.serve("/pictures/cat", image))
	s := w.start()
	s.get(path).isBytes("image/jpeg", image)
	s.kill()
	if _, err := os.Stat(socket); err != nil {
		t.Errorf("the killed server has removed its socket: %v", err)
	}
	s = w.start()
	s.get(path).isBytes("image/jpeg", image)
	if info, err := os.Stat(socket); err != nil || info.Mode() != fs.ModeSocket|0o666 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	s.stop()
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the stop the socket is there: %v", err)
	}
}

// A second server on the same store does not start, and disturbs nothing of the
// first one's work.
func TestSecondServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image := photo(t, 80, 60)
	h := w.origin.hold("/pictures/cat", image)
	s := w.start()
	got := s.async(link("i", "full", h.url))
	<-h.arrived
	_, errs, status := w.imgkeep("serve")
	if status != 1 || !strings.Contains(errs, "in use by another process") {
		t.Errorf("the second server: status %d, %s", status, errs)
	}
	h.release()
	(<-got).isBytes("image/jpeg", image)
	s.stop()
}

// What makes a start impossible is said, and ends it.
func TestStartRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		key    string
		value  any
		status int
		says   string
	}{
		{"sign.secrets", []string{}, 2, "IMGKEEP_SECRET"},
		{"sign.secrets", []string{"changeme"}, 2, "secret"},
		{"resize.command", "/nonexistent/decoder", 1, "/nonexistent/decoder"},
		{"resize.command", "/bin/true", 1, "greeting"},
		{"placeholder", "/nonexistent/image", 2, "/nonexistent/image"},
		{"listen", "127.0.0.1:99999", 2, "99999"},
		{"root", "/proc/self/nonexistent", 1, "/proc/self/nonexistent"},
	} {
		w := newWorld(t, settings{test.key: test.value})
		_, errs, status := w.imgkeep("serve")
		if status != test.status || !strings.Contains(errs, test.says) {
			t.Errorf("%s=%v: status %d, want %d: %s", test.key, test.value, status, test.status, errs)
		}
		if left := w.processes(); len(left) > 0 {
			t.Errorf("%s=%v: left processes %v", test.key, test.value, left)
		}
	}
}
