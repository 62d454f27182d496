package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// OriginState says whether the origin of an image still has it.
type OriginState string

// The states.
const (
	// OriginAlive: it has an image there, which need not be the same one.
	OriginAlive OriginState = "alive"
	// OriginGone: it says that the image is gone, or shows something else.
	OriginGone OriginState = "gone"
	// OriginUnreachable: nobody answers there.
	OriginUnreachable OriginState = "unreachable"
	// OriginUnsure: it does not let us see, is out of order, or may not be asked.
	OriginUnsure OriginState = "unsure"
)

// OriginStates are all of them.
func OriginStates() []OriginState {
	return []OriginState{OriginAlive, OriginGone, OriginUnreachable, OriginUnsure}
}

// LinkRot is how far the origins of what is kept have been asked.
type LinkRot struct {
	Last *LinkRotPass `json:"last,omitempty"` // the last pass that ended; nil: none has
	Now  *LinkRotPass `json:"now,omitempty"`  // the one under way, as of about a minute ago; nil: none is
	// At is where Now goes on.
	At journalPlace `json:"at"`
}

// LinkRotPass is what one pass through the journals has found: URLs, by the states
// of their origins.
type LinkRotPass struct {
	Began   time.Time                      `json:"began"`
	Ended   time.Time                      `json:"ended,omitzero"`
	All     map[OriginState]int            `json:"all"`
	Buckets map[string]map[OriginState]int `json:"buckets"`
}

// journalPlace is behind a line of a journal. The zero value is before all.
type journalPlace struct {
	Bucket string `json:"bucket,omitempty"`
	File   string `json:"file,omitempty"` // below the root
	Offset int64  `json:"offset,omitempty"`
}

func (p *LinkRotPass) count(bucket string, state OriginState) {
	if p.Buckets[bucket] == nil {
		p.Buckets[bucket] = map[OriginState]int{}
	}
	p.All[state]++
	p.Buckets[bucket][state]++
}

func (p *LinkRotPass) whole() bool { return p == nil || p.All != nil && p.Buckets != nil }

// LinkRotOptions say how origins are asked.
type LinkRotOptions struct {
	// Alive asks the origin of a URL: [fetch.Fetcher.Alive].
	Alive func(context.Context, fetch.Request) error
	Rate  int64             // URLs asked in a second, at most; 0: as fast as it goes
	Asked func(OriginState) // told of each URL that is counted; nil: nobody

	pace pace // a test's own
}

const (
	linkRotFile = "linkrot.json"
	// linkRotSave is how often it is written down how far a pass is: what a crash
	// has asked again.
	linkRotSave = time.Minute
	// linkRotAtOnce is how many origins are waited for at once: one that hangs
	// must not hold up all others.
	linkRotAtOnce = 16
)

