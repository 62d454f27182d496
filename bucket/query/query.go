// Package query answers operators' questions about a store: what is known of an image, what
// is kept, what has failed, and how much there is in total.
//
// It promises to change nothing, and to need no more memory for more images, but for figures by
// host, and a bit for each line of a journal. Answers come from index and journals at the time of reading: concurrent
// changes may be included or not.
package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
	"imgkeep/bucket/variant"
)

// Store is the part of an open store that queries need.
type Store interface {
	// Begin announces a query, until done. Its context also ends when the store closes.
	Begin(ctx context.Context) (_ context.Context, done func(), err error)
	Path(file string) string // of a file below the root
	Buckets() []string
	// In returns these buckets, which must be there; none are all.
	In(buckets []string) ([]string, error)
	Index() *index.DB
	Ledger() ledger.Ledger
	// VariantNames are the names of the variants of an image.
	VariantNames(image record.Image) ([]string, error)
	// DigestsOf are the digests of what is kept under a URL, blocked or not.
	DigestsOf(url string) ([]record.Digest, error)
	// URLs are those under which a bucket keeps some bytes.
	URLs(ctx context.Context, bucket string, d record.Digest) ([]string, error)
}

// Details are all that the store knows of a URL, or of bytes.
type Details struct {
	Images   []ImageDetails   `json:"images"`
	Failures []FailureDetails `json:"failures"`
	Blocks   []record.Block   `json:"blocks"` // that stand against it
	// Link is set if the image was named by a link of a server, which fills it in.
	Link *LinkDetails `json:"link,omitempty"`
}

// LinkDetails are facts about a link.
type LinkDetails struct {
	Good    bool      `json:"good"`
	Expires time.Time `json:"expires,omitzero"` // of a valid one
	Expired bool      `json:"expired"`
	Why     string    `json:"why,omitempty"` // why neither is known
}

// ImageDetails are facts about an image in a bucket.
type ImageDetails struct {
	Bucket   string    `json:"bucket"`
	Digest   string    `json:"digest"`
	URLs     []string  `json:"urls,omitempty"`
	Type     string    `json:"type"`
	Width    int       `json:"width"` // as shown
	Height   int       `json:"height"`
	Frames   int       `json:"frames"`
	Bytes    int64     `json:"bytes"`
	Stored   time.Time `json:"stored"`
	File     string    `json:"file"` // below the root
	Here     bool      `json:"here"` // the file exists, with that length
	Variants []string  `json:"made"` // with their extensions: "250x250.jpg"
	// Poison is set while the image counts as one that crashes decoders.
	Poison *PoisonDetails `json:"deadly,omitempty"`
}

// PoisonDetails are facts about an image that has crashed decoders.
type PoisonDetails struct {
	Crashes     int       `json:"kills"` // decoders crashed since it was last decoded
	Last        time.Time `json:"last"`  // when it crashed the last one
	Detail      string    `json:"detail"`
	Undecodable bool      `json:"undecodable"` // nothing is made of it before Retry
}

// FailureDetails are facts about a URL that could not be kept.
type FailureDetails struct {
	Bucket   string          `json:"bucket"`
	Key      string          `json:"key"`           // that stands for the URL in the index, hexadecimal
	URL      string          `json:"url,omitempty"` // empty: it is longer than an entry may be, or failed under a release that did not note it
	Kind     fetch.ErrorKind `json:"class"`
	Status   int             `json:"status,omitempty"`
	Detail   string          `json:"detail"`
	Attempts int             `json:"attempts"`
	First    time.Time       `json:"first"`
	Next     time.Time       `json:"next"`
	Host     string          `json:"host,omitempty"` // that failed, after redirects; empty: none, or not known
	Head     string          `json:"head,omitempty"` // the first bytes of what came instead of an image, as fetch.Excerpt shows them
}

func failureDetails(bucket, url string, k index.Key, f record.Failure) FailureDetails {
	return FailureDetails{
		Bucket: bucket, Key: fmt.Sprintf("%x", k[:]), URL: url, Kind: fetch.ErrorKind(f.Kind), Status: f.Status,
		Detail: f.Detail, Attempts: f.Attempts, First: f.First, Next: f.Next,
		Host: f.Host, Head: fetch.Excerpt([]byte(f.Head)),
	}
}

