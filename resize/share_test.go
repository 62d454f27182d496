package resize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// owned is someJob, for a site and an image.
func owned(site, image string) Job {
	j := someJob
	j.Site, j.Image = site, image
	return j
}

// queued has jobs wait, one after the other, and returns a channel of their names in
// the order in which decoders begin with them.
func queued(t *testing.T, p *Pool, jobs ...Job) (turns chan string, errs chan error) {
	t.Helper()
	turns, errs = make(chan string, len(jobs)), make(chan error, len(jobs))
	for _, j := range jobs {
		waiting := p.Stats().Waiting
		go func() {
			_, err := p.Resize(t.Context(), readerFunc(func(b []byte) (int, error) {
				turns <- j.Site + "/" + j.Image
				return copy(b, "good"), nil
			}), 4, j)
			errs <- err
		}()
		until(t, p, "waiting", func(s Stats) bool { return s.Waiting == waiting+1 })
	}
	return turns, errs
}

// A site that has many images wait does not come before one that has one, nor an
// image with many jobs before another of the site; and who has kept decoders busy
// comes after who has not.
func TestShares(t *testing.T) {
	for name, c := range map[string]struct {
		holds Job // the decoder, before
		jobs  []Job
		want  string
	}{
		"a flood, and another":               {owned("flood", "0"), []Job{owned("flood", "1"), owned("flood", "2"), owned("other", "3"), owned("flood", "4")}, "other/3 flood/1 flood/2 flood/4"},
		"one image, and another of the site": {owned("site", "1"), []Job{owned("site", "1"), owned("site", "1"), owned("site", "2")}, "site/2 site/1 site/1"},
		"the background":                     {owned("site", "1"), []Job{{Site: "b", Image: "b", Background: true, Format: "jpeg", Targets: someJob.Targets}, owned("site", "1")}, "site/1 b/b"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, Options{})
			free := holdFor(t, p, c.holds)
			turns, errs := queued(t, p, c.jobs...)
			if err := free(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for range c.jobs {
				got = append(got, <-turns)
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// holdFor is hold for a job.
func holdFor(t *testing.T, p *Pool, j Job) func() error {
	t.Helper()
	r, w := io.Pipe()
	busy := p.Stats().Busy
	err := make(chan error, 1)
	go func() {
		_, e := p.Resize(context.Background(), r, 4, j)
		err <- e
	}()
	until(t, p, "busy", func(s Stats) bool { return s.Busy == busy+1 })
	return func() error {
		_, _ = w.Write([]byte("good"))
		return <-err
	}
}

// What somebody owes is bounded, is paid by time, and is then forgotten.
func TestDebts(t *testing.T) {
	now := time.Now()
	all := shares{}
	s := all.get("a")
	s.charge(now, 3*time.Second, 20*time.Second)
	s.charge(now, 4*time.Second, 20*time.Second)
	if got := s.debt(now.Add(time.Second)); got != 6*time.Second {
		t.Errorf("after a second it owes %v", got)
	}
	all.forget(now.Add(time.Second))
	if all.get("a") != s {
		t.Error("forgotten with debts")
	}
	all.forget(now.Add(7 * time.Second))
	if len(all) != 0 || s.debt(now.Add(time.Hour)) != 0 {
		t.Error("not forgotten without debts")
	}
	s = all.get("b")
	s.charge(now, time.Hour, 20*time.Second)
	if got := s.debt(now); got != 20*time.Second {
		t.Errorf("it owes %v, and 20s is the most", got)
	}
	s.waiting = 1
	all.forget(now.Add(time.Hour))
	if all.get("b") != s {
		t.Error("forgotten while it waits")
	}
}

// When the queue is full, a flood pushes out itself: first the site that has most in
// it, then the image. Who would have as many gets no place.
func TestFullQueue(t *testing.T) {
	p := newPool(t, Options{Queue: 3})
	free := holdFor(t, p, owned("", ""))
	ctx, cancel := context.WithCancel(t.Context())
	refused := make(chan string, 9)
	wait := func(j Job) {
		waiting := p.Stats()
		go func() {
			_, err := p.Resize(ctx, strings.NewReader("good"), 4, j)
			if errors.Is(err, ErrBusy) {
				refused <- j.Image
			} else {
				refused <- fmt.Sprint(err)
			}
		}()
		until(t, p, "waiting or refused", func(s Stats) bool { return s.Waiting+int(s.Refused) == waiting.Waiting+int(waiting.Refused)+1 })
	}
	for _, c := range []struct{ job, refused string }{
		{"a/1", ""}, {"a/1", ""}, {"a/2", ""}, // full
		{"a/3", "a/1"}, // its site has all, and the image 1 most
		{"a/3", "a/3"}, // none has two more
		{"b/1", "a/3"}, // of the site that has most, the last
		{"b/2", "b/2"}, // two against one
		{"c/1", "a/2"},
		{"d/1", "d/1"},
	} {
		site, _, _ := strings.Cut(c.job, "/")
		wait(owned(site, c.job))
		if c.refused == "" {
			continue
		}
		if got := <-refused; got != c.refused {
			t.Errorf("%s comes: %s is refused, want %s", c.job, got, c.refused)
		}
	}
	cancel()
	for range 3 {
		<-refused
	}
	if s := p.Stats(); s.Waiting != 0 || s.Refused != 6 {
		t.Errorf("%+v", s)
	}
	if err := free(); err != nil {
		t.Error(err)
	}
	if len(p.sites) > 3 { // those with debts at most
		t.Errorf("%d sites are remembered", len(p.sites))
	}
}

// Nobody waits for longer than Wait; in the background they do.
func TestWait(t *testing.T) {
	p := newPool(t, Options{Wait: 20 * time.Millisecond})
	free := hold(t, p)
	background := someJob
	background.Background = true
	turns, errs := queued(t, p, background)
	for range 3 {
		if _, err := ask(p, "good"); !errors.Is(err, ErrBusy) {
			t.Errorf("got %v, want ErrBusy", err)
		}
	}
	if s := p.Stats(); s.Waiting != 1 || s.Refused != 3 || s.Waited < 60*time.Millisecond {
		t.Errorf("%+v", s)
	}
	if err := free(); err != nil {
		t.Error(err)
	}
	<-turns
	if err := <-errs; err != nil {
		t.Error(err)
	}
	// Wait is Timeout unless it is set.
	if o, err := (Options{Command: []string{"x"}, Timeout: time.Minute}).withDefaults(); err != nil || o.Wait != time.Minute {
		t.Errorf("%v, %v", o.Wait, err)
	}
}

// The attack: 24 calls at once that are left at once, each of an image that takes
// long. A caller that comes next waits for what runs, and for none of those in the queue.
func TestLeftCallsAreDropped(t *testing.T) {
	p := newPool(t, Options{Workers: 2})
	free := []func() error{holdFor(t, p, owned("a", "1")), holdFor(t, p, owned("a", "2"))}
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 24)
	for i := range 24 {
		go func() {
			_, err := p.Resize(ctx, strings.NewReader("hang"), 4, owned(fmt.Sprint(i), "x"))
			left <- err
		}()
	}
	until(t, p, "waiting", func(s Stats) bool { return s.Waiting == 24 })
	cancel()
	for range 24 {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	turns, errs := queued(t, p, owned("b", "1"))
	if err := free[0](); err != nil {
		t.Error(err)
	}
	<-turns
	if err := <-errs; err != nil {
		t.Error(err)
	}
	if err := free[1](); err != nil {
		t.Error(err)
	}
}
