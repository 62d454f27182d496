package journal

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/ledgertest"
	"imgkeep/bucket/record"
)

func TestLedger(t *testing.T) {
	ledgertest.Run(t, func(t testing.TB) ledgertest.Place {
		root := t.TempDir()
		for _, name := range append([]string{""}, ledgertest.Buckets...) {
			if err := os.MkdirAll(filepath.Join(root, name, record.JournalDir), local.PrivateDir); err != nil {
				t.Fatal(err)
			}
		}
		var fails atomic.Bool
		disk := localtest.New(func(s localtest.Step, do func() error) error {
			if fails.Load() && (s.Op == "Write" || s.Op == "Sync") {
				return syscall.EIO
			}
			return do()
		})
		return ledgertest.Place{
			Open: func(testing.TB) ledger.Ledger {
				return Open(disk, root, ledgertest.Buckets, slog.New(slog.DiscardHandler))
			},
			Fail: fails.Store,
		}
	})
}