func detailsOf(s Store, image record.Image) (ImageDetails, error) {
	f := ImageDetails{
		Bucket: image.Bucket, Digest: image.Digest.String(), Type: image.Format.String(), Frames: image.Frames,
		Bytes: image.Bytes, Stored: image.Stored, File: image.File(), Variants: []string{},
	}
	f.Width, f.Height = image.Shown()
	info, err := os.Lstat(s.Path(f.File))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f.Here = err == nil && info.Size() == image.Bytes
	made, err := s.VariantNames(image)
	f.Variants = append(f.Variants, made...)
	slices.Sort(f.Variants)
	if err != nil {
		return f, err
	}
	d, err := s.Index().Poison(image.Bucket, image.Digest)
	if errors.Is(err, index.ErrNotFound) {
		return f, nil
	}
	f.Poison = &PoisonDetails{Crashes: d.Crashes, Last: d.Last, Detail: d.Detail, Undecodable: d.Crashes >= variant.MaxCrashes}
	return f, err
}

// Show returns all that is known of a URL or, if that is empty, of a digest, blocked or
// not. For an image with several URLs it reads the journals: a tenth of a second for some
// millions of lines.
func Show(ctx context.Context, s Store, url string, digest record.Digest) (Details, error) {
	ctx, done, err := s.Begin(ctx)
	if err != nil {
		return Details{}, err
	}
	defer done()
	f := Details{Images: []ImageDetails{}, Failures: []FailureDetails{}, Blocks: []record.Block{}}
	digests := []record.Digest{digest}
	if url != "" {
		if digests, err = s.DigestsOf(url); err != nil {
			return f, err
		}
		for _, name := range s.Buckets() {
			failure, err := s.Index().Failure(name, url)
			if err == nil {
				f.Failures = append(f.Failures, failureDetails(name, url, index.KeyOf(url), failure))
			} else if !errors.Is(err, index.ErrNotFound) {
				return f, err
			}
		}
	}
	for b, err := range s.Index().BlocksOfImages() {
		if err != nil {
			return f, err
		}
		switch {
		case b.Kind == record.BlockURL && b.Subject == url,
			b.Kind == record.BlockHost && url != "" && imageurl.NewHosts([]string{b.Subject}).Match(imageurl.HostOf(url)),
			b.Kind == record.BlockDigest && slices.ContainsFunc(digests, func(d record.Digest) bool { return d.String() == b.Subject }):
			f.Blocks = append(f.Blocks, b)
		}
	}
	for _, d := range digests {
		for _, name := range s.Buckets() {
			e, err := s.Index().Entry(name, d)
			if errors.Is(err, index.ErrNotFound) {
				continue
			}
			if err != nil {
				return f, err
			}
			details, err := detailsOf(s, index.RecordOf(name, url, e.Image))
			if err != nil {
				return f, err
			}
			if details.URLs, err = urlsOf(ctx, s, name, url, e); err != nil {
				return f, err
			}
			f.Images = append(f.Images, details)
		}
	}
	return f, nil
}

// urlsOf are the URLs of an image. For an image with a single URL that was named by it, the
// journal need not be read.
func urlsOf(ctx context.Context, s Store, bucket, url string, e index.Entry) ([]string, error) {
	if url != "" && e.Refs == 1 {
		ref, err := s.Index().RefOf(bucket, index.KeyOf(url))
		if err == nil && ref == index.RefTo(e.Digest) {
			return []string{url}, nil
		}
		if err != nil && !errors.Is(err, index.ErrNotFound) {
			return nil, err
		}
	}
	return s.URLs(ctx, bucket, e.Digest)
}

// Filter selects what List lists. Empty fields select all.
type Filter struct {
	Buckets []string  `json:"buckets,omitempty"`
	Hosts   []string  `json:"hosts,omitempty"` // patterns, as imageurl.Hosts reads them; of failures, the host that failed
	Types   []string  `json:"types,omitempty"`
	Since   time.Time `json:"since,omitzero"` // stored then or later, or failed then for the first time
	Until   time.Time `json:"until,omitzero"` // stored before
}

