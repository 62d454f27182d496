package lookalike

import (
	"fmt"
	"sync"

	"imgkeep/bucket/likeness"
)

// maxBlocked is how many hashes can be blocked. Each new image is compared with all of
// them: a million take 20 ms.
const maxBlocked = 1_000_000

// ErrTooMany: a blocklist is full.
var ErrTooMany = fmt.Errorf("%d hashes are blocked already: no more can be", maxBlocked)

// Resemblance says what a picture looks like.
type Resemblance struct {
	Hash     likeness.Hash `json:"-"`
	Distance int           `json:"distance"`
	Turned   bool          `json:"turned,omitempty"`
}

// Blocklist has the hashes that are blocked, each with the distance within which others
// are taken for it. It may be used concurrently. Its zero value is empty.
type Blocklist struct {
	mu      sync.RWMutex
	at      map[likeness.Hash]int // in the arrays below
	heads   []head
	hashes  []likeness.Hash
	within  []int
	longest int // of within, as far as it is known: never less than it is
}

// Set blocks a hash within a distance, or within another than before. ErrTooMany where
// there are too many.
func (b *Blocklist) Set(h likeness.Hash, within int) error {
	if within < 0 || within > likeness.MaxWithin {
		return fmt.Errorf("a distance of %d is not from 0 to %d", within, likeness.MaxWithin)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.longest = max(b.longest, within)
	if i, ok := b.at[h]; ok {
		b.within[i] = within
		return nil
	}
	if len(b.hashes) >= maxBlocked {
		return ErrTooMany
	}
	if b.at == nil {
		b.at = map[likeness.Hash]int{}
	}
	b.at[h] = len(b.hashes)
	b.heads, b.hashes, b.within = append(b.heads, headOf(h)), append(b.hashes, h), append(b.within, within)
	return nil
}

// Remove lifts the block of a hash.
func (b *Blocklist) Remove(h likeness.Hash) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, ok := b.at[h]
	if !ok {
		return
	}
	last := len(b.hashes) - 1
	b.heads[i], b.hashes[i], b.within[i] = b.heads[last], b.hashes[last], b.within[last]
	b.at[b.hashes[i]] = i
	delete(b.at, h)
	b.heads, b.hashes, b.within = b.heads[:last], b.hashes[:last], b.within[:last]
}

// Get returns the distance within which a hash is blocked.
func (b *Blocklist) Get(h likeness.Hash) (within int, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	i, ok := b.at[h]
	if !ok {
		return 0, false
	}
	return b.within[i], true
}

// Len is how many hashes are blocked.
func (b *Blocklist) Len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.hashes)
}

// Room tells whether so many hashes more can be blocked: ErrTooMany.
func (b *Blocklist) Room(more int) error {
	if b.Len()+more > maxBlocked {
		return ErrTooMany
	}
	return nil
}

// Match returns the blocked hash that a picture is nearest to, turned or mirrored too, if
// it is within that one's distance.
func (b *Blocklist) Match(p likeness.Print) (r Resemblance, ok bool) {
	if !p.Matches() {
		return r, false
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	candidates(b.heads, p.Hashes[:], b.longest, func(i int) {
		for turn, h := range p.Hashes {
			if d := h.Distance(b.hashes[i]); d <= b.within[i] && (!ok || d < r.Distance) {
				r, ok = Resemblance{b.hashes[i], d, turn > 0}, true
			}
		}
	})
	return r, ok
}
