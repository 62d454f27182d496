package bucket

import (
	"io"
	"sync/atomic"
	"syscall"
	"testing"

	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/ledger/ledgertest"
	"imgkeep/bucket/record"
)

// The only node of a store passes the suite that several nodes pass.
func TestRecords(t *testing.T) {
	ledgertest.RunRecords(t, func(t testing.TB) ledgertest.RecordsPlace {
		root := t.TempDir()
		var fails atomic.Bool
		disk := localtest.Sparse{Disk: localtest.New(func(s localtest.Step, do func() error) error {
			if fails.Load() && (s.Op == "Write" || s.Op == "Sync") {
				return syscall.EIO
			}
			return do()
		})}
		return ledgertest.RecordsPlace{
			Nodes: 1, Fail: fails.Store,
			Open: func(t testing.TB, _ int) ledgertest.Node {
				s, err := Open(Options{Root: root, Origin: newOrigin(), Buckets: []Bucket{{Name: "f"}, {Name: "i"}}, disk: disk, sparse: true})
				if err != nil {
					t.Fatal(err)
				}
				return ledgertest.Node{
					Records: s.records,
					Bytes:   func(i record.Image) (io.ReadCloser, error) { return s.Open(t.Context(), i) },
					Forget: func(i record.Image) error {
						_, err := s.Forget(t.Context(), i.URL, RemoveOptions{})
						return err
					},
					Close: func() {
						if err := s.Close(t.Context()); err != nil {
							t.Error(err)
						}
					},
				}
			},
		}
	})
}
