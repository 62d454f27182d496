// Package cache is a bounded folder on a local disk before another blob.Store, so that what is
// served is always a local file.
//
// It promises that its files have at most Options.Bytes together (a variant that is stored
// while all of them are being sent may exceed it until the next one goes), that it evicts the
// least recently used file first, and none while it is being sent. Reads by others, such as
// nginx, count by the file's time of access: before it evicts a file, it looks at that, and
// keeps a file that was read since the last look, as if it were read now. relatime, the
// default of mounts, is enough: it notes the first read after each look. With noatime only
// what goes through this package counts.
//
// It may lose what it has at any time. It does not compare bytes with their digest when it
// opens a file: that was done when they came. Variants lie beside their originals and count
// as well; Stored announces them. Each file is evicted by its own use.
package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/singleflight"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/record"
)

// DefaultHold is how long a file that another process is about to send is not evicted: nginx
// opens it within milliseconds, and an open file may be evicted. A held file leaves no room
// for others.
const DefaultHold = 500 * time.Millisecond

// ownReads is how long after an Open its reader reads, more or less: that is no other use.
const ownReads = 2 * time.Second

// block is what the bytes of a file are rounded up to: a file system's own unit.
const block = 4 << 10

var _ blob.Store = (*Store)(nil)

// Options say what a Store consists of.
type Options struct {
	Under   blob.Store // that has all originals
	Root    string     // the folder, with the folders of buckets and tmp: see local.MakeBucket
	Buckets []string
	Bytes   int64            // the size limit of all files together, each rounded up to 4 KiB; at least 1
	Hold    time.Duration    // after Stat; 0: DefaultHold
	Disk    local.Disk       // nil: the real one
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: none
}

// Figures say what a Store has, and has done since it was opened.
type Figures struct {
	Bytes, Files            int64 // each file rounded up as for Options.Bytes
	Hits, Misses, Evictions uint64
}

// Store is a [blob.Store]. It may be used concurrently.
type Store struct {
	Options
	files   *local.Store
	fetches singleflight.Group

	mu      sync.Mutex
	order   queue
	bytes   int64 // of all files, and of those that are about to come
	coming  map[string]*coming
	figures Figures
}

// coming is a file that is about to be here.
type coming struct {
	many int  // who bring it
	gone bool // it was removed meanwhile
}

