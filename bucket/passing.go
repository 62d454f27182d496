package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

const (
	// passingTime is how long an image that is not kept is there for others who ask
	// for it.
	passingTime = time.Minute
	// passingFacts is how long its type and length are known after that, and
	// maxPassing of how many images.
	passingFacts = 10 * time.Minute
	maxPassing   = 4096
	// passingGrace is how long an image is read before it may be taken from its
	// readers to make room.
	passingGrace = 30 * time.Second
	// passingBytes bounds the bytes on disk of all of them together: those that are
	// being fetched, that are there for others, and that somebody still reads.
	passingBytes = 256 << 20
)

// Passing is an image that is not kept: a file that others may read as well, each
// with a descriptor of their own. It is to be closed.
type Passing struct {
	*os.File
	probe.Info
	Bytes int64
	of    *passed
	close func()
}

// Close lets go of the file, which is gone with the last who reads it. It may be
// called once.
func (p *Passing) Close() error {
	p.close()
	return p.File.Close()
}

// passings are the images that pass.
type passings struct {
	mu     sync.Mutex
	budget int64 // in bytes
	used   int64
	images map[string]*passed // by bucket and URL; the latest of each
	files  map[*passed]bool   // those whose files are there
}

// passed is an image that was fetched and not kept.
type passed struct {
	image   record.Image
	final   string // where redirects led to
	at      time.Time
	path    string
	space   int64 // that its file takes of the budget
	readers int
	old     bool // it gets no more readers
}

// errNoSpace: the images that pass take too much of the disk already.
var errNoSpace = errors.New("too many bytes are on their way to viewers without being kept")

// space is what an image that is being fetched takes of the budget.
type space struct {
	of *passings
	n  int64
}

// writer takes from the budget what is written to w, before it is.
func (sp *space) writer(w io.Writer) io.Writer { return spaceWriter{sp, w} }

type spaceWriter struct {
	*space
	w io.Writer
}

func (w spaceWriter) Write(p []byte) (int, error) {
	if !w.of.take(int64(len(p))) {
		return 0, errNoSpace
	}
	w.n += int64(len(p))
	return w.w.Write(p)
}

// take takes n bytes of the budget, if there is room or can be made.
func (p *passings) take(n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.used+n > p.budget {
		if !p.makeRoom() {
			return false
		}
	}
	p.used += n
	return true
}

func (p *passings) give(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= n
}

// makeRoom drops the oldest image that nobody reads, or else the oldest that was read
// for long enough: whoever reads slowly must not keep others from reading at all. Its
// readers find its end before the length that they were told. The mutex is held.
func (p *passings) makeRoom() bool {
	var oldest *passed
	for i := range p.files {
		if i.readers > 0 && time.Since(i.at) < passingGrace {
			continue
		}
		if oldest == nil || i.readers == 0 && oldest.readers > 0 || (i.readers > 0) == (oldest.readers > 0) && i.at.Before(oldest.at) {
			oldest = i
		}
	}
	if oldest == nil {
		return false
	}
	p.drop(oldest)
	return true
}

// drop removes a file. The mutex is held.
func (p *passings) drop(i *passed) {
	if !p.files[i] {
		return
	}
	if i.readers > 0 {
		os.Truncate(i.path, 0) // or it would take its room until they end
	}
	os.Remove(i.path)
	p.used -= i.space
	i.old = true
	delete(p.files, i)
}

// add takes an image, whose file has taken its space of the budget, for a while.
func (p *passings) add(key string, i *passed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.images) >= maxPassing {
		for key, i := range p.images {
			if !p.files[i] {
				delete(p.images, key)
			}
		}
	}
	p.images[key], p.files[i] = i, true
	time.AfterFunc(passingTime, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if i.old = true; i.readers == 0 {
			p.drop(i)
		}
	})
	time.AfterFunc(passingTime+passingFacts, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.images[key] == i {
			delete(p.images, key)
		}
	})
}

// facts returns what is known of an image, or nil.
func (p *passings) facts(key string) *passed {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.images[key]
}

// there returns the image whose file is there for others, or nil.
func (p *passings) there(key string) *passed {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := p.images[key]; i != nil && !i.old && p.files[i] {
		return i
	}
	return nil
}

