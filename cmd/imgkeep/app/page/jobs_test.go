package page

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/control"
)

// remover is a service that removes when it is told to.
type remover struct {
	control.Service
	next chan error
	did  []control.RemoveRequest
}

func (r *remover) Remove(_ context.Context, q control.RemoveRequest) (control.Removal, error) {
	err := <-r.next
	r.did = append(r.did, q)
	return control.Removal{Removal: record.Removal{
		Images:  []record.Removed{{URLs: []string{"a", "b"}, Files: []string{"f"}, Bytes: 5}},
		Blocked: []record.Block{{Kind: record.BlockURL, Subject: q.URL}, {Kind: record.BlockDigest, Subject: "d", For: q.URL}},
	}}, err
}

func picks(n int) (all []pick) {
	for i := range n {
		all = append(all, pick(fmt.Sprintf("url https://a.example/%d", i)))
	}
	return all
}

// A job tells how far it is, goes on when the client leaves, and says what could not
// be done; undoing it lifts the blocks of what was named, with which the others go.
func TestJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jobs := newJobs(time.Now, slog.New(slog.DiscardHandler))
		defer jobs.close()
		r := &remover{next: make(chan error)}
		j, err := jobs.start(r, "anna", order{Verb: control.Block, Picks: picks(3), Why: "spam", Keep: true, Like: true})
		if err != nil {
			t.Fatal(err)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		began := time.Now()
		j.wait(gone, time.Hour)
		j.wait(t.Context(), jobWait)
		if took := time.Since(began); took != jobWait {
			t.Errorf("an answer waits for %v", took)
		}
		r.next <- nil
		r.next <- bucket.ErrNotKept
		synctest.Wait()
		if v := j.view(); v.Done != 2 || v.All != 3 || v.Ended || v.Failed != 1 {
			t.Errorf("%+v", v)
		}
		r.next <- errors.New("the disk is full")
		synctest.Wait()
		v := j.view()
		if !v.Ended || v.Failed != 2 || v.URLs != 6 || v.Files != 3 || v.Bytes != 15 || v.Results[2].Problem != "The disk is full." {
			t.Errorf("%+v", v)
		}
		if len(v.Undo) != 3 || v.Undo[0] != "url https://a.example/0" {
			t.Errorf("undo: %q", v.Undo)
		}
		if q := r.did[0]; q.URL != "https://a.example/0" || q.Why != "spam" || !q.Keep || !q.Similar || q.Verb != control.Block {
			t.Errorf("%+v", q)
		}
		if found, ok := jobs.find(j.ID); !ok || found != j {
			t.Error("it is forgotten")
		}
	})
}

// One job runs after the other; so many wait, and no more; the end of the server ends them.
func TestJobsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jobs := newJobs(time.Now, slog.New(slog.DiscardHandler))
		r := &remover{next: make(chan error)}
		for n := range maxWork {
			if _, err := jobs.start(r, "anna", order{Verb: control.Purge, Picks: picks(1)}); err != nil {
				t.Fatal(n, err)
			}
		}
		if _, err := jobs.start(r, "anna", order{Verb: control.Purge, Picks: picks(1)}); !errors.Is(err, errJobs) {
			t.Errorf("one too many: %v", err)
		}
		synctest.Wait()
		if len(r.did) != 0 {
			t.Error("more than one is at work")
		}
		r.next <- nil
		synctest.Wait()
		if _, err := jobs.start(r, "anna", order{Verb: control.Purge, Picks: picks(1)}); err != nil {
			t.Errorf("after one has ended: %v", err)
		}
		go func() { r.next <- nil }() // the one that is being done
		jobs.close()
		stopped := 0
		for _, j := range jobs.all {
			if v := j.view(); v.Ended && v.Failed == 1 && v.Results[0].Problem == "The server was stopped before." && v.Undo == nil {
				stopped++
			}
		}
		if len(r.did) != 2 || stopped != len(jobs.all)-2 {
			t.Errorf("%d were done and %d stopped, of %d", len(r.did), stopped, len(jobs.all))
		}
		if _, err := jobs.start(r, "anna", order{}); !errors.Is(err, errJobs) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// broken is a service that cannot remove one image, nor count.
