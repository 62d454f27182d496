package sharedtest

import (
	"testing"

	"imgkeep/bucket/ledger/shared"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) func() shared.State {
		m := &Memory{}
		return func() shared.State { return m }
	})
}
