package page

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/panics"
	"imgkeep/cmd/imgkeep/app/control"
)

const (
	maxJobs = 100             // that are remembered
	maxWork = 20              // that wait or run
	jobWait = 2 * time.Second // that an answer waits for the end of a job
)

var errJobs = errors.New("too many removals are under way: try again in a minute")

// jobs are removals of many, one after the other, by all moderators. They are in memory: a
// restart ends them, and the audit log has what they did.
type jobs struct {
	now  func() time.Time
	log  *slog.Logger
	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup
	turn chan struct{} // holds one while a job is at work

	mu      sync.Mutex
	all     []*job // the newest last
	running int
}

func newJobs(now func() time.Time, log *slog.Logger) *jobs {
	j := &jobs{now: now, log: log, turn: make(chan struct{}, 1)}
	j.life, j.end = context.WithCancel(context.Background())
	return j
}

// job is one of them.
type job struct {
	ID    string
	By    string
	Order order
	Began time.Time
	ended chan struct{}

	mu      sync.Mutex
	results []result
}

// result is what was done with something that was selected.
type result struct {
	Pick    pick
	Removal control.Removal
	Problem string // what went wrong; empty: nothing
}

// Undo are the blocks that lifting takes back.
func (r result) Undo() (all []pick) {
	for _, b := range r.Removal.Blocked {
		if b.For == "" { // the others go with that of their URL
			all = append(all, pick(b.Kind+" "+b.Subject))
		}
	}
	return all
}

// jobView is a job as it is shown.
type jobView struct {
	*job
	Results      []result
	Done, Failed int
	All          int
	Ended        bool
	Undo         []pick
	URLs, Files  int
	Bytes        int64
	Links        int
}

func (j *job) view() jobView {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := jobView{job: j, Results: append([]result{}, j.results...), Done: len(j.results), All: len(j.Order.Picks)}
	for _, r := range v.Results {
		if r.Problem != "" {
			v.Failed++
		}
		v.Undo = append(v.Undo, r.Undo()...)
		v.Links += len(r.Removal.Links)
		for _, i := range r.Removal.Images {
			v.URLs, v.Files, v.Bytes = v.URLs+len(i.URLs), v.Files+len(i.Files), v.Bytes+i.Bytes
		}
	}
	select {
	case <-j.ended:
		v.Ended = true
	default:
	}
	if v.Order.Verb != control.Block {
		v.Undo = nil
	}
	return v
}

// start begins a job, which goes on when the client leaves.
func (j *jobs) start(service control.Service, by string, o order) (*job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.running >= maxWork || j.life.Err() != nil {
		return nil, errJobs
	}
	x := &job{ID: rand.Text(), By: by, Order: o, Began: j.now(), ended: make(chan struct{})}
	if j.all = append(j.all, x); len(j.all) > maxJobs {
		j.all = j.all[1:]
	}
	j.running++
	j.work.Go(func() {
		j.turn <- struct{}{}
		defer func() { <-j.turn }()
		x.run(j.life, service, j.log)
		j.mu.Lock()
		defer j.mu.Unlock()
		j.running--
	})
	return x, nil
}

func (j *job) run(ctx context.Context, service control.Service, log *slog.Logger) {
	defer close(j.ended)
	for n, q := range j.Order.requests() {
		r := result{Pick: j.Order.Picks[n]}
		err := ctx.Err()
		if err == nil {
			err = guard(log, func() (err error) {
				r.Removal, err = service.Remove(ctx, q)
				return err
			})
		}
		switch {
		case errors.Is(err, bucket.ErrNotKept):
			r.Problem = "Nothing of it was kept any more."
		case errors.Is(err, bucket.ErrNotBlocked):
			// As is wanted: the block of its URL was lifted before, and this one with it.
		case errors.Is(err, context.Canceled):
			r.Problem = "The server was stopped before."
		case err != nil:
			r.Problem = sentence(err.Error())
		}
		j.mu.Lock()
		j.results = append(j.results, r)
		j.mu.Unlock()
	}
}

// guard does work in a goroutine of ours; a panic is an error of this work alone.
func guard(log *slog.Logger, work func() error) (err error) {
	defer panics.Catch(&err, log, "page: work has panicked")
	return work()
}

// wait waits for the end of a job, but not for long.
func (j *job) wait(ctx context.Context, most time.Duration) {
	select {
	case <-j.ended:
	case <-time.After(most):
	case <-ctx.Done():
	}
}

func (j *jobs) find(id string) (*job, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, x := range j.all {
		if x.ID == id {
			return x, true
		}
	}
	return nil, false
}

// close ends what is under way after the removal that is being done.
func (j *jobs) close() {
	j.mu.Lock()
	j.end()
	j.mu.Unlock()
	j.work.Wait()
}
