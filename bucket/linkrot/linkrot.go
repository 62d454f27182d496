// Package linkrot asks the origins of kept images whether they still have them, and counts
// the answers: how much of a site's images would be lost without the store.
//
// It promises to change nothing except its own count, in {root}/linkrot.json; to count no
// URL twice in a pass, even if that was interrupted; and to ask no more origins a second
// than it is allowed. It does not ask for what is removed, blocked, denied or local, and
// never removes anything.
package linkrot

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/pace"
	"imgkeep/bucket/record"
)

// State says whether the origin of an image still has it.
type State string

// The states.
const (
	// Alive: it has an image, not necessarily the same one.
	Alive State = "alive"
	// Gone: it says that the image is gone, or shows something else.
	Gone State = "gone"
	// Unreachable: nobody answers there.
	Unreachable State = "unreachable"
	// Unsure: it refuses us, is out of order, or may not be asked.
	Unsure State = "unsure"
)

// States are all of them.
func States() []State {
	return []State{Alive, Gone, Unreachable, Unsure}
}

// Report is the progress and result of asking origins.
type Report struct {
	Last *Pass `json:"last,omitempty"` // the last pass that ended; nil: none has
	Now  *Pass `json:"now,omitempty"`  // the one under way, as of about a minute ago; nil: none is
	// At is where Now goes on.
	At place `json:"at"`
}

// Pass is the result of one pass through the journals: URLs, by the states of their
// origins.
type Pass struct {
	Began   time.Time                `json:"began"`
	Ended   time.Time                `json:"ended,omitzero"`
	All     map[State]int            `json:"all"`
	Buckets map[string]map[State]int `json:"buckets"`
}

// place is behind a line of a journal. The zero value is before all.
type place struct {
	Bucket string `json:"bucket,omitempty"`
	File   string `json:"file,omitempty"` // below the root
	Offset int64  `json:"offset,omitempty"`
}

func (p *Pass) count(bucket string, state State) {
	if p.Buckets[bucket] == nil {
		p.Buckets[bucket] = map[State]int{}
	}
	p.All[state]++
	p.Buckets[bucket][state]++
}

func (p *Pass) whole() bool { return p == nil || p.All != nil && p.Buckets != nil }

// Store is what Check needs of an open store.
type Store interface {
	// Begin announces the pass, until done. Its context also ends when the store closes.
	Begin(ctx context.Context) (_ context.Context, done func(), err error)
	Root() string
	Buckets() []string
	Now() time.Time
	Log() *slog.Logger
	Disk() local.Disk
	Ledger() ledger.Ledger
	// Shown tells whether an image is the one that viewers get under its URL.
	Shown(image record.Image) (bool, error)
	// OriginRequest is a request to the origin of an image, under the rules of its bucket.
	OriginRequest(image record.Image) fetch.Request
}

// Options say how to ask origins.
type Options struct {
	// Alive asks the origin of a URL: [fetch.Fetcher.Alive].
	Alive func(context.Context, fetch.Request) error
	Rate  int64       // URLs asked in a second, at most; 0: as fast as it goes
	Asked func(State) // called for each counted URL; nil: not

	Pace pace.Pace // of asking, by Rate; tests give it a clock
}

const (
	// File is the name of the report, in the store's root.
	File = "linkrot.json"
	// SaveEvery is how often progress is saved: a crash repeats this much.
	SaveEvery = time.Minute
	// AtOnce is how many origins are asked concurrently: one that hangs must not delay all
	// others.
	AtOnce = 16
)

