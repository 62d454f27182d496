package object

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"imgkeep/bucket/record"
)

// How many race for how many objects in each round of a probe.
const (
	probeWriters = 8
	probeKeys    = 5
)

// Check is one thing that a probe has tried.
type Check struct {
	Name    string        `json:"name"`  // what must hold
	Tried   int           `json:"tried"` // how often
	Took    time.Duration `json:"took"`
	Problem string        `json:"problem,omitempty"` // why it does not hold; empty: it does
}

// Report is what a probe has found, in the order in which it tried.
type Report []Check

// Err names what does not hold; nil if all does.
func (r Report) Err() error {
	var problems []string
	for _, c := range r {
		if c.Problem != "" {
			problems = append(problems, c.Name+": "+c.Problem)
		}
	}
	if problems == nil {
		return nil
	}
	return fmt.Errorf("the object store cannot be shared by several nodes: %s", strings.Join(problems, "; "))
}

// Probe tries whether a store does what several nodes rely on: that of those who create or
// replace one object at once exactly one succeeds, that conditions are not ignored, that what
// was written or removed shows at once, and that checksums are compared and kept. One round
// takes a few hundred requests; it shows what is broken always, and more rounds what is broken
// sometimes. stores are ways to the same store, such as several gateways: what goes in by one
// must be seen by the next. What it makes it removes again; ctx bounds it.
func Probe(ctx context.Context, rounds int, stores ...Store) Report {
	p := &prober{ctx: ctx, stores: stores, folder: "probe/" + rand.Text() + "/"}
	defer p.clean()
	for _, check := range []struct {
		name string
		try  func(p *prober, key string) error
	}{
		{"what exists is not created again", (*prober).createTwice},
		{"what has changed is not replaced", (*prober).replaceStale},
		{"of those who create at once one wins", (*prober).createRace},
		{"of those who replace at once one wins", (*prober).replaceRace},
		{"what was written is read at once", (*prober).readAfterWrite},
		{"what was removed is gone at once", (*prober).readAfterRemove},
		{"bytes that do not fit their checksum are refused", (*prober).refuse},
		{"checksums are kept", (*prober).keepSum},
	} {
		p.run(check.name, rounds, check.try)
	}
	return p.report
}

type prober struct {
	ctx    context.Context
	stores []Store
	folder string
	report Report

	mu   sync.Mutex
	n    int      // of store calls, which take turns
	keys []string // that may exist
}

// next is the store whose turn it is.
func (p *prober) next() Store {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	return p.stores[p.n%len(p.stores)]
}

func (p *prober) run(name string, rounds int, try func(*prober, string) error) {
	c, start := Check{Name: name}, time.Now()
	for round := 0; round < rounds && c.Problem == ""; round++ {
		for k := 0; k < probeKeys && c.Problem == ""; k++ {
			key := fmt.Sprintf("%s%d", p.folder, len(p.keys))
			p.keys = append(p.keys, key)
			c.Tried++
			if err := try(p, key); err != nil {
				c.Problem = err.Error()
			}
		}
	}
	c.Took = time.Since(start)
	p.report = append(p.report, c)
}

// clean removes what the probe has made, as far as it can.
func (p *prober) clean() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), 30*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for w := range probeWriters {
		all.Go(func() {
			for i := w; i < len(p.keys); i += probeWriters {
				_ = p.stores[0].Remove(ctx, p.keys[i]) // at worst a few bytes stay
			}
		})
	}
	all.Wait()
}

// text is a content that no other is like.
func text(what string) Content { return Text([]byte(what+" "+rand.Text()), "text/plain") }

func bytesOf(c Content) string {
	data := make([]byte, c.Bytes)
	c.From.ReadAt(data, 0) // of memory
	return string(data)
}

// sees checks that an object is this one, and returns its tag.
func (p *prober) sees(key string, want Content) (string, error) {
	got, tag, err := p.next().Read(p.ctx, key, 1<<10)
	switch {
	case errors.Is(err, ErrAbsent):
		return "", errors.New("it is not there")
	case err != nil:
		return "", err
	case string(got) != bytesOf(want):
		return "", errors.New("other bytes are there")
	}
	return tag, nil
}

func (p *prober) create(key string, c Content) error {
	if err := p.next().Create(p.ctx, key, c); err != nil {
		return fmt.Errorf("it cannot be created: %w", err)
	}
	return nil
}

func (p *prober) createTwice(key string) error {
	first := text("first")
	if err := p.create(key, first); err != nil {
		return err
	}
	switch err := p.next().Create(p.ctx, key, text("second")); {
	case err == nil:
		return errors.New("it was created twice: the store ignores If-None-Match")
	case !errors.Is(err, ErrExists):
		return err
	}
	if _, err := p.sees(key, first); err != nil {
		return fmt.Errorf("after a second attempt to create it: %w", err)
	}
	return nil
}

