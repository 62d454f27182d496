package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// gated is a keeper that answers when it is told to, and tells whose work was ended.
type gated struct {
	keeper
	entered chan string
	let     chan struct{}
	left    chan string
}

func (g *gated) Populate(ctx context.Context, q PopulateRequest) Outcome {
	g.entered <- string(q.URL)
	select {
	case <-g.let:
	case <-ctx.Done():
		g.left <- string(q.URL)
	}
	return Outcome{Detail: string(q.URL)}
}

// Calls at once share a connection and a request, and each gets its own answer, whichever is
// done first; some fail, and that is their own affair.
func TestPopulateTogether(t *testing.T) {
	const calls = 200
	g := &gated{entered: make(chan string, calls), let: make(chan struct{})}
	c, _ := serveOptions(t, Options{Store: store{}, Keeper: func() Keeper { return g }})
	c.http.CloseIdleConnections() // that of Dial
	var dialled atomic.Int32
	transport := c.http.Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled.Add(1)
		return dial(ctx, network, address)
	}
	for range 2 { // the second time on the connection of the first
		var all sync.WaitGroup
		for n := range calls {
			all.Go(func() {
				url := fmt.Sprint("https://a.example/", n, strings.Repeat("x", n*20))
				o, err := c.Populate(t.Context(), PopulateRequest{URL: []byte(url)})
				if err != nil || o.Detail != url {
					t.Errorf("%s: %+v, %v", url, o, err)
				}
			})
		}
		for range calls { // all are in work at once
			<-g.entered
		}
		for range calls {
			g.let <- struct{}{}
		}
		all.Wait()
	}
	if n := dialled.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	if c.populating != nil {
		t.Error("a request is open, and nobody waits")
	}
}

// Who gives up waits no longer; the others get their answers, and the work of the last one ends
// with it. The end of the server ends all.
func TestPopulateLeaving(t *testing.T) {
	g := &gated{entered: make(chan string, 3), let: make(chan struct{}), left: make(chan string, 5)}
	c, stop := serveOptions(t, Options{Store: store{}, Keeper: func() Keeper { return g }})
	call := func(ctx context.Context, url string) chan error {
		answer := make(chan error, 1)
		go func() {
			_, err := c.Populate(ctx, PopulateRequest{URL: []byte(url)})
			answer <- err
		}()
		<-g.entered
		return answer
	}
	ctx, leave := context.WithCancel(t.Context())
	first, second, third := call(ctx, "1"), call(t.Context(), "2"), call(ctx, "3")
	leave()
	if err := errors.Join(<-first, <-third); !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up: %v", err)
	}
	for range 3 {
		g.let <- struct{}{}
	}
	if err := <-second; err != nil {
		t.Errorf("who stayed: %v", err)
	}
	ctx, leave = context.WithCancel(t.Context())
	last := call(ctx, "4")
	leave()
	if err := <-last; !errors.Is(err, context.Canceled) {
		t.Errorf("the last: %v", err)
	}
	if url := <-g.left; url != "4" {
		t.Errorf("the work of %s ended, want that of the last", url)
	}
	next := call(t.Context(), "5") // another request, which does not hear of the one before
	stop()
	if err := <-next; !errors.Is(err, errCutOff) {
		t.Errorf("the server has ended: %v", err)
	}
	if url := <-g.left; url != "5" {
		t.Errorf("the work of %s ended, want that of the next", url)
	}
	if _, err := c.Populate(t.Context(), PopulateRequest{}); err == nil || !strings.Contains(err.Error(), "ask the server at") {
		t.Errorf("no server: %v", err)
	}
}

// panicking is a keeper for which one image is too much.
type panicking struct{ keeper }

func (panicking) Populate(_ context.Context, q PopulateRequest) Outcome {
	if string(q.URL) == "bad" {
		panic("too much")
	}
	return Outcome{Detail: string(q.URL)}
}

// A panic fails the URL at which it happens. The server goes on, and so does the request with
// its other URLs.
func TestPopulatePanic(t *testing.T) {
	var log bytes.Buffer
	c, stop := serveOptions(t, Options{Store: store{}, Keeper: func() Keeper { return panicking{} }, Log: slog.New(slog.NewTextHandler(&log, nil))})
	var all sync.WaitGroup
	for _, url := range []string{"bad", "good", "better", "bad"} {
		all.Go(func() {
			o, err := c.Populate(t.Context(), PopulateRequest{URL: []byte(url)})
			want := Outcome{Detail: url}
			if url == "bad" {
				want = Outcome{Code: "internal", Detail: "panic: too much"}
			}
			if err != nil || o != want {
				t.Errorf("%s: %+v, %v; want %+v", url, o, err, want)
			}
		})
	}
	all.Wait()
	stop()
	if text := log.String(); strings.Count(text, "populate_test.go") != 2 {
		t.Errorf("the log does not tell where it happened: %s", text)
	}
}
