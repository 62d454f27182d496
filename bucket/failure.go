package bucket

import (
	"errors"
	"fmt"
	"time"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/pace"
	"imgkeep/bucket/quota"
	"imgkeep/bucket/record"
)

// ErrorKind is why a fetch failed: one of those of package fetch, or of the store's
// own: "lost", where an original cannot be fetched again, and "removed", where what
// was fetched is blocked.
type ErrorKind = fetch.ErrorKind

// What the store says besides *Failure and *fetch.Error.
var (
	// ErrNotKept: nothing is kept under the URL, and no recorded failure prevents fetching
	// it.
	ErrNotKept = ledger.ErrNotKept
	// ErrNoBucket: there is no bucket of that name.
	ErrNoBucket = errors.New("no such bucket")
	// ErrDenied: the operator denies the host.
	ErrDenied = errors.New("the operator has removed images of this host")
	// ErrRemoved: the operator has removed the image, just now or so that it must
	// not come back.
	ErrRemoved = ledger.ErrRemoved
	// ErrAway: the object store that several nodes share does not answer, so that nothing
	// new can be kept or removed.
	ErrAway = ledger.ErrAway
	// ErrFull: the disk is too full to keep more. What is kept can be read.
	ErrFull = blob.ErrFull
	// ErrQuota: so much is kept of the image's site that no more is. What is kept can be read.
	ErrQuota = quota.ErrQuota
	// ErrIndexFailed: the disk failed to write the index, which answers nothing until it is
	// rewritten. The store keeps trying.
	ErrIndexFailed = index.ErrFailed
	// ErrLost: an original is missing or damaged, and its origin does not give
	// the same bytes any more.
	ErrLost = errors.New("the stored original is damaged, and its origin no longer has it")
	// ErrClosed: the store is closing.
	ErrClosed = errors.New("the store is closing")
)

// kindLost: an original cannot be fetched again, because the origin has other bytes now.
const kindLost fetch.ErrorKind = "lost"

// kindRemoved: what was fetched is blocked, by its bytes or by where a redirect led to.
const kindRemoved fetch.ErrorKind = record.FailureRemoved

// Kinds of failures that are not the origin's.
const (
	// Rejected: the operator's check says that the image must not be kept.
	Rejected fetch.ErrorKind = "rejected"
	// Unchecked: the operator's check gives no answer.
	Unchecked fetch.ErrorKind = "unchecked"
	// Similar: the image looks like one that is blocked by likeness.
	Similar fetch.ErrorKind = lookalike.SimilarClass
)

// ErrorKinds are all kinds of failures that are recorded.
func ErrorKinds() []ErrorKind {
	return append(fetch.ErrorKinds(), kindLost, kindRemoved, Rejected, Unchecked, Similar)
}

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// backoffs are the pauses after each kind of failure. Too short a pause hammers origins, and an
// endless one gives up on images that have come back.
var backoffs = map[fetch.ErrorKind]pace.Backoff{
	// Seldom comes back, but a page may be shown before an upload is complete.
	fetch.Gone: {First: 10 * time.Minute, Longest: week},
	// Who asks too often is blocked for longer.
	fetch.Blocked: {First: 5 * time.Minute, Longest: day},
	// Often over soon.
	fetch.Failed:  {First: time.Minute, Longest: 6 * time.Hour},
	fetch.Timeout: {First: time.Minute, Longest: 6 * time.Hour},
	// Bad content; a truncated image may arrive complete the next time.
	fetch.Broken:        {First: time.Minute, Longest: day},
	fetch.NotImage:      {First: time.Hour, Longest: week},
	fetch.TooLarge:      {First: time.Hour, Longest: week},
	fetch.TooManyPixels: {First: time.Hour, Longest: week},
	fetch.TooManyFrames: {First: time.Hour, Longest: week},
	// A decision, but a scanner may learn, so it is asked again some time.
	Rejected: {First: 30 * day, Longest: 30 * day},
	// Over once the scanner works again. Without a pause each view would fetch the image again
	// in vain.
	Unchecked: {First: 30 * time.Second, Longest: 10 * time.Minute},
	// A decision, too, which is cleared as soon as a block by likeness is lifted.
	Similar: {First: 30 * day, Longest: 30 * day},
	// Other bytes in the place of an original.
	kindLost: {First: time.Minute, Longest: day},
	// Recorded only if an origin was asked, and redirected there. The operator may change what
	// is refused, and a busy site is soon less busy.
	fetch.Refused: {First: 10 * time.Minute, Longest: day},
	fetch.Busy:    {First: 10 * time.Second, Longest: 10 * time.Minute},
	fetch.Paused:  {First: time.Minute, Longest: day},
}

