// Package variant keeps what is made of images beside them: sizes, other formats, and
// images without their metadata.
//
// It promises that a variant is made once for all who ask meanwhile, of bytes that have
// been compared with their digest; that it is whole or not there; that nothing is left of
// one whose image was removed; and that an image that crashes decoders, or holds them up,
// is kept from them for longer and longer. It does not decode: that is what a [Maker]
// does. A variant can be made again, so that a crash may lose it.
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

// Store is what variants need of the store of the originals.
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
	// Removing is read-locked while a variant is stored.
	Removing() *sync.RWMutex
	// StillKept tells whether an image is still to be had.
	StillKept(image record.Image) error
	// Open opens an original, which is repaired if that is plainly needed.
	Open(ctx context.Context, image record.Image) (*os.File, error)
	// Repair fetches an original again whose bytes are wrong.
	Repair(ctx context.Context, image record.Image) error
}

// Variants are what is made of images. They may be used concurrently.
type Variants struct {
	s       Store
	flights *flight.Group
	ending  sync.Mutex              // of images that lack their end, see stripEnded
	blaming sync.Mutex              // of images, for ending decoders
	pauses  map[record.Digest]pause // of images that decoders took too long for; blaming guards it
}

// New returns the variants of a store's images, made in these flights.
func New(s Store, f *flight.Group) *Variants {
	return &Variants{s: s, flights: f, pauses: map[record.Digest]pause{}}
}
