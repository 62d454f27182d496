// Package ledger is what the store asks of the place where it is written down, durably,
// what is kept under which URL, and what was removed or blocked.
//
// It promises that what was added is there after a crash, in the order in which it was
// added, and that what was not added, or only in part, is never read as if it was. It
// does not answer what is kept under a URL: that is package index's, which can be made
// of a ledger at any time. It does not decide what may be added either.
//
// [imgkeep/bucket/ledger/journal] keeps it in files, one a month. Every implementation
// passes [imgkeep/bucket/ledger/ledgertest].
package ledger

import (
	"context"
	"errors"
	"io"
	"iter"

	"imgkeep/bucket/record"
)

var (
	// ErrNotKept: nothing is kept under a URL.
	ErrNotKept = errors.New("not kept")
	// ErrRemoved: the operator has removed the image, just now or so that it must not come
	// back.
	ErrRemoved = errors.New("removed by the operator")
	// ErrAway: what several nodes share does not answer. It may be tried again.
	ErrAway = errors.New("the object store that the nodes share does not answer")
)

// Records are what is kept under which URL, with the bytes: a store keeps and finds by them,
// whether it is one of several nodes or the only one. They may be used concurrently, but for
// one limit of Keep.
type Records interface {
	// Keep keeps an image under its URL. event describes it, and from has its bytes, see
	// blob.Store.Put. It returns the image that is kept under the URL afterwards: another, if
	// somebody else was faster. When it returns without an error, that image and its bytes are
	// durable, and all nodes find them; after an error the image may be kept or not. A node
	// calls it once at a time for each URL; other nodes may do so at the same time.
	Keep(ctx context.Context, image record.Image, from io.ReaderAt, event Event) (record.Image, error)
	// Find returns the image that is kept under a URL: ErrNotKept.
	Find(ctx context.Context, bucket, url string) (record.Image, error)
}

// Ledger has a sequence of events for each bucket, and one of blocks, which are of all
// buckets, under the name "".
//
// Add and Settle are called by one goroutine at a time for each bucket, Close when neither
// runs, all else at any time.
type Ledger interface {
	// Add adds events to the end, all of them or, after an error, none. They are durable
	// when it returns, and so is their order. It returns the position behind them.
	Add(bucket string, events []*Event) (record.Position, error)
	// Settle takes away what an Add that failed may have left, so that Since does not
	// come upon it. It is called before Since reads to the end after an error of Add.
	Settle(bucket string) error
	// Since goes through the events behind a position in their order; the zero value is
	// before all. What cannot be read is an Entry that says so, and what follows it comes
	// as well; an error of the place itself ends it.
	Since(bucket string, from record.Position) iter.Seq2[Entry, error]
	// PositionOf returns the position behind an entry that Since has yielded.
	PositionOf(e Entry) (record.Position, error)
	// Check makes sure that a position is one of this ledger: ErrMisfit where it is
	// another's, or where what was before it is not there any more.
	Check(bucket string, at record.Position) error

	// Removals is a number that changes with everything that takes something out of
	// reach of viewers: before that is added, and again when the index has it. It begins
	// again with each process.
	Removals() uint64
	// CountRemoval changes that number.
	CountRemoval()

	// Close ends the use of the ledger.
	Close() error
}