// Entry is an image under a URL.
type Entry struct {
	Bucket string    `json:"bucket"`
	URL    string    `json:"url,omitempty"` // empty: a node does not know it
	Digest string    `json:"digest"`
	Type   string    `json:"type"`
	Width  int       `json:"width"` // as shown
	Height int       `json:"height"`
	Frames int       `json:"frames"`
	Bytes  int64     `json:"bytes"`
	Stored time.Time `json:"stored"`
	// Node is set by one of several nodes: see ListKnown.
	Node *NodeDetails `json:"node,omitempty"`
}

// List goes through kept images, bucket by bucket, in the order of the journals, which it
// reads twice: it sorts 40 bytes a line in the folder for temporary files, and takes a bit a
// line of memory.
func List(ctx context.Context, s Store, f Filter) iter.Seq2[Entry, error] {
	return entries(ctx, s, f, func(ctx context.Context, names []string, yield func(Entry, error) bool) {
		chooses := f.chooser()
		for _, name := range names {
			for image, err := range keptImages(ctx, s, name) {
				if err == nil && !chooses(image) {
					continue
				}
				l := entryOf(image)
				if !yield(l, err) || err != nil {
					return
				}
			}
		}
	})
}

// entries is a query of the buckets that a filter names, which list goes through.
func entries(ctx context.Context, s Store, f Filter, list func(ctx context.Context, names []string, yield func(Entry, error) bool)) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		ctx, names, done, err := begin(ctx, s, f)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer done()
		list(ctx, names, yield)
	}
}