// Read returns the results of the passes over the store in root; nil: there was none.
func Read(root string, log *slog.Logger) (*Report, error) {
	text, err := os.ReadFile(filepath.Join(root, File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &Report{}
	if err := json.Unmarshal(text, r); err != nil || r.At.Offset < 0 || !r.Last.whole() || !r.Now.whole() {
		// A count that can be made again must not block anything.
		log.Warn("the count of origins is damaged, and starts over", "file", File, "error", err)
		return nil, nil
	}
	return r, nil
}

// Check asks the origin of each kept URL whether it still has the image, in the order of
// the journals, and counts the answers. It changes nothing else: kept images stay, whatever
// their origin says. It does not ask for URLs that are removed, blocked, denied or local.
//
// Results and progress are in {root}/linkrot.json: an interrupted pass continues where it
// stopped, and no URL is counted twice. A crash loses the last minute. Memory does not grow
// with the store. A URL that was removed and kept again with the same bytes counts each
// time.
//
// It leaves a host that does not answer three times in a row alone for ten minutes, and one
// that names a time until then: meanwhile its URLs count as its last answer.
//
// It may run once at a time. It ends with ctx, whose cause is the error.
func Check(ctx context.Context, s Store, o Options) (Pass, error) {
	ctx, done, err := s.Begin(ctx)
	if err != nil {
		return Pass{}, err
	}
	defer done()
	r, err := Read(s.Root(), s.Log())
	if err != nil {
		return Pass{}, err
	}
	if r == nil {
		r = &Report{}
	}
	if r.Now == nil {
		r.At, r.Now = place{}, &Pass{
			Began: s.Now().UTC().Truncate(time.Second), All: map[State]int{}, Buckets: map[string]map[State]int{},
		}
	}
	o.Pace.Rate = o.Rate
	err = askAll(ctx, s, o, r)
	if err != nil {
		return *r.Now, errors.Join(err, save(s, r))
	}
	r.Now.Ended = s.Now().UTC().Truncate(time.Second)
	r.Last, r.Now, r.At = r.Now, nil, place{}
	return *r.Last, save(s, r)
}

// asked is a URL whose origin is being asked.
type asked struct {
	at     place // behind its line
	answer chan originAnswer
}

type originAnswer struct {
	state State
	err   error // ctx has ended
}

// askAll asks from r.At to the end of the journals. It counts answers in the order of the
// lines, so that there is one position up to which all are counted.
func askAll(ctx context.Context, s Store, o Options, r *Report) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel(nil)
	queue := make(chan asked, AtOnce-2) // one more is being counted, and one waits to be queued
	a := asker{s: s, o: &o, hosts: map[string]*restingHost{}}
	from := r.At
	asking.Go(func() {
		defer close(queue)
		for line, err := range withOrigins(ctx, s, from) {
			if err == nil {
				err = o.Pace.Took(ctx, 1)
			}
			if err != nil {
				cancel(err)
				return
			}
			q := asked{at: place{line.Image.Bucket, line.File, line.End}, answer: make(chan originAnswer, 1)}
			asking.Go(func() {
				state, err := a.ask(ctx, line.Image)
				q.answer <- originAnswer{state, err}
			})
			select {
			case queue <- q:
			case <-ctx.Done():
				return
			}
		}
	})
	saved := s.Now()
	for q := range queue {
		answer := <-q.answer
		if ctx.Err() != nil {
			break // those that are answered by now are asked again
		}
		if answer.err != nil {
			return answer.err
		}
		r.Now.count(q.at.Bucket, answer.state)
		r.At = q.at
		if o.Asked != nil {
			o.Asked(answer.state)
		}
		if now := s.Now(); now.Sub(saved) >= SaveEvery {
			saved = now
			if err := save(s, r); err != nil {
				return err
			}
		}
	}
	return context.Cause(ctx)
}

// withOrigins goes through the journal lines after a position whose images are kept and
// whose origins may be asked.
func withOrigins(ctx context.Context, s Store, from place) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		n := 0
		for _, bucket := range s.Buckets() {
			if bucket < from.Bucket {
				continue
			}
			at := record.Position{}
			if bucket == from.Bucket && from.File != "" {
				at = record.Position{File: filepath.Base(from.File), Length: from.Offset}
			}
			for line, err := range s.Ledger().Since(bucket, at) {
				if n++; err == nil && n%4096 == 0 && ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				ask := false
				if err == nil {
					ask, err = hasOrigin(s, line)
				}
				if err == nil && !ask {
					continue
				}
				if !yield(line, err) || err != nil {
					return
				}
			}
		}
	}
}

// hasOrigin tells whether a line is that of a served image that was fetched from an origin.
func hasOrigin(s Store, line ledger.Entry) (bool, error) {
	if line.Op != ledger.OpKeep || line.Broken != nil || imageurl.URL(line.Image.URL).IsLocal() {
		return false, nil
	}
	return s.Shown(line.Image)
}

// save saves the progress of a pass. After a crash the file has that, or the earlier state.
func save(s Store, r *Report) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp, path := filepath.Join(s.Root(), record.TmpDir), filepath.Join(s.Root(), File)
	return local.AsFull(local.WriteFile(s.Disk(), tmp, path, append(text, '\n')))
}

// asker asks origins, and leaves those alone that want it.
type asker struct {
	s Store
	o *Options

	mu    sync.Mutex
	hosts map[string]*restingHost
}

// restingHost is a host that did not answer, or wants to be left alone.
type restingHost struct {
	misses int // in a row
	state  State
	until  time.Time // the zero value: it may be asked
}

const (
	// maxMisses is how often a host may not answer before it rests: a single URL may hang.
	maxMisses   = 3
	restingTime = 10 * time.Minute
	// maxResting bounds the hosts that are remembered.
	maxResting = 1024
)

func (a *asker) ask(ctx context.Context, image record.Image) (State, error) {
	host := imageurl.HostOf(image.URL)
	if state, rests := a.rests(host); rests {
		return state, nil
	}
	err := a.o.Alive(ctx, a.s.OriginRequest(image))
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	state := originState(err)
	a.note(host, state, err)
	a.s.Log().Debug("origin asked", "bucket", image.Bucket, "digest", image.Digest, "host", host, "state", state, "error", err)
	return state, nil
}

// originState is the state that an answer indicates.
func originState(err error) State {
	if err == nil {
		return Alive
	}
	var e *fetch.Error
	errors.As(err, &e)
	switch {
	case e == nil:
		return Unsure
	case e.Kind == fetch.Gone, e.Kind == fetch.NotImage:
		return Gone
	case e.Kind == fetch.Timeout, e.Kind == fetch.Failed && e.Status == 0:
		return Unreachable
	}
	return Unsure
}

func (a *asker) rests(host string) (State, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.hosts[host]
	if h == nil || !a.s.Now().Before(h.until) {
		return "", false
	}
	return h.state, true
}

// note decides whether a host rests now.
func (a *asker) note(host string, state State, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := restingHost{state: state}
	var e *fetch.Error
	switch {
	case state == Unreachable:
		if old := a.hosts[host]; old != nil {
			h.misses = old.misses
		}
		if h.misses++; h.misses >= maxMisses {
			h.until = a.s.Now().Add(restingTime)
		}
	case errors.As(err, &e) && e.RetryAfter > 0:
		h.until = a.s.Now().Add(e.RetryAfter)
	default:
		delete(a.hosts, host)
		return
	}
	if len(a.hosts) >= maxResting {
		now := a.s.Now()
		maps.DeleteFunc(a.hosts, func(_ string, h *restingHost) bool { return !now.Before(h.until) })
	}
	if len(a.hosts) < maxResting || a.hosts[host] != nil {
		a.hosts[host] = &h
	}
}