// LinkRot is what passes of CheckOrigins have found; nil: there was none.
func (s *Store) LinkRot() (*LinkRot, error) {
	text, err := os.ReadFile(s.Path(linkRotFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &LinkRot{}
	if err := json.Unmarshal(text, r); err != nil || r.At.Offset < 0 || !r.Last.whole() || !r.Now.whole() {
		// A count that can be made again must not stand in the way of anything.
		s.log.Warn("the count of origins is damaged, and begins anew", "file", linkRotFile, "error", err)
		return nil, nil
	}
	return r, nil
}

// CheckOrigins asks the origin of each URL that is kept whether it still has the
// image, in the order of the journals, and counts the answers. It changes nothing
// else: what is kept stays, whatever its origin says. URLs that are removed, blocked
// or denied are not asked, nor are local ones.
//
// What is found, and how far it is, stands in {root}/linkrot.json: a pass that was
// broken off is taken up where it was, and no URL is counted twice. A crash loses
// the last minute. Memory does not grow with what is kept. A URL that was removed
// and kept again with the same bytes counts for each time.
//
// A host that does not answer three times in a row is left alone for ten minutes,
// and one that says when it wants to be asked again until then: its URLs count as
// its last answer.
//
// It may run once at a time. It ends with ctx, whose cause is the error.
func (s *Store) CheckOrigins(ctx context.Context, o LinkRotOptions) (LinkRotPass, error) {
	done, err := s.begin()
	if err != nil {
		return LinkRotPass{}, err
	}
	defer done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.life, func() { cancel(ErrClosed) })()

	r, err := s.LinkRot()
	if err != nil {
		return LinkRotPass{}, err
	}
	if r == nil {
		r = &LinkRot{}
	}
	if r.Now == nil {
		r.At, r.Now = journalPlace{}, &LinkRotPass{
			Began: s.now().UTC().Truncate(time.Second), All: map[OriginState]int{}, Buckets: map[string]map[OriginState]int{},
		}
	}
	o.pace.rate = o.Rate
	err = s.askAll(ctx, o, r)
	if err != nil {
		return *r.Now, errors.Join(err, s.saveLinkRot(r))
	}
	r.Now.Ended = s.now().UTC().Truncate(time.Second)
	r.Last, r.Now, r.At = r.Now, nil, journalPlace{}
	return *r.Last, s.saveLinkRot(r)
}

// asked is a URL whose origin is being asked.
type asked struct {
	at     journalPlace // behind its line
	answer chan originAnswer
}

type originAnswer struct {
	state OriginState
	err   error // ctx has ended
}

// askAll asks from r.At to the end of the journals. Answers are counted in the
// order of the lines, so that there is one place up to which all are.
func (s *Store) askAll(ctx context.Context, o LinkRotOptions, r *LinkRot) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel(nil)
	queue := make(chan asked, linkRotAtOnce-2) // one more is counted, and one waits to be queued
	a := asker{s: s, o: &o, hosts: map[string]*restingHost{}}
	from := r.At
	asking.Go(func() {
		defer close(queue)
		for line, err := range s.origins(ctx, from) {
			if err == nil {
				err = o.pace.took(ctx, 1)
			}
			if err != nil {
				cancel(err)
				return
			}
			q := asked{at: journalPlace{line.Image.Bucket, line.File, line.End}, answer: make(chan originAnswer, 1)}
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
	saved := s.now()
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
		if now := s.now(); now.Sub(saved) >= linkRotSave {
			saved = now
			if err := s.saveLinkRot(r); err != nil {
				return err
			}
		}
	}
	return context.Cause(ctx)
}

// origins goes through the lines of the journals behind a place whose images are
// kept, and whose origins may be asked.
func (s *Store) origins(ctx context.Context, from journalPlace) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		n := 0
		for _, bucket := range s.bucketNames() {
			if bucket < from.Bucket {
				continue
			}
			at := record.Position{}
			if bucket == from.Bucket && from.File != "" {
				at = record.Position{File: filepath.Base(from.File), Length: from.Offset}
			}
			for line, err := range s.ledger.Since(bucket, at) {
				if n++; err == nil && n%4096 == 0 && ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				ask := false
				if err == nil {
					ask, err = s.hasOrigin(line)
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

// hasOrigin tells whether a line is that of an image that is served, and that came
// from somewhere else.
func (s *Store) hasOrigin(line ledger.Entry) (bool, error) {
	if line.Op != ledger.OpKeep || line.Broken != nil || strings.HasPrefix(line.Image.URL, localURL) {
		return false, nil
	}
	image, err := s.Find(line.Image.Bucket, line.Image.URL)
	var failed *Failure
	switch {
	case err == nil:
		return image.Digest == line.Image.Digest, nil
	case errors.Is(err, ErrNotKept), errors.Is(err, ErrDenied), errors.Is(err, ErrRemoved), errors.As(err, &failed):
		return false, nil
	}
	return false, err
}

// saveLinkRot writes down how far a pass is. A crash leaves that, or what was there.
func (s *Store) saveLinkRot(r *LinkRot) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp, err := s.disk.CreateTemp(filepath.Join(s.root, record.TmpDir), "linkrot-*")
	if err != nil {
		return local.AsFull(err)
	}
	defer tmp.Close()
	defer s.disk.RemoveAll(tmp.Name())
	if _, err = s.disk.Write(tmp, append(text, '\n')); err == nil {
		err = s.disk.Chmod(tmp, local.PrivateFile)
	}
	if err == nil {
		err = s.disk.Sync(tmp)
	}
	if err == nil {
		err = s.disk.Rename(tmp.Name(), s.Path(linkRotFile))
	}
	return local.AsFull(err)
}

// asker asks origins, and leaves alone those that want that.
type asker struct {
	s *Store
	o *LinkRotOptions

	mu    sync.Mutex
	hosts map[string]*restingHost
}

// restingHost is a host that did not answer, or does not want to be asked.
type restingHost struct {
	misses int // in a row
	state  OriginState
	until  time.Time // the zero value: it may be asked
}

const (
	// maxMisses is how often a host may not answer before it rests: one of its
	// URLs alone may hang.
	maxMisses   = 3
	restingTime = 10 * time.Minute
	// maxResting bounds the hosts that are remembered.
	maxResting = 1024
)

func (a *asker) ask(ctx context.Context, image record.Image) (OriginState, error) {
	host := imageurl.HostOf(image.URL)
	if state, rests := a.rests(host); rests {
		return state, nil
	}
	c := a.s.settings.Load()
	err := a.o.Alive(ctx, fetch.Request{
		URL: image.URL, Hosts: c.buckets[image.Bucket].Hosts, Limits: probe.Limits{Formats: c.limits.Formats},
		Denied: func(host string) bool { return a.s.blockedHost(host) != nil },
	})
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	state := originState(err)
	a.note(host, state, err)
	a.s.log.Debug("origin asked", "bucket", image.Bucket, "digest", image.Digest, "host", host, "state", state, "error", err)
	return state, nil
}

// originState is what an answer says of the image.
func originState(err error) OriginState {
	if err == nil {
		return OriginAlive
	}
	var e *fetch.Error
	errors.As(err, &e)
	switch {
	case e == nil:
		return OriginUnsure
	case e.Class == fetch.Gone, e.Class == fetch.NotImage:
		return OriginGone
	case e.Class == fetch.Timeout, e.Class == fetch.Failed && e.Status == 0:
		return OriginUnreachable
	}
	return OriginUnsure
}

func (a *asker) rests(host string) (OriginState, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.hosts[host]
	if h == nil || !a.s.now().Before(h.until) {
		return "", false
	}
	return h.state, true
}

// note decides whether a host rests now.
func (a *asker) note(host string, state OriginState, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := restingHost{state: state}
	var e *fetch.Error
	switch {
	case state == OriginUnreachable:
		if old := a.hosts[host]; old != nil {
			h.misses = old.misses
		}
		if h.misses++; h.misses >= maxMisses {
			h.until = a.s.now().Add(restingTime)
		}
	case errors.As(err, &e) && e.RetryAfter > 0:
		h.until = a.s.now().Add(e.RetryAfter)
	default:
		delete(a.hosts, host)
		return
	}
	if len(a.hosts) >= maxResting {
		now := a.s.now()
		maps.DeleteFunc(a.hosts, func(_ string, h *restingHost) bool { return !now.Before(h.until) })
	}
	if len(a.hosts) < maxResting || a.hosts[host] != nil {
		a.hosts[host] = &h
	}
}
