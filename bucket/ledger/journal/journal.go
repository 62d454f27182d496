// Package journal keeps a ledger in files: a file a month for each bucket, and for
// blocks, with one event a line, as JSON with a checksum.
//
// It promises that a line is flushed before Add returns, that files are only ever
// appended to, but for a last line that a crash has torn, and that no line stands before
// what it undoes, whatever the clock does. It notices a missing file that a later one names.
// One process at a time may append; any number may read at the same time.
package journal

import (
	"errors"
	"iter"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

var _ ledger.Ledger = (*Journals)(nil)

// Journals are a [ledger.Ledger].
type Journals struct {
	root     string
	of       map[string]*journal // by bucket; "" is that of blocks
	removals atomic.Uint64
}

// Open opens the journals of these buckets, whose folders must exist, and
// repairs their ends. If one cannot be opened, it logs that, and the next Add tries again.
func Open(d local.Disk, root string, buckets []string, log *slog.Logger) *Journals {
	l := &Journals{root: root, of: map[string]*journal{}}
	for _, name := range append([]string{""}, buckets...) {
		j := &journal{disk: d, log: log, dir: filepath.Join(root, name, record.JournalDir)}
		j.recover()
		l.of[name] = j
	}
	return l
}

// Add does what ledger.Ledger says.
func (l *Journals) Add(bucket string, events []*ledger.Event) (record.Position, error) {
	j := l.of[bucket]
	if err := j.append(events); err != nil {
		return record.Position{}, err
	}
	return j.position(), nil
}

// Settle does what ledger.Ledger says.
func (l *Journals) Settle(bucket string) error { return l.of[bucket].tidy() }

// Since does what ledger.Ledger says.
func (l *Journals) Since(bucket string, from record.Position) iter.Seq2[ledger.Entry, error] {
	return ReadFrom(l.root, bucket, from)
}

// Check does what ledger.Ledger says.
func (l *Journals) Check(bucket string, at record.Position) error { return Check(l.root, bucket, at) }

// PositionOf does what ledger.Ledger says.
func (l *Journals) PositionOf(e ledger.Entry) (record.Position, error) {
	return PositionAt(l.root, e.File, e.End)
}

// Removals does what ledger.Ledger says.
func (l *Journals) Removals() uint64 { return l.removals.Load() }

// CountRemoval does what ledger.Ledger says.
func (l *Journals) CountRemoval() { l.removals.Add(1) }

// Close does what ledger.Ledger says.
func (l *Journals) Close() error {
	var errs []error
	for _, j := range l.of {
		errs = append(errs, j.close())
	}
	return errors.Join(errs...)
}
