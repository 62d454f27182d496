// Package variant keeps variants of images beside them: sizes, other formats, and images
// without their metadata.
//
// It promises that a variant is made once for all concurrent callers, from bytes that were
// compared with their digest; that it is complete or missing; that none is left of a
// removed image; and that an image that crashes decoders, or holds them up, is kept from
// them for longer and longer. It does not decode: a [Maker] does. A variant can be made
// again, so a crash may lose it.
package variant

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/flight"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// Store is the part of the store of originals that variants need.
type Store interface {
	// Begin announces work, until done. Its context also ends when the store closes.
	Begin(ctx context.Context) (_ context.Context, done func(), err error)
	Path(file string) string // of a file below the root
	Now() time.Time
	Log() *slog.Logger
	Disk() local.Disk
	Temp(pattern string) (*os.File, error)
	// Room tells whether more may be written: nil, or an error that wraps blob.ErrFull.
	Room() error
	Index() *index.DB
	Commit(c index.Change, e *ledger.Event) error
	// Stored tells that a variant has come, by its path below the root, while Removing is
	// read-locked, and Sends that somebody is about to send it.
	Stored(file string)
	Sends(file string)
	// Removing is read-locked while a variant is stored.
	Removing() *sync.RWMutex
	// StillKept tells whether an image is still available.
	StillKept(image record.Image) error
	// Open opens an original, and repairs it if it is plainly damaged.
	Open(ctx context.Context, image record.Image) (*os.File, error)
	// Repair fetches an original with wrong bytes again.
	Repair(ctx context.Context, image record.Image) error
}

// Variants are the variants of images. They may be used concurrently.
type Variants struct {
	s        Store
	flights  *flight.Group
	ending   sync.Mutex              // of images that lack their end, see StripEnded
	crashing sync.Mutex              // for recording crashes and pauses
	pauses   map[record.Digest]pause // of images that decoders took too long for; crashing guards it
}

// New returns the variants of a store's images, made in these flights.
func New(s Store, f *flight.Group) *Variants {
	return &Variants{s: s, flights: f, pauses: map[record.Digest]pause{}}
}
