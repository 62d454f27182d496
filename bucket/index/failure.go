package index

import (
	"bytes"
	"math/rand/v2"
	"time"

	"imgkeep/bucket/record"
)

// An entry of a failure takes up to about two kilobytes, and anybody who can post a URL can
// cause one. So a bucket has at most Options.MaxFailures of them, and stale ones are
// dropped: each new entry examines a few others, at a random place of the table, whose keys
// are hashes. The cost does not depend on their number, it needs no timer, and a growing
// table keeps few stale ones.

// DefaultMaxFailures is the number of failures that a bucket records, unless
// Options.MaxFailures says otherwise: at worst 400 MB of index.
const DefaultMaxFailures = 200_000

// failureSample is how many entries a new one examines.
const failureSample = 16

// putFailure records the failure of a URL. A new entry drops stale ones and, if there are
// too many, the one of its sample that would be tried again first.
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
		case err != nil: // verifying reports it
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

// forgettable are the stale failures, and as many others as exceed the limit.
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
