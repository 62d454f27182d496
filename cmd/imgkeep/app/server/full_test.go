package server_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/nginx"
)

// lines are how many lines of the log hold a text.
func (s *site) lines(text string) (n int) {
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// A full disk is one line of the log, however many requests and probes find it so, and one
// when there is room again.
func TestFullDiskIsOneLine(t *testing.T) {
	const full, room = `level=ERROR msg="the disk is too full: `, `level=INFO msg="there is room on the disk again, and new images are kept" refused=`
	var options bucket.Options
	s := newSite(t, func(o *bucket.Options, _ *server.Options) {
		o.MinFree = 1 << 62
		options = *o
	})
	floor := func(bytes int64) {
		t.Helper()
		options.MinFree = bytes
		if err := s.store.Reconfigure(options); err != nil {
			t.Fatal(err)
		}
	}
	picture := func(n int) string { return s.origin.put(fmt.Sprint("cat", n), toPNG(t, 30+n, 30)) }
	pictures := 100
	refused := func(number int) {
		t.Helper()
		for range number {
			pictures++
			checkError(t, "full", s.get(s.link("full", picture(pictures))), 503, "full")
			if w := s.get("/readyz"); w.Code != 503 {
				t.Errorf("readyz: %d", w.Code)
			}
		}
	}
	kept := func(n int) {
		t.Helper()
		if w := s.get(s.link("full", picture(n))); w.Code != 200 {
			t.Errorf("with room: %d", w.Code)
		}
	}
	refused(5)
	if n := strings.Count(s.log.String(), "\n"); n != 1 || s.lines(full) != 1 {
		t.Errorf("%d lines:\n%s", n, s.log)
	}
	floor(0)
	kept(0)
	kept(1)
	if s.lines(room) != 1 || s.lines(room+"10\n") != 1 {
		t.Errorf("with room:\n%s", s.log)
	}
	// Full again at once, as a disk at its floor is, it has no line; ten minutes later it has.
	floor(1 << 62)
	s.clock.add(10*time.Minute - time.Second)
	refused(3)
	if s.lines(full) != 1 {
		t.Errorf("full again:\n%s", s.log)
	}
	s.clock.add(time.Second)
	refused(3)
	if s.lines(full) != 2 {
		t.Errorf("full ten minutes later:\n%s", s.log)
	}
	floor(0)
	kept(0)
	if s.lines(room) != 1 { // kept already
		t.Errorf("nothing new was kept:\n%s", s.log)
	}
	kept(2)
	if s.lines(room) != 2 {
		t.Errorf("with room again:\n%s", s.log)
	}
}

// A tmpfs that is full of hot links has a line now and then, with how many there were.
func TestFullHotLinksAreOneLine(t *testing.T) {
	const line = `level=WARN msg="no hot link made"`
	s := newSite(t, func(_ *bucket.Options, o *server.Options) { o.Handoff = true })
	s.hot.err = errors.New("no space left on device")
	behindNginx := http.Header{nginx.HeaderHandoff: {nginx.HandoffNginx}}
	l := s.link("full", s.origin.put("cat", toPNG(t, 30, 30)))
	for range 5 {
		if w := s.ask(http.MethodGet, l, behindNginx); w.Code != 200 {
			t.Errorf("status %d", w.Code)
		}
	}
	if s.lines(line) != 1 {
		t.Errorf("log:\n%s", s.log)
	}
	s.clock.add(10 * time.Minute)
	s.ask(http.MethodGet, l, behindNginx)
	if s.lines(line) != 2 || s.lines("others=4 ") != 1 {
		t.Errorf("ten minutes later:\n%s", s.log)
	}
}
