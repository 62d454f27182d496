package fetch

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestErrorPages: what comes with an error's status is evidence for the operator,
// and may be a challenge; it is not waited for, nor taken for more than it is.
func TestErrorPages(t *testing.T) {
	synctest.Test(t, testErrorPages)
}

func testErrorPages(t *testing.T) {
	challenge := "<!DOCTYPE html><html><title>Just a moment...</title>"
	long := "<html>" + strings.Repeat("x", 100_000)
	for _, tt := range []struct {
		name, page string
		status     int
		want       ErrorKind
		text       string
	}{
		{"none", "", 404, Gone, "status 404"},
		{"a page", "<html>gone", 404, Gone, "status 404"},
		{"an endless page", long, 500, Failed, "status 500"},
		{"a challenge", challenge, 503, Blocked, "status 503 with a challenge"},
		{"a challenge, as forbidden", challenge, 403, Blocked, "status 403"},
		{"the words of one, in no page", "see " + challenge, 503, Failed, "status 503"},
		// A page that is gone stays gone, whatever proxy stands before it.
		{"a challenge, as missing", challenge, 404, Gone, "status 404"},
	} {
		origin, m := serveMemory(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.page)
		})
		origin.Start()
		f := newFetcher(t, Options{}, origin.URL)
		f.usual.dialer.connect = m.connect
		_, _, err := pull(t, f, origin.URL+"/"+secret)
		e := wantClass(t, err, tt.want, tt.text)
		if want := tt.page[:min(len(tt.page), MaxHead)]; string(e.Head) != want || e.Status != tt.status {
			t.Errorf("%s: status %d, first bytes %q, want %q", tt.name, e.Status, e.Head, want)
		}
	}
	// One that never ends coming.
	m := newMemory()
	speakOn(t, m, thenHang(answering("HTTP/1.1 410 Gone\r\nContent-Length: 9999\r\n\r\n<html>")))
	f := newFetcher(t, Options{}, m.Addr().String())
	f.usual.dialer.connect = m.connect
	began := time.Now()
	_, _, err := pull(t, f, "http://127.0.0.1:8080/")
	if e := wantClass(t, err, Gone); string(e.Head) != "<html>" {
		t.Errorf("first bytes are %q", e.Head)
	}
	if took := time.Since(began); took != pageTime {
		t.Errorf("it took %v", took)
	}
}

// TestExcerpt: both sides of its bound, and nothing that a terminal obeys.
func TestExcerpt(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"<html>", "<html>"},
		{"\x1b[2J\r\n\x00", `\x1b[2J\r\n\x00`},
		{"\u202eb\xff", `\u202eb\xff`},
		{strings.Repeat("x", MaxHead), strings.Repeat("x", MaxHead)},
		{strings.Repeat("x", MaxHead+1), strings.Repeat("x", MaxHead)},
		{strings.Repeat("\xff", MaxHead+1), strings.Repeat(`\xff`, MaxHead)},
	} {
		if got := Excerpt([]byte(tt.in)); got != tt.want {
			t.Errorf("%q gives %q, want %q", tt.in, got, tt.want)
		}
	}
}
