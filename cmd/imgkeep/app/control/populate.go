package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"

	"imgkeep/bucket/panics"
	"imgkeep/cmd/imgkeep/app/server"
)

// Calls of Populate that run at once share one request, whose body has a line for each and whose
// answer has one for each that is done: a request of its own costs more than fetching and
// keeping an image that is near.

const (
	populatePath = "/populate"
	// maxPopulating is how many lines of a request are in work at once.
	maxPopulating = 1024
)

// populateLine is a line of the request, and populatedLine one of the answer. Whoever asks for one
// URL only needs no number. An error without outcome ends all.
type populateLine struct {
	N uint64 `json:"n"`
	PopulateRequest
}

type populatedLine struct {
	N       uint64   `json:"n,omitempty"`
	Outcome *Outcome `json:"outcome,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// Populate implements Service. Where it is given up, the server goes on with it until no other
// call runs.
func (c *Client) Populate(ctx context.Context, q PopulateRequest) (Outcome, error) {
	c.mu.Lock()
	if c.populating == nil {
		c.populating = newPopulating(c)
	}
	p := c.populating
	n, answer := p.add()
	c.mu.Unlock()
	text, err := json.Marshal(populateLine{n, q})
	if err != nil {
		p.leave(n)
		return Outcome{}, err
	}
	p.body.add(append(text, '\n'))
	select {
	case a := <-answer:
		p.leave(n)
		return a.Outcome, a.err
	case <-ctx.Done():
		p.leave(n)
		return Outcome{}, ctx.Err()
	}
}

type populated struct {
	Outcome
	err error
}

// populating is a request of calls that run at once. What it has of c is behind c.mu.
type populating struct {
	c      *Client
	body   *lineBody
	cancel context.CancelFunc
	ended  chan struct{} // closed when there is no more of it

	n         uint64
	waiting   map[uint64]chan populated
	running   int
	abandoned bool
	err       error // which ended it
}

func newPopulating(c *Client) *populating {
	ctx, cancel := context.WithCancel(context.Background())
	p := &populating{c: c, body: newLineBody(), cancel: cancel, ended: make(chan struct{}), waiting: map[uint64]chan populated{}}
	go func() {
		defer close(p.ended)
		err := p.run(ctx)
		cancel()
		p.body.Close()
		c.mu.Lock()
		defer c.mu.Unlock()
		p.end(err)
	}()
	return p
}

// add begins a call. c.mu is held.
func (p *populating) add() (n uint64, answer chan populated) {
	p.n++
	answer = make(chan populated, 1)
	p.running++
	if p.err != nil {
		answer <- populated{err: p.err}
	} else {
		p.waiting[p.n] = answer
	}
	return p.n, answer
}

// leave ends a call. The last one ends the request, after which the connection serves others if
// all calls have got their answers.
func (p *populating) leave(n uint64) {
	p.c.mu.Lock()
	if p.waiting[n] != nil {
		p.abandoned = true
		delete(p.waiting, n)
	}
	p.running--
	last := p.running == 0
	if last && p.c.populating == p {
		p.c.populating = nil
	}
	if last && p.abandoned {
		p.cancel()
	}
	p.c.mu.Unlock()
	if last {
		p.body.Close()
		<-p.ended
	}
}

// end answers all calls that still wait. c.mu is held.
func (p *populating) end(err error) {
	p.err = err
	if p.c.populating == p {
		p.c.populating = nil
	}
	for n, answer := range p.waiting {
		answer <- populated{err: err}
		delete(p.waiting, n)
	}
}

// run asks the server, and hands its answers on. It returns why there are no more.
func (p *populating) run(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://imgkeep"+populatePath, p.body)
	if err != nil {
		return err
	}
	request.Header.Set(claimsHeader, ownClaims().encode())
	answer, err := p.c.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask the server at %s: %w", p.c.path, errors.Unwrap(err))
	}
	defer answer.Body.Close()
	for dec := json.NewDecoder(answer.Body); ; {
		var l populatedLine
		switch err := dec.Decode(&l); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return errCutOff
		case err != nil:
			return fmt.Errorf("ask the server at %s: %w", p.c.path, err)
		case l.Outcome == nil:
			return remote(l.Error)
		}
		a := populated{Outcome: *l.Outcome}
		if l.Error != "" {
			a.err = remote(l.Error)
		}
		p.c.mu.Lock()
		if answer := p.waiting[l.N]; answer != nil {
			answer <- a
			delete(p.waiting, l.N)
		}
		p.c.mu.Unlock()
	}
}

// lineBody is the body of a request: what was added, as soon as it is read, until it is closed.
type lineBody struct {
	mu     sync.Mutex
	ready  sync.Cond
	text   bytes.Buffer
	closed bool
}

func newLineBody() *lineBody {
	b := &lineBody{}
	b.ready.L = &b.mu
	return b
}

func (b *lineBody) add(text []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Write(text)
	b.ready.Signal()
}

func (b *lineBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.text.Len() == 0 {
		if b.closed {
			return 0, io.EOF
		}
		b.ready.Wait()
	}
	return b.text.Read(p)
}

func (b *lineBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.ready.Broadcast()
	return nil
}

// populate answers such a request. Its lines are done at once, and answered as they are done.
func (s *Server) populate(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	w.Header().Set("Content-Type", contentType)
	out := http.NewResponseController(w)
	out.EnableFullDuplex() // else the rest of the body would be waited for
	out.Flush()
	answers, written := make(chan populatedLine, maxPopulating), make(chan struct{})
	go func() {
		defer close(written)
		enc := json.NewEncoder(w)
		for a := range answers {
			if enc.Encode(a) != nil {
				continue
			}
			runtime.Gosched() // who is about to answer does it first, and a write has more of them
			if len(answers) == 0 {
				out.Flush()
			}
		}
	}()
	service := s.local.As(callerOf(r))
	var working sync.WaitGroup
	places := make(chan struct{}, maxPopulating)
	body := &io.LimitedReader{R: r.Body}
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	var err error
	for {
		var q populateLine
		body.N = maxRequest
		if err = dec.Decode(&q); err != nil {
			break
		}
		places <- struct{}{}
		working.Go(func() {
			defer func() { <-places }()
			a := s.populateOne(ctx, service, q)
			if ctx.Err() == nil { // else the connection ends, which tells more
				answers <- a
			}
		})
	}
	if err != io.EOF { // also where the client has left
		cancel()
	}
	working.Wait()
	if err != io.EOF {
		answers <- populatedLine{Error: fmt.Sprintf("the request is not understood: %v", err)}
	}
	close(answers)
	<-written
}

// populateOne does a line. One that panics fails, and neither the server nor the other lines.
func (s *Server) populateOne(ctx context.Context, service *Local, q populateLine) populatedLine {
	var outcome Outcome
	var refused error
	panicked := func() (err error) {
		defer panics.Catch(&err, s.log, "populate failed", "bucket", q.Bucket)
		outcome, refused = service.Populate(ctx, q.PopulateRequest)
		return nil
	}()
	a := populatedLine{N: q.N, Outcome: &outcome}
	switch {
	case panicked != nil:
		outcome = Outcome{Code: server.Code(panicked), Detail: panicked.Error()}
	case refused != nil:
		a.Error = refused.Error()
	}
	return a
}
