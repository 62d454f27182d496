package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imgkeep/scripts/patience"
)

const secret = "the secret of these hooks"

var clock = time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)

// receiver is a program of the operator's.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []string         // bodies that were taken
	ids    []string         // of all that came
	answer func(n int) int  // the status of the nth; nil: 204
	came   chan struct{}    // gets a value for each that was taken
	header chan http.Header // of each
}

func newReceiver(t *testing.T, answer func(n int) int) *receiver {
	t.Helper()
	r := &receiver{answer: answer, came: make(chan struct{}, 1000), header: make(chan http.Header, 1000)}
	n := 0
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		n++
		status := http.StatusNoContent
		if r.answer != nil {
			status = r.answer(n)
		}
		r.ids = append(r.ids, q.Header.Get("webhook-id"))
		taken := status < 300
		if taken {
			r.got = append(r.got, string(body))
		}
		r.mu.Unlock()
		w.Header().Set("Location", "http://127.0.0.1:1/")
		r.header <- q.Header
		w.WriteHeader(status)
		if taken {
			r.came <- struct{}{}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) bodies() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// wait waits until n messages were taken.
func (r *receiver) wait(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-r.came:
		case <-time.After(patience.Of(t)):
			t.Fatalf("only %d messages were taken", len(r.bodies()))
		}
	}
}

// client sends to a receiver and waits for nothing; pauses are those that it would make.
func client(t *testing.T, url string, pauses *[]time.Duration, o Options) *Client {
	t.Helper()
	o.URL, o.Now = url, func() time.Time { return clock }
	if o.Secrets == nil {
		o.Secrets = []string{secret}
	}
	o.Wait = func(ctx context.Context, d time.Duration) error {
		if pauses != nil {
			*pauses = append(*pauses, d)
		}
		return ctx.Err()
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// running runs something until the test ends, or stop is called, which waits for its end.
func running(t *testing.T, run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// The vector is the one of Standard Webhooks' own libraries.
func TestSignature(t *testing.T) {
	const body = `{"test": 2432232314}`
	c, err := New(Options{URL: "http://127.0.0.1/", Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}})
	if err != nil {
		t.Fatal(err)
	}
	got := c.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(body))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// While a secret is replaced both sign.
	c, err = New(Options{URL: "http://127.0.0.1/", Secrets: []string{secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}})
	if err != nil {
		t.Fatal(err)
	}
	if two := c.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(body)); !strings.HasSuffix(two, " "+got) || strings.Count(two, "v1,") != 2 {
		t.Errorf("of two secrets: %s", two)
	}
}

func TestRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"no URL":       {Secrets: []string{secret}},
		"no secret":    {URL: "http://127.0.0.1/"},
		"short secret": {URL: "http://127.0.0.1/", Secrets: []string{secret, "0123456789abcde"}},
		"no base64":    {URL: "http://127.0.0.1/", Secrets: []string{"whsec_?"}},
		"user name":    {URL: "http://u:p@127.0.0.1/", Secrets: []string{secret}},
		"fragment":     {URL: "http://127.0.0.1/#a", Secrets: []string{secret}},
		"file":         {URL: "file:///a", Secrets: []string{secret}},
	} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "0123456789abcde") || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Options{URL: "http://127.0.0.1/", Secrets: []string{"0123456789abcdef"}}); err != nil {
		t.Errorf("16 bytes: %v", err)
	}
}

// A message is sent again, under the same name, until it is taken; the pauses grow, and the
// log has one line at the beginning and one at the end.
func TestRetries(t *testing.T) {
	refusals := []int{500, 404, 301, 200 - 97, 410, 503, 500, 500, 500, 500, 500}
	refusals[3] = 429
	r := newReceiver(t, func(n int) int {
		if n <= len(refusals) {
			return refusals[n-1]
		}
		return http.StatusOK
	})
	var log bytes.Buffer
	var pauses []time.Duration
	results := ""
	c := client(t, r.URL+"/?token=hidden", &pauses, Options{
		Log:  slog.New(slog.NewTextHandler(&log, nil)),
		Sent: func(err error) { results += map[bool]string{true: "+", false: "-"}[err == nil] },
	})
	if err := c.deliver(t.Context(), Removed, "msg_1", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{}
	for d := time.Second; len(want) < len(refusals); d = min(2*d, 5*time.Minute) {
		want = append(want, d)
	}
	if !slices.Equal(pauses, want) || len(slices.Compact(r.ids)) != 1 || results != strings.Repeat("-", len(refusals))+"+" {
		t.Errorf("pauses %v, names %v, results %s", pauses, r.ids, results)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 || strings.Contains(log.String(), "hidden") || !strings.Contains(log.String(), "failures=11") {
		t.Errorf("%d lines:\n%s", n, &log)
	}
	h := <-r.header
	if h.Get("content-type") != "application/json" || h.Get("webhook-timestamp") != fmt.Sprint(clock.Unix()) || h.Get("webhook-signature") != c.signature("msg_1", clock, []byte("{}")) {
		t.Errorf("%v", h)
	}
}

// Who does not answer is given up after the time for one request; whoever stops us is not
// kept waiting.
func TestNoAnswer(t *testing.T) {
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	c := client(t, silent.URL, nil, Options{Timeout: time.Millisecond})
	if err := c.post(t.Context(), "msg_1", nil); err == nil || err.Error() != "no answer in time" {
		t.Errorf("%v", err)
	}
	c = client(t, silent.URL, nil, Options{Timeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	stopped := context.AfterFunc(ctx, func() {})
	defer stopped()
	go cancel()
	if err := c.deliver(ctx, Removed, "msg_1", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A queue sends what is added in order, so much in a message; what finds no room is counted
// in the message after what had room.
func TestQueue(t *testing.T) {
	r := newReceiver(t, nil)
	left := 0
	q := NewQueue(Kept, client(t, r.URL, nil, Options{}), func() { left++ })
	for n := range MaxWaiting + 7 {
		q.Add(n)
	}
	if q.Len() != MaxWaiting || left != 7 {
		t.Fatalf("%d wait, %d are left out", q.Len(), left)
	}
	running(t, q.Run)
	r.wait(t, MaxWaiting/maxItems)
	q.Add("last")
	r.wait(t, 1)
	next, missed := 0, 0
	var last []any
	for _, body := range r.bodies() {
		var m message
		if err := json.Unmarshal([]byte(body), &m); err != nil || m.Type != Kept || m.ID == "" || len(m.Items) > maxItems || !m.Time.Equal(clock) {
			t.Fatalf("%v: %.200s", err, body)
		}
		missed += m.Missed
		for _, item := range m.Items {
			if n, ok := item.(float64); ok && int(n) == next {
				next++
			} else {
				last = append(last, item)
			}
		}
	}
	if next != MaxWaiting || missed != 7 || len(last) != 1 || last[0] != "last" {
		t.Errorf("%d items in order, %d missed, and then %v", next, missed, last)
	}
}
