package bucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
)

// maxGroup is how many commits share one flush of journal and index, at most.
const maxGroup = 512

// pending is a change that waits to be made durable.
type pending struct {
	change index.Change
	event  *ledger.Event // its line of the journal; nil: none
	done   chan error
}

// commit makes a change durable: its line in the journal first, then its entry
// in the index. Calls that come together share their flushes, so that what one
// client pays for a flush many can share; none waits for others to come.
func (s *Store) commit(c index.Change, e *ledger.Event) error {
	p := pending{change: c, event: e, done: make(chan error, 1)}
	s.commits <- p
	return <-p.done
}

// committer is the one goroutine that writes journals and index. It ends when
// commits is closed. While the index has failed and answers nothing, which keeps
// commits from coming, it tries to repair it by itself.
func (s *Store) committer() {
	defer close(s.committed)
	pause := renewPause
	for {
		var retry <-chan time.Time
		damaged := s.index.Damaged()
		if s.index.Failed() {
			damaged, retry = nil, time.After(pause)
			pause = min(2*pause, maxRenewPause)
		} else {
			pause = renewPause
		}
		select {
		case first, ok := <-s.commits:
			if !ok {
				return
			}
			s.commitTogether(first)
		case <-damaged:
			s.tryRepairIndex()
		case <-retry:
			s.tryRepairIndex()
		}
	}
}

// commitTogether commits a change with those that wait already.
func (s *Store) commitTogether(first pending) {
	group := s.gather([]pending{first})
	runtime.Gosched() // those who are about to commit, and want only a processor, come along
	group = s.gather(group)
	err := s.commitGroup(group)
	if err != nil {
		level := slog.LevelError
		if onlyFull(err) { // each request would: the caller is told
			level = slog.LevelDebug
		}
		s.log.Log(context.Background(), level, "commit failed", "changes", len(group), "error", err)
	}
	if s.index.Failed() {
		s.tryRepairIndex()
	}
	for _, p := range group {
		if err == nil {
			s.tell(p)
		}
		p.done <- err
	}
}

// gather adds the changes that wait already to a group.
func (s *Store) gather(group []pending) []pending {
	for len(group) < maxGroup {
		select {
		case p, ok := <-s.commits:
			if !ok {
				return group
			}
			group = append(group, p)
		default:
			return group
		}
	}
	return group
}

func (s *Store) tryRepairIndex() {
	if err := s.repairIndex(); err != nil {
		s.log.Error("the index cannot be rewritten, and answers nothing until it is", "error", err)
	}
}

// tell tells those who want to know of what is durable now.
func (s *Store) tell(p pending) {
	c := p.change
	switch {
	case s.kept != nil && p.event != nil && p.event.Op == ledger.OpKeep && c.Keep != nil:
		s.kept(index.RecordOf(c.Bucket, c.URL, *c.Keep))
	case s.failed != nil && c.Fail != nil && c.Fail.Attempts > 0:
		s.failed(c.Bucket, c.URL, *failureFrom(*c.Fail))
	}
}

// commitGroup commits changes. Where it fails after lines were written, the index
// takes these in before anything else.
func (s *Store) commitGroup(group []pending) error {
	if s.behind {
		if err := s.repairIndex(); err != nil {
			return fmt.Errorf("mend the index: %w", local.AsFull(err))
		}
	}
	events := map[string][]*ledger.Event{}
	changes := make([]index.Change, len(group))
	for i, p := range group {
		changes[i] = p.change
		if p.event != nil {
			events[p.change.Bucket] = append(events[p.change.Bucket], p.event)
		}
	}
	positions, err := s.addEvents(events)
	if err != nil {
		s.behind = true
		return err
	}
	changes = append(changes, positions...)
	if err := s.apply(s.index, changes); err != nil {
		s.behind = true
		return fmt.Errorf("write the index: %w", local.AsFull(err))
	}
	return nil
}

// addEvents adds events to their journals, all at the same time, and returns how far each
// journal goes by then. After an error some journals may have theirs.
func (s *Store) addEvents(events map[string][]*ledger.Event) ([]index.Change, error) {
	positions := make([]index.Change, 0, len(events))
	var errs []error
	var mu sync.Mutex
	var adding sync.WaitGroup
	for name, e := range events {
		adding.Go(func() {
			at, err := s.ledger.Add(name, e)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("write the journal of %s: %w", journalName(name), local.AsFull(err)))
				return
			}
			positions = append(positions, index.Change{Bucket: name, Position: &at})
		})
	}
	adding.Wait()
	return positions, errors.Join(errs...)
}

// onlyFull tells whether a full disk is all that is wrong, with every journal where it is
// several.
func onlyFull(err error) bool {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(all.Unwrap(), func(err error) bool { return !errors.Is(err, ErrFull) })
	}
	return errors.Is(err, ErrFull)
}

// journalName is how messages call a journal.
func journalName(bucket string) string {
	if bucket == "" {
		return "blocks"
	}
	return "bucket " + bucket
}