// begin starts a query of the buckets that a filter names. Without an error done ends it.
func begin(ctx context.Context, s Store, f Filter) (_ context.Context, names []string, done func(), err error) {
	ctx, done, err = s.Begin(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if names, err = s.In(f.Buckets); err != nil {
		done()
		return nil, nil, nil, err
	}
	return ctx, names, done, nil
}

// chooser tells which images a filter selects.
func (f Filter) chooser() func(record.Image) bool {
	ofHost := imageurl.NewHosts(f.Hosts).Match
	return func(i record.Image) bool {
		return (len(f.Types) == 0 || slices.Contains(f.Types, i.Format.String())) &&
			(len(f.Hosts) == 0 || ofHost(imageurl.HostOf(i.URL))) &&
			(f.Since.IsZero() || !i.Stored.Before(f.Since)) && (f.Until.IsZero() || i.Stored.Before(f.Until))
	}
}

// Failures goes through the URLs that could not be kept, of these kinds, or of all. Of f
// it uses buckets, times, and hosts, which may be that of the URL or the one that failed
// after redirects: a failure without either is selected only by a filter without hosts.
func Failures(ctx context.Context, s Store, f Filter, classes []fetch.ErrorKind) iter.Seq2[FailureDetails, error] {
	return func(yield func(FailureDetails, error) bool) {
		for x, err := range failures(ctx, s, f, classes) {
			var d FailureDetails
			if err == nil {
				d = x.details()
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

// failed is a failure of a bucket.
type failed struct {
	bucket string
	index.Failed
}

func (x failed) details() FailureDetails {
	return failureDetails(x.bucket, x.URL, x.Key, x.Failure)
}

// failures goes through those that Failures tells of, without making text of them.
func failures(ctx context.Context, s Store, f Filter, classes []fetch.ErrorKind) iter.Seq2[failed, error] {
	return func(yield func(failed, error) bool) {
		ctx, names, done, err := begin(ctx, s, f)
		if err != nil {
			yield(failed{}, err)
			return
		}
		defer done()
		ofHost := imageurl.NewHosts(f.Hosts).Match
		for _, name := range names {
			for entry, err := range s.Index().Failures(name) {
				if err == nil && ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				if err == nil && (len(classes) > 0 && !slices.Contains(classes, fetch.ErrorKind(entry.Kind)) ||
					len(f.Hosts) > 0 && !ofHost(entry.Host) && !ofHost(imageurl.HostOf(entry.URL)) ||
					entry.First.Before(f.Since) || !f.Until.IsZero() && !entry.First.Before(f.Until)) {
					continue
				}
				if !yield(failed{name, entry}, err) || err != nil {
					return
				}
			}
		}
	}
}

// Stats are figures of a store.
type Stats struct {
	Buckets map[string]Totals `json:"buckets"`
	All     Totals            `json:"all"`
	Hosts   []HostTotals      `json:"hosts"` // those with the most bytes, at most 20
	Blocks  int               `json:"blocks"`
	Index   index.Figures     `json:"index"`
}

// Totals are figures of some images.
type Totals struct {
	Images   int                     `json:"images"`
	URLs     int                     `json:"urls"`
	Bytes    int64                   `json:"bytes"`    // of originals
	Saved    int64                   `json:"saved"`    // additional bytes, if each URL had a file of its own
	Types    map[string]Count        `json:"types"`    // by format
	Failures map[fetch.ErrorKind]int `json:"failures"` // URLs that could not be kept, by kind
	Oldest   time.Time               `json:"oldest,omitzero"`
	Newest   time.Time               `json:"newest,omitzero"`
	Weeks    map[string]Count        `json:"weeks"` // by the ISO week in which they were stored, as "2026-W47"
}

// Count are images, and their bytes.
type Count struct {
	Images int   `json:"images"`
	Bytes  int64 `json:"bytes"`
}

// HostTotals are the figures of a host: its URLs, and their bytes, shared ones
// counted each time.
type HostTotals struct {
	Host  string `json:"host"`
	URLs  int    `json:"urls"`
	Bytes int64  `json:"bytes"`
}

func newTotals() Totals {
	return Totals{Types: map[string]Count{}, Failures: map[fetch.ErrorKind]int{}, Weeks: map[string]Count{}}
}

func (t *Totals) add(e index.Entry) {
	t.Images++
	t.URLs += int(e.Refs)
	t.Bytes += e.Bytes
	t.Saved += int64(max(e.Refs, 1)-1) * e.Bytes
	year, week := e.Stored.ISOWeek()
	count(t.Types, e.Format.String(), e.Bytes)
	count(t.Weeks, fmt.Sprintf("%04d-W%02d", year, week), e.Bytes)
	if t.Oldest.IsZero() || e.Stored.Before(t.Oldest) {
		t.Oldest = e.Stored
	}
	if e.Stored.After(t.Newest) {
		t.Newest = e.Stored
	}
}

// count adds an image to those of a key.
func count(counts map[string]Count, key string, bytes int64) {
	c := counts[key]
	c.Images++
	c.Bytes += bytes
	counts[key] = c
}

const topHosts = 20

// CountAll counts kept images. It goes through index and journals: some seconds for a
// million images. Memory grows with the number of hosts.
func CountAll(ctx context.Context, s Store) (Stats, error) {
	ctx, done, err := s.Begin(ctx)
	if err != nil {
		return Stats{}, err
	}
	defer done()
	r := Stats{Buckets: map[string]Totals{}, All: newTotals(), Hosts: []HostTotals{}}
	if r.Index, err = s.Index().Figures(); err != nil {
		return r, err
	}
	hosts := map[string]*HostTotals{}
	for _, name := range s.Buckets() {
		t := newTotals()
		for e, err := range s.Index().Images(name) {
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				return r, err
			}
			t.add(e)
			r.All.add(e)
		}
		for f, err := range s.Index().Failures(name) {
			if err != nil {
				return r, err
			}
			t.Failures[fetch.ErrorKind(f.Kind)]++
			r.All.Failures[fetch.ErrorKind(f.Kind)]++
		}
		for image, err := range keptImages(ctx, s, name) {
			if err != nil {
				return r, err
			}
			h := hosts[imageurl.HostOf(image.URL)]
			if h == nil {
				h = &HostTotals{Host: imageurl.HostOf(image.URL)}
				hosts[h.Host] = h
			}
			h.URLs++
			h.Bytes += image.Bytes
		}
		r.Buckets[name] = t
	}
	for _, h := range hosts {
		r.Hosts = append(r.Hosts, *h)
	}
	slices.SortFunc(r.Hosts, func(a, b HostTotals) int {
		return cmp.Or(-cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(a.Host, b.Host))
	})
	r.Hosts = r.Hosts[:min(len(r.Hosts), topHosts)]
	for _, err := range s.Index().Blocks() {
		if err != nil {
			return r, err
		}
		r.Blocks++
	}
	return r, nil
}