func (p *prober) replaceStale(key string) error {
	first, second := text("first"), text("second")
	if err := p.create(key, first); err != nil {
		return err
	}
	stale, err := p.sees(key, first)
	if err != nil {
		return err
	}
	if err := p.next().Replace(p.ctx, key, second, stale); err != nil {
		return fmt.Errorf("it cannot be replaced by its tag: %w", err)
	}
	switch err := p.next().Replace(p.ctx, key, text("third"), stale); {
	case err == nil:
		return errors.New("it was replaced by a stale tag: the store ignores If-Match")
	case !errors.Is(err, ErrChanged):
		return err
	}
	if _, err := p.sees(key, second); err != nil {
		return fmt.Errorf("after an attempt to replace it by a stale tag: %w", err)
	}
	switch err := p.next().Replace(p.ctx, key+"-none", text("third"), stale); {
	case err == nil:
		return errors.Join(errors.New("an object that does not exist was replaced: the store ignores If-Match"), p.next().Remove(p.ctx, key+"-none"))
	case !errors.Is(err, ErrChanged):
		return err
	}
	return nil
}

// race has several write at once, of whom one must have done so: the one who was told, or if
// nobody was, one who got no answer.
func (p *prober) race(key string, write func(s Store, c Content) error) error {
	var contents [probeWriters]Content
	var answers [probeWriters]error
	var all sync.WaitGroup
	start := make(chan struct{})
	for w := range probeWriters {
		contents[w] = text(fmt.Sprint("writer ", w))
		s := p.next()
		all.Go(func() {
			<-start
			answers[w] = write(s, contents[w])
		})
	}
	close(start)
	all.Wait()
	var winners, unclear []int
	for w, err := range answers {
		switch {
		case err == nil:
			winners = append(winners, w)
		case errors.Is(err, ErrUnclear):
			unclear = append(unclear, w)
		case !errors.Is(err, ErrExists) && !errors.Is(err, ErrChanged):
			return err
		}
	}
	if len(winners) > 1 {
		return fmt.Errorf("%d of %d were told that they had won", len(winners), probeWriters)
	}
	if len(winners) == 1 {
		unclear = nil // they may come later, and lose
	}
	var err error
	for _, w := range append(winners, unclear...) {
		if _, err = p.sees(key, contents[w]); err == nil {
			return nil
		}
	}
	if err == nil {
		err = fmt.Errorf("none of %d was told that they had won", probeWriters)
	}
	return fmt.Errorf("after a race: %w", err)
}

func (p *prober) createRace(key string) error {
	return p.race(key, func(s Store, c Content) error { return s.Create(p.ctx, key, c) })
}

func (p *prober) replaceRace(key string) error {
	first := text("first")
	if err := p.create(key, first); err != nil {
		return err
	}
	tag, err := p.sees(key, first)
	if err != nil {
		return err
	}
	return p.race(key, func(s Store, c Content) error { return s.Replace(p.ctx, key, c, tag) })
}

func (p *prober) readAfterWrite(key string) error {
	if _, _, err := p.next().Read(p.ctx, key, 1); !errors.Is(err, ErrAbsent) {
		return fmt.Errorf("before it was written: %w", orExists(err))
	}
	c := text("first")
	if err := p.create(key, c); err != nil {
		return err
	}
	for n := range 3 {
		tag, err := p.sees(key, c)
		if err != nil {
			return fmt.Errorf("after it was written %d times: %w", n+1, err)
		}
		c = text("next")
		if n == 1 { // over what is there
			err = p.next().Put(p.ctx, key, c)
		} else {
			err = p.next().Replace(p.ctx, key, c, tag)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func orExists(err error) error {
	if err == nil {
		return errors.New("it is there")
	}
	return err
}

func (p *prober) readAfterRemove(key string) error {
	for range 2 {
		if err := p.create(key, text("bytes")); err != nil {
			return err
		}
		if err := p.next().Remove(p.ctx, key); err != nil {
			return err
		}
		if _, _, err := p.next().Read(p.ctx, key, 1<<10); !errors.Is(err, ErrAbsent) {
			return orExists(err)
		}
		if _, err := p.next().Stat(p.ctx, key); !errors.Is(err, ErrAbsent) {
			return orExists(err)
		}
	}
	return nil
}

func (p *prober) refuse(key string) error {
	c := text("bytes")
	c.Digest = record.Digest{1}
	if err := p.next().Create(p.ctx, key, c); err == nil {
		return errors.New("they were accepted: the store does not compare x-amz-checksum-sha256")
	}
	if _, _, err := p.next().Read(p.ctx, key, 1<<10); !errors.Is(err, ErrAbsent) {
		return fmt.Errorf("they were refused, and %w", orExists(err))
	}
	return nil
}

func (p *prober) keepSum(key string) error {
	c := text("bytes")
	if err := p.create(key, c); err != nil {
		return err
	}
	info, err := p.next().Stat(p.ctx, key)
	switch {
	case err != nil:
		return err
	case info.Digest == (record.Digest{}):
		return errors.New("the store does not tell the SHA-256 of an object")
	case info.Digest != c.Digest || info.Bytes != c.Bytes:
		return errors.New("the store reports a wrong SHA-256 or length")
	}
	return nil
}
