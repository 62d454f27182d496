// Package uncached holds images that are shown and not kept: files that stay for a minute
// for further requests, and are removed with their last reader.
//
// It promises that all of them together use no more than a budget of disk space, and that a
// slow reader does not keep others from reading. It does not fetch, and does not decide who
// may see them. Nothing of it survives the process.
package uncached

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

const (
	// KeepFor is how long an image that is not kept stays for further requests.
	KeepFor = time.Minute
	// KnowFor is how long its type and length are known after that. Beyond maxKnown images,
	// those whose files are gone are forgotten earlier.
	KnowFor  = 10 * time.Minute
	maxKnown = 4096
	// Grace is how long readers may read an image before it may be removed to make room.
	Grace = 30 * time.Second
	// Budget bounds the bytes on disk of all of them together: being fetched, available to
	// others, or still read.
	Budget = 256 << 20
)

// File is an image that is not kept: a file that others may read as well, each with their
// own descriptor. Close it.
type File struct {
	*os.File
	probe.Info
	Bytes int64
	of    *Image
	close func()
}

// As returns the file as one that was made from a source, which is then its Source.
func (p *File) As(of *File) *File {
	p.of = of.of
	return p
}

// Source is the image that this file belongs to.
func (p *File) Source() *Image { return p.of }

// Close closes the file, which is removed with its last reader. Call it once.
func (p *File) Close() error {
	p.close()
	return p.File.Close()
}

// Pool has the images that are not kept. It may be used concurrently.
type Pool struct {
	mu     sync.Mutex
	budget int64 // in bytes
	used   int64
	images map[string]*Image // by bucket and URL; the latest of each
	files  map[*Image]bool   // those whose files are there
}

// NewPool returns a pool that uses at most budget bytes on disk.
func NewPool(budget int64) *Pool {
	return &Pool{budget: budget, images: map[string]*Image{}, files: map[*Image]bool{}}
}

// Taken is how many bytes of the budget are taken.
func (p *Pool) Taken() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// Known is how many images the pool knows.
func (p *Pool) Known() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.images)
}

// Image is an image that was fetched and not kept.
type Image struct {
	Image   record.Image
	Final   string                         // where redirects led to
	Print   atomic.Pointer[likeness.Print] // its print; nil: not made yet
	at      time.Time
	Path    string // of its file
	space   int64  // the part of the budget that its file uses
	readers int
	old     bool // it gets no more readers
}

// ErrNoRoom: the images that are not kept use too much of the disk already.
var ErrNoRoom = errors.New("too many bytes are on their way to viewers without being kept")

// Room is the part of the budget that an image being fetched uses. It is for one goroutine;
// end it by Pool.Add or Release.
type Room struct {
	of *Pool
	n  int64
}

// Writer takes bytes from the budget before it writes them to w.
func (sp *Room) Writer(w io.Writer) io.Writer { return spaceWriter{sp, w} }

type spaceWriter struct {
	*Room
	w io.Writer
}

func (w spaceWriter) Write(p []byte) (int, error) {
	if !w.of.take(int64(len(p))) {
		return 0, ErrNoRoom
	}
	w.n += int64(len(p))
	return w.w.Write(p)
}

// Reserve takes n bytes of the budget, at least 1, before an image is fetched or made. It
// removes other files if it must. nil: there is no room.
func (p *Pool) Reserve(n int64) *Room {
	if !p.take(n) {
		return nil
	}
	return &Room{of: p, n: n}
}

// Trim returns all but n bytes to the budget.
func (sp *Room) Trim(n int64) {
	if n < sp.n {
		sp.of.give(sp.n - n)
		sp.n = n
	}
}

// Release returns the bytes of an image that did not arrive.
func (sp *Room) Release() { sp.of.give(sp.n) }

// take takes n bytes of the budget, if there is room or room can be made.
func (p *Pool) take(n int64) bool {
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

func (p *Pool) give(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= n
}

// makeRoom drops the oldest image that nobody reads, or else the oldest that was read for
// long enough: a slow reader must not keep others from reading at all. Its readers meet its
// end before the announced length. The caller holds the mutex.
func (p *Pool) makeRoom() bool {
	var oldest *Image
	for i := range p.files {
		if i.readers > 0 && time.Since(i.at) < Grace {
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

// drop removes a file. The caller holds the mutex.
func (p *Pool) drop(i *Image) {
	if !p.files[i] {
		return
	}
	if i.readers > 0 {
		os.Truncate(i.Path, 0) // otherwise it would use its space until they end
	}
	os.Remove(i.Path)
	p.used -= i.space
	i.old = true
	delete(p.files, i)
}

// Add takes over an image, whose file has its space of the budget, for a while.
func (p *Pool) Add(key string, i *Image, room *Room) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i.at, i.space = time.Now(), room.n
	if len(p.images) >= maxKnown {
		for key, i := range p.images {
			if !p.files[i] {
				delete(p.images, key)
			}
		}
	}
	p.images[key], p.files[i] = i, true
	time.AfterFunc(KeepFor, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if i.old = true; i.readers == 0 {
			p.drop(i)
		}
	})
	time.AfterFunc(KeepFor+KnowFor, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.images[key] == i {
			delete(p.images, key)
		}
	})
}

// Lookup returns what is known of an image, or nil.
func (p *Pool) Lookup(key string) *Image {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.images[key]
}

// Fresh returns the image whose file is available to others, or nil.
func (p *Pool) Fresh(key string) *Image {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := p.images[key]; i != nil && !i.old && p.files[i] {
		return i
	}
	return nil
}

// Dropped tells whether the file of an image is gone.
func (p *Pool) Dropped(i *Image) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.files[i]
}

// Open opens the file of an image: fs.ErrNotExist if it is gone, or too old for more readers.
func (p *Pool) Open(i *Image) (*File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i.old || !p.files[i] {
		return nil, fs.ErrNotExist
	}
	f, err := local.OpenFile(i.Path)
	if err != nil {
		return nil, err
	}
	i.readers++
	return &File{File: f, Info: i.Image.Info, Bytes: i.Image.Bytes, of: i, close: sync.OnceFunc(func() { p.left(i) })}, nil
}

func (p *Pool) left(i *Image) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i.readers--; i.readers == 0 && i.old {
		p.drop(i)
	}
}

// Close removes all files, also those that are being read.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.files {
		p.drop(i)
	}
	clear(p.images)
}
