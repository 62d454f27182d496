package index_test

import (
	"path/filepath"
	"testing"

	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/ledger/shared/sharedtest"
)

// state is an index as a shared.State.
type state struct{ *index.DB }

func (s state) View(read func(shared.Tx) error) error {
	return s.ViewShared(func(tx *index.SharedTx) error { return read(tx) })
}

func (s state) Update(write func(shared.Tx) error) error {
	return s.UpdateShared(func(tx *index.SharedTx) error { return write(tx) })
}

// An index remembers what a node shares, and passes its own check when it is opened again.
func TestShared(t *testing.T) {
	sharedtest.Run(t, func(t *testing.T) func() shared.State {
		path := filepath.Join(t.TempDir(), "index.db")
		var open *index.DB
		t.Cleanup(func() { open.Close() })
		return func() shared.State {
			if open != nil {
				if err := open.Close(); err != nil {
					t.Error(err)
				}
			}
			var err error
			if open, err = index.Open(path, []string{"f", "i"}, index.Options{}); err != nil {
				t.Fatal(err)
			}
			return state{open}
		}
	})
}
