// Package object is what several nodes ask of the object store that they share: objects that
// are written whole, and only if nobody has been faster.
//
// It promises that a name of an original has one spelling, that what Blobs has acknowledged
// was acknowledged by the store with its checksum, and that bytes are compared with their
// digest while they stream. It decides nothing about removals: a name that was removed must
// never be used again, which package shared's ledger ensures. [Probe] tells whether a store
// has the properties that all of this relies on.
//
// [imgkeep/bucket/blob/s3] speaks to such a store.
package object

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"iter"
	"time"

	"imgkeep/bucket/record"
)

var (
	// ErrExists: Create found an object of that name. Nothing was written.
	ErrExists = errors.New("there is an object of this name")
	// ErrChanged: Replace found another object than that which it was to replace, or none.
	// Nothing was written.
	ErrChanged = errors.New("the object was replaced or removed")
	// ErrAbsent: there is no object of that name.
	ErrAbsent = errors.New("there is no object of this name")
	// ErrUnclear: there was no answer, or one that leaves open what was done. The request may
	// have been carried out, or may still be later.
	ErrUnclear = errors.New("the object store did not confirm the request, which may have been carried out")
	// ErrTooLong: an object has more bytes than Read may return.
	ErrTooLong = errors.New("the object is longer than it may be")
)

// Store is a store of objects. It may be used concurrently.
//
// Each call is one request, with a deadline of its own besides ctx; List may take several.
// Errors other than those that are named say that nothing was done.
type Store interface {
	// Create makes an object, durably, if there is none of that name: ErrExists, ErrUnclear.
	Create(ctx context.Context, key string, c Content) error
	// Replace is Create for an object that has this tag: ErrChanged, ErrUnclear.
	Replace(ctx context.Context, key string, c Content, tag string) error
	// Put is Create without a condition. Only a probe needs that.
	Put(ctx context.Context, key string, c Content) error
	// Read returns an object of at most max bytes: ErrAbsent, ErrTooLong.
	Read(ctx context.Context, key string, max int64) (data []byte, tag string, err error)
	// Fetch streams an object: ErrAbsent. The caller closes it.
	Fetch(ctx context.Context, key string) (io.ReadCloser, Info, error)
	// Stat tells what is known of an object: ErrAbsent.
	Stat(ctx context.Context, key string) (Info, error)
	// Remove removes an object. That there is none is no error. ErrUnclear.
	Remove(ctx context.Context, key string) error
	// List goes through what is directly below a folder, which ends in a slash, in the order
	// of their bytes: names of objects, and of folders, which end in a slash as well.
	List(ctx context.Context, folder string) iter.Seq2[string, error]
}

// Content is what an object is to be.
type Content struct {
	From   io.ReaderAt
	Bytes  int64
	Digest record.Digest // of the bytes; the store is told, and refuses others
	Type   string        // the media type; empty: bytes
}

// Text is the content of a small object that is at hand.
func Text(data []byte, mediaType string) Content {
	return Content{bytes.NewReader(data), int64(len(data)), sha256.Sum256(data), mediaType}
}

// Info is what a store tells of an object.
type Info struct {
	Bytes  int64
	Tag    string        // changes with the bytes
	Digest record.Digest // as the store has it; zero: it does not say
	// Modified is when it was written, by the store's clock; zero: it does not say.
	Modified time.Time
}