// New returns a store with what an earlier process has left in the folder. If that exceeds
// the limit, it evicts the rest, and returns an error if it cannot.
func New(ctx context.Context, o Options) (*Store, error) {
	if o.Bytes <= 0 {
		return nil, errors.New("a cache of no bytes")
	}
	if o.Disk == nil {
		o.Disk = local.OS{}
	}
	if o.Hold == 0 {
		o.Hold = DefaultHold
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{Options: o, files: local.New(o.Disk, o.Root, o.Now), order: newQueue(), coming: map[string]*coming{}}
	for _, bucket := range o.Buckets {
		if err := s.survey(ctx, bucket); err != nil {
			return nil, fmt.Errorf("look what the cache has: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.makeRoom(0) {
		return nil, fmt.Errorf("the cache has %d bytes, and may have %d, and no file can be removed", s.bytes, o.Bytes)
	}
	return s, nil
}

// survey takes in what there is of a bucket.
func (s *Store) survey(ctx context.Context, bucket string) error {
	for a, b := range record.Shards {
		if err := ctx.Err(); err != nil {
			return err
		}
		shard := filepath.Join(bucket, a, b)
		entries, err := os.ReadDir(filepath.Join(s.Root, shard))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if _, ok := record.ParseFile(a, b, e.Name()); !ok || !e.Type().IsRegular() {
				continue
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			s.order.add(filepath.Join(shard, e.Name()), rounded(info.Size()), accessed(info))
			s.bytes += rounded(info.Size())
		}
	}
	return nil
}

func rounded(n int64) int64 { return max((n+block-1)/block*block, block) }

// accessed is when a file was last read, as far as the file system says.
func accessed(info fs.FileInfo) time.Time {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(s.Atim.Unix())
	}
	return info.ModTime()
}

// Figures are those of now.
func (s *Store) Figures() Figures {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.figures
	f.Bytes, f.Files = s.bytes, int64(len(s.order.entries))
	return f
}

// used notes that a file is used now, and that it stays for some time, if that is not 0. It
// tells whether the cache has the file.
func (s *Store) used(path string, hold time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	e := s.order.entries[path]
	if e == nil {
		return false
	}
	s.order.use(e, now)
	if until := now.Add(hold); hold > 0 && until.After(e.held) {
		e.held = until
	}
	return true
}

// makeRoom removes files until so many bytes more may come, with mu held. It tells whether
// they may.
func (s *Store) makeRoom(n int64) bool {
	now := s.Now()
	var stay []*entry
	for s.bytes+n > s.Bytes {
		e := s.order.pop()
		if e == nil {
			break
		}
		path := filepath.Join(s.Root, e.path)
		if e.held.After(now) || s.coming[e.path] != nil {
			stay = append(stay, e)
			continue
		}
		info, err := os.Lstat(path)
		if err == nil && accessed(info).After(e.used.Add(ownReads)) && now.After(e.used) {
			// Read by somebody else since, once or until now: that is not known.
			e.used = now
			s.order.push(e)
			rearm(path, info)
			continue
		}
		if err == nil {
			err = s.Disk.RemoveAll(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.Log.Error("a file of the cache cannot be removed", "path", path, "error", err)
			stay = append(stay, e)
			continue
		}
		s.order.remove(e)
		s.bytes -= e.bytes
		s.figures.Evictions++
		s.unlink(e.path)
	}
	for _, e := range stay {
		s.order.push(e)
	}
	return s.bytes+n <= s.Bytes
}

// unlink removes the variants that an original has stood for, which is gone: they are links to
// it, and count nothing.
func (s *Store) unlink(path string) {
	dir, name := filepath.Split(filepath.Join(s.Root, path))
	if f, ok := record.ParseFile(name[:1], name[1:2], name); !ok || f.Variant != "" {
		return
	}
	links, _ := filepath.Glob(dir + name[:record.DigestLen] + ".*") // the pattern is good
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == name {
			if err := s.Disk.RemoveAll(link); err != nil {
				s.Log.Error("a link of the cache cannot be removed", "path", link, "error", err)
			}
		}
	}
}

// Stored counts a file that was made of an original, by its path below the root, and evicts
// others if there is no room. While all of them are being sent, this file exceeds the limit.
func (s *Store) Stored(file string) {
	info, err := os.Lstat(filepath.Join(s.Root, file))
	if err != nil {
		return // it went again
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.order.entries[file]; e != nil {
		s.bytes -= e.bytes
		s.order.remove(e)
	}
	s.order.add(file, rounded(info.Size()), s.Now())
	s.order.entries[file].held = s.Now().Add(s.Hold)
	s.bytes += rounded(info.Size())
	s.makeRoom(0)
}

// Sends says that another process is about to send a file, which is then held for
// Options.Hold.
func (s *Store) Sends(file string) { s.used(file, s.Hold) }

// rearm makes a file system with relatime note the next read too, which it does if the time
// of access is not later than that of the last change of any kind, which this is.
func rearm(path string, info fs.FileInfo) { _ = os.Chtimes(path, accessed(info), info.ModTime()) }

// reserve announces that a file comes, if there is room for it. The function that it returns
// says whether it has come, and tells whether it may stay.
func (s *Store) reserve(image record.Image) (came func(err error), ok bool) {
	path, n := image.File(), rounded(image.Bytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.coming[path]
	if c == nil {
		c = &coming{}
	}
	c.many++
	s.coming[path] = c // which also keeps it from going
	if !s.makeRoom(n) {
		s.leave(path, c)
		return nil, false
	}
	s.bytes += n
	return func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		defer s.leave(path, c)
		e := s.order.entries[path]
		switch {
		case err != nil:
			s.bytes -= n
		case c.gone: // the remover did not see it
			s.bytes -= n
			if e != nil {
				s.bytes -= e.bytes
				s.order.remove(e)
			}
			if err := s.Disk.RemoveAll(filepath.Join(s.Root, path)); err != nil {
				s.Log.Error("an image was removed while it was fetched to the cache, and its file cannot be deleted", "path", path, "error", err)
			}
		case e != nil:
			s.bytes -= e.bytes // the same file, in its place
			e.bytes = n
			s.order.use(e, s.Now())
		default:
			s.order.add(path, n, s.Now())
		}
	}, true
}

func (s *Store) leave(path string, c *coming) {
	if c.many--; c.many == 0 {
		delete(s.coming, path)
	}
}

// Put does what blob.Store says: the store below has it when it returns. The cache keeps a
// copy if there is room.
func (s *Store) Put(ctx context.Context, image record.Image, from io.ReaderAt) error {
	if err := s.Under.Put(ctx, image, from); err != nil {
		return err
	}
	came, ok := s.reserve(image)
	if !ok {
		return nil
	}
	err := s.files.Put(ctx, image, from)
	if came(err); err != nil {
		s.Log.Warn("a new original is not in the cache", "bucket", image.Bucket, "digest", image.Digest, "error", err)
	}
	return nil
}

// fetcher is a store that can write an original to where it is to be.
type fetcher interface {
	FetchTo(ctx context.Context, image record.Image, dst io.Writer) error
}

// bring fetches an original to the cache, once for all who ask meanwhile: false where there is
// no room.
func (s *Store) bring(ctx context.Context, image record.Image) (bool, error) {
	done := s.fetches.DoChan(fmt.Sprint(image.Generation, image.Bytes, image.File()), func() (any, error) {
		ctx := context.WithoutCancel(ctx) // others may wait when this one has left
		if s.used(image.File(), 0) {
			if file, err := s.files.Open(ctx, image); err == nil { // an earlier flight has landed since
				return true, file.Close()
			}
		}
		came, ok := s.reserve(image)
		if !ok {
			return false, nil
		}
		err := s.fetch(ctx, image)
		came(err)
		return err == nil, err
	})
	select {
	case r := <-done:
		return r.Val != nil && r.Val.(bool), r.Err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (s *Store) fetch(ctx context.Context, image record.Image) error {
	under, ok := s.Under.(fetcher)
	if !ok {
		file, err := s.Under.Open(ctx, image)
		if err != nil {
			return err
		}
		defer file.Close()
		return s.files.Put(ctx, image, struct{ io.ReaderAt }{file}) // a copy: it may lie elsewhere
	}
	tmp, err := s.Disk.CreateTemp(filepath.Join(s.Root, record.TmpDir), "cached-*")
	if err != nil {
		return err
	}
	defer tmp.Close()
	defer s.Disk.RemoveAll(tmp.Name())
	if err := under.FetchTo(ctx, image, local.Writer{Disk: s.Disk, File: tmp}); err != nil {
		return err
	}
	return s.files.Put(ctx, image, tmp)
}

// Open does what blob.Store says. Where there is no room in the cache it is a file without a
// name.
func (s *Store) Open(ctx context.Context, image record.Image) (*os.File, error) {
	for try := range 3 { // it may go again before it is opened
		file, err := s.files.Open(ctx, image)
		if err == nil {
			s.used(image.File(), 0) // if it goes just now, the reader has it still
			s.count(try, true)
			return file, nil
		}
		if !errors.Is(err, blob.ErrDamaged) {
			return nil, err
		}
		s.count(try, false)
		room, err := s.bring(ctx, image)
		if err != nil {
			return nil, err
		}
		if !room {
			break
		}
	}
	return s.Under.Open(ctx, image)
}

// count counts what the first look for a file has found.
func (s *Store) count(try int, hit bool) {
	if try > 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if hit {
		s.figures.Hits++
	} else {
		s.figures.Misses++
	}
}

// Stat does what blob.Store says: the file is there, and is held for Options.Hold, so that
// another process can send it. If there is no room for it, the error is blob.ErrFull.
func (s *Store) Stat(ctx context.Context, image record.Image) error {
	for try := range 3 {
		if s.used(image.File(), s.Hold) { // first: from then on it stays
			err := s.files.Stat(ctx, image)
			if err == nil {
				s.count(try, true)
				return nil
			}
			if !errors.Is(err, blob.ErrDamaged) {
				return err
			}
		}
		s.count(try, false)
		room, err := s.bring(ctx, image)
		if err != nil {
			return err
		}
		if !room {
			break
		}
	}
	return fmt.Errorf("%w: all of the cache, of %d bytes, is being sent", blob.ErrFull, s.Bytes)
}

// Remove does what blob.Store says, here and below, also for a file that is being fetched.
func (s *Store) Remove(ctx context.Context, image record.Image) error {
	return errors.Join(s.Forget(ctx, image), s.Under.Remove(ctx, image))
}

// Forget removes what the cache has of a digest, and what was made of it, and nothing below.
func (s *Store) Forget(ctx context.Context, image record.Image) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.coming[image.File()]; c != nil {
		c.gone = true
	}
	files, err := local.FilesOf(s.Root, image.Bucket, image.Digest)
	if err == nil {
		err = s.files.Remove(ctx, image)
	}
	if err != nil {
		return err
	}
	for _, file := range append(files, image.File()) {
		if e := s.order.entries[file]; e != nil {
			s.bytes -= e.bytes
			s.order.remove(e)
		}
	}
	return nil
}

// List does what blob.Store says: of the store below.
func (s *Store) List(ctx context.Context, bucket string) iter.Seq2[record.Image, error] {
	return s.Under.List(ctx, bucket)
}
