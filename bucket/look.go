package bucket

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
	"imgkeep/bucket/linkrot"
	"imgkeep/bucket/record"
)

// Facts are all that the store knows of a URL, or of bytes.
type Facts struct {
	Images   []ImageFacts   `json:"images"`
	Failures []FailureFacts `json:"failures"`
	Blocks   []record.Block `json:"blocks"` // that stand against it
}

// ImageFacts are facts about an image in a bucket.
type ImageFacts struct {
	Bucket string    `json:"bucket"`
	Digest string    `json:"digest"`
	URLs   []string  `json:"urls,omitempty"`
	Type   string    `json:"type"`
	Width  int       `json:"width"` // as shown
	Height int       `json:"height"`
	Frames int       `json:"frames"`
	Bytes  int64     `json:"bytes"`
	Stored time.Time `json:"stored"`
	File   string    `json:"file"` // below the root
	Here   bool      `json:"here"` // the file is, with that length
	Made   []string  `json:"made"` // with their extensions: "250x250.jpg"
	// Deadly is there while the image stands for one that ends decoders.
	Deadly *DeadlyFacts `json:"deadly,omitempty"`
}

// DeadlyFacts are facts about an image that has ended decoders.
type DeadlyFacts struct {
	Kills       int       `json:"kills"` // decoders ended since it was last decoded
	Last        time.Time `json:"last"`  // when it ended the last one
	Detail      string    `json:"detail"`
	Undecodable bool      `json:"undecodable"` // nothing is made of it before Retry
}

// FailureFacts are facts about a URL that could not be kept.
type FailureFacts struct {
	Bucket   string      `json:"bucket"`
	Key      string      `json:"key"` // that stands for the URL in the index, hexadecimal
	URL      string      `json:"url,omitempty"`
	Class    fetch.Class `json:"class"`
	Status   int         `json:"status,omitempty"`
	Detail   string      `json:"detail"`
	Attempts int         `json:"attempts"`
	First    time.Time   `json:"first"`
	Next     time.Time   `json:"next"`
	Host     string      `json:"host,omitempty"` // that failed, after redirects; empty: none, or not known
	Head     string      `json:"head,omitempty"` // the first bytes of what came instead of an image, as fetch.Excerpt shows them
}

func failureFacts(bucket, url string, k index.Key, f record.Failure) FailureFacts {
	return FailureFacts{
		Bucket: bucket, Key: fmt.Sprintf("%x", k[:]), URL: url, Class: fetch.Class(f.Class), Status: f.Status,
		Detail: f.Detail, Attempts: f.Attempts, First: f.First, Next: f.Next,
		Host: f.Host, Head: fetch.Excerpt([]byte(f.Head)),
	}
}

func (s *Store) facts(image record.Image) (ImageFacts, error) {
	f := ImageFacts{
		Bucket: image.Bucket, Digest: image.Digest.String(), Type: image.Format.String(), Frames: image.Frames,
		Bytes: image.Bytes, Stored: image.Stored, File: image.File(), Made: []string{},
	}
	f.Width, f.Height = image.Shown()
	info, err := os.Lstat(s.Path(f.File))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f.Here = err == nil && info.Size() == image.Bytes
	made, err := s.Made(image)
	f.Made = append(f.Made, made...)
	slices.Sort(f.Made)
	if err != nil {
		return f, err
	}
	d, err := s.index.Deadly(image.Bucket, image.Digest)
	if errors.Is(err, index.ErrNotFound) {
		return f, nil
	}
	f.Deadly = &DeadlyFacts{Kills: d.Kills, Last: d.Last, Detail: d.Detail, Undecodable: d.Kills >= maxKills}
	return f, err
}

// Show returns all that is known of a URL or a digest. What is blocked is told of
// like all else. It reads the journals: seconds for some millions of lines.
func (s *Store) Show(ctx context.Context, t Target) (Facts, error) {
	done, err := s.begin()
	if err != nil {
		return Facts{}, err
	}
	defer done()
	f := Facts{Images: []ImageFacts{}, Failures: []FailureFacts{}, Blocks: []record.Block{}}
	digests := []record.Digest{t.Digest}
	if t.URL != "" {
		if digests, err = s.digestsOf(t.URL, nil); err != nil {
			return f, err
		}
		for _, name := range s.bucketNames() {
			failure, err := s.index.Failure(name, t.URL)
			if err == nil {
				f.Failures = append(f.Failures, failureFacts(name, t.URL, index.KeyOf(t.URL), failure))
			} else if !errors.Is(err, index.ErrNotFound) {
				return f, err
			}
		}
	}
	for b, err := range s.index.Blocks() {
		if err != nil {
			return f, err
		}
		switch {
		case b.Kind == record.BlockURL && b.Subject == t.URL,
			b.Kind == record.BlockHost && t.URL != "" && imageurl.NewHosts([]string{b.Subject}).Match(imageurl.HostOf(t.URL)),
			b.Kind == record.BlockDigest && slices.ContainsFunc(digests, func(d record.Digest) bool { return d.String() == b.Subject }):
			f.Blocks = append(f.Blocks, b)
		}
	}
	for _, d := range digests {
		for _, name := range s.bucketNames() {
			e, err := s.index.Entry(name, d)
			if errors.Is(err, index.ErrNotFound) {
				continue
			}
			if err != nil {
				return f, err
			}
			facts, err := s.facts(index.RecordOf(name, t.URL, e.Image))
			if err != nil {
				return f, err
			}
			if facts.URLs, err = s.URLs(ctx, name, d); err != nil {
				return f, err
			}
			f.Images = append(f.Images, facts)
		}
	}
	return f, nil
}

