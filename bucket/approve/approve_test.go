package approve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imgkeep/scripts/ports"
)

const secret = "s3cr3t-t0ken"

func newClient(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

func endpoint(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/check?token=" + secret
}

var question = Question{Bucket: "i", URL: "https://example.com/a.png?b=1", Type: "image/png", Digest: "ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs", Bytes: 5}

func ask(t *testing.T, c *Client) error {
	t.Helper()
	err := c.Ask(t.Context(), question, strings.NewReader("bytes and more"))
	if err != nil && strings.Contains(err.Error(), secret) {
		t.Errorf("the error shows the endpoint: %v", err)
	}
	return err
}

func TestQuestion(t *testing.T) {
	c := newClient(t, Options{URL: endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "bytes" || r.ContentLength != 5 || r.Method != "POST" || r.RequestURI != "/check?token="+secret {
			t.Errorf("%s %s with %q, %v", r.Method, r.RequestURI, body, err)
		}
		want := http.Header{
			"Content-Type": {"image/png"}, "Content-Length": {"5"}, "User-Agent": {"imgkeep"}, "X-Imgkeep-Bucket": {"i"},
			"X-Imgkeep-Url": {question.URL}, "X-Imgkeep-Digest": {question.Digest},
		}
		if fmt.Sprint(r.Header) != fmt.Sprint(want) {
			t.Errorf("header %v, want %v", r.Header, want)
		}
	})})
	if err := ask(t, c); err != nil {
		t.Error(err)
	}
}

func TestAnswers(t *testing.T) {
	for status, want := range map[int]error{
		200: nil, 204: nil, 403: ErrRejected, 451: ErrRejected,
		201: ErrNoAnswer, 202: ErrNoAnswer, 206: ErrNoAnswer, 301: ErrNoAnswer, 302: ErrNoAnswer, 307: ErrNoAnswer, 308: ErrNoAnswer,
		400: ErrNoAnswer, 401: ErrNoAnswer, 404: ErrNoAnswer, 410: ErrNoAnswer, 429: ErrNoAnswer, 500: ErrNoAnswer, 503: ErrNoAnswer,
	} {
		hits := 0
		c := newClient(t, Options{URL: endpoint(t, func(w http.ResponseWriter, r *http.Request) {
			hits++
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		})})
		if err := ask(t, c); !errors.Is(err, want) || hits != 1 {
			t.Errorf("status %d: %v after %d requests, want %v", status, err, hits, want)
		}
	}
}

// An answer of any length is its status; one of the header is not read for ever.
func TestLongAnswers(t *testing.T) {
	c := newClient(t, Options{Timeout: time.Hour, URL: endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		for r.Context().Err() == nil {
			w.Write(make([]byte, 1000))
		}
	})})
	if err := ask(t, c); !errors.Is(err, ErrRejected) {
		t.Error(err)
	}
	c = newClient(t, Options{Timeout: time.Hour, URL: endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
	})})
	if err := ask(t, c); !errors.Is(err, ErrNoAnswer) {
		t.Error(err)
	}
}

func TestNoAnswer(t *testing.T) {
	if err := ask(t, newClient(t, Options{URL: "http://" + ports.Address(t) + "/?" + secret})); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("nobody listens: %v", err)
	}
	c := newClient(t, Options{Timeout: 50 * time.Millisecond, URL: endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})})
	if err := ask(t, c); !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "in time") {
		t.Errorf("silence: %v", err)
	}
	c = newClient(t, Options{URL: endpoint(t, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })})
	if err := ask(t, c); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("cut off: %v", err)
	}
	// A caller may leave.
	why := errors.New("the store closes")
	ctx, cancel := context.WithCancelCause(t.Context())
	c = newClient(t, Options{Timeout: time.Hour, URL: endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		cancel(why)
		<-r.Context().Done()
	})})
	if err := c.Ask(ctx, question, strings.NewReader("bytes")); !errors.Is(err, why) || errors.Is(err, ErrNoAnswer) {
		t.Errorf("the end of the caller: %v", err)
	}
}

// No more than Concurrency questions are under way; the others wait, and not for
// longer than Timeout.
func TestConcurrency(t *testing.T) {
	var running, most atomic.Int32
	arrived, hold := make(chan struct{}, 100), make(chan struct{})
	url := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		n := running.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		arrived <- struct{}{}
		<-hold
		running.Add(-1)
	})
	c := newClient(t, Options{URL: url, Concurrency: 2, Timeout: time.Hour})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := ask(t, c); err != nil {
				t.Error(err)
			}
		})
	}
	<-arrived
	<-arrived
	full := &Client{o: Options{URL: url, Timeout: time.Millisecond}, places: c.places, http: c.http}
	if err := ask(t, full); !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "in time") {
		t.Errorf("no turn: %v", err)
	}
	close(hold)
	wg.Wait()
	if got := most.Load(); got != 2 {
		t.Errorf("%d at once, want 2", got)
	}
}

func TestNew(t *testing.T) {
	for _, s := range []string{"http://127.0.0.1:8100/check", "https://scan.example/?a=b", "http://[::1]:80/"} {
		if c, err := New(Options{URL: s}); err != nil {
			t.Errorf("%s: %v", s, err)
		} else if c.o.Timeout != 10*time.Second || c.o.Concurrency != 8 {
			t.Errorf("defaults are %+v", c.o)
		}
	}
	for _, s := range []string{"", "127.0.0.1:8100", "ftp://a/", "http:///a", "http://u:" + secret + "@a/", "http://a/#b", "http://a b/"} {
		if _, err := New(Options{URL: s}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, o := range []Options{{URL: "http://a/", Timeout: -1}, {URL: "http://a/", Concurrency: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}
