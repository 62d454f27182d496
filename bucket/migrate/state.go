package migrate

import (
	"errors"
	"sync"

	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/record"
)

// state is a shared.State in memory, of the log alone: records are not entered, since nobody
// asks for them. The log is read again each time, which is short beside what is moved. An update
// that fails halfway makes it useless.
type state struct {
	mu      sync.RWMutex
	broken  error
	dirty   bool // the update under way has changed something
	mark    record.Mark
	hits    map[record.Subject]uint64
	blocks  map[blockKey]record.Block
	pending map[uint64]record.Pending
}

type blockKey struct{ kind, subject string }

var _ shared.Tx = (*state)(nil)

func newState() *state {
	return &state{hits: map[record.Subject]uint64{}, blocks: map[blockKey]record.Block{}, pending: map[uint64]record.Pending{}}
}

func (s *state) View(read func(shared.Tx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.broken != nil {
		return s.broken
	}
	return read(s)
}

func (s *state) Update(write func(shared.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	s.dirty = false
	err := write(s)
	if err != nil && s.dirty {
		s.broken = err
	}
	return err
}

func (s *state) Applied() (record.Mark, error)  { return s.mark, nil }
func (s *state) SetApplied(m record.Mark) error { s.dirty, s.mark = true, m; return nil }

func (s *state) Record(string, string) (record.Image, uint64, bool, error) {
	return record.Image{}, 0, false, errors.New("records are not entered")
}
func (s *state) Enter(record.Image, uint64) error { return nil }

func (s *state) Hit(of record.Subject) (uint64, error) { return s.hits[of], nil }

func (s *state) SetHit(of record.Subject, n uint64) error {
	s.dirty, s.hits[of] = true, n
	return nil
}

func (s *state) Blocked(kind, subject string) (bool, error) {
	_, is := s.blocks[blockKey{kind, subject}]
	return is, nil
}

func (s *state) Block(b record.Block) error {
	s.dirty, s.blocks[blockKey{b.Kind, b.Subject}] = true, b
	return nil
}

func (s *state) Unblock(kind, subject string) error {
	s.dirty = true
	delete(s.blocks, blockKey{kind, subject})
	return nil
}

func (s *state) Pending() (all []record.Pending, err error) {
	for _, p := range s.pending {
		all = append(all, p)
	}
	return all, nil
}

func (s *state) SetPending(p record.Pending) error {
	s.dirty, s.pending[p.Number] = true, p
	return nil
}

func (s *state) ClearPending(n uint64) error {
	s.dirty = true
	delete(s.pending, n)
	return nil
}