// Filter chooses what List lists. Empty fields choose all.
type Filter struct {
	Buckets []string  `json:"buckets,omitempty"`
	Hosts   []string  `json:"hosts,omitempty"` // patterns, as imageurl.Hosts reads them; of failures, the host that failed
	Types   []string  `json:"types,omitempty"`
	Since   time.Time `json:"since,omitzero"` // stored then or later, or failed then for the first time
	Until   time.Time `json:"until,omitzero"` // stored before
}

// Listed is an image under a URL.
type Listed struct {
	Bucket string    `json:"bucket"`
	URL    string    `json:"url"`
	Digest string    `json:"digest"`
	Type   string    `json:"type"`
	Width  int       `json:"width"` // as shown
	Height int       `json:"height"`
	Frames int       `json:"frames"`
	Bytes  int64     `json:"bytes"`
	Stored time.Time `json:"stored"`
}

// List goes through what is kept, bucket by bucket, in the order in which the
// journals have it. Memory does not grow with what is kept, only with what was
// removed and kept again.
func (s *Store) List(ctx context.Context, f Filter) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		done, err := s.begin()
		if err != nil {
			yield(Listed{}, err)
			return
		}
		defer done()
		names, err := s.in(f.Buckets)
		if err != nil {
			yield(Listed{}, err)
			return
		}
		chooses := f.chooser()
		for _, name := range names {
			for image, err := range s.kept(ctx, name) {
				if err == nil && !chooses(image) {
					continue
				}
				l := Listed{
					Bucket: name, URL: image.URL, Digest: image.Digest.String(), Type: image.Format.String(),
					Frames: image.Frames, Bytes: image.Bytes, Stored: image.Stored,
				}
				l.Width, l.Height = image.Shown()
				if !yield(l, err) || err != nil {
					return
				}
			}
		}
	}
}

// chooser tells which images a filter chooses.
func (f Filter) chooser() func(record.Image) bool {
	ofHost := imageurl.NewHosts(f.Hosts).Match
	return func(i record.Image) bool {
		return (len(f.Types) == 0 || slices.Contains(f.Types, i.Format.String())) &&
			(len(f.Hosts) == 0 || ofHost(imageurl.HostOf(i.URL))) &&
			(f.Since.IsZero() || !i.Stored.Before(f.Since)) && (f.Until.IsZero() || i.Stored.Before(f.Until))
	}
}

// kept goes through the URLs of a bucket: the lines of its journal that the index
// agrees with.
func (s *Store) kept(ctx context.Context, bucket string) iter.Seq2[record.Image, error] {
	return func(yield func(record.Image, error) bool) {
		// A URL has another line when it was removed and kept again.
		twice := map[index.Key]bool{}
		removed := map[index.Ref]bool{}
		for line, err := range s.ledger.Since(bucket, record.Position{}) {
			if err != nil {
				yield(record.Image{}, err)
				return
			}
			if line.Op == ledger.OpForget || line.Op == ledger.OpPurge {
				removed[index.RefTo(line.Image.Digest)] = true
			}
		}
		n := 0
		for line, err := range s.ledger.Since(bucket, record.Position{}) {
			if n++; err == nil && n%4096 == 0 && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(record.Image{}, err)
				return
			}
			if line.Op != ledger.OpKeep || line.Broken != nil {
				continue
			}
			key := index.KeyOf(line.Image.URL)
			ref, err := s.index.RefOf(bucket, key)
			if errors.Is(err, index.ErrNotFound) || err == nil && ref != index.RefTo(line.Image.Digest) {
				continue
			}
			if removed[ref] {
				if twice[key] {
					continue
				}
				twice[key] = true
			}
			if !yield(line.Image, err) || err != nil {
				return
			}
		}
	}
}

