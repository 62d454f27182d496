package shared

import (
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/record"
)

// State is what a node remembers of what it shares. It may be used concurrently.
type State interface {
	// View reads one snapshot.
	View(read func(Tx) error) error
	// Update changes all or, where write returns an error, nothing. What it has changed is
	// durable when it returns. Updates come one after the other.
	Update(write func(Tx) error) error
}

// Tx is a state in a transaction. Nothing of it may be used when that has ended.
type Tx interface {
	// Applied is the last entry of the log that was applied; the zero value: none.
	Applied() (record.Mark, error)
	SetApplied(record.Mark) error

	// Record is what was entered of a URL, whether it still stands or not, if anything was.
	Record(bucket, url string) (image record.Image, at uint64, ok bool, err error)
	// Enter enters an image under its URL, in the place of what is there.
	Enter(image record.Image, at uint64) error

	// Hit is the number of the last entry of the log that hits a subject; 0: none does.
	Hit(record.Subject) (uint64, error)
	// SetHit sets what Hit returns. It may forget records that are dead by it.
	SetHit(record.Subject, uint64) error

	// Blocked tells whether there is a block of just that, as record.Block has it.
	Blocked(kind, subject string) (bool, error)
	Block(record.Block) error
	Unblock(kind, subject string) error

	// Pending are the entries whose originals have still to be deleted, in their order.
	Pending() ([]record.Pending, error)
	SetPending(record.Pending) error
	ClearPending(number uint64) error
}

// generation is the last entry that has removed a digest from a bucket.
func generation(tx Tx, bucket string, d record.Digest) (uint64, error) {
	return lastHit(tx, record.Subject{Bucket: bucket, Kind: record.BlockDigest, Name: d.String()}, record.Subject{Kind: record.BlockDigest, Name: d.String()})
}

func lastHit(tx Tx, subjects ...record.Subject) (last uint64, err error) {
	for _, s := range subjects {
		n, err := tx.Hit(s)
		if err != nil {
			return 0, err
		}
		last = max(last, n)
	}
	return last, nil
}

// hit is the last entry that hits a record of a URL with a digest: it is dead if that is
// later than its at.
func hit(tx Tx, image record.Image) (uint64, error) {
	last, err := lastHit(tx, record.Subject{Bucket: image.Bucket, Kind: record.BlockURL, Name: image.URL}, record.Subject{Kind: record.BlockURL, Name: image.URL})
	if err != nil {
		return 0, err
	}
	gen, err := generation(tx, image.Bucket, image.Digest)
	if err != nil {
		return 0, err
	}
	var hosts []record.Subject
	for pattern := range imageurl.PatternsOf(imageurl.HostOf(image.URL)) {
		hosts = append(hosts, record.Subject{Kind: record.BlockHost, Name: pattern})
	}
	host, err := lastHit(tx, hosts...)
	return max(last, gen, host), err
}

// blockedURL tells whether a URL or its host is blocked now.
func blockedURL(tx Tx, url string) (bool, error) {
	is, err := tx.Blocked(record.BlockURL, url)
	for pattern := range imageurl.PatternsOf(imageurl.HostOf(url)) {
		if is || err != nil {
			break
		}
		is, err = tx.Blocked(record.BlockHost, pattern)
	}
	return is, err
}

// blocked tells whether a URL, its host or bytes are blocked now.
func blocked(tx Tx, image record.Image) (bool, error) {
	if is, err := blockedURL(tx, image.URL); is || err != nil {
		return is, err
	}
	return tx.Blocked(record.BlockDigest, image.Digest.String())
}
