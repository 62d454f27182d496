// Package sharedtest has the suite that every shared.State passes, and a state in memory.
package sharedtest

import (
	"maps"
	"slices"
	"sync"

	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/record"
)

var _ shared.State = (*Memory)(nil)

// Memory is a state in memory. Its zero value is empty. What it has survives the ledgers that
// use it, as a disk does the end of a process.
type Memory struct {
	// Commit, if it is set, is called before an update takes effect, and may prevent that, as
	// the end of the process would. It is set before the state is used.
	Commit func() error

	mu  sync.Mutex
	now contents
}

type key struct{ bucket, name string }

type entry struct {
	image record.Image
	at    uint64
}

type contents struct {
	mark    record.Mark
	records map[key]entry
	hits    map[record.Subject]uint64
	blocks  map[key]record.Block // by kind and subject
	pending map[uint64]record.Pending
}

func (c contents) clone() *contents {
	n := contents{c.mark, maps.Clone(c.records), maps.Clone(c.hits), maps.Clone(c.blocks), maps.Clone(c.pending)}
	if n.records == nil {
		n.records, n.hits, n.blocks, n.pending = map[key]entry{}, map[record.Subject]uint64{}, map[key]record.Block{}, map[uint64]record.Pending{}
	}
	return &n
}

func (m *Memory) View(read func(shared.Tx) error) error {
	m.mu.Lock()
	snapshot := m.now.clone()
	m.mu.Unlock()
	return read(tx{snapshot})
}

func (m *Memory) Update(write func(shared.Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.now.clone()
	if err := write(tx{next}); err != nil {
		return err
	}
	if m.Commit != nil {
		if err := m.Commit(); err != nil {
			return err
		}
	}
	m.now = *next
	return nil
}

type tx struct{ *contents }

func (t tx) Applied() (record.Mark, error)     { return t.mark, nil }
func (t tx) SetApplied(mark record.Mark) error { t.mark = mark; return nil }

func (t tx) Record(bucket, url string) (record.Image, uint64, bool, error) {
	e, ok := t.records[key{bucket, url}]
	return e.image, e.at, ok, nil
}

func (t tx) Enter(image record.Image, at uint64) error {
	image.Generation = 0 // which is not remembered: it follows from the hits
	t.records[key{image.Bucket, image.URL}] = entry{image, at}
	return nil
}

func (t tx) Hit(s record.Subject) (uint64, error)         { return t.hits[s], nil }
func (t tx) SetHit(s record.Subject, number uint64) error { t.hits[s] = number; return nil }

func (t tx) Blocked(kind, subject string) (bool, error) {
	_, is := t.blocks[key{kind, subject}]
	return is, nil
}

func (t tx) Block(b record.Block) error {
	t.blocks[key{b.Kind, b.Subject}] = b
	return nil
}

func (t tx) Unblock(kind, subject string) error {
	delete(t.blocks, key{kind, subject})
	return nil
}

func (t tx) Pending() (all []record.Pending, err error) {
	for _, n := range slices.Sorted(maps.Keys(t.pending)) {
		all = append(all, t.pending[n])
	}
	return all, nil
}

func (t tx) SetPending(p record.Pending) error { t.pending[p.Number] = p; return nil }

func (t tx) ClearPending(number uint64) error { delete(t.pending, number); return nil }
