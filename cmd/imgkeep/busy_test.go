package main_test

import (
	"net/http"
	"sync"
	"testing"
)

// The statuses of what takes too long, and of what is too much.

func testSlowOrigins(t *testing.T) *world {
	w := newWorld(t, settings{"fetch.header_timeout": "300ms", "fetch.timeout": "900ms"})
	mute := w.origin.hold("/pictures/mute", nil)
	stuck := w.origin.holdHalf("/pictures/stuck", photo(t, 80, 60))
	s := w.start()
	defer s.stop()
	for _, h := range []*hold{mute, stuck} {
		a := s.get(link("i", "full", h.url)).isError(http.StatusGatewayTimeout, "origin-timeout")
		s.sameHead(a)
		s.get(proxyLink("i", "full", h.url)).isError(http.StatusGatewayTimeout, "origin-timeout")
		// Or never: a busy machine may have no time left to ask.
		if n := len(h.arrived); n > 1 {
			t.Errorf("%s was asked for %d times, want once", h.url, n)
		}
	}
	return w
}

// crowd asks for several links at once. It returns once one request waits and all
// others have been refused with 503; wait gives the answer of the one.
func (s *server) crowd(paths []string) (waiting func() answer) {
	s.w.t.Helper()
	answers := make(chan answer, len(paths))
	for _, path := range paths {
		go func() { answers <- s.get(path) }()
	}
	for range len(paths) - 1 {
		a := (<-answers).isError(http.StatusServiceUnavailable, "busy")
		a.has("Retry-After", "5")
	}
	return func() answer { return <-answers }
}

// With all places taken and the queue full, one more is refused; what waits and
// what runs is not disturbed, and the failure is not remembered.
func testFetchesBusy(t *testing.T) *world {
	w := newWorld(t, settings{"fetch.concurrency": 1, "fetch.queue": 1})
	image := photo(t, 30, 30)
	first := w.origin.hold("/pictures/first", image)
	s := w.start()
	defer s.stop()
	var running answer
	var done sync.WaitGroup
	done.Go(func() { running = s.get(link("i", "full", first.url)) })
	<-first.arrived

	var paths []string
	for _, path := range []string{"/pictures/a", "/pictures/b", "/pictures/c", "/pictures/d"} {
		paths = append(paths, link("i", "full", w.origin.serve(path, image)))
	}
	waiting := s.crowd(paths)
	// The queue is still full. HEAD is told the same.
	busy := s.get(link("i", "full", w.origin.serve("/pictures/e", image))).isError(503, "busy")
	s.sameHead(busy)
	s.get(proxyLink("i", "full", w.origin.url("/pictures/e"))).isError(503, "busy")
	first.release()
	done.Wait()
	running.isBytes("image/jpeg", image)
	waiting().isBytes("image/jpeg", image)
	for _, path := range paths {
		s.get(path).isBytes("image/jpeg", image)
	}
	return w
}

func testDecodersBusy(t *testing.T) *world {
	w := newWorld(t, settings{"resize.workers": 1, "resize.queue": 1})
	began, goOnNow := make(chan struct{}), make(chan struct{})
	w.addGate(func(n int) string {
		if n == 1 {
			close(began)
			<-goOnNow
		}
		return goOn
	})
	s := w.start()
	defer s.stop()
	var paths []string
	for _, path := range []string{"/pictures/a", "/pictures/b", "/pictures/c", "/pictures/d", "/pictures/e"} {
		url := w.origin.serve(path, photo(t, 30, 30))
		s.get(link("i", "full", url)).isImage("image/jpeg")
		paths = append(paths, link("i", "10x10", url))
	}
	var running answer
	var done sync.WaitGroup
	done.Go(func() { running = s.get(paths[0]) })
	<-began
	waiting := s.crowd(paths[1:])
	close(goOnNow)
	done.Wait()
	running.isImage("image/jpeg")
	waiting().isImage("image/jpeg")
	for _, path := range paths {
		s.get(path).isImage("image/jpeg")
	}
	return w
}

// A decoder that dies or hangs costs the image that it worked on, and no other.
func testDecoderFails(t *testing.T) *world {
	w := newWorld(t, nil)
	gate := w.addGate(func(n int) string {
		switch n {
		case 1:
			return "" // hang
		case 2:
			return crash
		}
		return goOn
	})
	url := w.origin.serve("/pictures/cat", photo(t, 80, 60))
	fails := func(s *server, code string) {
		t.Helper()
		a := s.get(link("i", "10x10", url)).isError(http.StatusServiceUnavailable, code)
		a.has("Retry-After", "60")
		if code == "resize-crashed" {
			s.sameHead(a)
		}
		s.get(link("i", "full", url)).isImage("image/jpeg")
		// It is not given to another decoder at once, unless the operator says so.
		s.get(link("i", "20x20", url)).isError(http.StatusServiceUnavailable, "resize-crashed")
		if stdout, stderr, status := w.imgkeep("retry", url); status != 0 || stdout != "cleared: it has crashed decoders\n" {
			t.Errorf("retry: %q, %q, status %d", stdout, stderr, status)
		}
	}
	w.set("resize.timeout", "2s")
	s := w.start()
	fails(s, "resize-timeout")
	s.stop()
	w.set("resize.timeout", "1m") // a busy machine may be long at what does not hang
	s = w.start()
	defer s.stop()
	fails(s, "resize-crashed")
	s.get(link("i", "10x10", url)).isImage("image/jpeg")
	if n := gate.count(); n != 3 {
		t.Errorf("%d images reached decoders, want 3", n)
	}
	return w
}

// Nothing new is stored on a disk that is too full; what is there is served.
func testDiskFull(t *testing.T) *world {
	w := newWorld(t, nil)
	image := photo(t, 80, 60)
	kept, other := w.origin.serve("/pictures/kept", image), w.origin.serve("/pictures/other", image)
	s := w.start()
	s.get(link("i", "full", kept)).isBytes("image/jpeg", image)
	s.get(link("i", "10x10", kept)).isImage("image/jpeg")
	s.stop()

	w.set("store.min_free", "1024TiB")
	s = w.start()
	defer s.stop()
	for _, path := range []string{link("i", "full", other), link("i", "20x20", kept), proxyLink("i", "full", other)} {
		a := s.get(path).isError(http.StatusServiceUnavailable, "full")
		s.sameHead(a)
	}
	a := s.get("/readyz")
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("readyz: status %d, %s", a.status, a.body)
	}
	s.get(link("i", "full", kept)).isBytes("image/jpeg", image)
	s.get(link("i", "10x10", kept)).isImage("image/jpeg")
	if n := w.origin.count("/pictures/other"); n != 0 {
		t.Errorf("%d fetches for an image that cannot be stored, want none", n)
	}
	return w
}
