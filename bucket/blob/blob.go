// Package blob is what the store asks of the place where originals lie: immutable files,
// each named by the SHA-256 of its bytes.
package blob

import "errors"

// ErrFull: the disk is too full to keep more. What is kept can be read.
var ErrFull = errors.New("the disk is too full")

// ErrDamaged: an original is not what its name says.
var ErrDamaged = errors.New("the original is damaged")
