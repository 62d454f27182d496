package shared_test

import (
	"io"
	"sync"
	"testing"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/object/objecttest"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/ledgertest"
	"imgkeep/bucket/ledger/shared/sharedtest"
	"imgkeep/bucket/record"
)

// Three nodes pass the suite that the only one passes.
func TestRecords(t *testing.T) {
	ledgertest.RunRecords(t, func(tb testing.TB) ledgertest.RecordsPlace {
		w := newWorld(tb.(*testing.T))
		states := []*sharedtest.Memory{{}, {}, {}}
		var mu sync.Mutex
		open := map[int]*node{}
		return ledgertest.RecordsPlace{
			Nodes: len(states),
			Fail: func(fails bool) {
				w.setHook(nil)
				if fails {
					w.setHook(func(_ string, r objecttest.Request, do func() error) error {
						if r.Op == "Create" || r.Op == "Replace" {
							return object.ErrUnclear
						}
						return do()
					})
				}
			},
			Open: func(t testing.TB, i int) ledgertest.Node {
				n := w.node([]string{"a", "b", "c"}[i], states[i])
				mu.Lock()
				defer mu.Unlock()
				open[i] = n
				return ledgertest.Node{
					Records: n,
					Bytes:   func(image record.Image) (io.ReadCloser, error) { return n.files.Open(t.Context(), image) },
					Forget: func(image record.Image) error {
						_, err := n.Remove(t.Context(), "i", *ledger.RemoveEvent(ledger.OpForget, image, noon, "", ""))
						for _, other := range open { // which hear of it
							if err == nil {
								err = other.CatchUp(t.Context())
							}
						}
						return err
					},
					Close: func() {
						mu.Lock()
						defer mu.Unlock()
						delete(open, i)
					},
				}
			},
		}
	})
}
