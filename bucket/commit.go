package bucket

import (
	"fmt"

	"imgkeep/bucket/index"
)

// maxGroup is how many commits share one flush of journal and index, at most.
const maxGroup = 512

// pending is a change that waits to be made durable.
type pending struct {
	change index.Change
	event  *event // its line of the journal; nil: none
	done   chan error
}

// commit makes a change durable: its line in the journal first, then its entry
// in the index. Calls that come together share their flushes, so that what one
// client pays for a flush many can share; none waits for others to come.
func (s *Store) commit(c index.Change, e *event) error {
	p := pending{change: c, event: e, done: make(chan error, 1)}
	s.commits <- p
	return <-p.done
}

// committer is the one goroutine that writes journals and index. It ends when
// commits is closed.
func (s *Store) committer() {
	defer close(s.committed)
	for first := range s.commits {
		group := []pending{first}
	gather:
		for len(group) < maxGroup {
			select {
			case p, ok := <-s.commits:
				if !ok {
					break gather
				}
				group = append(group, p)
			default:
				break gather
			}
		}
		err := s.commitGroup(group)
		if err != nil {
			s.log.Error("commit failed", "changes", len(group), "error", err)
		}
		for _, p := range group {
			p.done <- err
		}
	}
}

func (s *Store) commitGroup(group []pending) error {
	events := map[string][]*event{}
	changes := make([]index.Change, len(group))
	for i, p := range group {
		changes[i] = p.change
		if p.event != nil {
			events[p.change.Bucket] = append(events[p.change.Bucket], p.event)
		}
	}
	for name, e := range events {
		if name == "" {
			if err := s.journal.append(e); err != nil {
				return fmt.Errorf("write the journal of the store: %w", full(err))
			}
			continue
		}
		if err := s.buckets[name].journal.append(e); err != nil {
			return fmt.Errorf("write the journal of bucket %s: %w", name, full(err))
		}
	}
	if err := s.disk.Commit(s.index, changes); err != nil {
		return fmt.Errorf("write the index: %w", full(err))
	}
	return nil
}

// full turns the system's word for a full disk into ErrFull, which says what to
// tell a viewer.
func full(err error) error {
	if noRoom(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