// Failure is a fetch that failed, just now or earlier: its URL is not tried again before Next.
// The pause is that of the kind of the last failure, and grows with each failure in a row,
// whatever their kinds; it outlives a restart. The failure expires once twice the longest pause
// of its kind has passed since Next.
type Failure struct {
	Kind     fetch.ErrorKind
	Status   int       // the origin's answer; 0: none
	Detail   string    // for the operator, not for viewers
	Attempts int       // failures in a row
	First    time.Time // of the failures in a row
	Next     time.Time // when it is tried again, if it is asked for
	Host     string    // that failed, after redirects; empty: none
	Head     []byte    // the first bytes of what came instead of an image, as fetch.Excerpt shows them; nil: none
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%s (%s, failure %d in a row)", f.Detail, f.Kind, f.Attempts)
}

// momentary tells whether a failure says something about the moment or about the
// configuration, not about the image, and is not remembered. One that has cost an
// origin a request always is: or each view would cost another one.
func momentary(e *fetch.Error) bool {
	switch e.Kind {
	case fetch.Busy, fetch.Refused, fetch.Denied, fetch.Paused:
		return !e.Asked
	}
	return false
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
	if !s.now().Before(f.Next) || fromTheFuture(f, s.now()) {
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
	if f.Attempts == 0 || f.First.After(now) {
		f.First = now
	}
	// What is only busy or paused, after a redirect, says nothing of the image.
	if f.Attempts == 0 || cause.Kind != fetch.Busy && cause.Kind != fetch.Paused {
		f.Attempts++
	}
	f.Kind, f.Status, f.Detail = string(cause.Kind), cause.Status, cause.Error()
	f.Host, f.Head, f.URL = cause.Host, string(cause.Head), url
	f.Next = now.Add(max(backoffOf(cause.Kind).Pause(f.Attempts), min(cause.RetryAfter, fetch.MaxRetryAfter)))
	if err := s.commit(index.Change{Bucket: bucket, URL: url, Fail: &f}, nil); err != nil {
		return nil, err
	}
	return failureFrom(f), nil
}

func failureFrom(f record.Failure) *Failure {
	failure := &Failure{
		Kind: fetch.ErrorKind(f.Kind), Status: f.Status, Detail: f.Detail, Attempts: f.Attempts,
		First: f.First, Next: f.Next, Host: f.Host,
	}
	if f.Head != "" {
		failure.Head = []byte(f.Head)
	}
	return failure
}

// fromTheFuture tells whether a failure was recorded with a wrong clock: its pause would be
// longer than any of its kind. Such a failure does not count, because a clock that was years
// ahead for a minute would otherwise block its URLs for years.
func fromTheFuture(f record.Failure, now time.Time) bool {
	return f.Next.Sub(now) > longestPause(fetch.ErrorKind(f.Kind))
}

// stale tells whether a failure has expired.
func stale(f record.Failure, now time.Time) bool {
	return now.Sub(f.Next) > 2*longestPause(fetch.ErrorKind(f.Kind)) || fromTheFuture(f, now)
}

// longestPause is the longest after a kind of failure, whether it is ours or an origin's wish.
func longestPause(c fetch.ErrorKind) time.Duration {
	return max(backoffOf(c).Longest, fetch.MaxRetryAfter)
}

// backoffOf returns the pauses after a kind of failure; the default is a minute at first, and a
// day at most.
func backoffOf(c fetch.ErrorKind) pace.Backoff {
	if b, ok := backoffs[c]; ok {
		return b
	}
	return pace.Backoff{First: time.Minute, Longest: day}
}

// Retried says what Retry has cleared.
type Retried struct {
	Failures    int `json:"failures"`    // of fetching
	Undecodable int `json:"undecodable"` // images that have crashed decoders
}

// Retry clears, in all buckets, the recorded failures of an image, which is named by its digest
// or a URL: crashes of decoders, and failures to fetch it. It tries nothing itself: the next
// request does. If what is neither a digest nor a URL, the error wraps imageurl.ErrURL.
func (s *Store) Retry(what string) (Retried, error) {
	var r Retried
	done, err := s.begin()
	if err != nil {
		return r, err
	}
	defer done()
	digest, digestErr := record.ParseDigest(what)
	var url string
	if digestErr != nil {
		if url, err = imageurl.Canonical(what); err != nil {
			return r, err
		}
	}
	for name := range s.buckets {
		if digestErr != nil {
			if _, err := s.index.Failure(name, url); err == nil {
				if err := s.commit(index.Change{Bucket: name, URL: url, Fail: &record.Failure{}}, nil); err != nil {
					return r, err
				}
				r.Failures++
			} else if !errors.Is(err, index.ErrNotFound) {
				return r, err
			}
			image, err := s.index.Image(name, url)
			if errors.Is(err, index.ErrNotFound) {
				continue
			}
			if err != nil {
				return r, err
			}
			digest = image.Digest
		}
		s.Variants.Resume(record.Image{Digest: digest})
		_, err := s.index.Poison(name, digest)
		if errors.Is(err, index.ErrNotFound) {
			continue
		}
		if err == nil {
			err = s.commit(index.Change{Bucket: name, Poison: &index.Poison{Digest: digest}}, nil)
		}
		if err != nil {
			return r, err
		}
		r.Undecodable++
	}
	return r, nil
}