// open opens the file of an image, if it is there still.
func (p *passings) open(i *passed) (*Passing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i.old || !p.files[i] {
		return nil, fs.ErrNotExist
	}
	f, err := local.OpenFile(i.path)
	if err != nil {
		return nil, err
	}
	i.readers++
	return &Passing{File: f, Info: i.image.Info, Bytes: i.image.Bytes, of: i, close: sync.OnceFunc(func() { p.left(i) })}, nil
}

func (p *passings) left(i *passed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i.readers--; i.readers == 0 && i.old {
		p.drop(i)
	}
}

// close removes all files.
func (p *passings) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.files {
		p.drop(i)
	}
	clear(p.images)
}

// Fetch fetches an image under all the checks of Keep without keeping it. It is
// whole when Fetch returns, so a cut-off download is an error here as well. It is
// fetched once for all that ask meanwhile, and within a minute after that as long as
// there is room. Errors are those of Keep, and a failure that is remembered stands
// against it too. The end of ctx ends the waiting, not the fetch.
func (s *Store) Fetch(ctx context.Context, bucket, url string) (*Passing, error) {
	key := "pass\x00" + bucket + "\x00" + url
	for range 3 { // what has landed may have made room for others already
		i := s.passing.facts(key)
		if i != nil {
			if err := s.mayPass(i); err != nil {
				return nil, err
			}
			if p, err := s.passing.open(i); err == nil {
				return p, nil
			}
		}
		i, err := fly(ctx, s, key, func(ctx context.Context) (*passed, error) {
			return s.fetchPassing(ctx, key, bucket, url)
		})
		if err != nil {
			return nil, err
		}
		if p, err := s.passing.open(i); !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
	}
	return nil, &fetch.Error{Class: fetch.Busy, Host: imageurl.HostOf(url), Err: errNoSpace}
}

// Passed returns what is known of an image that Fetch has fetched within some
// minutes: ErrNotKept if that is nothing, and else the errors of Find.
func (s *Store) Passed(bucket, url string) (info probe.Info, bytes int64, err error) {
	i := s.passing.facts("pass\x00" + bucket + "\x00" + url)
	if i == nil {
		return info, 0, ErrNotKept
	}
	if err := s.mayPass(i); err != nil {
		return info, 0, err
	}
	return i.image.Info, i.image.Bytes, nil
}

// mayPass tells whether an image that was fetched may still be shown.
func (s *Store) mayPass(i *passed) error {
	if _, err := s.Find(i.image.Bucket, i.image.URL); err != nil && !errors.Is(err, ErrNotKept) {
		return err
	}
	return s.admit(i.image.Bucket, i.image.URL, i.image.Digest, i.final)
}

func (s *Store) fetchPassing(ctx context.Context, key, bucket, url string) (*passed, error) {
	if i := s.passing.there(key); i != nil {
		return i, nil // since the caller looked
	}
	if _, err := s.Find(bucket, url); err != nil && !errors.Is(err, ErrNotKept) {
		return nil, err
	}
	if err := s.hasRoom(); err != nil {
		return nil, err
	}
	if !s.passing.take(1) { // before anybody is asked
		return nil, &fetch.Error{Class: fetch.Busy, Host: imageurl.HostOf(url), Err: errNoSpace}
	}
	sp := &space{of: &s.passing, n: 1}
	d, err := s.downloadApproved(ctx, bucket, url, url, nil, sp.writer)
	if err != nil {
		s.passing.give(sp.n)
		if errors.Is(err, errNoSpace) {
			err = s.fetchFailed(ctx, bucket, url, &fetch.Error{Class: fetch.Busy, Host: imageurl.HostOf(url), Err: errNoSpace, Asked: true})
		}
		return nil, err
	}
	i := &passed{image: d.image, final: d.final, at: time.Now(), path: d.tmp.Name(), space: sp.n}
	if err := s.admit(bucket, url, d.image.Digest, d.final); err != nil {
		s.discard(d.tmp)
		s.passing.give(sp.n)
		return nil, err
	}
	if err := d.tmp.Close(); err != nil {
		s.disk.RemoveAll(i.path)
		s.passing.give(sp.n)
		return nil, fmt.Errorf("store the image: %w", local.AsFull(err))
	}
	s.passing.add(key, i)
	return i, nil
}
