package index

import (
	"bytes"
	"math/rand/v2"
	"time"

	"imgkeep/bucket/record"
)

// An entry of a failure takes up to about two kilobytes, and anybody who can post a
// URL can cause one. So there are at most Options.MaxFailures of them in a bucket,
// and those that are stale are dropped: each new entry looks at a few others, at a
// random place of the table, whose keys are hashes. That costs the same however
// many there are, needs no timer, and in a table that grows leaves few stale ones.

// DefaultMaxFailures is the number of failures that a bucket remembers, if
// Options.MaxFailures does not say otherwise: 400 MB of index at the worst.
const DefaultMaxFailures = 200_000

// failureSample is how many entries a new one looks at.
const failureSample = 16

// putFailure notes what went wrong with a URL. A new entry drops stale ones and,
// where there are too many, the one of its sample that is tried again first.
func (db *DB) putFailure(failures table, key []byte, f record.Failure) error {
	old, err := failures.get(key)
	if err == nil && old == nil {
		err = db.makeRoomForFailure(failures)
	}
	if err != nil {
		return err
	}
	return failures.put(key, encodeFailure(f))
}

func (db *DB) makeRoomForFailure(failures table) error {
	var drop [][]byte
	var soonest []byte
	var next time.Time
	records := int(failures.totals.records)
	c := failures.bolt.Cursor()
	start := Key{}
	for i := range start {
		start[i] = byte(rand.Uint32())
	}
	k, v := c.Seek(start[:])
	for range min(failureSample, records) {
		if k == nil {
			if k, v = c.First(); k == nil {
				break
			}
		}
		f, err := failures.failure(k, v)
		switch {
		case err != nil: // verifying tells of it
		case db.options.Stale(f):
			drop = append(drop, bytes.Clone(k))
		case soonest == nil || f.Next.Before(next):
			soonest, next = bytes.Clone(k), f.Next
		}
		k, v = c.Next()
	}
	if len(drop) == 0 && soonest != nil && records >= db.options.MaxFailures {
		drop = append(drop, soonest)
	}
	for _, k := range drop {
		if err := failures.delete(k); err != nil {
			return err
		}
	}
	return nil
}

// failure reads a record.
func (t table) failure(key, stored []byte) (record.Failure, error) {
	v, _, err := unseal(t.name, key, stored)
	if err != nil {
		return record.Failure{}, err
	}
	return decodeFailure(v)
}

// forgettable are the failures that are stale, and as many others as are too many.
func (db *DB) forgettable(failures table) (keys [][]byte) {
	kept := 0
	failures.all(func(k, v []byte, err error) bool {
		var f record.Failure
		if err == nil {
			f, err = decodeFailure(v)
		}
		if err == nil && (db.options.Stale(f) || kept >= db.options.MaxFailures) {
			keys = append(keys, bytes.Clone(k))
		} else {
			kept++
		}
		return true
	})
	return keys
}