type broken struct{ control.Service }

func (broken) Remove(_ context.Context, q control.RemoveRequest) (r control.Removal, err error) {
	if q.URL == "https://a.example/1" {
		panic("too much")
	}
	return r, nil
}

func (broken) Stats(context.Context) (control.Stats, error) { panic("too much") }

// What panics in the background has failed, and is told of; the rest goes on, and so does the
// server.
func TestBackgroundPanics(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	jobs := newJobs(time.Now, log)
	j, err := jobs.start(broken{}, "anna", order{Verb: control.Block, Picks: picks(3)})
	if err != nil {
		t.Fatal(err)
	}
	<-j.ended
	jobs.close()
	if v := j.view(); v.Done != 3 || v.Failed != 1 || v.Results[1].Problem != "Panic: too much." {
		t.Errorf("%+v", v)
	}
	c := newCached(broken{}.Stats, time.Now, log)
	_, at, err := c.get(t.Context())
	c.close()
	if !at.IsZero() || err == nil || err.Error() != "panic: too much" {
		t.Errorf("figures of %v, %v", at, err)
	}
	if n := strings.Count(text.String(), "page.broken.Remove") * strings.Count(text.String(), "page.broken.Stats"); n == 0 {
		t.Errorf("the log does not tell where it happened: %s", &text)
	}
}

func TestProposalsAreBounded(t *testing.T) {
	p := newProposals(time.Now)
	for n := range maxProposals {
		if err := p.add("anna", order{}); err != nil {
			t.Fatal(n, err)
		}
	}
	if err := p.add("anna", order{}); !errors.Is(err, errJobs) {
		t.Errorf("one too many: %v", err)
	}
	if n := p.waiting("bert"); n != maxProposals {
		t.Errorf("%d wait for bert", n)
	}
	if n := p.waiting("anna"); n != 0 {
		t.Errorf("%d wait for who has proposed them", n)
	}
}

// Figures are counted by one at a time, in the background, again when they are old, and
// not while nobody asks; a page does not wait for long.
func TestCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, takes := 0, 5*time.Second
		var fails error
		c := newCached(func(ctx context.Context) (int, error) {
			select {
			case <-time.After(takes):
			case <-ctx.Done():
				return 0, ctx.Err()
			}
			n++
			return n, fails
		}, time.Now, slog.New(slog.DiscardHandler))
		defer c.close()
		began := time.Now()
		if _, at, err := c.get(t.Context()); !at.IsZero() || err != nil || time.Since(began) != figuresWait {
			t.Errorf("the first: %v, %v after %v", at, err, time.Since(began))
		}
		time.Sleep(takes)
		if v, at, err := c.get(t.Context()); v != 1 || at.IsZero() || err != nil {
			t.Errorf("%d, %v, %v", v, at, err)
		}
		time.Sleep(figuresAge / 2)
		if v, _, _ := c.get(t.Context()); v != 1 || n != 1 {
			t.Errorf("counted again after %v", figuresAge/2)
		}
		time.Sleep(figuresAge)
		began = time.Now()
		if v, _, _ := c.get(t.Context()); v != 1 || time.Since(began) != 0 {
			t.Errorf("an old one is %d, after %v", v, time.Since(began))
		}
		c.get(t.Context())
		time.Sleep(takes + time.Second)
		if v, _, _ := c.get(t.Context()); v != 2 || n != 2 {
			t.Errorf("%d, counted %d times", v, n)
		}
		fails = errors.New("no")
		time.Sleep(2 * figuresAge)
		c.get(t.Context())
		time.Sleep(takes + time.Second)
		if v, _, err := c.get(t.Context()); v != 2 || err == nil {
			t.Errorf("%d, %v", v, err)
		}
	})
}
