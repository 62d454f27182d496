package bucket

import (
	"fmt"
	"path/filepath"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/record"
)

// ErrInUse: another process has the store open.
var ErrInUse = index.ErrLocked

// Figures say how large a store's index is.
type Figures = index.Figures

// Figures returns the figures of the store's index.
func (s *Store) Figures() (Figures, error) {
	return s.index.Figures()
}

// Compact makes the index as small as it can be. The store may be in use: what
// is kept can be read meanwhile, and what is kept anew waits, about a second for
// a million images.
func (s *Store) Compact() (before, after Figures, err error) {
	done, err := s.begin()
	if err != nil {
		return before, after, err
	}
	defer done()
	before, after, err = s.index.Compact(filepath.Join(s.root, record.TmpDir, record.IndexFile))
	if err != nil {
		return before, after, fmt.Errorf("compact the index: %w", local.AsFull(err))
	}
	return before, after, nil
}
