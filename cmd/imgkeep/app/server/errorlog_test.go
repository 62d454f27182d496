package server

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A panic of a request is an error in the log, with where it happened, and without who asked;
// what else net/http says is for who debugs.
func TestErrorLog(t *testing.T) {
	var text bytes.Buffer
	log := ErrorLog(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/aborted" {
			panic(http.ErrAbortHandler)
		}
		panic("too much: really")
	}))
	s.Config.ErrorLog = log
	s.Start()
	for _, path := range []string{"/aborted", "/panic"} {
		if resp, err := http.Get(s.URL + path); err == nil {
			resp.Body.Close()
			t.Errorf("%s is answered", path)
		}
	}
	s.Close()
	log.Print("http: what a client did\n")
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `level=ERROR msg="a request has panicked" error="panic: too much: really" stack="goroutine`) ||
		!strings.Contains(lines[0], "errorlog_test.go") || strings.Contains(lines[0], "127.0.0.1") || !strings.Contains(lines[1], `level=DEBUG msg="http: what a client did"`) {
		t.Errorf("the log: %s", &text)
	}
}
