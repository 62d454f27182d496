package server_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/cmd/imgkeep/app/server"
)

// observed notes what an Observer is told.
type observed struct {
	mu   sync.Mutex
	told []string // "code cacheStatus"
}

func (o *observed) Answered(code string, t server.CacheStatus, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, fmt.Sprint(code, " ", map[server.CacheStatus]string{server.Warm: "warm", server.Cold: "cold"}[t]))
	if took <= 0 || took > time.Minute {
		o.told = append(o.told, fmt.Sprint("took ", took))
	}
	if !slices.Contains(server.Codes(), code) {
		o.told = append(o.told, code+" is not one of Codes")
	}
}

func (o *observed) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	told := o.told
	o.told = nil
	return told
}

// Each request of a link is told of once: cold where something was fetched or
// made for it, warm otherwise.
func TestObserver(t *testing.T) {
	o := &observed{}
	s := newSite(t, func(_ *bucket.Options, options *server.Options) { options.Observer = o })
	cat := s.origin.put("cat", toPNG(t, 30, 30))
	gone := s.origin.put("gone", &fetch.Error{Kind: fetch.Gone, Err: errors.New(private)})
	passed := s.origin.put("passed", toPNG(t, 31, 31))
	s.decoder.answer = results(result(t, toPNG(t, 10, 10)))
	for _, tt := range []struct{ about, method, path, want string }{
		{"fetched", "GET", s.link("full", cat), "ok cold"},
		{"kept", "GET", s.link("full", cat), "ok warm"},
		{"HEAD", "HEAD", s.link("full", cat), "ok warm"},
		{"a size made", "GET", s.link("10x10", cat), "ok cold"},
		{"a size kept", "GET", s.link("10x10", cat), "ok warm"},
		{"info", "GET", s.link("info", cat), "ok warm"},
		{"passed on", "GET", s.proxyLink("full", passed), "ok cold"},
		{"passed on, kept", "GET", s.proxyLink("full", cat), "ok warm"},
		{"gone", "GET", s.link("full", gone), "gone cold"},
		{"gone, remembered", "GET", s.link("full", gone), "gone warm"},
		{"no size", "GET", s.link("11x11", cat), "size warm"},
		{"no link", "GET", "/favicon.gif", "malformed warm"},
	} {
		s.ask(tt.method, tt.path, nil)
		if got := o.take(); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: told %q, want %q", tt.about, got, tt.want)
		}
	}
	s.get("/healthz")
	if got := o.take(); got != nil {
		t.Errorf("told of healthz: %q", got)
	}
}

// Each request has a name of its own in the log.
func TestRequestsAreNamed(t *testing.T) {
	s := newSite(t, nil)
	for range 2 {
		checkError(t, "ours", s.get(s.link("full", s.origin.put("cat", errors.New("write tmp")))), 500, "internal")
	}
	names := map[string]bool{}
	for line := range strings.Lines(s.log.String()) {
		if _, rest, ok := strings.Cut(line, `msg="request failed" request=`); ok {
			name, _, _ := strings.Cut(rest, " ")
			names[name] = true
		}
	}
	if len(names) != 2 {
		t.Errorf("%v: %s", names, s.log)
	}
}

// BenchmarkWarm is the decision of a warm link, without a network: what it
// allocates, with an observer that does nothing and without.
func BenchmarkWarm(b *testing.B) {
	s := newSite(b, func(b *bucket.Options, o *server.Options) { b.Now, o.Now = time.Now, time.Now })
	s.clock.now = time.Now() // to sign by
	url := s.origin.put("cat", toPNG(b, 30, 30))
	r := httptest.NewRequest("HEAD", s.link("full", url), nil)
	w := nowhere{http.Header{}}
	s.handler.ServeHTTP(w, r)
	b.ReportAllocs()
	for b.Loop() {
		s.handler.ServeHTTP(w, r)
	}
}

// nowhere is a ResponseWriter that throws everything away.
type nowhere struct{ h http.Header }

func (w nowhere) Header() http.Header         { return w.h }
func (w nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (w nowhere) WriteHeader(int)             {}
