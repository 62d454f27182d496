// Package migrate moves a store between the local disk of a single machine and the object store
// that several nodes share.
//
// Backup makes a backup of what is shared, which grows by what is new, see there.
//
// Push copies up what a root has, while its server goes on, again and again until hardly
// anything is missing; Pull makes a root of what is shared. Both compare bytes with their digests
// on the way, continue after an interruption, and delete nothing at their source.
//
// They promise that what is in the journals of a root is in the object store when Push has
// returned without an error, what was removed or blocked in between included; and that Pull makes
// journals that begin with those that were pushed, line by line, and then say what has changed
// since. What stands in the object store under a URL already stays there. What can be made again
// does not move: the index, variants, hashes of likeness; nor do failures, the quarantine, the
// audit log, and for which members links were signed.
//
// One Push to a store at a time. It needs no open store, and must not run below a node of that
// store: the operator starts nodes afterwards.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/record"
)

// DefaultWorkers is how many images move at once.
const DefaultWorkers = 32

// Options say what Push and Pull do.
type Options struct {
	Root    string   // of the local store
	Buckets []string // that are configured
	Objects object.Store
	// Name tells one object store from another, so that Push does not take what it has moved to
	// one for moved to the other.
	Name    string
	Workers int // images at once; 0: DefaultWorkers
	// Verify has Push compare everything with the object store, also what earlier ones have
	// moved, and move what is missing there.
	Verify   bool
	Found    func(record.Finding)  // called for each finding; nil: not
	Progress func(record.Progress) // called now and then; nil: not
	Now      func() time.Time      // nil: time.Now
	Log      *slog.Logger          // nil: none
}

// Report says what Push or Pull has done.
type Report struct {
	URLs    int                 `json:"urls"`    // that were moved or compared
	Bytes   int64               `json:"bytes"`   // of originals that were moved or compared
	Blocks  int                 `json:"blocks"`  // and what was lifted, that was new to where it went
	Removed int                 `json:"removed"` // URLs and digests of which a removal was new there
	Behind  int                 `json:"behind"`  // lines that have come while the last round of Push was under way
	Found   map[record.Kind]int `json:"found"`
	Seconds float64             `json:"seconds"`
}

// mover is what Push and Pull have in common.
type mover struct {
	Options
	ledger *shared.Ledger
	blobs  *object.Blobs
	begun  time.Time

	mu     sync.Mutex // of report and done
	report Report
	done   int64
}

func newMover(o Options) (*mover, error) {
	if len(o.Buckets) == 0 {
		return nil, errors.New("there is no bucket")
	}
	if o.Workers <= 0 {
		o.Workers = DefaultWorkers
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &mover{Options: o, begun: time.Now(), blobs: object.NewBlobs(o.Objects, o.Root)}
	m.ledger = shared.New(shared.Options{
		Objects: o.Objects, Files: m.blobs, State: newState(), Buckets: o.Buckets, Now: o.Now, Log: o.Log,
	})
	m.report.Found = map[record.Kind]int{}
	return m, nil
}

func (m *mover) found(f record.Finding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Found[f.Kind]++
	if m.Found != nil {
		m.Found(f)
	}
}

// step counts something that is done.
func (m *mover) step(stage string, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done++
	if m.Progress != nil {
		m.Progress(record.Progress{Stage: stage, Done: m.done, Total: total})
	}
}

func (m *mover) ended() Report {
	m.report.Seconds = time.Since(m.begun).Seconds()
	return m.report
}

// group does work in some goroutines, until something fails.
type group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	places chan struct{}
	work   sync.WaitGroup
}

func newGroup(ctx context.Context, workers int) *group {
	ctx, cancel := context.WithCancelCause(ctx)
	return &group{ctx: ctx, cancel: cancel, places: make(chan struct{}, workers)}
}

// do has do done when there is a place.
func (g *group) do(do func(ctx context.Context) error) {
	select {
	case g.places <- struct{}{}:
	case <-g.ctx.Done():
		return
	}
	g.work.Go(func() {
		defer func() { <-g.places }()
		if err := do(g.ctx); err != nil {
			g.cancel(err)
		}
	})
}

// wait waits until all is done, and returns the first error. More may be done afterwards.
func (g *group) wait() error {
	g.work.Wait()
	return context.Cause(g.ctx)
}

// end breaks off what is under way, and waits for it.
func (g *group) end() {
	g.cancel(nil)
	g.work.Wait()
}

func in(bucket string, err error) error {
	if err != nil && bucket != "" {
		return fmt.Errorf("bucket %s: %w", bucket, err)
	}
	return err
}
