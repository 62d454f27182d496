package index

import (
	"bytes"
	"math/rand/v2"
	"time"

	"go.etcd.io/bbolt"
)

// An entry of a failure takes up to about a kilobyte, and anybody who can post a
// URL can cause one. So there are at most Options.MaxFailures of them in a bucket,
// and those that are stale are dropped: each new entry looks at a few others, at a
// random place of the table, whose keys are hashes. That costs the same however
// many there are, needs no timer, and in a table that grows leaves few stale ones.

// DefaultMaxFailures is the number of failures that a bucket remembers, if
// Options.MaxFailures does not say otherwise: 200 MB of index at the worst.
const DefaultMaxFailures = 200_000

// failureSample is how many entries a new one looks at.
const failureSample = 16

// putFailure notes what went wrong with a URL. A new entry drops stale ones and,
// where there are too many, the one of its sample that is tried again first.
func (db *DB) putFailure(tx *bbolt.Tx, t tables, key []byte, f Failure) error {
	failures := tx.Bucket(t.failures)
	if failures.Get(key) == nil {
		if err := db.makeRoomForFailure(failures, t); err != nil {
			return err
		}
		db.failures[string(t.failures)]++
	}
	return failures.Put(key, f.encode())
}

func (db *DB) makeRoomForFailure(failures *bbolt.Bucket, t tables) error {
	var drop [][]byte
	var soonest []byte
	var next time.Time
	c := failures.Cursor()
	start := Key{}
	for i := range start {
		start[i] = byte(rand.Uint32())
	}
	k, v := c.Seek(start[:])
	for range min(failureSample, db.failures[string(t.failures)]) {
		if k == nil {
			if k, v = c.First(); k == nil {
				break
			}
		}
		f, err := decodeFailure(v)
		switch {
		case err != nil: // verifying tells of it
		case db.options.Stale(f):
			drop = append(drop, bytes.Clone(k))
		case soonest == nil || f.Next.Before(next):
			soonest, next = bytes.Clone(k), f.Next
		}
		k, v = c.Next()
	}
	if len(drop) == 0 && soonest != nil && db.failures[string(t.failures)] >= db.options.MaxFailures {
		drop = append(drop, soonest)
	}
	for _, k := range drop {
		if err := db.dropFailure(failures, t, k); err != nil {
			return err
		}
	}
	return nil
}

// dropFailure forgets what went wrong with a URL, if anything did.
func (db *DB) dropFailure(failures *bbolt.Bucket, t tables, key []byte) error {
	if failures.Get(key) == nil {
		return nil
	}
	db.failures[string(t.failures)]--
	return failures.Delete(key)
}

// dropStale forgets all failures that are stale, and as many others as are too
// many, and counts the rest.
func (db *DB) dropStale(tx *bbolt.Tx) error {
	for _, t := range db.buckets {
		failures := tx.Bucket(t.failures)
		var drop [][]byte
		kept := 0
		c := failures.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			f, err := decodeFailure(v)
			if err == nil && (db.options.Stale(f) || kept >= db.options.MaxFailures) {
				drop = append(drop, bytes.Clone(k))
			} else {
				kept++
			}
		}
		for _, k := range drop {
			if err := failures.Delete(k); err != nil {
				return err
			}
		}
		db.failures[string(t.failures)] = kept
	}
	return nil
}