// ListFailures goes through the URLs that could not be kept, of these classes, or
// of all. Of f it heeds buckets, times, and hosts: a failure without one is chosen
// only where all are.
func (s *Store) ListFailures(ctx context.Context, f Filter, classes []fetch.Class) iter.Seq2[FailureFacts, error] {
	return func(yield func(FailureFacts, error) bool) {
		done, err := s.begin()
		if err != nil {
			yield(FailureFacts{}, err)
			return
		}
		defer done()
		names, err := s.in(f.Buckets)
		if err != nil {
			yield(FailureFacts{}, err)
			return
		}
		ofHost := imageurl.NewHosts(f.Hosts).Match
		for _, name := range names {
			for entry, err := range s.index.Failures(name) {
				if err == nil && ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				if err == nil && (len(classes) > 0 && !slices.Contains(classes, fetch.Class(entry.Class)) ||
					len(f.Hosts) > 0 && !ofHost(entry.Host) ||
					entry.First.Before(f.Since) || !f.Until.IsZero() && !entry.First.Before(f.Until)) {
					continue
				}
				if !yield(failureFacts(name, "", entry.Key, entry.Failure), err) || err != nil {
					return
				}
			}
		}
	}
}

// Stats are figures of a store.
type Stats struct {
	Buckets map[string]Tally `json:"buckets"`
	All     Tally            `json:"all"`
	Hosts   []HostTally      `json:"hosts"` // those with the most bytes, at most 20
	Blocks  int              `json:"blocks"`
	Index   Figures          `json:"index"`
	LinkRot *linkrot.Report  `json:"link_rot,omitempty"` // nil: no origin was ever asked
}

// Tally are figures of some images.
type Tally struct {
	Images   int                 `json:"images"`
	URLs     int                 `json:"urls"`
	Bytes    int64               `json:"bytes"`    // of originals
	Saved    int64               `json:"saved"`    // bytes that would be there more, had each URL a file of its own
	Types    map[string]Count    `json:"types"`    // by format
	Failures map[fetch.Class]int `json:"failures"` // URLs that could not be kept, by class
	Oldest   time.Time           `json:"oldest,omitzero"`
	Newest   time.Time           `json:"newest,omitzero"`
	Weeks    map[string]Count    `json:"weeks"` // by the ISO week in which they were stored, as "2026-W47"
}

// Count are images, and their bytes.
type Count struct {
	Images int   `json:"images"`
	Bytes  int64 `json:"bytes"`
}

// HostTally are the figures of a host: its URLs, and their bytes, shared ones
// counted each time.
type HostTally struct {
	Host  string `json:"host"`
	URLs  int    `json:"urls"`
	Bytes int64  `json:"bytes"`
}

func newTally() Tally {
	return Tally{Types: map[string]Count{}, Failures: map[fetch.Class]int{}, Weeks: map[string]Count{}}
}

func (t *Tally) add(e index.Entry) {
	t.Images++
	t.URLs += int(e.Refs)
	t.Bytes += e.Bytes
	t.Saved += int64(max(e.Refs, 1)-1) * e.Bytes
	year, week := e.Stored.ISOWeek()
	for m, key := range map[*map[string]Count]string{&t.Types: e.Format.String(), &t.Weeks: fmt.Sprintf("%04d-W%02d", year, week)} {
		c := (*m)[key]
		c.Images++
		c.Bytes += e.Bytes
		(*m)[key] = c
	}
	if t.Oldest.IsZero() || e.Stored.Before(t.Oldest) {
		t.Oldest = e.Stored
	}
	if e.Stored.After(t.Newest) {
		t.Newest = e.Stored
	}
}

const topHosts = 20

// Stats counts what is kept. It goes through index and journals: some seconds for
// a million images. Memory grows with the number of hosts.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	done, err := s.begin()
	if err != nil {
		return Stats{}, err
	}
	defer done()
	r := Stats{Buckets: map[string]Tally{}, All: newTally(), Hosts: []HostTally{}}
	if r.Index, err = s.index.Figures(); err != nil {
		return r, err
	}
	if r.LinkRot, err = linkrot.Read(s.root, s.log); err != nil {
		return r, err
	}
	hosts := map[string]*HostTally{}
	for _, name := range s.bucketNames() {
		t := newTally()
		for e, err := range s.index.Images(name) {
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				return r, err
			}
			t.add(e)
			r.All.add(e)
		}
		for f, err := range s.index.Failures(name) {
			if err != nil {
				return r, err
			}
			t.Failures[fetch.Class(f.Class)]++
			r.All.Failures[fetch.Class(f.Class)]++
		}
		for image, err := range s.kept(ctx, name) {
			if err != nil {
				return r, err
			}
			h := hosts[imageurl.HostOf(image.URL)]
			if h == nil {
				h = &HostTally{Host: imageurl.HostOf(image.URL)}
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
	slices.SortFunc(r.Hosts, func(a, b HostTally) int {
		return cmp.Or(-cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(a.Host, b.Host))
	})
	r.Hosts = r.Hosts[:min(len(r.Hosts), topHosts)]
	for _, err := range s.index.Blocks() {
		if err != nil {
			return r, err
		}
		r.Blocks++
	}
	return r, nil
}

func (s *Store) bucketNames() []string {
	var names []string
	for name := range s.buckets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
