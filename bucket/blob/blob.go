// Package blob is what the store asks of the place where originals lie: immutable files,
// each named by the SHA-256 of its bytes.
//
// It promises that an original is complete or absent, that what Put has acknowledged
// survives a crash, and that Open returns a file on a local disk. It does not know which
// URLs refer to an original, and need not compare bytes with their digest when it opens one:
// the caller does.
//
// [imgkeep/bucket/blob/local] is such a place on a local disk. Every implementation
// passes [imgkeep/bucket/blob/blobtest].
package blob

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"

	"imgkeep/bucket/record"
)

var (
	// ErrFull: the disk is too full to keep more. What is kept can be read.
	ErrFull = errors.New("the disk is too full")
	// ErrDamaged: an original is not what its name says.
	ErrDamaged = errors.New("the original is damaged")
)

// Store is a place for originals. Of an image it heeds Bucket, Digest and Format, which
// name it, and Bytes. It may be used concurrently.
type Store interface {
	// Put keeps an original, whose bytes are the first image.Bytes of from. When it returns
	// without an error they are durable and visible. After an error they are there as a
	// whole, or not at all. That they are there already is no error; other bytes in their
	// place are damage, and are replaced.
	//
	// A store on a disk need not copy: it may link a file of its own file system under a name
	// of its own, and make it read-only, so nobody may write to it afterwards. In any case the
	// caller closes that file, and removes its old name.
	Put(ctx context.Context, image record.Image, from io.ReaderAt) error
	// Open opens an original: a file on a local disk, to which a store elsewhere has
	// brought it. One that is missing, or whose length is not image.Bytes, is ErrDamaged.
	Open(ctx context.Context, image record.Image) (*os.File, error)
	// Stat tells whether Open would succeed, without opening the original.
	Stat(ctx context.Context, image record.Image) error
	// Remove removes an original, durably, with everything local under its digest: variants,
	// and damaged files that were put aside. It is no error if there is none.
	Remove(ctx context.Context, image record.Image) error
	// List goes through the originals of a bucket in the order of their digests, without
	// their Bytes. It may miss or include what comes or goes meanwhile. An error ends it.
	List(ctx context.Context, bucket string) iter.Seq2[record.Image, error]
}
