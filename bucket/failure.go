package bucket

import (
	"errors"
	"fmt"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/index"
)

// Class is why a fetch failed: one of those of package fetch, or of the store's
// own: "lost", where an original cannot be fetched again, and "removed", where what
// was fetched is blocked.
type Class = fetch.Class

// What the store says besides *Failure and *fetch.Error.
var (
	// ErrNotKept: nothing is kept under the URL, and nothing stands against
	// fetching it.
	ErrNotKept = errors.New("not kept")
	// ErrNoBucket: there is no bucket of that name.
	ErrNoBucket = errors.New("no such bucket")
	// ErrDenied: the operator denies the host.
	ErrDenied = errors.New("the operator has removed images of this host")
	// ErrRemoved: the operator has removed the image, just now or so that it must
	// not come back.
	ErrRemoved = errors.New("removed by the operator")
	// ErrFull: the disk is too full to keep more. What is kept can be read.
	ErrFull = errors.New("the disk is too full")
	// ErrLost: an original is missing or damaged, and its origin does not give
	// the same bytes any more.
	ErrLost = errors.New("the stored original is damaged, and its origin no longer has it")
	// ErrClosed: the store is closing.
	ErrClosed = errors.New("the store is closing")
)

// classLost is the class of a failure to fetch an original again: the origin has
// other bytes now.
const classLost fetch.Class = "lost"

// classRemoved is the class of a failure to keep what was fetched: the operator
// has blocked its bytes, or where a redirect led to.
const classRemoved fetch.Class = "removed"

const (
	firstBackoff = time.Minute
	maxBackoff   = 24 * time.Hour
)

// Failure is a fetch that went wrong, just now or earlier: a URL that failed is
// not tried again before Next. The backoff starts at a minute and doubles with
// each failure in a row, up to a day; it outlives a restart.
type Failure struct {
	Class    fetch.Class
	Status   int       // the origin's answer; 0: none
	Detail   string    // for the operator, not for viewers
	Attempts int       // failures in a row
	Next     time.Time // when it is tried again, if it is asked for
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%s (%s, failure %d in a row)", f.Detail, f.Class, f.Attempts)
}

// transient classes say something about the moment or about the configuration,
// not about the image: they are not remembered.
func transient(c fetch.Class) bool {
	return c == fetch.Busy || c == fetch.Refused || c == fetch.Denied
}

// recall returns the failure that stands against fetching url now, or nil.
func (s *Store) recall(bucket, url string) (*Failure, error) {
	f, err := s.index.Failure(bucket, url)
	if errors.Is(err, index.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !s.now().Before(f.Next) {
		return nil, nil
	}
	return failureFrom(f), nil
}

// remember notes a failed fetch and returns it.
func (s *Store) remember(bucket, url string, cause *fetch.Error) (*Failure, error) {
	now := s.now().Truncate(time.Second)
	f, err := s.index.Failure(bucket, url)
	if err != nil && !errors.Is(err, index.ErrNotFound) {
		return nil, err
	}
	if f.Attempts == 0 {
		f.First = now
	}
	f.Attempts++
	f.Class, f.Status, f.Detail = string(cause.Class), cause.Status, cause.Error()
	f.Next = now.Add(max(backoff(f.Attempts), min(cause.RetryAfter, maxBackoff)))
	if err := s.commit(index.Change{Bucket: bucket, URL: url, Fail: &f}, nil); err != nil {
		return nil, err
	}
	return failureFrom(f), nil
}

func failureFrom(f index.Failure) *Failure {
	return &Failure{Class: fetch.Class(f.Class), Status: f.Status, Detail: f.Detail, Attempts: f.Attempts, Next: f.Next}
}

// backoff is the pause after so many failures in a row.
func backoff(attempts int) time.Duration {
	d := firstBackoff
	for range attempts - 1 {
		if d *= 2; d >= maxBackoff {
			return maxBackoff
		}
	}
	return d
}
